//! Secrets in a connection's configuration: what its connector's schema marks `writeOnly` is shown
//! as `"***"`, and `"***"` sent back keeps what was there.

use serde_json::Value;

/// What stands for a secret.
pub const MASK: &str = "***";

/// The configuration as it may be shown.
pub fn mask(schema: &Value, config: &Value) -> Value {
    let mut shown = config.clone();
    visit(schema, &mut shown, &mut |value| {
        if !value.is_null() && value.as_str() != Some("") {
            *value = Value::String(MASK.to_owned());
        }
    });
    shown
}

/// `new` with each mask replaced by the secret that stands in `old` at the same place.
pub fn unmask(schema: &Value, old: &Value, new: &Value) -> Value {
    let mut merged = new.clone();
    restore(schema, old, &mut merged);
    merged
}

fn is_secret(schema: &Value) -> bool {
    schema.get("writeOnly").and_then(Value::as_bool).unwrap_or(false)
}

/// The schemas that may describe a value: itself and the branches of its combinators.
fn branches(schema: &Value) -> Vec<&Value> {
    let mut all = vec![schema];
    for combinator in ["oneOf", "anyOf", "allOf"] {
        for branch in schema.get(combinator).and_then(Value::as_array).into_iter().flatten() {
            all.extend(branches(branch));
        }
    }
    all
}

fn property<'schema>(schema: &'schema Value, name: &str) -> Vec<&'schema Value> {
    branches(schema)
        .into_iter()
        .filter_map(|branch| branch.get("properties").and_then(|properties| properties.get(name)))
        .collect()
}

fn items(schema: &Value) -> Vec<&Value> {
    branches(schema).into_iter().filter_map(|branch| branch.get("items")).collect()
}

fn visit(schema: &Value, value: &mut Value, found: &mut dyn FnMut(&mut Value)) {
    if branches(schema).into_iter().any(is_secret) {
        found(value);
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                for schema in property(schema, name) {
                    visit(schema, field, found);
                }
            }
        }
        Value::Array(elements) => {
            for element in elements {
                for schema in items(schema) {
                    visit(schema, element, found);
                }
            }
        }
        _ => {}
    }
}

fn restore(schema: &Value, old: &Value, new: &mut Value) {
    if branches(schema).into_iter().any(is_secret) {
        if new.as_str() == Some(MASK) {
            *new = old.clone();
        }
        return;
    }
    match new {
        Value::Object(fields) => {
            for (name, field) in fields {
                for schema in property(schema, name) {
                    restore(schema, old.get(name).unwrap_or(&Value::Null), field);
                }
            }
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                for schema in items(schema) {
                    restore(schema, old.get(index).unwrap_or(&Value::Null), element);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_masked_and_kept() {
        let schema = json!({"properties": {
            "url": {"type": "string"},
            "token": {"type": "string", "writeOnly": true},
            "auth": {"oneOf": [
                {"properties": {"password": {"writeOnly": true}}},
                {"properties": {"key": {"writeOnly": true}}},
            ]},
        }});
        let config = json!({"url": "u", "token": "t", "auth": {"password": "p", "user": "frida"}, "x": 1});
        let shown = mask(&schema, &config);
        assert_eq!(
            shown,
            json!({"url": "u", "token": "***", "auth": {"password": "***", "user": "frida"}, "x": 1})
        );
        assert_eq!(unmask(&schema, &config, &shown), config);
        let edited = json!({"url": "v", "token": "new", "auth": {"password": "***"}});
        assert_eq!(
            unmask(&schema, &config, &edited),
            json!({"url": "v", "token": "new", "auth": {"password": "p"}})
        );
        // What was never there is not kept as a mask.
        assert_eq!(unmask(&schema, &json!({}), &json!({"token": "***"})), json!({"token": null}));
    }
}
