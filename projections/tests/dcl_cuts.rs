//! Tables are a pure function of the log's prefix: whatever transactions the commits are applied in,
//! every table comes out equal, and every past moment shows what was shown then.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use autonomos_domain::{aggregates::mapping::Binding, mapping::Transform};
use autonomos_projections::dcl::{DclOptions, Runs};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use support::{Log, Stream, Views, bound, content, held, line, line_with};

const COLUMNS: &str = "id,name,domain,city,staff,changed";
const FIELDS: &[&str] = &["name", "domain", "billing_city", "employee_count", "updated_at"];

fn account(staff: Transform) -> autonomos_domain::mapping::MappingContent {
    content(
        Some("account"),
        vec![
            line("name", "name"),
            line("domain", "domain"),
            line("city", "billing_city"),
            line_with("staff", "employee_count", staff),
            line("changed", "updated_at"),
        ],
    )
}

fn row(random: &mut ChaCha8Rng) -> String {
    let pick = |random: &mut ChaCha8Rng, of: &[&str]| (*of.choose(random).unwrap()).to_owned();
    [
        random.random_range(1..9).to_string(),
        pick(random, &["Acme", "Acme Inc", "Bolt", "Core", "-"]),
        pick(random, &["acme.com", "www.acme.com", "bolt.com", "core.io", "gmail.com", "-", "-", "-"]),
        pick(random, &["Ulm", "Bonn", "-"]),
        pick(random, &["1", "2", "3", "n/a", "-"]),
        pick(random, &["2023-01-01", "2023-02-01", "2999-01-01", "-", "soon"]),
    ]
    .join(",")
}

fn rows(random: &mut ChaCha8Rng) -> Vec<String> {
    (0..random.random_range(1..4)).map(|_| row(random)).collect()
}

fn batch(log: &mut Log, random: &mut ChaCha8Rng, stream: &mut Stream, schema_version: u32) {
    let rows = rows(random);
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    if random.random_ratio(1, 8) {
        let rows: Vec<String> = rows.iter().map(|row| format!("{row},delete")).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        log.batch(stream, schema_version, &format!("{COLUMNS},_aos_op"), &rows);
    } else {
        log.batch(stream, schema_version, COLUMNS, &rows);
    }
}

/// A log of about `length` commits in which much happens to few records.
fn random_log(seed: u64, length: usize) -> Log {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut log = Log::default();
    let mut streams: Vec<(Stream, u32, u32)> = (1..=3)
        .map(|number| {
            let stream = log.stream(number, "accounts");
            log.map(&stream, account(Transform::Copy));
            (stream, 1, 1)
        })
        .collect();
    while log.commits.len() < length {
        let chosen = random.random_range(0..streams.len());
        let other = random.random_range(0..streams.len());
        let keys = [random.random_range(1..9), random.random_range(1..9)];
        let sids = [streams[chosen].0.sid(&keys[0].to_string()), streams[other].0.sid(&keys[1].to_string())];
        let (stream, schema, mapping) = &mut streams[chosen];
        match random.random_range(0..100) {
            0..60 => batch(&mut log, &mut random, stream, *schema),
            60..72 => {
                log.snapshot_start(stream);
                for _ in 0..random.random_range(1..3) {
                    batch(&mut log, &mut random, stream, *schema);
                }
                if random.random_ratio(1, 5) {
                    log.snapshot_abandon(stream);
                } else {
                    log.snapshot_complete(stream);
                }
            }
            72..76 => {
                *schema += 1;
                let binding = match random.random_range(0..4) {
                    0 => bound(*schema, *mapping),
                    1 => held(*schema, *mapping, &["employee_count"]),
                    2 => held(*schema, *mapping, &["domain", "updated_at"]),
                    _ => Binding { hold_rows: true, ..bound(*schema, *mapping) },
                };
                log.bind(stream, binding);
            }
            76..80 => {
                log.bind(stream, bound(*schema, *mapping));
            }
            80..84 => {
                *mapping += 1;
                let staff = if random.random() {
                    Transform::Copy
                } else {
                    Transform::Scale { factor: "10".to_owned() }
                };
                log.revise(stream, *mapping, account(staff), vec![bound(*schema, *mapping)]);
            }
            84..86 => {
                let suspect_from = Some(random.random_range(1..6));
                log.bind(stream, Binding { suspect_from, ..held(*schema, *mapping, &["name"]) });
            }
            86..91 if sids[0] != sids[1] => {
                log.merge("account", sids[0], sids[1]);
            }
            91..96 if sids[0] != sids[1] => {
                log.unmerge("account", sids[0], sids[1]);
            }
            96..98 => {
                log.prioritise(stream, keys[0]);
            }
            98 => {
                log.close(stream);
            }
            _ => {}
        }
    }
    log
}

/// What a reader sees at a moment.
fn shown(views: &Views, at: u64) -> Vec<String> {
    views.rows_at("account", FIELDS, at)
}

fn check(seed: u64) {
    let log = random_log(seed, 60);
    // One commit at a time: what each moment showed.
    let dir = tempfile::tempdir().unwrap();
    let mut live = Views::new(dir.path());
    let mut moments = Vec::new();
    for position in 1..=log.commits.len() as u64 {
        live.step(&log, 1);
        moments.push(live.rows("account", FIELDS));
        assert_eq!(moments.last(), Some(&shown(&live, position)), "seed {seed}, position {position}");
    }
    let expected = live.dump();
    for (position, moment) in (1_u64..).zip(&moments) {
        assert_eq!(
            *moment,
            shown(&live, position),
            "seed {seed}: position {position} shows something else later"
        );
    }
    // All at once, and in random pieces; as small runs, and as large ones that have two transactions,
    // with failures between them.
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0xc07);
    let large = Runs { rows: 12, least_rows: 2, apart_rows: 3 };
    for attempt in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let runs = if attempt < 2 { Runs::default() } else { large };
        let mut views = Views::with(dir.path(), DclOptions { runs, ..DclOptions::default() });
        while views.applied() < log.commits.len() {
            let left = log.commits.len() - views.applied();
            let count = if attempt % 2 == 0 { left } else { random.random_range(1..=left.min(25)) };
            if attempt == 4 {
                views.stumble(&log, random.random_range(1..=left));
            }
            views.step(&log, count.min(log.commits.len() - views.applied()));
        }
        let found = views.dump();
        assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "seed {seed}");
        for (table, rows) in &expected {
            assert_eq!(*rows, found[table], "seed {seed}, attempt {attempt}, table {table}");
        }
    }
    invariants(&live, seed);
}

/// What must hold in every file.
fn invariants(views: &Views, seed: u64) {
    let none = |what: &str, sql: &str| {
        assert_eq!(views.query(sql), Vec::<String>::new(), "seed {seed}: {what}");
    };
    none(
        "a record has two current versions",
        "SELECT source_id FROM rec_account GROUP BY sid, source_id HAVING count(*) > 1",
    );
    none(
        "versions of a record overlap",
        "SELECT a.source_id FROM (SELECT sid, source_id, \"from\", \"to\" FROM rec_account_h UNION ALL \
         SELECT sid, source_id, \"from\", 1::BIGINT << 60 FROM rec_account) a JOIN rec_account_h b \
         ON a.sid = b.sid AND a.\"from\" < b.\"to\" AND b.\"from\" < a.\"to\" AND (a.\"from\" <> b.\"from\" OR a.\"to\" <> b.\"to\")",
    );
    none("a version has no length", "SELECT source_id FROM rec_account_h WHERE \"from\" >= \"to\"");
    none(
        "two unified rows share an id",
        "SELECT CAST(uid AS VARCHAR) FROM rec_account GROUP BY uid HAVING count(*) > 1 AND bool_or(solo)",
    );
    none(
        "members and unified rows disagree",
        "SELECT CAST(coalesce(r.uid, u.uid) AS VARCHAR) FROM (SELECT uid, count(*) AS n FROM rec_account WHERE NOT solo GROUP BY uid) r \
         FULL JOIN uni_account u ON u.uid = r.uid WHERE r.n IS DISTINCT FROM u.members OR r.n < 2",
    );
}

/// A test a seed, so that they run side by side.
mod any_cut_gives_equal_tables {
    macro_rules! seeds {
        ($($name:ident = $seed:literal),*) => {
            $(#[test] fn $name() { super::check($seed); })*
        };
    }
    seeds!(first = 0, second = 1, third = 2, fourth = 3);
}
