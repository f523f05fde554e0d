use super::*;

#[path = "../../../domain/tests/matching_cases/mod.rs"]
mod matching_cases;

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn without_files_the_static_table_stands_in_under_its_own_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let meaning = Meaning::new(Some(folder.path()));
    assert!(!meaning.available());
    assert_eq!(meaning.name(), HashedWords::NAME);
    let ask =
        || meaning.matrix(&texts(&["surname; text"]), &texts(&["last name; family name", "city; town"]));
    let likeness = ask().expect("an answer");
    assert!(likeness[0][0] > likeness[0][1], "{likeness:?}");
    assert_eq!(ask(), Some(likeness), "the same texts are always as alike");
}

/// The model's files are fetched by the set-up; a machine without them skips this, and says so.
#[test]
fn the_model_knows_what_words_mean() {
    let meaning = Meaning::new(None);
    if !meaning.available() {
        eprintln!("skipped: the embedding model's files are absent");
        return;
    }
    assert_eq!(meaning.name(), MiniLm::NAME);
    let columns = texts(&["number of employees", "postal code", "head count"]);
    let fields = texts(&["how many people work there", "zip"]);
    let likeness = meaning.matrix(&columns, &fields).expect("an answer");
    assert!(likeness[0][0] > likeness[0][1], "{likeness:?}");
    assert!(likeness[1][1] > likeness[1][0], "{likeness:?}");
    assert!(likeness.iter().flatten().all(|value| (0.0..=1.0).contains(value)));
    let itself = meaning.matrix(&columns[..1], &columns[..1]).expect("an answer");
    assert!((itself[0][0] - 1.0).abs() < 1e-3, "{itself:?}");
}

#[test]
fn streams_map_rightly_with_whatever_answers_for_meaning() {
    matching_cases::check(Some(&Meaning::new(None)));
    let folder = tempfile::tempdir().expect("a folder");
    matching_cases::check(Some(&Meaning::new(Some(folder.path()))));
}
