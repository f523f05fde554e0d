//! The default ontology: what most companies keep about customers, sales, money, support and cloud.
//! Synonyms are words of source systems, compared after splitting and lower-casing.

mod billing;
mod cloud;
mod customers;
mod sales;
mod support;
mod words;

use super::Ontology;

/// The ontology every tenant starts with; version 1.
pub fn default_ontology() -> Ontology {
    Ontology {
        version: 1,
        entities: vec![
            customers::account(),
            customers::contact(),
            sales::opportunity(),
            sales::product(),
            billing::invoice(),
            billing::subscription(),
            support::ticket(),
            support::usage(),
            cloud::cloud_resource(),
            cloud::cost(),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_rules_and_references_point_at_something() {
        let ontology = default_ontology();
        let entities: HashSet<_> = ontology.entities.iter().map(|entity| entity.name.as_str()).collect();
        assert_eq!(entities.len(), 10);
        for entity in &ontology.entities {
            let fields: HashSet<_> = entity.fields.iter().map(|field| field.name.as_str()).collect();
            assert_eq!(fields.len(), entity.fields.len(), "`{}` repeats a field", entity.name);
            for rule in &entity.match_rules {
                for name in rule.all_equal.iter().chain(&rule.unless_different) {
                    assert!(
                        fields.contains(name.as_str()),
                        "rule `{}` of `{}` names `{name}`",
                        rule.name,
                        entity.name
                    );
                }
            }
            for field in &entity.fields {
                if let Some(target) = &field.references {
                    assert!(entities.contains(target.as_str()), "`{}` references `{target}`", field.name);
                }
            }
        }
    }
}
