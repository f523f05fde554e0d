//! What there is to read: collections, and what their validators say of their fields.

use super::{
    config::MongoConfig,
    error,
    layout::{Column, KEY, Layout},
    sample::Sample,
    session::Session,
    value::Kind,
};
use crate::error::ConnectorError;
use autonomos_domain::schema::{DiscoveredStream, Sampled, SyncMode};
use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use std::collections::{BTreeMap, BTreeSet};

/// Paths of a collection whose types are counted.
const MAX_PATHS: usize = 300;

/// A collection, or what else documents are selected from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Collection {
    pub(super) name: String,
    /// `collection`, `view`, `timeseries`
    kind: String,
    pub(super) uuid: Option<String>,
    validator: Option<Document>,
}

impl Collection {
    fn of(said: &Document) -> Option<Self> {
        let text = |document: &Document, name: &str| document.get_str(name).ok().map(str::to_owned);
        let inner = |name: &str| said.get_document(name).ok();
        let uuid = inner("info").and_then(|info| info.get("uuid")).and_then(|uuid| match uuid {
            Bson::Binary(binary) => uuid::Uuid::from_slice(&binary.bytes).ok(),
            _ => None,
        });
        let validator = inner("options").and_then(|options| options.get_document("validator").ok());
        Some(Self {
            name: text(said, "name")?,
            kind: text(said, "type").unwrap_or_else(|| "collection".to_owned()),
            uuid: uuid.map(|uuid| uuid.to_string()),
            validator: validator.and_then(|validator| validator.get_document("$jsonSchema").ok()).cloned(),
        })
    }

    /// Whether it holds documents of its own: in the order of `_id`, and with changes.
    pub(super) fn is_ordinary(&self) -> bool {
        self.kind == "collection"
    }

    /// What its validator declares: kinds by paths, as deep as columns go.
    fn declared(&self, levels: u8) -> Vec<(String, Kind)> {
        let mut declared = Vec::new();
        if let Some(schema) = &self.validator {
            declare(schema, "", 0, levels, &mut declared);
        }
        declared
    }
}

fn declare(schema: &Document, above: &str, depth: u8, levels: u8, declared: &mut Vec<(String, Kind)>) {
    let Ok(properties) = schema.get_document("properties") else { return };
    for (name, property) in properties {
        let Some(property) = property.as_document() else { continue };
        let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        let types = match property.get("bsonType").or_else(|| property.get("type")) {
            Some(Bson::String(one)) => vec![one.as_str()],
            Some(Bson::Array(several)) => several.iter().filter_map(Bson::as_str).collect(),
            _ => Vec::new(),
        };
        let inner = depth < levels && path != KEY && property.get_document("properties").is_ok();
        if inner {
            declare(property, &path, depth + 1, levels, declared);
        }
        let kinds = types.iter().filter_map(|name| match *name {
            "number" => Some(Kind::Double),
            "boolean" => Some(Kind::Bool),
            other => Kind::named(other),
        });
        let shown = kinds.filter(|kind| !(inner && *kind == Kind::Object));
        declared.extend(shown.map(|kind| (path.clone(), kind)));
    }
}

/// The collections that are offered; the one of a name, if one is given.
pub(super) async fn collections(
    session: &Session,
    config: &MongoConfig,
    stream: Option<&str>,
) -> Result<Vec<Collection>, ConnectorError> {
    let filter = stream.map_or_else(Document::new, |name| doc! { "name": name });
    let command = doc! { "listCollections": 1, "filter": filter };
    let cursor = session.database.run_cursor_command(command).await.map_err(|cause| error::server(&cause))?;
    let said: Vec<Document> = cursor.try_collect().await.map_err(|cause| error::server(&cause))?;
    let offered = |collection: &Collection| {
        !collection.name.starts_with("system.")
            && (config.collections.is_empty() || config.collections.contains(&collection.name))
    };
    let mut found: Vec<Collection> = said.iter().filter_map(Collection::of).filter(offered).collect();
    found.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(found)
}

/// The collection of a stream.
pub(super) async fn collection(
    session: &Session,
    config: &MongoConfig,
    stream: &str,
) -> Result<Collection, ConnectorError> {
    let found = collections(session, config, Some(stream)).await?;
    found.into_iter().next().ok_or_else(|| {
        error::schema(format!("there is no collection `{stream}` in `{}`", config.database.trim()))
    })
}

/// A collection as a stream: what its sample and its validator show.
pub(super) fn stream(
    collection: &Collection,
    layout: &Layout,
    sample: &Sample,
    follow: bool,
) -> DiscoveredStream {
    let mut layout = layout.clone();
    for (path, kind) in collection.declared(layout.known.levels) {
        // A validator of more fields than columns are shows the others.
        let known = layout.columns().iter().any(|column| column.name == path);
        if !known && !layout.has_children(&path) && layout.learn(&path, kind).is_err() {
            break;
        }
    }
    let grows = |column: &&Column| {
        let one = column.kinds.len() == 1 && !column.name.contains("\\.");
        one && column.kinds.iter().all(|kind| matches!(kind, Kind::Date | Kind::Timestamp | Kind::ObjectId))
    };
    let cursor_fields = layout.columns().iter().filter(grows).map(|column| column.name.clone()).collect();
    let mut sync_modes = vec![SyncMode::Full];
    if collection.is_ordinary() {
        sync_modes.push(SyncMode::Incremental);
        if follow {
            sync_modes.push(SyncMode::Cdc);
        }
    }
    DiscoveredStream {
        name: collection.name.clone(),
        shape: layout.shape(),
        cursor_fields,
        sync_modes,
        estimated_rows: sample.total,
        sampled: Some(counted(sample, &layout)),
    }
}

/// How often each path of a sample has a value of each type.
fn counted(sample: &Sample, layout: &Layout) -> Sampled {
    let mut paths: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for document in &sample.documents {
        let mut each = BTreeSet::new();
        layout.kinds(document, &mut each);
        for (path, kind) in each {
            if paths.len() < MAX_PATHS || paths.contains_key(&path) {
                *paths.entry(path).or_default().entry(kind).or_default() += 1;
            }
        }
    }
    Sampled { documents: sample.documents.len() as u64, paths }
}
