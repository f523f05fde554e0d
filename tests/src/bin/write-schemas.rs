//! Writes `schemas/` from the types. A test fails while the committed files differ from them.

use autonomos_tests::schemas;
use std::{fs, io};

fn main() -> io::Result<()> {
    let folder = schemas::folder();
    for part in ["events", "connectors"] {
        if folder.join(part).exists() {
            fs::remove_dir_all(folder.join(part))?;
        }
        fs::create_dir_all(folder.join(part))?;
    }
    for (path, text) in schemas::all() {
        fs::write(folder.join(path), text)?;
    }
    Ok(())
}
