//! What every handler shares.

use super::events::Tickets;
use crate::{config::Config, platform::Platform};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Cheap to clone.
#[derive(Clone)]
pub struct App {
    pub platform: Arc<Platform>,
    pub config: Arc<Config>,
    pub tickets: Tickets,
    /// Cancelled when the server ends: streams that never end of themselves end then.
    pub stopping: CancellationToken,
}
