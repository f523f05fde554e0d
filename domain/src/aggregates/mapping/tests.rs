//! One mapping through drift: what is repaired alone, what waits, what is held, and the way back.

use super::{Binding, DriftImpact, Mapping, MappingCommand, MappingEvent, RepairStatus, lines::chain};
use crate::{
    aggregates::{
        tenant::{AutonomyMode, RepairPolicy},
        tests::state,
    },
    drift::{OverlapCheck, RepairChange},
    error::Error,
    ids::{ConnectionId, DriftId, RepairId, UserId},
    mapping::{MappingContent, MappingField, MappingOrigin, Transform},
    policy::{DriftPolicy, FieldPolicy, PolicyInForce},
};
use cqrs_es::Aggregate;
use proptest::prelude::*;
use uuid::Uuid;

pub(super) const AGREES: OverlapCheck = OverlapCheck::Agrees { compared: 100, disagreeing: 0 };
const OBJECTS: OverlapCheck = OverlapCheck::Objects { compared: 100, disagreeing: 60 };
const UNKNOWN: OverlapCheck = OverlapCheck::Unknown { compared: 0 };

pub(super) fn repair_id(number: u128) -> RepairId {
    RepairId(Uuid::from_u128(number))
}

fn line(source: &str, target: &str) -> MappingField {
    MappingField {
        source: source.into(),
        also: vec![],
        target: target.into(),
        transform: Transform::Copy,
        confidence: 1.0,
        origin: MappingOrigin::Matcher,
        evidence: vec![],
    }
}

pub(super) fn content(lines: &[(&str, &str)]) -> MappingContent {
    MappingContent {
        entity: Some("account".into()),
        key: vec!["id".into()],
        fields: lines.iter().map(|(source, target)| line(source, target)).collect(),
    }
}

fn base() -> MappingContent {
    content(&[("id", "external_id"), ("nm", "name"), ("web", "domain"), ("rev", "annual_revenue")])
}

fn created() -> Vec<MappingEvent> {
    let command = MappingCommand::CreateMapping {
        connection_id: ConnectionId(Uuid::nil()),
        stream: "accounts".into(),
        schema_version: 1,
        content: base(),
        origin: MappingOrigin::Matcher,
    };
    Mapping::default().decide(command).unwrap()
}

/// The drift of a column.
pub(super) fn drift_of(column: &str) -> DriftId {
    DriftId(Uuid::new_v5(&Uuid::nil(), column.as_bytes()))
}

/// `old` became `new` (a list by commas; an empty one: nothing known).
pub(super) fn impact(old: &str, new: &str, probability: f64, overlap: OverlapCheck) -> DriftImpact {
    let drift_id = drift_of(old);
    let change = RepairChange {
        drift_id,
        old_source: old.into(),
        new_sources: new.split(',').map(str::to_owned).collect(),
        adapt: None,
        probability,
        evidence: vec![],
        overlap,
        origin: MappingOrigin::Matcher,
    };
    let change = (!new.is_empty()).then_some(change);
    DriftImpact { drift_id, columns: vec![old.into()], change, key: old == "id" }
}

fn policies(protected: &[&str], on_drift: DriftPolicy) -> PolicyInForce {
    let policy = RepairPolicy::default();
    let field = |name: &&str| ((*name).to_owned(), FieldPolicy { policy, protected: true });
    PolicyInForce { policy, on_drift, fields: protected.iter().map(field).collect() }
}

pub(super) fn follow(schema_version: u32, impacts: Vec<DriftImpact>) -> MappingCommand {
    MappingCommand::FollowSchema {
        schema_version,
        from_version: schema_version - 1,
        impacts,
        policies: policies(&["external_id"], DriftPolicy::Repair),
        mode: AutonomyMode::Auto,
        automatic_id: repair_id(u128::from(schema_version) * 10),
        waiting_id: repair_id(u128::from(schema_version) * 10 + 1),
    }
}

pub(super) fn history(commands: Vec<MappingCommand>) -> Mapping {
    let mut mapping = state::<Mapping>(&created());
    for command in commands {
        for event in mapping.decide(command).unwrap() {
            mapping.apply(event);
        }
    }
    mapping
}

/// `1:m1[held]!`: schema version, mapping version, held fields, and a mark when rows are held.
fn shown(mapping: &Mapping) -> String {
    let bindings = mapping.bindings.values().map(|binding| {
        let Binding { schema_version, mapping_version, held, hold_rows, .. } = binding;
        let mark = if *hold_rows { "!" } else { "" };
        format!("{schema_version}:m{mapping_version}[{}]{mark}", held.join(","))
    });
    let mut repairs: Vec<_> = mapping.repairs.values().collect();
    repairs.sort_by_key(|repair| repair.number);
    let repairs =
        repairs.iter().map(|repair| format!("{}({})", repair.status.as_str(), repair.targets.join(",")));
    bindings.chain(repairs).collect::<Vec<_>>().join(" ")
}

pub(super) fn sources(mapping: &Mapping, schema_version: u32) -> String {
    let (_, content) = mapping.bound(schema_version).unwrap();
    content.fields.iter().map(|line| line.source.as_str()).collect::<Vec<_>>().join(",")
}

pub(super) fn check(commands: Vec<MappingCommand>, expect: &str) -> Mapping {
    let mapping = history(commands);
    assert_eq!(shown(&mapping), expect);
    mapping
}

#[test]
fn each_change_is_judged_alone() {
    let cases: Vec<(Vec<DriftImpact>, &str)> = vec![
        (vec![], "1:m1[] 2:m1[]"),
        (vec![impact("other", "else", 1.0, AGREES)], "1:m1[] 2:m1[]"),
        (vec![impact("nm", "title", 0.99, AGREES)], "1:m1[] 2:m2[] auto_applied(name)"),
        (vec![impact("nm", "title", 0.98, AGREES)], "1:m1[] 2:m1[name] pending_review(name)"),
        (vec![impact("nm", "title", 1.0, OBJECTS)], "1:m1[] 2:m1[name] pending_review(name)"),
        (vec![impact("nm", "title", 1.0, UNKNOWN)], "1:m1[] 2:m1[name] pending_review(name)"),
        (vec![impact("nm", "title", 0.59, AGREES)], "1:m1[] 2:m1[name] held(name)"),
        (vec![impact("nm", "", 0.0, UNKNOWN)], "1:m1[] 2:m1[name]"),
        (
            vec![
                impact("nm", "title", 0.999, AGREES),
                impact("web", "site", 0.8, AGREES),
                impact("rev", "income", 0.3, AGREES),
            ],
            "1:m1[] 2:m2[domain,annual_revenue] auto_applied(name) pending_review(domain) held(annual_revenue)",
        ),
        // Two changes that want the same new column: one keeps it, and a person is asked.
        (
            vec![impact("nm", "label", 0.999, AGREES), impact("web", "label", 0.995, AGREES)],
            "1:m1[] 2:m1[name,domain] pending_review(name)",
        ),
        (
            vec![impact("nm", "label", 0.999, AGREES), impact("web", "label", 0.2, AGREES)],
            "1:m1[] 2:m2[domain] auto_applied(name)",
        ),
        // A column that another line reads already.
        (vec![impact("nm", "web", 0.999, AGREES)], "1:m1[] 2:m1[name] pending_review(name)"),
        // A swap of names is one change for each.
        (
            vec![impact("nm", "web", 0.999, AGREES), impact("web", "nm", 0.999, AGREES)],
            "1:m1[] 2:m2[] auto_applied(name,domain)",
        ),
        // Protected, and the key: nobody's rows flow until a person says so.
        (vec![impact("id", "key", 0.999, AGREES)], "1:m1[] 2:m1[external_id]! pending_review(external_id)"),
        // A second drift of the same column that nothing answers.
        (
            vec![impact("nm", "title", 0.999, AGREES), impact("nm", "", 0.0, UNKNOWN)],
            "1:m1[] 2:m1[name] pending_review(name)",
        ),
    ];
    for (impacts, expect) in cases {
        check(vec![follow(2, impacts)], expect);
    }
}

#[test]
fn a_key_renamed_for_sure_keeps_rows_flowing() {
    let mut command = follow(2, vec![impact("id", "code", 0.999, AGREES)]);
    if let MappingCommand::FollowSchema { policies, .. } = &mut command {
        policies.fields.clear();
    }
    let mapping = check(vec![command], "1:m1[] 2:m2[] auto_applied(external_id)");
    assert_eq!(mapping.bound(2).unwrap().1.key, ["code"]);
    // Lost without a successor: whole batches wait, on later versions too.
    check(
        vec![follow(2, vec![impact("id", "", 0.0, UNKNOWN)]), follow(3, vec![])],
        "1:m1[] 2:m1[external_id]! 3:m1[external_id]!",
    );
}

#[test]
fn the_mode_caps_what_happens_alone() {
    for (mode, expect) in [
        (AutonomyMode::Observe, "1:m1[] 2:m1[name]"),
        (AutonomyMode::Recommend, "1:m1[] 2:m1[name] pending_review(name)"),
        (AutonomyMode::ApproveToAct, "1:m1[] 2:m1[name] pending_review(name)"),
        (AutonomyMode::Auto, "1:m1[] 2:m2[] auto_applied(name)"),
    ] {
        let mut command = follow(2, vec![impact("nm", "title", 1.0, AGREES)]);
        if let MappingCommand::FollowSchema { mode: of_command, .. } = &mut command {
            *of_command = mode;
        }
        check(vec![command], expect);
    }
}

#[test]
fn the_policy_on_drift_says_what_may_happen_alone() {
    let impacts = || {
        vec![
            impact("id", "code", 1.0, AGREES),
            impact("nm", "title", 1.0, AGREES),
            impact("web", "", 0.0, UNKNOWN),
            impact("rev", "turnover", 0.7, AGREES),
        ]
    };
    for (on_drift, expect) in [
        (
            DriftPolicy::Repair,
            "1:m1[] 2:m2[external_id,domain,annual_revenue]! auto_applied(name) pending_review(external_id,annual_revenue)",
        ),
        // The key and protected fields wait, everything else is read as it comes.
        (DriftPolicy::Propagate, "1:m1[] 2:m1[external_id]! pending_review(external_id)"),
        (
            DriftPolicy::Hold,
            "1:m1[] 2:m1[external_id,name,domain,annual_revenue]! held(external_id,name,annual_revenue)",
        ),
        (
            DriftPolicy::Pause,
            "1:m1[] 2:m1[external_id,name,domain,annual_revenue]! pending_review(external_id,name,annual_revenue)",
        ),
    ] {
        let mut command = follow(2, impacts());
        if let MappingCommand::FollowSchema { policies, .. } = &mut command {
            policies.on_drift = on_drift;
        }
        check(vec![command.clone()], expect);
        // No policy does more than the mode allows.
        if let MappingCommand::FollowSchema { mode, .. } = &mut command {
            *mode = AutonomyMode::Observe;
        }
        check(vec![command], "1:m1[] 2:m1[external_id,name,domain,annual_revenue]!");
    }
    let mut command = follow(2, impacts());
    if let MappingCommand::FollowSchema { policies, mode, .. } = &mut command {
        policies.on_drift = DriftPolicy::Propagate;
        *mode = AutonomyMode::Recommend;
    }
    check(
        vec![command],
        "1:m1[] 2:m1[external_id,name,domain,annual_revenue]! pending_review(external_id,name,annual_revenue)",
    );
}

#[test]
fn each_field_has_its_own_thresholds() {
    let mut command =
        follow(2, vec![impact("nm", "title", 0.95, AGREES), impact("web", "site", 0.95, AGREES)]);
    if let MappingCommand::FollowSchema { policies, .. } = &mut command {
        let policy = RepairPolicy { automatic_from: 0.9, ask_from: 0.5 };
        policies.fields.insert("name".into(), FieldPolicy { policy, protected: false });
        let policy = RepairPolicy { automatic_from: 1.0, ask_from: 0.96 };
        policies.fields.insert("domain".into(), FieldPolicy { policy, protected: false });
    }
    check(vec![command.clone()], "1:m1[] 2:m2[domain] auto_applied(name) held(domain)");
    if let MappingCommand::FollowSchema { policies, .. } = &mut command {
        let below = RepairPolicy { automatic_from: 0.5, ask_from: 0.5 };
        policies.fields.insert("name".into(), FieldPolicy { policy: below, protected: false });
    }
    let refused = history(vec![]).decide(command);
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
}

#[test]
fn following_twice_or_going_back_changes_nothing() {
    let mapping = history(vec![follow(2, vec![impact("nm", "title", 1.0, AGREES)])]);
    for version in [1, 2] {
        let mut again = follow(2, vec![impact("nm", "title", 1.0, AGREES)]);
        if let MappingCommand::FollowSchema { schema_version, .. } = &mut again {
            *schema_version = version;
        }
        assert_eq!(mapping.decide(again).unwrap(), vec![]);
    }
    // Another way on from version 1 carries version 1's own binding.
    let mut onwards = follow(3, vec![]);
    if let MappingCommand::FollowSchema { from_version, .. } = &mut onwards {
        *from_version = 1;
    }
    check(
        vec![follow(2, vec![impact("nm", "title", 1.0, AGREES)]), onwards],
        "1:m1[] 2:m2[] 3:m1[] auto_applied(name)",
    );
}

pub(super) fn approve(number: u128, edited: Option<MappingContent>) -> MappingCommand {
    MappingCommand::ApproveRepair {
        repair_id: repair_id(number),
        edited,
        part: None,
        by: UserId(Uuid::nil()),
    }
}

fn roll_back(number: u128) -> MappingCommand {
    MappingCommand::RollBackRepair { repair_id: repair_id(number), by: UserId(Uuid::nil()) }
}

pub(super) fn reject(number: u128) -> MappingCommand {
    MappingCommand::RejectRepair { repair_id: repair_id(number), part: None, by: UserId(Uuid::nil()) }
}

#[test]
fn an_approval_reaches_every_version_that_waits_for_it() {
    let waiting = || follow(2, vec![impact("nm", "title", 0.8, AGREES)]);
    let later = || follow(3, vec![impact("web", "site", 0.999, AGREES)]);
    let before = "1:m1[] 2:m1[name] 3:m2[name] pending_review(name) auto_applied(domain)";
    check(vec![waiting(), later()], before);
    let approved = check(
        vec![waiting(), later(), approve(21, None)],
        "1:m1[] 2:m3[] 3:m4[] approved(name) auto_applied(domain)",
    );
    assert_eq!(sources(&approved, 1), "id,nm,web,rev");
    assert_eq!(sources(&approved, 2), "id,title,web,rev");
    assert_eq!(sources(&approved, 3), "id,title,site,rev");
    assert_eq!(approved.decide(approve(21, None)).unwrap(), vec![]);
    assert!(matches!(approved.decide(reject(21)), Err(Error::WrongState { .. })));
    // The later version's repair lies beneath: the approval goes first.
    assert!(matches!(approved.decide(roll_back(30)), Err(Error::Conflict { .. })));
    let back = check(
        vec![waiting(), later(), approve(21, None), roll_back(21)],
        &before.replace("pending_review", "rolled_back"),
    );
    assert_eq!(sources(&back, 3), "id,nm,site,rev");
    let all_back = check(
        vec![waiting(), later(), approve(21, None), roll_back(21), roll_back(30)],
        "1:m1[] 2:m1[name] 3:m1[domain,name] rolled_back(name) rolled_back(domain)",
    );
    assert_eq!(sources(&all_back, 3), "id,nm,web,rev");
    assert_eq!(all_back.decide(roll_back(30)).unwrap(), vec![]);
}

#[test]
fn an_edited_approval_keeps_later_repairs() {
    let edited =
        content(&[("id", "external_id"), ("caption", "name"), ("web", "domain"), ("rev", "annual_revenue")]);
    let mapping = history(vec![
        follow(2, vec![impact("nm", "title", 0.8, AGREES)]),
        follow(3, vec![impact("web", "site", 0.999, AGREES)]),
        approve(21, Some(edited.clone())),
    ]);
    assert_eq!(mapping.bound(2).unwrap().1, &edited);
    assert_eq!(sources(&mapping, 3), "id,site,rev,caption");
}

#[test]
fn a_rejection_keeps_holding_and_a_persons_mapping_frees() {
    let waiting = || follow(2, vec![impact("nm", "title", 0.8, AGREES)]);
    check(vec![waiting(), reject(21)], "1:m1[] 2:m1[name] rejected(name)");
    let revise = || MappingCommand::ReviseMapping {
        content: content(&[("x", "name")]),
        schema_version: None,
        also_for: vec![],
    };
    let revised = check(vec![waiting(), revise()], "1:m1[] 2:m2[] expired(name)");
    assert_eq!(revised.decide(revise()).unwrap(), vec![]);
    assert!(matches!(revised.decide(approve(21, None)), Err(Error::WrongState { .. })));
    // Asked for: earlier batches of the same mapping too.
    let command = MappingCommand::ReviseMapping {
        content: content(&[("nm", "name")]),
        schema_version: Some(2),
        also_for: vec![1],
    };
    check(vec![follow(2, vec![]), command], "1:m2[] 2:m2[]");
    let on_top = MappingCommand::ReviseMapping {
        content: content(&[("y", "name")]),
        schema_version: None,
        also_for: vec![1],
    };
    let mapping = check(
        vec![follow(2, vec![impact("nm", "title", 0.999, AGREES)]), on_top],
        "1:m1[] 2:m3[] auto_applied(name)",
    );
    let refusal = mapping.decide(roll_back(20)).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "conflict: mapping version `3` was made from this repair's: roll that back first"
    );
}

#[test]
fn an_automatic_repair_rolls_back_to_what_it_replaced() {
    let mapping = check(
        vec![follow(2, vec![impact("nm", "title", 0.999, AGREES)]), follow(3, vec![]), roll_back(20)],
        "1:m1[] 2:m1[name] 3:m1[name] rolled_back(name)",
    );
    assert_eq!(sources(&mapping, 3), "id,nm,web,rev");
}

#[test]
fn a_waiting_repair_whose_new_column_drifts_expires() {
    check(
        vec![
            follow(2, vec![impact("nm", "title", 0.8, AGREES)]),
            follow(3, vec![impact("title", "heading", 0.9, AGREES)]),
        ],
        "1:m1[] 2:m1[name] 3:m1[name] expired(name)",
    );
}

#[test]
fn changes_are_written_into_lines() {
    let scale = || Transform::Scale { factor: "0.01".into() };
    let comma = || Transform::ParseDecimalComma;
    let mut cents = impact("rev", "rev", 0.999, AGREES);
    if let Some(change) = &mut cents.change {
        change.adapt = Some(scale());
    }
    let mapping =
        history(vec![follow(2, vec![cents]), follow(3, vec![impact("nm", "first,last", 0.999, AGREES)])]);
    let (_, content) = mapping.bound(3).unwrap();
    assert_eq!((content.fields[3].source.as_str(), &content.fields[3].transform), ("rev", &scale()));
    assert_eq!(
        (content.fields[1].source.as_str(), &content.fields[1].also),
        ("first", &vec!["last".to_owned()])
    );
    assert_eq!(content.fields[1].transform, Transform::Join { separator: " ".into() });
    let nested = Transform::Chain { steps: vec![Transform::Copy, Transform::Chain { steps: vec![comma()] }] };
    assert_eq!(chain(vec![scale(), nested]), Transform::Chain { steps: vec![scale(), comma()] });
    assert_eq!(chain(vec![Transform::Copy]), Transform::Copy);
}

#[test]
fn mappings_that_cannot_run_are_refused() {
    let twice = content(&[("a", "name"), ("b", "name")]);
    let mut raw = base();
    raw.entity = None;
    let mut scaled = base();
    scaled.fields[3].transform = Transform::Scale { factor: "1; drop".into() };
    let mut sure = base();
    sure.fields[0].confidence = 99.0;
    let mut joined = base();
    joined.fields[0].also = vec!["b".into()];
    let mapping = history(vec![]);
    for (content, field) in [
        (twice, "/content/fields/1/target"),
        (raw, "/content/fields"),
        (scaled, "/content/fields/3/transform"),
        (sure, "/content/fields/0/confidence"),
        (joined, "/content/fields/0/transform"),
    ] {
        let command = MappingCommand::ReviseMapping { content, schema_version: None, also_for: vec![] };
        match mapping.decide(command) {
            Err(Error::Invalid { field: pointer, .. }) => assert_eq!(pointer, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

fn any_impact() -> impl Strategy<Value = DriftImpact> {
    let column = || prop::sample::select(vec!["id", "nm", "web", "rev", "a", "b"]);
    let overlap = prop::sample::select(vec![AGREES, OBJECTS, UNKNOWN]);
    let probability = prop_oneof![Just(0.999), Just(0.8), Just(0.3), Just(f64::NAN)];
    (column(), prop_oneof![Just(""), column()], probability, overlap)
        .prop_map(|(old, new, probability, overlap)| impact(old, new, probability, overlap))
}

fn any_command() -> impl Strategy<Value = MappingCommand> {
    let repair = || (2..9_u128, 0..2_u128).prop_map(|(version, which)| version * 10 + which);
    prop_oneof![
        4 => (2..9_u32, 1..9_u32, prop::collection::vec(any_impact(), 0..4)).prop_map(|(to, from, impacts)| {
            let mut command = follow(to, impacts);
            if let MappingCommand::FollowSchema { from_version, .. } = &mut command {
                *from_version = from;
            }
            command
        }),
        2 => repair().prop_map(|number| approve(number, None)),
        2 => (repair(), prop::sample::select(vec!["id", "nm", "web"]), any::<bool>())
            .prop_map(|(number, column, approves)| super::parts::tests::decide(number, &[column], approves)),
        1 => repair().prop_map(|number| approve(number, Some(content(&[("e", "name")])))),
        1 => repair().prop_map(reject),
        2 => repair().prop_map(roll_back),
        1 => repair().prop_map(|number| MappingCommand::ExpireRepair { repair_id: repair_id(number) }),
        1 => (prop::option::of(1..9_u32), prop::sample::select(vec!["p", "q"])).prop_map(
            |(schema_version, source)| MappingCommand::ReviseMapping {
                content: content(&[(source, "name")]),
                schema_version,
                also_for: vec![1, 2],
            }
        ),
    ]
}

proptest! {
    #[test]
    fn every_followed_version_is_bound_to_content_that_is_kept(
        commands in prop::collection::vec(any_command(), 0..40)
    ) {
        let mut mapping = state::<Mapping>(&created());
        for command in commands {
            let before = mapping.clone();
            let followed = match &command {
                MappingCommand::FollowSchema { schema_version, .. } => Some(*schema_version),
                _ => None,
            };
            let events = mapping.decide(command);
            prop_assert_eq!(&mapping, &before);
            for event in events.unwrap_or_default() {
                if let MappingEvent::RepairProposed { status: RepairStatus::AutoApplied, changes, .. } = &event {
                    prop_assert!(changes.iter().all(|change| change.probability >= 0.99 && change.overlap == AGREES));
                }
                mapping.apply(event);
            }
            if let Some(version) = followed {
                prop_assert!(mapping.bindings.contains_key(&version));
            }
            for version in mapping.bindings.keys() {
                let Some((binding, content)) = mapping.bound(*version) else {
                    panic!("schema version {version} has lost its content")
                };
                let mapped = |target: &String| content.fields.iter().any(|line| line.target == *target);
                prop_assert!(binding.held.iter().all(mapped));
            }
            for repair in mapping.repairs.values().filter(|repair| repair.status.is_applied()) {
                prop_assert!(repair.made.values().all(|version| mapping.contents.contains_key(version)));
            }
            let json = serde_json::to_string(&mapping).unwrap();
            prop_assert!(serde_json::from_str::<Mapping>(&json).is_ok());
        }
    }
}

/// A change that somebody else found after the drift was followed.
fn offer(old: &str, new: &str, probability: f64, overlap: OverlapCheck) -> MappingCommand {
    let mut change = impact(old, new, probability, overlap).change.unwrap();
    change.origin = MappingOrigin::Llm;
    MappingCommand::OfferRepair {
        schema_version: 2,
        changes: vec![change],
        policies: policies(&["external_id"], DriftPolicy::Repair),
        mode: AutonomyMode::Auto,
        repair_id: repair_id(99),
    }
}

#[test]
fn what_is_offered_late_always_waits_for_a_person() {
    let lost = |column: &str| follow(2, vec![impact(column, "", 0.0, UNKNOWN)]);
    let cases = [
        (lost("nm"), offer("nm", "title", 0.77, UNKNOWN), "1:m1[] 2:m1[name] pending_review(name)"),
        // However sure it says it is, and whatever it says was checked.
        (lost("nm"), offer("nm", "title", 1.0, AGREES), "1:m1[] 2:m1[name] pending_review(name)"),
        (lost("nm"), offer("nm", "title", 0.4, UNKNOWN), "1:m1[] 2:m1[name] held(name)"),
        // What does not wait, what another line reads, a key, and no number.
        (lost("nm"), offer("rev", "income", 0.8, UNKNOWN), "1:m1[] 2:m1[name]"),
        (lost("nm"), offer("nm", "web", 0.8, UNKNOWN), "1:m1[] 2:m1[name]"),
        (lost("id"), offer("id", "code", 0.8, UNKNOWN), "1:m1[] 2:m1[external_id]!"),
        (lost("nm"), offer("nm", "title", f64::NAN, UNKNOWN), "1:m1[] 2:m1[name]"),
        // Nobody was asked about the first one: it gives way. One that is asked stays alone.
        (
            follow(2, vec![impact("nm", "label", 0.3, UNKNOWN)]),
            offer("nm", "title", 0.77, UNKNOWN),
            "1:m1[] 2:m1[name] expired(name) pending_review(name)",
        ),
        (
            follow(2, vec![impact("nm", "label", 0.7, UNKNOWN)]),
            offer("nm", "title", 0.77, UNKNOWN),
            "1:m1[] 2:m1[name] pending_review(name)",
        ),
    ];
    for (drifted, offered, expect) in cases {
        let mapping = check(vec![drifted, offered.clone()], expect);
        assert_eq!(mapping.decide(offered), Ok(vec![]), "offered twice, it is there once");
    }
    let by = UserId(Uuid::nil());
    let approve = MappingCommand::ApproveRepair { repair_id: repair_id(99), edited: None, part: None, by };
    let mapping =
        check(vec![lost("nm"), offer("nm", "title", 0.77, UNKNOWN), approve], "1:m1[] 2:m2[] approved(name)");
    let (_, content) = mapping.bound(2).unwrap();
    let name = content.fields.iter().find(|line| line.target == "name").unwrap();
    assert_eq!((name.source.as_str(), name.origin), ("title", MappingOrigin::Llm));
}
