//! The safety limits of repair on a few syncs of a seed that development looks at: nothing silently wrong,
//! nothing raised where nothing happened, no structural change missed, and the same again.

use autonomos_driftbench::{Options, run};

#[test]
fn what_is_written_is_right_or_waits() {
    let options = Options { seed: 0, from: 0, syncs: 80, data: None, threads: 2, notes: true };
    let report = run(&options).expect("the syncs run");
    let notes: Vec<_> = report.lines.iter().filter(|line| line["measurement"] == "note").collect();
    let summary = &report.summary;
    assert_eq!(summary.cells_wrong, 0, "{notes:#?}");
    assert_eq!(summary.false_alarms, 0, "{notes:#?}");
    assert_eq!(summary.structural_missed, 0, "{notes:#?}");
    assert!(summary.replayed, "the same seed gave other decisions");
    // Not safe by doing nothing.
    assert!(summary.cells_written > 100_000 && summary.controls > 5, "{summary:?}");
    assert!(summary.repaired * 100 >= summary.repairable * 60, "{summary:?}");
}

#[test]
fn a_folder_without_data_is_refused_by_its_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        seed: 0,
        from: 0,
        syncs: 1,
        data: Some(folder.path().to_owned()),
        threads: 1,
        notes: false,
    };
    assert_eq!(run(&options).expect_err("nothing there").code(), "AOS-0531");
}
