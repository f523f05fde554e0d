//! What there is to read: objects, their fields and types.

use super::{error, session::Session, value::Kind};
use crate::error::ConnectorError;
use autonomos_domain::schema::{DiscoveredStream, Field, StreamShape, SyncMode};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// Describes asked for at a time.
const AT_ONCE: usize = 8;
/// What tells when a record changed, the surest first.
const STAMPS: [&str; 3] = ["SystemModstamp", "LastModifiedDate", "CreatedDate"];
pub(super) const KEY: &str = "Id";
pub(super) const DELETED: &str = "IsDeleted";

/// A field as the rows of a cursor had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) nullable: bool,
}

/// An object, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// A formula's value changes without a trace.
    pub(super) formulas: bool,
}

#[derive(Deserialize)]
struct Global {
    sobjects: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    #[serde(default)]
    queryable: bool,
    #[serde(rename = "deprecatedAndHidden", default)]
    hidden: bool,
}

#[derive(Deserialize)]
struct Described {
    name: String,
    fields: Vec<DescribedField>,
}

#[derive(Deserialize)]
struct DescribedField {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    nillable: bool,
    #[serde(default)]
    calculated: bool,
    #[serde(rename = "deprecatedAndHidden", default)]
    hidden: bool,
}

/// The names of the objects that are offered.
pub(super) async fn names(session: &Session) -> Result<Vec<String>, ConnectorError> {
    let global: Global = session.get(&session.path("sobjects")).await?;
    let chosen = &session.config().objects;
    let listed = global.sobjects.into_iter().filter(|object| object.queryable && !object.hidden);
    let mut names: Vec<String> = listed.map(|object| object.name).collect();
    if !chosen.is_empty() {
        names.retain(|name| chosen.contains(name));
    }
    names.sort();
    Ok(names)
}

pub(super) async fn object(session: &Session, name: &str) -> Result<Object, ConnectorError> {
    if !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') || name.is_empty() {
        return Err(error::schema(format!("`{name}` is no object's name")));
    }
    let described: Result<Described, _> =
        session.get(&session.path(&format!("sobjects/{name}/describe"))).await;
    let described = described.map_err(|refused| match refused.error {
        ConnectorError::Schema { message, .. } => {
            error::schema(format!("there is no object `{name}` that the user may read: {message}"))
        }
        other => other,
    })?;
    let fields = described.fields.into_iter().filter(|field| !field.hidden);
    let mut formulas = false;
    let columns = fields
        .filter_map(|field| {
            let kind = Kind::of(&field.kind)?;
            formulas |= field.calculated;
            Some(Column { name: field.name, kind, nullable: field.nillable })
        })
        .collect();
    Ok(Object { name: described.name, columns, formulas })
}

/// An object as a discovery described it a moment ago, which counts once; else as it is.
pub(super) async fn object_found(session: &Session, name: &str) -> Result<Object, ConnectorError> {
    match session.described().remove(name) {
        Some(object) => Ok(object),
        None => object(session, name).await,
    }
}

/// All that are offered, each described.
pub(super) async fn streams(
    session: &Session,
    cancel: &CancellationToken,
) -> Result<Vec<DiscoveredStream>, ConnectorError> {
    let all = async {
        let names = names(session).await?;
        let described = futures::stream::iter(names).map(|name| async move {
            match object(session, &name).await {
                // One that went meanwhile, or that the user may not look at, keeps nobody from the others.
                Err(ConnectorError::Schema { message, .. } | ConnectorError::Permission { message, .. }) => {
                    tracing::warn!(object = name, "left out: {message}");
                    Ok(None)
                }
                described => described.map(Some),
            }
        });
        let objects: Vec<Option<Object>> = described.buffered(AT_ONCE).try_collect().await?;
        for object in objects.iter().flatten() {
            session.described().insert(object.name.clone(), object.clone());
        }
        Ok(objects.iter().flatten().filter(|object| object.has(KEY)).map(Object::stream).collect())
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(ConnectorError::Cancelled),
        streams = all => streams,
    }
}

impl Object {
    pub(super) fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }

    fn stamps(&self) -> Vec<String> {
        STAMPS.iter().filter(|stamp| self.has(stamp)).map(|stamp| (*stamp).to_owned()).collect()
    }

    fn stream(&self) -> DiscoveredStream {
        // The surest alone: where there are several, a person has to choose, of whom none knows better.
        let cursor_fields: Vec<String> = self.stamps().into_iter().take(1).collect();
        let mut sync_modes = vec![SyncMode::Full];
        if !cursor_fields.is_empty() {
            sync_modes.push(SyncMode::Incremental);
        }
        DiscoveredStream {
            sampled: None,
            name: self.name.clone(),
            shape: shape(&self.columns),
            cursor_fields,
            sync_modes,
            estimated_rows: None,
        }
    }

    /// The field by which changes are found.
    pub(super) fn stamp(&self, chosen: Option<&str>) -> Result<String, ConnectorError> {
        let name = chosen.map(str::to_owned).or_else(|| self.stamps().into_iter().next());
        let Some(name) = name else {
            return Err(error::schema(format!(
                "`{}` has no field that tells when a record changed: read it whole",
                self.name
            )));
        };
        match self.columns.iter().find(|column| column.name == name) {
            Some(column) if column.kind == Kind::Instant => Ok(name),
            _ => Err(error::schema(format!(
                "`{name}` is no field of `{}` that holds a time: use `SystemModstamp`",
                self.name
            ))),
        }
    }
}

pub(super) fn shape(columns: &[Column]) -> StreamShape {
    let field = |column: &Column| Field {
        name: column.name.clone(),
        logical_type: column.kind.logical(),
        nullable: column.nullable,
        format: None,
    };
    StreamShape { fields: columns.iter().map(field).collect(), primary_key: vec![KEY.to_owned()] }
}

/// Same names and types: whether a field may be null, or where it stands, is no other shape of its rows.
pub(super) fn alike(left: &[Column], right: &[Column]) -> bool {
    left.len() == right.len()
        && left.iter().all(|one| right.iter().any(|other| one.name == other.name && one.kind == other.kind))
}
