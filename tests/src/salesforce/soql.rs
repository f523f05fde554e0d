//! As much of the query language as a connector needs.

use super::org::{Org, Record, Table, millis};
use serde_json::Value;
use std::cmp::Ordering;

/// A refused query: its code, and why.
pub(super) type Refused = (&'static str, String);

pub(super) struct Query {
    pub(super) object: String,
    /// Empty for `COUNT()`.
    pub(super) fields: Vec<String>,
    filter: Option<Filter>,
    order: Vec<(String, bool)>,
    limit: Option<usize>,
}

enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Compare(String, String, Vec<Value>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, Refused> {
    let mut all = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            ' ' | '\n' | '\t' | '\r' => {}
            '\'' => {
                let mut quoted = String::new();
                loop {
                    match rest.next().ok_or_else(|| malformed("an open text"))? {
                        '\'' => break,
                        '\\' => quoted.extend(rest.next()),
                        other => quoted.push(other),
                    }
                }
                all.push(Token::Text(quoted));
            }
            '(' | ')' | ',' | '=' => all.push(Token::Sign(letter.to_string())),
            '<' | '>' | '!' => {
                let mut sign = letter.to_string();
                sign.extend(rest.next_if_eq(&'='));
                all.push(Token::Sign(sign));
            }
            _ => {
                let mut word = letter.to_string();
                while let Some(next) =
                    rest.next_if(|next| next.is_ascii_alphanumeric() || "_.:+-".contains(*next))
                {
                    word.push(next);
                }
                all.push(Token::Word(word));
            }
        }
    }
    Ok(all)
}

fn malformed(what: &str) -> Refused {
    ("MALFORMED_QUERY", format!("unexpected token: {what}"))
}

struct Parser(std::vec::IntoIter<Token>);

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.0.as_slice().first()
    }

    fn is(&self, word: &str) -> bool {
        match self.peek() {
            Some(Token::Word(found)) => found.eq_ignore_ascii_case(word),
            Some(Token::Sign(found)) => found == word,
            _ => false,
        }
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.is(word);
        if found {
            self.0.next();
        }
        found
    }

    fn expect(&mut self, word: &str) -> Result<(), Refused> {
        if self.take(word) { Ok(()) } else { Err(malformed(&format!("`{word}` expected"))) }
    }

    fn word(&mut self) -> Result<String, Refused> {
        match self.0.next() {
            Some(Token::Word(word)) => Ok(word),
            other => Err(malformed(&format!("{other:?}"))),
        }
    }

    fn any(&mut self) -> Result<Filter, Refused> {
        let mut parts = vec![self.all()?];
        while self.take("OR") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Any(parts) })
    }

    fn all(&mut self) -> Result<Filter, Refused> {
        let mut parts = vec![self.compare()?];
        while self.take("AND") {
            parts.push(self.compare()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::All(parts) })
    }

    fn compare(&mut self) -> Result<Filter, Refused> {
        if self.take("(") {
            let inner = self.any()?;
            self.expect(")")?;
            return Ok(inner);
        }
        let field = self.word()?;
        if self.take("IN") {
            self.expect("(")?;
            let mut values = vec![self.value()?];
            while self.take(",") {
                values.push(self.value()?);
            }
            self.expect(")")?;
            return Ok(Filter::Compare(field, "=".to_owned(), values));
        }
        match self.0.next() {
            Some(Token::Sign(sign)) if ["=", "!=", "<", "<=", ">", ">="].contains(&sign.as_str()) => {
                let value = self.value()?;
                Ok(Filter::Compare(field, sign, vec![value]))
            }
            other => Err(malformed(&format!("{other:?}"))),
        }
    }

    fn value(&mut self) -> Result<Value, Refused> {
        match self.0.next() {
            Some(Token::Text(text)) => Ok(Value::String(text)),
            Some(Token::Word(word)) => Ok(match word.to_ascii_lowercase().as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                // Moments are compared as such.
                _ => millis(&word).map_or_else(
                    || serde_json::from_str(&word).map_err(|_| malformed(&word)),
                    |_| Ok(Value::String(word.clone())),
                )?,
            }),
            other => Err(malformed(&format!("{other:?}"))),
        }
    }
}

impl Query {
    pub(super) fn parse(text: &str, org: &Org) -> Result<Self, Refused> {
        let mut parser = Parser(tokens(text)?.into_iter());
        parser.expect("SELECT")?;
        let mut fields = Vec::new();
        let counted = parser.is("COUNT");
        if counted {
            parser.word()?;
            parser.expect("(")?;
            parser.expect(")")?;
        } else {
            fields.push(parser.word()?);
            while parser.take(",") {
                fields.push(parser.word()?);
            }
        }
        parser.expect("FROM")?;
        let object = parser.word()?;
        let filter = if parser.take("WHERE") { Some(parser.any()?) } else { None };
        let mut order = Vec::new();
        if parser.take("ORDER") {
            parser.expect("BY")?;
            loop {
                let field = parser.word()?;
                let down = parser.take("DESC");
                if !down {
                    parser.take("ASC");
                }
                order.push((field, down));
                if !parser.take(",") {
                    break;
                }
            }
        }
        let limit = if parser.take("LIMIT") {
            Some(parser.word()?.parse().map_err(|_| malformed("LIMIT"))?)
        } else {
            None
        };
        if parser.peek().is_some() {
            return Err(malformed(&format!("{:?}", parser.peek())));
        }
        let query = Self { object, fields, filter, order, limit };
        query.check(org)?;
        Ok(query)
    }

    /// Whether all that it names is there.
    pub(super) fn check(&self, org: &Org) -> Result<(), Refused> {
        let Some(table) = org.objects.get(&self.object) else {
            return Err(("INVALID_TYPE", format!("sObject type '{}' is not supported.", self.object)));
        };
        let ordered = self.order.iter().map(|(field, _)| field);
        let mut filtered = Vec::new();
        if let Some(filter) = &self.filter {
            filter.fields(&mut filtered);
        }
        let gone = self.fields.iter().chain(ordered).chain(filtered).find(|field| !table.has(field));
        gone.map_or(Ok(()), |field| {
            Err(("INVALID_FIELD", format!("No such column '{field}' on entity '{}'.", self.object)))
        })
    }

    /// Whether a job may run it, which has no compound fields and no aggregates.
    pub(super) fn check_bulk(&self, table: &Table) -> Result<(), Refused> {
        let compound =
            table.fields.iter().filter(|field| ["address", "location"].contains(&field.kind.as_str()));
        if self.fields.is_empty() {
            return Err(("API_ERROR", "Aggregate Relationship not supported in Bulk Query".to_owned()));
        }
        match compound.map(|field| &field.name).find(|name| self.fields.contains(name)) {
            Some(name) => {
                Err(("API_ERROR", format!("Selecting compound data not supported in Bulk Query: `{name}`")))
            }
            None => Ok(()),
        }
    }

    /// The records it finds, in their order; `all`: deleted ones too.
    pub(super) fn run<'a>(&self, table: &'a Table, all: bool) -> Vec<&'a Record> {
        let fits = |record: &&Record| {
            (all || record["IsDeleted"] == false)
                && self.filter.as_ref().is_none_or(|filter| filter.fits(record))
        };
        let mut found: Vec<&Record> = table.rows.values().filter(fits).collect();
        found.sort_by(|left, right| {
            let by = self.order.iter().map(|(field, down)| {
                let order = order(&left[field], &right[field]);
                if *down { order.reverse() } else { order }
            });
            by.fold(Ordering::Equal, Ordering::then)
        });
        found.truncate(self.limit.unwrap_or(usize::MAX));
        found
    }
}

impl Filter {
    fn fields<'a>(&'a self, found: &mut Vec<&'a String>) {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                for part in parts {
                    part.fields(found);
                }
            }
            Self::Compare(field, ..) => found.push(field),
        }
    }

    fn fits(&self, record: &Record) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.fits(record)),
            Self::Any(parts) => parts.iter().any(|part| part.fits(record)),
            Self::Compare(field, sign, values) => values.iter().any(|value| {
                let order = order(&record[field], value);
                match sign.as_str() {
                    "=" => order.is_eq(),
                    "!=" => order.is_ne(),
                    "<" => order.is_lt(),
                    "<=" => order.is_le(),
                    ">" => order.is_gt(),
                    _ => order.is_ge(),
                }
            }),
        }
    }
}

fn order(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::String(left), Value::String(right)) => match (millis(left), millis(right)) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => left.cmp(right),
        },
        (Value::Number(left), Value::Number(right)) => {
            left.as_f64().unwrap_or_default().total_cmp(&right.as_f64().unwrap_or_default())
        }
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        _ => Ordering::Greater,
    }
}
