//! Real PostgREST servers for tests, each over a database of its own on the tests' Postgres, and a gateway
//! before them as a hosted project has one. A missing server fails the test.
//!
//! As in a hosted project, three roles come in: `authenticator`, who is nobody but by a token, `anon`, and
//! `service_role`, from whom row-level security hides nothing; and what alters a table tells PostgREST.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use autonomos_log::postgres_server::Postgres;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use jsonwebtoken::{EncodingKey, Header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// What tokens are signed with.
const SECRET: &str = "a secret of the tests that is long enough";
/// What the tests' gateway takes for the service role, as a hosted project does.
pub const SECRET_KEY: &str = "sb_secret_tests-only-hunter2";

/// Runs as a hosted project's: whoever alters a table tells PostgREST.
const SETUP: &str = "
CREATE FUNCTION aos_watch() RETURNS event_trigger LANGUAGE plpgsql AS
  $$ BEGIN NOTIFY pgrst, 'reload schema'; END $$;
CREATE EVENT TRIGGER aos_watch ON ddl_command_end EXECUTE FUNCTION aos_watch();
GRANT USAGE ON SCHEMA public TO anon, service_role";

/// A token of a role, with these claims beside.
pub fn token(role: &str, claims: &Value) -> String {
    let mut all = claims.clone();
    all["role"] = json!(role);
    jsonwebtoken::encode(&Header::default(), &all, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// One PostgREST and its database.
pub struct Postgrest {
    pub postgres: Arc<Postgres>,
    pub database: String,
    pub port: u16,
    folder: PathBuf,
    child: Mutex<Option<Child>>,
}

/// Where `scripts/setup.sh` puts the program.
fn installed() -> PathBuf {
    let folder = |name: &str| std::env::var(name).ok().map(PathBuf::from);
    let home = || folder("HOME").expect("`HOME` is set").join(".cache/autonomos");
    let program = folder("AOS_CACHE_DIR").unwrap_or_else(home).join("postgrest-12.0.2/postgrest");
    assert!(program.exists(), "`{}` is missing: run scripts/setup.sh", program.display());
    program
}

impl Postgrest {
    /// Over what `sql` makes, run as the tables' owner; no page has more than `most` rows, whatever is asked.
    pub fn start(postgres: Arc<Postgres>, sql: &str, most: u32) -> Self {
        let database = postgres.database().rsplit('/').next().unwrap().to_owned();
        // Roles are the whole server's: another test may have made them.
        for role in
            ["anon NOLOGIN", "service_role NOLOGIN BYPASSRLS", "authenticator LOGIN NOINHERIT PASSWORD 'x'"]
        {
            let _ = postgres.execute("postgres", &format!("CREATE ROLE {role}"));
        }
        // Where two tests grant at once, one of them finds it done.
        while postgres.execute("postgres", "GRANT anon, service_role TO authenticator").is_err() {
            std::thread::yield_now();
        }
        postgres.execute(&database, SETUP).unwrap();
        let rights = format!(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {database} GRANT SELECT ON TABLES TO anon, service_role"
        );
        postgres.execute(&database, &rights).unwrap();
        let folder = std::env::temp_dir().join(format!("aos-postgrest-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { postgres, database, port, folder, child: Mutex::new(None) };
        server.run(sql);
        server.spawn(most);
        server.wait_ready();
        server
    }

    fn spawn(&self, most: u32) {
        let log = std::fs::File::create(self.folder.join("server.log")).unwrap();
        let (port, database) = (self.postgres.port, &self.database);
        let child = Command::new(installed())
            .env_clear()
            .env("PGRST_DB_URI", format!("postgres://authenticator:x@127.0.0.1:{port}/{database}"))
            .env("PGRST_DB_SCHEMAS", "public,sales")
            .env("PGRST_DB_ANON_ROLE", "anon")
            .env("PGRST_DB_MAX_ROWS", most.to_string())
            .env("PGRST_DB_POOL", "4")
            .env("PGRST_JWT_SECRET", SECRET)
            .env("PGRST_SERVER_HOST", "127.0.0.1")
            .env("PGRST_SERVER_PORT", self.port.to_string())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        *self.child.lock() = Some(child);
    }

    fn wait_ready(&self) {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let log = std::fs::read_to_string(self.folder.join("server.log")).unwrap();
            if log.contains("Schema cache loaded") && log.contains("Listening on port") {
                return;
            }
            assert!(Instant::now() < deadline, "PostgREST does not get ready:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs statements as the tables' owner.
    #[track_caller]
    pub fn run(&self, sql: &str) {
        let sql = format!("SET ROLE {}; {sql}", self.database);
        self.postgres.execute(&self.database, &sql).unwrap();
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A connection's configuration, as the service role.
    pub fn config(&self) -> Value {
        self.config_with(&self.url(), &token("service_role", &json!({})))
    }

    pub fn config_with(&self, url: &str, key: &str) -> Value {
        json!({ "access": { "kind": "rest", "url": url, "api_key": key } })
    }

    /// The same tables by the database itself.
    pub fn direct(&self) -> Value {
        let database = &self.database;
        json!({ "access": {
            "kind": "database", "host": "127.0.0.1", "port": self.postgres.port, "database": database,
            "user": database, "password": format!("p-{database}"), "ssl_mode": "disable",
        }})
    }
}

impl Drop for Postgrest {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        // What is left behind is in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What stands before a hosted project's PostgREST: it is under `/rest/v1`, takes keys that are no tokens in
/// `apikey` alone, and may refuse requests.
pub struct Gateway {
    pub url: String,
    state: Arc<Passage>,
    server: tokio::task::JoinHandle<()>,
}

struct Passage {
    behind: String,
    client: reqwest::Client,
    /// Answered in place of the next requests for rows, and what is told with them.
    refusals: Mutex<Vec<(u16, Option<u64>)>>,
    /// The addresses asked for.
    asked: Mutex<Vec<String>>,
}

impl Gateway {
    pub async fn before(postgrest: &Postgrest) -> Self {
        let state = Arc::new(Passage {
            behind: postgrest.url(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            refusals: Mutex::default(),
            asked: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(Arc::clone(&state));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, state, server }
    }

    /// Refuses the next requests for rows with these statuses and, where given, seconds to wait.
    pub fn refuse(&self, refusals: &[(u16, Option<u64>)]) {
        let mut refusals = refusals.to_vec();
        refusals.reverse();
        *self.state.refusals.lock() = refusals;
    }

    pub fn left(&self) -> usize {
        self.state.refusals.lock().len()
    }

    pub fn asked(&self) -> Vec<String> {
        self.state.asked.lock().clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pass(State(state): State<Arc<Passage>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let refuse = |status: u16, message: &str| {
        (StatusCode::from_u16(status).unwrap(), axum::Json(json!({ "message": message }))).into_response()
    };
    let Some(rest) = uri.path_and_query().and_then(|path| path.as_str().strip_prefix("/rest/v1")) else {
        return refuse(404, "no Route matched with those values");
    };
    state.asked.lock().push(rest.to_owned());
    if headers.get("apikey").and_then(|key| key.to_str().ok()) != Some(SECRET_KEY) {
        return refuse(401, "Invalid API key");
    }
    if headers.contains_key("authorization") {
        let said = json!({ "code": "PGRST301", "message": "Expected 3 parts in JWT; got 1" });
        return (StatusCode::UNAUTHORIZED, axum::Json(said)).into_response();
    }
    let refusal = if rest == "/" { None } else { state.refusals.lock().pop() };
    if let Some((status, wait)) = refusal {
        let mut response = refuse(status, "not now");
        if let Some(wait) = wait {
            response.headers_mut().insert("retry-after", wait.into());
        }
        return response;
    }
    let mut request = state
        .client
        .request(method, format!("{}{rest}", state.behind))
        .bearer_auth(token("service_role", &json!({})));
    for name in ["accept", "accept-profile", "prefer"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value);
        }
    }
    let answer = request.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for name in ["content-type", "content-range"] {
        if let Some(value) = answer.headers().get(name) {
            response = response.header(name, value);
        }
    }
    let body: Bytes = answer.bytes().await.unwrap();
    response.body(Body::from(body)).unwrap()
}
