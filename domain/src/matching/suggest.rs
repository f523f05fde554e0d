//! The first mapping of a stream: its entity, then its fields one to one.

use super::{
    Similarity,
    learn::logistic,
    meaning::{column_text, field_text},
    names::{token_similarity, tokens},
    values::{Fit, fit},
};
use crate::{
    drift::profile::{FieldProfile, StreamProfile},
    mapping::{Evidence, MappingContent, MappingField, MappingOrigin, Transform},
    ontology::{Entity, Ontology, OntologyField, Semantic},
    schema::{Field, StreamShape},
};

/// One possible line of a mapping.
#[derive(Debug, Clone, PartialEq)]
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
    let best = ranked(stream, shape, profile, &candidates, meaning)
        .into_iter()
        .map(|(candidate, lines, sure)| (candidate, lines, if chosen.is_some() { 1.0 } else { sure }))
        .next();
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

/// All fields of all entities that a column may be, as `entity.field`, most probable first.
pub fn candidates(
    stream: &str,
    shape: &StreamShape,
    profile: &StreamProfile,
    ontology: &Ontology,
    meaning: Option<&dyn Similarity>,
) -> Vec<Suggestion> {
    let entities: Vec<&Entity> = ontology.entities.iter().collect();
    let ranked = ranked(stream, shape, profile, &entities, meaning);
    let all: f64 = ranked.iter().map(|(.., sure)| sure).sum();
    let mut found: Vec<Suggestion> = Vec::new();
    for (entity, lines, sure) in &ranked {
        // A stream is of one entity: what speaks for another speaks against this one.
        let share = sure / all.max(1.0);
        let mut others = pairs(stream, shape, profile, entity, meaning);
        others.retain(|pair| {
            !lines.iter().any(|line| line.source == pair.source && line.target == pair.target)
        });
        for other in &mut others {
            other.probability *= 0.5;
        }
        for pair in lines.iter().cloned().chain(others) {
            found.push(Suggestion {
                target: format!("{}.{}", entity.name, pair.target),
                probability: pair.probability * share,
                ..pair
            });
        }
    }
    found.retain(|pair| pair.probability >= 0.01);
    found.sort_by(|left, right| {
        right
            .probability
            .total_cmp(&left.probability)
            .then_with(|| left.source.cmp(&right.source))
            .then_with(|| left.target.cmp(&right.target))
    });
    found
}

/// Entities with the lines a stream has to them, surest first. Meaning is asked for the few that
/// names and values leave.
fn ranked<'a>(
    stream: &str,
    shape: &StreamShape,
    profile: &StreamProfile,
    entities: &[&'a Entity],
    meaning: Option<&dyn Similarity>,
) -> Vec<(&'a Entity, Vec<Suggestion>, f64)> {
    const ASKED: usize = 3;
    let judge = |entity: &'a Entity, meaning: Option<&dyn Similarity>| {
        let lines = lines(stream, shape, profile, entity, meaning);
        let sure = entity_probability(stream, shape, entity, &lines);
        (entity, lines, sure)
    };
    let sort = |found: &mut Vec<(&'a Entity, Vec<Suggestion>, f64)>| {
        found.sort_by(|left, right| right.2.total_cmp(&left.2).then_with(|| left.0.name.cmp(&right.0.name)));
    };
    let mut found: Vec<_> = entities.iter().map(|entity| judge(entity, None)).collect();
    sort(&mut found);
    if meaning.is_some() {
        for candidate in found.iter_mut().take(ASKED) {
            *candidate = judge(candidate.0, meaning);
        }
        sort(&mut found);
    }
    found
}

/// All columns against all fields of one entity, the likeliest first.
fn pairs(
    stream: &str,
    shape: &StreamShape,
    profile: &StreamProfile,
    entity: &Entity,
    meaning: Option<&dyn Similarity>,
) -> Vec<Suggestion> {
    let subject = [entity.name.as_str(), entity.plural.as_str(), stream];
    let empty = FieldProfile::default();
    let values_of = |column: &Field| profile.fields.get(&column.name).unwrap_or(&empty);
    let meant = meaning.and_then(|meaning| {
        let columns: Vec<String> =
            shape.fields.iter().map(|column| column_text(column, values_of(column))).collect();
        let fields: Vec<String> = entity.fields.iter().map(|field| field_text(entity, field)).collect();
        Some((meaning, meaning.matrix(&columns, &fields)?))
    });
    let mut pairs: Vec<Suggestion> = Vec::new();
    for (row, column) in shape.fields.iter().enumerate() {
        let own_key = shape.primary_key.len() == 1 && shape.primary_key[0] == column.name;
        for (at, field) in entity.fields.iter().enumerate() {
            // A record's own key tells it apart in its source; it is nothing else.
            if own_key && field.semantic != Semantic::Identifier {
                continue;
            }
            let fit = fit(column, values_of(column), field);
            let meant = meant.as_ref().map(|(meaning, matrix)| (*meaning, matrix[row][at]));
            let pair = score(column, field, &subject, &fit, meant);
            if pair.probability >= 0.02 {
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
    pairs
}

/// Columns to fields of one entity, one to one, surest first.
fn lines(
    stream: &str,
    shape: &StreamShape,
    profile: &StreamProfile,
    entity: &Entity,
    meaning: Option<&dyn Similarity>,
) -> Vec<Suggestion> {
    let mut pairs = pairs(stream, shape, profile, entity, meaning);
    pairs.retain(|pair| pair.probability >= 0.30);
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
    subject: &[&str],
    fit: &Fit,
    meant: Option<(&dyn Similarity, f64)>,
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
        let lift = meant.map_or(0.0, |(meaning, meant)| 3.0 * meaning.trust() * (meant - 0.45));
        logistic(-6.2 + 8.4 * name + 3.0 * (fit.score - 0.5) + lift)
    };
    if let Some((meaning, meant)) = meant {
        evidence.push(Evidence {
            signal: "embedding".to_owned(),
            score: meant,
            detail: format!("likeness by meaning, by {}", meaning.name()),
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
