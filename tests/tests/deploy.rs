//! The files that `docker compose` starts an installation of several nodes from: every setting in
//! them is one, and together they mean the scaled mode; the servers' settings are theirs.

use autonomos_log::nats_server;
use autonomos_tests::server::run_in;
use serde_json::Value;
use std::{fs, path::PathBuf, process::Command};

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()))
}

/// What a node is told, passwords filled in.
fn environment(node: &str) -> Vec<(String, String)> {
    let compose = read("compose.yaml");
    let filled = compose
        .replace("${NATS_PASSWORD:?set it}", "n4ts")
        .replace("${POSTGRES_PASSWORD:?set it}", "p0stgres");
    assert!(!filled.contains("${"), "a value that this test does not know is asked for");
    let of_all = read("deploy/node.env");
    let shared = of_all.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    // The first node's part has the addresses, which the second one repeats by reference.
    let parts =
        filled.split("\n  node-").skip(1).filter(|part| part.starts_with('1') || part.starts_with(node));
    let own = parts.flat_map(str::lines).filter_map(|line| line.trim().split_once(": "));
    let own = own.filter(|(key, _)| key.starts_with("AOS_"));
    shared.chain(own).map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect()
}

#[test]
fn the_nodes_of_compose_have_settings_that_go_together() {
    for node in ["1", "2"] {
        let (code, said, complaint) = run_in(&["config", "--json"], environment(node));
        assert_eq!(code, 0, "{said}{complaint}");
        let shown: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let text = serde_json::to_string(&shown).expect("JSON");
        assert!(text.contains(&format!("http://node-{node}:8080")), "{text}");
        assert!(text.contains("postgres://***@postgres:5432/autonomos"), "{text}");
        assert!(!text.contains("n4ts") && !text.contains("p0stgres"), "{text}");
    }
}

#[test]
fn the_servers_of_compose_understand_their_settings() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/nats.conf");
    let output = Command::new(nats_server::program())
        .args(["-t", "-c"])
        .arg(folder)
        .envs([("NATS_NAME", "nats-1"), ("NATS_PASSWORD", "n4ts")])
        .output()
        .expect("nats-server runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = read("compose.yaml");
    for server in ["nats-1", "nats-2", "nats-3"] {
        assert!(names.contains(&format!("NATS_NAME: {server}")) && read("deploy/nats.conf").contains(server));
    }
}
