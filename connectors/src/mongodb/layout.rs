//! How documents become columns: a field each, nested objects down to some levels by dotted names, what
//! lies deeper and arrays as JSON text. Columns are learnt from documents, as they come.

use super::{
    error,
    value::{Kind, logical, text},
};
use crate::error::ConnectorError;
use autonomos_domain::schema::{Field, LogicalType, StreamShape};
use mongodb::bson::{RawBsonRef, RawDocument};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What documents are told apart by.
pub(super) const KEY: &str = "_id";
/// An object with more fields than this is a map from keys to values, not a record: it is one column.
const MAX_CHILDREN: usize = 200;
const MAX_COLUMNS: usize = 2_000;

/// A column, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kinds: BTreeSet<Kind>,
    /// No document has it any more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) gone: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// The columns of a collection, as a cursor keeps them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) columns: Vec<Column>,
    /// Objects that are one column each.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) maps: BTreeSet<String>,
    /// The class of types that most keys have: they are written plainly, others with their type.
    pub(super) key_class: Option<String>,
    pub(super) levels: u8,
}

/// The values of a document, by the places of their columns.
pub(super) type Cells = Vec<(usize, String)>;

/// Why a document has no cells yet.
#[derive(Debug)]
pub(super) enum Refused {
    /// This object is a map: `close` it, and try again.
    Map(String),
    /// The bytes are no BSON.
    Broken(String),
    TooMany,
}

impl Refused {
    pub(super) fn error(self) -> ConnectorError {
        match self {
            Self::Map(path) => error::unreadable(format!("`{path}` has too many fields")),
            Self::Broken(reason) => error::unreadable(reason),
            Self::TooMany => error::unreadable(format!(
                "the documents have more than {MAX_COLUMNS} fields: lower `nested_levels`, so that objects are JSON text"
            )),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) known: Known,
    places: HashMap<String, usize>,
    children: HashMap<String, BTreeSet<String>>,
    /// The shape is another one since this was last taken.
    pub(super) changed: bool,
}

impl Layout {
    pub(super) fn new(known: Known) -> Self {
        let mut layout = Self { known, places: HashMap::new(), children: HashMap::new(), changed: false };
        layout.index();
        layout
    }

    fn index(&mut self) {
        self.places.clear();
        self.children.clear();
        let names: Vec<String> = self.known.columns.iter().map(|column| column.name.clone()).collect();
        for (place, name) in names.into_iter().enumerate() {
            self.family(&name);
            self.places.insert(name, place);
        }
    }

    /// Notes a column with each object that it lies in; the first of them that is crowded.
    fn family(&mut self, name: &str) -> Option<String> {
        let mut crowded = None;
        for (at, _) in name.match_indices('.').filter(|(at, _)| !name[..*at].ends_with('\\')) {
            let child = name[at + 1..].split('.').next().unwrap_or_default().to_owned();
            let children = self.children.entry(name[..at].to_owned()).or_default();
            children.insert(child);
            if children.len() > MAX_CHILDREN && crowded.is_none() {
                crowded = Some(name[..at].to_owned());
            }
        }
        crowded
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.known.columns
    }

    pub(super) fn has_children(&self, path: &str) -> bool {
        self.children.contains_key(path)
    }

    /// The shape of the columns that are there.
    pub(super) fn shape(&self) -> StreamShape {
        let there = self.known.columns.iter().filter(|column| !column.gone);
        let field = |column: &Column| {
            let key = column.name == KEY;
            // A key's text says its type where types are mixed.
            let logical_type = if key && column.kinds.contains(&Kind::Object) {
                LogicalType::Text
            } else {
                logical(&column.kinds)
            };
            Field { name: column.name.clone(), logical_type, nullable: !key, format: None }
        };
        let key = self.known.columns.iter().filter(|column| column.name == KEY);
        StreamShape {
            fields: there.map(field).collect(),
            primary_key: key.map(|column| column.name.clone()).collect(),
        }
    }

    /// The text of a key: as it stands for the usual class of types; with the class before it else, so
    /// that `1` and `"1"` are two records.
    pub(super) fn key(&mut self, value: RawBsonRef<'_>) -> Result<String, Refused> {
        let class = Kind::of(value).map_or("null", Kind::class);
        let usual = self.known.key_class.get_or_insert_with(|| class.to_owned());
        let text = written(value)?.unwrap_or_default();
        // A text that reads as if it had a class gets one.
        let plain = usual == class && !(class == "string" && text.split_once(':').is_some_and(is_class));
        Ok(if plain { text } else { format!("{class}:{text}") })
    }

    /// The cells of a document, the key among them; new columns and types are learnt.
    pub(super) fn cells(&mut self, document: &RawDocument) -> Result<Cells, Refused> {
        let mut cells = Vec::new();
        let mut hollow = Vec::new();
        self.walk("", 0, document, &mut cells, &mut hollow)?;
        for path in hollow {
            // An object without fields is shown where nothing else shows that it is there.
            if !self.has_children(&path) {
                let place = self.learn(&path, Kind::Object)?;
                cells.push((place, "{}".to_owned()));
            }
        }
        Ok(cells)
    }

    /// The types of the values at each path of a document, those of objects that are columns too.
    pub(super) fn kinds(&self, document: &RawDocument, found: &mut BTreeSet<(String, String)>) {
        self.kinds_below("", 0, document, found);
    }

    fn kinds_below(
        &self,
        above: &str,
        depth: u8,
        document: &RawDocument,
        found: &mut BTreeSet<(String, String)>,
    ) {
        for (name, value) in document.iter().filter_map(Result::ok) {
            let path = path(above, name.as_str());
            let kind = Kind::of(value).map_or("null", Kind::alias);
            found.insert((path.clone(), kind.to_owned()));
            if let RawBsonRef::Document(inner) = value
                && depth < self.known.levels
                && path != KEY
                && !self.known.maps.contains(&path)
            {
                self.kinds_below(&path, depth + 1, inner, found);
            }
        }
    }

    fn walk(
        &mut self,
        above: &str,
        depth: u8,
        document: &RawDocument,
        cells: &mut Cells,
        hollow: &mut Vec<String>,
    ) -> Result<(), Refused> {
        for element in document {
            let (name, value) = element.map_err(|cause| Refused::Broken(cause.to_string()))?;
            let path = path(above, name.as_str());
            if path == KEY {
                let text = self.key(value)?;
                let place = self.learn(KEY, Kind::of(value).unwrap_or(Kind::String))?;
                cells.push((place, text));
                continue;
            }
            match value {
                RawBsonRef::Document(inner)
                    if depth < self.known.levels && !self.known.maps.contains(&path) =>
                {
                    if inner.is_empty() {
                        hollow.push(path);
                    } else {
                        self.walk(&path, depth + 1, inner, cells, hollow)?;
                    }
                }
                _ => {
                    let Some(kind) = Kind::of(value) else { continue };
                    let place = self.learn(&path, kind)?;
                    cells.push((place, written(value)?.unwrap_or_default()));
                }
            }
        }
        Ok(())
    }

    /// The place of a column, whose values may be of this kind.
    pub(super) fn learn(&mut self, name: &str, kind: Kind) -> Result<usize, Refused> {
        if let Some(place) = self.places.get(name).copied() {
            let column = &mut self.known.columns[place];
            if !column.kinds.contains(&kind) {
                let before = logical(&column.kinds);
                column.kinds.insert(kind);
                self.changed |= before != logical(&column.kinds) && !column.gone;
            }
            return Ok(place);
        }
        let place = self.known.columns.len();
        if place >= MAX_COLUMNS {
            return Err(Refused::TooMany);
        }
        if let Some(crowded) = self.family(name) {
            return Err(Refused::Map(crowded));
        }
        self.known.columns.push(Column { name: name.to_owned(), kinds: BTreeSet::from([kind]), gone: false });
        self.places.insert(name.to_owned(), place);
        self.changed = true;
        Ok(place)
    }

    /// An object is one column from here on: places change.
    pub(super) fn close(&mut self, path: String) {
        let below = format!("{path}.");
        self.known.columns.retain(|column| !column.name.starts_with(&below));
        self.known.maps.insert(path);
        self.changed = true;
        self.index();
    }

    /// The layout that a sample shows, with what is known beside it: columns keep their order. Of what
    /// is known and not in the sample, `still` says whether it is still there.
    pub(super) fn settled(&self, sample: &Self, still: &BTreeMap<String, BTreeSet<Kind>>) -> Self {
        let mut columns = Vec::new();
        for column in &self.known.columns {
            let below = sample.known.maps.iter().any(|map| column.name.starts_with(&format!("{map}.")));
            if below {
                continue;
            }
            let seen = sample.places.get(&column.name).map(|place| &sample.known.columns[*place].kinds);
            let found = still.get(&column.name);
            let kinds: BTreeSet<Kind> = seen.into_iter().chain(found).flatten().copied().collect();
            if column.name != KEY && seen.is_none() && found.is_none() {
                columns.push(Column { gone: true, ..column.clone() });
            } else {
                let kinds = if kinds.is_empty() { column.kinds.clone() } else { kinds };
                columns.push(Column { name: column.name.clone(), kinds, gone: false });
            }
        }
        let fresh = sample.known.columns.iter().filter(|column| !self.places.contains_key(&column.name));
        columns.extend(fresh.cloned());
        let key_class = self.known.key_class.clone().or_else(|| sample.known.key_class.clone());
        let maps = sample.known.maps.clone();
        Self::new(Known { columns, maps, key_class, levels: sample.known.levels })
    }
}

fn is_class((class, _): (&str, &str)) -> bool {
    matches!(class, "number" | "null" | "uuid") || Kind::named(class).is_some()
}

fn written(value: RawBsonRef<'_>) -> Result<Option<String>, Refused> {
    text(value).map_err(|cause| Refused::Broken(cause.to_string()))
}

/// The name of a field within an object; a dot that belongs to the name is marked.
fn path(above: &str, name: &str) -> String {
    let name = if name.contains('.') { name.replace('.', "\\.") } else { name.to_owned() };
    if above.is_empty() { name } else { format!("{above}.{name}") }
}

/// Whether a path can be asked for in a query.
pub(super) fn is_askable(path: &str) -> bool {
    !path.contains("\\.") && path.split('.').all(|name| !name.is_empty() && !name.starts_with('$'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};

    fn layout(levels: u8) -> Layout {
        Layout::new(Known { levels, ..Known::default() })
    }

    fn raw(document: &Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(document).expect("a document")
    }

    /// The cells of a document by the names of their columns.
    #[track_caller]
    fn check(layout: &mut Layout, document: &Document, expect: &[(&str, &str)]) {
        let cells = layout.cells(&raw(document)).expect("cells");
        let named =
            cells.iter().map(|(place, text)| (layout.known.columns[*place].name.as_str(), text.as_str()));
        assert_eq!(named.collect::<Vec<_>>(), expect, "{document}");
    }

    #[test]
    fn nested_objects_are_columns_as_deep_as_was_said() {
        let document = doc! {
            "_id": 1, "a": { "b": { "c": { "d": 1 } }, "x.y": "dotted" }, "list": [{ "k": 1 }], "none": Bson::Null,
            "hollow": {},
        };
        let two = [
            ("_id", "1"),
            ("a.b.c", "{\"d\":1}"),
            ("a.x\\.y", "dotted"),
            ("list", "[{\"k\":1}]"),
            ("hollow", "{}"),
        ];
        check(&mut layout(2), &document, &two);
        let flat = [
            ("_id", "1"),
            ("a", "{\"b\":{\"c\":{\"d\":1}},\"x.y\":\"dotted\"}"),
            ("list", "[{\"k\":1}]"),
            ("hollow", "{}"),
        ];
        check(&mut layout(0), &document, &flat);
        let mut both = layout(3);
        check(&mut both, &doc! { "_id": 1, "a": { "b": 1 } }, &[("_id", "1"), ("a.b", "1")]);
        check(&mut both, &doc! { "_id": 2, "a": "text" }, &[("_id", "2"), ("a", "text")]);
        check(&mut both, &doc! { "_id": 3, "a": {} }, &[("_id", "3")]);
        assert!(!is_askable("a.x\\.y") && !is_askable("a.$x") && is_askable("a.b"));
    }

    #[test]
    fn keys_of_different_types_are_different_keys() {
        let mut layout = layout(3);
        for (key, expect) in [
            (Bson::from("a"), "a"),
            (Bson::from("number:1"), "string:number:1"),
            (Bson::from("1"), "1"),
            (Bson::from(1), "number:1"),
            (Bson::from(1.5), "number:1.5"),
            (Bson::Null, "null:"),
            (Bson::from(doc! { "a": 1 }), "object:{\"a\":1}"),
            (Bson::from("http://x"), "http://x"),
        ] {
            check(&mut layout, &doc! { "_id": key }, &[("_id", expect)]);
        }
    }

    #[test]
    fn an_object_with_a_field_for_everybody_is_one_column() {
        let mut layout = layout(3);
        let mut crowd = Document::new();
        for number in 0..=MAX_CHILDREN {
            crowd.insert(format!("user{number}"), doc! { "score": 1 });
        }
        let document = raw(&doc! { "_id": 1, "name": "x", "scores": crowd });
        let Err(Refused::Map(path)) = layout.cells(&document) else { panic!("a map") };
        assert_eq!(path, "scores");
        layout.close(path);
        assert_eq!(layout.cells(&document).expect("cells").len(), 3);
        let names: Vec<String> = layout.shape().fields.into_iter().map(|field| field.name).collect();
        assert_eq!(names, ["_id", "name", "scores"]);
    }

    #[test]
    fn what_a_sample_lacks_is_gone_unless_it_is_still_there() {
        let mut known = layout(3);
        known.cells(&raw(&doc! { "_id": 1, "old": 1, "rare": 1, "kept": 1 })).expect("cells");
        known.cells(&raw(&doc! { "_id": 2, "kept": "text" })).expect("cells");
        let mut sample = layout(3);
        sample.cells(&raw(&doc! { "_id": 1, "new": 1, "kept": 2 })).expect("cells");
        let still = BTreeMap::from([("rare".to_owned(), BTreeSet::from([Kind::Int]))]);
        let settled = known.settled(&sample, &still);
        let shape = settled.shape();
        let fields: Vec<(&str, LogicalType)> =
            shape.fields.iter().map(|field| (field.name.as_str(), field.logical_type)).collect();
        let integer = LogicalType::Integer;
        assert_eq!(fields, [("_id", integer), ("rare", integer), ("kept", integer), ("new", integer)]);
        assert!(settled.columns().iter().any(|column| column.name == "old" && column.gone));
    }
}
