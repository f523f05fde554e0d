//! A hostile tenant: knows every id of another one, and calls every operation of the OpenAPI
//! document with them. It must learn nothing and change nothing. Operations that are added to the
//! document enter this test by themselves.

use autonomos_tests::{
    client::{Answer, Client},
    cluster::Cluster,
    server::Start,
};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, fmt::Write as _, path::Path};
use uuid::Uuid;

/// Words that only the first tenant uses, in every kind of place: a name, a file, a cell, an e-mail.
const SECRET: &str = "zanzibar";

fn accounts(drifted: bool) -> String {
    let mut text = String::from(if drifted {
        "account_id,name,web_domain,annual_revenue,city\n"
    } else {
        "account_id,name,domain,annual_revenue,city\n"
    });
    for number in 0..60_u32 {
        let _ = writeln!(
            text,
            "Z{number:03},{SECRET} {number} Ltd,{SECRET}{number}.example,{},{SECRET} city",
            number * 1_000
        );
    }
    text
}

fn deliver(folder: &Path, drifted: bool) {
    std::fs::write(folder.join(format!("{SECRET}_accounts.part")), accounts(drifted)).expect("writes");
    let (part, file) = (format!("{SECRET}_accounts.part"), format!("{SECRET}_accounts.csv"));
    std::fs::rename(folder.join(part), folder.join(file)).expect("renames");
}

/// What the first tenant has, by the part of a path that names it.
struct Known {
    connection: String,
    /// Every id that any of its reads shows.
    ids: BTreeSet<String>,
    sync: String,
    drift: String,
    mapping: String,
    repair: Option<String>,
    upload: String,
    task: String,
    schedule: String,
    user: String,
    api_key: String,
    row: String,
    record: Option<String>,
    position: String,
}

fn id_of(value: &Value) -> String {
    value["id"].as_str().expect("an id").to_owned()
}

fn first(list: &Value) -> &Value {
    list["data"].as_array().and_then(|data| data.first()).unwrap_or_else(|| panic!("an empty list: {list}"))
}

/// Every text in a value that is an id.
fn ids_in(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if Uuid::parse_str(text).is_ok_and(|id| !id.is_nil()) => {
            found.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| ids_in(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| ids_in(field, found)),
        _ => {}
    }
}

async fn fill(client: &Client, inbox: &Path) -> Known {
    deliver(inbox, false);
    let connection = client.file_connection(&format!("{SECRET} inbox"), &inbox.display().to_string()).await;
    client.post(&format!("/aam/connections/{connection}/discover"), json!({})).await.expect(200);
    let sync = client.sync(&connection).await;
    assert_eq!(sync["status"], "succeeded", "{sync}");
    deliver(inbox, true);
    let sync = client.sync(&connection).await;
    assert_eq!(sync["status"], "succeeded", "{sync}");
    // The connection's own record of both follows them.
    let mut recorded = 0;
    let both = client.events_until("", |event| {
        recorded += usize::from(event["type"] == "SyncWentWell");
        recorded == 2
    });
    both.await;
    let nightly = json!({
        "name": format!("{SECRET} nightly"), "cron": "0 2 * * *", "connection_id": connection, "enabled": false
    });
    let schedule = client.post("/schedules", nightly).await.expect(201);
    let body = client.request(Method::POST, &format!("/uploads?filename={SECRET}.csv")).body("a,b\n1,2\n");
    let upload = id_of(&client.try_send(body).await.expect("an answer").expect(201));
    let member = json!({ "email": format!("{SECRET}@example.com"), "password": "correct-horse-battery", "role": "viewer" });
    let made = client.post("/users", member).await;
    let position = made.position().expect("a position");
    let user = id_of(&made.expect(201));
    let key = client
        .post("/api-keys", json!({ "name": format!("{SECRET} key"), "role": "viewer" }))
        .await
        .expect(201);
    let get = async |path: &str| client.get(path).await.expect(200);
    client.shown(&position).await;
    let rows = get(&format!("/dcl/views/accounts?limit=1&min_position={position}")).await;
    let mut known = Known {
        sync: id_of(&sync),
        drift: id_of(first(&get("/aam/drift").await)),
        mapping: id_of(first(&get("/aam/mappings").await)),
        repair: get("/aam/repairs").await["data"][0]["id"].as_str().map(str::to_owned),
        task: id_of(first(&get("/tasks").await)),
        row: id_of(first(&rows)),
        record: get("/dcl/matches").await["data"][0]["members"][0]["record_id"].as_str().map(str::to_owned),
        api_key: id_of(&key),
        schedule: id_of(&schedule),
        ids: BTreeSet::new(),
        connection,
        upload,
        user,
        position,
    };
    for value in state(client).await.values() {
        ids_in(value, &mut known.ids);
    }
    known
}

/// Everything the tenant can read, by path; what follows the clock or the whole log left out.
async fn state(client: &Client) -> Map<String, Value> {
    let document = client.get("/api/openapi.json").await.expect(200);
    let mut all = Map::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let skip = ["/events/", "/ops/", "/auth/", "/export"].iter().any(|part| path.contains(part));
        if skip || path.contains('{') || operations.get("get").is_none() {
            continue;
        }
        let mut answer = client.get(path).await.expect(200);
        answer.as_object_mut().expect("an object").remove("meta");
        all.insert(path.clone(), answer);
    }
    for view in ["accounts", "contacts"] {
        let mut rows = client.get(&format!("/dcl/views/{view}?limit=1000")).await.expect(200);
        rows.as_object_mut().expect("an object").remove("meta");
        all.insert(view.to_owned(), rows);
    }
    all
}

/// The first tenant's id for a parameter of a path.
fn fitting(known: &Known, path: &str, name: &str) -> String {
    if name == "entity" {
        return "accounts".to_owned();
    }
    if name == "stream" {
        return format!("{SECRET}_accounts");
    }
    if name == "name" {
        return "read_models".to_owned();
    }
    let by_place = [
        ("/connections/", Some(&known.connection)),
        ("/syncs/", Some(&known.sync)),
        ("/drift/", Some(&known.drift)),
        ("/mappings/", Some(&known.mapping)),
        ("/repairs/", known.repair.as_ref()),
        ("/uploads/", Some(&known.upload)),
        ("/tasks/", Some(&known.task)),
        ("/schedules/", Some(&known.schedule)),
        ("/users/", Some(&known.user)),
        ("/api-keys/", Some(&known.api_key)),
        ("/views/", Some(&known.row)),
        ("/matches/", known.record.as_ref().or(Some(&known.row))),
    ];
    let found = by_place.into_iter().find(|(place, _)| path.contains(place));
    let found = found.unwrap_or_else(|| panic!("which of the first tenant's ids fits `{path}`? add it here"));
    found.1.cloned().unwrap_or_else(|| known.row.clone())
}

/// A body that the operation would take, with the first tenant's ids where it names any.
fn body(known: &Known, path: &str, method: &str, ontology: &Value) -> Value {
    let at = |end: &str| path.ends_with(end);
    match method {
        "put" if at("/streams") => json!({ "streams": [] }),
        "put" if path.contains("/mappings/") => json!({ "entity": null, "key": [], "fields": [] }),
        "put" if at("/autonomy") => json!({ "mode": "auto" }),
        "put" if at("/policies") => {
            json!({ "version": 0, "rules": [{ "connection_id": known.connection, "protected": true }] })
        }
        "put" if at("/policy") => json!({ "automatic_from": 0.99, "ask_from": 0.6 }),
        "put" if at("/ontology") => ontology.clone(),
        "patch" if path.contains("/connections/") => json!({ "name": "taken over" }),
        "patch" if path.contains("/users/") => json!({ "role": "owner" }),
        "post" if at("/aam/connections") => {
            json!({ "name": "mine", "connector": "file", "config": { "path": known.upload } })
        }
        "post" if at("/tasks") => {
            json!({ "action": "sync", "payload": { "connection_id": known.connection } })
        }
        "post" if at("/schedules") => json!({
            "name": "mine", "cron": "0 6 * * *", "connection_id": known.connection, "enabled": false
        }),
        "patch" if path.contains("/schedules/") => json!({ "name": "taken over" }),
        "post" if at("/merge") => json!({ "entity": "account", "with": known.row }),
        "post" if at("/unmerge") => json!({ "record_id": known.row }),
        "post" if at("/backtest") => {
            json!({ "policy": { "automatic_from": 0.99, "ask_from": 0.6 },
                    "rules": [{ "connection_id": known.connection, "protected": true }] })
        }
        "post" if at("/dcl/query") => json!({ "sql": "SELECT * FROM accounts" }),
        "post" if at("/users") => {
            json!({ "email": "helper@other.example", "password": "correct-horse-battery", "role": "viewer" })
        }
        "post" if at("/api-keys") => json!({ "name": "mine", "role": "viewer" }),
        "post" if at("/auth/password") => {
            json!({ "current_password": "wrong", "new_password": "correct-horse-battery" })
        }
        "post" if at("/skip") => json!({ "tenant_id": known.user }),
        _ => json!({}),
    }
}

fn assert_silent(answer: &Answer, known: &Known, what: &str, sent: &[String]) {
    let said = String::from_utf8_lossy(&answer.bytes).to_lowercase();
    assert!(!answer.status.is_server_error(), "{what}: {} {said}", answer.status);
    assert!(!said.contains(SECRET), "`{what}` tells what only the first tenant knows: {said}");
    for id in &known.ids {
        // An error may repeat the id it was asked for; nothing may name another one.
        assert!(sent.contains(id) || !said.contains(id.as_str()), "`{what}` tells `{id}`: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_sees_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let roots = folder.path().join("roots");
    let server = Start::serve(&folder.path().join("data"))
        .with("AOS_FILE_ROOTS", format!("{}/{{tenant}}", roots.display()))
        .run()
        .expect("the server starts");
    nothing_is_seen_or_changed(&[&server.url], &roots).await;
}

/// Requests go to either node, and one passes to the other what it does not keep.
#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_sees_and_changes_nothing_on_several_nodes() {
    let cluster = Cluster::start();
    let roles = "gateway,worker,projector";
    let (one, two) = (cluster.node("one", roles), cluster.node("two", roles));
    nothing_is_seen_or_changed(&[&one.url, &two.url], &cluster.tenants()).await;
}

async fn nothing_is_seen_or_changed(urls: &[&str], roots: &Path) {
    let registered = async |organization: &str, email: &str| {
        let client = Client::registered(urls[0], organization, email).await;
        if urls.len() > 1 { client.spread(urls) } else { client }
    };
    // The first organisation's owner is the operator: neither of the two is.
    registered("Operators", "owner@operators.example").await;
    let mut other = registered("Other", "owner@other.example").await;
    let client = registered(&format!("{SECRET} Inc"), &format!("owner@{SECRET}.example")).await;
    let tenant = client.get("/auth/me").await.expect(200)["tenant"]["id"].as_str().expect("an id").to_owned();
    let inbox = roots.join(&tenant);
    std::fs::create_dir_all(&inbox).expect("a folder");
    let known = fill(&client, &inbox).await;
    assert!(known.ids.len() > 20, "the first tenant has something to hide: {:?}", known.ids);
    let before = state(&client).await;

    let document = client.get("/api/openapi.json").await.expect(200);
    let ontology = other.get("/dcl/ontology").await.expect(200);
    let mut called = 0;
    for (path, operations) in document["paths"].as_object().expect("paths") {
        // A stream of events has no end to read to: it has a test of its own below.
        let endless = path.contains("/events/stream") || path.contains("/events/ws");
        // Ends the session, or makes another tenant.
        let session = path.ends_with("/auth/logout") || path.ends_with("/auth/register");
        if endless || session {
            continue;
        }
        for (method, operation) in operations.as_object().expect("operations") {
            let Ok(verb) = Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            let mut filled = path.clone();
            let mut sent =
                vec![known.connection.clone(), known.row.clone(), known.upload.clone(), known.user.clone()];
            let mut names_a_thing = false;
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if parameter["in"] == "path" {
                    let name = parameter["name"].as_str().expect("a name");
                    let value = fitting(&known, path, name);
                    names_a_thing |= name == "id";
                    filled = filled.replace(&format!("{{{name}}}"), &value);
                    sent.push(value);
                }
            }
            for query in [
                String::new(),
                format!(
                    "?connection_id={}&aggregate_id={}&actor={}",
                    known.connection, known.connection, known.user
                ),
                format!("?as_of={0}&from={0}", known.position),
            ] {
                let what = format!("{verb} {filled}{query}");
                let mut request = other.request(verb.clone(), &format!("{filled}{query}"));
                if path.ends_with("/uploads") && method == "post" {
                    request =
                        other.request(verb.clone(), &format!("{filled}?filename=mine.csv")).body("a\n1\n");
                } else if method != "get" && method != "delete" {
                    request = request.json(&body(&known, path, method, &ontology));
                }
                let answer = other.try_send(request).await.expect("an answer");
                assert_silent(&answer, &known, &what, &sent);
                if names_a_thing {
                    let status = answer.status.as_u16();
                    // A parameter it does not take is refused before anything is looked up.
                    let refused = status == 404 || (status == 422 && !query.is_empty());
                    assert!(refused, "`{what}` answered {status}: {}", answer.body);
                }
                called += 1;
            }
        }
    }
    assert!(called > 100, "{called} calls were made");

    // Its stream of events has none of the first tenant's, whatever position it begins at.
    let ids = known.ids.clone();
    other
        .events_until("", |event| {
            let text = event.to_string();
            assert!(!text.to_lowercase().contains(SECRET), "{text}");
            assert!(ids.iter().all(|id| id == &known.upload || !text.contains(id.as_str())), "{text}");
            event["type"] == "UserRegistered" && text.contains("helper@other.example")
        })
        .await;

    // An idempotency key of the first tenant's is another one for the second.
    let keyed = |client: &Client, name: &str| {
        let body = json!({ "name": name, "connector": "file", "config": { "path": known.upload } });
        client.request(Method::POST, "/aam/connections").header("idempotency-key", "same").json(&body)
    };
    let mine = client.try_send(keyed(&client, "keyed")).await.expect("an answer").expect(201);
    let theirs = other.try_send(keyed(&other, "keyed too")).await.expect("an answer");
    assert!(!String::from_utf8_lossy(&theirs.bytes).contains(mine["id"].as_str().expect("an id")));
    assert!(theirs.headers.get("idempotency-replayed").is_none());
    client.delete(&format!("/aam/connections/{}", id_of(&mine))).await;

    // A token signed by nobody, and none at all.
    other.token = other.token.map(|token| format!("{}x", &token[..token.len() - 3]));
    assert_eq!(other.get("/aam/connections").await.status, 401);
    other.token = None;
    assert_eq!(other.get("/aam/connections").await.status, 401);

    let after = state(&client).await;
    for (path, value) in &before {
        let changed_by_itself =
            path.contains("/history") || path.contains("/tasks") || path.ends_with("/connections");
        if !changed_by_itself {
            assert_eq!(value, &after[path], "`{path}` of the first tenant changed");
        }
    }
    let kept = &after["/api/v1/aam/connections"]["data"];
    let named =
        kept.as_array().expect("a list").iter().filter(|item| item["name"] == format!("{SECRET} inbox"));
    assert_eq!(named.count(), 1, "{kept}");
}
