//! The checks.

use super::{Copy, Fixture, Record, ends_when_cancelled, keeps_secrets};
use autonomos_connectors::{Connector, ConnectorError, ReadEvent};
use autonomos_domain::schema::{StreamSelection, SyncMode};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

/// Bytes of a usual record, and of a large one.
const PAD: usize = 1_000;
const LARGE: usize = 4_000;

/// What a source holds, known without reading it: the names by the numbers.
struct Held<'a, F> {
    fixture: &'a F,
    names: BTreeMap<u32, String>,
    rounds: u32,
}

impl<'a, F: Fixture> Held<'a, F> {
    async fn new(fixture: &'a F, count: u32, pad: usize) -> Self {
        let mut held = Self { fixture, names: BTreeMap::new(), rounds: 0 };
        held.insert(1..=count, pad).await;
        held
    }

    async fn insert(&mut self, numbers: impl Iterator<Item = u32>, pad: usize) {
        let records: Vec<Record> =
            numbers.map(|number| Record { number, name: format!("record {number}"), pad }).collect();
        self.fixture.insert(&records).await;
        self.names.extend(records.into_iter().map(|record| (record.number, record.name)));
    }

    /// Most records get another name, one another number, some go, and others come: several batches of
    /// changes.
    async fn change(&mut self, deletes: bool) {
        self.rounds += 1;
        let (fixture, round) = (self.fixture, self.rounds);
        let numbers = |part: &dyn Fn(u32) -> bool| -> Vec<u32> {
            self.names.keys().copied().filter(|number| part(*number)).collect()
        };
        let name = format!("round {round}");
        let renamed = numbers(&|number| !(number + round).is_multiple_of(3));
        let gone = numbers(&|number| (number + round).is_multiple_of(7));
        fixture.rename(&renamed, &name).await;
        for number in renamed {
            self.names.insert(number, name.clone());
        }
        if deletes {
            fixture.delete(&gone).await;
            for number in gone {
                self.names.remove(&number);
            }
            let first = *self.names.keys().next().expect("a record");
            let other = 2_000_000 + round;
            if fixture.renumber(first, other).await {
                let name = self.names.remove(&first).expect("its name");
                self.names.insert(other, name);
            }
        }
        let from = 1_000_000 + round * 100;
        self.insert(from..from + 20, PAD).await;
    }

    /// Whether a reader has what the source holds.
    #[track_caller]
    fn check(&self, copy: &Copy, case: &str) {
        let [number, name] = self.fixture.columns();
        let row = |row: &BTreeMap<String, String>| {
            (row[number].parse::<u32>().expect("a number"), row.get(name).cloned().unwrap_or_default())
        };
        let has: BTreeMap<u32, String> = copy.rows.values().map(row).collect();
        assert_eq!(copy.rows.len(), self.names.len(), "{case}: records");
        for (number, name) in &self.names {
            assert_eq!(has.get(number), Some(name), "{case}: record {number}");
        }
        assert_eq!(copy.refusals, Vec::<String>::new(), "{case}: none is rejected");
    }
}

/// However a read is cut, by dropping it or by cancelling it, and wherever, it goes on to the same rows, each
/// once: of a snapshot, of what changes while it is read, and of what changes after it.
pub async fn cut_anywhere(fixture: &impl Fixture) {
    let mut held = Held::new(fixture, fixture.several(), PAD).await;
    let connector = fixture.connector();
    for mode in fixture.modes() {
        let selection = fixture.selection(mode);
        let deletes = fixture.tells_deletes(mode);
        let whole = cut_everywhere(&*connector, &Copy::default(), &selection, &held).await;
        assert!(whole.batches >= 3, "{} batches", whole.batches);
        assert_eq!(whole.snapshots, 1, "{mode:?}");

        let mut copy = Copy::default();
        assert!(!copy.read(&*connector, &selection, 2).await.expect("reads"));
        held.change(deletes).await;
        copy.read_in_pieces(&*connector, &selection).await.expect("reads");
        // Where changes are not followed, a record that changed behind the reader is seen the next time.
        copy.read_all(&*connector, &selection).await.expect("reads");
        held.check(&copy, &format!("{mode:?}, changed while it is read"));
        let snapshots = copy.snapshots;

        held.change(deletes).await;
        let changed = cut_everywhere(&*connector, &copy, &selection, &held).await;
        assert!(changed.batches - copy.batches >= 2, "{mode:?}: several batches of changes");
        if mode != SyncMode::Full && !fixture.has_editions() {
            assert_eq!((snapshots, changed.snapshots), (1, 1), "{mode:?}");
        }
    }
}

/// Reads on from a copy without a cut, in pieces, and cancelled after each batch in turn; the first.
async fn cut_everywhere<F: Fixture>(
    connector: &dyn Connector,
    from: &Copy,
    selection: &StreamSelection,
    held: &Held<'_, F>,
) -> Copy {
    let mode = selection.sync_mode.expect("a mode");
    // By what changed: what is as late as the last row comes again, and is the same row.
    let exact = mode != SyncMode::Incremental;
    let mut whole = from.clone();
    whole.read_all(connector, selection).await.expect("reads");
    held.check(&whole, &format!("{mode:?}"));

    let mut pieces = from.clone();
    let cuts = pieces.read_in_pieces(connector, selection).await.expect("reads");
    let case = format!("{mode:?}, cut {cuts} times");
    held.check(&pieces, &case);
    assert!(cuts >= 1, "{case}");
    if exact {
        assert_eq!((pieces.taken, pieces.snapshots), (whole.taken, whole.snapshots), "{case}");
    }
    for batches in 0.. {
        let mut copy = from.clone();
        let ended = copy.read_and_cancel(connector, selection, batches).await.expect("reads");
        copy.read_all(connector, selection).await.expect("reads");
        let case = format!("{mode:?}, cancelled after {batches} batches");
        // A whole read that was at its end is made again.
        if !ended && exact && copy.snapshots == whole.snapshots {
            assert_eq!(copy.taken, whole.taken, "{case}: each once");
        }
        held.check(&copy, &case);
        if ended {
            break;
        }
        assert!(batches == 0 || mode == SyncMode::Full || copy.snapshots == whole.snapshots, "{case}");
    }
    whole
}

/// While nobody takes what was read, no more than a few batches are asked of the source: in the time in
/// which another reader came to its end.
pub async fn reads_no_further_than_taken(fixture: &impl Fixture) {
    let held = Held::new(fixture, fixture.many(), LARGE).await;
    let selection = fixture.selection(SyncMode::Full);
    let (waiting, asked) = fixture.metered().await;
    let mut events = waiting.read(&selection, SyncMode::Full, None, CancellationToken::new());
    let mut copy = Copy::default();
    while copy.batches == 0 {
        copy.apply(events.next().await.expect("goes on").expect("reads"));
    }
    let (other, all) = fixture.metered().await;
    let mut whole = Copy::default();
    whole.read_all(&*other, &selection).await.expect("reads");
    held.check(&whole, "the other one");
    let (asked, all) = (asked(), all());
    assert!(asked > 0 && asked * 2 < all, "{asked} of {all}");
    while let Some(event) = events.next().await {
        copy.apply(event.expect("reads"));
    }
    held.check(&copy, "the one that waited");
    assert_eq!(copy.taken, whole.taken, "each once");
}

/// A read ends once it is cancelled, in each mode.
pub async fn ends_when_told(fixture: &impl Fixture) {
    let _held = Held::new(fixture, fixture.several(), PAD).await;
    let connector = fixture.connector();
    for mode in fixture.modes() {
        ends_when_cancelled(&*connector, &fixture.selection(mode)).await;
    }
}

/// Nothing that a connection says holds a secret: neither one that works, nor one that is refused.
pub async fn tells_no_secret(fixture: &impl Fixture) {
    let _held = Held::new(fixture, 3, 10).await;
    let selection = fixture.selection(SyncMode::Full);
    let connector = fixture.connector();
    let mut said = Vec::new();
    assert!(!says(&*connector, &selection, &mut said).await, "one that works");
    for mode in fixture.modes() {
        says(&*connector, &fixture.selection(mode), &mut said).await;
    }
    for refused in fixture.refused() {
        assert!(says(&*refused, &selection, &mut said).await, "one that is refused");
    }
    let secrets = fixture.secrets();
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    keeps_secrets(said.iter().map(String::as_str), &secrets);
}

/// Notes whatever a connection says; whether it is refused, by each of its ways.
async fn says(connector: &dyn Connector, selection: &StreamSelection, said: &mut Vec<String>) -> bool {
    let mut refusal = |error: &ConnectorError| {
        said.extend([error.to_string(), format!("{error:?}"), error.code().to_owned()]);
        true
    };
    let mode = selection.sync_mode.unwrap_or(SyncMode::Full);
    let mut events = connector.read(selection, mode, None, CancellationToken::new());
    let (mut refused, mut told) = (false, Vec::new());
    while let Some(event) = events.next().await {
        match &event {
            Err(error) => refused = refusal(error),
            Ok(ReadEvent::Batch { cursor, .. } | ReadEvent::Completed { cursor }) => {
                told.push(cursor.to_string());
            }
            Ok(_) => {}
        }
        told.push(format!("{event:?}"));
    }
    match connector.discover(CancellationToken::new()).await {
        Err(error) => assert!(refusal(&error) && refused, "a read of it was not refused"),
        Ok(found) => {
            assert!(!refused, "a read of it was refused");
            told.push(format!("{found:?}"));
        }
    }
    let steps = connector.check().await.expect("checks");
    assert_eq!(steps.iter().any(|step| !step.passed), refused, "{steps:?}");
    told.extend(steps.iter().map(|step| format!("{step:?}")));
    said.extend(told);
    refused
}

/// A cursor that cannot be read is as good as none; one of another mode is of no use, or goes on where it is.
pub async fn stale_cursor_begins_anew(fixture: &impl Fixture) {
    let held = Held::new(fixture, fixture.several(), PAD).await;
    let connector = fixture.connector();
    let modes = fixture.modes();
    for mode in &modes {
        let selection = fixture.selection(*mode);
        let broken = [Value::Null, json!(7), json!("there"), json!([]), json!({}), json!({ "mode": "full" })];
        for cursor in broken {
            let case = format!("{mode:?} from {cursor}");
            let mut copy = Copy::at(cursor);
            copy.read_all(&*connector, &selection).await.expect("reads");
            held.check(&copy, &case);
            assert_eq!(copy.snapshots, 1, "{case}");
        }
        for other in modes.iter().filter(|other| *other != mode) {
            let case = format!("{mode:?}, then {other:?}");
            let mut copy = Copy::default();
            assert!(!copy.read(&*connector, &selection, 2).await.expect("reads"));
            copy.read_all(&*connector, &fixture.selection(*other)).await.expect("reads");
            held.check(&copy, &case);
            copy.read_all(&*connector, &selection).await.expect("reads");
            held.check(&copy, &case);
        }
    }
}
