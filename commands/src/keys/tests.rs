use super::*;
use autonomos_log::postgres_server::Postgres;
use std::time::Duration;

/// What every key store does, whatever the keys are kept in; `open` opens the same one again, as the
/// next start or another node does.
async fn conformance(open: impl AsyncFn() -> KeyStore) {
    opens_again(&open).await;
    opens_nothing_else(&open().await);
    shreds(&open).await;
}

async fn opens_again(open: &impl AsyncFn() -> KeyStore) {
    let tenant = TenantId::random();
    let first = open().await;
    let key_id = first.payload_key(tenant).unwrap();
    let batch = first.batch_keys(tenant, 3).unwrap();
    let sealed = first.seal(tenant, batch[1], b"place", b"clear").unwrap();
    let reservation = first.reservation_id("email", "a@b.c");
    let secret = first.secret("name", || vec![1]).unwrap();

    let store = open().await;
    assert_eq!(store.payload_key(tenant).unwrap(), key_id);
    assert_eq!(batch.len(), 3);
    assert!(!batch.contains(&key_id));
    assert!(store.batch_keys(tenant, 1).unwrap()[0] > batch[2], "an id is given once");
    assert_eq!(&store.open(tenant, batch[1], b"place", &sealed).unwrap()[..], b"clear");
    assert_eq!(store.reservation_id("email", "a@b.c"), reservation);
    assert_ne!(store.reservation_id("emaila", "@b.c"), reservation);
    assert_eq!(store.secret("name", || vec![2]).unwrap(), secret, "the first value stays");
}

fn opens_nothing_else(store: &KeyStore) {
    let tenant = TenantId::random();
    let key_id = store.payload_key(tenant).unwrap();
    let sealed = store.seal(tenant, key_id, b"here", b"clear").unwrap();
    assert!(matches!(store.open(tenant, key_id, b"there", &sealed), Err(SealError::Altered { .. })));
    let mut altered = sealed.to_vec();
    altered[30] ^= 1;
    assert!(matches!(store.open(tenant, key_id, b"here", &altered), Err(SealError::Altered { .. })));
    assert!(matches!(store.open(tenant, key_id, b"here", b"short"), Err(SealError::Altered { .. })));
    let other = TenantId::random();
    assert!(matches!(store.open(other, key_id, b"here", &sealed), Err(SealError::Missing { .. })));
}

async fn shreds(open: &impl AsyncFn() -> KeyStore) {
    let (tenant, other) = (TenantId::random(), TenantId::random());
    let store = open().await;
    let keys = store.batch_keys(tenant, 2).unwrap();
    let kept = store.batch_keys(other, 1).unwrap()[0];
    let sealed: Vec<_> = keys.iter().map(|key| store.seal(tenant, *key, b"", b"clear").unwrap()).collect();
    let kept_sealed = store.seal(other, kept, b"", b"clear").unwrap();

    store.destroy(tenant, Some(keys[0])).unwrap();
    assert!(matches!(store.open(tenant, keys[0], b"", &sealed[0]), Err(SealError::Shredded { .. })));
    assert!(store.open(tenant, keys[1], b"", &sealed[1]).is_ok());

    store.destroy(tenant, None).unwrap();
    for store in [&store, &open().await] {
        assert!(matches!(store.open(tenant, keys[1], b"", &sealed[1]), Err(SealError::Shredded { .. })));
        assert!(matches!(store.payload_key(tenant), Err(SealError::Shredded { .. })));
        assert!(matches!(store.batch_keys(tenant, 1), Err(SealError::Shredded { .. })));
        assert!(store.open(other, kept, b"", &kept_sealed).is_ok());
    }
}

#[tokio::test]
async fn keys_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    conformance(async || KeyStore::open(folder.path()).unwrap()).await;
}

async fn node(url: &str, master: &Path) -> Result<KeyStore, KeyStoreError> {
    let database = Database::connect(url, Duration::from_secs(10)).await.unwrap();
    KeyStore::shared(&database, master).await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_postgres() {
    let server = Postgres::shared();
    let url = server.database();
    let folder = tempfile::tempdir().unwrap();
    let master = folder.path().join("master.key");
    conformance(async || node(&url, &master).await.unwrap()).await;
}

/// A node that has a key in memory must not keep it when another one destroys it.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_destroys_the_others_forget() {
    let server = Postgres::shared();
    let url = server.database();
    let folder = tempfile::tempdir().unwrap();
    let master = folder.path().join("master.key");
    let (one, two) = (node(&url, &master).await.unwrap(), node(&url, &master).await.unwrap());
    let tenant = TenantId::random();
    let key_id = one.payload_key(tenant).unwrap();
    assert_eq!(two.payload_key(tenant).unwrap(), key_id);
    let sealed = one.seal(tenant, key_id, b"", b"clear").unwrap();
    assert!(two.open(tenant, key_id, b"", &sealed).is_ok());
    one.destroy(tenant, None).unwrap();
    let forgotten = async {
        while two.open(tenant, key_id, b"", &sealed).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), forgotten).await.expect("it is forgotten");
}

/// Nodes that start at the same time make one installation, not two.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_together_have_the_same_keys() {
    let server = Postgres::shared();
    let url = server.database();
    let folder = tempfile::tempdir().unwrap();
    let master = folder.path().join("shared").join("master.key");
    let starting = (0..4).map(|_| node(&url, &master));
    let nodes: Vec<_> = futures::future::join_all(starting).await.into_iter().map(Result::unwrap).collect();
    let tenant = TenantId::random();
    let key_ids: Vec<_> = nodes.iter().map(|node| node.payload_key(tenant).unwrap()).collect();
    assert!(key_ids.iter().all(|key_id| *key_id == key_ids[0]));
    let sealed = nodes[0].seal(tenant, key_ids[0], b"", b"clear").unwrap();
    for node in &nodes {
        assert!(node.open(tenant, key_ids[0], b"", &sealed).is_ok());
        assert_eq!(node.reservation_id("email", "a"), nodes[0].reservation_id("email", "a"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_master_key_is_refused() {
    let server = Postgres::shared();
    let url = server.database();
    let folder = tempfile::tempdir().unwrap();
    let master = folder.path().join("master.key");
    drop(node(&url, &master).await.unwrap());
    let other = folder.path().join("other.key");
    assert!(matches!(node(&url, &other).await, Err(KeyStoreError::MasterMissing { .. })));
    foreign_key(&other);
    assert!(matches!(node(&url, &other).await, Err(KeyStoreError::MasterWrong { .. })));
}

fn foreign_key(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, [7; KEY_BYTES]).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(unix)]
#[test]
fn a_master_key_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    drop(KeyStore::open(folder.path()).unwrap());
    let master = folder.path().join("master.key");
    assert_eq!(fs::metadata(&master).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&master, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(KeyStore::open(folder.path()), Err(KeyStoreError::Permissions { .. })));
}

#[test]
fn a_lost_or_foreign_master_key_is_named() {
    let folder = tempfile::tempdir().unwrap();
    drop(KeyStore::open(folder.path()).unwrap());
    let master = folder.path().join("master.key");
    fs::remove_file(&master).unwrap();
    assert!(matches!(KeyStore::open(folder.path()), Err(KeyStoreError::MasterMissing { .. })));
    foreign_key(&master);
    assert!(matches!(KeyStore::open(folder.path()), Err(KeyStoreError::MasterWrong { .. })));
}
