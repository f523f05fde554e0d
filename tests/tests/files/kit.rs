//! A file of records, in a folder or in a bucket.

use autonomos_connectors::{Connector, FileConnector, FileScope, NetworkScope};
use autonomos_domain::schema::{StreamSelection, SyncMode};
use autonomos_objects::{Place, moto::Moto};
use autonomos_tests::{
    connectors::{self, Fixture, Meter, Record},
    proxy::Proxy,
};
use object_store::ObjectStoreExt;
use parking_lot::Mutex;
use serde_json::json;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;

const NAME: &str = "records.csv";
const SECRET: &str = "s3cret-of-nobody";

/// Where the file is.
enum Kept {
    Folder(TempDir),
    Bucket { moto: Arc<Moto>, name: String },
}

struct Checked {
    kept: Kept,
    records: Mutex<BTreeMap<u32, Record>>,
}

fn in_folder() -> Checked {
    let folder = tempfile::tempdir().expect("a folder");
    Checked { kept: Kept::Folder(folder), records: Mutex::default() }
}

fn in_bucket() -> Checked {
    let moto = Moto::shared();
    let name = moto.bucket();
    Checked { kept: Kept::Bucket { moto, name }, records: Mutex::default() }
}

fn in_folders(root: &Path, path: &str) -> Arc<dyn Connector> {
    let scope = FileScope { roots: vec![root.to_owned()], uploads: None };
    Arc::new(FileConnector::new(&json!({ "path": path }), scope).expect("a configuration"))
}

fn in_buckets(endpoint: &str, bucket: &str) -> Arc<dyn Connector> {
    let config = json!({
        "bucket": bucket, "endpoint": endpoint, "access_key_id": "reader", "secret_access_key": SECRET,
        "path": NAME
    });
    let connector = FileConnector::in_bucket(&config, NetworkScope { private: true });
    Arc::new(connector.expect("a configuration"))
}

/// How far a file is read by whoever has it open; all of it, if nobody has.
fn position(path: &Path) -> u64 {
    let held = std::fs::read_dir("/proc/self/fd").expect("descriptors");
    let held = held.filter_map(|entry| {
        let entry = entry.ok()?;
        (std::fs::read_link(entry.path()).ok()? == path).then(|| entry.file_name())
    });
    let of = |descriptor: std::ffi::OsString| {
        let told = std::fs::read_to_string(Path::new("/proc/self/fdinfo").join(descriptor)).ok()?;
        let position = told.lines().find_map(|line| line.strip_prefix("pos:"))?;
        position.trim().parse::<u64>().ok()
    };
    held.filter_map(of).max().unwrap_or_else(|| path.metadata().expect("a file").len())
}

impl Checked {
    /// Writes another edition.
    async fn write(&self) {
        let mut text = "number,name,pad\n".to_owned();
        for Record { number, name, pad } in self.records.lock().values() {
            let _ = writeln!(text, "{number},{name},{}", "p".repeat(*pad));
        }
        match &self.kept {
            Kept::Folder(folder) => {
                let part = folder.path().join("records.part");
                std::fs::write(&part, text).expect("writes");
                std::fs::rename(part, folder.path().join(NAME)).expect("renames");
            }
            Kept::Bucket { moto, name } => {
                let place = Place::parse(&format!("s3://{name}"), &moto.settings()).expect("a place");
                let store = place.open().expect("opens");
                store.put(&NAME.into(), text.into()).await.expect("the bucket takes it");
            }
        }
    }
}

impl Fixture for Checked {
    fn connector(&self) -> Arc<dyn Connector> {
        match &self.kept {
            Kept::Folder(folder) => in_folders(folder.path(), NAME),
            Kept::Bucket { moto, name } => in_buckets(&moto.endpoint(), name),
        }
    }

    async fn metered(&self) -> (Arc<dyn Connector>, Meter) {
        match &self.kept {
            Kept::Folder(folder) => {
                // A file of its own, which nobody else has open.
                let own: PathBuf = tempfile::tempdir_in(folder).expect("a folder").keep();
                let path = own.join(NAME);
                std::fs::copy(folder.path().join(NAME), &path).expect("copies");
                let connector = in_folders(folder.path(), &path.display().to_string());
                let path = path.canonicalize().expect("a path");
                (connector, Box::new(move || position(&path)))
            }
            Kept::Bucket { moto, name } => {
                let proxy = Proxy::of(moto.port).await;
                let connector = in_buckets(&format!("http://127.0.0.1:{}", proxy.port), name);
                (connector, Box::new(move || proxy.answered()))
            }
        }
    }

    fn selection(&self, mode: SyncMode) -> StreamSelection {
        let primary_key = Some(vec!["number".to_owned()]);
        StreamSelection { primary_key, ..connectors::selection("records", mode) }
    }

    fn modes(&self) -> Vec<SyncMode> {
        vec![SyncMode::Full, SyncMode::Incremental]
    }

    fn columns(&self) -> [&'static str; 2] {
        ["number", "name"]
    }

    fn several(&self) -> u32 {
        14_000
    }

    /// A batch of a file has four megabytes; an object is opened and read in ranges of eight.
    fn many(&self) -> u32 {
        match self.kept {
            Kept::Folder(_) => 16_000,
            Kept::Bucket { .. } => 24_000,
        }
    }

    fn has_editions(&self) -> bool {
        true
    }

    async fn insert(&self, records: &[Record]) {
        self.records.lock().extend(records.iter().map(|record| (record.number, record.clone())));
        self.write().await;
    }

    async fn rename(&self, numbers: &[u32], name: &str) {
        for number in numbers {
            name.clone_into(&mut self.records.lock().get_mut(number).expect("a record").name);
        }
        self.write().await;
    }

    async fn delete(&self, numbers: &[u32]) {
        self.records.lock().retain(|number, _| !numbers.contains(number));
        self.write().await;
    }

    async fn renumber(&self, from: u32, to: u32) -> bool {
        {
            let mut records = self.records.lock();
            let record = records.remove(&from).expect("a record");
            records.insert(to, Record { number: to, ..record });
        }
        self.write().await;
        true
    }

    fn refused(&self) -> Vec<Arc<dyn Connector>> {
        match &self.kept {
            Kept::Folder(folder) => vec![in_folders(folder.path(), "nothing.csv")],
            Kept::Bucket { moto, .. } => vec![in_buckets(&moto.endpoint(), "nobody-has-this")],
        }
    }

    fn secrets(&self) -> Vec<String> {
        vec![SECRET.to_owned()]
    }
}

mod folder {
    autonomos_tests::connector_tests!(async { super::in_folder() });
}

mod s3 {
    autonomos_tests::connector_tests!(async { super::in_bucket() });
}
