//! What every handler shares.

use super::{forward::Forwarder, idempotency::Answers, limits::RateLimits};
use crate::{config::Config, platform::Platform};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    pub platform: Arc<Platform>,
    pub config: Arc<Config>,
    /// Cancelled when the server ends: streams that never end of themselves end then.
    pub stopping: CancellationToken,
    pub(super) limits: Arc<RateLimits>,
    pub(super) answers: Answers,
    /// To the nodes that hold what this one does not; none where there is one node.
    pub(super) forwarder: Option<Arc<Forwarder>>,
    /// One verification of the log at a time: it reads much.
    pub(super) verifying: Arc<tokio::sync::Mutex<()>>,
}

impl App {
    pub(crate) fn new(platform: Arc<Platform>, config: Config, stopping: CancellationToken) -> Self {
        let limits = RateLimits::new(&config);
        let forwarder = platform.nodes.as_ref().map(Forwarder::new).map(Arc::new);
        Self {
            platform,
            config: Arc::new(config),
            stopping,
            limits: Arc::new(limits),
            answers: Answers::default(),
            forwarder,
            verifying: Arc::default(),
        }
    }
}
