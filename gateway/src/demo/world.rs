//! The seeded world behind the demo: companies, people and deals as they really are, before three
//! systems each write some of them down in their own way.

use super::words::{COUNTRIES, FIRST_NAMES, JOB_TITLES, LAST_NAMES, STEMS, STREETS, TRADES};
use rand::{Rng, SeedableRng, seq::IndexedRandom, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;

/// Companies in the world.
pub(crate) const COMPANIES: usize = 2_000;
/// Share of them that two or three systems know.
const SHARED: f64 = 0.60;

pub(crate) const SALESFORCE: usize = 0;
pub(crate) const HUBSPOT: usize = 1;
pub(crate) const DYNAMICS: usize = 2;

pub(crate) struct Company {
    /// Name without a legal form.
    pub(crate) base_name: String,
    pub(crate) legal_form: (&'static str, &'static str),
    pub(crate) domain: String,
    pub(crate) industry: &'static str,
    pub(crate) country: usize,
    pub(crate) city: &'static str,
    pub(crate) state: &'static str,
    pub(crate) street: String,
    pub(crate) postal_code: String,
    pub(crate) phone: String,
    /// Whole dollars.
    pub(crate) revenue: u64,
    pub(crate) employees: u32,
    /// Which systems know it.
    pub(crate) systems: [bool; 3],
    /// Seconds since 1970.
    pub(crate) created: i64,
    pub(crate) updated: [i64; 3],
    /// In which systems its web address was never filled in.
    pub(crate) no_website: [bool; 3],
}

pub(crate) struct Person {
    pub(crate) company: usize,
    pub(crate) first_name: &'static str,
    pub(crate) last_name: &'static str,
    pub(crate) email: String,
    pub(crate) phone: String,
    pub(crate) title: &'static str,
    pub(crate) systems: [bool; 3],
    pub(crate) created: i64,
}

pub(crate) struct Deal {
    pub(crate) company: usize,
    pub(crate) system: usize,
    pub(crate) name: String,
    /// Whole dollars.
    pub(crate) amount: u64,
    /// 0 to 5: prospecting, qualification, proposal, negotiation, won, lost.
    pub(crate) stage: usize,
    pub(crate) close: i64,
    pub(crate) created: i64,
}

pub(crate) struct World {
    pub(crate) companies: Vec<Company>,
    pub(crate) people: Vec<Person>,
    pub(crate) deals: Vec<Deal>,
}

/// 2021-01-01T00:00:00Z.
const EPOCH: i64 = 1_609_459_200;
const DAY: i64 = 86_400;

impl World {
    pub(crate) fn generate(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut names: Vec<(usize, usize)> =
            (0..STEMS.len()).flat_map(|stem| (0..TRADES.len()).map(move |trade| (stem, trade))).collect();
        names.shuffle(&mut random);
        let mut domains = HashSet::new();
        let mut companies: Vec<Company> = Vec::with_capacity(COMPANIES);
        for (index, &name) in names.iter().enumerate().take(COMPANIES) {
            // One in forty bears the name of an earlier company of another town: not to be merged.
            let namesake = (index > 100 && index % 40 == 0).then(|| index - 57);
            let company = company(&mut random, name, namesake.map(|twin| &companies[twin]), &mut domains);
            companies.push(company);
        }
        let people = people(&mut random, &companies);
        let deals = deals(&mut random, &companies);
        Self { companies, people, deals }
    }
}

fn company(
    random: &mut ChaCha8Rng,
    (stem, trade): (usize, usize),
    namesake: Option<&Company>,
    domains: &mut HashSet<String>,
) -> Company {
    let (noun, industry) = TRADES[trade];
    let country = *[0, 0, 0, 0, 1, 1, 2, 3, 4].choose(random).unwrap_or(&0);
    let place = &COUNTRIES[country];
    let (city, state) = loop {
        let &(city, state) = place.cities.choose(random).unwrap_or(&place.cities[0]);
        if namesake.is_none_or(|twin| twin.city != city) {
            break (city, state);
        }
    };
    let base_name = match namesake {
        Some(twin) => twin.base_name.clone(),
        None if random.random_bool(0.08) => {
            let partner = STEMS.choose(random).unwrap_or(&STEMS[0]);
            format!("{} & {partner} {noun}", STEMS[stem])
        }
        None => format!("{} {noun}", STEMS[stem]),
    };
    let slug: String = base_name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let mut domain = format!("{slug}.{}", place.top_level);
    let mut attempt = 1;
    while !domains.insert(domain.clone()) {
        attempt += 1;
        domain = format!("{slug}{attempt}.{}", place.top_level);
    }
    let systems = if random.random_bool(SHARED) {
        *[
            [true, true, false],
            [true, false, true],
            [false, true, true],
            [true, true, true],
            [true, true, true],
        ]
        .choose(random)
        .unwrap_or(&[true; 3])
    } else {
        *[[true, false, false], [false, true, false], [false, false, true]]
            .choose(random)
            .unwrap_or(&[true; 3])
    };
    let created = EPOCH + random.random_range(0..900) * DAY + random.random_range(0..DAY);
    let employees = (10.0_f64).powf(random.random_range(0.9..4.2)) as u32;
    Company {
        base_name,
        legal_form: *place.forms.choose(random).unwrap_or(&place.forms[0]),
        domain,
        industry,
        country,
        city,
        state,
        street: format!("{} {}", random.random_range(1..400), STREETS.choose(random).unwrap_or(&STREETS[0])),
        postal_code: format!("{:05}", random.random_range(501..99_950)),
        phone: format!(
            "{} {} {:03} {:04}",
            place.phone,
            random.random_range(200..989),
            random.random_range(100..999),
            random.random_range(0..9999)
        ),
        revenue: u64::from(employees) * random.random_range(60_000..340_000),
        employees,
        systems,
        created,
        updated: std::array::from_fn(|_| {
            created + random.random_range(1..500) * DAY + random.random_range(0..DAY)
        }),
        no_website: std::array::from_fn(|_| random.random_bool(0.04)),
    }
}

fn people(random: &mut ChaCha8Rng, companies: &[Company]) -> Vec<Person> {
    let mut emails = HashSet::new();
    let mut people = Vec::new();
    for (index, company) in companies.iter().enumerate() {
        for _ in 0..random.random_range(1..=3) {
            let first_name = FIRST_NAMES.choose(random).copied().unwrap_or(FIRST_NAMES[0]);
            let last_name = LAST_NAMES.choose(random).copied().unwrap_or(LAST_NAMES[0]);
            let plain: String = format!("{first_name}.{last_name}")
                .to_lowercase()
                .chars()
                .filter(|letter| letter.is_ascii_alphanumeric() || *letter == '.')
                .collect();
            let email = format!("{plain}@{}", company.domain);
            if !emails.insert(email.clone()) {
                continue;
            }
            people.push(Person {
                company: index,
                first_name,
                last_name,
                email,
                phone: format!(
                    "{} {} {:03} {:04}",
                    COUNTRIES[company.country].phone,
                    random.random_range(200..989),
                    random.random_range(100..999),
                    random.random_range(0..9999)
                ),
                title: JOB_TITLES.choose(random).copied().unwrap_or(JOB_TITLES[0]),
                systems: company.systems.map(|known| known && random.random_bool(0.8)),
                created: company.created + random.random_range(0..200) * DAY + random.random_range(0..DAY),
            });
        }
    }
    people
}

fn deals(random: &mut ChaCha8Rng, companies: &[Company]) -> Vec<Deal> {
    let mut deals = Vec::new();
    for (index, company) in companies.iter().enumerate() {
        for system in (0..3).filter(|&system| company.systems[system]) {
            if random.random_bool(0.55) {
                let created =
                    company.created + random.random_range(5..400) * DAY + random.random_range(0..DAY);
                let kind = *["Expansion", "Renewal", "Pilot", "Platform", "Support plan"]
                    .choose(random)
                    .unwrap_or(&"Renewal");
                deals.push(Deal {
                    company: index,
                    system,
                    name: format!("{} – {kind}", company.base_name),
                    amount: random.random_range(12..2_400) * 250,
                    stage: random.random_range(0..6),
                    close: created + random.random_range(20..240) * DAY,
                    created,
                });
            }
        }
    }
    deals
}
