//! How each of three systems exports what it knows: its own column names, codes, date formats and
//! units. The second edition of the HubSpot-like export has drifted.

use super::{
    words::COUNTRIES,
    world::{Company, DYNAMICS, Deal, HUBSPOT, Person, SALESFORCE, World},
};
use chrono::DateTime;
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _, io, path::Path};
use uuid::Uuid;

/// Which edition of the exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edition {
    First,
    /// The HubSpot-like system was upgraded: columns renamed, added, removed, retyped and rescaled.
    Drifted,
}

/// One file being written: a header, then rows.
struct Table {
    text: String,
    separator: char,
}

impl Table {
    fn new(separator: char, header: &[&str]) -> Self {
        let mut table = Self { text: String::new(), separator };
        table.row(header);
        table
    }

    fn row<T: AsRef<str>>(&mut self, cells: &[T]) {
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                self.text.push(self.separator);
            }
            let cell = cell.as_ref();
            if cell.contains([self.separator, '"', '\n']) {
                let _ = write!(self.text, "\"{}\"", cell.replace('"', "\"\""));
            } else {
                self.text.push_str(cell);
            }
        }
        self.text.push('\n');
    }

    fn save(self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Written aside and renamed: a reader never sees half an edition.
        let aside = path.with_extension("part");
        std::fs::write(&aside, self.text)?;
        std::fs::rename(aside, path)
    }
}

fn time(seconds: i64, format: &str) -> String {
    DateTime::from_timestamp(seconds, 0).map(|time| time.format(format).to_string()).unwrap_or_default()
}

fn salesforce_time(seconds: i64) -> String {
    time(seconds, "%Y-%m-%dT%H:%M:%S.000+0000")
}

/// A Salesforce-like 18-character id.
fn salesforce_id(prefix: &str, number: usize) -> String {
    format!("{prefix}5g0000{number:07}AAA")
}

fn hubspot_id(base: usize, number: usize) -> String {
    (base + number * 37).to_string()
}

fn dynamics_id(kind: &str, number: usize) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{kind}/{number}").as_bytes()).to_string()
}

/// The company's record id in a system.
pub(crate) fn company_id(system: usize, number: usize) -> String {
    match system {
        SALESFORCE => salesforce_id("001", number),
        HUBSPOT => hubspot_id(9_100_000_000, number),
        _ => dynamics_id("account", number),
    }
}

/// Companies that the HubSpot-like system learns of between the editions.
fn late(number: usize) -> bool {
    number % 67 == 13
}

/// Companies whose head count somebody corrected in the HubSpot-like system between the editions.
fn corrected(number: usize) -> bool {
    number % 50 == 7
}

/// By how many heads.
const CORRECTION: u32 = 12;

fn account_type(number: usize) -> &'static str {
    ["Customer", "Prospect", "Partner"][number % 3]
}

fn industry_code(company: &Company) -> String {
    company.industry.to_uppercase().replace([' ', '&'], "_")
}

/// Writes the three exports below `folder`, one folder a system.
pub(crate) fn write(world: &World, edition: Edition, folder: &Path) -> io::Result<()> {
    if edition == Edition::First {
        salesforce(world, &folder.join("salesforce"))?;
        dynamics(world, &folder.join("dynamics"))?;
    }
    hubspot(world, edition, &folder.join("hubspot"))
}

fn salesforce(world: &World, folder: &Path) -> io::Result<()> {
    let mut accounts = Table::new(
        ',',
        &[
            "Id",
            "Name",
            "Type",
            "Website",
            "Industry",
            "AnnualRevenue",
            "NumberOfEmployees",
            "Phone",
            "BillingStreet",
            "BillingCity",
            "BillingState",
            "BillingPostalCode",
            "BillingCountry",
            "CreatedDate",
            "LastModifiedDate",
        ],
    );
    for (number, company) in known(world, SALESFORCE) {
        let website = if company.no_website[SALESFORCE] {
            String::new()
        } else {
            format!("https://www.{}", company.domain)
        };
        accounts.row(&[
            company_id(SALESFORCE, number),
            format!("{} {}", company.base_name, company.legal_form.0),
            account_type(number).to_owned(),
            website,
            company.industry.to_owned(),
            format!("{}.0", company.revenue),
            company.employees.to_string(),
            company.phone.clone(),
            company.street.clone(),
            company.city.to_owned(),
            company.state.to_owned(),
            company.postal_code.clone(),
            COUNTRIES[company.country].name.to_owned(),
            salesforce_time(company.created),
            salesforce_time(company.updated[SALESFORCE]),
        ]);
    }
    accounts.save(&folder.join("Account.csv"))?;

    let mut contacts = Table::new(
        ',',
        &[
            "Id",
            "AccountId",
            "FirstName",
            "LastName",
            "Email",
            "Phone",
            "Title",
            "MailingCity",
            "CreatedDate",
            "LastModifiedDate",
        ],
    );
    for (number, person, company) in people(world, SALESFORCE) {
        contacts.row(&[
            salesforce_id("003", number),
            company_id(SALESFORCE, person.company),
            person.first_name.to_owned(),
            person.last_name.to_owned(),
            person.email.clone(),
            person.phone.clone(),
            person.title.to_owned(),
            company.city.to_owned(),
            salesforce_time(person.created),
            salesforce_time(person.created + 86_400 * 3),
        ]);
    }
    contacts.save(&folder.join("Contact.csv"))?;

    let stages = [
        "Prospecting",
        "Qualification",
        "Proposal/Price Quote",
        "Negotiation/Review",
        "Closed Won",
        "Closed Lost",
    ];
    let mut opportunities = Table::new(
        ',',
        &[
            "Id",
            "AccountId",
            "Name",
            "Amount",
            "StageName",
            "Probability",
            "CloseDate",
            "IsClosed",
            "IsWon",
            "CreatedDate",
            "LastModifiedDate",
        ],
    );
    for (number, deal) in deals(world, SALESFORCE) {
        opportunities.row(&[
            salesforce_id("006", number),
            company_id(SALESFORCE, deal.company),
            deal.name.clone(),
            format!("{}.0", deal.amount),
            stages[deal.stage].to_owned(),
            ["10.0", "20.0", "50.0", "75.0", "100.0", "0.0"][deal.stage].to_owned(),
            time(deal.close, "%Y-%m-%d"),
            (deal.stage >= 4).to_string(),
            (deal.stage == 4).to_string(),
            salesforce_time(deal.created),
            salesforce_time(deal.created + 86_400 * 9),
        ]);
    }
    opportunities.save(&folder.join("Opportunity.csv"))
}

fn hubspot(world: &World, edition: Edition, folder: &Path) -> io::Result<()> {
    let drifted = edition == Edition::Drifted;
    let header: &[&str] = if drifted {
        &[
            "hs_object_id",
            "name",
            "company_domain",
            "industry",
            "annualrevenue",
            "employee_total",
            "phone",
            "address",
            "city",
            "zip",
            "country",
            "lifecyclestage",
            "createdate",
            "hs_lastmodifieddate",
        ]
    } else {
        &[
            "hs_object_id",
            "name",
            "domain",
            "industry",
            "annualrevenue",
            "numberofemployees",
            "phone",
            "address",
            "city",
            "state",
            "zip",
            "country",
            "createdate",
            "hs_lastmodifieddate",
        ]
    };
    let mut companies = Table::new(',', header);
    for (number, company) in known(world, HUBSPOT).filter(|(number, _)| drifted || !late(*number)) {
        let domain = if company.no_website[HUBSPOT] { String::new() } else { company.domain.clone() };
        let edited = drifted && corrected(number);
        let employees = if edited { company.employees + CORRECTION } else { company.employees };
        let modified = company.updated[HUBSPOT] + if edited { 86_400 * 30 } else { 0 };
        let mut cells = vec![
            company_id(HUBSPOT, number),
            company.base_name.replace(" & ", " and "),
            domain,
            industry_code(company),
            if drifted { format!("{}00", company.revenue) } else { company.revenue.to_string() },
            employees.to_string(),
            company.phone.replace(' ', ""),
            company.street.clone(),
            company.city.to_owned(),
        ];
        if !drifted {
            cells.push(company.state.to_owned());
        }
        cells.push(company.postal_code.clone());
        cells.push(COUNTRIES[company.country].name.to_owned());
        if drifted {
            cells.push(["lead", "customer", "opportunity", "evangelist"][number % 4].to_owned());
            cells.push(time(company.created, "%Y-%m-%d %H:%M:%S"));
        } else {
            cells.push(format!("{}000", company.created));
        }
        cells.push(format!("{modified}000"));
        companies.row(&cells);
    }
    companies.save(&folder.join("companies.csv"))?;

    let mut contacts = Table::new(
        ',',
        &[
            "hs_object_id",
            "firstname",
            "lastname",
            "email",
            "phone",
            if drifted { "job_position" } else { "jobtitle" },
            "associatedcompanyid",
            "createdate",
            "lastmodifieddate",
        ],
    );
    for (number, person, _) in
        people(world, HUBSPOT).filter(|(_, person, _)| drifted || !late(person.company))
    {
        contacts.row(&[
            hubspot_id(70_100, number),
            person.first_name.to_owned(),
            person.last_name.to_owned(),
            person.email.clone(),
            person.phone.replace(' ', ""),
            person.title.to_owned(),
            company_id(HUBSPOT, person.company),
            format!("{}000", person.created),
            format!("{}000", person.created + 86_400 * 5),
        ]);
    }
    contacts.save(&folder.join("contacts.csv"))?;

    let stages = [
        "appointmentscheduled",
        "qualifiedtobuy",
        "presentationscheduled",
        "contractsent",
        "closedwon",
        "closedlost",
    ];
    let mut table = Table::new(
        ',',
        &[
            "hs_object_id",
            "dealname",
            "amount",
            "dealstage",
            "hs_deal_stage_probability",
            "closedate",
            if drifted { "closed_flag" } else { "hs_is_closed" },
            "associatedcompanyid",
            "createdate",
            "hs_lastmodifieddate",
        ],
    );
    for (number, deal) in deals(world, HUBSPOT).filter(|(_, deal)| drifted || !late(deal.company)) {
        table.row(&[
            hubspot_id(510_000, number),
            deal.name.clone(),
            deal.amount.to_string(),
            stages[deal.stage].to_owned(),
            ["0.1", "0.2", "0.5", "0.75", "1.0", "0.0"][deal.stage].to_owned(),
            format!("{}000", deal.close),
            (deal.stage >= 4).to_string(),
            company_id(HUBSPOT, deal.company),
            format!("{}000", deal.created),
            format!("{}000", deal.created + 86_400 * 2),
        ]);
    }
    table.save(&folder.join("deals.csv"))
}

fn dynamics(world: &World, folder: &Path) -> io::Result<()> {
    let mut accounts = Table::new(
        ';',
        &[
            "accountid",
            "name",
            "websiteurl",
            "revenue",
            "numberofemployees",
            "telephone1",
            "address1_line1",
            "address1_city",
            "address1_stateorprovince",
            "address1_postalcode",
            "address1_country",
            "createdon",
            "modifiedon",
        ],
    );
    for (number, company) in known(world, DYNAMICS) {
        let website =
            if company.no_website[DYNAMICS] { String::new() } else { format!("http://{}/", company.domain) };
        accounts.row(&[
            company_id(DYNAMICS, number),
            format!("{} {}", company.base_name.to_uppercase(), company.legal_form.1),
            website,
            format!("{},00", company.revenue),
            company.employees.to_string(),
            company.phone.clone(),
            company.street.clone(),
            company.city.to_owned(),
            company.state.to_owned(),
            company.postal_code.clone(),
            COUNTRIES[company.country].code.to_owned(),
            time(company.created, "%d/%m/%Y %H:%M"),
            time(company.updated[DYNAMICS], "%d/%m/%Y %H:%M"),
        ]);
    }
    accounts.save(&folder.join("account_export.csv"))?;

    let mut contacts = Table::new(
        ';',
        &[
            "contactid",
            "fullname",
            "emailaddress1",
            "mobilephone",
            "jobtitle",
            "parentcustomerid",
            "createdon",
            "modifiedon",
        ],
    );
    for (number, person, _) in people(world, DYNAMICS) {
        contacts.row(&[
            dynamics_id("contact", number),
            format!("{} {}", person.first_name, person.last_name),
            person.email.to_uppercase(),
            person.phone.clone(),
            person.title.to_owned(),
            company_id(DYNAMICS, person.company),
            time(person.created, "%d/%m/%Y %H:%M"),
            time(person.created + 86_400 * 4, "%d/%m/%Y %H:%M"),
        ]);
    }
    contacts.save(&folder.join("contact_export.csv"))?;

    let mut opportunities = Table::new(
        ';',
        &[
            "opportunityid",
            "name",
            "estimatedvalue",
            "stepname",
            "closeprobability",
            "estimatedclosedate",
            "parentaccountid",
            "createdon",
            "modifiedon",
        ],
    );
    let steps = ["1-Prospect", "2-Qualify", "3-Propose", "4-Negotiate", "5-Won", "6-Lost"];
    for (number, deal) in deals(world, DYNAMICS) {
        opportunities.row(&[
            dynamics_id("opportunity", number),
            deal.name.clone(),
            format!("{},00", deal.amount),
            steps[deal.stage].to_owned(),
            ["10", "20", "50", "75", "100", "0"][deal.stage].to_owned(),
            time(deal.close, "%d/%m/%Y"),
            company_id(DYNAMICS, deal.company),
            time(deal.created, "%d/%m/%Y %H:%M"),
            time(deal.created + 86_400 * 6, "%d/%m/%Y %H:%M"),
        ]);
    }
    opportunities.save(&folder.join("opportunity_export.csv"))
}

fn values(number: usize, company: &Company) -> BTreeMap<&'static str, Vec<String>> {
    let country = &COUNTRIES[company.country];
    let (plain, legal) = (&company.base_name, company.legal_form);
    let mut employees = vec![company.employees];
    if company.systems[HUBSPOT] && corrected(number) {
        employees.push(company.employees + CORRECTION);
    }
    BTreeMap::from([
        ("account_type", vec![account_type(number).to_owned()]),
        ("annual_revenue", vec![company.revenue.to_string()]),
        ("billing_address", vec![company.street.clone()]),
        ("billing_city", vec![company.city.to_owned()]),
        ("billing_country", vec![country.name.to_owned(), country.code.to_owned()]),
        ("billing_postal_code", vec![company.postal_code.clone()]),
        ("billing_state", vec![company.state.to_owned()]),
        // One system writes no seconds.
        (
            "created_at",
            vec![
                time(company.created, "%Y-%m-%dT%H:%M:%S.000000Z"),
                time(company.created, "%Y-%m-%dT%H:%M:00.000000Z"),
            ],
        ),
        ("domain", vec![company.domain.clone()]),
        ("employee_count", employees.iter().map(u32::to_string).collect()),
        ("industry", vec![company.industry.to_owned(), industry_code(company)]),
        (
            "name",
            vec![
                format!("{plain} {}", legal.0),
                plain.replace(" & ", " and "),
                format!("{} {}", plain.to_uppercase(), legal.1),
            ],
        ),
        ("phone", vec![company.phone.clone(), company.phone.replace(' ', "")]),
        ("website", vec![format!("https://www.{}", company.domain), format!("http://{}/", company.domain)]),
    ])
}

fn known(world: &World, system: usize) -> impl Iterator<Item = (usize, &Company)> {
    world.companies.iter().enumerate().filter(move |(_, company)| company.systems[system])
}

fn people(world: &World, system: usize) -> impl Iterator<Item = (usize, &Person, &Company)> {
    let with_number = world.people.iter().enumerate();
    with_number
        .filter(move |(_, person)| person.systems[system])
        .map(|(number, person)| (number, person, &world.companies[person.company]))
}

fn deals(world: &World, system: usize) -> impl Iterator<Item = (usize, &Deal)> {
    world.deals.iter().enumerate().filter(move |(_, deal)| deal.system == system)
}

/// What is really so, for whoever wants to score the result.
#[derive(Debug, Serialize)]
pub(crate) struct Truth {
    /// Records of one company, as `(system/stream, source id)`, after the second edition.
    pub(crate) accounts: Vec<Vec<(String, String)>>,
    /// Of each of these companies, by canonical field: every spelling under which a system has it right.
    pub(crate) values: Vec<BTreeMap<&'static str, Vec<String>>>,
    pub(crate) drift: Vec<TrueDrift>,
}

#[derive(Debug, Serialize)]
pub(crate) struct TrueDrift {
    pub(crate) stream: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) field: &'static str,
}

pub(crate) fn truth(world: &World) -> Truth {
    let streams = ["salesforce/Account", "hubspot/companies", "dynamics/account_export"];
    let accounts = world.companies.iter().enumerate().map(|(number, company)| {
        (0..3)
            .filter(|&system| company.systems[system])
            .map(|system| (streams[system].to_owned(), company_id(system, number)))
            .collect()
    });
    let drift = |stream, kind, field| TrueDrift { stream, kind, field };
    Truth {
        accounts: accounts.collect(),
        values: world.companies.iter().enumerate().map(|(number, company)| values(number, company)).collect(),
        drift: vec![
            drift("companies", "field_renamed", "domain"),
            drift("companies", "field_renamed", "numberofemployees"),
            drift("companies", "unit_changed", "annualrevenue"),
            drift("companies", "type_changed", "createdate"),
            drift("companies", "field_added", "lifecyclestage"),
            drift("companies", "field_removed", "state"),
            drift("contacts", "field_renamed", "jobtitle"),
            drift("deals", "field_renamed", "hs_is_closed"),
        ],
    }
}
