//! A small CRM: accounts, contacts, opportunities as tables, invoices and tickets as documents.

use crate::{
    random::Random,
    table::{Cell, Column, Table},
};
use serde_json::json;

const FIRST: [&str; 24] = [
    "Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Margaret", "Tim", "Radia", "Ken", "Dennis",
    "Frances", "John", "Karen", "Leslie", "Shafi", "Niklaus", "Mary", "Hedy", "Linus", "Joan", "Guido",
    "Anita", "Vint",
];
const LAST: [&str; 24] = [
    "Lovelace",
    "Hopper",
    "Turing",
    "Dijkstra",
    "Liskov",
    "Knuth",
    "Hamilton",
    "Lee",
    "Perlman",
    "Thompson",
    "Ritchie",
    "Allen",
    "McCarthy",
    "Jones",
    "Lamport",
    "Goldwasser",
    "Wirth",
    "Shaw",
    "Lamarr",
    "Torvalds",
    "Clarke",
    "van Rossum",
    "Borg",
    "Cerf",
];
const CITIES: [&str; 20] = [
    "Berlin",
    "Paris",
    "London",
    "Madrid",
    "Rome",
    "Vienna",
    "Oslo",
    "Lisbon",
    "Dublin",
    "Prague",
    "Warsaw",
    "Athens",
    "Zurich",
    "Brussels",
    "New York",
    "San Jose",
    "Porto Alegre",
    "Lyon",
    "Graz",
    "Turku",
];
const INDUSTRIES: [&str; 9] =
    ["Banking", "Energy", "Retail", "Media", "Health", "Education", "Logistics", "Software", "Mining"];
const STAGES: [&str; 6] = ["prospecting", "qualified", "proposal", "negotiation", "won", "lost"];
const STATUSES: [&str; 4] = ["draft", "open", "paid", "void"];
const PRIORITIES: [&str; 4] = ["low", "normal", "high", "urgent"];
const WORDS: [&str; 20] = [
    "renewal",
    "upgrade",
    "pilot",
    "rollout",
    "support",
    "licence",
    "migration",
    "audit",
    "training",
    "hosting",
    "analytics",
    "storage",
    "security",
    "billing",
    "network",
    "mobile",
    "portal",
    "search",
    "backup",
    "reporting",
];

fn maybe(random: &mut Random, empty: f64, text: String) -> Cell {
    (!random.chance(empty)).then_some(text)
}

fn date(random: &mut Random) -> String {
    format!("{}-{:02}-{:02}", random.between(2016, 2024), random.between(1, 12), random.between(1, 28))
}

fn time(random: &mut Random) -> String {
    format!(
        "2025-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        random.between(1, 6),
        random.between(1, 28),
        random.below(24),
        random.below(60),
        random.below(60)
    )
}

fn money(random: &mut Random, most: usize) -> String {
    // More small amounts than large ones, as everywhere.
    let size = random.share().powi(3);
    format!("{}.{:02}", (size * most as f64) as usize + random.between(5, 90), random.below(100))
}

fn flag(random: &mut Random, share: f64) -> String {
    random.chance(share).to_string()
}

type Row = Vec<(&'static str, Cell)>;

fn account(random: &mut Random, number: usize) -> Row {
    let company = format!(
        "{} {} {}",
        random.pick(&LAST),
        random.pick(&["Systems", "Works", "Group", "Labs", "Partners"]),
        random.between(100, 999)
    );
    let billing = (*random.pick(&CITIES)).to_owned();
    let shipping = if random.chance(0.85) { billing.clone() } else { (*random.pick(&CITIES)).to_owned() };
    let owner = format!("{} {}", random.pick(&FIRST), random.pick(&LAST));
    let industry = (*random.pick(&INDUSTRIES)).to_owned();
    let phone = format!("+49 30 {:07}", random.below(9_999_999));
    vec![
        ("id", Some(format!("A-{number:05}"))),
        ("company_name", Some(company)),
        ("industry", maybe(random, 0.08, industry)),
        ("employees", Some(random.between(1, 9000).to_string())),
        ("annual_revenue", Some(money(random, 9_000_000))),
        ("credit_limit", Some(money(random, 200_000))),
        ("billing_city", Some(billing)),
        ("shipping_city", Some(shipping)),
        ("postal_code", Some(format!("{:05}", random.below(99_999)))),
        ("phone", maybe(random, 0.2, phone)),
        ("website", Some(format!("https://www.firm{number}.example"))),
        ("owner", maybe(random, 0.05, owner)),
        ("customer_since", Some(date(random))),
        ("is_active", Some(flag(random, 0.7))),
        ("discount", Some(format!("0.{:02}", random.between(1, 60)))),
        ("updated_at", Some(time(random))),
    ]
}

fn contact(random: &mut Random, number: usize) -> Row {
    let (first, last) = (*random.pick(&FIRST), *random.pick(&LAST));
    let email =
        format!("{}.{}{number}@mail.example", first.to_lowercase(), last.to_lowercase().replace(' ', ""));
    let title = (*random.pick(&["CEO", "CTO", "Buyer", "Engineer", "Assistant", "Director"])).to_owned();
    let mobile = format!("+33 6 {:08}", random.below(99_999_999));
    vec![
        ("contact_id", Some((40_000 + number).to_string())),
        ("first_name", Some(first.to_owned())),
        ("last_name", Some(last.to_owned())),
        ("email", Some(email)),
        ("job_title", maybe(random, 0.1, title)),
        ("mobile", maybe(random, 0.3, mobile)),
        ("birthday", {
            let (day, month, year) =
                (random.between(1, 28), random.between(1, 12), random.between(1950, 2004));
            Some(format!("{day:02}/{month:02}/{year}"))
        }),
        ("opted_in", Some(flag(random, 0.4))),
        ("lead_score", Some(random.between(0, 1000).to_string())),
        ("last_seen", Some(time(random))),
        ("created_on", Some(date(random))),
        ("city", Some((*random.pick(&CITIES)).to_owned())),
        ("account_id", Some(format!("A-{:05}", random.between(1, 400)))),
    ]
}

fn opportunity(random: &mut Random, number: usize) -> Row {
    let title = format!("{} {} {}", random.pick(&WORDS), random.pick(&WORDS), random.between(1, 4000));
    let stage = (*random.pick(&STAGES)).to_owned();
    let family = (*random.pick(&["core", "edge", "cloud"])).to_owned();
    vec![
        ("opportunity_id", Some(format!("006{number:06}"))),
        ("title", Some(title)),
        ("amount", Some(money(random, 400_000))),
        ("expected_revenue", Some(money(random, 300_000))),
        ("probability", Some(random.between(1, 99).to_string())),
        ("quantity", Some(random.between(1, 500).to_string())),
        ("stage", Some(stage)),
        ("product_family", maybe(random, 0.05, family)),
        ("close_date", Some(date(random))),
        ("created_at", Some(time(random))),
        ("currency", Some((*random.pick(&["EUR", "USD", "GBP"])).to_owned())),
        ("is_private", Some(flag(random, 0.15))),
        ("account_id", Some(format!("A-{:05}", random.between(1, 400)))),
        ("next_step", {
            let text = format!("{} with {}", random.pick(&["call", "meet", "mail"]), random.pick(&FIRST));
            maybe(random, 0.4, text)
        }),
    ]
}

fn invoice(random: &mut Random, number: usize) -> Row {
    let customer = json!({
        "name": format!("{} {}", random.pick(&LAST), random.between(10, 999)),
        "city": random.pick(&CITIES),
        "vat": format!("DE{:09}", random.below(999_999_999)),
    });
    let tags = json!([random.pick(&WORDS)]);
    vec![
        ("invoice_id", Some(format!("in_{number:06x}"))),
        ("number", Some(format!("{}-{:04}", random.between(2019, 2025), random.below(9_999)))),
        ("customer", Some(customer.to_string())),
        ("total", Some(money(random, 50_000))),
        ("tax", Some(money(random, 9_000))),
        ("status", Some((*random.pick(&STATUSES)).to_owned())),
        ("issued_on", Some(date(random))),
        ("paid", Some(flag(random, 0.6))),
        ("tags", Some(tags.to_string())),
        ("lines", Some(random.between(1, 60).to_string())),
        ("sent_at", Some(time(random))),
    ]
}

fn ticket(random: &mut Random, number: usize) -> Row {
    let requester = json!({
        "full_name": format!("{} {}", random.pick(&FIRST), random.pick(&LAST)),
        "phone": format!("+44 20 {:07}", random.below(9_999_999)),
    });
    let agent = format!("{} {}", random.pick(&FIRST), random.pick(&LAST));
    let satisfaction = format!("0.{:02}", random.between(10, 99));
    vec![
        ("ticket_id", Some((900_000 + number).to_string())),
        ("subject", Some(format!("{} {} {}", random.pick(&WORDS), random.pick(&WORDS), random.below(900)))),
        ("requester", Some(requester.to_string())),
        ("priority", Some((*random.pick(&PRIORITIES)).to_owned())),
        ("agent", maybe(random, 0.15, agent)),
        ("minutes_open", Some(random.between(1, 20_000).to_string())),
        ("satisfaction", maybe(random, 0.3, satisfaction)),
        ("opened_at", Some(time(random))),
        ("due_on", Some(date(random))),
        ("escalated", Some(flag(random, 0.2))),
        ("region", Some((*random.pick(&["north", "south", "east", "west", "centre"])).to_owned())),
    ]
}

/// A pool of rows of one of the entities.
pub(super) fn pool(rows: usize, random: &mut Random) -> Table {
    type Maker = fn(&mut Random, usize) -> Row;
    let (name, documents, make): (&str, bool, Maker) = *random.pick(&[
        ("accounts", false, account as Maker),
        ("contacts", false, contact),
        ("opportunities", false, opportunity),
        ("invoices", true, invoice),
        ("tickets", true, ticket),
    ]);
    let mut columns: Vec<Column> = Vec::new();
    for number in 0..rows {
        let row = make(random, number + 1);
        if columns.is_empty() {
            columns
                .extend(row.iter().map(|(name, _)| Column { name: (*name).to_owned(), cells: Vec::new() }));
        }
        for (column, (_, cell)) in columns.iter_mut().zip(row) {
            column.cells.push(cell);
        }
    }
    let key = columns.first().map(|column| column.name.clone()).unwrap_or_default();
    Table { base: format!("crm/{name}"), key, documents, columns }
}
