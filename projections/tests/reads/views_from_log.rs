//! The unified views through the whole runtime: from sealed batches on the log to what readers see.

use crate::world::{World, tenant};
use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
    ipc::writer::StreamWriter,
};
use autonomos_domain::{
    aggregates::{
        feed::{BatchHeader, FeedEvent, FeedState},
        mapping::{Binding, MappingEvent},
    },
    envelope::{AggregateType, Position},
    ids::{ConnectionId, FeedId, SyncId, TenantId},
    mapping::{MappingContent, MappingField, MappingOrigin, Transform},
};
use autonomos_projections::{
    dcl::read::{AsOf, ExportFormat, QuarantineFilter, RowsQuery},
    runtime::{DCL, Handle, ProjectorStatus, READ_MODELS},
};
use futures::StreamExt;
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

const LONG: Duration = Duration::from_mins(1);

pub(crate) struct Source {
    pub(crate) of: TenantId,
    pub(crate) connection: ConnectionId,
    stream: &'static str,
    batches: u64,
}

impl Source {
    pub(crate) async fn new(world: &World, of: u128, number: u128, stream: &'static str) -> Self {
        Self::of(world, tenant(of), number, stream).await
    }

    pub(crate) async fn of(world: &World, of: TenantId, number: u128, stream: &'static str) -> Self {
        let source = Self { of, connection: ConnectionId(Uuid::from_u128(number)), stream, batches: 0 };
        let line = |column: &str, target: &str| MappingField {
            source: column.to_owned(),
            also: vec![],
            target: target.to_owned(),
            transform: Transform::Copy,
            confidence: 1.0,
            origin: MappingOrigin::Human,
            evidence: vec![],
        };
        let content = MappingContent {
            entity: Some("account".to_owned()),
            key: vec!["id".to_owned()],
            fields: vec![line("title", "name"), line("site", "domain"), line("revenue", "annual_revenue")],
        };
        let created = MappingEvent::MappingCreated {
            connection_id: source.connection,
            stream: stream.to_owned(),
            version: 1,
            content,
            origin: MappingOrigin::Human,
        };
        let binding = Binding {
            schema_version: 1,
            mapping_version: 1,
            held: vec![],
            hold_rows: false,
            suspect_from: None,
        };
        let events = [created, MappingEvent::MappingBound { binding }];
        world.append(source.of, AggregateType::Mapping, source.feed().0, &events).await;
        source
    }

    fn feed(&self) -> FeedId {
        FeedId::of(self.connection, self.stream)
    }

    pub(crate) async fn ingest(&mut self, world: &World, rows: &[[&str; 4]]) -> Position {
        let body = body(rows);
        self.ingest_body(world, rows.len() as u64, &body).await
    }

    async fn ingest_body(&mut self, world: &World, rows: u64, body: &[u8]) -> Position {
        self.batches += 1;
        let event = FeedEvent::RecordsIngested {
            batch: BatchHeader {
                rows,
                schema_version: 1,
                checksum: blake3::hash(body).to_hex().to_string(),
                key: vec!["id".to_owned()],
                sync_id: SyncId(Uuid::from_u128(1)),
                rejected: vec![],
                rejected_total: 0,
            },
            state: FeedState {
                connection_id: self.connection,
                stream: self.stream.to_owned(),
                cursor: None,
                schema_version: 1,
                snapshot: None,
                batches: self.batches,
                rows,
                bytes: body.len() as u64,
                completed_rows: None,
            },
        };
        world.append_with(self.of, AggregateType::Feed, self.feed().0, &[event], Some(body)).await
    }
}

fn body(rows: &[[&str; 4]]) -> Vec<u8> {
    let names = ["id", "title", "site", "revenue"];
    let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let columns: Vec<ArrayRef> = (0..names.len())
        .map(|index| Arc::new(rows.iter().map(|row| Some(row[index])).collect::<StringArray>()) as ArrayRef)
        .collect();
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    writer.write(&RecordBatch::try_new(schema.clone(), columns).unwrap()).unwrap();
    writer.into_inner().unwrap()
}

pub(crate) async fn export(
    handle: &Handle,
    of: TenantId,
    format: ExportFormat,
    at: Option<Position>,
) -> Vec<u8> {
    let as_of = at.map(|position| AsOf::Sequence(position.sequence));
    let mut stream = handle.dcl().export(of, "account", format, &[], as_of).await.unwrap();
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece.unwrap());
    }
    all
}

/// Two tenants with two sources each, in several batches; the positions on the way.
pub(crate) async fn fill(world: &World) -> Vec<Position> {
    let mut positions = Vec::new();
    for of in [1, 2] {
        let mut sales = Source::new(world, of, of * 10 + 1, "accounts").await;
        let mut crm = Source::new(world, of, of * 10 + 2, "companies").await;
        let first = sales
            .ingest(
                world,
                &[
                    ["1", "Acme Inc", "acme.com", "10"],
                    ["2", "Birch", "birch.io", "20.5"],
                    ["3", "Cedar", "cedar.net", "not a number"],
                ],
            )
            .await;
        let second =
            crm.ingest(world, &[["x1", "ACME", "www.acme.com", "11"], ["x2", "Dune", "dune.org", "7"]]).await;
        let third = sales.ingest(world, &[["2", "Birch & Sons", "birch.io", "21"]]).await;
        positions.extend([first, second, third]);
    }
    positions
}

pub(crate) async fn wait(handle: &Handle, position: Position) {
    for of in [1, 2] {
        handle.wait_for(tenant(of), position, &[READ_MODELS, DCL], LONG).await.unwrap();
    }
}

pub(crate) async fn everything(handle: &Handle, positions: &[Position]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for of in [tenant(1), tenant(2)] {
        for format in [ExportFormat::Csv, ExportFormat::Ndjson, ExportFormat::Parquet, ExportFormat::Arrow] {
            all.push(export(handle, of, format, None).await);
        }
        for position in positions {
            all.push(export(handle, of, ExportFormat::Csv, Some(*position)).await);
        }
    }
    all
}

/// Equal bytes; texts are shown where they differ.
pub(crate) fn check(before: &[Vec<u8>], after: &[Vec<u8>], what: &str) {
    for (before, after) in before.iter().zip(after) {
        assert_eq!(String::from_utf8_lossy(before), String::from_utf8_lossy(after), "{what}");
    }
    assert!(before == after, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_rebuild_leaves_the_live_files_alone() {
    let world = World::new();
    let handle = world.start().await;
    let positions = fill(&world).await;
    wait(&handle, *positions.last().unwrap()).await;
    let before = everything(&handle, &positions).await;
    // One that was over before it could be told is begun again.
    loop {
        let _ = handle.rebuild(DCL);
        if handle.rebuild_pause(DCL).is_ok() && handle.rebuild_abort(DCL).is_ok() {
            break;
        }
        tokio::task::yield_now().await;
    }
    // A second one can begin as soon as nothing of the first is left.
    while handle.status().await.unwrap().iter().any(|state| state.rebuild_paused) {
        tokio::task::yield_now().await;
    }
    let state = handle.status().await.unwrap().into_iter().find(|state| state.name == DCL).unwrap();
    for of in [tenant(1), tenant(2)] {
        let folder = world.folder.path().join("dcl").join(of.to_string());
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut files: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        files.retain(|name| name.ends_with(".duckdb"));
        assert_eq!(files, [format!("{}.duckdb", state.generation)]);
    }
    check(&before, &everything(&handle, &positions).await, "an abort changed what is read");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_become_rows_and_a_rebuild_gives_the_same_bytes() {
    let world = World::new();
    let handle = world.start().await;
    let positions = fill(&world).await;
    let last = *positions.last().unwrap();
    wait(&handle, last).await;
    let page = handle.dcl().rows(tenant(1), "accounts", &RowsQuery::default()).await.unwrap();
    let mut names: Vec<_> = page.data.iter().map(|row| row["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ACME", "Birch & Sons", "Cedar", "Dune"]);
    let acme = page.data.iter().find(|row| row["name"] == "ACME").unwrap();
    assert_eq!(acme["_sources"].as_array().unwrap().len(), 2);
    let then = RowsQuery { as_of: Some(AsOf::Sequence(positions[0].sequence)), ..RowsQuery::default() };
    let then = handle.dcl().rows(tenant(1), "accounts", &then).await.unwrap();
    assert_eq!(then.data.len(), 3);
    let quarantine = handle.dcl().quarantine(tenant(1), &QuarantineFilter::default()).await.unwrap();
    assert_eq!((quarantine.total, quarantine.data[0].value.as_deref()), (1, Some("not a number")));

    let before = everything(&handle, &positions).await;
    handle.rebuild_and_wait(DCL).await.unwrap();
    check(&before, &everything(&handle, &positions).await, "a rebuild beside the live one differs");
    handle.shutdown().await;
    std::fs::remove_dir_all(world.folder.path().join("dcl")).unwrap();
    let handle = world.start().await;
    check(&before, &everything(&handle, &positions).await, "a rebuild from nothing differs");
    handle.shutdown().await;
    // One tenant's file alone is lost: it is built again, the other is left as it is.
    let folder = world.folder.path().join("dcl").join(tenant(2).to_string());
    std::fs::remove_dir_all(folder).unwrap();
    let handle = world.start().await;
    wait(&handle, last).await;
    check(&before, &everything(&handle, &positions).await, "a lost file was not built again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_batch_parks_its_tenant_alone() {
    let world = World::new();
    let handle = world.start().await;
    fill(&world).await;
    let mut bad = Source::new(&world, 1, 99, "bad").await;
    let damaged = bad.ingest_body(&world, 1, b"no arrow at all").await;
    let mut good = Source::new(&world, 2, 98, "good").await;
    let after = good.ingest(&world, &[["9", "Elm", "elm.dev", "1"]]).await;
    handle.wait_for(tenant(2), after, &[DCL], LONG).await.unwrap();
    let error = handle.wait_for(tenant(1), damaged, &[DCL], LONG).await.unwrap_err();
    assert_eq!(error.code(), "AOS-0404");
    let state = handle.status().await.unwrap().into_iter().find(|state| state.name == DCL).unwrap();
    assert_eq!(state.status, ProjectorStatus::Poisoned);
    assert_eq!(state.poisoned[0].position, damaged);
    handle.skip(DCL, tenant(1)).await.unwrap();
    handle.wait_for(tenant(1), after, &[DCL], LONG).await.unwrap();
    let rows = handle.dcl().rows(tenant(1), "accounts", &RowsQuery::default()).await.unwrap();
    assert_eq!(rows.data.len(), 4);
}
