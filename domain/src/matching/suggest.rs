//! The first mapping of a stream: its entity, then its fields one to one.

use super::{
    names::{token_similarity, tokens},
    values::{Fit, fit},
};
use crate::{
    drift::profile::StreamProfile,
    mapping::{Evidence, MappingContent, MappingField, MappingOrigin, Transform},
    ontology::{Entity, Ontology, OntologyField, Semantic},
    schema::{Field, StreamShape},
};

/// Likeness of texts by meaning, 0 to 1: an embedding model, where there is one.
pub trait Similarity {
    /// Of a column (its name and samples) and a field (its name and description).
    fn of(&self, column: &str, field: &str) -> Option<f64>;
}

/// One possible line of a mapping.
#[derive(Debug, Clone)]
pub struct Suggestion {
    pub source: String,
    pub target: String,
    pub transform: Transform,
    pub probability: f64,
    pub evidence: Vec<Evidence>,
}

/// Below this a column stays raw, and so does a stream whose entity is less sure.
pub(super) const ASK_FROM: f64 = 0.60;

/// The mapping of a stream as far as it is sure enough; `entity` is a person's choice.
pub fn suggest(
    stream: &str,
    shape: &StreamShape,
    profile: &StreamProfile,
    ontology: &Ontology,
    entity: Option<&str>,
    meaning: Option<&dyn Similarity>,
) -> MappingContent {
    let raw = MappingContent { entity: None, key: shape.primary_key.clone(), fields: Vec::new() };
    if entity == Some("none") {
        return raw;
    }
    let chosen = entity.and_then(|name| ontology.entity(name));
    let candidates: Vec<&Entity> =
        chosen.map_or_else(|| ontology.entities.iter().collect(), |only| vec![only]);
    let best = candidates
        .into_iter()
        .map(|candidate| {
            let lines = lines(stream, shape, profile, candidate, meaning);
            let sure =
                if chosen.is_some() { 1.0 } else { entity_probability(stream, shape, candidate, &lines) };
            (candidate, lines, sure)
        })
        .max_by(|left, right| left.2.total_cmp(&right.2).then_with(|| right.0.name.cmp(&left.0.name)));
    let Some((entity, lines, sure)) = best.filter(|(.., sure)| *sure >= ASK_FROM) else {
        return raw;
    };
    let fields = lines
        .into_iter()
        .filter(|line| line.probability >= ASK_FROM)
        .map(|line| MappingField {
            source: line.source,
            also: Vec::new(),
            target: line.target,
            transform: line.transform,
            // A line is no surer than what the stream is taken for.
            confidence: line.probability.min(sure.max(line.probability * sure)),
            origin: MappingOrigin::Matcher,
            evidence: line.evidence,
        })
        .collect();
    MappingContent { entity: Some(entity.name.clone()), key: shape.primary_key.clone(), fields }
}

/// Columns to fields of one entity, one to one, surest first.
fn lines(
    stream: &str,
    shape: &StreamShape,
    profile: &StreamProfile,
    entity: &Entity,
    meaning: Option<&dyn Similarity>,
) -> Vec<Suggestion> {
    let subject = [entity.name.as_str(), entity.plural.as_str(), stream];
    let mut pairs: Vec<Suggestion> = Vec::new();
    for column in &shape.fields {
        let empty = crate::drift::profile::FieldProfile::default();
        let values = profile.fields.get(&column.name).unwrap_or(&empty);
        let own_key = shape.primary_key.len() == 1 && shape.primary_key[0] == column.name;
        for field in &entity.fields {
            // A record's own key tells it apart in its source; it is nothing else.
            if own_key && field.semantic != Semantic::Identifier {
                continue;
            }
            let fit = fit(column, values, field);
            let pair = score(column, field, entity, &subject, &fit, meaning);
            if pair.probability >= 0.30 {
                pairs.push(pair);
            }
        }
    }
    // A total order, so that the same stream always maps the same way.
    pairs.sort_by(|left, right| {
        right
            .probability
            .total_cmp(&left.probability)
            .then_with(|| left.target.cmp(&right.target))
            .then_with(|| left.source.cmp(&right.source))
    });
    let mut taken: Vec<Suggestion> = Vec::new();
    for index in 0..pairs.len() {
        let pair = &pairs[index];
        let free = |line: &Suggestion| line.source != pair.source && line.target != pair.target;
        if !taken.iter().all(free) {
            continue;
        }
        let mut line = pair.clone();
        // Two columns that are about as good for one field: neither is sure.
        let rival = pairs[index + 1..].iter().find(|other| {
            other.target == line.target && taken.iter().all(|line| line.source != other.source)
        });
        if let Some(rival) =
            rival.filter(|rival| line.probability < 0.98 && line.probability - rival.probability < 0.05)
        {
            line.probability *= 0.8;
            line.evidence.push(Evidence {
                signal: "rival".to_owned(),
                score: rival.probability,
                detail: format!("`{}` is about as good a candidate", rival.source),
            });
        }
        taken.push(line);
    }
    derive_domain(&mut taken, shape, profile, entity);
    taken
}

/// A web address says the domain too, where no column does.
fn derive_domain(lines: &mut Vec<Suggestion>, shape: &StreamShape, profile: &StreamProfile, entity: &Entity) {
    let Some(domain) = entity.fields.iter().find(|field| field.semantic == Semantic::Domain) else {
        return;
    };
    if lines.iter().any(|line| line.target == domain.name && line.probability >= ASK_FROM) {
        return;
    }
    let is_url = |line: &&Suggestion| {
        entity.field(&line.target).is_some_and(|field| field.semantic == Semantic::Url)
            && line.probability >= ASK_FROM
    };
    let Some(source) = lines.iter().find(is_url).cloned() else {
        return;
    };
    if shape.field(&source.source).is_none() || !profile.fields.contains_key(&source.source) {
        return;
    }
    lines.retain(|line| line.target != domain.name);
    lines.push(Suggestion {
        target: domain.name.clone(),
        transform: Transform::ExtractDomain,
        evidence: vec![Evidence {
            signal: "derived".to_owned(),
            score: source.probability,
            detail: format!("the host of `{}`", source.source),
        }],
        ..source
    });
}

/// Probability that a column is a field. The weights were set by hand on the synthetic and Valentine
/// development sets: names carry most, values can forbid, meaning helps where names are strange.
fn score(
    column: &Field,
    field: &OntologyField,
    entity: &Entity,
    subject: &[&str],
    fit: &Fit,
    meaning: Option<&dyn Similarity>,
) -> Suggestion {
    let source = tokens(&column.name);
    let bare = without_subject(&source, subject);
    let name = std::iter::once(field.name.as_str())
        .chain(field.synonyms.iter().map(String::as_str))
        .map(|word| {
            let target = tokens(word);
            token_similarity(&source, &target).max(0.98 * token_similarity(&bare, &target))
        })
        .fold(0.0_f64, f64::max);
    let field_text = format!("{} {}; {}", entity.name, field.name.replace('_', " "), field.description);
    let meant = meaning.and_then(|meaning| meaning.of(&column.name, &field_text));
    let mut evidence = vec![
        Evidence {
            signal: "name".to_owned(),
            score: name,
            detail: format!("`{}` against `{}` and its synonyms", column.name, field.name),
        },
        Evidence { signal: "values".to_owned(), score: fit.score, detail: fit.detail.clone() },
    ];
    let mut probability = if name >= 0.979 {
        0.99
    } else {
        let lift = meant.map_or(0.0, |meant| 3.0 * (meant - 0.45));
        logistic(-6.2 + 8.4 * name + 3.0 * (fit.score - 0.5) + lift)
    };
    if let Some(meant) = meant {
        evidence.push(Evidence {
            signal: "embedding".to_owned(),
            score: meant,
            detail: "likeness of the texts by meaning".to_owned(),
        });
    }
    // Values that cannot be the field forbid it, whatever it is called.
    if fit.score < 0.25 {
        probability = probability.min(0.15 + fit.score);
    }
    if fit.ambiguous {
        probability = probability.min(0.55);
    }
    Suggestion {
        source: column.name.clone(),
        target: field.name.clone(),
        transform: fit.transform.clone(),
        probability: probability.min(0.99),
        evidence,
    }
}

/// `account_name` in a table of accounts is its `name`.
fn without_subject(tokens_of_column: &[String], subject: &[&str]) -> Vec<String> {
    let words: Vec<String> = subject.iter().flat_map(|word| tokens(word)).collect();
    let kept: Vec<String> = tokens_of_column.iter().filter(|token| !words.contains(token)).cloned().collect();
    if kept.is_empty() { tokens_of_column.to_vec() } else { kept }
}

/// Probability that the stream is of this entity: its name, and how much of it found a place.
fn entity_probability(stream: &str, shape: &StreamShape, entity: &Entity, lines: &[Suggestion]) -> f64 {
    let stream_tokens: Vec<String> = tokens(stream)
        .into_iter()
        .filter(|token| !["export", "data", "table", "tbl", "all", "list"].contains(&token.as_str()))
        .collect();
    let name = std::iter::once(entity.name.as_str())
        .chain(std::iter::once(entity.plural.as_str()))
        .chain(entity.synonyms.iter().map(String::as_str))
        .map(|word| {
            let target = tokens(word);
            token_similarity(&stream_tokens, &target)
        })
        .fold(0.0_f64, f64::max);
    let sure: f64 =
        lines.iter().filter(|line| line.probability >= ASK_FROM).map(|line| line.probability).sum();
    let columns = shape.fields.len().saturating_sub(shape.primary_key.len()).max(1) as f64;
    let covered = (sure / columns).min(1.0);
    // Half a dozen fields in place speak for themselves; a name alone does not.
    let weight = (sure / 6.0).min(1.0);
    logistic(-4.2 + 4.6 * name + 4.0 * covered + 1.6 * weight)
}

fn logistic(value: f64) -> f64 {
    1.0 / (1.0 + (-value).exp())
}
