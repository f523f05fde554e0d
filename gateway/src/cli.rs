//! The command line: one binary, `autonomos`.

mod compare;
mod demo;
mod driftbench;
mod operate;
mod serve;

use crate::config::{self, Overrides};
use clap::{Args, Parser, Subcommand};
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

/// The work failed.
const FAILED: u8 = 1;

/// Connects a company's data sources, notices when their schemas drift, repairs the mappings, and
/// keeps one unified view of every business entity.
#[derive(Debug, Parser)]
#[command(name = "autonomos", version, about, propagate_version = true)]
struct Cli {
    /// For machines: one JSON object a line on standard output.
    #[arg(long, global = true)]
    json: bool,
    /// A configuration file other than `autonomos.toml`.
    #[arg(long, global = true, env = "AOS_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

/// Where the data is, for commands on an installation.
#[derive(Debug, Clone, Args)]
struct Folder {
    /// Where everything is kept; of several nodes, what is this node's own.
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
    /// Servers of the log that nodes share: `nats://user:password@host:4222`, separated by commas.
    #[arg(long, global = true)]
    nats_url: Option<String>,
    /// The database that nodes share: `postgres://user:password@host:5432/database`.
    #[arg(long, global = true)]
    database_url: Option<String>,
    /// Cells of the log, fixed when it is made.
    #[arg(long, global = true)]
    cells: Option<u16>,
    /// The folder that every node sees.
    #[arg(long, global = true)]
    shared_dir: Option<PathBuf>,
}

/// How a server is started.
#[derive(Debug, Clone, Args)]
struct Serving {
    #[command(flatten)]
    folder: Folder,
    /// Address and port; port 0 picks one.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// What this node does: any of `gateway`, `worker` and `projector`, separated by commas.
    #[arg(long)]
    roles: Option<String>,
    /// This node's name.
    #[arg(long)]
    node_id: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server; embedded, it needs nothing else.
    Serve(Serving),
    /// Runs a server with a demo tenant: three sources that overlap, one of them drifted and repaired.
    Demo(demo::DemoArguments),
    /// Shows the configuration in force and where each value comes from.
    Config(Serving),
    /// Schema, profile and fingerprint of a table.
    Fingerprint(compare::FingerprintArguments),
    /// Column correspondences between two tables, or between a table and the ontology.
    Match(compare::MatchArguments),
    /// The drift between two editions of a table, and the repair it would propose.
    Drift(compare::DriftArguments),
    /// Streams that drift as sources do, and how the product follows them: seeded, offline, scored.
    Driftbench(driftbench::DriftbenchArguments),
    /// Checks the whole log: hashes, chains, sequences, anchors and checkpoints.
    Verify(Folder),
    /// Lists, rebuilds or unblocks projections.
    Projections(operate::ProjectionsArguments),
    /// Copies the log and the uploads into a folder; never projections. Keys go apart.
    Backup(operate::BackupArguments),
    /// Makes a data folder from a backup.
    Restore(operate::RestoreArguments),
}

/// Runs the command line; the code the process ends with.
pub async fn run() -> ExitCode {
    // Clap ends with 2 on wrong usage by itself.
    let cli = Cli::parse();
    let of_folder = |folder: &Folder| Overrides {
        data_dir: folder.data_dir.clone(),
        nats_url: folder.nats_url.clone(),
        database_url: folder.database_url.clone(),
        cells: folder.cells,
        shared_dir: folder.shared_dir.clone(),
        ..Overrides::default()
    };
    let overrides = |serving: &Serving| Overrides {
        listen: serving.listen,
        roles: serving.roles.clone(),
        node_id: serving.node_id.clone(),
        ..of_folder(&serving.folder)
    };
    let layers = match &cli.command {
        Command::Serve(serving) | Command::Config(serving) => overrides(serving),
        Command::Demo(demo) => overrides(&demo.serving),
        Command::Verify(folder) => of_folder(folder),
        Command::Projections(arguments) => of_folder(&arguments.folder),
        Command::Backup(arguments) => of_folder(&arguments.folder),
        Command::Restore(arguments) => of_folder(&arguments.folder),
        Command::Fingerprint(_) | Command::Match(_) | Command::Drift(_) | Command::Driftbench(_) => {
            Overrides::default()
        }
    };
    let loaded = match config::load(cli.config.as_deref(), &layers) {
        Ok(loaded) => loaded,
        Err(error) => {
            output::complain(&format!("the configuration is not valid: {error}"));
            return ExitCode::from(2);
        }
    };
    crate::telemetry::install(&loaded.config);
    let result = match cli.command {
        Command::Serve(_) => serve::run(loaded.config, cli.json).await,
        Command::Demo(arguments) => demo::run(loaded.config, arguments, cli.json).await,
        Command::Config(_) => {
            output::configuration(&loaded, cli.json);
            // Values that are right one by one may contradict each other.
            loaded.config.mode().map(|_| true)
        }
        Command::Fingerprint(arguments) => compare::fingerprint(arguments),
        Command::Match(arguments) => compare::matches(arguments, &loaded.config).await,
        Command::Drift(arguments) => compare::drift(arguments),
        Command::Driftbench(arguments) => driftbench::run(arguments, cli.json),
        Command::Verify(_) => operate::verify(&loaded.config, cli.json).await,
        Command::Projections(arguments) => operate::projections(&loaded.config, arguments, cli.json).await,
        Command::Backup(arguments) => operate::backup(&loaded.config, arguments, cli.json).await,
        Command::Restore(arguments) => operate::restore(&loaded.config, arguments, cli.json).await,
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => {
            output::complain(&format!("{error} ({})", error.code()));
            ExitCode::from(FAILED)
        }
    }
}

mod output;
