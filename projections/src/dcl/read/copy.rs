//! What a copy of a tenant's unified views elsewhere must learn: all of them, or what changed since
//! it last looked. Rows are columns of text in the one fixed form, as few passes as there are entities.

use super::{
    Result,
    view::{Reader, View, text_of},
};
use crate::{
    dcl::{
        Dcl, Instance,
        tables::{self, ident, literal, sql_type},
    },
    error::ProjectionError,
};
use arrow::array::{Array, AsArray};
use autonomos_domain::{
    ids::TenantId,
    ontology::{CanonicalType, Entity},
};
use std::sync::Arc;

/// One consistent look at a tenant's views.
pub(crate) struct Look {
    reader: Reader,
    /// The file stays open as long as it is read.
    _instance: Arc<Instance>,
    /// The generation of the file.
    pub(crate) generation: u64,
    /// Up to which log sequence the views are.
    pub(crate) sequence: u64,
    /// A hash of what the ontology in force says: another one, and every row may read otherwise.
    pub(crate) meaning: String,
}

/// Rows of an entity: a text array for `id`, `ver`, `members`, for each field asked for, and for
/// the JSON object of the fields that were not.
pub(crate) type Columns = Vec<Vec<Option<String>>>;

impl Dcl {
    /// Looks at a tenant's live views, if it has any.
    pub(crate) fn look(&self, tenant: TenantId) -> Result<Option<Look>> {
        let Some(generation) = self.generation(tenant)? else { return Ok(None) };
        let instance = self.instance(tenant, generation)?;
        let reader = Reader::begin(instance.reader()?)?;
        let said = serde_json::to_vec(&reader.ontology)
            .map_err(|error| ProjectionError::Views(error.to_string()))?;
        let meaning = blake3::hash(&said).to_hex()[..16].to_owned();
        let sequence = reader.sequence;
        Ok(Some(Look { reader, _instance: instance, generation, sequence, meaning }))
    }
}

impl Look {
    /// The rows of an entity, with the fields of `asked`; those that were touched after `since` alone,
    /// if it is given.
    pub(crate) fn rows(
        &self,
        asked: &Entity,
        since: Option<u64>,
        mut take: impl FnMut(Columns) -> Result<()>,
    ) -> Result<()> {
        let Some(view) = self.view(asked)? else { return Ok(()) };
        let condition =
            since.map_or_else(String::new, |since| format!(" WHERE id IN ({})", touched(&view, since)));
        let sql = format!("SELECT {} FROM ({}) v{condition}", shown(&view, asked).join(", "), view.rows());
        self.texts(&sql, &mut take)
    }

    /// Ids of an entity that were touched after `since` and are no row any more.
    pub(crate) fn gone(
        &self,
        asked: &Entity,
        since: u64,
        mut take: impl FnMut(Columns) -> Result<()>,
    ) -> Result<()> {
        let Some(view) = self.view(asked)? else { return Ok(()) };
        let sql = format!(
            "SELECT CAST(t.uid AS VARCHAR) FROM ({}) t WHERE t.uid NOT IN (SELECT id FROM ({}) v)",
            touched(&view, since),
            view.rows()
        );
        self.texts(&sql, &mut take)
    }

    /// The tenant's view of an entity; none if it took the entity out, or has no record of it yet.
    fn view(&self, asked: &Entity) -> Result<Option<View>> {
        match self.reader.view(&asked.name, None) {
            Ok(view) => Ok(Some(view).filter(View::exists)),
            Err(ProjectionError::UnknownEntity { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs a query of text columns, a piece of its answer at a time.
    fn texts(&self, sql: &str, take: &mut dyn FnMut(Columns) -> Result<()>) -> Result<()> {
        let mut statement = self.reader.connection.prepare(sql)?;
        drop(statement.stream_arrow([])?);
        while let Some(piece) = statement.step()? {
            let columns = piece.columns().iter().map(|column| {
                let texts = column.as_string_opt::<i32>().ok_or_else(|| {
                    ProjectionError::Views(format!("a column is {} and not text", column.data_type()))
                })?;
                Ok(texts.iter().map(|text| text.map(ToOwned::to_owned)).collect())
            });
            take(columns.collect::<Result<_>>()?)?;
        }
        Ok(())
    }
}

/// Ids of unified rows of which a version opened or closed after a sequence.
fn touched(view: &View, since: u64) -> String {
    let entity = &view.entity.name;
    let part = |table: String, column: &str, condition: &str| {
        format!("SELECT uid FROM {table} WHERE {condition} AND \"{column}\" > {since}")
    };
    [
        part(tables::records(entity), "from", "solo"),
        part(tables::records_history(entity), "to", "solo"),
        part(tables::unified(entity), "from", "true"),
        part(tables::unified_history(entity), "to", "true"),
    ]
    .join(" UNION ")
}

fn shown(view: &View, asked: &Entity) -> Vec<String> {
    let as_asked =
        |name: &str, kind: CanonicalType| asked.field(name).is_some_and(|field| field.canonical_type == kind);
    let mut columns: Vec<String> =
        ["id", "ver", "members"].iter().map(|name| format!("CAST({name} AS VARCHAR)")).collect();
    columns.extend(asked.fields.iter().map(|field| match view.entity.field(&field.name) {
        Some(own) if own.canonical_type == field.canonical_type => {
            text_of(own.canonical_type, &ident(&own.name))
        }
        _ => "CAST(NULL AS VARCHAR)".to_owned(),
    }));
    let rest: Vec<String> = view
        .entity
        .fields
        .iter()
        .filter(|field| !as_asked(&field.name, field.canonical_type))
        .map(|field| {
            let value = match field.canonical_type {
                CanonicalType::Timestamp => text_of(CanonicalType::Timestamp, &ident(&field.name)),
                _ => ident(&field.name),
            };
            format!("{}, {value}", literal(&field.name))
        })
        .collect();
    columns.push(if rest.is_empty() {
        format!("CAST(NULL AS {})", sql_type(CanonicalType::Text))
    } else {
        format!("CAST(json_object({}) AS VARCHAR)", rest.join(", "))
    });
    columns
}
