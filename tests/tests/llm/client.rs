//! The client against llmock's two protocols with every fault, and against a server without schemas.

use autonomos_commands::intelligence::llm::{
    Column, Gone, ModelClient, ModelOptions, Provider, RepairQuestion,
};
use autonomos_domain::schema::{Field, LogicalType};
use autonomos_tests::llm::ModelServer;
use axum::{Router, response::Redirect, routing::post};
use serde_json::{Value, json};
use std::time::Duration;

const PROTOCOLS: [(Provider, &str); 2] = [(Provider::OpenAi, "v1"), (Provider::Gemini, "gemini")];

fn client(provider: Provider, base_url: String) -> ModelClient {
    let options = ModelOptions {
        provider,
        base_url,
        model: "tested".to_owned(),
        api_key: Some("sk-k3y".to_owned()),
        input_price: 1.0,
        output_price: 10.0,
        timeout: Duration::from_secs(2),
        concurrency: 2,
    };
    ModelClient::new(options).expect("a client")
}

fn question() -> RepairQuestion {
    let column = |name: &str| {
        let field =
            Field { name: name.to_owned(), logical_type: LogicalType::Integer, nullable: true, format: None };
        Column::of(&field, &["4711".to_owned()], false)
    };
    RepairQuestion {
        stream: "accounts".to_owned(),
        entity: Some("account".to_owned()),
        gone: vec![Gone { column: column("sales"), field: "annual_revenue".to_owned(), description: None }],
        new: vec![column("umsatz"), column("plz")],
    }
}

/// The column that `sales` became, or the error's code; and the requests it took.
async fn ask(client: &ModelClient) -> (Result<String, &'static str>, u32) {
    let question = question();
    let found = client.consult(&question.question(), |text| question.read(text)).await;
    let new = found.result.map(|all| all.first().map(|one| one.to.clone()).unwrap_or_default());
    (new.map_err(|error| error.code()), found.used.requests)
}

fn reply(text: &str) -> Value {
    json!({ "type": "reply", "text": text })
}

#[tokio::test]
async fn both_protocols_answer_by_schema_and_fail_as_they_say() {
    let server = ModelServer::llmock().await;
    for (provider, path) in PROTOCOLS {
        let fail = |status: u16| json!([{ "type": "fail", "status": status }]);
        let right = r#"{"pairs":[{"from":"sales","to":"plz","confidence":0.5,"reason":"so"}]}"#;
        let cut = json!({ "type": "reply", "text": "{\"pairs\":[{\"from", "finish_reason": "length" });
        let cases = [
            (json!([]), (Ok("umsatz"), 1)),
            (json!([reply(right)]), (Ok("plz"), 1)),
            // Made up columns and half an answer are asked for again, once.
            (json!([reply(&right.replace("plz", "made_up")), reply(right)]), (Ok("plz"), 2)),
            (json!([reply("no idea"), reply("still none")]), (Err("AOS-0374"), 2)),
            (json!([cut.clone(), reply(right)]), (Ok("plz"), 2)),
            (json!([{ "type": "fail", "status": 429, "retry_after": 3 }]), (Err("AOS-0371"), 1)),
            (fail(401), (Err("AOS-0370"), 1)),
            (fail(500), (Err("AOS-0373"), 1)),
            (json!([{ "type": "delay", "seconds": 30 }]), (Err("AOS-0372"), 1)),
        ];
        for (behaviors, (expect, requests)) in cases {
            if behaviors != json!([]) {
                server.behave(behaviors.clone()).await;
            }
            // A client of its own, so that no failure pauses the next one.
            let found = ask(&client(provider, server.url(path))).await;
            assert_eq!(found, (expect.map(str::to_owned), requests), "{provider:?} {behaviors}");
        }
    }
    let requests = server.requests().await;
    let schema = |provider: &str, path: &str| {
        let first = requests.iter().find(|request| request["provider"] == provider).expect("was asked");
        first["body"].pointer(path).cloned().unwrap_or_default()
    };
    assert_eq!(schema("openai", "/response_format/json_schema/strict"), json!(true));
    assert_eq!(schema("gemini", "/generationConfig/responseSchema/required"), json!(["pairs"]));
    assert!(!requests.iter().any(|request| request["body"].to_string().contains("4711")));
}

#[tokio::test]
async fn a_server_says_how_long_to_wait_and_is_left_alone_when_it_keeps_failing() {
    let server = ModelServer::llmock().await;
    let client = client(Provider::OpenAi, server.url("v1"));
    server.behave(json!([{ "type": "fail", "status": 429, "retry_after": 7 }])).await;
    let question = question();
    let found = client.consult(&question.question(), |text| question.read(text)).await;
    assert_eq!(found.result.expect_err("limited").wait(), Some(Duration::from_secs(7)));
    server.behave(json!([{ "type": "fail", "status": 500, "times": null }])).await;
    let mut codes = Vec::new();
    for _ in 0..6 {
        codes.push(ask(&client).await.0.expect_err("down"));
    }
    assert_eq!(codes, ["AOS-0373", "AOS-0373", "AOS-0373", "AOS-0373", "AOS-0376", "AOS-0376"]);
    assert_eq!(server.requests().await.len(), 5, "nothing is sent while it is left alone");
}

#[tokio::test]
async fn a_server_without_schemas_is_read_leniently_and_checked_strictly() {
    let rules = r#"
version: 1
defaults:
  fallback: deterministic_echo
rules:
  - name: again
    when: { messages_contain: "could not be used", model_matches: "tested" }
    respond:
      content: "Sorry! Here you are:\n```json\n{\"pairs\": [{\"from\": \"sales\", \"to\": \"umsatz\", \"confidence\": 0.9, \"reason\": \"the same\"}]}\n```\nAnything else?"
"#;
    let server = ModelServer::fakellm(rules).await;
    let found = ask(&client(Provider::OpenAi, server.url("v1"))).await;
    assert_eq!(found, (Ok("umsatz".to_owned()), 2), "its first answer is an echo, no JSON");
    let none = ModelServer::fakellm("version: 1\ndefaults: { fallback: deterministic_echo }\n").await;
    assert_eq!(ask(&client(Provider::OpenAi, none.url("v1"))).await, (Err("AOS-0374"), 2));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = ModelServer::llmock().await;
    let elsewhere = format!("{}/chat/completions", server.url("v1"));
    let redirect = move || async move { Redirect::temporary(&elsewhere) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let app = Router::new().route("/v1/chat/completions", post(redirect));
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let found = ask(&client(Provider::OpenAi, format!("http://127.0.0.1:{port}/v1"))).await;
    assert_eq!(found.0, Err("AOS-0370"));
    assert!(server.requests().await.is_empty());
    serving.abort();
    let _ = serving.await;
}
