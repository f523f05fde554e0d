//! Who decides about repairs, as a tenant sets it: rules for everything, a connection, an entity or a
//! field, of which the most specific that says something about a setting wins.

use crate::{
    aggregates::tenant::RepairPolicy,
    error::Error,
    ids::ConnectionId,
    limits::{self, quoted},
    ontology::Entity,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Rules that one tenant may have.
pub const RULES: usize = 1_000;
/// Days after which a proposal may expire, at most.
pub const EXPIRY_DAYS: u32 = 365;

/// What a connection's drift leads to. The autonomy mode caps it: in every other one than `auto`,
/// `propagate` holds as `repair` does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftPolicy {
    /// What is sure enough is repaired, the rest is asked and its cells wait.
    #[default]
    Repair,
    /// The view follows the source: nothing is repaired and no cell waits. What concerns a record's key
    /// or a protected field waits all the same.
    Propagate,
    /// Nothing applies alone and nobody is asked: cells wait, and what would help is kept beside them.
    Hold,
    /// Nothing applies alone, and the stream is not read on until nothing of it waits.
    Pause,
}

/// One rule. What it leaves out is said by a less specific one; at least one setting is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RepairRule {
    /// None: all connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_id: Option<ConnectionId>,
    /// By its singular name. None: all entities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// A field of `entity`. None: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Least probability to apply alone, 0.85 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub automatic_from: Option<f64>,
    /// Least probability to ask a person, 0 to `automatic_from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask_from: Option<f64>,
    /// Never repaired without a person. What the ontology protects stays so whatever a rule says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
    /// Of all connections or of one: not of an entity or a field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_drift: Option<DriftPolicy>,
}

/// All rules of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RepairRules {
    pub rules: Vec<RepairRule>,
    /// Proposals made from now on expire when nobody decided about them for so many days, 1 to 365.
    /// None: never.
    pub expire_after_days: Option<u32>,
}

/// What is in force for one field.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FieldPolicy {
    #[serde(flatten)]
    pub policy: RepairPolicy,
    pub protected: bool,
}

/// What is in force for one stream: a connection's, read into an entity.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyInForce {
    /// For what is no field: a record's key.
    pub policy: RepairPolicy,
    pub on_drift: DriftPolicy,
    /// Of every field of the entity.
    pub fields: BTreeMap<String, FieldPolicy>,
}

impl RepairRule {
    /// Connection, entity, field.
    fn selector(&self) -> (Option<ConnectionId>, Option<&str>, Option<&str>) {
        (self.connection_id, self.entity.as_deref(), self.field.as_deref())
    }

    fn applies(&self, connection: Option<ConnectionId>, entity: Option<&str>, field: Option<&str>) -> bool {
        self.connection_id.is_none_or(|own| Some(own) == connection)
            && self.entity.as_deref().is_none_or(|own| Some(own) == entity)
            && self.field.as_deref().is_none_or(|own| Some(own) == field)
    }

    /// A field before an entity before a connection before everything.
    fn rank(&self) -> (bool, bool, bool) {
        (self.field.is_some(), self.entity.is_some(), self.connection_id.is_some())
    }

    fn check(&self, index: usize) -> Result<(), Error> {
        let refuse =
            |field: &str, message: String| Err(Error::invalid(format!("/rules/{index}/{field}"), message));
        if let Some(entity) = &self.entity {
            limits::identifier(&format!("/rules/{index}/entity"), entity)?;
        }
        if let Some(field) = &self.field {
            limits::identifier(&format!("/rules/{index}/field"), field)?;
            if self.entity.is_none() {
                return refuse("field", format!("{} is a field of which entity?", quoted(field)));
            }
        }
        if self.on_drift.is_some() && self.entity.is_some() {
            return refuse("on_drift", "it is of a connection as a whole".to_owned());
        }
        if let Some(value) = self.automatic_from
            && !(RepairPolicy::AUTOMATIC_FLOOR..=1.0).contains(&value)
        {
            return refuse("automatic_from", format!("`{value}` is not within 0.85 and 1"));
        }
        if let Some(value) = self.ask_from
            && !(0.0..=self.automatic_from.unwrap_or(1.0)).contains(&value)
        {
            return refuse("ask_from", format!("`{value}` is not within 0 and `automatic_from`"));
        }
        let says_nothing = self.automatic_from.is_none()
            && self.ask_from.is_none()
            && self.protected.is_none()
            && self.on_drift.is_none();
        if says_nothing {
            return Err(Error::invalid(format!("/rules/{index}"), "it sets nothing"));
        }
        Ok(())
    }
}

impl RepairRules {
    /// Refuses rules out of their limits, and two for the same.
    pub fn check(&self) -> Result<(), Error> {
        limits::count("rules about repairs", self.rules.len(), RULES)?;
        let mut seen = BTreeSet::new();
        for (index, rule) in self.rules.iter().enumerate() {
            rule.check(index)?;
            if !seen.insert(rule.selector()) {
                return Err(Error::invalid(format!("/rules/{index}"), "there is another one for the same"));
            }
        }
        if let Some(days) = self.expire_after_days
            && !(1..=EXPIRY_DAYS).contains(&days)
        {
            let message = format!("`{days}` is not within 1 and {EXPIRY_DAYS}");
            return Err(Error::invalid("/expire_after_days", message));
        }
        Ok(())
    }

    /// What is in force for a connection's stream that is read into `entity` (none: for every one that
    /// has no rule of its own), where nothing but `tenant` holds for everything.
    pub fn in_force(
        &self,
        tenant: RepairPolicy,
        connection: Option<ConnectionId>,
        entity: Option<&Entity>,
    ) -> PolicyInForce {
        let name = entity.map(|entity| entity.name.as_str());
        // Selectors are unique, so no two that apply to one field rank alike.
        let mut order: Vec<&RepairRule> = self.rules.iter().collect();
        order.sort_by_key(|rule| rule.rank());
        let settle = |field: Option<&str>, protected: bool| {
            let mut found = FieldPolicy { policy: tenant, protected: false };
            for rule in order.iter().filter(|rule| rule.applies(connection, name, field)) {
                let policy = &mut found.policy;
                policy.automatic_from = rule.automatic_from.unwrap_or(policy.automatic_from);
                policy.ask_from = rule.ask_from.unwrap_or(policy.ask_from);
                found.protected = rule.protected.unwrap_or(found.protected);
            }
            found.policy.ask_from = found.policy.ask_from.min(found.policy.automatic_from);
            found.protected |= protected;
            found
        };
        let fields = entity.into_iter().flat_map(|entity| &entity.fields);
        let on_drift = order
            .iter()
            .filter(|rule| rule.applies(connection, name, None))
            .filter_map(|rule| rule.on_drift)
            .next_back();
        PolicyInForce {
            policy: settle(None, false).policy,
            on_drift: on_drift.unwrap_or_default(),
            fields: fields
                .map(|field| (field.name.clone(), settle(Some(&field.name), field.protected)))
                .collect(),
        }
    }
}

impl PolicyInForce {
    /// The same for everything, with nothing protected.
    pub fn of(policy: RepairPolicy) -> Self {
        Self { policy, ..Self::default() }
    }

    pub fn is_protected(&self, target: &str) -> bool {
        self.fields.get(target).is_some_and(|field| field.protected)
    }

    /// Of everything that a change touches, the strictest of each threshold.
    pub fn strictest<'a>(&self, targets: impl Iterator<Item = &'a str>, key: bool) -> RepairPolicy {
        let of = |target| self.fields.get(target).map_or(self.policy, |field| field.policy);
        let all = targets.map(of).chain(key.then_some(self.policy));
        let stricter = |one: RepairPolicy, other: RepairPolicy| RepairPolicy {
            automatic_from: one.automatic_from.max(other.automatic_from),
            ask_from: one.ask_from.max(other.ask_from),
        };
        all.reduce(stricter).unwrap_or(self.policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ontology::default_ontology;
    use uuid::Uuid;

    fn connection(number: u128) -> ConnectionId {
        ConnectionId(Uuid::from_u128(number))
    }

    /// `connection entity field`, `-` for all.
    fn rule(selector: &str) -> RepairRule {
        let mut parts = selector.split(' ').map(|part| (part != "-").then(|| part.to_owned()));
        RepairRule {
            connection_id: parts.next().unwrap().map(|number| connection(number.parse().unwrap())),
            entity: parts.next().unwrap(),
            field: parts.next().unwrap(),
            ..RepairRule::default()
        }
    }

    #[test]
    fn the_most_specific_rule_that_says_it_wins() {
        let sure = |selector: &str, automatic_from| RepairRule {
            automatic_from: Some(automatic_from),
            ..rule(selector)
        };
        let rules = RepairRules {
            rules: vec![
                sure("1 account name", 0.86),
                sure("- account name", 0.87),
                sure("1 account -", 0.88),
                sure("- account -", 0.90),
                sure("1 - -", 0.92),
                sure("- - -", 0.94),
                RepairRule { ask_from: Some(0.93), ..rule("- account domain") },
                RepairRule { protected: Some(true), ..rule("2 account -") },
                RepairRule { protected: Some(false), ..rule("2 account name") },
                RepairRule { on_drift: Some(DriftPolicy::Hold), ..rule("- - -") },
            ],
            expire_after_days: None,
        };
        assert!(rules.check().is_err(), "two rules for everything");
        let mut rules = rules;
        let hold = rules.rules.pop().unwrap();
        rules.rules[5].on_drift = hold.on_drift;
        rules.rules[4].on_drift = Some(DriftPolicy::Pause);
        rules.check().unwrap();
        let ontology = default_ontology();
        let tenant = RepairPolicy::default();
        let of = |number, entity| rules.in_force(tenant, Some(connection(number)), ontology.entity(entity));
        let from = |policy: &PolicyInForce, field: &str| policy.fields[field].policy.automatic_from;
        let (first, second, people) = (of(1, "account"), of(2, "account"), of(1, "contact"));
        assert_eq!((from(&first, "name"), from(&second, "name")), (0.86, 0.87));
        assert_eq!((from(&first, "domain"), from(&second, "domain")), (0.88, 0.90));
        assert_eq!((people.policy.automatic_from, of(2, "contact").policy.automatic_from), (0.92, 0.94));
        assert_eq!((first.on_drift, second.on_drift), (DriftPolicy::Pause, DriftPolicy::Hold));
        // Nobody is asked about what applies alone.
        assert_eq!((first.fields["domain"].policy.ask_from, from(&first, "domain")), (0.88, 0.88));
        assert!(
            second.is_protected("domain") && !second.is_protected("name") && !first.is_protected("domain")
        );
        let both = second.strictest(["name", "domain"].into_iter(), false);
        assert_eq!((both.automatic_from, both.ask_from), (0.90, 0.90));
    }

    #[test]
    fn what_the_ontology_protects_stays_so() {
        let ontology = default_ontology();
        let mut entity = ontology.entity("account").unwrap().clone();
        entity.fields[0].protected = true;
        let name = entity.fields[0].name.clone();
        let open = RepairRule { protected: Some(false), ..rule(&format!("- account {name}")) };
        let rules = RepairRules { rules: vec![open], expire_after_days: None };
        let policy = rules.in_force(RepairPolicy::default(), Some(connection(1)), Some(&entity));
        assert!(policy.is_protected(&name));
    }

    #[test]
    fn rules_out_of_their_limits_are_refused() {
        let of = |rule: RepairRule| RepairRules { rules: vec![rule], expire_after_days: None };
        let sets = |rule: RepairRule| RepairRule { protected: Some(true), ..rule };
        for (rules, pointer) in [
            (of(rule("- - -")), "/rules/0"),
            (of(sets(rule("- - name"))), "/rules/0/field"),
            (of(sets(rule("- Account -"))), "/rules/0/entity"),
            (of(RepairRule { automatic_from: Some(0.5), ..rule("- - -") }), "/rules/0/automatic_from"),
            (of(RepairRule { automatic_from: Some(f64::NAN), ..rule("- - -") }), "/rules/0/automatic_from"),
            (of(RepairRule { ask_from: Some(1.5), ..rule("- - -") }), "/rules/0/ask_from"),
            (
                of(RepairRule { on_drift: Some(DriftPolicy::Hold), ..rule("- account -") }),
                "/rules/0/on_drift",
            ),
            (RepairRules { expire_after_days: Some(0), ..RepairRules::default() }, "/expire_after_days"),
        ] {
            let Err(Error::Invalid { field, .. }) = rules.check() else { panic!("{pointer}: {rules:?}") };
            assert_eq!(field, pointer);
        }
        let many = RepairRules { rules: vec![sets(rule("- - -")); RULES + 1], expire_after_days: None };
        assert!(matches!(many.check(), Err(Error::LimitExceeded { .. })));
    }
}
