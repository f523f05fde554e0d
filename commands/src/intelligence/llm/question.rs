//! What a model is asked about columns, and how its answer is read: leniently where text stands around
//! it, strictly in what it says.

use super::Question;
use autonomos_domain::{
    drift::{opposed, types_fit},
    mapping::Evidence,
    matching::features::form,
    schema::{Field, LogicalType},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A prompt is never edited: another text is another version, in a file of its own.
pub const REPAIR_PROMPT_VERSION: u32 = 1;
pub const MATCH_PROMPT_VERSION: u32 = 1;
const REPAIR_PROMPT: &str = include_str!("../prompts/repair.v1.txt");
const MATCH_PROMPT: &str = include_str!("../prompts/match.v1.txt");
/// Columns of each side that are shown.
const COLUMNS: usize = 60;
/// Targets of a match that are shown: the fields of many entities are.
const TARGETS: usize = 400;
/// Values of a column whose forms are shown, or which are themselves.
const VALUES: usize = 5;
const VALUE_CHARACTERS: usize = 80;
const REASON_CHARACTERS: usize = 300;
/// Tokens of an answer, for each column that is asked about and for what stands around them.
const TOKENS_PER_COLUMN: u32 = 120;
const TOKENS_AROUND: u32 = 200;
/// A model that is quite sure makes a pair so probable, one that is not less. Its own word is no
/// calibrated probability, so it never gives more.
const SURE: f64 = 0.80;
const UNSURE: f64 = 0.50;

/// A column as a model sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    pub column: String,
    #[serde(rename = "type")]
    pub logical_type: LogicalType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// How values are written: `Aa 9`, `99-99`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub forms: BTreeSet<String>,
    /// A few values, where the organisation allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    /// What a field of the ontology is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// A column that is gone, and what it was for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gone {
    #[serde(flatten)]
    pub column: Column,
    pub field: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Where each of some columns went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RepairQuestion {
    pub stream: String,
    pub entity: Option<String>,
    pub gone: Vec<Gone>,
    pub new: Vec<Column>,
}

/// Which columns of a table are which of another, or which fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MatchQuestion {
    pub table: String,
    pub source: Vec<Column>,
    pub target: Vec<Column>,
}

/// One answer, checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    pub from: String,
    pub to: String,
    /// As the model says: it is not believed as it stands.
    pub confidence: f64,
    pub reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pairs {
    pairs: Vec<Pair>,
}

impl Column {
    /// `samples` leave the process only as forms, unless `raw`.
    pub fn of(field: &Field, samples: &[String], raw: bool) -> Self {
        let cut = |text: &String| text.chars().take(VALUE_CHARACTERS).collect();
        Self {
            column: field.name.clone(),
            logical_type: field.logical_type,
            format: field.format.clone(),
            forms: samples.iter().take(VALUES).map(|value| masked(value)).collect(),
            values: raw.then(|| samples.iter().take(VALUES).map(cut).collect()),
            about: None,
        }
    }
}

/// A value's form; of letters and digits nothing is left, of others what commonly stands between them.
fn masked(value: &str) -> String {
    let known = |letter: char| if "Aa9 .,:;/@+-_()%#".contains(letter) { letter } else { '?' };
    form(value).chars().take(24).map(known).collect()
}

impl Pair {
    /// How probable it is that both are the same, by what is known without the model; and why.
    pub fn weighed(&self, from: &Field, to: &Field, model: &str, prompt: &str) -> (f64, Vec<Evidence>) {
        let Self { from: old, to: new, confidence, reason } = self;
        let mut probability = UNSURE + (SURE - UNSURE) * confidence;
        let mut evidence = vec![Evidence {
            signal: "llm".to_owned(),
            score: *confidence,
            detail: format!("`{model}` says that `{old}` is `{new}`: {reason} (prompt {prompt})"),
        }];
        let fit = types_fit(from, to);
        if fit < 1.0 {
            probability *= 0.6 + 0.3 * fit;
            let (was, is) = (from.logical_type.as_str(), to.logical_type.as_str());
            evidence.push(Evidence {
                signal: "type".to_owned(),
                score: fit,
                detail: format!("`{old}` is {was}, `{new}` is {is}"),
            });
        }
        if opposed(old, new) {
            probability *= 0.5;
            evidence.push(Evidence {
                signal: "name".to_owned(),
                score: 0.0,
                detail: format!("`{old}` and `{new}` name opposite things"),
            });
        }
        (probability, evidence)
    }
}

impl RepairQuestion {
    /// Keeps to what a question may hold.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.gone.truncate(COLUMNS);
        self.new.truncate(COLUMNS);
        self
    }

    fn sides(&self) -> (Vec<&str>, Vec<&str>) {
        let gone = self.gone.iter().map(|gone| gone.column.column.as_str());
        (gone.collect(), self.new.iter().map(|new| new.column.as_str()).collect())
    }

    pub fn question(&self) -> Question {
        question(REPAIR_PROMPT, &json!(self), &self.sides())
    }

    /// The answer in a text; or what is wrong with it, in words for the model.
    pub fn read(&self, text: &str) -> Result<Vec<Pair>, String> {
        pairs_in(text, &self.sides())
    }
}

impl MatchQuestion {
    /// Keeps to what a question may hold.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.source.truncate(COLUMNS);
        self.target.truncate(TARGETS);
        self
    }

    fn sides(&self) -> (Vec<&str>, Vec<&str>) {
        (
            self.source.iter().map(|column| column.column.as_str()).collect(),
            self.target.iter().map(|column| column.column.as_str()).collect(),
        )
    }

    pub fn question(&self) -> Question {
        question(MATCH_PROMPT, &json!(self), &self.sides())
    }

    /// The answer in a text; or what is wrong with it, in words for the model.
    pub fn read(&self, text: &str) -> Result<Vec<Pair>, String> {
        pairs_in(text, &self.sides())
    }
}

fn question(prompt: &str, asked: &Value, (froms, tos): &(Vec<&str>, Vec<&str>)) -> Question {
    Question {
        system: prompt.to_owned(),
        user: asked.to_string(),
        schema: json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["pairs"],
            "properties": { "pairs": { "type": "array", "items": {
                "type": "object",
                "additionalProperties": false,
                "required": ["from", "to", "confidence", "reason"],
                "properties": {
                    "from": { "type": "string", "enum": froms },
                    "to": { "type": "string", "enum": tos },
                    "confidence": { "type": "number" },
                    "reason": { "type": "string" },
                },
            } } },
        }),
        schema_name: "pairs",
        max_output_tokens: TOKENS_AROUND + TOKENS_PER_COLUMN * froms.len() as u32,
    }
}

fn pairs_in(text: &str, (froms, tos): &(Vec<&str>, Vec<&str>)) -> Result<Vec<Pair>, String> {
    let object = object_in(text).ok_or("it holds no JSON object")?;
    let Pairs { mut pairs } =
        serde_json::from_value(object).map_err(|_| "the JSON object has not the fields asked for")?;
    let (mut first, mut second) = (BTreeSet::new(), BTreeSet::new());
    for pair in &mut pairs {
        if !froms.contains(&pair.from.as_str()) {
            return Err("a `from` is none of the columns asked about".to_owned());
        }
        if !tos.contains(&pair.to.as_str()) {
            return Err("a `to` is none of those to choose from".to_owned());
        }
        if !(0.0..=1.0).contains(&pair.confidence) {
            return Err("a `confidence` is not within 0 and 1".to_owned());
        }
        if !first.insert(pair.from.clone()) || !second.insert(pair.to.clone()) {
            return Err("a column is there twice".to_owned());
        }
        let plain = pair.reason.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
        pair.reason = plain.take(REASON_CHARACTERS).collect();
    }
    Ok(pairs)
}

/// The first JSON object in a text: servers that know no schemas put words and fences around it.
fn object_in(text: &str) -> Option<Value> {
    text.match_indices('{').take(8).find_map(|(start, _)| {
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
        values.next()?.ok().filter(Value::is_object)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str) -> Field {
        Field { name: name.into(), logical_type: LogicalType::Text, nullable: true, format: None }
    }

    fn question(raw: bool) -> RepairQuestion {
        let samples = ["Ada Lovelace".to_owned(), "+44 20 7946".to_owned(), "«ß»".to_owned()];
        RepairQuestion {
            stream: "accounts".into(),
            entity: Some("account".into()),
            gone: vec![Gone {
                column: Column::of(&field("sales"), &samples, raw),
                field: "annual_revenue".into(),
                description: None,
            }],
            new: vec![Column::of(&field("umsatz"), &samples, raw), Column::of(&field("plz"), &samples, raw)],
        }
    }

    /// Old to new; or words of what is wrong.
    fn check(text: &str, expect: Result<&[(&str, &str)], &str>) {
        let read = question(false).read(text);
        let found: Result<Vec<_>, _> =
            read.as_ref().map(|all| all.iter().map(|one| (one.from.as_str(), one.to.as_str())).collect());
        match (found, expect) {
            (Ok(found), Ok(expect)) => assert_eq!(found, expect, "{text}"),
            (Err(found), Err(expect)) => assert!(found.contains(expect), "{text}: {found}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn an_answer_is_found_in_its_text_and_checked() {
        let one = r#"{"pairs":[{"from":"sales","to":"umsatz","confidence":0.9,"reason":"same"}]}"#;
        check(one, Ok(&[("sales", "umsatz")]));
        check(&format!("Sure {{}}:\n```json\n{one}\n```"), Err("fields"));
        check(&format!("Sure!\n```json\n{one}\n```\nAnything else?"), Ok(&[("sales", "umsatz")]));
        check(r#"{"pairs":[]}"#, Ok(&[]));
        check("I cannot say.", Err("no JSON"));
        check(&one.replace("umsatz", "turnover"), Err("`to`"));
        check(&one.replace("sales", "revenue"), Err("`from`"));
        check(&one.replace("0.9", "9"), Err("`confidence`"));
        check(&one.replace("\"reason\"", "\"why\""), Err("fields"));
        let twice = r#"{"pairs":[{"from":"sales","to":"umsatz","confidence":0.9,"reason":""},
            {"from":"sales","to":"plz","confidence":0.9,"reason":""}]}"#;
        check(twice, Err("twice"));
    }

    #[test]
    fn values_stay_here_unless_they_may_leave() {
        let (masked, raw) = (question(false).question(), question(true).question());
        for (secret, form) in [("Lovelace", "Aa Aa"), ("7946", "+9 9 9")] {
            assert!(!masked.user.contains(secret) && masked.user.contains(form), "{}", masked.user);
            assert!(raw.user.contains(secret));
        }
        assert!(!masked.user.contains('«'));
    }

    /// Another text is another version: events name the version they were asked with.
    #[test]
    fn a_prompt_is_not_edited() {
        let hash = |prompt: &str| blake3::hash(prompt.as_bytes()).to_hex()[..16].to_owned();
        assert_eq!((REPAIR_PROMPT_VERSION, hash(REPAIR_PROMPT).as_str()), (1, "c56ad4e567e59815"));
        assert_eq!((MATCH_PROMPT_VERSION, hash(MATCH_PROMPT).as_str()), (1, "37ea13e74452af2d"));
    }
}
