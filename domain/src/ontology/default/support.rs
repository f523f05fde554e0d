//! What customers ask for and use.

use super::words::{created_at, entity, field, reference, updated_at};
use crate::ontology::{
    CanonicalType::{Decimal, Text, Timestamp},
    Entity, Semantic as S,
};

pub(super) fn ticket() -> Entity {
    entity(
        "ticket",
        "tickets",
        "a request for help",
        &["case", "support case", "issue", "incident", "support ticket", "request"],
        vec![
            field(
                "number",
                Text,
                S::Identifier,
                "ticket number",
                &["case number", "ticket id", "ticket number", "incident number"],
            ),
            field(
                "subject",
                Text,
                S::Plain,
                "what it is about",
                &["title", "summary", "case subject", "short description"],
            ),
            field("description", Text, S::Plain, "the request", &["body", "details", "content", "message"]),
            field(
                "status",
                Text,
                S::Category,
                "new, open, solved, …",
                &["state", "case status", "ticket status"],
            ),
            field("priority", Text, S::Category, "low to urgent", &["urgency", "severity", "importance"]),
            reference(
                "account",
                "account",
                "whose it is",
                &["account id", "company id", "customer id", "organization id"],
            ),
            reference(
                "contact",
                "contact",
                "who asked",
                &["contact id", "requester", "requester id", "reporter", "caller"],
            ),
            field(
                "assignee",
                Text,
                S::Plain,
                "who works on it",
                &["assigned to", "agent", "owner", "assignee id"],
            ),
            field("channel", Text, S::Category, "e-mail, phone, …", &["origin", "source", "via"]),
            field(
                "resolved_at",
                Timestamp,
                S::Plain,
                "when it was solved",
                &["closed date", "closed at", "solved at", "resolution date"],
            ),
            created_at(),
            updated_at(),
        ],
        vec![],
    )
}

pub(super) fn usage() -> Entity {
    entity(
        "usage",
        "usages",
        "how much of a service was used",
        &["usage record", "metering", "consumption", "metric", "usage event"],
        vec![
            reference(
                "account",
                "account",
                "who used it",
                &["account id", "customer id", "tenant id", "organization id"],
            ),
            field(
                "metric",
                Text,
                S::Category,
                "what is counted",
                &["meter", "metric name", "event name", "feature", "usage type"],
            ),
            field(
                "quantity",
                Decimal,
                S::Plain,
                "how much",
                &["usage", "count", "amount", "value", "units", "usage quantity"],
            ),
            field(
                "unit",
                Text,
                S::Category,
                "unit of the quantity",
                &["unit of measure", "uom", "usage unit"],
            ),
            field(
                "period_start",
                Timestamp,
                S::Plain,
                "from",
                &["start time", "start", "usage start", "from", "usage start date"],
            ),
            field(
                "period_end",
                Timestamp,
                S::Plain,
                "to",
                &["end time", "end", "usage end", "to", "usage end date"],
            ),
            reference(
                "resource",
                "cloud_resource",
                "where it was used",
                &["resource id", "service id", "instance id"],
            ),
            created_at(),
            updated_at(),
        ],
        vec![],
    )
}
