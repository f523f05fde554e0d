//! The default ontology: what most companies keep about customers, sales, money, support and cloud.
//! Synonyms are words of source systems, compared after splitting and lower-casing.

use super::{CanonicalType, Entity, MatchRule, Ontology, OntologyField, Semantic};
use CanonicalType::{Boolean, Date, Decimal, Integer, Text, Timestamp};
use Semantic as S;

fn field(
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

fn money(name: &str, description: &str, synonyms: &[&str]) -> OntologyField {
    OntologyField {
        unit: Some("currency main unit".to_owned()),
        ..field(name, Decimal, S::Money, description, synonyms)
    }
}

fn reference(name: &str, to: &str, description: &str, synonyms: &[&str]) -> OntologyField {
    OntologyField {
        references: Some(to.to_owned()),
        ..field(name, Text, S::Reference, description, synonyms)
    }
}

fn created_at() -> OntologyField {
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

fn updated_at() -> OntologyField {
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

fn owner() -> OntologyField {
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

fn currency() -> OntologyField {
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

fn rule(name: &str, all_equal: &[&str], unless_different: &[&str]) -> MatchRule {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    MatchRule {
        name: name.to_owned(),
        all_equal: owned(all_equal),
        unless_different: owned(unless_different),
    }
}

fn entity(
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

/// The ontology every tenant starts with; version 1.
pub fn default_ontology() -> Ontology {
    Ontology {
        version: 1,
        entities: vec![
            account(),
            contact(),
            opportunity(),
            product(),
            invoice(),
            subscription(),
            ticket(),
            usage(),
            cloud_resource(),
            cost(),
        ],
    }
}

fn account() -> Entity {
    entity(
        "account",
        "accounts",
        "a company or organisation one does business with",
        &[
            "company",
            "companies",
            "organization",
            "organisation",
            "customer",
            "client",
            "business",
            "firm",
            "vendor",
            "partner",
        ],
        vec![
            field(
                "name",
                Text,
                S::OrganizationName,
                "the organisation's name",
                &[
                    "account name",
                    "company name",
                    "company",
                    "organization name",
                    "customer name",
                    "business name",
                    "legal name",
                ],
            ),
            field(
                "website",
                Text,
                S::Url,
                "address of the web site",
                &["website url", "web site", "url", "homepage", "web address", "site"],
            ),
            field(
                "domain",
                Text,
                S::Domain,
                "registrable internet domain",
                &["company domain", "company domain name", "email domain", "primary domain", "web domain"],
            ),
            field(
                "industry",
                Text,
                S::Category,
                "line of business",
                &["sector", "industry code", "industry sector", "vertical", "business type", "sic"],
            ),
            money(
                "annual_revenue",
                "revenue of one year",
                &["revenue", "annual sales", "yearly revenue", "turnover", "annualrevenue", "sales volume"],
            ),
            field(
                "employee_count",
                Integer,
                S::Plain,
                "number of persons employed",
                &[
                    "employees",
                    "number of employees",
                    "numberofemployees",
                    "headcount",
                    "staff",
                    "company size",
                    "employee number",
                ],
            ),
            field(
                "phone",
                Text,
                S::Phone,
                "main telephone number",
                &["phone number", "telephone", "telephone1", "main phone", "tel", "phone number 1"],
            ),
            field(
                "billing_address",
                Text,
                S::Plain,
                "street and number",
                &[
                    "billing street",
                    "address",
                    "street",
                    "street address",
                    "address line",
                    "address1 line1",
                    "address1 composite",
                ],
            ),
            field("billing_city", Text, S::Plain, "city", &["city", "town", "address1 city", "billing town"]),
            field(
                "billing_state",
                Text,
                S::Plain,
                "state or province",
                &["state", "province", "region", "state region", "address1 stateorprovince", "county"],
            ),
            field(
                "billing_postal_code",
                Text,
                S::PostalCode,
                "postal code",
                &["zip", "zip code", "postcode", "postal code", "address1 postalcode", "billing zip"],
            ),
            field(
                "billing_country",
                Text,
                S::Country,
                "country",
                &["country", "nation", "address1 country", "country region", "country code"],
            ),
            field(
                "account_type",
                Text,
                S::Category,
                "customer, partner, prospect, …",
                &[
                    "type",
                    "customer type",
                    "relationship",
                    "lifecycle stage",
                    "customer type code",
                    "company type",
                ],
            ),
            field(
                "description",
                Text,
                S::Plain,
                "free text about it",
                &["about", "notes", "comment", "about us"],
            ),
            created_at(),
            updated_at(),
            owner(),
        ],
        vec![rule("domain", &["domain"], &[]), rule("name_and_city", &["name", "billing_city"], &["domain"])],
    )
}

fn contact() -> Entity {
    entity(
        "contact",
        "contacts",
        "a person",
        &["person", "people", "lead", "individual", "customer contact"],
        vec![
            field(
                "first_name",
                Text,
                S::PersonName,
                "given name",
                &["given name", "firstname", "forename", "fname", "name first"],
            ),
            field(
                "last_name",
                Text,
                S::PersonName,
                "family name",
                &["family name", "lastname", "surname", "lname", "name last"],
            ),
            field(
                "full_name",
                Text,
                S::PersonName,
                "whole name",
                &["name", "fullname", "contact name", "display name", "person name"],
            ),
            field(
                "email",
                Text,
                S::Email,
                "e-mail address",
                &["email address", "e mail", "mail", "emailaddress1", "primary email", "work email"],
            ),
            field(
                "phone",
                Text,
                S::Phone,
                "telephone number",
                &[
                    "phone number",
                    "telephone",
                    "telephone1",
                    "mobile",
                    "mobile phone",
                    "mobilephone",
                    "cell",
                    "work phone",
                ],
            ),
            field(
                "title",
                Text,
                S::Plain,
                "position in the organisation",
                &["job title", "jobtitle", "position", "role"],
            ),
            field("department", Text, S::Plain, "department", &["division", "team", "unit"]),
            reference(
                "account",
                "account",
                "the organisation the person belongs to",
                &[
                    "account id",
                    "company id",
                    "associated company id",
                    "associatedcompanyid",
                    "parent customer id",
                    "parentcustomerid",
                    "organization id",
                    "company",
                ],
            ),
            field("city", Text, S::Plain, "city", &["mailing city", "town", "address1 city"]),
            field("country", Text, S::Country, "country", &["mailing country", "address1 country", "nation"]),
            created_at(),
            updated_at(),
            owner(),
        ],
        vec![rule("email", &["email"], &[])],
    )
}

fn opportunity() -> Entity {
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

fn product() -> Entity {
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

fn invoice() -> Entity {
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

fn subscription() -> Entity {
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

fn ticket() -> Entity {
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

fn usage() -> Entity {
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

fn cloud_resource() -> Entity {
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

fn cost() -> Entity {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_rules_and_references_point_at_something() {
        let ontology = default_ontology();
        let entities: HashSet<_> = ontology.entities.iter().map(|entity| entity.name.as_str()).collect();
        assert_eq!(entities.len(), 10);
        for entity in &ontology.entities {
            let fields: HashSet<_> = entity.fields.iter().map(|field| field.name.as_str()).collect();
            assert_eq!(fields.len(), entity.fields.len(), "`{}` repeats a field", entity.name);
            for rule in &entity.match_rules {
                for name in rule.all_equal.iter().chain(&rule.unless_different) {
                    assert!(
                        fields.contains(name.as_str()),
                        "rule `{}` of `{}` names `{name}`",
                        rule.name,
                        entity.name
                    );
                }
            }
            for field in &entity.fields {
                if let Some(target) = &field.references {
                    assert!(entities.contains(target.as_str()), "`{}` references `{target}`", field.name);
                }
            }
        }
    }
}
