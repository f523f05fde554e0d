//! The one binary.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    autonomos_gateway::cli::run().await
}
