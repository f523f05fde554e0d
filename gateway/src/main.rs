//! The one binary.

/// glibc's allocator keeps what its arenas once held: with a thread for every blocking task that was
/// 300 MB of nothing after a large sync. This one gives memory back; set-up says how (`setup.sh`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    autonomos_objects::provider_install();
    autonomos_gateway::cli::run().await
}
