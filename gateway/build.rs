//! The screen is embedded from `frontend/dist`. Where it was not built, a plain page takes its
//! place, so that the server builds (and says what is missing) without node.

use std::{fs, path::Path};

fn main() {
    println!("cargo:rerun-if-changed=../frontend/dist");
    println!("cargo:rerun-if-changed=../docs/errors");
    let dist = Path::new("../frontend/dist");
    let index = dist.join("index.html");
    if !index.exists() {
        let page = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>AutonomOS</title></head>\
                    <body><h1>AutonomOS</h1><p>The screen was not built into this server: run <code>make build</code>. \
                    The API is at <a href=\"/api/docs\">/api/docs</a>.</p></body></html>\n";
        let written = fs::create_dir_all(dist).and_then(|()| fs::write(&index, page));
        if let Err(error) = written {
            println!("cargo:warning=cannot write `{}`: {error}", index.display());
        }
    }
}
