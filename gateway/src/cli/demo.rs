//! `autonomos demo`: a server with a tenant whose three sources are connected and synced, one of
//! them drifted and repaired.

use super::{Serving, output, serve::serve};
use crate::{
    config::{Config, Mode},
    demo::{Edition, World, truth, write},
    error::GatewayError,
    http::state::App,
};
use autonomos_commands::{
    auth::SignedIn,
    execute::CommandContext,
    sync::{SyncCause, SyncRequest, sync_request},
};
use autonomos_domain::{
    aggregates::sync::{Sync, SyncEvent, SyncStatus},
    envelope::{Actor, AggregateKey, AggregateType},
    ids::{CommandId, ConnectionId, SyncId, TenantId},
};
use autonomos_log::events::open_event;
use autonomos_projections::runtime;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use uuid::Uuid;

const EMAIL: &str = "demo@autonomos.example";
const ORGANIZATION: &str = "Northwind Demo";
const SYSTEMS: [&str; 3] = ["salesforce", "hubspot", "dynamics"];

#[derive(Debug, Clone, Args)]
pub(super) struct DemoArguments {
    #[command(flatten)]
    pub(super) serving: Serving,
    /// The seed of the demo's world.
    #[arg(long, default_value_t = 2026)]
    seed: u64,
}

/// How to sign in; kept beside the demo's files, readable by its owner alone.
#[derive(Debug, Serialize, Deserialize)]
struct SignIn {
    email: String,
    password: String,
    tenant: TenantId,
}

pub(super) async fn run(
    mut config: Config,
    arguments: DemoArguments,
    json_lines: bool,
) -> Result<bool, GatewayError> {
    if let Mode::Scaled(_) = config.mode()? {
        let instead = "start nodes with `autonomos serve`, and register at one of them";
        return Err(GatewayError::EmbeddedOnly { command: "demo", instead });
    }
    let folder = config.data_dir.join("demo");
    // The demo's tenant may read the demo's files; no other tenant may.
    let root = folder.join("{tenant}").display().to_string();
    config.file_roots = Some(match config.file_roots.take() {
        Some(roots) => format!("{roots}:{root}"),
        None => root,
    });
    serve(config, move |app, address| async move {
        let url = format!("http://{address}");
        let known = read_sign_in(&folder);
        let sign_in = match known {
            Some(sign_in) => sign_in,
            None => prepare(&app, &folder, arguments.seed, json_lines).await?,
        };
        let files = folder.join(sign_in.tenant.to_string());
        if json_lines {
            output::line(&json!({
                "event": "ready", "url": url, "email": sign_in.email, "password": sign_in.password,
                "truth": files.join("truth.json"),
            }));
        } else {
            output::say(&format!(
                "\nautonomos is ready at {url}\n\n  sign in as  {}\n  password    {}\n\n  what is really so: {}\n  Ctrl-C ends it.",
                sign_in.email,
                sign_in.password,
                files.join("truth.json").display(),
            ));
        }
        Ok(())
    })
    .await
}

fn read_sign_in(folder: &Path) -> Option<SignIn> {
    serde_json::from_slice(&fs::read(folder.join("sign-in.json")).ok()?).ok()
}

async fn prepare(app: &App, folder: &Path, seed: u64, json_lines: bool) -> Result<SignIn, GatewayError> {
    let step = |text: &str| {
        if json_lines {
            output::line(&json!({ "event": "step", "text": text }));
        } else {
            output::say(&format!("  · {text}"));
        }
    };
    step("making the demo's organisation");
    let password = format!("try-it-{}", &Uuid::new_v4().simple().to_string()[..12]);
    let signed = app.platform.auth.register(ORGANIZATION, EMAIL, &password).await?;
    let tenant = signed.tenant_id;
    let files = folder.join(tenant.to_string());
    let failed = |source: io::Error| GatewayError::Folder { path: files.clone(), source };
    let world = World::generate(seed);
    write(&world, Edition::First, &files).map_err(failed)?;
    let truth_text = serde_json::to_vec_pretty(&truth(&world)).unwrap_or_default();
    fs::write(files.join("truth.json"), truth_text).map_err(failed)?;

    let mut connections = Vec::new();
    for system in SYSTEMS {
        step(&format!("connecting and syncing {system}"));
        let path = files.join(system);
        let config = json!({ "path": path });
        let context = context(&signed);
        let name = format!("{system} export");
        let (id, _) = app.platform.connections.connection_create(&context, &name, "file", config).await?;
        sync(app, &signed, id).await?;
        connections.push(id);
    }
    step("delivering the drifted edition of hubspot");
    write(&world, Edition::Drifted, &files).map_err(failed)?;
    sync(app, &signed, connections[1]).await?;

    step("waiting for the views");
    caught_up(app, tenant).await?;
    let sign_in = SignIn { email: EMAIL.to_owned(), password, tenant };
    keep(&folder.join("sign-in.json"), &sign_in).map_err(failed)?;
    Ok(sign_in)
}

fn context(signed: &SignedIn) -> CommandContext {
    CommandContext::new(signed.tenant_id, Actor::User(signed.user_id.0), CommandId::random())
}

async fn sync(app: &App, signed: &SignedIn, connection: ConnectionId) -> Result<(), GatewayError> {
    let platform = &app.platform;
    let requested =
        sync_request(&platform.commands, &context(signed), connection, SyncCause::default()).await?;
    let SyncRequest::Granted(requested) = requested else {
        return Err(GatewayError::Input("the demo's connection is busy".to_owned()));
    };
    ended(app, signed.tenant_id, requested.sync_id).await
}

async fn ended(app: &App, tenant: TenantId, sync_id: SyncId) -> Result<(), GatewayError> {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        let sync = app.platform.commands.load::<Sync>(tenant, sync_id.0).await?.state;
        match sync.status {
            SyncStatus::Succeeded => return Ok(()),
            SyncStatus::Failed | SyncStatus::Cancelled => return Err(why(app, tenant, sync_id).await?),
            SyncStatus::Requested | SyncStatus::Running => {}
        }
    }
}

/// What the event says that ended the sync.
async fn why(app: &App, tenant: TenantId, sync_id: SyncId) -> Result<GatewayError, GatewayError> {
    let key = AggregateKey { tenant, aggregate_type: AggregateType::Sync, aggregate_id: sync_id.0 };
    let commands = &app.platform.commands;
    let last = match commands.log().load_last(&key).await? {
        Some(commit) => open_event::<SyncEvent>(&**commands.ring(), &commit, commit.events.len() - 1).ok(),
        None => None,
    };
    let (code, message) = match last {
        Some(SyncEvent::SyncFailed { code, message }) => (code, message),
        _ => ("AOS-0530".to_owned(), "it was cancelled".to_owned()),
    };
    Ok(GatewayError::DemoSync { sync_id, code, message })
}

/// Until what was synced is shown.
async fn caught_up(app: &App, tenant: TenantId) -> Result<(), GatewayError> {
    let cell = app.platform.log.cell_of(tenant);
    let head = app.platform.log.head(cell).await?;
    let position = autonomos_domain::envelope::Position { cell, sequence: head.sequence };
    let projectors = [runtime::READ_MODELS, runtime::DCL];
    let patience = Duration::from_mins(10);
    app.platform.projections.wait_for(tenant, position, &projectors, patience).await?;
    Ok(())
}

fn keep(path: &PathBuf, sign_in: &SignIn) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(sign_in)?;
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, &text)
}
