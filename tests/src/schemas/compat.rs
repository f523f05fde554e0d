//! Whether what was written under one schema can still be read under another. The log keeps every
//! event for good: a type may learn to read more, never less, unless its version is raised and the
//! old one stays beside the new.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Schemas of events by file name: `SyncStarted.v1.json`.
pub type Schemas = BTreeMap<String, Value>;

/// What in `after` could not read events written under `before`; empty: all is well.
pub fn contradictions(before: &Schemas, after: &Schemas) -> Vec<String> {
    let mut found = Vec::new();
    for (name, old) in before {
        match after.get(name) {
            Some(new) => {
                let what = incompatible(old, new).into_iter();
                found.extend(what.map(|what| format!("`{name}` {what}")));
            }
            None if is_superseded(name, after) => {}
            None => found.push(format!("`{name}`: the event type is removed, and the log has events of it")),
        }
    }
    found
}

/// A later version of the same event type is there.
pub fn is_superseded(name: &str, by: &Schemas) -> bool {
    let parts = |name: &str| {
        let (kind, version) = name.strip_suffix(".json")?.rsplit_once(".v")?;
        Some((kind.to_owned(), version.parse::<u16>().ok()?))
    };
    let Some((kind, version)) = parts(name) else {
        return false;
    };
    by.keys().filter_map(|other| parts(other)).any(|(other, later)| other == kind && later > version)
}

/// What in `after` could not read a value written under `before`, each with its place.
pub fn incompatible(before: &Value, after: &Value) -> Vec<String> {
    let mut comparison = Comparison { before, after, under_way: BTreeSet::new() };
    comparison.compare("", before, after)
}

/// Both documents, for their references.
struct Comparison<'a> {
    before: &'a Value,
    after: &'a Value,
    /// Pairs of references that are being compared: a type may hold itself.
    under_way: BTreeSet<(String, String)>,
}

impl Comparison<'_> {
    fn compare(&mut self, place: &str, before: &Value, after: &Value) -> Vec<String> {
        let references = (reference(before), reference(after));
        if let (Some(old), Some(new)) = &references
            && !self.under_way.insert((old.clone(), new.clone()))
        {
            return Vec::new();
        }
        let (old, new) = (alternatives(before, self.before), alternatives(after, self.after));
        let mut found = Vec::new();
        for one in &old {
            // The alternative that comes nearest says best what is wrong.
            let nearest = new.iter().map(|other| self.compare_one(place, one, other)).min_by_key(Vec::len);
            found.extend(
                nearest.unwrap_or_else(|| vec![format!("at `{place}`: nothing can be read any more")]),
            );
        }
        if let (Some(old), Some(new)) = references {
            self.under_way.remove(&(old, new));
        }
        found
    }

    /// Two schemas without alternatives of their own.
    fn compare_one(&mut self, place: &str, before: &Value, after: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let mut say = |what: String| found.push(format!("at `{place}`: {what}"));
        if let Some(wanted) = after.get("const")
            && before.get("const") != Some(wanted)
        {
            say(match before.get("const") {
                Some(value) => format!("the value `{value}` is removed"),
                None => format!("only `{wanted}` is left of it"),
            });
            return found;
        }
        if let Some(wanted) = type_of(after)
            && type_of(before).is_none_or(|kind| kind != wanted && (kind, wanted) != ("integer", "number"))
        {
            say(format!("the type `{}` became `{wanted}`", type_of(before).unwrap_or("any")));
            return found;
        }
        if let Some(wanted) = after.get("format").and_then(Value::as_str)
            && before.get("const").is_none()
        {
            let format = before.get("format").and_then(Value::as_str);
            if format.is_none_or(|format| format != wanted && !fits(format, wanted)) {
                say(format!("the format `{}` became `{wanted}`", format.unwrap_or("any")));
            }
        }
        for (bound, is_upper) in BOUNDS {
            let limit = |schema: &Value| schema.get(bound).and_then(Value::as_f64);
            let tighter = match (limit(before), limit(after)) {
                (_, None) => false,
                (None, Some(_)) => before.get("const").is_none(),
                (Some(old), Some(new)) => {
                    if *is_upper {
                        new < old
                    } else {
                        new > old
                    }
                }
            };
            if tighter {
                say(format!("`{bound}` is tighter"));
            }
        }
        for rule in ["pattern", "patternProperties", "allOf", "not"] {
            if after.get(rule).is_some() && after.get(rule) != before.get(rule) {
                say(format!("`{rule}` is another"));
            }
        }
        found.extend(self.compare_object(place, before, after));
        found.extend(self.compare_array(place, before, after));
        found
    }

    fn compare_object(&mut self, place: &str, before: &Value, after: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let empty = Map::new();
        let properties = |schema: &'_ Value| schema.get("properties").and_then(Value::as_object).cloned();
        let (old, new) = (properties(before), properties(after).unwrap_or_else(|| empty.clone()));
        for (name, schema) in old.as_ref().unwrap_or(&empty) {
            let place = format!("{place}/{name}");
            match (new.get(name), after.get("additionalProperties")) {
                (Some(other), _) => found.extend(self.compare(&place, schema, other)),
                // A map takes any name.
                (None, Some(other)) if new.is_empty() && *other != json!(false) => {
                    found.extend(self.compare(&place, schema, other));
                }
                (None, _) => found.push(format!("at `{place}`: the property is removed")),
            }
        }
        let required = |schema: &Value| -> BTreeSet<String> {
            let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            names.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        for name in required(after).difference(&required(before)) {
            found.push(format!("at `{place}/{name}`: the property is newly required"));
        }
        match (before.get("additionalProperties"), after.get("additionalProperties")) {
            (old, Some(Value::Bool(false))) if old != Some(&json!(false)) => {
                found.push(format!("at `{place}`: other properties are refused now"));
            }
            (Some(old), Some(new)) => found.extend(self.compare(&format!("{place}/*"), old, new)),
            (None, Some(new)) if old.is_none() && new.is_object() => {
                found.extend(self.compare(&format!("{place}/*"), &json!(true), new));
            }
            _ => {}
        }
        found
    }

    fn compare_array(&mut self, place: &str, before: &Value, after: &Value) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(new) = after.get("items") {
            let any = json!(true);
            let old = before.get("items").unwrap_or(&any);
            found.extend(self.compare(&format!("{place}/0"), old, new));
        }
        let parts =
            |schema: &Value| schema.get("prefixItems").and_then(Value::as_array).cloned().unwrap_or_default();
        let (old, new) = (parts(before), parts(after));
        if old.len() != new.len() {
            found.push(format!("at `{place}`: {} parts became {}", old.len(), new.len()));
        }
        for (index, (old, new)) in old.iter().zip(&new).enumerate() {
            found.extend(self.compare(&format!("{place}/{index}"), old, new));
        }
        found
    }
}

/// Bounds of a value; true for those from above.
const BOUNDS: &[(&str, bool)] = &[
    ("minimum", false),
    ("maximum", true),
    ("minLength", false),
    ("maxLength", true),
    ("minItems", false),
    ("maxItems", true),
];

fn reference(schema: &Value) -> Option<String> {
    schema.get("$ref").and_then(Value::as_str).map(str::to_owned)
}

/// A schema without references and choices: one for each alternative, type and listed value.
fn alternatives(schema: &Value, document: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    let mut rest = vec![schema.clone()];
    let mut seen = BTreeSet::new();
    while let Some(mut schema) = rest.pop() {
        if let Some(name) = reference(&schema) {
            let target = name.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
            if seen.insert(name) {
                rest.extend(target.cloned());
            }
            continue;
        }
        let choices = ["oneOf", "anyOf"].iter().find_map(|choice| schema.get(choice)?.as_array().cloned());
        if let Some(choices) = choices {
            rest.extend(choices);
            continue;
        }
        let Some(fields) = schema.as_object_mut() else {
            // `true`: anything; `false`: nothing.
            if schema != json!(false) {
                found.push(schema);
            }
            continue;
        };
        if let Some(Value::Array(values)) = fields.remove("enum") {
            found.extend(values.into_iter().map(|value| json!({ "const": value })));
        } else if let Some(Value::Array(types)) = fields.get("type").cloned() {
            for kind in types {
                fields.insert("type".to_owned(), kind);
                found.push(Value::Object(fields.clone()));
            }
        } else {
            found.push(schema);
        }
    }
    found
}

fn type_of(schema: &Value) -> Option<&str> {
    let of_value = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    schema.get("const").map(of_value).or_else(|| schema.get("type").and_then(Value::as_str))
}

/// A wider number of the same kind reads the narrower one.
fn fits(format: &str, wider: &str) -> bool {
    let bits = |format: &str| {
        let (kind, bits) = ["uint", "int", "float"].iter().find_map(|kind| {
            let bits = format.strip_prefix(kind)?;
            Some((*kind, bits))
        })?;
        Some((kind, if bits.is_empty() { 32 } else { bits.parse::<u32>().ok()? }))
    };
    match (format, wider) {
        ("float", "double") => true,
        _ => {
            matches!((bits(format), bits(wider)), (Some((old, from)), Some((new, to))) if old == new && to >= from)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Schemas, contradictions, incompatible};
    use serde_json::{Value, json};

    /// What is found, without the places' backticks; both ways round where a change is one-way.
    fn check(case: &str, before: Value, after: Value, expect: &[&str]) {
        assert_eq!(incompatible(&before, &after), expect, "{case}");
        assert!(incompatible(&before, &before).is_empty(), "{case}: not even as it was");
    }

    fn object(properties: Value, required: &[&str]) -> Value {
        json!({ "type": "object", "properties": properties, "required": required })
    }

    fn of(schema: Value) -> Value {
        object(json!({ "a": schema }), &[])
    }

    #[test]
    fn what_reads_less_is_found() {
        let text = || json!({ "type": "string" });
        let number = |format: &str| json!({ "type": "integer", "format": format });
        check(
            "a removed property",
            object(json!({ "a": text(), "b": text() }), &[]),
            of(text()),
            &["at `/b`: the property is removed"],
        );
        check(
            "a newly required property",
            of(text()),
            object(json!({ "a": text() }), &["a"]),
            &["at `/a`: the property is newly required"],
        );
        check(
            "a new property that is required",
            of(text()),
            object(json!({ "a": text(), "b": text() }), &["b"]),
            &["at `/b`: the property is newly required"],
        );
        check("a type", of(text()), of(number("uint32")), &["at `/a`: the type `string` became `integer`"]);
        check(
            "no longer null",
            of(json!({ "type": ["string", "null"] })),
            of(text()),
            &["at `/a`: the type `null` became `string`"],
        );
        check("anything no more", of(json!(true)), of(text()), &["at `/a`: the type `any` became `string`"]);
        check(
            "an enum value",
            of(json!({ "type": "string", "enum": ["x", "y"] })),
            of(json!({ "type": "string", "enum": ["x"] })),
            &["at `/a`: the value `\"y\"` is removed"],
        );
        check(
            "text to a list of values",
            of(text()),
            of(json!({ "enum": ["x"] })),
            &["at `/a`: only `\"x\"` is left of it"],
        );
        check(
            "a narrower number",
            of(number("uint64")),
            of(number("uint32")),
            &["at `/a`: the format `uint64` became `uint32`"],
        );
        check(
            "another format",
            of(text()),
            of(json!({ "type": "string", "format": "uuid" })),
            &["at `/a`: the format `any` became `uuid`"],
        );
        check(
            "a bound",
            of(json!({ "type": "integer", "minimum": 0 })),
            of(json!({ "type": "integer", "minimum": 1 })),
            &["at `/a`: `minimum` is tighter"],
        );
        check(
            "in a list",
            of(json!({ "type": "array", "items": text() })),
            of(json!({ "type": "array", "items": number("int8") })),
            &["at `/a/0`: the type `string` became `integer`"],
        );
        check(
            "in a map",
            of(json!({ "type": "object", "additionalProperties": text() })),
            of(json!({ "type": "object", "additionalProperties": number("int8") })),
            &["at `/a/*`: the type `string` became `integer`"],
        );
        check(
            "others refused",
            of(text()),
            json!({ "type": "object", "properties": { "a": text() }, "additionalProperties": false }),
            &["at ``: other properties are refused now"],
        );
        let tagged = |tags: &[&str]| -> Value {
            let one = |tag: &&str| object(json!({ "kind": { "const": tag }, "by": text() }), &["kind", "by"]);
            json!({ "oneOf": tags.iter().map(one).collect::<Vec<_>>() })
        };
        check(
            "a variant",
            of(tagged(&["scale", "copy"])),
            of(tagged(&["scale"])),
            &["at `/a/kind`: the value `\"copy\"` is removed"],
        );
        let held =
            |inner: Value| json!({ "properties": { "a": { "$ref": "#/$defs/T" } }, "$defs": { "T": inner } });
        check(
            "behind a reference",
            held(object(json!({ "b": text(), "next": { "$ref": "#/$defs/T" } }), &[])),
            held(object(json!({ "next": { "$ref": "#/$defs/T" } }), &[])),
            &["at `/a/b`: the property is removed"],
        );
    }

    #[test]
    fn what_reads_more_is_fine() {
        let text = || json!({ "type": "string" });
        let cases = [
            ("a new property", of(text()), object(json!({ "a": text(), "b": text() }), &[])),
            ("required no more", object(json!({ "a": text() }), &["a"]), of(text())),
            ("null as well", of(text()), of(json!({ "type": ["string", "null"] }))),
            ("null by choice", of(text()), of(json!({ "anyOf": [text(), { "type": "null" }] }))),
            ("anything", of(text()), of(json!({}))),
            (
                "a wider number",
                of(json!({ "type": "integer", "format": "uint32", "minimum": 0 })),
                of(json!({ "type": "integer", "format": "uint64", "minimum": 0 })),
            ),
            ("a fraction", of(json!({ "type": "integer" })), of(json!({ "type": "number" }))),
            (
                "values told one by one",
                of(json!({ "type": "string", "enum": ["x", "y"] })),
                of(
                    json!({ "oneOf": [{ "const": "x", "description": "the first" }, { "enum": ["y", "z"] }] }),
                ),
            ),
            ("values to text", of(json!({ "enum": ["x"] })), of(text())),
            ("other words", of(json!({ "type": "string", "description": "old" })), of(text())),
            (
                "a definition's name",
                json!({
                    "type": "object", "properties": { "a": { "$ref": "#/$defs/T" } }, "$defs": { "T": text() }
                }),
                of(text()),
            ),
        ];
        for (case, before, after) in cases {
            check(case, before, after, &[]);
        }
    }

    #[test]
    fn an_event_type_stays_or_gets_another_version() {
        let files = |files: &[(&str, Value)]| -> Schemas {
            files.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect()
        };
        let text = || of(json!({ "type": "string" }));
        let number = || of(json!({ "type": "integer" }));
        let before = files(&[("TaskDied.v1.json", text()), ("TaskQueued.v1.json", text())]);
        let cases = [
            ("as it was", before.clone(), vec![]),
            (
                "removed",
                files(&[("TaskDied.v1.json", text())]),
                vec!["`TaskQueued.v1.json`: the event type is removed, and the log has events of it"],
            ),
            (
                "changed",
                files(&[("TaskDied.v1.json", number()), ("TaskQueued.v1.json", text())]),
                vec!["`TaskDied.v1.json` at `/a`: the type `string` became `integer`"],
            ),
            (
                "changed, with another version",
                files(&[("TaskDied.v2.json", number()), ("TaskQueued.v1.json", text())]),
                vec![],
            ),
        ];
        for (case, after, expect) in cases {
            assert_eq!(contradictions(&before, &after), expect, "{case}");
        }
    }
}
