//! Writes `schemas/` from the types. A test fails while the committed files differ from them. What
//! could no longer read the events that logs hold is not written: raise the event's version, as in
//! `domain_event!(TaskEvent { TaskQueued = 2, … })`, and the file of the old one stays.

use autonomos_tests::schemas::{self, compat};
use std::{
    fs,
    io::{self, Write},
    process::ExitCode,
};

fn main() -> io::Result<ExitCode> {
    let folder = schemas::folder();
    fs::create_dir_all(folder.join("events"))?;
    let found = compat::contradictions(&schemas::events_committed()?, &schemas::events());
    if !found.is_empty() {
        let mut out = io::stderr();
        writeln!(out, "nothing was written: events that logs hold could not be read any more")?;
        for what in found {
            writeln!(out, "  {what}")?;
        }
        return Ok(ExitCode::FAILURE);
    }
    let connectors = folder.join("connectors");
    if connectors.exists() {
        fs::remove_dir_all(&connectors)?;
    }
    fs::create_dir_all(connectors)?;
    for (path, text) in schemas::all() {
        fs::write(folder.join(path), text)?;
    }
    Ok(ExitCode::SUCCESS)
}
