//! Base tables: a CRM of our own, always; and published tables where their folder is given.

pub(crate) mod crm;
pub(crate) mod published;

use crate::{random::Random, table::Table};

/// Pools of rows that editions are drawn from.
pub(crate) struct Bases {
    published: Vec<Table>,
}

impl Bases {
    pub(crate) fn new(published: Vec<Table>) -> Self {
        Self { published }
    }

    /// A pool of at least `rows` rows where its source has them.
    pub(crate) fn pool(&self, rows: usize, random: &mut Random) -> Table {
        if !self.published.is_empty() && random.chance(0.5) {
            return random.pick(&self.published).clone();
        }
        crm::pool(rows, random)
    }
}
