use super::*;
use crate::file::UploadedFile;
use std::io::Write;
use std::sync::Arc;
use uuid::Uuid;

fn only(name: &str, content: &[u8]) -> Outcome {
    Folder::with(&[(name, content)]).read(json!({ "path": name }), &crate::file::scope::stream_name(name))
}

#[test]
fn a_picture_named_csv() {
    only("t.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").check_error("AOS-0207", "a PNG picture");
    only("t.csv", b"a,b\n1,\0\0\0\x01\x02\n").check_error("AOS-0207", "binary");
    only("t.parquet", b"a,b\0\n").check_error("AOS-0207", "Parquet");
    only("t.xlsx", b"PK\x03\x04 cut off, mentions xl/ though").check_error("AOS-0214", "cut off");
}

#[test]
fn an_empty_file() {
    only("t.csv", b"").check_error("AOS-0208", "is empty");
    only("t.csv", b"\xef\xbb\xbf\r\n \n").check_error("AOS-0208", "is empty");
    only("t.json", b"  ").check_error("AOS-0208", "is empty");
}

#[test]
fn ten_thousand_columns() {
    let header: Vec<String> = (0..10_000).map(|at| format!("c{at}")).collect();
    let content = format!("{}\n{}\n", header.join(","), vec!["1"; 10_000].join(","));
    only("t.csv", content.as_bytes()).check_error("AOS-0209", "10000 columns, more than the 4096");
    let object: Vec<String> = (0..10_000).map(|at| format!("\"c{at}\":1")).collect();
    only("t.ndjson", format!("{{{}}}\n", object.join(",")).as_bytes()).check_error("AOS-0209", "columns");
    let header: Vec<String> = (0..4_096).map(|at| format!("c{at}")).collect();
    let content = format!("{}\n{}\n", header.join(","), vec!["1"; 4_096].join(","));
    assert_eq!(only("t.csv", content.as_bytes()).ok().rows.len(), 1);
}

#[test]
fn a_cell_of_100_megabytes_is_rejected_alone() {
    let huge = vec![b'x'; 100 << 20];
    for quote in ["", "\""] {
        let content =
            [b"id,v\n1,a\n2,".as_slice(), quote.as_bytes(), &huge, quote.as_bytes(), b"\n3,c\n"].concat();
        let outcome = only("t.csv", &content).ok();
        assert_eq!(outcome.rows.len(), 2);
        assert_eq!(
            (outcome.rejected.len(), outcome.rejected[0].code, outcome.rejected[0].place.as_str()),
            (1, "AOS-0223", "line 3")
        );
        assert!(outcome.rejected[0].raw.len() <= 4_096);
    }
    let content = [b"{\"v\":\"a\"}\n{\"v\":\"".as_slice(), &huge, b"\"}\n{\"v\":\"c\"}\n"].concat();
    let outcome = only("t.ndjson", &content).ok();
    assert_eq!(
        (outcome.rows.len(), outcome.rejected[0].code, outcome.rejected[0].place.as_str()),
        (2, "AOS-0223", "line 2")
    );
}

#[test]
fn a_cell_over_the_limit_in_a_row_under_it() {
    let content = [b"id,v\n1,".as_slice(), &vec![b'x'; (1 << 20) + 1], b"\n2,b\n"].concat();
    let outcome = only("t.csv", &content).ok();
    assert_eq!((outcome.rows.len(), outcome.rejected[0].code), (1, "AOS-0223"));
}

#[test]
fn zip_bombs() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mut zstd = zstd::Encoder::new(Vec::new(), 3).unwrap();
    gzip.write_all(b"id,v\n").unwrap();
    zstd.write_all(b"id,v\n").unwrap();
    let lines = b"1,aaaaaaaaaaaaaaaa\n".repeat(10_000);
    for _ in 0..400 {
        gzip.write_all(&lines).unwrap();
        zstd.write_all(&lines).unwrap();
    }
    only("t.csv.gz", &gzip.finish().unwrap()).check_error("AOS-0210", "200 times");
    only("t.csv.zst", &zstd.finish().unwrap()).check_error("AOS-0210", "200 times");
    let folder = Folder::with(&[("t.csv.gz", &packed(b"id,v\n1,a\n"))]);
    folder
        .read(json!({"path": "t.csv.gz", "max_unpacked_bytes": 4}), "t")
        .check_error("AOS-0210", "more than 4 bytes");
}

pub(super) fn packed(content: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(content).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn a_partial_upload_is_said_to_be_one() {
    let whole = packed(b"id,v\n");
    only("t.csv.gz", &whole[..whole.len() - 6]).check_error("AOS-0214", "cut off");
    only("t.json", b"[{\"a\":1},{\"a\":2},").check_error("AOS-0214", "ends in the middle");
    only("t.json", b"[{\"a\":1},{\"a\":").check_error("AOS-0214", "ends in the middle");
}

#[test]
fn path_traversal() {
    let folder = Folder::with(&[("in/a.csv", b"id\n1\n"), ("secret.csv", b"id\n1\n")]);
    let inside = FileScope { roots: vec![folder.path().join("in")], uploads: None };
    let secret = folder.path().join("secret.csv").display().to_string();
    let link = folder.path().join("in/link.csv");
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    let resolve = |path: &str| {
        let config = crate::file::FileConfig::parse(&json!({ "path": path })).unwrap();
        let found = crate::file::scope::resolve(&config, &inside);
        found.map(|streams| streams.len()).map_err(|cause| cause.code())
    };
    for path in [
        "../secret.csv",
        "/etc/passwd",
        "/no/such/file",
        &secret,
        "link.csv",
        "a/../../secret.csv",
        "/etc/*",
        "../*.csv",
    ] {
        assert_eq!(resolve(path), Err("AOS-0203"), "{path}");
    }
    assert_eq!(resolve("missing.csv"), Err("AOS-0204"));
    assert_eq!(resolve("*.csv").unwrap(), 1, "the link out of the root is left out");
    assert_eq!(resolve(&folder.path().join("in").display().to_string()).unwrap(), 1);
    assert!(resolve("a.csv").is_ok());
    let none = crate::file::scope::resolve(
        &crate::file::FileConfig::parse(&json!({"path": "a.csv"})).unwrap(),
        &FileScope::default(),
    );
    assert_eq!(none.unwrap_err().code(), "AOS-0203");
}

#[test]
fn uploads_are_found_by_their_id_alone() {
    let folder = Folder::with(&[("blob", b"id,name\n1,x\n")]);
    let (known, path) = (Uuid::from_u128(7), folder.path().join("blob"));
    let uploads = move |id: Uuid| {
        (id == known).then(|| UploadedFile { path: path.clone(), file_name: "accounts.csv".to_owned() })
    };
    let scope = FileScope { roots: Vec::new(), uploads: Some(Arc::new(uploads)) };
    let connect = |id: Uuid| FileConnector::new(&json!({ "path": id.to_string() }), scope.clone()).unwrap();
    let streams = run(connect(known).discover(CancellationToken::new())).unwrap();
    assert_eq!(streams[0].name, "accounts");
    let missing = run(connect(Uuid::from_u128(8)).discover(CancellationToken::new()));
    assert_eq!(missing.unwrap_err().code(), "AOS-0205");
}

#[test]
fn a_check_names_the_step_that_failed() {
    let folder = Folder::with(&[("a.csv", b"id,v\n1,x\n"), ("b.csv", b"\x89PNG....")]);
    let steps = |path: &str| run(folder.connect(json!({ "path": path })).unwrap().check()).unwrap();
    assert!(steps("a.csv").iter().all(|step| step.passed));
    let last = steps("b.csv").pop().unwrap();
    assert!(!last.passed && last.name == "format" && last.message.starts_with("AOS-0207"), "{last:?}");
    assert_eq!(steps("../x").len(), 1);
    let keyed = folder.connect(json!({"path": "a.csv", "primary_key": ["nope"]})).unwrap();
    let last = run(keyed.check()).unwrap().pop().unwrap();
    assert!(last.message.starts_with("AOS-0215"), "{last:?}");
}

#[test]
fn malformed_json_lines_are_rejected_alone() {
    let outcome = only("t.ndjson", b"{\"a\":1}\n{\"a\":\n[1]\n{\"a\":2}\n").ok();
    assert_eq!(outcome.rows.len(), 2);
    assert_eq!(
        outcome.rejected.iter().map(|row| row.place.as_str()).collect::<Vec<_>>(),
        ["line 2", "line 3"]
    );
    assert!(outcome.rejected.iter().all(|row| row.code == "AOS-0225"));
}

#[test]
fn a_column_named_like_an_operation_is_a_column() {
    let folder = Folder::with(&[
        ("t.csv", b"id,_aos_op\n1,delete\n"),
        ("t.ndjson", b"{\"id\":1,\"_aos_op\":\"delete\"}\n"),
    ]);
    for path in ["t.csv", "t.ndjson"] {
        let outcome = folder.read(json!({ "path": path }), "t").ok();
        assert_eq!(outcome.columns, ["id", "_aos_op_2"], "{path}");
        assert_eq!(outcome.cell(0, "_aos_op_2"), Some("delete"), "{path}");
    }
}
