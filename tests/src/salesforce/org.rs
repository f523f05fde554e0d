//! The organisation: objects, their fields and records, and what goes wrong with it.

use super::jobs::BulkJob;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A record's values by their fields, as JSON answers have them.
pub type Record = BTreeMap<String, Value>;

pub struct Field {
    pub name: String,
    pub kind: String,
    pub nillable: bool,
    pub calculated: bool,
}

#[derive(Default)]
pub struct Table {
    pub prefix: String,
    pub fields: Vec<Field>,
    pub rows: BTreeMap<String, Record>,
    /// Jobs can read it.
    pub bulk: bool,
}

impl Table {
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name.eq_ignore_ascii_case(name))
    }
}

/// What happens to an object's fields.
#[derive(Debug, Clone)]
pub enum Change {
    Add { object: String, field: String, kind: String },
    Rename { object: String, from: String, to: String },
    Remove { object: String, field: String },
}

/// An answer that refuses.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub retry_after: Option<u64>,
    /// How often; then it is over.
    pub times: u32,
    /// Of which paths.
    pub path: &'static str,
}

/// What a real organisation does only now and then.
#[derive(Default)]
pub struct Knobs {
    /// Records of a page of a query.
    pub page: Option<usize>,
    /// Records of a page of a job's results, whatever is asked for.
    pub job_page: Option<usize>,
    /// How often a job is looked at before it is complete.
    pub polls: u32,
    /// Each so-many-th data request is answered with 503.
    pub error_every: Option<u64>,
    pub refusals: Vec<Refusal>,
    /// Requests whose path holds this are never answered.
    pub hang: Option<String>,
    /// A session ends after so many requests.
    pub session_requests: Option<u64>,
    /// Requests a day.
    pub quota: Option<u64>,
    /// After so many requests whose path holds the text, this happens.
    pub drift: Vec<(String, u32, Change)>,
    /// Results are written under the names that fields have when they are fetched.
    pub late_names: bool,
    /// So many of the next pages of results end in their middle.
    pub cut_results: u32,
    /// Jobs end in failure, with this message.
    pub fail_jobs: Option<String>,
}

/// All that a simulator holds.
pub struct Org {
    pub url: String,
    pub objects: BTreeMap<String, Table>,
    pub knobs: Knobs,
    /// Paths of all data requests, in their order.
    pub calls: Vec<String>,
    pub used: u64,
    /// Sign-ins by their grant type.
    pub grants: Vec<String>,
    /// In PEM: what assertions are signed for.
    pub public_key: Option<String>,
    pub(super) jobs: BTreeMap<String, BulkJob>,
    pub(super) pages: HashMap<String, (u64, Vec<Value>)>,
    pub(super) sessions: BTreeMap<String, u64>,
    pub(super) renames: Vec<(String, String, String)>,
    serial: u64,
    clock: i64,
}

impl Org {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            objects: BTreeMap::new(),
            knobs: Knobs::default(),
            calls: Vec::new(),
            used: 0,
            grants: Vec::new(),
            public_key: None,
            jobs: BTreeMap::new(),
            pages: HashMap::new(),
            sessions: BTreeMap::new(),
            renames: Vec::new(),
            serial: 0,
            clock: 0,
        }
    }

    pub(super) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A moment later than all before, as records are stamped with.
    fn stamp(&mut self) -> String {
        self.clock = Utc::now().timestamp_millis().max(self.clock + 1);
        moment(self.clock)
    }

    /// Adds an object with the fields all have, and these: name and type.
    pub fn object(&mut self, name: &str, fields: &[(&str, &str)]) {
        let mut table =
            Table { prefix: format!("{:03}", self.objects.len() + 1), bulk: true, ..Table::default() };
        let usual = [
            ("Id", "id"),
            ("IsDeleted", "boolean"),
            ("CreatedDate", "datetime"),
            ("LastModifiedDate", "datetime"),
            ("SystemModstamp", "datetime"),
        ];
        for (number, (field, kind)) in usual.iter().chain(fields).enumerate() {
            table.fields.push(Field {
                name: (*field).to_owned(),
                kind: kind.trim_start_matches('=').to_owned(),
                nillable: number >= usual.len(),
                // `=double`: a formula.
                calculated: kind.starts_with('='),
            });
        }
        self.objects.insert(name.to_owned(), table);
    }

    /// Adds a record; its id.
    pub fn insert(&mut self, object: &str, values: Value) -> String {
        let serial = self.serial();
        let stamp = self.stamp();
        let table = self.objects.get_mut(object).expect("an object");
        let id = format!("{}000{serial:09}AAA", table.prefix);
        let mut record: Record = table.fields.iter().map(|field| (field.name.clone(), Value::Null)).collect();
        record.insert("Id".to_owned(), json!(id));
        record.insert("IsDeleted".to_owned(), json!(false));
        for field in ["CreatedDate", "LastModifiedDate", "SystemModstamp"] {
            record.insert(field.to_owned(), json!(stamp));
        }
        set(&mut record, values);
        table.rows.insert(id.clone(), record);
        id
    }

    pub fn update(&mut self, object: &str, id: &str, values: Value) {
        let stamp = self.stamp();
        let table = self.objects.get_mut(object).expect("an object");
        let record = table.rows.get_mut(id).expect("a record");
        set(record, values);
        for field in ["LastModifiedDate", "SystemModstamp"] {
            record.insert(field.to_owned(), json!(stamp));
        }
    }

    /// Into the recycle bin.
    pub fn delete(&mut self, object: &str, id: &str) {
        self.update(object, id, json!({ "IsDeleted": true }));
    }

    /// Changes a value without a trace, as a formula does.
    pub fn compute(&mut self, object: &str, id: &str, values: Value) {
        let table = self.objects.get_mut(object).expect("an object");
        set(table.rows.get_mut(id).expect("a record"), values);
    }

    pub fn ids(&self, object: &str) -> Vec<String> {
        self.live(object).filter_map(|record| record["Id"].as_str().map(str::to_owned)).collect()
    }

    /// Records that are not deleted.
    pub fn live(&self, object: &str) -> impl Iterator<Item = &Record> {
        self.objects[object].rows.values().filter(|record| record["IsDeleted"] == false)
    }

    pub fn change(&mut self, change: Change) {
        match change {
            Change::Add { object, field, kind } => {
                let table = self.objects.get_mut(&object).expect("an object");
                for record in table.rows.values_mut() {
                    record.insert(field.clone(), Value::Null);
                }
                table.fields.push(Field { name: field, kind, nillable: true, calculated: false });
            }
            Change::Rename { object, from, to } => {
                let table = self.objects.get_mut(&object).expect("an object");
                for field in table.fields.iter_mut().filter(|field| field.name == from) {
                    field.name.clone_from(&to);
                }
                for record in table.rows.values_mut() {
                    let value = record.remove(&from).unwrap_or_default();
                    record.insert(to.clone(), value);
                }
                self.renames.push((object, from, to));
            }
            Change::Remove { object, field } => {
                let table = self.objects.get_mut(&object).expect("an object");
                table.fields.retain(|one| one.name != field);
                for record in table.rows.values_mut() {
                    record.remove(&field);
                }
            }
        }
    }

    /// Counts a data request, and lets happen what was to happen after it.
    pub(super) fn called(&mut self, path: &str) {
        self.calls.push(path.to_owned());
        self.used += 1;
        let mut due = Vec::new();
        self.knobs.drift.retain_mut(|(part, after, change)| {
            if !path.contains(part.as_str()) {
                return true;
            }
            *after = after.saturating_sub(1);
            if *after == 0 {
                due.push(change.clone());
            }
            *after > 0
        });
        for change in due {
            self.change(change);
        }
    }

    pub(super) fn describe_all(&self) -> Value {
        let listed = |name: &String| {
            let path = format!("/services/data/v62.0/sobjects/{name}");
            json!({
                "name": name, "label": name, "custom": name.ends_with("__c"), "keyPrefix": self.objects[name].prefix,
                "labelPlural": format!("{name}s"), "layoutable": true, "activateable": false, "updateable": true,
                "urls": { "sobject": path, "describe": format!("{path}/describe"), "rowTemplate": format!("{path}/{{ID}}") },
                "searchable": true, "createable": true, "customSetting": false, "deletable": true,
                "deprecatedAndHidden": false, "feedEnabled": true, "mergeable": true, "queryable": true,
                "replicateable": true, "retrieveable": true, "undeletable": true, "triggerable": true
            })
        };
        let all: Vec<Value> = self.objects.keys().map(listed).collect();
        json!({ "encoding": "UTF-8", "maxBatchSize": 200, "sobjects": all })
    }

    pub(super) fn describe(&self, name: &str) -> Option<Value> {
        let table = self.objects.get(name)?;
        let field = |field: &Field| {
            let text =
                matches!(field.kind.as_str(), "string" | "textarea" | "picklist" | "phone" | "url" | "email");
            let own = field.name.ends_with("__c");
            json!({
                "length": if text { 255 } else { 0 }, "name": field.name, "type": field.kind, "defaultValue": null,
                "label": field.name, "updateable": !field.calculated, "calculated": field.calculated, "controllerName": null,
                "nillable": field.nillable, "unique": false, "precision": 0, "scale": 0, "caseSensitive": false,
                "byteLength": 0, "inlineHelpText": null, "nameField": field.name == "Name", "externalId": false,
                "idLookup": field.kind == "id", "filterable": true, "soapType": "xsd:string", "createable": true,
                "deprecatedAndHidden": false, "autoNumber": false, "calculatedFormula": null,
                "defaultValueFormula": null, "defaultedOnCreate": false, "digits": 0, "groupable": true,
                "picklistValues": [], "referenceTo": [], "relationshipName": null, "relationshipOrder": null,
                "restrictedPicklist": false, "namePointing": false, "custom": own, "htmlFormatted": false,
                "dependentPicklist": false, "writeRequiresMasterRead": false, "sortable": true
            })
        };
        let listed = self.describe_all();
        let mut described = listed["sobjects"].as_array()?.iter().find(|one| one["name"] == name)?.clone();
        let members = described.as_object_mut()?;
        members.insert("fields".to_owned(), table.fields.iter().map(field).collect());
        for (name, value) in [
            ("childRelationships", json!([])),
            ("recordTypeInfos", json!([])),
            ("listviewable", Value::Null),
            ("lookupLayoutable", Value::Null),
            ("searchLayoutable", Value::Null),
        ] {
            members.insert(name.to_owned(), value);
        }
        Some(described)
    }

    /// Deleted or changed records between two moments.
    pub(super) fn listed(&self, object: &str, deleted: bool, start: i64, end: i64) -> Option<Value> {
        let table = self.objects.get(object)?;
        let within = |record: &&Record| {
            let stamp = record["SystemModstamp"].as_str().and_then(millis).unwrap_or_default();
            record["IsDeleted"] == deleted && (start..end).contains(&stamp)
        };
        let found = table.rows.values().filter(within);
        let covered = moment(end);
        Some(if deleted {
            let all: Vec<Value> = found
                .map(|record| json!({ "id": record["Id"], "deletedDate": record["SystemModstamp"] }))
                .collect();
            json!({ "deletedRecords": all, "earliestDateAvailable": moment(start), "latestDateCovered": covered })
        } else {
            let all: BTreeSet<&str> = found.filter_map(|record| record["Id"].as_str()).collect();
            json!({ "ids": all, "latestDateCovered": covered })
        })
    }
}

fn set(record: &mut Record, values: Value) {
    let Value::Object(values) = values else { panic!("an object of values") };
    for (name, value) in values {
        assert!(record.contains_key(&name), "there is no field `{name}`");
        record.insert(name, value);
    }
}

/// `2020-10-22T21:03:23.000+0000`
pub(super) fn moment(millis: i64) -> String {
    let time = DateTime::from_timestamp_millis(millis).expect("a time");
    time.to_rfc3339_opts(SecondsFormat::Millis, true).replace('Z', "+0000")
}

pub(super) fn millis(text: &str) -> Option<i64> {
    let parsed = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"));
    parsed.ok().map(|time| time.timestamp_millis())
}
