//! How entities are written down, and the fields that most of them share.

use crate::ontology::{
    CanonicalType::{self, Decimal, Text, Timestamp},
    Entity, MatchRule, OntologyField,
    Semantic::{self, self as S},
};

pub(super) fn field(
    name: &str,
    canonical_type: CanonicalType,
    semantic: Semantic,
    description: &str,
    synonyms: &[&str],
) -> OntologyField {
    OntologyField {
        name: name.to_owned(),
        canonical_type,
        semantic,
        description: description.to_owned(),
        synonyms: synonyms.iter().map(|&word| word.to_owned()).collect(),
        unit: None,
        references: None,
        protected: false,
    }
}

pub(super) fn money(name: &str, description: &str, synonyms: &[&str]) -> OntologyField {
    OntologyField {
        unit: Some("currency main unit".to_owned()),
        ..field(name, Decimal, S::Money, description, synonyms)
    }
}

pub(super) fn reference(name: &str, to: &str, description: &str, synonyms: &[&str]) -> OntologyField {
    OntologyField {
        references: Some(to.to_owned()),
        ..field(name, Text, S::Reference, description, synonyms)
    }
}

pub(super) fn created_at() -> OntologyField {
    field(
        "created_at",
        Timestamp,
        S::CreatedAt,
        "when the record was made in its source",
        &[
            "created",
            "created date",
            "create date",
            "created on",
            "createdate",
            "date created",
            "creation date",
        ],
    )
}

pub(super) fn updated_at() -> OntologyField {
    field(
        "updated_at",
        Timestamp,
        S::UpdatedAt,
        "when the record last changed in its source",
        &[
            "updated",
            "last modified date",
            "last modified",
            "system modstamp",
            "modified on",
            "modified",
            "hs lastmodifieddate",
            "last updated",
            "date updated",
            "update date",
        ],
    )
}

pub(super) fn owner() -> OntologyField {
    field(
        "owner",
        Text,
        S::Plain,
        "the person in charge of the record",
        &[
            "owner id",
            "owner name",
            "hubspot owner id",
            "account owner",
            "assigned to",
            "account manager",
            "sales rep",
        ],
    )
}

pub(super) fn currency() -> OntologyField {
    field(
        "currency",
        Text,
        S::Currency,
        "ISO 4217 code of the amounts",
        &[
            "currency iso code",
            "currency code",
            "deal currency code",
            "transaction currency",
            "transaction currency id",
        ],
    )
}

pub(super) fn rule(name: &str, all_equal: &[&str], unless_different: &[&str]) -> MatchRule {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    MatchRule {
        name: name.to_owned(),
        all_equal: owned(all_equal),
        unless_different: owned(unless_different),
    }
}

pub(super) fn entity(
    name: &str,
    plural: &str,
    description: &str,
    synonyms: &[&str],
    fields: Vec<OntologyField>,
    match_rules: Vec<MatchRule>,
) -> Entity {
    Entity {
        name: name.to_owned(),
        plural: plural.to_owned(),
        description: description.to_owned(),
        synonyms: synonyms.iter().map(|&word| word.to_owned()).collect(),
        fields,
        match_rules,
    }
}
