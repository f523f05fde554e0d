//! First mappings of streams as systems export them: each column with a counterpart finds it with
//! the right transform, and no other is mapped.

mod matching_cases;

use autonomos_domain::{
    drift::profile::{FieldProfiler, StreamProfile},
    matching::table_candidates,
    schema::StreamShape,
};

#[test]
fn names_and_values_alone_map_every_stream_rightly() {
    matching_cases::check(None);
}

fn table(columns: &[(&str, &dyn Fn(usize) -> String)]) -> (StreamShape, StreamProfile) {
    let mut shape = StreamShape::default();
    let mut profile = StreamProfile { rows: 90, ..StreamProfile::default() };
    for (name, value) in columns {
        let mut profiler = FieldProfiler::new();
        for row in 0..90 {
            profiler.push(Some(&value(row)));
        }
        let values = profiler.finish();
        shape.fields.push(values.field(name));
        profile.fields.insert((*name).to_owned(), values);
    }
    (shape, profile)
}

#[test]
fn columns_of_two_tables_find_each_other_by_name_or_by_values() {
    let city = |row: usize| ["Leeds", "Oslo", "Lyon", "Porto", "Graz"][row % 5].to_owned();
    let person = |row: usize| format!("Person {}", row % 45);
    let left = table(&[
        ("customer_name", &person),
        ("cty", &city),
        ("signup_date", &|row| format!("2024-03-{:02}", row % 27 + 1)),
        ("score", &|row| (row * 17 % 97).to_string()),
    ]);
    let right = table(&[
        ("f1", &city),
        ("CustomerName", &|row| format!("Person {}", row % 60)),
        ("signupDt", &|row| format!("2024-03-{:02}", row % 25 + 2)),
        ("colour", &|row| ["red", "green"][row % 2].to_owned()),
    ]);
    let found = table_candidates((&left.0, &left.1), (&right.0, &right.1), None);
    let best = |source: &str| {
        let line = found.iter().find(|line| line.source == source).expect("a candidate");
        (line.target.as_str(), line.probability)
    };
    for (source, target) in [("customer_name", "CustomerName"), ("cty", "f1"), ("signup_date", "signupDt")] {
        let (found, probability) = best(source);
        assert_eq!(found, target, "{source}");
        assert!(probability > 0.5, "{source}: {probability}");
    }
    // Below the band from which a person is asked.
    assert!(best("score").1 < 0.6, "{:?}", best("score"));
    assert_eq!(found, table_candidates((&left.0, &left.1), (&right.0, &right.1), None));
}
