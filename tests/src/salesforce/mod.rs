//! A Salesforce for tests: sign-in, describe, queries, deleted and updated lists, limits and Bulk API 2.0
//! queries over objects that a test fills, with knobs for what a real one does only now and then. Held to
//! recorded answers and to an independent client (`tests/tests/salesforce/`).

mod http;
mod jobs;
mod org;
mod soql;

pub use org::{Change, Knobs, Org, Record, Refusal};

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;

/// What the simulator signs in with: `client_id`, and each flow's secret.
pub const CLIENT_ID: &str = "3MVG9-test";
pub const CLIENT_SECRET: &str = "s3cret-of-the-app";
pub const REFRESH_TOKEN: &str = "r3fresh-of-nobody";
pub const USER: &str = "integration@acme.example";

/// A simulator that listens on a free port of this machine until it is dropped.
pub struct Salesforce {
    pub url: String,
    org: Arc<Mutex<Org>>,
    _serve: AbortOnDropHandle<()>,
}

impl Salesforce {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let org = Arc::new(Mutex::new(Org::new(&url)));
        let router = http::router(Arc::clone(&org));
        let serve = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("serves");
        });
        Self { url, org, _serve: AbortOnDropHandle::new(serve) }
    }

    /// The organisation, held still while the guard lives.
    pub fn org(&self) -> MutexGuard<'_, Org> {
        self.org.lock()
    }
}
