//! What runs in the cloud, and what it costs.

use super::words::{created_at, currency, entity, field, money, owner, reference, rule, updated_at};
use crate::ontology::{
    CanonicalType::{Date, Decimal, Text},
    Entity, Semantic as S,
};

pub(super) fn cloud_resource() -> Entity {
    entity(
        "cloud_resource",
        "cloud_resources",
        "something that runs at a cloud provider",
        &["resource", "instance", "server", "vm", "virtual machine", "host", "asset"],
        vec![
            field(
                "name",
                Text,
                S::Plain,
                "its name",
                &["resource name", "instance name", "hostname", "host name"],
            ),
            field(
                "resource_id",
                Text,
                S::Identifier,
                "the provider's id",
                &["arn", "instance id", "resource identifier", "self link"],
            ),
            field(
                "provider",
                Text,
                S::Category,
                "aws, azure, gcp, …",
                &["cloud provider", "cloud", "vendor", "platform"],
            ),
            field(
                "service",
                Text,
                S::Category,
                "service it belongs to",
                &["service name", "product name", "resource type", "kind"],
            ),
            field(
                "region",
                Text,
                S::Category,
                "where it runs",
                &["location", "availability zone", "zone", "data center"],
            ),
            field(
                "status",
                Text,
                S::Category,
                "running, stopped, …",
                &["state", "instance state", "power state", "lifecycle"],
            ),
            field(
                "size",
                Text,
                S::Category,
                "machine type",
                &["instance type", "machine type", "sku", "vm size", "flavor"],
            ),
            field("environment", Text, S::Category, "production, staging, …", &["env", "stage", "tier"]),
            owner(),
            created_at(),
            updated_at(),
        ],
        vec![rule("resource_id", &["resource_id"], &[])],
    )
}

pub(super) fn cost() -> Entity {
    entity(
        "cost",
        "costs",
        "money spent",
        &["expense", "spend", "charge", "billing line", "cost line", "cloud cost"],
        vec![
            money(
                "amount",
                "how much",
                &[
                    "cost",
                    "unblended cost",
                    "blended cost",
                    "billed cost",
                    "effective cost",
                    "charge",
                    "spend",
                    "pretax cost",
                ],
            ),
            currency(),
            field(
                "category",
                Text,
                S::Category,
                "kind of cost",
                &["cost category", "charge type", "line item type", "expense type", "cost center"],
            ),
            field(
                "provider",
                Text,
                S::Category,
                "who is paid",
                &["vendor", "supplier", "cloud provider", "payer"],
            ),
            field(
                "service",
                Text,
                S::Category,
                "for which service",
                &["service name", "product code", "product name", "meter category"],
            ),
            reference("resource", "cloud_resource", "for which resource", &["resource id", "instance id"]),
            field(
                "usage_quantity",
                Decimal,
                S::Plain,
                "how much was used",
                &["usage amount", "quantity", "consumed quantity"],
            ),
            field(
                "incurred_on",
                Date,
                S::Plain,
                "day of the cost",
                &[
                    "date",
                    "usage date",
                    "usage start date",
                    "billing date",
                    "charge date",
                    "charge period start",
                    "expense date",
                ],
            ),
            created_at(),
            updated_at(),
        ],
        vec![],
    )
}
