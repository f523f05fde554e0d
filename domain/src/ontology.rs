//! The ontology: entities and their fields, with the words people use for them.

mod default;

pub use default::default_ontology;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The type of a canonical field; also its column type in the views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CanonicalType {
    Text,
    /// Signed 64-bit.
    Integer,
    /// Exact, 38 digits, 6 after the point.
    Decimal,
    Boolean,
    Date,
    /// UTC, microseconds.
    Timestamp,
}

/// What a field means beyond its type: it drives normalisation, matching and checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Semantic {
    Plain,
    OrganizationName,
    PersonName,
    Domain,
    Url,
    Email,
    Phone,
    /// An amount of money in the currency's main unit.
    Money,
    Currency,
    /// A fraction, 0 to 1.
    Fraction,
    Country,
    PostalCode,
    Identifier,
    /// When the record was made in its source.
    CreatedAt,
    /// When the record last changed in its source: the event time of survivorship.
    UpdatedAt,
    /// Names a record of another entity (`references`).
    Reference,
    Category,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OntologyField {
    pub name: String,
    #[serde(rename = "type")]
    pub canonical_type: CanonicalType,
    pub semantic: Semantic,
    pub description: String,
    /// Other names for it, in the words of the source systems.
    pub synonyms: Vec<String>,
    /// `currency main unit`, `fraction 0 to 1`, `persons`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<String>,
    /// Never repaired without a person.
    #[serde(default)]
    pub protected: bool,
}

/// How records of an entity are recognised as the same thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MatchRule {
    /// Stable name, shown as the reason of a merge: `domain`, `email`, `name_and_city`, …
    pub name: String,
    /// All of these must be present and equal after normalisation by their semantics.
    pub all_equal: Vec<String>,
    /// Two records with different values in any of these (both present) are never merged by this rule.
    #[serde(default)]
    pub unless_different: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entity {
    /// Singular: `account`.
    pub name: String,
    pub plural: String,
    pub description: String,
    pub synonyms: Vec<String>,
    pub fields: Vec<OntologyField>,
    /// Strongest first. Empty: records of this entity are never merged across sources.
    pub match_rules: Vec<MatchRule>,
}

impl Entity {
    pub fn field(&self, name: &str) -> Option<&OntologyField> {
        self.fields.iter().find(|field| field.name == name)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ontology {
    /// 1 for the default one; each edit adds one.
    pub version: u32,
    pub entities: Vec<Entity>,
}

impl Ontology {
    /// Finds an entity by its singular or its plural name.
    pub fn entity(&self, name: &str) -> Option<&Entity> {
        self.entities.iter().find(|entity| entity.name == name || entity.plural == name)
    }
}
