//! What the SQLite log does when its file is damaged, rolled back, full, or its process killed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use autonomos_domain::envelope::{AggregateKey, AggregateType, Hash};
use autonomos_log::{
    conformance::{Chain, history},
    control::{ANCHOR_COMMITS, ControlStore},
    error::{AppendError, LogError},
    integrity::{BrokenKind, VerifyReport},
    port::{EventLog, Filter, ReadLimit},
    sqlite::{Options, SqliteLog, verify_folder},
};
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

fn control(folder: &Path) -> Arc<ControlStore> {
    Arc::new(ControlStore::open(&folder.join("control.sqlite")).unwrap())
}

fn open(folder: &Path) -> Result<Arc<SqliteLog>, LogError> {
    SqliteLog::open(Options::new(folder.join("log")), control(folder))
}

fn verify(folder: &Path) -> VerifyReport {
    verify_folder(&folder.join("log"), &control(folder))
}

fn file(folder: &Path) -> PathBuf {
    folder.join("log/events.sqlite")
}

/// A closed log of `commits` commits of four aggregates.
async fn written(commits: usize) -> (tempfile::TempDir, Vec<Chain>) {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).unwrap();
    let mut chains: Vec<Chain> = (0..4).map(|_| Chain::new(AggregateType::Task)).collect();
    for round in 0..commits.div_ceil(4) {
        let payload = format!("round {round} {}", "x".repeat(120));
        let payloads = [payload.as_bytes()];
        let appends = chains.iter_mut().map(|chain| chain.append(&*log, &payloads));
        futures::future::join_all(appends).await;
    }
    (folder, chains)
}

fn sql(folder: &Path, text: &str) {
    let connection = rusqlite::Connection::open(file(folder)).unwrap();
    connection.execute_batch(text).unwrap();
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy_folder(from, to.path());
    to
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn bit_flip(path: &Path, offset: u64, bit: u8) {
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.read_exact(&mut byte).unwrap();
    byte[0] ^= 1 << bit;
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(&byte).unwrap();
}

/// What `change` does to a closed log is found by `verify` and at start, under `kind`, within the
/// range; writers are stopped, reads go on.
async fn check_found(commits: usize, change: impl Fn(&Path), kind: BrokenKind, range: (u64, u64)) {
    let (folder, chains) = written(commits).await;
    assert!(verify(folder.path()).ok, "{:?}", verify(folder.path()));
    change(folder.path());
    let report = verify(folder.path());
    assert!(!report.ok);
    let found = |broken: &[autonomos_log::integrity::Broken]| {
        broken
            .iter()
            .any(|broken| broken.kind == kind && (broken.first_sequence, broken.last_sequence) == range)
    };
    assert!(found(&report.broken), "by verify: {:?}", report.broken);
    let log = open(folder.path()).unwrap();
    assert!(found(&log.damage()), "at start: {:?}", log.damage());
    assert!(log.stopped(0).is_some());
    let refused = log.append(chains[0].next(&[b"x"])).await;
    assert!(matches!(refused, Err(AppendError::Stopped { .. })), "{refused:?}");
    let last = ReadLimit { commits: 1, bytes: 1 };
    log.read(0, 0, &Filter::default(), last).await.expect("reads go on");
    // The start did not make the finding go away.
    drop(log);
    assert!(found(&verify(folder.path()).broken));
    assert!(found(&open(folder.path()).unwrap().damage()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_commit_is_a_hole() {
    let remove = |folder: &Path| sql(folder, "DELETE FROM commits WHERE sequence BETWEEN 17 AND 18");
    check_found(40, remove, BrokenKind::Missing, (17, 18)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_tail_is_named() {
    let cut = |folder: &Path| sql(folder, "DELETE FROM commits WHERE sequence > 33");
    check_found(40, cut, BrokenKind::Tail, (34, 40)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_tail_is_named_when_sqlite_forgot_it_too() {
    let cut = |folder: &Path| {
        sql(folder, "DELETE FROM commits WHERE sequence > 33; UPDATE sqlite_sequence SET seq = 33");
    };
    check_found(40, cut, BrokenKind::Tail, (34, 40)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_content_names_the_commit() {
    let change = |folder: &Path| {
        sql(
            folder,
            "UPDATE commits SET bytes = CAST(replace(CAST(bytes AS TEXT), 'round 5', 'round 6') AS BLOB)
             WHERE sequence = 22",
        );
    };
    check_found(40, change, BrokenKind::Content, (22, 22)).await;
    let (folder, _) = written(40).await;
    change(folder.path());
    let report = verify(folder.path());
    assert!(report.broken[0].tenant.is_some() && report.broken[0].aggregate.is_some());
    let log = open(folder.path()).unwrap();
    let limit = ReadLimit { commits: 100, bytes: 1 << 20 };
    let answer = log.read(0, 0, &Filter::default(), limit).await;
    assert!(matches!(answer, Err(LogError::Damaged { .. })), "a damaged commit is never handed out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rewritten_commit_is_found_though_its_hash_fits() {
    let change = |folder: &Path| {
        let connection = rusqlite::Connection::open(file(folder)).unwrap();
        let bytes: Vec<u8> = connection
            .query_row("SELECT bytes FROM commits WHERE sequence = 22", [], |row| row.get(0))
            .unwrap();
        let text = String::from_utf8_lossy(&bytes).replace("round 5", "round 6");
        let hash = blake3::hash(text.as_bytes());
        connection
            .execute(
                "UPDATE commits SET bytes = ?1, hash = ?2 WHERE sequence = 22",
                rusqlite::params![text.as_bytes(), hash.as_bytes()],
            )
            .unwrap();
    };
    check_found(40, change, BrokenKind::History, (22, 22)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swapped_pair_is_found() {
    let swap = |folder: &Path| {
        sql(
            folder,
            "CREATE TEMP TABLE pair AS SELECT * FROM commits WHERE sequence IN (9, 10);
             DELETE FROM commits WHERE sequence IN (9, 10);
             INSERT INTO commits SELECT 19 - sequence, tenant, aggregate_type, aggregate_id, first_version,
                 last_version, recorded_max, hash,
                 (SELECT running_hash FROM pair AS other WHERE other.sequence = 19 - pair.sequence), bytes FROM pair;",
        );
    };
    check_found(40, swap, BrokenKind::History, (9, 9)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misfiled_commit_is_found() {
    let change = |folder: &Path| {
        sql(folder, "UPDATE commits SET aggregate_id = randomblob(16) WHERE sequence = 5");
    };
    check_found(40, change, BrokenKind::Misfiled, (5, 5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_log_is_found() {
    let replace = |folder: &Path| {
        std::fs::remove_dir_all(folder.join("log")).unwrap();
        let other = tempfile::tempdir().unwrap();
        let log = open(other.path()).unwrap();
        drop(log);
        copy_folder(&other.path().join("log"), &folder.join("log"));
    };
    check_found(40, replace, BrokenKind::Replaced, (1, 40)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolled_back_file_is_found_also_after_it_was_written_on() {
    let (folder, mut chains) = written(40).await;
    let old = copy(folder.path());
    let mut same = chains.clone();
    let log = open(folder.path()).unwrap();
    for chain in &mut chains {
        chain.append(&*log, &[b"later"]).await;
    }
    let seen = log.head(0).await.unwrap();
    drop(log);
    std::fs::copy(file(old.path()), file(folder.path())).unwrap();
    let report = verify(folder.path());
    let broken = &report.broken[0];
    assert_eq!((broken.kind, broken.first_sequence, broken.last_sequence), (BrokenKind::Tail, 41, 44));

    // Written on by someone who did not look: another history at the same sequence.
    let log = open(old.path()).unwrap();
    for chain in &mut same {
        chain.append(&*log, &[b"another"]).await;
    }
    drop(log);
    std::fs::copy(file(old.path()), file(folder.path())).unwrap();
    let log = open(folder.path()).unwrap();
    assert_eq!(log.damage()[0].kind, BrokenKind::History);
    drop(log);

    // A projector's checkpoint tells as well, where there is no control store.
    let log = open(old.path()).unwrap();
    assert_eq!(log.stopped(0), None);
    log.check_against(0, 0, [0; 32], "projector `none`").await.unwrap();
    let answer = log.check_against(0, seen.sequence, seen.running_hash, "projector `dcl`").await;
    assert!(matches!(answer, Err(LogError::Damaged { .. })));
    assert!(log.stopped(0).is_some_and(|reason| reason.contains("projector `dcl`")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anchors_see_a_rewritten_past() {
    let (folder, _) = written(ANCHOR_COMMITS as usize + 8).await;
    assert_eq!(control(folder.path()).anchors(0).unwrap().len(), 1);
    // The whole history from 1000 on, written anew so that it agrees with itself.
    let connection = rusqlite::Connection::open(file(folder.path())).unwrap();
    let read = |sequence: u64| -> (Vec<u8>, Hash) {
        let query = "SELECT bytes, running_hash FROM commits WHERE sequence = ?1";
        connection.query_row(query, [sequence], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    };
    let mut running = read(999).1;
    for sequence in 1000..=ANCHOR_COMMITS {
        let text = String::from_utf8_lossy(&read(sequence).0).replace("round 25", "round 99");
        let hash = *blake3::hash(text.as_bytes()).as_bytes();
        running = autonomos_log::codec::running_hash(&running, &hash);
        let update = "UPDATE commits SET bytes = ?2, hash = ?3, running_hash = ?4 WHERE sequence = ?1";
        connection.execute(update, rusqlite::params![sequence, text.as_bytes(), hash, running]).unwrap();
    }
    drop(connection);
    let report = verify(folder.path());
    let by_anchor = |broken: &autonomos_log::integrity::Broken| {
        (broken.first_sequence, broken.last_sequence) == (1, ANCHOR_COMMITS)
    };
    assert!(report.broken.iter().any(by_anchor), "{:?}", report.broken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_control_store_gets_the_same_anchors() {
    let (folder, chains) = written(2 * ANCHOR_COMMITS as usize + 8).await;
    let log = open(folder.path()).unwrap();
    log.archive(&chains[2].key, true).await.unwrap();
    drop(log);
    let anchors = control(folder.path()).anchors(0).unwrap();
    assert_eq!(anchors.len(), 2);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.path().join(format!("control.sqlite{suffix}")));
    }
    let log = open(folder.path()).unwrap();
    assert_eq!(log.stopped(0), None);
    drop(log);
    assert_eq!(control(folder.path()).anchors(0).unwrap(), anchors);
    assert!(verify(folder.path()).ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_archive_is_found() {
    let (folder, chains) = written(40).await;
    let log = open(folder.path()).unwrap();
    log.archive(&chains[1].key, true).await.unwrap();
    drop(log);
    assert!(verify(folder.path()).ok);
    bit_flip(&folder.path().join("log/archive/segment-00000001.zst"), 60, 3);
    let log = open(folder.path()).unwrap();
    let report = log.verify().await.unwrap();
    assert!(report.broken.iter().any(|broken| broken.kind == BrokenKind::Archive), "{:?}", report.broken);
    assert!(log.load(&chains[1].key, 0).await.is_err());
    assert_eq!(log.load(&chains[0].key, 0).await.unwrap().len(), 10, "other reads go on");
}

/// Flips bits all over the file: each is either found, or changes nothing that is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bits_are_found_or_harmless() {
    let (folder, _) = written(60).await;
    let log = open(folder.path()).unwrap();
    let before = history(&*log).await;
    drop(log);
    let size = std::fs::metadata(file(folder.path())).unwrap().len();
    let mut found = 0;
    let tries = 160;
    for index in 0..tries {
        let damaged = copy(folder.path());
        let offset = (index * 7919 + index * index * 31) % size;
        bit_flip(&file(damaged.path()), offset, (index % 8) as u8);
        let report = verify(damaged.path());
        let opened = open(damaged.path());
        if !report.ok {
            found += 1;
            assert!(!report.broken[0].reason.is_empty());
        }
        let log = match opened {
            Ok(log) if log.stopped(0).is_none() => log,
            _ => {
                assert!(!report.ok, "offset {offset}: found at start alone");
                continue;
            }
        };
        // What a start does not find, such as a wrong count of free bytes, touches no commit.
        let after = history(&*log).await;
        assert_eq!(before.len(), after.len());
        for (left, right) in before.iter().zip(&after) {
            assert_eq!(
                (&left.bytes, left.running_hash),
                (&right.bytes, right.running_hash),
                "offset {offset}"
            );
        }
    }
    assert!(found > tries / 2, "most of the file is commits: {found} of {tries} were found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncated_file_is_an_answer() {
    let (folder, _) = written(200).await;
    let size = std::fs::metadata(file(folder.path())).unwrap().len();
    for keep in [0, 10, 100, 4096, size / 3, size / 2, size - 4096] {
        let damaged = copy(folder.path());
        std::fs::OpenOptions::new().write(true).open(file(damaged.path())).unwrap().set_len(keep).unwrap();
        let report = verify(damaged.path());
        assert!(!report.ok, "{keep} of {size} bytes");
        match open(damaged.path()) {
            Ok(log) => assert!(log.stopped(0).is_some(), "{keep} of {size} bytes"),
            Err(error) => assert_eq!(error.code(), "AOS-0102", "{keep} of {size} bytes: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_refuses_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { max_page_count: Some(300), ..Options::new(folder.path().join("log")) };
    let log = SqliteLog::open(options, control(folder.path())).unwrap();
    let mut big = Chain::new(AggregateType::Feed);
    let payload = vec![7; 400_000];
    let mut stored = 0;
    let error = loop {
        match log.append(big.next(&[&payload])).await {
            Ok(appended) => {
                stored += 1;
                big.version += 1;
                big.hash = Some(appended.hash);
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::Log(LogError::Store(_))), "{error:?}");
    assert_eq!(log.head(0).await.unwrap().sequence, stored, "what was refused took no sequence");
    // What fits is still taken, by the same writer.
    let mut small = Chain::new(AggregateType::Task);
    small.append(&*log, &[b"small"]).await;
    assert_eq!(history(&*log).await.len() as u64, stored + 1);
    assert!(log.append(big.next(&[&payload])).await.is_err(), "the disk is still full");
    drop(log);
    // After room was made the same aggregate goes on where it was.
    let log = open(folder.path()).unwrap();
    assert_eq!(log.stopped(0), None);
    big.append(&*log, &[&payload]).await;
    assert_eq!(history(&*log).await.len() as u64, stored + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_cells_and_second_processes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).unwrap();
    assert!(matches!(open(folder.path()), Err(LogError::InUse { .. })));
    drop(log);
    let options = Options { cells: 4, ..Options::new(folder.path().join("log")) };
    let refused = SqliteLog::open(options, control(folder.path()));
    assert!(matches!(refused.err(), Some(LogError::WrongCells { found: 1, asked: 4 })));
    sql(folder.path(), "UPDATE meta SET value = '2' WHERE key = 'cells'");
    assert!(matches!(open(folder.path()).err(), Some(LogError::WrongCells { found: 2, asked: 1 })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_part_of_a_large_log_is_checked_beside_the_writer() {
    let (folder, _) = written(400).await;
    sql(folder.path(), "UPDATE commits SET bytes = zeroblob(10) WHERE sequence = 3");
    let options = Options { start_check_bytes: 4096, ..Options::new(folder.path().join("log")) };
    let log = SqliteLog::open(options, control(folder.path())).unwrap();
    let found = async {
        while log.damage().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), found).await.expect("it is found");
    assert_eq!(log.damage()[0].first_sequence, 3);
    assert!(log.stopped(0).is_some());
}

const CHILD: &str = "AOS_TEST_LOG_CHILD";

/// Not a test by itself: the process that is killed. Prints each commit it was told is durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_appends_until_killed() {
    let Ok(folder) = std::env::var(CHILD) else {
        return;
    };
    let log = open(Path::new(&folder)).unwrap();
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut chain = Chain::new(AggregateType::Task);
                loop {
                    let appended = chain.append(&*log, &[b"1", b"2"]).await;
                    let key = serde_json::to_string(&chain.key).unwrap();
                    let line =
                        format!("{}\t{}\t{key}\n", appended.position.sequence, hex::encode(appended.hash));
                    std::io::stderr().write_all(line.as_bytes()).unwrap();
                }
            })
        })
        .collect();
    // They write until the process is killed: one that returns has failed.
    let (failed, ..) = futures::future::select_all(writers).await;
    failed.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_process_loses_nothing_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: HashMap<u64, (String, AggregateKey)> = HashMap::new();
    for lines in [1, 40, 150, 7, 400] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_appends_until_killed", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stderr.take().unwrap());
        let mut seen = 0;
        for line in output.lines() {
            let line = line.unwrap();
            let parts: Vec<&str> = line.split('\t').collect();
            if let [sequence, hash, key] = parts[..] {
                let key = serde_json::from_str(key).unwrap();
                acknowledged.insert(sequence.parse().unwrap(), (hash.to_owned(), key));
                seen += 1;
            }
            if seen == lines {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= lines, "the child wrote only {seen} lines");
        assert!(verify(folder.path()).ok);
        let log = open(folder.path()).unwrap();
        assert_eq!(log.stopped(0), None);
        let stored = history(&*log).await;
        for (sequence, (hash, key)) in &acknowledged {
            let commit = &stored[*sequence as usize - 1];
            assert_eq!((&hex::encode(commit.hash), &commit.header.key), (hash, key));
        }
    }
}
