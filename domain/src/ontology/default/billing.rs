//! What is paid for it: invoices and contracts.

use super::words::{created_at, currency, entity, field, money, reference, rule, updated_at};
use crate::ontology::{
    CanonicalType::{Date, Integer, Text},
    Entity, Semantic as S,
};

pub(super) fn invoice() -> Entity {
    entity(
        "invoice",
        "invoices",
        "a bill sent to a customer",
        &["bill", "billing document", "receivable"],
        vec![
            field(
                "number",
                Text,
                S::Identifier,
                "invoice number",
                &["invoice number", "invoice no", "document number", "bill number", "invoice id"],
            ),
            reference(
                "account",
                "account",
                "who is billed",
                &["account id", "customer id", "customer", "bill to", "company id"],
            ),
            field(
                "status",
                Text,
                S::Category,
                "draft, open, paid, …",
                &["invoice status", "state", "payment status"],
            ),
            money(
                "amount_total",
                "total with tax",
                &["total", "amount", "amount due", "grand total", "invoice amount", "invoice total"],
            ),
            money("amount_paid", "paid so far", &["paid", "paid amount", "amount received"]),
            money("tax_amount", "tax within the total", &["tax", "vat", "sales tax"]),
            currency(),
            field(
                "issued_on",
                Date,
                S::Plain,
                "date of the invoice",
                &["invoice date", "date", "issue date", "billing date", "document date"],
            ),
            field("due_on", Date, S::Plain, "date it is due", &["due date", "payment due", "pay by"]),
            field("paid_on", Date, S::Plain, "date it was paid", &["payment date", "paid date", "date paid"]),
            created_at(),
            updated_at(),
        ],
        vec![rule("number", &["number", "account"], &[])],
    )
}

pub(super) fn subscription() -> Entity {
    entity(
        "subscription",
        "subscriptions",
        "a recurring contract",
        &["contract", "plan subscription", "recurring", "membership"],
        vec![
            reference(
                "account",
                "account",
                "who subscribes",
                &["account id", "customer id", "customer", "company id"],
            ),
            field(
                "plan",
                Text,
                S::Category,
                "plan or product",
                &["plan name", "plan id", "product", "price id", "tier"],
            ),
            field("status", Text, S::Category, "active, cancelled, …", &["subscription status", "state"]),
            field("quantity", Integer, S::Plain, "seats or units", &["seats", "units", "licenses", "qty"]),
            money(
                "recurring_amount",
                "amount of one period",
                &["amount", "mrr", "price", "unit amount", "recurring revenue"],
            ),
            currency(),
            field(
                "billing_interval",
                Text,
                S::Category,
                "month, year, …",
                &["interval", "billing period", "billing frequency", "term"],
            ),
            field(
                "started_on",
                Date,
                S::Plain,
                "first day",
                &["start date", "started at", "start", "contract start"],
            ),
            field(
                "ends_on",
                Date,
                S::Plain,
                "last day",
                &["end date", "ends at", "current period end", "expiry date", "contract end", "renewal date"],
            ),
            created_at(),
            updated_at(),
        ],
        vec![],
    )
}
