//! What the command line prints: the only place that writes to standard output.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

use crate::config::Loaded;
use serde::Serialize;
use serde_json::json;
use std::io::Write as _;

/// One JSON object on a line of its own, at once.
pub(super) fn line<T: Serialize>(value: &T) {
    println!("{}", serde_json::to_string(value).unwrap_or_default());
    let _ = std::io::stdout().flush();
}

/// A line for people.
pub(super) fn say(text: &str) {
    println!("{text}");
    let _ = std::io::stdout().flush();
}

/// What went wrong, on standard error.
pub(super) fn complain(text: &str) {
    eprintln!("autonomos: {text}");
}

/// The configuration in force.
pub(super) fn configuration(loaded: &Loaded, json_lines: bool) {
    for (key, value, source) in &loaded.origins {
        if json_lines {
            line(&json!({ "key": key, "value": value, "source": source }));
        } else {
            say(&format!("{key:<24} {value:<32} {source}"));
        }
    }
}
