//! Other names for a column: near at severity 1, a synonym at 2, opaque at 3.

use crate::random::Random;

const SYNONYMS: [(&str, &str); 26] = [
    ("amount", "value"),
    ("total", "sum"),
    ("name", "title"),
    ("title", "label"),
    ("city", "town"),
    ("phone", "telephone"),
    ("mobile", "cell"),
    ("email", "mail_address"),
    ("stage", "phase"),
    ("status", "state"),
    ("industry", "sector"),
    ("employees", "headcount"),
    ("revenue", "turnover"),
    ("owner", "responsible"),
    ("created", "made"),
    ("updated", "modified"),
    ("date", "day"),
    ("postal", "zip"),
    ("website", "homepage"),
    ("company", "firm"),
    ("quantity", "units"),
    ("price", "cost"),
    ("customer", "client"),
    ("subject", "topic"),
    ("first", "given"),
    ("last", "family"),
];

fn words(name: &str) -> Vec<String> {
    let parts = name.split(|letter: char| !letter.is_alphanumeric()).filter(|part| !part.is_empty());
    parts.map(str::to_lowercase).collect()
}

fn camel(words: &[String]) -> String {
    let capital = |word: &String| {
        let mut letters = word.chars();
        letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
    };
    words.iter().map(capital).collect()
}

pub(super) fn renamed(name: &str, severity: u8, random: &mut Random) -> String {
    let words = words(name);
    match severity {
        1 => match random.below(4) {
            0 => camel(&words),
            1 => format!("{}__c", camel(&words)),
            2 => format!("{}_v2", words.join("_")),
            _ => words.join("-"),
        },
        2 => {
            let mut changed: Vec<String> = words
                .iter()
                .map(|word| {
                    let found = SYNONYMS.iter().find(|(from, _)| from == word);
                    found.map_or_else(|| word.clone(), |(_, to)| (*to).to_owned())
                })
                .collect();
            if changed == words {
                // No synonym: the vowels go.
                changed = words
                    .iter()
                    .map(|word| {
                        let kept = word.chars().enumerate();
                        kept.filter(|(at, letter)| *at == 0 || !"aeiou".contains(*letter))
                            .map(|(_, letter)| letter)
                            .collect()
                    })
                    .collect();
                changed.push("val".to_owned());
            }
            changed.join("_")
        }
        _ => format!("{}_{:04x}", random.pick(&["fld", "col", "attr", "x"]), random.below(0xffff)),
    }
}

/// A name that looks like another of the same column, and is not.
pub(super) fn decoy(name: &str, random: &mut Random) -> String {
    let words = words(name).join("_");
    match random.below(4) {
        0 => format!("{words}_new"),
        1 => format!("{words}_2"),
        2 => format!("adjusted_{words}"),
        _ => format!("{words}_calc"),
    }
}
