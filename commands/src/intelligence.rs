//! Likeness of texts by meaning, computed on this machine: an embedding model where its files are,
//! a static table of our own where they are not. Nothing here decides; what it says becomes
//! evidence in an event, so a replay never asks a model again.

mod hashed;
pub mod llm;
mod minilm;
#[cfg(test)]
mod tests;

pub use hashed::HashedWords;
pub use minilm::{MiniLm, MiniLmError};

use autonomos_domain::matching::Similarity;
use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The folder that `scripts/setup.sh` fills: `minilm-int8-1.0.0/` and `onnxruntime-1.30.0/` below it.
fn default_folder() -> Option<PathBuf> {
    let cache = std::env::var_os("AOS_CACHE_DIR").map(PathBuf::from);
    cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/autonomos")))
}

/// The meaning of texts: the model, or the static table. The model is loaded at its first use.
pub struct Meaning {
    folder: Option<PathBuf>,
    model: OnceLock<Option<MiniLm>>,
    table: HashedWords,
}

impl Meaning {
    /// `folder` holds the model's and the runtime's subfolders; none: where the set-up puts them.
    pub fn new(folder: Option<&Path>) -> Self {
        Self {
            folder: folder.map(Path::to_owned).or_else(default_folder),
            model: OnceLock::new(),
            table: HashedWords::new(),
        }
    }

    /// Whether the embedding model answers; loads it.
    pub fn available(&self) -> bool {
        self.model().is_some()
    }

    fn model(&self) -> Option<&MiniLm> {
        let load = || {
            let Some(folder) = &self.folder else {
                tracing::warn!("no folder to look for the embedding model in: the static table stands in");
                return None;
            };
            match MiniLm::load(folder) {
                Ok(model) => {
                    tracing::info!(folder = %folder.display(), model = MiniLm::NAME, "embedding model loaded");
                    Some(model)
                }
                Err(error) => {
                    tracing::warn!(%error, "no embedding model: the static table stands in");
                    None
                }
            }
        };
        self.model.get_or_init(load).as_ref()
    }
}

impl Similarity for Meaning {
    fn name(&self) -> &str {
        self.model().map_or(HashedWords::NAME, |_| MiniLm::NAME)
    }

    fn trust(&self) -> f64 {
        if self.available() { 1.0 } else { self.table.trust() }
    }

    fn matrix(&self, left: &[String], right: &[String]) -> Option<Vec<Vec<f64>>> {
        let Some(model) = self.model() else {
            return self.table.matrix(left, right);
        };
        match model.likeness(left, right) {
            Ok(matrix) => Some(matrix),
            Err(error) => {
                // Names and values decide alone rather than another measure under this one's name.
                tracing::error!(%error, "the embedding model failed");
                None
            }
        }
    }
}
