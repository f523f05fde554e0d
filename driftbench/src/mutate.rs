//! What sources do to their tables, each with its truth: what changed, and what a reader must not get
//! wrong. Which mutation hits which column, and how hard, is drawn from the seed.

mod names;
mod structure;
mod values;

use crate::{
    random::Random,
    table::{Column, Nature, Table},
};
use autonomos_domain::drift::DriftKind;

/// A change that was made, and what is to be found of it.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    /// `rename`, `enum_recoded`, `decoy`, …
    pub(crate) label: &'static str,
    pub(crate) kind: DriftKind,
    /// Kinds that say the same of it, or go with it.
    pub(crate) also: Vec<DriftKind>,
    /// Columns it concerns by their old names; empty: the stream.
    pub(crate) fields: Vec<String>,
    /// Columns that came with it.
    pub(crate) news: Vec<String>,
    pub(crate) severity: u8,
    /// The old values are still there, in whatever form: a repair can be right.
    pub(crate) recoverable: bool,
    /// Names, columns or types changed, not values alone.
    pub(crate) structural: bool,
}

/// A table on its way from one edition to the next.
pub(crate) struct Work<'a> {
    /// As it is read.
    pub(crate) after: Table,
    /// As it ought to be understood: old names, old forms, row by row.
    pub(crate) truth: Table,
    /// Old columns that nothing has happened to.
    pub(crate) free: Vec<String>,
    pub(crate) severity: u8,
    /// The editions have next to no records in common. What leaves every column's values as a whole as
    /// they were cannot be seen by anyone then, and is not drawn.
    pub(crate) apart: bool,
    pub(crate) random: &'a mut Random,
}

type Mutation = (&'static str, fn(&mut Work<'_>) -> Option<Operation>);

/// All mutations, in a fixed order: the seed picks by place.
const MUTATIONS: [Mutation; 30] = [
    ("add", structure::add),
    ("remove", structure::remove),
    ("rename", structure::rename),
    ("rename", structure::rename),
    ("rename", structure::rename),
    ("swap", structure::swap),
    ("split", structure::split),
    ("merge", structure::merge),
    ("nest", structure::nest),
    ("nest", structure::nest),
    ("flatten", structure::flatten),
    ("array", structure::array),
    ("decoy", structure::decoy),
    ("key_renamed", structure::key_renamed),
    ("key_changed", values::key_changed),
    ("type_widened", values::type_widened),
    ("type_narrowed", values::type_narrowed),
    ("type_changed", values::type_changed),
    ("nullability", values::nullability),
    ("null_rate", values::null_rate),
    ("volume", values::volume),
    ("enum_renamed", values::enum_renamed),
    ("enum_added", values::enum_added),
    ("enum_recoded", values::enum_recoded),
    ("unit", values::unit),
    ("unit", values::unit),
    ("time_zone", values::time_zone),
    ("format", values::format),
    ("case", values::case),
    ("meaning", values::meaning),
];

/// Makes one change; none where the table has nothing it fits.
pub(crate) fn mutate(work: &mut Work<'_>) -> Option<Operation> {
    let (label, apply) = *work.random.pick(&MUTATIONS);
    let unseen = match label {
        "time_zone" | "key_changed" | "volume" | "null_rate" | "swap" => true,
        "meaning" => work.severity > 1,
        _ => false,
    };
    if work.apart && unseen {
        return None;
    }
    let mut operation = apply(work)?;
    operation.label = label;
    work.free.retain(|name| !operation.fields.contains(name));
    Some(operation)
}

impl Work<'_> {
    /// A free column of one of the natures.
    fn choose(&mut self, natures: &[Nature]) -> Option<String> {
        let fitting: Vec<String> = self
            .free
            .iter()
            .filter(|name| self.after.column(name).is_some_and(|column| natures.contains(&column.nature())))
            .cloned()
            .collect();
        (!fitting.is_empty()).then(|| self.random.pick(&fitting).clone())
    }

    fn column(&mut self, name: &str) -> Option<&mut Column> {
        self.after.column_mut(name)
    }

    /// A name that no column has.
    fn unused(&self, wanted: String) -> String {
        let taken = |name: &str| self.after.at(name).is_some() || self.truth.at(name).is_some();
        let mut name = wanted;
        while taken(&name) {
            name.push('x');
        }
        name
    }

    fn operation(&self, kind: DriftKind, also: &[DriftKind], fields: &[&str], news: &[&str]) -> Operation {
        Operation {
            label: "",
            kind,
            also: also.to_vec(),
            fields: fields.iter().map(|name| (*name).to_owned()).collect(),
            news: news.iter().map(|name| (*name).to_owned()).collect(),
            severity: self.severity,
            recoverable: true,
            structural: true,
        }
    }
}

impl Operation {
    fn lost(self) -> Self {
        Self { recoverable: false, ..self }
    }

    fn of_values(self) -> Self {
        Self { structural: false, ..self }
    }
}
