//! Match keys: the normal form in which values of two sources are compared, by what the field means.
//!
//! | semantic | normal form |
//! |---|---|
//! | Domain, Url | host, lower case, without scheme, `www.`, path and port; hosts of free mail and of social networks name no organisation and are null |
//! | Email | trimmed, lower case, with an `@` |
//! | Phone | digits; fewer than 7 are null |
//! | OrganizationName | lower case, no accents, `&` as `and`, no punctuation, no legal form at the end |
//! | PersonName, Country, Category, Plain, … | trimmed, lower case, no accents, single spaces |
//! | Identifier, Reference | trimmed |
//! | other types | the value as text |
//!
//! A rule's key is its fields' normal forms joined by U+001F; null when one is missing. A domain that
//! gives no key is taken from the entity's `website`.

use super::{program::Program, tables::value_column, transform::host};
use autonomos_domain::ontology::{CanonicalType, Entity, MatchRule, OntologyField, Semantic};

/// Hosts that many organisations share.
const SHARED_HOSTS: &str = "'gmail.com','googlemail.com','yahoo.com','yahoo.co.uk','yahoo.fr','yahoo.de','ymail.com',\
'hotmail.com','hotmail.co.uk','hotmail.fr','outlook.com','live.com','msn.com','icloud.com','me.com','mac.com','aol.com',\
'gmx.de','gmx.net','gmx.com','gmx.at','gmx.ch','web.de','t-online.de','freenet.de','mail.com','mail.ru','yandex.ru',\
'proton.me','protonmail.com','qq.com','163.com','126.com','sina.com','zoho.com','orange.fr','free.fr','wanadoo.fr',\
'laposte.net','libero.it','comcast.net','att.net','verizon.net','facebook.com','linkedin.com','twitter.com','x.com',\
'instagram.com','youtube.com'";

const LEGAL_FORMS: &str = "inc|incorporated|llc|llp|lp|ltd|limited|corp|corporation|co|company|gmbh|kg|ag|se|sa|sas|sarl|bv|nv|plc|pty|oy|oyj|ab|as|asa|aps|srl|spa|kk|kft|sro|zrt|pte|pvt";

/// The normal form of a value.
fn normalised(program: &mut Program, column: &str, field: &OntologyField) -> String {
    if field.canonical_type != CanonicalType::Text {
        return format!("CAST({column} AS VARCHAR)");
    }
    let form = match field.semantic {
        Semantic::Domain | Semantic::Url => {
            let host = host(program, column);
            format!("CASE WHEN {host} NOT IN ({SHARED_HOSTS}) THEN {host} END")
        }
        Semantic::Email => {
            format!("CASE WHEN contains({column}, '@') THEN lower(trim({column})) END")
        }
        Semantic::Phone => {
            let digits = program.bind(format!("regexp_replace({column}, '[^0-9]', '', 'g')"));
            format!("CASE WHEN length({digits}) >= 7 THEN {digits} END")
        }
        Semantic::OrganizationName => {
            // Most names are plain words: only the others go through the patterns.
            let plain = program.bind(format!("lower(strip_accents({column}))"));
            let bare = format!("regexp_replace(replace({plain}, '&', ' and '), '[''’.]', '', 'g')");
            let words = format!(
                "CASE WHEN regexp_full_match({plain}, '[a-z0-9]+( [a-z0-9]+)*') THEN {plain} \
                 ELSE trim(regexp_replace({bare}, '[^\\p{{L}}\\p{{N}}]+', ' ', 'g')) END"
            );
            let name = program.bind(format!("regexp_replace({words}, '( (and )?({LEGAL_FORMS}))+$', '')"));
            format!("nullif({name}, '')")
        }
        Semantic::Identifier | Semantic::Reference => {
            let trimmed = program.bind(format!("trim({column})"));
            format!("nullif({trimmed}, '')")
        }
        _ => {
            let plain = program.bind(format!("trim(lower(strip_accents({column})))"));
            let spaced = program.bind(format!(
                "CASE WHEN contains({plain}, '  ') OR contains({plain}, chr(9)) OR contains({plain}, chr(160)) \
                 THEN regexp_replace({plain}, '[\\s\\p{{Z}}]+', ' ', 'g') ELSE {plain} END"
            ));
            format!("nullif({spaced}, '')")
        }
    };
    program.bind(form)
}

/// The normal form of a field of the record `alias`, with a domain taken from the website.
fn field_key(program: &mut Program, entity: &Entity, name: &str, alias: &str) -> String {
    let Some(field) = entity.field(name) else { return "CAST(NULL AS VARCHAR)".to_owned() };
    let own = normalised(program, &format!("{alias}.{}", value_column(name)), field);
    let website = entity.field("website").filter(|website| website.semantic == Semantic::Url);
    match website {
        Some(website) if field.semantic == Semantic::Domain && field.name == "domain" => {
            let column = format!("{alias}.{}", value_column(&website.name));
            let missing = program.bind(format!("CASE WHEN {own} IS NULL THEN {column} END"));
            let other = normalised(program, &missing, website);
            program.bind(format!("coalesce({own}, {other})"))
        }
        _ => own,
    }
}

/// The key of a rule for the record `alias`, which is the program's: null when a part is missing.
pub(super) fn rule_key(program: &mut Program, entity: &Entity, rule: &MatchRule, alias: &str) -> String {
    let parts: Vec<String> =
        rule.all_equal.iter().map(|name| field_key(program, entity, name, alias)).collect();
    if parts.is_empty() {
        return "CAST(NULL AS VARCHAR)".to_owned();
    }
    parts.join(" || chr(31) || ")
}

/// What must not differ for the rule to link, for the record `alias`.
pub(super) fn rule_guards(
    program: &mut Program,
    entity: &Entity,
    rule: &MatchRule,
    alias: &str,
) -> Vec<String> {
    rule.unless_different.iter().map(|name| field_key(program, entity, name, alias)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dcl::tables::literal;
    use autonomos_domain::ontology::default_ontology;
    use duckdb::Connection;

    fn key(entity: &str, rule: &str, values: &[(&str, &str)]) -> Option<String> {
        let ontology = default_ontology();
        let entity = ontology.entity(entity).unwrap();
        let rule = entity.match_rules.iter().find(|one| one.name == rule).unwrap();
        let columns: Vec<String> = entity
            .fields
            .iter()
            .map(|field| {
                let value = values.iter().find(|(name, _)| *name == field.name);
                let value = value.map_or("NULL".to_owned(), |(_, value)| literal(value));
                format!(
                    "CAST({value} AS {}) AS {}",
                    crate::dcl::tables::sql_type(field.canonical_type),
                    value_column(&field.name)
                )
            })
            .collect();
        let connection = Connection::open_in_memory().unwrap();
        let mut program = Program::new("r");
        let key = rule_key(&mut program, entity, rule, "r");
        let sql =
            format!("SELECT {key} FROM {} r", program.over(&format!("(SELECT {})", columns.join(", "))));
        connection.query_row(&sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{error}: {sql}"))
    }

    #[test]
    fn domains_compare_by_host() {
        let domain = |value: &str| key("account", "domain", &[("domain", value)]);
        assert_eq!(domain("https://www.Acme.com/about").as_deref(), Some("acme.com"));
        assert_eq!(domain("acme.com").as_deref(), Some("acme.com"));
        assert_eq!(domain("gmail.com"), None);
        assert_eq!(domain("acme"), None);
        assert_eq!(
            key("account", "domain", &[("website", "http://acme.com:80/")]).as_deref(),
            Some("acme.com")
        );
        assert_eq!(
            key("account", "domain", &[("domain", "gmail.com"), ("website", "acme.com")]).as_deref(),
            Some("acme.com")
        );
    }

    #[test]
    fn names_compare_without_legal_forms() {
        let name = |value: &str| {
            key("account", "name_and_city", &[("name", value), ("billing_city", " New  York ")])
                .map(|key| key.split('\u{1f}').next().unwrap().to_owned())
        };
        for (left, right) in [
            ("ACME, Inc.", "Acme"),
            ("Söhne & Co. KG", "sohne"),
            ("Smith & Söhne GmbH & Co. KG", "Smith and Sohne"),
            ("Foo B.V.", "foo"),
            ("Bar Pty Ltd", "BAR"),
            ("O'Neil Corp", "oneil"),
            ("Société Générale S.A.", "societe generale"),
        ] {
            assert_eq!(name(left), name(right), "`{left}` and `{right}`");
        }
        assert_eq!(name("AB").as_deref(), Some("ab"));
        assert_ne!(name("Acme Holdings"), name("Acme"));
        assert_eq!(key("account", "name_and_city", &[("name", "Acme")]), None);
    }

    #[test]
    fn mails_compare_in_lower_case() {
        assert_eq!(
            key("contact", "email", &[("email", " Jane@Acme.com ")]).as_deref(),
            Some("jane@acme.com")
        );
        assert_eq!(key("contact", "email", &[("email", "n/a")]), None);
    }
}
