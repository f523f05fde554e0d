//! A question's whole way: nothing is asked before it is allowed; a model's answer waits for a person; the
//! second drift of the kind is answered by the first decision; budgets hold; nothing leaks.

use autonomos_tests::{
    client::Client,
    llm::ModelServer,
    server::{Server, Start, run_in},
};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

const KEY: &str = "sk-n3v3r-sh0wn";

struct World {
    _folder: tempfile::TempDir,
    inbox: PathBuf,
    server: Server,
    model: ModelServer,
    client: Client,
}

fn settings(model: &ModelServer) -> Vec<(String, String)> {
    [
        ("AOS_LLM_PROVIDER", "openai"),
        ("AOS_LLM_BASE_URL", model.url("v1").as_str()),
        ("AOS_LLM_MODEL", "tested"),
        ("AOS_LLM_API_KEY", KEY),
        ("AOS_LLM_INPUT_PRICE", "2"),
        ("AOS_LLM_OUTPUT_PRICE", "8"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec()
}

async fn world() -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = folder.path().join("inbox");
    std::fs::create_dir_all(&inbox).expect("a folder");
    let model = ModelServer::llmock().await;
    let data = folder.path().join("data");
    let mut start = Start::serve(&data).with("AOS_FILE_ROOTS", inbox.display().to_string());
    start.environment.extend(settings(&model));
    let server = start.run().expect("starts");
    let client = Client::registered(&server.url, "Asking", "asking@example.com").await;
    World { _folder: folder, inbox, server, model, client }
}

/// Records and values that no other edition has: nothing can be proved on them.
fn write(file: &Path, edition: u32, columns: &str) {
    let mut text = format!("{columns}\n");
    for row in 0..120_u32 {
        let number = edition * 1_000 + row;
        let _ = writeln!(
            text,
            "K{number},Zebra{number} Ltd,zebra{number}.example.com,{},{},{}",
            u64::from(number) * 7_919 + 10_000,
            edition * 50 + row % 37,
            number * 31 % 89
        );
    }
    std::fs::write(file.with_extension("part"), text).expect("writes");
    std::fs::rename(file.with_extension("part"), file).expect("pairs");
}

const KNOWN: &str = "account_id,name,domain,annual_revenue,employee_count,zzq";

impl World {
    /// A connection that was synced once, with its file.
    async fn connected(&self, name: &str, edition: u32) -> (String, PathBuf) {
        let folder = self.inbox.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("accounts.csv");
        write(&file, edition, KNOWN);
        let connection = self.client.file_connection(name, &file.display().to_string()).await;
        let chosen = json!({ "streams": [{ "name": "accounts", "entity": "account" }] });
        self.client.put(&format!("/aam/connections/{connection}/streams"), chosen).await.expect(200);
        assert_eq!(self.client.sync(&connection).await["status"], "succeeded");
        (connection, file)
    }

    /// The next edition, under other names.
    async fn drifts(&self, (connection, file): &(String, PathBuf), edition: u32, columns: &str) {
        write(file, edition, columns);
        assert_eq!(self.client.sync(connection).await["status"], "succeeded");
    }

    async fn allow(&self, raw_values: bool, tokens_per_month: u64) -> Value {
        let body = json!({
            "allowed": true, "raw_values": raw_values,
            "tokens_per_month": tokens_per_month, "cost_per_month": 1.0,
        });
        self.client.put("/llm/settings", body).await.expect(200)
    }

    /// Waits for the task that asks, by its number among them; as it ended.
    async fn asked(&self, number: usize) -> Value {
        let mut seen = 0;
        let mut task = String::new();
        let queued = self.client.events_until("", |event| {
            let is_one = event["type"] == "TaskQueued" && event["payload"]["action"] == "ask_model";
            seen += usize::from(is_one);
            if is_one && seen == number {
                event["aggregate_id"].as_str().unwrap_or_default().clone_into(&mut task);
            }
            is_one && seen == number
        });
        queued.await;
        self.client.task_ended(&task).await;
        let ended = self.client.events_until("", |event| {
            let kind = event["type"].as_str().unwrap_or_default();
            event["aggregate_id"] == task.as_str() && ["TaskSucceeded", "TaskFailed"].contains(&kind)
        });
        let position = ended.await["position"].as_str().unwrap_or_default().to_owned();
        self.client.get(&format!("/tasks/{task}?min_position={position}")).await.expect(200)
    }

    /// The one proposal of a connection that waits for a person.
    async fn waiting(&self, connection: &str) -> Value {
        let path = format!("/aam/repairs?connection_id={connection}&status=pending_review");
        let page = self.client.get(&path).await.expect(200);
        let all = page["data"].as_array().expect("a list").clone();
        let [one]: [Value; 1] = all.try_into().unwrap_or_else(|all| panic!("not one proposal: {all:?}"));
        one
    }

    async fn usage(&self) -> Value {
        self.client.get("/llm/usage").await.expect(200)["total"].clone()
    }
}

#[tokio::test]
async fn a_model_proposes_a_person_decides_and_the_past_answers_the_next_time() {
    let world = world().await;
    let client = &world.client;
    let renamed = KNOWN.replace("annual_revenue", "kx_betrag").replace("zzq", "ppw");

    // Not allowed, nothing is asked, and the fields wait as ever.
    let settings = client.get("/llm/settings").await.expect(200);
    assert_eq!((&settings["allowed"], &settings["model"]), (&json!(false), &json!("tested")));
    let silent = world.connected("silent", 1).await;
    world.drifts(&silent, 2, &renamed).await;

    let settings = world.allow(false, 100_000).await;
    assert_eq!((&settings["allowed"], &settings["raw_values"]), (&json!(true), &json!(false)));
    let first = world.connected("first", 3).await;
    let right = json!({ "pairs": [{ "from": "annual_revenue", "to": "kx_betrag",
        "confidence": 0.9, "reason": "an amount of money" }] });
    world
        .model
        .behave(json!([{ "type": "fail", "status": 429, "retry_after": 1 },
        { "type": "reply", "text": right.to_string() }]))
        .await;
    world.drifts(&first, 4, &renamed).await;
    let task = world.asked(1).await;
    assert_eq!(task["status"], "succeeded", "{task}");
    let proposal = world.waiting(&first.0).await;
    let change = &proposal["proposal"]["changes"][0];
    assert_eq!((&change["origin"], &change["new_sources"]), (&json!("llm"), &json!(["kx_betrag"])));
    assert_eq!(change["evidence"][0]["signal"], "llm");
    let confidence = proposal["confidence"].as_f64().expect("a number");
    assert!((0.60..0.85).contains(&confidence), "asked, and never more: {confidence}");

    // What was asked: names, types and forms, and no value.
    let requests = world.model.requests().await;
    assert_eq!(requests.len(), 2, "the limited one and the one after it: {requests:?}");
    let body = requests[1]["body"].to_string();
    for shown in ["annual_revenue", "kx_betrag", "ppw"] {
        assert!(body.contains(shown), "`{shown}` is not in {body}");
    }
    assert!(!body.contains("Zebra") && !body.contains("zebra"), "{body}");
    let is_there = |number: u64| body.contains(&(number * 7_919 + 10_000).to_string());
    assert!(!(3_000..3_120).chain(4_000..4_120).any(is_there), "{body}");
    let usage = world.usage().await;
    assert_eq!((&usage["calls"], &usage["failed"]), (&json!(2), &json!(1)), "{usage}");
    assert!(usage["output_tokens"].as_u64() > Some(0) && usage["cost"].as_f64() > Some(0.0), "{usage}");

    // Approved, the view is right.
    let id = proposal["id"].as_str().expect("an id");
    let approved = client.post(&format!("/aam/repairs/{id}/approve"), json!({})).await;
    let position = approved.position().expect("a position");
    approved.expect(200);
    client.shown(&position).await;
    let rows = client.rows("accounts", "").await;
    let of_first = |row: &&Value| row["name"].as_str().is_some_and(|name| name.starts_with("Zebra4"));
    let right: Vec<&Value> = rows.iter().filter(of_first).collect();
    assert_eq!(right.len(), 120);
    for row in right {
        let number: u64 = row["name"].as_str().unwrap_or_default()[5..9].parse().expect("a number");
        let revenue = row["annual_revenue"].to_string();
        let revenue = revenue.trim_matches('"').split('.').next().unwrap_or_default().to_owned();
        assert_eq!(revenue, (number * 7_919 + 10_000).to_string(), "{row}");
        assert!(!row["_held"].to_string().contains("annual_revenue"), "{row}");
    }

    // The same change elsewhere, written otherwise: the decision answers, no model is asked.
    client.events_until("", |event| event["type"] == "PrecedentsNoted").await;
    let second = world.connected("second", 5).await;
    let again = renamed.replace("kx_betrag", "KX-Betrag");
    world.drifts(&second, 6, &again).await;
    let proposal = world.waiting(&second.0).await;
    let change = &proposal["proposal"]["changes"][0];
    assert_eq!((&change["origin"], &change["new_sources"]), (&json!("retrieval"), &json!(["KX-Betrag"])));
    assert!(change["evidence"][0]["detail"].as_str().is_some_and(|detail| detail.contains(id)), "{change}");
    let usage = world.usage().await;
    assert_eq!((&usage["calls"], &usage["saved_by_retrieval"]), (&json!(2), &json!(1)), "{usage}");
    assert_eq!(world.model.requests().await.len(), 2);
    let lines = proposal["proposal"]["mapping"]["fields"].as_array().expect("lines");
    let line = lines.iter().find(|line| line["target"] == "annual_revenue").expect("a line");
    assert_eq!(line["origin"], "retrieval");
}

#[tokio::test]
async fn values_leave_where_they_may_budgets_hold_and_the_key_is_nowhere() {
    let world = world().await;
    let client = &world.client;
    world.allow(true, 100_000).await;
    let one = world.connected("one", 1).await;
    world.drifts(&one, 2, &KNOWN.replace("annual_revenue", "kx_betrag").replace("zzq", "ppw")).await;
    let task = world.asked(1).await;
    assert_eq!(task["status"], "succeeded", "{task}");
    let requests = world.model.requests().await;
    let body = requests[0]["body"].to_string();
    let is_there = |number: u64| body.contains(&(number * 7_919 + 10_000).to_string());
    assert!((2_000..2_120).any(is_there), "{body}");

    // A budget that the question would pass: nothing is sent.
    world.allow(false, 50).await;
    let two = world.connected("two", 3).await;
    world.drifts(&two, 4, &KNOWN.replace("employee_count", "hv_koepfe").replace("zzq", "ppw")).await;
    let task = world.asked(2).await;
    assert_eq!(task["status"], "failed", "{task}");
    assert!(task.to_string().contains("AOS-0377"), "{task}");
    assert_eq!(world.model.requests().await.len(), requests.len());
    for body in [
        json!({ "allowed": true, "raw_values": false, "tokens_per_month": 5, "cost_per_month": -1.0 }),
        json!({ "allowed": true }),
    ] {
        client.put("/llm/settings", body).await.expect(422);
    }
    client.get("/llm/usage?days=0").await.expect(422);

    // The key is in no log, no event and no answer.
    let history = client.get("/history?limit=1000").await.expect(200).to_string();
    assert!(history.contains("LlmCallSettled") && !history.contains(KEY), "{history}");
    assert!(!client.get("/llm/settings").await.expect(200).to_string().contains(KEY));
    let (code, shown, complaints) = run_in(&["config", "--json"], settings(&world.model));
    assert_eq!(code, 0, "{complaints}");
    assert!(shown.contains("llm_api_key") && !shown.contains(KEY), "{shown}");
    let log = world.server.data_dir.with_extension("log");
    let log = std::fs::read_to_string(log).expect("a log");
    assert!(!log.contains(KEY) && !log.contains("Zebra"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_asks_a_model_only_when_it_is_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = ModelServer::llmock().await;
    let (source, target) = (folder.path().join("source.csv"), folder.path().join("target.csv"));
    let rows = |header: &str, base: u32| {
        (0..40).fold(format!("{header}\n"), |text, row| text + &format!("{}\n", base + row * 37))
    };
    std::fs::write(&source, rows("qqx", 11)).expect("writes");
    std::fs::write(&target, rows("umsatz", 900_000)).expect("writes");
    let (source, target) = (source.display().to_string(), target.display().to_string());
    let arguments = ["match", "--source", source.as_str(), "--target", target.as_str(), "--one-to-one"];
    let (code, _, complaints) = run_in(&arguments, settings(&model));
    assert_eq!(code, 0, "{complaints}");
    assert!(model.requests().await.is_empty(), "without the flag nothing is asked");
    let asking = [&arguments[..], &["--llm"]].concat();
    let (code, lines, complaints) = run_in(&asking, settings(&model));
    assert_eq!(code, 0, "{complaints}");
    let best: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&best["source"], &best["target"]), (&json!("qqx"), &json!("umsatz")), "{lines}");
    assert_eq!((&best["origin"], &best["evidence"][0]["signal"]), (&json!("llm"), &json!("llm")));
    let [request]: [Value; 1] = model.requests().await.try_into().expect("one request");
    assert!(!request["body"].to_string().contains("900037"), "{request}");
    let (code, _, complaints) = run_in(&asking, Vec::new());
    assert!(code == 1 && complaints.contains("AOS-0520"), "{code} {complaints}");
}
