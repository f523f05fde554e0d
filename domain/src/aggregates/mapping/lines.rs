//! What a change does to the lines of a mapping, and what makes a mapping well-formed.

use crate::{
    drift::RepairChange,
    error::Error,
    limits::{self, quoted},
    mapping::{MappingContent, MappingField, MappingOrigin, Transform},
};

/// Used where columns are put together and the change does not say how.
const SEPARATOR: &str = " ";

/// Can the change be written into every line, and into the key, that reads its column? A transform
/// for one of several columns of a line cannot, nor can one for a key, which is read as it stands.
pub(super) fn expressible(content: &MappingContent, change: &RepairChange) -> bool {
    let in_key = content.key.contains(&change.old_source);
    let key_fits = !in_key || (change.adapt.is_none() && change.new_sources.len() == 1);
    let lines_fit = change.adapt.is_none()
        || content
            .fields
            .iter()
            .filter(|line| reads(line, &change.old_source))
            .all(|line| line.also.is_empty());
    !change.new_sources.is_empty() && key_fits && lines_fit
}

pub(super) fn reads(line: &MappingField, column: &str) -> bool {
    line.sources().any(|source| source == column)
}

/// The mapping with all `changes` made at once (two columns may have swapped their names).
pub(super) fn repaired(content: &MappingContent, changes: &[RepairChange]) -> MappingContent {
    let change_of = |column: &str| changes.iter().find(|change| change.old_source == column);
    let mut repaired = content.clone();
    for line in &mut repaired.fields {
        repair_line(line, &change_of);
    }
    for column in &mut repaired.key {
        if let Some(new) = change_of(column).and_then(|change| change.new_sources.first()) {
            column.clone_from(new);
        }
    }
    repaired
}

fn repair_line<'a>(line: &mut MappingField, change_of: &impl Fn(&str) -> Option<&'a RepairChange>) {
    let single = line.also.is_empty();
    let mut sources: Vec<String> = Vec::new();
    let mut applied: Vec<&RepairChange> = Vec::new();
    for source in line.sources() {
        match change_of(source) {
            Some(change) => {
                sources.extend(change.new_sources.iter().cloned());
                applied.push(change);
            }
            None => sources.push(source.to_owned()),
        }
    }
    if applied.is_empty() || sources.is_empty() {
        return;
    }
    let mut steps = Vec::new();
    if single {
        steps.extend(applied.iter().filter_map(|change| change.adapt.clone()));
        let joined = matches!(chain(steps.clone()), Transform::Join { .. })
            || matches!(&chain(steps.clone()), Transform::Chain { steps } if matches!(steps.first(), Some(Transform::Join { .. })));
        if sources.len() > 1 && !joined {
            steps.insert(0, Transform::Join { separator: SEPARATOR.to_owned() });
        }
    }
    steps.push(line.transform.clone());
    line.transform = chain(steps);
    line.source = sources.remove(0);
    line.also = sources;
    for change in applied {
        line.confidence *= change.probability.clamp(0.0, 1.0);
        line.evidence.clone_from(&change.evidence);
        if change.origin != MappingOrigin::Matcher {
            line.origin = change.origin;
        }
    }
}

/// One transform from several: chains are flattened, `Copy` says nothing beside another.
pub(super) fn chain(steps: Vec<Transform>) -> Transform {
    fn flatten(step: Transform, flat: &mut Vec<Transform>) {
        match step {
            Transform::Chain { steps } => steps.into_iter().for_each(|step| flatten(step, flat)),
            Transform::Copy => {}
            other => flat.push(other),
        }
    }
    let mut flat = Vec::new();
    flatten(Transform::Chain { steps }, &mut flat);
    match flat.len() {
        0 => Transform::Copy,
        1 => flat.remove(0),
        _ => Transform::Chain { steps: flat },
    }
}

/// Refuses a mapping that no engine could run.
pub(super) fn check(content: &MappingContent) -> Result<(), Error> {
    limits::count("lines of a mapping", content.fields.len(), limits::COLUMNS_PER_SHAPE)?;
    limits::count("columns of a key", content.key.len(), limits::COLUMNS_PER_SHAPE)?;
    limits::unique("/content/key", content.key.iter().map(String::as_str), "")?;
    for (index, column) in content.key.iter().enumerate() {
        limits::source_name(&format!("/content/key/{index}"), column)?;
    }
    if let Some(entity) = &content.entity {
        limits::identifier("/content/entity", entity)?;
    } else if !content.fields.is_empty() {
        return Err(Error::invalid("/content/fields", "a stream that stays raw has no mapped fields"));
    }
    let targets = content.fields.iter().map(|line| line.target.as_str());
    limits::unique("/content/fields", targets, "/target")?;
    for (index, line) in content.fields.iter().enumerate() {
        check_line(&format!("/content/fields/{index}"), line)?;
    }
    Ok(())
}

fn check_line(at: &str, line: &MappingField) -> Result<(), Error> {
    limits::identifier(&format!("{at}/target"), &line.target)?;
    for source in line.sources() {
        limits::source_name(&format!("{at}/source"), source)?;
    }
    limits::count("columns joined in a line", line.also.len() + 1, limits::TRANSFORM_STEPS)?;
    if !(0.0..=1.0).contains(&line.confidence) {
        let message = format!("`{}` is not within 0 and 1", line.confidence);
        return Err(Error::invalid(format!("{at}/confidence"), message));
    }
    let transform = chain(vec![line.transform.clone()]);
    let steps = match &transform {
        Transform::Chain { steps } => steps.as_slice(),
        single => std::slice::from_ref(single),
    };
    limits::count("steps of a transform", steps.len(), limits::TRANSFORM_STEPS)?;
    for step in steps {
        check_step(&format!("{at}/transform"), step)?;
    }
    let joins = matches!(steps.first(), Some(Transform::Join { .. }));
    if !line.also.is_empty() && !joins {
        let message = "several columns need a `join` as the first step";
        return Err(Error::invalid(format!("{at}/transform"), message));
    }
    Ok(())
}

fn check_step(at: &str, step: &Transform) -> Result<(), Error> {
    let fits = match step {
        Transform::Scale { factor } => {
            let digits = factor.strip_prefix('-').unwrap_or(factor);
            let decimal = digits.len() <= 40
                && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
                && digits.starts_with(|first: char| first.is_ascii_digit());
            let value = factor.parse::<f64>();
            return match value {
                Ok(value) if decimal && value != 0.0 => Ok(()),
                _ => Err(Error::invalid(at, format!("{} is no factor to scale by", quoted(factor)))),
            };
        }
        Transform::ParseEpoch { unit } => matches!(unit.as_str(), "seconds" | "milliseconds"),
        Transform::ParseTime { format } => !format.is_empty() && format.len() <= 100,
        Transform::MapValues { values, .. } => values.len() <= 10_000,
        Transform::ParseBoolean { truthy, falsy } => truthy.len() + falsy.len() <= 1_000,
        Transform::SplitPart { separator, .. } => !separator.is_empty() && separator.len() <= 100,
        Transform::Join { separator } => separator.len() <= 100,
        Transform::JsonPath { path } => path.starts_with('$') && path.len() <= 1_000,
        _ => true,
    };
    if fits { Ok(()) } else { Err(Error::invalid(at, format!("`{step:.200?}` cannot be run"))) }
}
