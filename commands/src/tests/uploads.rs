use super::{World, context};
use crate::{
    error::{CommandError, Kind},
    uploads::{UploadOptions, UploadService},
};
use autonomos_domain::aggregates::tenant::{Tenant, TenantCommand};
use bytes::Bytes;
use futures::{Stream, stream};
use std::convert::Infallible;

fn service(world: &World) -> UploadService {
    let options = UploadOptions { limit: 10_000, ..UploadOptions::new(world.path().join("uploads")) };
    UploadService::new(world.commands.clone(), options)
}

fn content(chunks: usize, bytes: usize) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    stream::iter((0..chunks).map(move |_| Ok(Bytes::from(vec![b'x'; bytes]))))
}

fn files(world: &World) -> usize {
    let tenants = std::fs::read_dir(world.path().join("uploads")).unwrap();
    tenants.map(|tenant| std::fs::read_dir(tenant.unwrap().path()).unwrap().count()).sum()
}

#[tokio::test]
async fn an_upload_is_stored_found_and_removed() {
    let world = World::new();
    let uploads = service(&world);
    let tenant = world.tenant().await;
    let asked = context(tenant);
    let (upload, outcome) = uploads.upload_store(&asked, "accounts.csv", content(3, 100)).await.unwrap();
    assert_eq!((upload.bytes, outcome.replayed), (300, false));
    let stored = uploads.upload_find(tenant, upload.id).await.unwrap();
    let written = std::fs::read(&stored.path).unwrap();
    assert_eq!(blake3::hash(&written).to_hex().to_string(), upload.content_hash);

    let (same, outcome) = uploads.upload_store(&asked, "accounts.csv", content(3, 100)).await.unwrap();
    assert_eq!((same, outcome.replayed), (upload.clone(), true));
    let other = uploads.upload_store(&asked, "accounts.csv", content(2, 100)).await.unwrap_err();
    assert!(matches!(other, CommandError::IdempotencyMismatch));
    assert_eq!(std::fs::read(&stored.path).unwrap().len(), 300);
    assert_eq!(files(&world), 1);

    let stranger = world.tenant().await;
    assert_eq!(uploads.upload_find(stranger, upload.id).await.unwrap_err().kind(), Kind::NotFound);
    uploads.upload_remove(&context(tenant), upload.id).await.unwrap();
    assert!(!stored.path.exists());
    assert!(uploads.upload_list(tenant).await.unwrap().is_empty());
}

#[tokio::test]
async fn too_large_broken_and_badly_named_uploads_leave_no_file() {
    let world = World::new();
    let uploads = service(&world);
    let tenant = world.tenant().await;
    let large = uploads.upload_store(&context(tenant), "a.csv", content(101, 100)).await.unwrap_err();
    assert_eq!(large.kind(), Kind::LimitExceeded);
    let broken = stream::iter([Ok(Bytes::from_static(b"x")), Err("connection reset")]);
    let broken = uploads.upload_store(&context(tenant), "a.csv", broken).await.unwrap_err();
    assert_eq!(broken.code(), "AOS-0331");
    let path = uploads.upload_store(&context(tenant), "../a.csv", content(1, 1)).await.unwrap_err();
    assert_eq!(path.kind(), Kind::Invalid);
    assert_eq!(files(&world), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_at_the_same_time_never_pass_the_quota() {
    let world = World::new();
    let uploads = service(&world);
    let tenant = world.tenant().await;
    let quota = TenantCommand::SetUploadQuota { bytes: 5_000 };
    world.commands.execute::<Tenant>(&context(tenant), tenant.0, quota).await.unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let uploads = uploads.clone();
        callers.spawn(async move { uploads.upload_store(&context(tenant), "a.csv", content(10, 100)).await });
    }
    let results = callers.join_all().await;
    let stored = results.iter().filter(|result| result.is_ok()).count();
    assert!((1..=5).contains(&stored), "{stored} stored");
    for refused in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(refused.kind(), Kind::LimitExceeded, "{refused}");
    }
    let state = world.commands.load::<Tenant>(tenant, tenant.0).await.unwrap().state;
    assert_eq!(state.uploaded_bytes, stored as u64 * 1_000);
    assert_eq!(files(&world), stored);
}

#[tokio::test]
async fn what_a_crash_left_is_swept_up() {
    let world = World::new();
    let uploads = service(&world);
    let tenant = world.tenant().await;
    let (upload, _) = uploads.upload_store(&context(tenant), "a.csv", content(1, 10)).await.unwrap();
    let folder = uploads.upload_path(tenant, upload.id).parent().unwrap().to_owned();
    std::fs::write(folder.join("0123.partial"), b"half").unwrap();
    std::fs::write(folder.join(uuid::Uuid::new_v4().to_string()), b"whole, but unknown").unwrap();
    assert_eq!(uploads.sweep(std::time::Duration::ZERO).await.unwrap(), 2);
    assert!(uploads.upload_find(tenant, upload.id).await.unwrap().path.exists());
    assert_eq!(files(&world), 1);
}
