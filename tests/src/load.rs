//! Clients that keep commands in flight at several gateways while things break, and the list of what
//! they were told was done. A client repeats a command, under the same idempotency key, at one
//! gateway after the other until one acknowledges it: as a load balancer's clients do. So in the end
//! everything that was asked for was acknowledged, and the log must have each of it exactly once.

use crate::client::{Answer, Client};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// After this a command that is not acknowledged is a hang.
pub const LIMIT: Duration = Duration::from_mins(3);
/// How long a client waits for one answer before it asks elsewhere.
const ANSWER: Duration = Duration::from_secs(8);
const AGAIN: Duration = Duration::from_millis(40);
/// How long a name may stay held in vain, and some more.
const HELD: Duration = Duration::from_secs(80);
/// How long a client thinks between two commands.
const PAUSE: Duration = Duration::from_millis(150);

/// What was acknowledged.
#[derive(Default)]
pub struct Ledger {
    /// Of each connection made, its names in their order.
    pub names: Mutex<BTreeMap<String, Vec<String>>>,
    /// Answers that were none: how often which.
    refused: Mutex<BTreeMap<String, usize>>,
    /// What no fault explains.
    unexpected: Mutex<Vec<String>>,
    acknowledged: AtomicUsize,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// Commands acknowledged so far.
    pub fn count(&self) -> usize {
        self.acknowledged.load(Ordering::Acquire)
    }

    fn created(&self, id: &str, name: &str) {
        let before = locked(&self.names).insert(id.to_owned(), vec![name.to_owned()]);
        if let Some(before) = before {
            self.wonder(format!("connection {id} was made twice: `{before:?}`, `{name}`"));
        }
        self.acknowledged.fetch_add(1, Ordering::AcqRel);
    }

    fn renamed(&self, id: &str, name: &str) {
        if let Some(names) = locked(&self.names).get_mut(id) {
            names.push(name.to_owned());
        }
        self.acknowledged.fetch_add(1, Ordering::AcqRel);
    }

    fn wonder(&self, what: String) {
        println!("unexpected: {what}");
        locked(&self.unexpected).push(what);
    }
}

/// The gateways as one caller sees them.
#[derive(Clone)]
pub struct Caller {
    pub gateways: Vec<Client>,
    pub ledger: Arc<Ledger>,
    file: String,
}

impl Caller {
    /// `token` is good at every gateway; connections are made to `file`.
    pub fn new(urls: &[String], token: &str, file: &str) -> Self {
        autonomos_objects::provider_install();
        let http = reqwest::Client::builder().timeout(ANSWER).connect_timeout(Duration::from_secs(2));
        let http = http.build().expect("a client");
        let gateway =
            |url: &String| Client { http: http.clone(), token: Some(token.to_owned()), ..Client::new(url) };
        Self { gateways: urls.iter().map(gateway).collect(), ledger: Arc::default(), file: file.to_owned() }
    }

    async fn attempt(&self, gateway: usize, command: &Command<'_>) -> Option<Answer> {
        let client = &self.gateways[gateway];
        let request = client.request(command.method.clone(), command.path).json(&command.body);
        let answer = client.try_send(request.header("idempotency-key", command.key)).await;
        let what = match &answer {
            Some(answer) if answer.status.is_success() => return Some(answer.clone()),
            Some(answer) => {
                format!("{} {}", answer.status.as_u16(), answer.body["code"].as_str().unwrap_or(""))
            }
            None => "no answer".to_owned(),
        };
        *locked(&self.ledger.refused).entry(what).or_default() += 1;
        answer.filter(|answer| !answer.status.is_server_error() && answer.status != 429)
    }

    /// Sends a command until it is acknowledged, to `turn`'s gateways in turn. None: it was refused
    /// for good, or never answered, and the ledger knows.
    async fn command(&self, command: &Command<'_>, turn: &[usize]) -> Option<Answer> {
        let began = Instant::now();
        for gateway in turn.iter().cycle() {
            match self.attempt(*gateway, command).await {
                Some(answer) if answer.status.is_success() => return Some(answer),
                Some(answer) => {
                    let said = String::from_utf8_lossy(&answer.bytes).into_owned();
                    self.ledger.wonder(format!("{} {} at {gateway}: {said}", command.method, command.body));
                    return None;
                }
                None if began.elapsed() > LIMIT => {
                    self.ledger.wonder(format!("{} {} is not answered", command.method, command.body));
                    return None;
                }
                None => tokio::time::sleep(AGAIN).await,
            }
        }
        None
    }

    /// Makes a connection; its id and where that stands.
    pub async fn create(&self, name: &str, turn: &[usize], at_once: bool) -> Option<(String, String)> {
        let body = json!({ "name": name, "connector": "file", "config": { "path": self.file } });
        let key = format!("create {name}");
        let command = Command { method: Method::POST, path: "/aam/connections", body, key: &key };
        if at_once {
            // Delivered twice at the same time: whatever comes of it, it is one command.
            let sent =
                join_all((0..self.gateways.len()).map(|gateway| self.attempt(gateway, &command))).await;
            let made: Vec<&Value> = sent
                .iter()
                .flatten()
                .filter(|answer| answer.status == 201)
                .map(|answer| &answer.body["id"])
                .collect();
            if made.windows(2).any(|pair| pair[0] != pair[1]) {
                self.ledger.wonder(format!("`{name}` was made as {made:?}"));
            }
        }
        let answer = self.command(&command, turn).await?;
        let id = answer.body["id"].as_str().unwrap_or_default().to_owned();
        self.ledger.created(&id, name);
        Some((id, answer.position().unwrap_or_default()))
    }

    async fn rename(&self, id: &str, name: &str, turn: &[usize]) -> Option<()> {
        let path = format!("/aam/connections/{id}");
        let key = format!("rename {id} {name}");
        let command =
            Command { method: Method::PATCH, path: &path, body: json!({ "name": name }), key: &key };
        self.command(&command, turn).await?;
        self.ledger.renamed(id, name);
        Some(())
    }

    /// The same command once more, long after it was acknowledged, at another gateway first.
    async fn rename_again(&self, id: &str, name: &str, turn: &[usize]) {
        let path = format!("/aam/connections/{id}");
        let key = format!("rename {id} {name}");
        let command =
            Command { method: Method::PATCH, path: &path, body: json!({ "name": name }), key: &key };
        self.command(&command, turn).await;
    }
}

/// All rows of a list that shows a position.
pub async fn list(client: &Client, path: &str, position: &str) -> Vec<Value> {
    let (mut rows, mut cursor, began) = (Vec::new(), String::new(), Instant::now());
    loop {
        let page = client.get(&format!("{path}?limit=1000&min_position={position}{cursor}")).await;
        if page.status == 503 && began.elapsed() < LIMIT {
            continue;
        }
        let page = page.expect(200);
        rows.extend(page["data"].as_array().expect("a page has data").iter().cloned());
        match page["meta"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

/// A command as it is sent, however often.
struct Command<'a> {
    method: Method,
    path: &'a str,
    body: Value,
    key: &'a str,
}

/// Clients at work.
pub struct Load {
    pub caller: Caller,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts so many clients at each gateway.
    pub fn start(caller: Caller, each: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let gateways = caller.gateways.len();
        let clients = (0..each * gateways)
            .map(|client| tokio::spawn(work(caller.clone(), client, Arc::clone(&stop))))
            .collect();
        Self { caller, stop, clients }
    }

    /// Waits until so many more commands are acknowledged.
    pub async fn flow(&self, more: usize) {
        let (until, began) = (self.caller.ledger.count() + more, Instant::now());
        while self.caller.ledger.count() < until {
            assert!(began.elapsed() < LIMIT, "commands flow");
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Lets every client end with an acknowledged command.
    pub async fn stop(self) -> Caller {
        self.stop.store(true, Ordering::Release);
        for client in self.clients {
            client.await.expect("a client ends");
        }
        self.caller
    }
}

async fn work(caller: Caller, client: usize, stop: Arc<AtomicBool>) {
    let count = caller.gateways.len();
    let home = client % count;
    let turn: Vec<usize> = (0..count).map(|next| (home + next) % count).collect();
    let away: Vec<usize> = turn.iter().rev().copied().collect();
    let mut earlier: Option<(String, String)> = None;
    for number in 0.. {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let name = format!("c{client}-{number}");
        let Some((id, _)) = caller.create(&name, &turn, number % 5 == 0).await else { continue };
        if number % 3 == 0 {
            let (once, again) = (format!("{name}-renamed"), format!("{name}-renamed-again"));
            if caller.rename(&id, &once, &turn).await.is_some() {
                caller.rename(&id, &again, &turn).await;
            }
            if let Some((id, name)) = earlier.replace((id, once)) {
                caller.rename_again(&id, &name, &away).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Caller {
    /// What the log and the lists say, against what was acknowledged. Every client has ended.
    pub async fn check(&self) {
        let (marker, position) = self.create("the last one", &[0], false).await.expect("it is made");
        let mut made: HashMap<String, Vec<String>> = HashMap::new();
        let patient = |client: &Client| client.at(&client.url);
        patient(&self.gateways[1])
            .events_until("", |event| {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                if ["ConnectionCreated", "ConnectionUpdated"]
                    .contains(&event["type"].as_str().unwrap_or_default())
                {
                    made.entry(text(&event["aggregate_id"]))
                        .or_default()
                        .push(text(&event["payload"]["name"]));
                }
                event["aggregate_id"] == *marker
            })
            .await;
        let names = locked(&self.ledger.names).clone();
        for (id, acknowledged) in &names {
            let logged = made.remove(id).unwrap_or_default();
            if logged != *acknowledged {
                self.ledger.wonder(format!("{id}: acknowledged {acknowledged:?}, in the log {logged:?}"));
            }
        }
        for (id, logged) in made {
            self.ledger.wonder(format!("{id}: nobody was told of {logged:?}"));
        }
        let expected: BTreeMap<&str, &str> =
            names.iter().map(|(id, names)| (id.as_str(), names.last().map_or("", String::as_str))).collect();
        for client in &self.gateways {
            let rows = list(&patient(client), "/aam/connections", &position).await;
            let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
            let shown: BTreeMap<String, String> =
                rows.iter().map(|row| (text(row, "id"), text(row, "name"))).collect();
            assert_eq!(rows.len(), shown.len(), "a list shows each once");
            let shown: BTreeMap<&str, &str> =
                shown.iter().map(|(id, name)| (id.as_str(), name.as_str())).collect();
            assert!(shown == expected, "a list shows what was acknowledged");
        }
        self.names_check(&names).await;
        let unexpected = locked(&self.ledger.unexpected).clone();
        assert!(
            unexpected.is_empty(),
            "{} of them: {:#?}",
            unexpected.len(),
            &unexpected[..unexpected.len().min(20)]
        );
    }

    /// A name that a connection had is free, one that it has is taken: of some of them.
    async fn names_check(&self, names: &BTreeMap<String, Vec<String>>) {
        let renamed: Vec<&Vec<String>> = names.values().filter(|names| names.len() > 1).collect();
        let step = renamed.len().div_ceil(60).max(1);
        for (number, names) in renamed.iter().step_by(step).enumerate() {
            let client = &self.gateways[number % self.gateways.len()];
            for (name, status) in names.iter().zip(std::iter::repeat_n(201, names.len() - 1).chain([409])) {
                let body = json!({ "name": name, "connector": "file", "config": { "path": self.file } });
                let began = Instant::now();
                let answer = loop {
                    let answer = client.post("/aam/connections", body.clone()).await;
                    // A name that was held in vain is free after a minute at the latest.
                    if status == answer.status.as_u16() || status == 409 || began.elapsed() > HELD {
                        break answer;
                    }
                    tokio::time::sleep(AGAIN * 10).await;
                };
                if answer.status != status {
                    self.ledger.wonder(format!("of {names:?}, `{name}`: {}", answer.status));
                }
            }
        }
    }

    /// How often commands were not acknowledged at once, by what was answered.
    pub fn refusals(&self) -> Vec<(String, usize)> {
        locked(&self.ledger.refused).iter().map(|(what, count)| (what.clone(), *count)).collect()
    }
}
