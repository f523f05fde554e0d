//! The limits of every input, each with its name and the check that says what is wrong with a value.

use crate::error::Error;
use std::collections::BTreeSet;

/// Names of organisations, connections, keys, uploads' streams and the like, in characters.
pub const NAME_CHARACTERS: usize = 120;
/// RFC 5321, 4.5.3.1.3, less the angle brackets.
pub const EMAIL_BYTES: usize = 254;
pub const PASSWORD_HASH_BYTES: usize = 512;
pub const FILE_NAME_CHARACTERS: usize = 255;
/// Stream and column names come from sources; only absurd ones are refused.
pub const SOURCE_NAME_BYTES: usize = 1_024;
/// Free text a worker or a connector reports; longer is cut, for a failure must be recordable.
pub const MESSAGE_CHARACTERS: usize = 2_000;
/// JSON of a configuration or a task's payload or result.
pub const JSON_BYTES: usize = 64 * 1_024;
pub const STREAMS_PER_CONNECTION: usize = 1_000;
pub const SCHEDULES_PER_CONNECTION: usize = 20;
pub const CRON_BYTES: usize = 200;
pub const STREAMS_DISCOVERED: usize = 10_000;
pub const COLUMNS_PER_SHAPE: usize = 10_000;
pub const FINDINGS_PER_READ: usize = 20_000;
pub const SCHEMA_VERSIONS: usize = 10_000;
pub const SESSIONS_PER_USER: usize = 100;
pub const UPLOADS_PER_TENANT: usize = 10_000;
pub const UPLOAD_QUOTA_BYTES: u64 = 20_000_000_000;
pub const UPLOAD_QUOTA_MAX_BYTES: u64 = 100_000_000_000_000;
pub const TASK_RETRIES: u32 = 20;
pub const TASK_SECONDS: u64 = 7 * 24 * 3_600;
pub const TASK_PRIORITY: i32 = 100;
pub const RESERVATION_HOURS: i64 = 24;
pub const ENTITIES: usize = 200;
pub const FIELDS_PER_ENTITY: usize = 500;
pub const RULES_PER_ENTITY: usize = 50;
pub const RANKED_CONNECTIONS: usize = 1_000;
pub const IDENTITY_DECISIONS: usize = 100_000;
pub const TRANSFORM_STEPS: usize = 32;

/// A value quoted in a message, cut so that a hostile one does not fill the log.
pub(crate) fn quoted(value: &str) -> String {
    match value.char_indices().nth(80) {
        Some((end, _)) => format!("`{}…`", &value[..end]),
        None => format!("`{value}`"),
    }
}

pub(crate) fn name(field: &str, value: &str) -> Result<(), Error> {
    let characters = value.chars().count();
    if value.trim().is_empty() || characters > NAME_CHARACTERS {
        let message = format!("1 to {NAME_CHARACTERS} characters, {} has {characters}", quoted(value));
        return Err(Error::invalid(field, message));
    }
    if value.chars().any(char::is_control) {
        return Err(Error::invalid(field, format!("{} holds control characters", quoted(value))));
    }
    Ok(())
}

/// A name that comes from a source: a stream or a column.
pub(crate) fn source_name(field: &str, value: &str) -> Result<(), Error> {
    if value.is_empty() || value.len() > SOURCE_NAME_BYTES {
        let message = format!("1 to {SOURCE_NAME_BYTES} bytes, {} has {}", quoted(value), value.len());
        return Err(Error::invalid(field, message));
    }
    Ok(())
}

/// Lower-case identifier: it becomes part of a path, or the name of a table or a column.
pub(crate) fn identifier(field: &str, value: &str) -> Result<(), Error> {
    let well_formed = value.len() <= 63
        && value.starts_with(|first: char| first.is_ascii_lowercase())
        && value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if well_formed {
        return Ok(());
    }
    let message =
        format!("a letter, then letters, digits or `_`, all lower case, at most 63: {}", quoted(value));
    Err(Error::invalid(field, message))
}

/// One `@`, something before it, a dotted host after it. Whether it exists only a mail can tell.
pub(crate) fn email(field: &str, value: &str) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::invalid(field, format!("{} {why}", quoted(value))));
    if value.len() > EMAIL_BYTES {
        return refuse(&format!("is longer than {EMAIL_BYTES} bytes"));
    }
    let Some((local, host)) = value.rsplit_once('@') else {
        return refuse("is not an e-mail address");
    };
    let local_fits = !local.is_empty()
        && local.len() <= 64
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && local.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"@<>()[],;:\\\"".contains(c));
    let label_fits = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    if local_fits && host.contains('.') && host.split('.').all(label_fits) {
        Ok(())
    } else {
        refuse("is not an e-mail address")
    }
}

/// A BLAKE3 hash in hex.
pub(crate) fn hash(field: &str, value: &str) -> Result<(), Error> {
    if value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("64 hexadecimal digits, not {}", quoted(value))))
}

/// At most `limit` of them.
pub(crate) fn count(what: &'static str, count: usize, limit: usize) -> Result<(), Error> {
    if count > limit {
        return Err(Error::LimitExceeded { what, value: count as u64, limit: limit as u64 });
    }
    Ok(())
}

pub(crate) fn json(what: &'static str, value: &serde_json::Value) -> Result<(), Error> {
    count(what, value.to_string().len(), JSON_BYTES)
}

/// No name twice. `field` is the list's pointer, the error's ends with the index of the second.
pub(crate) fn unique<'a>(
    field: &str,
    names: impl IntoIterator<Item = &'a str>,
    suffix: &str,
) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for (index, name) in names.into_iter().enumerate() {
        if !seen.insert(name) {
            return Err(Error::invalid(
                format!("{field}/{index}{suffix}"),
                format!("{} is there twice", quoted(name)),
            ));
        }
    }
    Ok(())
}

/// Reported text, cut to its limit.
pub(crate) fn cut(text: String) -> String {
    match text.char_indices().nth(MESSAGE_CHARACTERS) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}
