//! What a tenant costs in memory that was signed up, did what a new one does, and then does nothing:
//! of a real server.

use super::{Measurement, number};
use crate::{
    client::Client,
    process::memory,
    server::{Server, Start},
};
use futures::{StreamExt, stream};
use serde_json::json;
use std::time::{Duration, Instant};

/// Tenants at each point. The first ones fill what is kept whoever uses it (pages of the databases,
/// threads, connections), so the slope counts from there.
const TENANTS: [u64; 3] = [1_000, 2_000, 3_000];
/// Who sign up at the same time.
const AT_ONCE: usize = 4;
/// For how long the memory must not have fallen any more.
const QUIET: Duration = Duration::from_secs(5);
/// And how long that is waited for.
const PATIENCE: Duration = Duration::from_mins(2);

pub(super) async fn run(tell: &mut impl FnMut(Measurement)) {
    let most = number("BENCH_IDLE", TENANTS[TENANTS.len() - 1]);
    let folder = tempfile::tempdir().expect("a folder");
    let server = Start::serve(&folder.path().join("data"))
        .with("AOS_LOG", "warn")
        .with("AOS_ANONYMOUS_RATE_LIMIT_PER_MINUTE", "1000000")
        .run()
        .expect("the server starts");
    let (mut signed_up, mut first) = (0, None);
    for count in TENANTS.into_iter().filter(|count| *count <= most) {
        let url = &server.url;
        stream::iter(signed_up..count).for_each_concurrent(AT_ONCE, |tenant| used(url, tenant)).await;
        signed_up = count;
        let megabytes = settled(&server).await;
        let case = format!("{count} idle tenants, memory of the server");
        tell(Measurement::new("flat", "sqlite+duckdb", "MB", megabytes, count, case));
        let (before, less) = *first.get_or_insert((count, megabytes));
        if count > before {
            let each = (megabytes - less) * 1024.0 / (count - before) as f64;
            let case = format!("an idle tenant, from {before} to {count} of them; at most 20 is allowed");
            tell(Measurement::new("flat", "sqlite+duckdb", "kB", each, count, case));
        }
    }
}

/// Signs a tenant up, makes a key, and looks at what a new one has.
async fn used(url: &str, tenant: u64) {
    let client =
        Client::registered(url, &format!("Company {tenant}"), &format!("owner@{tenant}.example.com")).await;
    let key = json!({ "name": "reader", "role": "viewer" });
    client.post("/api-keys", key).await.expect(201);
    client.get("/aam/connections").await.expect(200);
    client.get("/dcl/views").await.expect(200);
}

/// The memory of a server once it falls no more, MB: the allocator gives back what is free after a
/// while.
async fn settled(server: &Server) -> f64 {
    let began = Instant::now();
    let (mut least, mut since) = (memory(server.pid()), Instant::now());
    while since.elapsed() < QUIET && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now = memory(server.pid());
        if now < least - 0.1 {
            (least, since) = (now, Instant::now());
        }
    }
    least
}
