//! Bad input, each kind: a clear refusal with a code, or quarantine; the server stays up and nothing
//! is lost.

use autonomos_tests::{
    client::{Answer, Client},
    server::Start,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{fs, io::Write as _, path::Path};

/// Status and code of a refusal, which must be a problem document.
fn refusal(answer: &Answer) -> (u16, String) {
    let said = String::from_utf8_lossy(&answer.bytes).into_owned();
    let kind = answer.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert_eq!(kind, "application/problem+json", "{} {said}", answer.status);
    let body = &answer.body;
    assert_eq!(body["status"], answer.status.as_u16(), "{said}");
    for field in ["type", "title", "detail", "code", "trace_id"] {
        assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "`{field}` is missing: {said}");
    }
    let code = body["code"].as_str().unwrap_or_default().to_owned();
    assert!(code.starts_with("AOS-") && code.len() == 8, "{said}");
    (answer.status.as_u16(), code)
}

struct Bench {
    client: Client,
    inbox: std::path::PathBuf,
    number: std::cell::Cell<u32>,
}

impl Bench {
    async fn send(&self, method: Method, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.client.request(method, path).header("content-type", kind).body(body);
        self.client.try_send(request).await.expect("an answer")
    }

    async fn refused(&self, method: Method, path: &str, body: Value, expect: (u16, &str)) {
        let answer = self.send(method, path, "application/json", body.to_string()).await;
        let (status, code) = refusal(&answer);
        assert_eq!((status, code.as_str()), expect, "{path} {body}: {}", answer.body);
    }

    /// A file of these bytes, connected; what its test, its discovery and its sync say.
    async fn read(&self, name: &str, bytes: &[u8]) -> (Value, Answer, Option<Value>) {
        self.number.set(self.number.get() + 1);
        let path = self.inbox.join(name);
        fs::write(&path, bytes).expect("writes");
        let connection = self
            .client
            .file_connection(&format!("{} {name}", self.number.get()), &path.display().to_string())
            .await;
        let tested =
            self.client.post(&format!("/aam/connections/{connection}/test"), json!({})).await.expect(200);
        let found = self.client.post(&format!("/aam/connections/{connection}/discover"), json!({})).await;
        let sync = if found.status == 200 { Some(self.client.sync(&connection).await) } else { None };
        (tested, found, sync)
    }

    /// The file is refused with a code, wherever it was found out; the server goes on.
    async fn unreadable(&self, name: &str, bytes: &[u8]) {
        let (tested, found, sync) = self.read(name, bytes).await;
        if found.status == 200 {
            let sync = sync.expect("it was tried");
            let failed = sync["status"] == "failed"
                && sync["error"]["code"].as_str().is_some_and(|code| code.starts_with("AOS-"));
            let empty = sync["status"] == "succeeded" && sync["streams"][0]["rows_canonical"] == 0;
            let rejected = sync["streams"][0]["rows_rejected"].as_u64().unwrap_or_default() > 0;
            assert!(failed || empty || rejected, "{name}: {tested} {sync}");
        } else {
            let (status, _) = refusal(&found);
            assert!((400..=502).contains(&status) && status != 500, "{name}: {}", found.body);
        }
        self.alive().await;
    }

    async fn alive(&self) {
        assert_eq!(self.client.get("/healthz").await.status, 200);
        self.client.get("/auth/me").await.expect(200);
    }
}

async fn bench(folder: &Path) -> (autonomos_tests::server::Server, Bench) {
    let inbox = folder.join("inbox");
    fs::create_dir_all(&inbox).expect("a folder");
    let server = Start::serve(&folder.join("data"))
        .with("AOS_FILE_ROOTS", inbox.display().to_string())
        .with("AOS_UPLOAD_MAX_BYTES", "1000000")
        .run()
        .expect("the server starts");
    let client = Client::registered(&server.url, "Careful", "owner@careful.example").await;
    (server, Bench { client, inbox, number: std::cell::Cell::new(0) })
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_wrong_are_refused_with_a_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_server, bench) = bench(folder.path()).await;
    let (post, put) = (Method::POST, Method::PUT);
    let connections = "/aam/connections";
    let nobody = "0190b0a0-0000-7000-8000-000000000000";

    for (kind, body, expect) in [
        ("application/json", "{", (400, "AOS-0506")),
        ("application/json", "", (400, "AOS-0506")),
        ("application/json", "{\"name\": \"a\"} trailing", (400, "AOS-0506")),
        ("application/json", "{\"name\": 5}", (422, "AOS-0501")),
        ("application/json", "[]", (422, "AOS-0501")),
        ("text/plain", "{}", (415, "AOS-0507")),
        ("application/json", "\u{0}\u{1}", (400, "AOS-0506")),
    ] {
        let answer = bench.send(post.clone(), connections, kind, body).await;
        let (status, code) = refusal(&answer);
        assert_eq!((status, code.as_str()), expect, "{body:?}: {}", answer.body);
    }
    let answer = bench.send(post.clone(), connections, "application/json", vec![0xff, 0xfe, b'{']).await;
    assert_eq!(refusal(&answer).0, 400, "{}", answer.body);
    let deep = "[".repeat(100_000);
    assert_eq!(refusal(&bench.send(post.clone(), connections, "application/json", deep).await).0, 400);
    let huge = format!("{{\"name\": \"{}\"}}", "x".repeat(5_000_000));
    let answer = bench.send(post.clone(), connections, "application/json", huge).await;
    assert_eq!(refusal(&answer), (413, "AOS-0508".to_owned()));

    let named = |name: &str, connector: &str, config: Value| json!({ "name": name, "connector": connector, "config": config });
    for (body, expect) in [
        (named("a", "fax", json!({})), (422, "AOS-0341")),
        (named("a", "file", json!({})), (422, "AOS-0202")),
        (named("", "file", json!({ "path": "x" })), (422, "AOS-0501")),
        (
            json!({ "name": "a", "connector": "file", "config": { "path": "x" }, "extra": 1 }),
            (422, "AOS-0501"),
        ),
    ] {
        let answer = bench.send(post.clone(), connections, "application/json", body.to_string()).await;
        let (status, code) = refusal(&answer);
        assert_eq!(status, expect.0, "{body}: {}", answer.body);
        assert!(code == expect.1 || code.starts_with("AOS-02"), "{body}: {}", answer.body);
    }
    for path in ["/etc/passwd", "../../etc/passwd", "/etc/*"] {
        let body = named(&format!("out {path}"), "file", json!({ "path": path }));
        let made = bench.client.post(connections, body).await;
        if made.status == 201 {
            let id = made.body["id"].as_str().expect("an id").to_owned();
            let tested = bench.client.post(&format!("{connections}/{id}/test"), json!({})).await.expect(200);
            assert_eq!(tested["ok"], false, "{path}: {tested}");
            let found = bench.client.post(&format!("{connections}/{id}/discover"), json!({})).await;
            assert!(refusal(&found).0 < 500 || found.status == 502, "{path}: {}", found.body);
            assert!(!found.body.to_string().contains("root:"), "{path}: {}", found.body);
        } else {
            assert!(refusal(&made).0 < 500, "{path}: {}", made.body);
        }
    }

    for (path, expect) in [
        ("/aam/syncs?limit=0", (422, "AOS-0501")),
        ("/aam/syncs?limit=1001", (422, "AOS-0501")),
        ("/aam/syncs?limit=many", (422, "AOS-0501")),
        ("/aam/syncs?status=asleep", (422, "AOS-0501")),
        ("/aam/syncs?connection_id=1", (422, "AOS-0501")),
        ("/aam/syncs?cursor=nonsense", (422, "AOS-0412")),
        ("/aam/syncs?min_position=nonsense", (422, "AOS-0130")),
        ("/aam/syncs/not-an-id", (404, "AOS-0504")),
        ("/dcl/views/accounts?as_of=yesterday", (422, "AOS-0130")),
        ("/dcl/views/accounts?colour=red", (422, "AOS-0501")),
        ("/dcl/views/spaceships", (404, "AOS-0409")),
        ("/dcl/views/accounts/export?format=docx", (422, "AOS-0501")),
        ("/events/stream?from=nonsense", (422, "AOS-0130")),
        ("/no/such/path", (404, "AOS-0516")),
    ] {
        let answer = bench.client.get(path).await;
        let (status, code) = refusal(&answer);
        assert_eq!((status, code.as_str()), expect, "{path}: {}", answer.body);
    }
    let long = format!("/aam/syncs?cursor={}", "a".repeat(20_000));
    assert_eq!(refusal(&bench.client.get(&long).await), (414, "AOS-0514".to_owned()));
    for (kind, id) in [
        ("connections", nobody),
        ("syncs", nobody),
        ("drift", nobody),
        ("mappings", nobody),
        ("repairs", nobody),
    ] {
        let answer = bench.client.get(&format!("/aam/{kind}/{id}")).await;
        assert_eq!(refusal(&answer).0, 404, "{kind}");
    }
    assert_eq!(
        refusal(&bench.send(Method::DELETE, "/auth/me", "application/json", "").await),
        (405, "AOS-0517".to_owned())
    );
    bench
        .refused(put, "/aam/policy", json!({ "automatic_from": 0.2, "ask_from": 0.1 }), (422, "AOS-0001"))
        .await;
    bench
        .refused(
            post.clone(),
            "/tasks",
            json!({ "action": "format_disk", "payload": { "connection_id": nobody } }),
            (422, "AOS-0501"),
        )
        .await;
    for sql in [
        "DROP TABLE accounts",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT 1; SELECT 2",
        "PRAGMA version",
        "nonsense",
    ] {
        let answer = bench
            .send(post.clone(), "/dcl/query", "application/json", json!({ "sql": sql }).to_string())
            .await;
        let (status, code) = refusal(&answer);
        assert!(status == 422 && ["AOS-0413", "AOS-0414"].contains(&code.as_str()), "{sql}: {}", answer.body);
    }

    // The same key: the same answer again; another body: refused.
    let keyed = async |body: Value| {
        let request = bench
            .client
            .request(Method::POST, "/aam/connections")
            .header("idempotency-key", "k1")
            .json(&body);
        bench.client.try_send(request).await.expect("an answer")
    };
    let inside = bench.inbox.join("a.csv").display().to_string();
    let one = keyed(named("keyed", "file", json!({ "path": inside }))).await;
    let two = keyed(named("keyed", "file", json!({ "path": inside }))).await;
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (201, 201), "{}", two.body);
    assert_eq!(one.body, two.body);
    assert_eq!(two.headers["idempotency-replayed"], "true");
    let three = keyed(named("other", "file", json!({ "path": inside }))).await;
    assert_eq!(refusal(&three), (422, "AOS-0301".to_owned()));
    assert!(one.headers.contains_key("ratelimit-limit") && one.headers.contains_key("ratelimit-remaining"));

    // An answer that carries a secret is not given again, and no second key is made either.
    let api_key = async |name: &str| {
        let request = bench.client.request(Method::POST, "/api-keys").header("idempotency-key", "k3");
        let body = json!({ "name": name, "role": "viewer" });
        bench.client.try_send(request.json(&body)).await.expect("an answer")
    };
    let (first, again, other) = (api_key("ci").await, api_key("ci").await, api_key("cd").await);
    assert_eq!(first.status, 201, "{}", first.body);
    assert_eq!(refusal(&again), (409, "AOS-0306".to_owned()));
    assert_eq!(refusal(&other), (422, "AOS-0301".to_owned()));
    let shown = first.position().expect("a position");
    let keys = bench.client.get(&format!("/api-keys?min_position={shown}")).await.expect(200);
    assert_eq!(keys["data"].as_array().map(Vec::len), Some(1), "{keys}");

    let file = async |content: &'static str| {
        let request =
            bench.client.request(Method::POST, "/uploads?filename=keyed.csv").header("idempotency-key", "k2");
        bench.client.try_send(request.body(content)).await.expect("an answer")
    };
    let (first, again, other) = (file("a\n1\n").await, file("a\n1\n").await, file("a\n2\n").await);
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201), "{}", again.body);
    assert_eq!(first.body["id"], again.body["id"]);
    assert_eq!(refusal(&other), (422, "AOS-0301".to_owned()));
    let upload = first.body["id"].as_str().expect("an id");
    assert_eq!(bench.client.delete(&format!("/uploads/{upload}")).await.status, 204);

    // A file that is more than an upload may be, announced or not; a name that is a path.
    let large = vec![b'x'; 1_500_000];
    let answer =
        bench.send(post.clone(), "/uploads?filename=a.csv", "application/octet-stream", large.clone()).await;
    assert_eq!(refusal(&answer), (413, "AOS-0330".to_owned()));
    let chunks = futures::stream::iter(
        large.chunks(100_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>(),
    );
    let answer = bench
        .send(
            post.clone(),
            "/uploads?filename=a.csv",
            "application/octet-stream",
            reqwest::Body::wrap_stream(chunks),
        )
        .await;
    assert_eq!(refusal(&answer), (413, "AOS-0330".to_owned()));
    for name in ["..%2F..%2Fetc%2Fpasswd", "", "a%00b.csv"] {
        let answer = bench
            .send(post.clone(), &format!("/uploads?filename={name}"), "application/octet-stream", "a\n1\n")
            .await;
        assert_eq!(refusal(&answer).0, 422, "{name}: {}", answer.body);
    }
    assert_eq!(refusal(&bench.send(post, "/uploads", "application/octet-stream", "a\n1\n").await).0, 422);
    assert_eq!(bench.client.get("/uploads").await.expect(200)["data"], json!([]));
    bench.alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_wrong_are_refused_or_put_into_quarantine() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_server, bench) = bench(folder.path()).await;

    bench.unreadable("empty.csv", b"").await;
    bench.unreadable("picture.csv", &[0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0]).await;
    bench.unreadable("not.parquet", b"PAR1 but not really").await;
    bench.unreadable("not.xlsx", b"PK\x03\x04 but not really").await;
    bench.unreadable("cut.csv.gz", &[0x1f, 0x8b, 0x08, 0, 0, 0]).await;
    bench.unreadable("broken.json", b"{\"a\": [1, 2").await;

    // Mostly zeros: it would unpack to two gigabytes.
    let mut packed = flate2_bomb();
    bench.unreadable("bomb.csv.gz", &packed).await;
    packed.clear();

    // One cell of 100 MB.
    let mut cell = b"id,note\n1,\"".to_vec();
    cell.resize(cell.len() + 100_000_000, b'x');
    cell.extend_from_slice(b"\"\n2,short\n");
    bench.unreadable("cell.csv", &cell).await;
    drop(cell);

    // Ten thousand columns: read, or refused by name; both are clear.
    let header: Vec<String> = (0..10_000).map(|column| format!("c{column}")).collect();
    let row: Vec<String> = (0..10_000).map(|column| column.to_string()).collect();
    let wide = format!("{}\n{}\n", header.join(","), row.join(","));
    let (_, found, sync) = bench.read("wide.csv", wide.as_bytes()).await;
    if found.status == 200 {
        let sync = sync.expect("it was tried");
        assert!(sync["status"] == "succeeded" || sync["error"]["code"].is_string(), "{sync}");
    } else {
        refusal(&found);
    }
    bench.alive().await;

    // Bytes that are no UTF-8 in one row of three: the other two are there.
    let mut mixed = b"account_id,name,domain,city\n".to_vec();
    for row in 0..50 {
        let _ = writeln!(mixed, "A{row},Company {row} Ltd,company{row}.example.com,Oslo");
    }
    mixed.extend_from_slice(b"A98,\xff\xfe\xc3\x28 Ltd,odd.example.com,Oslo\n");
    mixed.extend_from_slice(b"A99,Ragged,too,many,columns,here\n");
    let (_, found, sync) = bench.read("mixed.csv", &mixed).await;
    assert_eq!(found.status, 200, "{}", found.body);
    let sync = sync.expect("it was tried");
    assert_eq!(sync["status"], "succeeded", "{sync}");
    let stream = &sync["streams"][0];
    assert!(stream["rows_read"].as_u64().unwrap_or_default() >= 50, "{sync}");
    bench.alive().await;
}

/// A gzip file of zeros, made by hand: stored blocks compress nothing, so this one is deflated by
/// a run of back references.
fn flate2_bomb() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![b'0'; 1 << 20];
    for _ in 0..512 {
        encoder.write_all(&zeros).expect("compresses");
    }
    encoder.finish().expect("compresses")
}
