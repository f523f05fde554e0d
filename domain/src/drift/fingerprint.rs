//! The fingerprint of a shape: equal exactly when nothing structural differs. The order of the
//! columns is no part of it, for sources reorder them freely.

use crate::schema::StreamShape;

/// BLAKE3 of the canonical form of `shape`, in hex. Column order does not count; key order does.
pub fn fingerprint(shape: &StreamShape) -> String {
    let mut fields: Vec<_> = shape.fields.iter().collect();
    fields.sort_by(|left, right| left.name.cmp(&right.name));
    let mut hasher = blake3::Hasher::new();
    // Each part is preceded by its length, so that no two lists of parts read alike.
    let mut part = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    part("shape/1");
    part(&fields.len().to_string());
    for field in fields {
        part(&field.name);
        part(field.logical_type.as_str());
        part(if field.nullable { "null" } else { "not null" });
        part(field.format.as_deref().map_or("-", |_| "+"));
        part(field.format.as_deref().unwrap_or_default());
    }
    for name in &shape.primary_key {
        part(name);
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Field, LogicalType};

    fn shape() -> StreamShape {
        let field = |name: &str, logical_type| Field {
            name: name.into(),
            logical_type,
            nullable: true,
            format: None,
        };
        StreamShape {
            fields: vec![
                field("id", LogicalType::Integer),
                field("name", LogicalType::Text),
                field("since", LogicalType::Date),
            ],
            primary_key: vec!["id".into()],
        }
    }

    #[test]
    fn column_order_is_no_part_of_it() {
        let mut reordered = shape();
        reordered.fields.reverse();
        assert_eq!(fingerprint(&shape()), fingerprint(&reordered));
    }

    #[test]
    fn every_structural_change_is_part_of_it() {
        let changes: [fn(&mut StreamShape); 6] = [
            |shape| shape.fields[1].name = "title".into(),
            |shape| shape.fields[1].logical_type = LogicalType::Integer,
            |shape| shape.fields[1].nullable = false,
            |shape| shape.fields[2].format = Some("%d/%m/%Y".into()),
            |shape| shape.primary_key.clear(),
            |shape| {
                shape.fields.pop();
            },
        ];
        for change in changes {
            let mut changed = shape();
            change(&mut changed);
            assert_ne!(fingerprint(&shape()), fingerprint(&changed));
        }
    }
}
