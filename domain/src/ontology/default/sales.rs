//! What is sold: deals and what they are about.

use super::words::{created_at, currency, entity, field, money, owner, reference, rule, updated_at};
use crate::ontology::{
    CanonicalType::{Boolean, Date, Decimal, Text},
    Entity, OntologyField, Semantic as S,
};

pub(super) fn opportunity() -> Entity {
    entity(
        "opportunity",
        "opportunities",
        "a possible sale",
        &["deal", "sales opportunity", "pipeline", "prospect deal"],
        vec![
            field(
                "name",
                Text,
                S::Plain,
                "what it is called",
                &["opportunity name", "deal name", "dealname", "topic", "title", "subject"],
            ),
            reference(
                "account",
                "account",
                "the organisation it is with",
                &[
                    "account id",
                    "company id",
                    "associated company id",
                    "parent account id",
                    "parentaccountid",
                    "customer id",
                    "customerid",
                    "company",
                ],
            ),
            money(
                "amount",
                "expected value",
                &[
                    "deal amount",
                    "value",
                    "estimated value",
                    "estimatedvalue",
                    "opportunity amount",
                    "deal value",
                    "total",
                    "actual value",
                ],
            ),
            currency(),
            field(
                "stage",
                Text,
                S::Category,
                "step of the sale",
                &[
                    "stage name",
                    "stagename",
                    "deal stage",
                    "dealstage",
                    "step name",
                    "sales stage",
                    "pipeline stage",
                    "status",
                    "step",
                ],
            ),
            OntologyField {
                unit: Some("fraction 0 to 1".to_owned()),
                ..field(
                    "probability",
                    Decimal,
                    S::Fraction,
                    "chance of winning",
                    &[
                        "close probability",
                        "closeprobability",
                        "win probability",
                        "deal probability",
                        "hs deal stage probability",
                        "chance",
                    ],
                )
            },
            field(
                "close_date",
                Date,
                S::Plain,
                "when it is expected to close",
                &[
                    "closedate",
                    "close date",
                    "estimated close date",
                    "estimatedclosedate",
                    "expected close date",
                    "closing date",
                ],
            ),
            field(
                "is_closed",
                Boolean,
                S::Plain,
                "won or lost already",
                &["closed", "isclosed", "hs is closed"],
            ),
            field("is_won", Boolean, S::Plain, "won", &["won", "iswon", "hs is closed won"]),
            field(
                "opportunity_type",
                Text,
                S::Category,
                "new business, renewal, …",
                &["type", "deal type", "dealtype", "opportunity type code"],
            ),
            created_at(),
            updated_at(),
            owner(),
        ],
        vec![],
    )
}

pub(super) fn product() -> Entity {
    entity(
        "product",
        "products",
        "something sold",
        &["item", "article", "sku", "catalog item", "goods"],
        vec![
            field(
                "name",
                Text,
                S::Plain,
                "product name",
                &["product name", "item name", "title", "product title"],
            ),
            field(
                "sku",
                Text,
                S::Identifier,
                "stock-keeping code",
                &["product code", "item number", "part number", "article number", "product number"],
            ),
            field("description", Text, S::Plain, "what it is", &["product description", "details"]),
            field(
                "category",
                Text,
                S::Category,
                "family",
                &["product family", "product type", "family", "group"],
            ),
            money(
                "price",
                "list price",
                &["unit price", "list price", "hs price", "standard price", "amount"],
            ),
            currency(),
            field("is_active", Boolean, S::Plain, "on sale", &["active", "isactive", "enabled", "status"]),
            created_at(),
            updated_at(),
        ],
        vec![rule("sku", &["sku"], &[])],
    )
}
