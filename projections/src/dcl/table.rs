//! Canonical cells of a table under a mapping, outside of any tenant's file: the lines are compiled as
//! for the views, and what comes out is what a view would show.

use super::{
    program::Program,
    sql::Result,
    tables::literal,
    transform::{self, Source},
};
use crate::error::ProjectionError;
use arrow::{
    array::{Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use autonomos_domain::{
    mapping::{MappingContent, MappingField},
    ontology::Entity,
};
use duckdb::Connection;
use std::{collections::BTreeMap, sync::Arc};

/// One cell of a canonical column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CanonicalCell {
    /// The value as DuckDB writes it.
    Value(String),
    /// There was nothing to read.
    Empty,
    /// There was something, and it did not fit: quarantined alone.
    Misfit,
}

/// An engine in memory that projects tables.
pub struct TableProjection {
    connection: Connection,
}

impl TableProjection {
    pub fn open() -> Result<Self> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch("SET TimeZone = 'UTC'; SET threads = 1")?;
        Ok(Self { connection })
    }

    /// The canonical cells of every mapped field, in the order of the rows. All columns of `records`
    /// are text; a column that the mapping reads and `records` lacks is null, as in a view.
    pub fn project(
        &self,
        entity: &Entity,
        content: &MappingContent,
        records: &RecordBatch,
    ) -> Result<BTreeMap<String, Vec<CanonicalCell>>> {
        let rows = records.num_rows();
        let places: BTreeMap<String, usize> = records
            .schema()
            .fields()
            .iter()
            .enumerate()
            .map(|(at, field)| (field.name().clone(), at))
            .collect();
        let mut program = Program::new("r");
        let column =
            |name: &str| places.get(name).map(|place| Source { sql: format!("r.c{place}"), clean: false });
        let mut expressions = Vec::new();
        let mut targets = Vec::new();
        for field in &entity.fields {
            let lines: Vec<&MappingField> =
                content.fields.iter().filter(|line| line.target == field.name).collect();
            if lines.is_empty() {
                continue;
            }
            let compiled = transform::compile(&mut program, field, &lines, &column);
            expressions.push(format!(
                "CASE WHEN ({value}) IS NOT NULL THEN '=' || CAST(({value}) AS VARCHAR) \
                 WHEN ({probe}) IS NOT NULL THEN {misfit} END",
                value = compiled.value,
                probe = compiled.probe,
                misfit = literal("!"),
            ));
            targets.push(field.name.clone());
        }
        if targets.is_empty() || rows == 0 {
            return Ok(targets.into_iter().map(|target| (target, Vec::new())).collect());
        }
        self.load(records)?;
        let sql = format!(
            "SELECT {} FROM {} r ORDER BY r.n",
            expressions.join(", "),
            program.over("temp.projected")
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut columns: Vec<Vec<CanonicalCell>> = vec![Vec::with_capacity(rows); targets.len()];
        for batch in statement.query_arrow([])? {
            for (column, cells) in batch.columns().iter().zip(&mut columns) {
                let texts = column.as_any().downcast_ref::<StringArray>().ok_or_else(|| {
                    ProjectionError::Views("a canonical column did not come as text".to_owned())
                })?;
                cells.extend(texts.iter().map(|text| {
                    match text {
                        None => CanonicalCell::Empty,
                        Some(text) => text
                            .strip_prefix('=')
                            .map_or(CanonicalCell::Misfit, |value| CanonicalCell::Value(value.to_owned())),
                    }
                }));
            }
        }
        Ok(targets.into_iter().zip(columns).collect())
    }

    fn load(&self, records: &RecordBatch) -> Result<()> {
        let width = records.num_columns();
        let columns: Vec<String> = (0..width).map(|place| format!("c{place} VARCHAR")).collect();
        self.connection.execute_batch(&format!(
            "CREATE OR REPLACE TEMP TABLE projected(n BIGINT, {})",
            columns.join(", ")
        ))?;
        let mut fields = vec![Field::new("n", DataType::Int64, false)];
        fields.extend((0..width).map(|place| Field::new(format!("c{place}"), DataType::Utf8, true)));
        let numbers = arrow::array::Int64Array::from_iter_values(0..records.num_rows() as i64);
        let mut arrays: Vec<Arc<dyn Array>> = vec![Arc::new(numbers)];
        arrays.extend(records.columns().iter().cloned());
        let numbered = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .map_err(|error| ProjectionError::Views(error.to_string()))?;
        let mut appender = self.connection.appender_to_catalog_and_db("projected", "temp", "main")?;
        appender.append_record_batch(numbered)?;
        appender.flush()?;
        Ok(())
    }
}
