//! `verify`, `projections`, `backup` and `restore`: for operators, on a data folder.

use super::{Folder, output};
use crate::{
    config::{Config, Mode},
    error::GatewayError,
    platform::{Storage, jetstream_open, keys_open, projection_places, shared_postgres, snapshots_open},
};
use autonomos_commands::keys::KeyStore;
use autonomos_domain::ids::TenantId;
use autonomos_log::{
    control::ControlStore,
    integrity::VerifyReport,
    lease::{Lease, Leases},
    seal::KeyRing,
    sqlite,
};
use autonomos_projections::{runtime, unified};
use clap::{Args, Subcommand};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use uuid::Uuid;

#[derive(Debug, Args)]
pub(super) struct ProjectionsArguments {
    #[command(flatten)]
    pub(super) folder: Folder,
    #[command(subcommand)]
    command: ProjectionsCommand,
}

#[derive(Debug, Subcommand)]
enum ProjectionsCommand {
    /// Shows how each projection stands.
    List,
    /// Builds projections anew from the log; the server must be stopped.
    Rebuild {
        /// Which one; see `list`.
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Makes the database role by which a tenant's own tools may read its unified tables.
    Role { tenant: Uuid },
}

#[derive(Debug, Args)]
pub(super) struct BackupArguments {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// The empty or new folder the log is copied to.
    #[arg(long)]
    to: PathBuf,
    /// The empty or new folder the keys are copied to: keep it apart from the log.
    #[arg(long)]
    keys_to: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArguments {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// The folder a backup of the log was made in.
    #[arg(long)]
    from: PathBuf,
    /// The folder the keys were copied to.
    #[arg(long)]
    keys_from: PathBuf,
}

pub(super) async fn verify(config: &Config, json_lines: bool) -> Result<bool, GatewayError> {
    let report = match config.mode()? {
        Mode::Embedded => verify_folder(config.data_dir.clone()).await?,
        Mode::Scaled(scaled) => {
            let (log, _, _) = jetstream_open(config, &scaled).await?;
            log.verify().await?
        }
    };
    if json_lines {
        output::line(&report);
    } else if report.ok {
        output::say(&format!("{} commits checked: the log is whole", report.commits_checked));
    } else {
        output::say(&format!("{} commits checked: the log is damaged", report.commits_checked));
        for broken in &report.broken {
            output::say(&format!("  {broken}"));
        }
    }
    Ok(report.ok)
}

async fn verify_folder(data_dir: PathBuf) -> Result<VerifyReport, GatewayError> {
    if !data_dir.join("log").is_dir() {
        return Err(GatewayError::Input(format!("`{}` holds no log", data_dir.display())));
    }
    blocking(move || {
        let control = ControlStore::open(&data_dir.join("control.sqlite"))?;
        Ok(sqlite::verify_folder(&data_dir.join("log"), &control))
    })
    .await
}

pub(super) async fn projections(
    config: &Config,
    arguments: ProjectionsArguments,
    json_lines: bool,
) -> Result<bool, GatewayError> {
    let mode = config.mode()?;
    if let ProjectionsCommand::Role { tenant } = arguments.command {
        return role(&mode, TenantId(tenant), json_lines).await;
    }
    let storage = Storage::open(config, &mode).await?;
    let port = storage.log;
    let keys = keys_open(config, &mode, storage.database.as_ref()).await?;
    let ring: Arc<dyn KeyRing> = Arc::new(keys);
    let mut options = projection_places(config, &mode)?;
    // Beside running nodes: what they keep is only looked at.
    let leases = match &storage.database {
        Some(database) => Some(Leases::open(database, &config.node_id, "").await?),
        None => None,
    };
    if let Some(leases) = &leases {
        options.part = runtime::Part::Shared { leases: leases.clone(), keeps: false };
    }
    match arguments.command {
        ProjectionsCommand::List => {
            let handle = runtime::Service::start(options, port, ring).await?;
            for state in handle.status().await? {
                if json_lines {
                    output::line(&state);
                } else {
                    output::say(&format!(
                        "{:<14} cell {:<3} version {:<3} generation {:<3} lag {:<8} {:?}",
                        state.name, state.cell, state.version, state.generation, state.lag, state.status
                    ));
                }
            }
            handle.shutdown().await;
        }
        ProjectionsCommand::Rebuild { name, .. } => {
            let names = name.map_or_else(
                || vec![runtime::READ_MODELS.to_owned(), runtime::DCL.to_owned()],
                |name| vec![name],
            );
            if let Mode::Scaled(scaled) = &mode
                && names.iter().any(|name| name == runtime::DCL)
            {
                // Those of what is rebuilt are replaced.
                options.snapshots = snapshots_open(scaled).await?;
            }
            for name in names {
                let kept = match &leases {
                    Some(leases) => keep_alone(leases, &name, port.cells()).await?,
                    None => Vec::new(),
                };
                let told = std::sync::atomic::AtomicU64::new(0);
                let progress = |done: u64, total: u64| {
                    let percent = done * 100 / total.max(1);
                    if told.swap(percent, std::sync::atomic::Ordering::Relaxed) != percent && !json_lines {
                        output::say(&format!("{name}: {percent} % ({done} of {total} commits)"));
                    }
                };
                let (port, ring) = (Arc::clone(&port), Arc::clone(&ring));
                let rebuilt = runtime::rebuild_offline(options.clone(), port, ring, &name, &progress).await;
                for lease in kept {
                    lease.release().await;
                }
                rebuilt?;
                if json_lines {
                    output::line(&json!({ "projection": name, "rebuilt": true }));
                }
            }
        }
        ProjectionsCommand::Role { .. } => {}
    }
    Ok(true)
}

async fn role(mode: &Mode, tenant: TenantId, json_lines: bool) -> Result<bool, GatewayError> {
    let Mode::Scaled(scaled) = mode else {
        let reason = "unified tables are in a shared Postgres, and `database_url` is not set";
        return Err(GatewayError::Configuration(reason.to_owned()));
    };
    let role = unified::report_role(&shared_postgres(scaled)?, tenant).await?;
    if json_lines {
        output::line(&json!({ "tenant": tenant, "role": role }));
    } else {
        output::say(&format!(
            "{role}\nIt may not log in yet: ALTER ROLE {role} LOGIN PASSWORD '…'. Its tables: aos_unified.*"
        ));
    }
    Ok(true)
}

/// The leases of a projection in all cells, none of which a running node has.
async fn keep_alone(leases: &Leases, name: &str, cells: u16) -> Result<Vec<Lease>, GatewayError> {
    let mut kept = Vec::new();
    for cell in 0..cells {
        if let Some(lease) = leases.try_acquire(&runtime::lease_name(name, cell)).await? {
            kept.push(lease);
            continue;
        }
        for lease in kept {
            lease.release().await;
        }
        return Err(GatewayError::KeptElsewhere { name: name.to_owned() });
    }
    Ok(kept)
}

/// Refuses a command on a data folder in the scaled mode.
fn embedded_only(config: &Config, command: &'static str, instead: &'static str) -> Result<(), GatewayError> {
    match config.mode()? {
        Mode::Embedded => Ok(()),
        Mode::Scaled(_) => Err(GatewayError::EmbeddedOnly { command, instead }),
    }
}

pub(super) async fn backup(
    config: &Config,
    arguments: BackupArguments,
    json_lines: bool,
) -> Result<bool, GatewayError> {
    embedded_only(
        config,
        "backup",
        "copy the log's streams with `nats stream backup`, the database with `pg_dump`, the shared folder, and apart from these the master key",
    )?;
    let data_dir = config.data_dir.clone();
    let BackupArguments { to, keys_to, .. } = arguments;
    let (shown, keys_shown) = (to.clone(), keys_to.clone());
    blocking(move || {
        // The log first: a key made between the two copies then seals only what the copy of the log
        // does not have.
        sqlite::backup(&data_dir.join("log"), &to)?;
        KeyStore::backup(&data_dir.join("keys"), &keys_to)?;
        copy_folder(&data_dir.join("uploads"), &to.join("uploads"))
    })
    .await?;
    if json_lines {
        output::line(&json!({ "log": shown, "keys": keys_shown }));
    } else {
        output::say(&format!(
            "the log and the uploads are in `{}`, the keys in `{}`: keep them apart",
            shown.display(),
            keys_shown.display()
        ));
    }
    Ok(true)
}

pub(super) async fn restore(
    config: &Config,
    arguments: RestoreArguments,
    json_lines: bool,
) -> Result<bool, GatewayError> {
    embedded_only(
        config,
        "restore",
        "put the streams back with `nats stream restore`, the database with `pg_restore`, the shared folder and the master key",
    )?;
    let data_dir = config.data_dir.clone();
    let RestoreArguments { from, keys_from, .. } = arguments;
    let (log_id, report) = blocking(move || {
        let restored = sqlite::restore(&from, &data_dir.join("log"))?;
        if restored.0.is_some() {
            copy_folder(&keys_from, &data_dir.join("keys"))?;
            copy_folder(&from.join("uploads"), &data_dir.join("uploads"))?;
        }
        Ok(restored)
    })
    .await?;
    if json_lines {
        output::line(&json!({ "log_id": log_id, "report": report }));
    } else if let Some(log_id) = log_id {
        output::say(&format!(
            "restored as log `{log_id}`, {} commits checked; projections are built at the next start",
            report.commits_checked
        ));
    } else {
        output::say(&format!("the backup is damaged and nothing was restored: {}", report.summary()));
    }
    Ok(report.ok)
}

async fn blocking<T, F>(work: F) -> Result<T, GatewayError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, GatewayError> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(|error| GatewayError::Input(error.to_string()))?
}

/// Copies a folder and what is below it; one that is not there is nothing to copy.
fn copy_folder(from: &Path, to: &Path) -> Result<(), GatewayError> {
    if !from.is_dir() {
        return Ok(());
    }
    let failed = |source: std::io::Error| GatewayError::Folder { path: from.to_owned(), source };
    std::fs::create_dir_all(to).map_err(failed)?;
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            // Permissions come along: the master key stays its owner's alone.
            std::fs::copy(entry.path(), &target).map_err(failed)?;
        }
    }
    Ok(())
}
