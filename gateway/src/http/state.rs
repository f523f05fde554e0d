//! What every handler shares.

use super::{events::Tickets, idempotency::Answers, limits::RateLimits};
use crate::{config::Config, platform::Platform};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    pub platform: Arc<Platform>,
    pub config: Arc<Config>,
    pub tickets: Tickets,
    /// Cancelled when the server ends: streams that never end of themselves end then.
    pub stopping: CancellationToken,
    pub(super) limits: Arc<RateLimits>,
    pub(super) answers: Answers,
    /// One verification of the log at a time: it reads much.
    pub(super) verifying: Arc<tokio::sync::Mutex<()>>,
}

impl App {
    pub(crate) fn new(platform: Arc<Platform>, config: Config, stopping: CancellationToken) -> Self {
        let limits = RateLimits::new(&config);
        Self {
            platform,
            config: Arc::new(config),
            tickets: Tickets::default(),
            stopping,
            limits: Arc::new(limits),
            answers: Answers::default(),
            verifying: Arc::default(),
        }
    }
}
