//! What every handler shares.

use crate::{config::Config, platform::Platform};
use std::sync::Arc;

/// Cheap to clone.
#[derive(Clone)]
pub struct App {
    pub platform: Arc<Platform>,
    pub config: Arc<Config>,
}
