//! What the JetStream log does when its server is killed, its store damaged or rolled back, its
//! settings wrong, or another node faster.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use autonomos_domain::{
    envelope::{AggregateType, Hash},
    ids::{CommandId, TenantId},
};
use autonomos_log::{
    conformance::{Chain, history},
    control::{ANCHOR_COMMITS, ControlStore},
    error::{AppendError, LogError},
    integrity::{Broken, BrokenKind},
    jetstream::{Credentials, JetStreamLog, Options},
    nats_server::Nats,
    port::{Appended, EventLog, Filter, NewCommit, ReadLimit, cell_of},
};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

const ALL: ReadLimit = ReadLimit { commits: 1000, bytes: 1 << 20 };

/// A log in an account of its own, and as many nodes as are asked for.
struct Setup {
    nats: Arc<Nats>,
    credentials: Credentials,
    folder: tempfile::TempDir,
}

impl Setup {
    fn new(nats: Arc<Nats>) -> Self {
        Self { credentials: nats.account(), nats, folder: tempfile::tempdir().unwrap() }
    }

    fn options(&self, node: &str) -> Options {
        let options = self.nats.options(self.credentials.clone(), &self.folder.path().join(node));
        Options { archive: self.folder.path().join("archive"), ..options }
    }

    fn control(&self, node: &str) -> Arc<ControlStore> {
        let path = self.folder.path().join(format!("{node}.sqlite"));
        Arc::new(ControlStore::open(&path).unwrap())
    }

    async fn try_open(&self, node: &str) -> Result<Arc<JetStreamLog>, LogError> {
        JetStreamLog::open(self.options(node), self.control(node)).await
    }

    async fn open(&self, node: &str) -> Arc<JetStreamLog> {
        self.try_open(node).await.unwrap()
    }

    /// A client that goes round the log.
    async fn client(&self) -> async_nats::Client {
        let Credentials::User { user, password } = self.credentials.clone() else {
            panic!("an account has a user");
        };
        let address = format!("nats://127.0.0.1:{}", self.nats.servers[0].port);
        async_nats::ConnectOptions::new().user_and_password(user, password).connect(address).await.unwrap()
    }

    async fn api(&self, verb: &str, payload: Value) -> Value {
        let answer =
            self.client().await.request(format!("$JS.API.{verb}"), payload.to_string().into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
        answer
    }

    /// The blocks of a cell's messages on the first server.
    fn messages(&self) -> PathBuf {
        let Credentials::User { user, .. } = &self.credentials else {
            panic!("an account has a user");
        };
        self.nats.servers[0]
            .store()
            .join(format!("jetstream/{}/streams/aos-cell-0/msgs", user.to_uppercase()))
    }
}

/// A closed log of `commits` commits of four aggregates.
async fn written(setup: &Setup, commits: usize) -> Vec<Chain> {
    let log = setup.open("a").await;
    let mut chains: Vec<Chain> = (0..4).map(|_| Chain::new(AggregateType::Task)).collect();
    for round in 0..commits.div_ceil(4) {
        let payload = format!("round {round} {}", "x".repeat(120));
        for chain in &mut chains {
            chain.append(&*log, &[payload.as_bytes()]).await;
        }
    }
    log.head(0).await.unwrap();
    chains
}

/// What the command layer does: an append without an answer is looked for by its command id and
/// tried again if it is not there.
async fn append_certain(log: &JetStreamLog, chain: &mut Chain, commit: NewCommit) -> Appended {
    loop {
        let error = match log.append(commit.clone()).await {
            Ok(appended) => {
                chain.version += commit.events.len() as u64;
                chain.hash = Some(appended.hash);
                return appended;
            }
            Err(error) => error,
        };
        match error {
            AppendError::Conflict { .. } | AppendError::Log(LogError::Unreachable(_)) => {}
            other => panic!("{other}"),
        }
        let Ok(loaded) = log.load(&chain.key, chain.version).await else {
            continue;
        };
        let found = loaded.iter().find(|stored| stored.header.command_id == commit.header.command_id);
        if let Some(found) = found {
            chain.version = found.last_version();
            chain.hash = Some(found.hash);
            return Appended { position: found.position, hash: found.hash };
        }
    }
}

/// Writers go on while servers are killed and come back: what was acknowledged is there, once.
async fn killed_servers_lose_nothing(nats: Arc<Nats>, kills: usize) {
    let setup = Setup::new(nats);
    let log = setup.open("a").await;
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let (log, stop, acknowledged) = (Arc::clone(&log), Arc::clone(&stop), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                let mut chain = Chain::new(AggregateType::Task);
                let mut mine: Vec<(u64, Hash, CommandId)> = Vec::new();
                while !stop.load(Ordering::Acquire) {
                    let commit = chain.next(&[b"1", b"2"]);
                    let command = commit.header.command_id;
                    let appended = append_certain(&log, &mut chain, commit).await;
                    mine.push((appended.position.sequence, appended.hash, command));
                    acknowledged.fetch_add(1, Ordering::AcqRel);
                }
                mine
            })
        })
        .collect();
    let more = async |count: usize| {
        let until = acknowledged.load(Ordering::Acquire) + count;
        let reached = async {
            while acknowledged.load(Ordering::Acquire) < until {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(2), reached).await.expect("the writers go on");
    };
    for kill in 0..kills {
        more(50).await;
        let nats = Arc::clone(&setup.nats);
        let server = kill % nats.servers.len();
        let back = tokio::task::spawn_blocking(move || {
            nats.servers[server].kill();
            nats.servers[server].start_again();
        });
        back.await.unwrap();
    }
    more(50).await;
    stop.store(true, Ordering::Release);
    let mut all = Vec::new();
    for writer in writers {
        all.extend(writer.await.unwrap());
    }
    assert_eq!(log.stopped(0), None);
    let stored = history(&*log).await;
    assert_eq!(stored.len(), all.len(), "nothing twice, nothing that nobody was told of");
    let commands: HashSet<CommandId> = stored.iter().map(|commit| commit.header.command_id).collect();
    assert_eq!(commands.len(), stored.len(), "no command twice");
    for (sequence, hash, command) in all {
        let commit = &stored[sequence as usize - 1];
        assert_eq!((commit.hash, commit.header.command_id), (hash, command));
    }
    let report = log.verify().await.unwrap();
    assert!(report.ok, "{:?}", report.broken);
    // A node that was not there reads the same.
    let other = setup.open("b").await;
    assert_eq!(other.head(0).await.unwrap(), log.head(0).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_loses_nothing_it_acknowledged() {
    killed_servers_lose_nothing(Nats::start(1), 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_servers_of_a_cluster_lose_nothing_they_acknowledged() {
    killed_servers_lose_nothing(Nats::start(3), 4).await;
}

/// The same command on two nodes at once, again and again: one is stored, the other node is told of
/// a conflict and finds it at once.
async fn retried_commits_are_stored_once(nats: Arc<Nats>) {
    let setup = Setup::new(nats);
    let nodes = [setup.open("a").await, setup.open("b").await];
    let mut chain = Chain::new(AggregateType::Connection);
    for round in 0..40_usize {
        let commit = chain.next(&[b"changed"]);
        let (first, second) = (round % 2, 1 - round % 2);
        let answers = tokio::join!(nodes[first].append(commit.clone()), nodes[second].append(commit.clone()));
        let (appended, loser) = match answers {
            (Ok(appended), Err(AppendError::Conflict { .. })) => (appended, second),
            (Err(AppendError::Conflict { .. }), Ok(appended)) => (appended, first),
            other => panic!("one is stored, the other is a conflict: {other:?}"),
        };
        let loaded = nodes[loser].load(&chain.key, chain.version).await.unwrap();
        assert_eq!(loaded.len(), 1, "who lost a conflict finds what won it");
        assert_eq!(loaded[0].header.command_id, commit.header.command_id);
        assert_eq!(loaded[0].position, appended.position);
        let last = nodes[loser].load_last(&chain.key).await.unwrap().unwrap();
        assert_eq!(last.hash, appended.hash);
        chain.version += 1;
        chain.hash = Some(appended.hash);
    }
    assert_eq!(history(&*nodes[0]).await.len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retried_commit_is_stored_once() {
    retried_commits_are_stored_once(Nats::shared(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retried_commit_is_stored_once_by_a_cluster() {
    retried_commits_are_stored_once(Nats::start(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_guilty_of_a_group_fail() {
    let setup = Setup::new(Nats::shared(1));
    let (a, b) = (setup.open("a").await, setup.open("b").await);
    let mut chains: Vec<Chain> = (0..128).map(|_| Chain::new(AggregateType::Task)).collect();
    let firsts = chains.iter_mut().map(|chain| chain.append(&*b, &[b"first"]));
    futures::future::join_all(firsts).await;
    // Node `b` still takes its own first commits for the last ones.
    let guilty = [3, 64, 65, 127];
    for index in guilty {
        chains[index].clone().append(&*a, &[b"faster"]).await;
    }
    let head = b.head(0).await.unwrap().sequence;
    let seconds = chains.iter().map(|chain| b.append(chain.next(&[b"second"])));
    let answers = futures::future::join_all(seconds).await;
    for (index, answer) in answers.iter().enumerate() {
        if guilty.contains(&index) {
            assert!(matches!(answer, Err(AppendError::Conflict { actual: 2, .. })), "{index}: {answer:?}");
        } else {
            assert!(answer.is_ok(), "{index}: {answer:?}");
        }
    }
    let stored = answers.iter().filter_map(|answer| answer.as_ref().ok());
    let sequences: HashSet<u64> = stored.map(|appended| appended.position.sequence).collect();
    assert_eq!(sequences.len(), 124, "each has a place of its own");
    assert_eq!(history(&*b).await.len() as u64, b.head(0).await.unwrap().sequence);
    assert!(b.head(0).await.unwrap().sequence >= head + 124);
}

/// What `change` does to the store of a stopped server is found by the next start and by `verify`;
/// writers are stopped, reads of what is there go on; a second start finds it again.
async fn check_found(commits: usize, change: impl Fn(&Path), expected: impl Fn(&Broken) -> bool) {
    let setup = Setup::new(Nats::start(1));
    let chains = written(&setup, commits).await;
    let log = setup.open("a").await;
    let report = log.verify().await.unwrap();
    assert!(report.ok && report.commits_checked == commits as u64, "{report:?}");
    drop(log);
    setup.nats.servers[0].stop();
    change(&setup.messages());
    setup.nats.servers[0].start_again();
    for _ in 0..2 {
        let log = setup.open("a").await;
        assert!(log.damage().iter().any(&expected), "at start: {:?}", log.damage());
        assert!(log.stopped(0).is_some());
        let report = log.verify().await.unwrap();
        assert!(report.broken.iter().any(&expected), "by verify: {:?}", report.broken);
        let refused = log.append(chains[0].next(&[b"x"])).await;
        assert!(matches!(refused, Err(AppendError::Stopped { .. })), "{refused:?}");
        let one = ReadLimit { commits: 1, bytes: 1 };
        let page = log.read(0, 0, &Filter::default(), one).await.expect("reads go on");
        assert_eq!(page.commits.len(), 1);
    }
}

fn block(messages: &Path) -> PathBuf {
    let block = messages.join("1.blk");
    assert!(block.exists(), "`{}` is there", block.display());
    block
}

/// Where the record of a round of the first chain begins to have its payload in a block.
fn place_of(bytes: &[u8], text: &str) -> usize {
    bytes.windows(text.len()).position(|window| window == text.as_bytes()).expect("the payload is there")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bit_in_the_store_is_found() {
    let flip = |messages: &Path| {
        let mut bytes = std::fs::read(block(messages)).unwrap();
        let at = place_of(&bytes, "round 12 ");
        bytes[at] ^= 4;
        std::fs::write(block(messages), bytes).unwrap();
    };
    check_found(100, flip, |broken| broken.first_sequence <= 49 && broken.last_sequence >= 49).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_tail_of_the_store_is_found() {
    let cut = |messages: &Path| {
        let bytes = std::fs::read(block(messages)).unwrap();
        let at = place_of(&bytes, "round 20 ");
        std::fs::write(block(messages), &bytes[..at]).unwrap();
    };
    // The server may remember where the stream ended, and give the end out as a hole.
    let end = |broken: &Broken| {
        matches!(broken.kind, BrokenKind::Tail | BrokenKind::Missing)
            && (broken.first_sequence, broken.last_sequence) == (81, 100)
    };
    check_found(100, cut, end).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_removed_from_the_store_is_found() {
    let remove = |messages: &Path| {
        let mut bytes = std::fs::read(block(messages)).unwrap();
        // From one payload to the next of the same round: one message's length of bytes.
        let first = place_of(&bytes, "round 7 ");
        let second = first + 1 + place_of(&bytes[first + 1..], "round 7 ");
        bytes.drain(first..second);
        std::fs::write(block(messages), bytes).unwrap();
    };
    check_found(100, remove, |broken| broken.first_sequence <= 30 && broken.last_sequence >= 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_store_is_found() {
    let setup = Setup::new(Nats::start(1));
    written(&setup, 40).await;
    setup.nats.servers[0].stop();
    std::fs::remove_dir_all(setup.nats.servers[0].store()).unwrap();
    setup.nats.servers[0].start_again();
    let log = setup.open("a").await;
    let replaced = |broken: &Broken| broken.kind == BrokenKind::Replaced && broken.last_sequence == 40;
    assert!(log.damage().iter().any(replaced), "{:?}", log.damage());
    assert!(log.stopped(0).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_without_a_receipt_is_a_hole() {
    let setup = Setup::new(Nats::shared(1));
    let chains = written(&setup, 40).await;
    let running = setup.open("b").await;
    let key = chains[1].key;
    let subject = format!("ev.0.{}.{}.{}", key.tenant, key.aggregate_type, key.aggregate_id);
    setup.api("STREAM.PURGE.aos-cell-0", json!({ "filter": subject, "keep": 1 })).await;
    // Where a node runs, by verify; at its next start; and by a node that never saw the commits.
    let holes = |broken: &[Broken]| {
        broken.iter().any(|broken| broken.kind == BrokenKind::Missing && broken.first_sequence == 2)
    };
    let report = running.verify().await.unwrap();
    assert!(holes(&report.broken), "{:?}", report.broken);
    let missing = report.broken.iter().filter(|broken| broken.kind == BrokenKind::Missing).count();
    assert_eq!(missing, 9, "each hole is named: {:?}", report.broken);
    assert!(running.stopped(0).is_some());
    for node in ["a", "c"] {
        let log = setup.open(node).await;
        assert!(holes(&log.damage()), "{node}: {:?}", log.damage());
        assert!(log.stopped(0).is_some());
        assert!(holes(&log.verify().await.unwrap().broken));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_part_of_a_large_cell_is_checked_beside_the_writer() {
    let setup = Setup::new(Nats::shared(1));
    let chains = written(&setup, 200).await;
    let key = chains[1].key;
    let subject = format!("ev.0.{}.{}.{}", key.tenant, key.aggregate_type, key.aggregate_id);
    setup.api("STREAM.PURGE.aos-cell-0", json!({ "filter": subject, "seq": 5 })).await;
    let options = Options { start_check_bytes: 4096, ..setup.options("a") };
    let log = JetStreamLog::open(options, setup.control("a")).await.unwrap();
    let found = async {
        while log.damage().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), found).await.expect("it is found");
    assert_eq!((log.damage()[0].kind, log.damage()[0].first_sequence), (BrokenKind::Missing, 2));
    assert!(log.stopped(0).is_some());
}

/// The same messages again, but two of them in the other order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swapped_pair_is_found() {
    let setup = Setup::new(Nats::shared(1));
    written(&setup, 40).await;
    let client = setup.client().await;
    let context = async_nats::jetstream::new(client.clone());
    let stream = context.get_stream("aos-cell-0").await.unwrap();
    let mut messages = Vec::new();
    for sequence in 1..=40 {
        let message = stream.get_raw_message(sequence).await.unwrap();
        messages.push((message.subject, message.payload));
    }
    let config = stream.cached_info().config.clone();
    context.delete_stream("aos-cell-0").await.unwrap();
    context.create_stream(config).await.unwrap();
    messages.swap(8, 9);
    for (subject, payload) in messages {
        context.publish(subject, payload).await.unwrap().await.unwrap();
    }
    let log = setup.open("a").await;
    let found = |broken: &[Broken]| {
        [9, 10].iter().all(|sequence| broken.iter().any(|broken| broken.first_sequence == *sequence))
    };
    assert!(found(&log.damage()), "at start: {:?}", log.damage());
    assert!(log.stopped(0).is_some());
    let report = log.verify().await.unwrap();
    assert!(found(&report.broken), "by verify: {:?}", report.broken);
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

/// A store that was put back to an earlier state is noticed by a running node when it reconnects,
/// and by a start after others wrote on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolled_back_store_is_found_at_reconnect_and_after_it_was_written_on() {
    let setup = Setup::new(Nats::start(1));
    let server = &setup.nats.servers[0];
    let mut chains = written(&setup, 40).await;
    let mut same = chains.clone();
    server.stop();
    let kept = tempfile::tempdir().unwrap();
    copy_folder(&server.store(), kept.path());
    server.start_again();
    let log = setup.open("a").await;
    for chain in &mut chains {
        chain.append(&*log, &[b"later"]).await;
    }
    let seen = log.head(0).await.unwrap();
    assert_eq!(seen.sequence, 44);
    server.kill();
    std::fs::remove_dir_all(server.store()).unwrap();
    copy_folder(kept.path(), &server.store());
    server.start_again();
    let noticed = async {
        while log.stopped(0).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), noticed).await.expect("the rollback is noticed");
    let damage = log.damage();
    let tail = |broken: &Broken| {
        (broken.kind, broken.first_sequence, broken.last_sequence) == (BrokenKind::Tail, 41, 44)
    };
    assert!(damage.iter().any(tail), "{damage:?}");
    assert_eq!(log.read(0, 0, &Filter::default(), ALL).await.unwrap_err().code(), "AOS-0102");
    let first = log.read(0, 0, &Filter::default(), ReadLimit { commits: 40, bytes: 1 << 20 }).await.unwrap();
    assert_eq!(first.commits.len(), 40, "reads of what is there go on");
    drop(log);

    // A node that never saw the later commits writes on: another history at the same sequences.
    let other = setup.open("b").await;
    assert_eq!(other.stopped(0), None);
    for chain in &mut same {
        chain.append(&*other, &[b"another"]).await;
    }
    let answer = other.check_against(0, seen.sequence, seen.running_hash, "projector `dcl`").await;
    assert!(matches!(answer, Err(LogError::Damaged { .. })), "a projector's checkpoint tells: {answer:?}");
    assert!(other.stopped(0).is_some_and(|reason| reason.contains("projector `dcl`")));
    let log = setup.open("a").await;
    assert!(log.damage().iter().any(|broken| broken.first_sequence == 41), "{:?}", log.damage());
    assert!(log.stopped(0).is_some());
    assert!(!log.verify().await.unwrap().ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_node_reads_the_same_log() {
    let setup = Setup::new(Nats::shared(1));
    let log = setup.open("a").await;
    let mut chains: Vec<Chain> = (0..8).map(|_| Chain::new(AggregateType::Task)).collect();
    for _ in 0..(ANCHOR_COMMITS / 8 + 3) {
        let appends = chains.iter_mut().map(|chain| chain.append(&*log, &[b"x"]));
        futures::future::join_all(appends).await;
    }
    // One goes but for its last commit, one wholly: the first and the last of the cell among them.
    log.archive(&chains[0].key, true).await.unwrap();
    log.archive(&chains[7].key, false).await.unwrap();
    let before = history(&*log).await;
    let other = setup.open("b").await;
    let after = history(&*other).await;
    assert_eq!(before.len(), after.len());
    for (left, right) in before.iter().zip(&after) {
        assert_eq!((&left.bytes, left.running_hash), (&right.bytes, right.running_hash));
    }
    assert_eq!(
        other.load(&chains[7].key, 0).await.unwrap().len(),
        log.load(&chains[7].key, 0).await.unwrap().len()
    );
    let report = other.verify().await.unwrap();
    assert!(report.ok && report.commits_checked == before.len() as u64, "{:?}", report.broken);
    let reborn = Chain { version: 0, hash: None, ..chains[7].clone() };
    let refused = other.append(reborn.next(&[b"x"])).await;
    assert!(matches!(refused, Err(AppendError::Conflict { .. })), "{refused:?}");
    chains[7].append(&*other, &[b"late"]).await;
    drop((log, other));
    let anchors = |node: &str| setup.control(node).anchors(0).unwrap();
    let equal = async {
        while anchors("a").is_empty() || anchors("a") != anchors("b") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), equal).await.expect("both nodes anchor the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cells_are_fixed_and_each_is_dense() {
    let setup = Setup::new(Nats::shared(1));
    let options = Options { cells: 4, ..setup.options("a") };
    let log = JetStreamLog::open(options, setup.control("a")).await.unwrap();
    let mut counts = [0_u64; 4];
    for _ in 0..40 {
        let tenant = TenantId::random();
        let appended = Chain::of(tenant, AggregateType::Task).append(&*log, &[b"x"]).await;
        let cell = cell_of(tenant, 4);
        counts[cell as usize] += 1;
        assert_eq!((appended.position.cell, appended.position.sequence), (cell, counts[cell as usize]));
    }
    for (cell, count) in (0..4).zip(counts) {
        assert_eq!(log.head(cell).await.unwrap().sequence, count);
        let page = log.read(cell, 0, &Filter::default(), ALL).await.unwrap();
        assert_eq!(page.commits.len() as u64, count);
    }
    drop(log);
    let refused = setup.try_open("a").await.err();
    assert!(matches!(refused, Some(LogError::WrongCells { found: 4, asked: 1 })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_settings_are_refused_with_what_to_change() {
    let nats = Nats::start_with(1, "2m");
    let setup = Setup::new(Arc::clone(&nats));
    let refused = setup.try_open("a").await.err().unwrap();
    assert_eq!(refused.code(), "AOS-0108");
    let text = refused.to_string();
    assert!(text.contains("`jetstream.sync_interval` set to `120s`; the log needs `always`"), "{text}");
    // Who does not name the monitoring addresses takes the risk.
    let unchecked = Options { monitoring: Vec::new(), ..setup.options("a") };
    drop(JetStreamLog::open(unchecked.clone(), setup.control("a")).await.unwrap());
    let mut config = setup.api("STREAM.INFO.aos-cell-0", json!({})).await["config"].clone();
    config["allow_direct"] = json!(false);
    config["max_age"] = json!(3_600_000_000_000_u64);
    setup.api("STREAM.UPDATE.aos-cell-0", config.clone()).await;
    let refused = JetStreamLog::open(unchecked.clone(), setup.control("a")).await.err().unwrap();
    assert!(matches!(&refused, LogError::Misconfigured { setting, .. } if setting == "max_age"), "{refused}");
    config["max_age"] = json!(0);
    setup.api("STREAM.UPDATE.aos-cell-0", config.clone()).await;
    let refused = JetStreamLog::open(unchecked, setup.control("a")).await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "stream `aos-cell-0` has `allow_direct` set to `false`; the log needs `true`: change it and start again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purged_tenant_leaves_a_receipt_and_nothing_else() {
    let setup = Setup::new(Nats::shared(1));
    let log = setup.open("a").await;
    let tenant = TenantId::random();
    let mut gone: Vec<Chain> = (0..3).map(|_| Chain::of(tenant, AggregateType::Feed)).collect();
    let mut kept = Chain::new(AggregateType::Feed);
    let mut reservation = Chain::of(tenant, AggregateType::Reservation);
    for _ in 0..5 {
        for chain in gone.iter_mut().chain([&mut kept, &mut reservation]) {
            chain.append(&*log, &[b"x"]).await;
        }
    }
    log.archive(&gone[0].key, true).await.unwrap();
    let head = log.head(0).await.unwrap();
    assert_eq!(log.tenant_purge(tenant).await.unwrap(), 15);
    for node in ["a", "b"] {
        let log = if node == "a" { Arc::clone(&log) } else { setup.open(node).await };
        assert_eq!(log.head(0).await.unwrap(), head, "{node}: the running hash is as it was");
        for chain in &gone {
            assert!(log.load(&chain.key, 0).await.unwrap().is_empty());
        }
        assert_eq!(log.load(&kept.key, 0).await.unwrap().len(), 5);
        assert_eq!(log.load(&reservation.key, 0).await.unwrap().len(), 5, "reservations stay");
        let page = log.read(0, 0, &Filter::default(), ALL).await.unwrap();
        assert_eq!((page.commits.len(), page.scanned_to), (10, 25));
        let report = log.verify().await.unwrap();
        assert!(report.ok, "{node}: {:?}", report.broken);
        assert_eq!(log.stopped(0), None);
    }
}
