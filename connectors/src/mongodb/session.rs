//! A guarded client of one server.
//!
//! The driver would look for the other members of a replica set by itself, wherever the server it is sent
//! to says they are. So it is not let: this looks for the member that is written to, asks the guard of
//! addresses about each host before anything is sent there, and gives the driver a direct connection. An
//! election ends a read; the next one finds the new member, and goes on from its cursor.

use super::{
    config::{self, MongoConfig, Seeds, TlsMode},
    error,
};
use crate::{error::ConnectorError, network::NetworkScope};
use mongodb::{
    Client, Collection, Database,
    bson::{Document, RawDocumentBuf, Timestamp, doc},
    options::{ClientOptions, Credential, ReadConcern, ServerAddress, Tls, TlsOptions},
};
use std::{collections::BTreeSet, io::Write, net::SocketAddr, time::Duration};

/// A server that does not answer in this time counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Members that are asked who is written to.
const MAX_ASKED: usize = 20;

pub(super) struct Session {
    pub(super) database: Database,
    /// The name of the replica set; none for a server that is alone, which keeps no changes.
    pub(super) set: Option<String>,
    /// A router of a sharded cluster.
    pub(super) router: bool,
}

/// What a server says of itself.
struct Hello {
    writable: bool,
    router: bool,
    set: Option<String>,
    /// The member that is written to first.
    members: Vec<String>,
}

impl Session {
    pub(super) async fn open(config: &MongoConfig, network: NetworkScope) -> Result<Self, ConnectorError> {
        let mut waiting: Vec<(String, u16)> = match config.seeds()? {
            Seeds::Hosts(hosts) => hosts,
            Seeds::Service(name) => service(&name).await?,
        };
        // In the order they are to be asked: the last one first.
        waiting.reverse();
        let mut asked = BTreeSet::new();
        let mut last = None;
        while let Some((host, port)) = waiting.pop() {
            if asked.len() >= MAX_ASKED || !asked.insert((host.clone(), port)) {
                continue;
            }
            // Before anything is sent: a host that must not be reached ends it.
            let addresses = network.resolve(&host, port, "/uri").await;
            let addresses = match addresses {
                Ok(addresses) => addresses,
                Err(cause @ ConnectorError::Transient { .. }) => {
                    last = Some(cause);
                    continue;
                }
                Err(refused) => return Err(refused),
            };
            let client = match connect(config, &host, &addresses).await {
                Ok(client) => client,
                Err(cause @ ConnectorError::Transient { .. }) => {
                    last = Some(cause);
                    continue;
                }
                Err(other) => return Err(other),
            };
            let (client, hello) = client;
            if hello.writable || hello.router {
                let database = client.database(config.database.trim());
                return Ok(Self { database, set: hello.set, router: hello.router });
            }
            last = Some(error::unreachable(&host, "it is no member that is written to, and knows none"));
            // The member that is written to is asked next.
            waiting.extend(hello.members.iter().rev().filter_map(|member| config::host(member)));
        }
        Err(last.unwrap_or_else(|| error::configuration("/uri", "the connection string names no host")))
    }

    /// Whether the server keeps changes that can be followed.
    pub(super) const fn keeps_changes(&self) -> bool {
        self.set.is_some() || self.router
    }

    pub(super) fn collection(&self, name: &str) -> Collection<RawDocumentBuf> {
        self.database.collection(name)
    }

    pub(super) async fn run(&self, command: Document) -> Result<Document, ConnectorError> {
        self.database.run_command(command).await.map_err(|cause| error::server(&cause))
    }

    /// The time of the newest operation that most members have: reads with `majority` have everything
    /// up to there, and a change stream from there on tells the rest.
    pub(super) async fn settled(&self, collection: &str) -> Result<Timestamp, ConnectorError> {
        let look = doc! {
            "find": collection, "limit": 1, "singleBatch": true, "projection": { "_id": 1 },
            "readConcern": { "level": "majority" },
        };
        let answer = self.run(look).await?;
        answer
            .get_timestamp("operationTime")
            .map_err(|_| error::no_changes("the server does not say where it is in its log of changes"))
    }
}

/// The servers of a name, by its SRV records.
async fn service(name: &str) -> Result<Vec<(String, u16)>, ConnectorError> {
    let options = ClientOptions::parse(format!("mongodb+srv://{name}/")).await;
    let options = options.map_err(|cause| error::unreachable(name, cause))?;
    let hosts = options.hosts.into_iter().filter_map(|address| match address {
        ServerAddress::Tcp { host, port } => Some((host, port.unwrap_or(27_017))),
        _ => None,
    });
    Ok(hosts.collect())
}

/// A client of one server, and what the server says of itself.
async fn connect(
    config: &MongoConfig,
    host: &str,
    addresses: &[SocketAddr],
) -> Result<(Client, Hello), ConnectorError> {
    let mut last = None;
    for address in addresses {
        // Only the name tells whose certificate is expected; with it a host that means another address
        // by now has to prove who it is.
        let target = match config.tls {
            TlsMode::VerifyFull => host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            _ => address.ip().to_string(),
        };
        let target = ServerAddress::Tcp { host: target, port: Some(address.port()) };
        let client = client(config, target)?;
        let admin = client.database("admin");
        let answer = admin.run_command(doc! { "hello": 1 });
        match tokio::time::timeout(2 * CONNECT_TIMEOUT, answer.into_future()).await {
            Ok(Ok(answer)) => return Ok((client, hello(&answer))),
            Ok(Err(cause)) => match error::server(&cause) {
                ConnectorError::Transient { .. } => last = Some(error::unreachable(host, cause)),
                other => return Err(other),
            },
            Err(_) => last = Some(error::unreachable(host, "no answer in time")),
        }
    }
    Err(last.unwrap_or_else(|| error::unreachable(host, "it has no address")))
}

fn client(config: &MongoConfig, target: ServerAddress) -> Result<Client, ConnectorError> {
    let mut options = ClientOptions::default();
    options.hosts = vec![target];
    options.direct_connection = Some(true);
    options.app_name = Some("autonomos".to_owned());
    options.connect_timeout = Some(CONNECT_TIMEOUT);
    options.server_selection_timeout = Some(CONNECT_TIMEOUT);
    options.read_concern = Some(ReadConcern::majority());
    options.max_pool_size = Some(8);
    if let Some((user, source)) = config.credential()? {
        let mut credential = Credential::default();
        credential.username = Some(user);
        credential.password = Some(config.password.clone());
        credential.source = Some(source);
        options.credential = Some(credential);
    }
    // The driver reads certificates from files; this one is gone once it has.
    let mut file = None;
    options.tls = Some(match config.tls {
        TlsMode::Disable => Tls::Disabled,
        TlsMode::Require => {
            let mut tls = TlsOptions::default();
            tls.allow_invalid_certificates = Some(true);
            Tls::Enabled(tls)
        }
        TlsMode::VerifyFull => {
            let mut tls = TlsOptions::default();
            if let Some(pem) = config.certificate() {
                let written = written(&pem).map_err(|cause| {
                    error::transient(format!("the certificate could not be handed over: {cause}"))
                })?;
                tls.ca_file_path = Some(written.path().to_owned());
                file = Some(written);
            }
            Tls::Enabled(tls)
        }
    });
    let client = Client::with_options(options).map_err(|cause| error::server(&cause));
    drop(file);
    client
}

fn written(pem: &str) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(pem.as_bytes())?;
    file.flush()?;
    Ok(file)
}

fn hello(answer: &Document) -> Hello {
    let yes = |name: &str| answer.get_bool(name).unwrap_or(false);
    let text = |name: &str| answer.get_str(name).ok().map(str::to_owned);
    let known = answer.get_array("hosts").into_iter().flatten();
    let known = known.filter_map(|host| host.as_str().map(str::to_owned));
    Hello {
        writable: yes("isWritablePrimary") || yes("ismaster"),
        router: text("msg").as_deref() == Some("isdbgrid"),
        set: text("setName"),
        members: text("primary").into_iter().chain(known).collect(),
    }
}
