//! Streams with the mapping each must get. Also run with the embedding model, by the commands.

use autonomos_domain::{
    drift::profile::{FieldProfiler, StreamProfile},
    mapping::Transform,
    matching::{Similarity, suggest},
    ontology::default_ontology,
    schema::StreamShape,
};
use std::{collections::BTreeSet, fmt::Write as _};

const ROWS: usize = 240;

/// A column: its name, how its values are written, and where it belongs (`-`: nowhere) by which
/// transform. The first column of a stream is its key if it is marked `key`.
type Line = (&'static str, fn(usize) -> String, &'static str);

struct Case {
    stream: &'static str,
    entity: &'static str,
    lines: Vec<Line>,
}

fn pick(list: &[&str], row: usize) -> String {
    list[(row * 7 + row / 5) % list.len()].to_owned()
}

fn time(row: usize) -> (usize, usize, usize, usize, usize) {
    (2021 + row % 4, row % 12 + 1, (row * 11) % 28 + 1, (row * 5) % 24, (row * 13) % 60)
}

fn salesforce_id(row: usize) -> String {
    format!("0015g0000{row:07}AAA")
}
fn number_id(row: usize) -> String {
    (9_100_000_000 + row * 37).to_string()
}
fn uuid(row: usize) -> String {
    format!("{:08x}-10b1-526f-9247-{:012x}", row * 2_654_435, row * 7_919_113)
}
fn company(row: usize) -> String {
    format!(
        "{} {} {}",
        pick(&["Alder", "Amber", "Apex", "Birch", "Cobalt", "Delmar", "Echo"], row),
        pick(&["Logistics", "Foods", "Energy", "Robotics", "Media"], row / 3),
        pick(&["Inc.", "LLC", "Ltd", "GmbH"], row / 2)
    )
}
fn base_name(row: usize) -> String {
    format!("Company {row:03} Ltd")
}
fn deal(row: usize) -> String {
    format!(
        "{} – {}",
        pick(&["Alder Foods", "Apex Media"], row),
        pick(&["Renewal", "Pilot", "Expansion"], row / 3)
    )
}
fn host(row: usize) -> String {
    format!("company{row}.example.com")
}
fn https(row: usize) -> String {
    if row % 25 == 3 { String::new() } else { format!("https://www.company{row}.com") }
}
fn http(row: usize) -> String {
    format!("http://company{row}.co.uk/")
}
fn industry(row: usize) -> String {
    pick(&["Transportation", "Technology", "Food & Beverage", "Energy", "Retail"], row)
}
fn industry_code(row: usize) -> String {
    pick(&["TRANSPORTATION", "TECHNOLOGY", "FOOD___BEVERAGE", "ENERGY", "RETAIL"], row)
}
fn money(row: usize) -> String {
    format!("{}.0", row * 79_190 + 10_000)
}
fn whole_money(row: usize) -> String {
    (row * 79_190 + 10_000).to_string()
}
fn comma_money(row: usize) -> String {
    format!("{},00", row * 79_190 + 10_000)
}
fn head_count(row: usize) -> String {
    (row * 13 % 977 + 1).to_string()
}
fn phone(row: usize) -> String {
    format!("+1 {} {:03} {:04}", 200 + row % 700, 100 + row % 800, row * 31 % 9999)
}
fn phone_tight(row: usize) -> String {
    phone(row).replace(' ', "")
}
fn street(row: usize) -> String {
    format!("{} {}", row % 400 + 1, pick(&["High Street", "Mill Lane", "Station Road"], row))
}
fn city(row: usize) -> String {
    pick(&["Boston", "Leeds", "Oslo", "Lyon", "Porto"], row)
}
fn state(row: usize) -> String {
    pick(&["Massachusetts", "West Yorkshire", "Ohio", "Texas"], row)
}
fn postal(row: usize) -> String {
    format!("{:05}", 501 + row * 397 % 99_000)
}
fn country(row: usize) -> String {
    pick(&["United States", "United Kingdom", "Germany"], row)
}
fn country_code(row: usize) -> String {
    pick(&["US", "GB", "DE"], row)
}
fn iso_millis(row: usize) -> String {
    let (year, month, day, hour, minute) = time(row);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:07.000+0000")
}
fn iso_zulu(row: usize) -> String {
    let (year, month, day, ..) = time(row);
    format!("{year}-{month:02}-{day:02}T08:00:00Z")
}
fn iso_space(row: usize) -> String {
    let (year, month, day, hour, minute) = time(row);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:07")
}
fn iso_date(row: usize) -> String {
    let (year, month, day, ..) = time(row);
    format!("{year}-{month:02}-{day:02}")
}
fn day_first_time(row: usize) -> String {
    let (year, month, day, hour, minute) = time(row);
    format!("{day:02}/{month:02}/{year} {hour:02}:{minute:02}")
}
fn day_first(row: usize) -> String {
    let (year, month, day, ..) = time(row);
    format!("{day:02}/{month:02}/{year}")
}
fn epoch(row: usize) -> String {
    format!("{}000", 1_609_459_200 + row * 86_400 + row * 77)
}
fn first_name(row: usize) -> String {
    pick(&["Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald"], row)
}
fn last_name(row: usize) -> String {
    pick(&["Lovelace", "Hopper", "Turing", "Dijkstra", "Liskov", "Knuth"], row / 2)
}
fn full_name(row: usize) -> String {
    format!("{} {}", first_name(row), last_name(row))
}
fn email(row: usize) -> String {
    format!("person.{row}@company{row}.com")
}
fn loud_email(row: usize) -> String {
    email(row).to_uppercase()
}
fn job(row: usize) -> String {
    pick(&["Head of Sales", "Engineer", "Buyer", "CFO"], row)
}
fn account_type(row: usize) -> String {
    pick(&["Customer", "Prospect", "Partner"], row)
}
fn lifecycle(row: usize) -> String {
    pick(&["lead", "customer", "opportunity", "evangelist"], row)
}
fn truth(row: usize) -> String {
    row.is_multiple_of(3).to_string()
}
fn stage(row: usize) -> String {
    pick(&["Prospecting", "Qualification", "Closed Won", "Closed Lost"], row)
}
fn stage_code(row: usize) -> String {
    pick(&["appointmentscheduled", "qualifiedtobuy", "closedwon", "closedlost"], row)
}
fn step(row: usize) -> String {
    pick(&["1-Prospect", "2-Qualify", "5-Won", "6-Lost"], row)
}
fn percent(row: usize) -> String {
    pick(&["10.0", "20.0", "50.0", "75.0", "100.0", "0.0"], row)
}
fn whole_percent(row: usize) -> String {
    pick(&["10", "20", "50", "75", "100", "0"], row)
}
fn fraction(row: usize) -> String {
    pick(&["0.1", "0.2", "0.5", "0.75", "1.0", "0.0"], row)
}
fn short_code(row: usize) -> String {
    format!("A{row:04}")
}

fn cases() -> Vec<Case> {
    let created = |name, target| (name, iso_millis as fn(usize) -> String, target);
    vec![
        Case {
            stream: "Account",
            entity: "account",
            lines: vec![
                ("Id", salesforce_id, "key"),
                ("Name", company, "name"),
                ("Type", account_type, "account_type"),
                ("Website", https, "website & domain by extract_domain"),
                ("Industry", industry, "industry"),
                ("AnnualRevenue", money, "annual_revenue"),
                ("NumberOfEmployees", head_count, "employee_count"),
                ("Phone", phone, "phone"),
                ("BillingStreet", street, "billing_address"),
                ("BillingCity", city, "billing_city"),
                ("BillingState", state, "billing_state"),
                ("BillingPostalCode", postal, "billing_postal_code"),
                ("BillingCountry", country, "billing_country"),
                created("CreatedDate", "created_at by parse_time %Y-%m-%dT%H:%M:%S.%f%z"),
                created("LastModifiedDate", "updated_at by parse_time %Y-%m-%dT%H:%M:%S.%f%z"),
            ],
        },
        Case {
            stream: "Contact",
            entity: "contact",
            lines: vec![
                ("Id", salesforce_id, "key"),
                ("AccountId", |row| salesforce_id(row / 2), "account"),
                ("FirstName", first_name, "first_name"),
                ("LastName", last_name, "last_name"),
                ("Email", email, "email"),
                ("Phone", phone, "phone"),
                ("Title", job, "title"),
                ("MailingCity", city, "city"),
                created("CreatedDate", "created_at by parse_time %Y-%m-%dT%H:%M:%S.%f%z"),
                created("LastModifiedDate", "updated_at by parse_time %Y-%m-%dT%H:%M:%S.%f%z"),
            ],
        },
        Case {
            stream: "Opportunity",
            entity: "opportunity",
            lines: vec![
                ("Id", salesforce_id, "key"),
                ("AccountId", |row| salesforce_id(row / 2), "account"),
                ("Name", deal, "name"),
                ("Amount", money, "amount"),
                ("StageName", stage, "stage"),
                ("Probability", percent, "probability by scale 0.01"),
                ("CloseDate", iso_date, "close_date"),
                ("IsClosed", truth, "is_closed"),
                ("IsWon", |row| (row % 5 == 0).to_string(), "is_won"),
                created("CreatedDate", "created_at by parse_time %Y-%m-%dT%H:%M:%S.%f%z"),
                created("LastModifiedDate", "updated_at by parse_time %Y-%m-%dT%H:%M:%S.%f%z"),
            ],
        },
        Case {
            stream: "companies",
            entity: "account",
            lines: vec![
                ("hs_object_id", number_id, "key"),
                ("name", company, "name"),
                ("domain", host, "domain by extract_domain"),
                ("industry", industry_code, "industry"),
                ("annualrevenue", whole_money, "annual_revenue"),
                ("numberofemployees", head_count, "employee_count"),
                ("phone", phone_tight, "phone"),
                ("address", street, "billing_address"),
                ("city", city, "billing_city"),
                ("state", state, "billing_state"),
                ("zip", postal, "billing_postal_code"),
                ("country", country, "billing_country"),
                ("createdate", epoch, "created_at by parse_epoch milliseconds"),
                ("hs_lastmodifieddate", epoch, "updated_at by parse_epoch milliseconds"),
            ],
        },
        // The same after an upgrade, as a stream met for the first time.
        Case {
            stream: "companies",
            entity: "account",
            lines: vec![
                ("hs_object_id", number_id, "key"),
                ("name", company, "name"),
                ("company_domain", host, "domain by extract_domain"),
                ("industry", industry_code, "industry"),
                ("annualrevenue", whole_money, "annual_revenue"),
                ("phone", phone_tight, "phone"),
                ("address", street, "billing_address"),
                ("city", city, "billing_city"),
                ("zip", postal, "billing_postal_code"),
                ("country", country, "billing_country"),
                ("lifecyclestage", lifecycle, "account_type"),
                ("createdate", iso_space, "created_at by parse_time %Y-%m-%d %H:%M:%S"),
                ("hs_lastmodifieddate", epoch, "updated_at by parse_epoch milliseconds"),
            ],
        },
        Case {
            stream: "contacts",
            entity: "contact",
            lines: vec![
                ("hs_object_id", number_id, "key"),
                ("firstname", first_name, "first_name"),
                ("lastname", last_name, "last_name"),
                ("email", email, "email"),
                ("phone", phone_tight, "phone"),
                ("jobtitle", job, "title"),
                ("associatedcompanyid", |row| number_id(row / 2), "account"),
                ("createdate", epoch, "created_at by parse_epoch milliseconds"),
                ("lastmodifieddate", epoch, "updated_at by parse_epoch milliseconds"),
            ],
        },
        Case {
            stream: "deals",
            entity: "opportunity",
            lines: vec![
                ("hs_object_id", number_id, "key"),
                ("dealname", deal, "name"),
                ("amount", whole_money, "amount"),
                ("dealstage", stage_code, "stage"),
                ("hs_deal_stage_probability", fraction, "probability"),
                ("closedate", epoch, "close_date by parse_epoch milliseconds"),
                ("hs_is_closed", truth, "is_closed"),
                ("associatedcompanyid", |row| number_id(row / 2), "account"),
                ("createdate", epoch, "created_at by parse_epoch milliseconds"),
                ("hs_lastmodifieddate", epoch, "updated_at by parse_epoch milliseconds"),
            ],
        },
        Case {
            stream: "account_export",
            entity: "account",
            lines: vec![
                ("accountid", uuid, "key"),
                ("name", |row| company(row).to_uppercase(), "name"),
                ("websiteurl", http, "website & domain by extract_domain"),
                ("revenue", comma_money, "annual_revenue by parse_decimal_comma"),
                ("numberofemployees", head_count, "employee_count"),
                ("telephone1", phone, "phone"),
                ("address1_line1", street, "billing_address"),
                ("address1_city", city, "billing_city"),
                ("address1_stateorprovince", state, "billing_state"),
                ("address1_postalcode", postal, "billing_postal_code"),
                ("address1_country", country_code, "billing_country"),
                ("createdon", day_first_time, "created_at by parse_time %d/%m/%Y %H:%M"),
                ("modifiedon", day_first_time, "updated_at by parse_time %d/%m/%Y %H:%M"),
            ],
        },
        Case {
            stream: "contact_export",
            entity: "contact",
            lines: vec![
                ("contactid", uuid, "key"),
                ("fullname", full_name, "full_name"),
                ("emailaddress1", loud_email, "email"),
                ("mobilephone", phone, "phone"),
                ("jobtitle", job, "title"),
                ("parentcustomerid", |row| uuid(row / 2), "account"),
                ("createdon", day_first_time, "created_at by parse_time %d/%m/%Y %H:%M"),
                ("modifiedon", day_first_time, "updated_at by parse_time %d/%m/%Y %H:%M"),
            ],
        },
        Case {
            stream: "opportunity_export",
            entity: "opportunity",
            lines: vec![
                ("opportunityid", uuid, "key"),
                ("name", deal, "name"),
                ("estimatedvalue", comma_money, "amount by parse_decimal_comma"),
                ("stepname", step, "stage"),
                ("closeprobability", whole_percent, "probability by scale 0.01"),
                ("estimatedclosedate", day_first, "close_date by parse_time %d/%m/%Y"),
                ("parentaccountid", |row| uuid(row / 2), "account"),
                ("createdon", day_first_time, "created_at by parse_time %d/%m/%Y %H:%M"),
                ("modifiedon", day_first_time, "updated_at by parse_time %d/%m/%Y %H:%M"),
            ],
        },
        // The tables of the end-to-end tests.
        Case {
            stream: "accounts",
            entity: "account",
            lines: vec![
                ("account_id", short_code, "key"),
                ("name", base_name, "name"),
                ("domain", host, "domain by extract_domain"),
                ("annual_revenue", whole_money, "annual_revenue"),
                ("employee_count", head_count, "employee_count"),
                ("partner", truth, "-"),
                ("billing_city", city, "billing_city"),
                ("created_at", iso_zulu, "created_at by parse_time %Y-%m-%dT%H:%M:%S%z"),
            ],
        },
        Case {
            stream: "accounts",
            entity: "account",
            lines: vec![
                ("account_id", short_code, "key"),
                ("name", base_name, "name"),
                ("domain", host, "domain by extract_domain"),
                ("annual_revenue", whole_money, "annual_revenue"),
                ("billing_city", |_| "Oslo".to_owned(), "billing_city"),
                (
                    "updated_at",
                    |_| "2025-01-11T10:00:00Z".to_owned(),
                    "updated_at by parse_time %Y-%m-%dT%H:%M:%S%z",
                ),
            ],
        },
        Case {
            stream: "companies",
            entity: "account",
            lines: vec![
                ("id", short_code, "key"),
                ("company_name", base_name, "name"),
                (
                    "website",
                    |row| format!("https://www.c{row}.example.com/"),
                    "website & domain by extract_domain",
                ),
                ("employees", head_count, "employee_count"),
                ("city", |_| "Oslo".to_owned(), "billing_city"),
            ],
        },
        Case {
            stream: "alpha_accounts",
            entity: "account",
            lines: vec![
                ("account_id", |row| format!("alpha-{row}"), "key"),
                ("name", base_name, "name"),
                ("domain", host, "domain by extract_domain"),
                ("annual_revenue", whole_money, "annual_revenue"),
                ("employee_count", head_count, "employee_count"),
                ("billing_city", |_| "Leeds".to_owned(), "billing_city"),
            ],
        },
        // An older platform typed 162 of 163 text columns as dates: names that speak of times over
        // values that are none map to no time, and nothing of this is any entity's.
        Case {
            stream: "measurements",
            entity: "-",
            lines: vec![
                ("sample_ref", short_code, "key"),
                ("date", job, "-"),
                ("updated", city, "-"),
                ("created_by_process", stage_code, "-"),
                ("time_zone", |row| pick(&["CET", "UTC", "PST"], row), "-"),
                ("salinity", |row| format!("{}.{}", row % 40, row % 10), "-"),
                ("ph", |row| format!("7.{}", row % 10), "-"),
            ],
        },
        Case {
            stream: "invoices",
            entity: "invoice",
            lines: vec![
                ("id", number_id, "key"),
                ("invoice_number", |row| format!("INV-{row:05}"), "number"),
                ("customer_id", |row| number_id(row / 3), "account"),
                ("status", |row| pick(&["draft", "open", "paid", "void"], row), "status"),
                ("total", money, "amount_total"),
                ("amount_paid", money, "amount_paid"),
                ("tax", |row| format!("{}.50", row * 11), "tax_amount"),
                ("currency", |row| pick(&["USD", "EUR", "GBP"], row), "currency"),
                ("invoice_date", iso_date, "issued_on"),
                ("due_date", iso_date, "due_on"),
                ("line_count", head_count, "-"),
                ("pdf_url", https, "-"),
                ("reminder_sent_at", iso_zulu, "-"),
            ],
        },
        Case {
            stream: "support_tickets",
            entity: "ticket",
            lines: vec![
                ("ticket_id", number_id, "key number"),
                ("subject", deal, "subject"),
                (
                    "description",
                    |row| format!("{} does not work since {}", company(row), city(row)),
                    "description",
                ),
                ("status", |row| pick(&["new", "open", "solved"], row), "status"),
                ("priority", |row| pick(&["low", "high", "urgent"], row), "priority"),
                ("requester_id", |row| number_id(row / 3), "contact"),
                ("organization_id", |row| number_id(row / 9), "account"),
                ("created_at", iso_zulu, "created_at by parse_time %Y-%m-%dT%H:%M:%S%z"),
                ("updated_at", iso_zulu, "updated_at by parse_time %Y-%m-%dT%H:%M:%S%z"),
                ("satisfaction_score", |row| (row % 6).to_string(), "-"),
                ("tags", |row| pick(&["billing", "login", "api"], row), "-"),
                ("has_attachments", truth, "-"),
            ],
        },
        Case {
            stream: "products",
            entity: "product",
            lines: vec![
                ("product_code", short_code, "key sku"),
                ("product_name", deal, "name"),
                ("family", industry, "category"),
                ("list_price", |row| format!("{}.99", row + 3), "price"),
                ("active", truth, "is_active"),
                ("weight_kg", |row| format!("{}.{}", row % 9, row % 7), "-"),
                ("stock_on_hand", head_count, "-"),
                ("supplier_email", email, "-"),
            ],
        },
        Case {
            stream: "web_server_log",
            entity: "-",
            lines: vec![
                ("request_id", uuid, "key"),
                ("timestamp", iso_zulu, "-"),
                ("method", |row| pick(&["GET", "POST", "PUT"], row), "-"),
                ("path", |row| format!("/a/{row}"), "-"),
                ("status", |row| pick(&["200", "404", "500"], row), "-"),
                ("bytes", whole_money, "-"),
                ("user_agent", |row| pick(&["curl", "Mozilla", "Safari"], row), "-"),
                ("referrer", https, "-"),
            ],
        },
        // Companies with columns that look like fields and are none.
        Case {
            stream: "customers",
            entity: "account",
            lines: vec![
                ("customer_no", short_code, "key"),
                ("company_name", company, "name"),
                ("web", host, "-?"),
                ("vat_id", |row| format!("DE{:09}", row * 7919), "-"),
                ("credit_limit", whole_money, "-"),
                ("fax", phone, "-?"),
                ("created", city, "-"),
                ("last_order_date", iso_date, "-"),
                ("is_deleted", truth, "-"),
                ("city", city, "billing_city"),
                ("country", country, "billing_country"),
                ("zip_code", postal, "billing_postal_code"),
                ("latitude", |row| format!("{}.{:04}", row % 80, row * 37 % 9999), "-"),
                ("newsletter_email", email, "-"),
            ],
        },
    ]
}

fn written(transform: &Transform) -> String {
    match transform {
        Transform::Copy => String::new(),
        Transform::ParseTime { format } => format!(" by parse_time {format}"),
        Transform::ParseEpoch { unit } => format!(" by parse_epoch {unit}"),
        Transform::ParseDecimalComma => " by parse_decimal_comma".to_owned(),
        Transform::Scale { factor } => format!(" by scale {factor}"),
        Transform::ExtractDomain => " by extract_domain".to_owned(),
        other => format!(" by {other:?}"),
    }
}

/// Maps every stream and compares with what must come out.
pub(crate) fn check(meaning: Option<&dyn Similarity>) {
    let ontology = default_ontology();
    let mut wrong = String::new();
    for case in cases() {
        let mut shape = StreamShape::default();
        let mut profile = StreamProfile { rows: ROWS as u64, ..StreamProfile::default() };
        for (name, value, expected) in &case.lines {
            let mut profiler = FieldProfiler::new();
            for row in 0..ROWS {
                let text = value(row);
                profiler.push((!text.is_empty()).then_some(text.as_str()));
            }
            let values = profiler.finish();
            shape.fields.push(values.field(name));
            profile.fields.insert((*name).to_owned(), values);
            if expected.starts_with("key") {
                shape.primary_key.push((*name).to_owned());
            }
        }
        let mapping = suggest(case.stream, &shape, &profile, &ontology, None, meaning);
        let entity = mapping.entity.as_deref().unwrap_or("-");
        if entity != case.entity {
            let _ = writeln!(wrong, "{}: is `{}`, found `{entity}`", case.stream, case.entity);
        }
        for (name, _, expected) in &case.lines {
            let found: BTreeSet<String> = mapping
                .fields
                .iter()
                .filter(|line| line.source == *name)
                .map(|line| format!("{}{}", line.target, written(&line.transform)))
                .collect();
            let wanted: BTreeSet<String> = match *expected {
                "-" | "key" => BTreeSet::new(),
                // Either nothing or a field it may honestly be.
                "-?" => continue,
                "key sku" => ["sku".to_owned()].into(),
                "key number" => ["number".to_owned()].into(),
                "website & domain by extract_domain" => {
                    ["website".to_owned(), "domain by extract_domain".to_owned()].into()
                }
                one => [one.to_owned()].into(),
            };
            if found != wanted {
                let _ = writeln!(wrong, "{}.{name}: wanted {wanted:?}, found {found:?}", case.stream);
            }
        }
        for line in &mapping.fields {
            if !(0.60..=1.0).contains(&line.confidence) {
                let _ = writeln!(wrong, "{}.{}: at {}", case.stream, line.source, line.confidence);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
