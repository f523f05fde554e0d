//! Every place is checked the same way, and says what to change when it cannot be used.

use autonomos_objects::{ObjectError, Place, S3Settings, check, moto::Moto};

async fn checked(place: &Place) -> Result<(), ObjectError> {
    let store = place.open()?;
    check(place, &*store).await
}

async fn refused(address: &str, settings: &S3Settings, expect: &str) {
    let error = checked(&Place::parse(address, settings).expect("a place")).await.expect_err(expect);
    assert_eq!(error.code(), "AOS-0602");
    let said = error.to_string();
    assert!(said.contains(expect), "`{said}` does not say `{expect}`");
    assert!(!said.contains("s3cret"), "{said}");
}

#[tokio::test]
async fn a_folder_is_made_checked_and_left_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a/b");
    checked(&Place::Folder(path.clone())).await.expect("it can be used");
    let left = walk(&path);
    assert!(left.is_empty(), "{left:?}");
    let file = folder.path().join("file");
    std::fs::write(&file, "no folder").expect("writes");
    let error = checked(&Place::Folder(file)).await.expect_err("it is a file");
    assert_eq!(error.code(), "AOS-0602");
}

/// The files below a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn a_bucket_is_checked_and_left_as_it_was() {
    let moto = Moto::shared();
    let bucket = moto.bucket();
    for address in [format!("s3://{bucket}"), format!("s3://{bucket}/some/prefix")] {
        let place = Place::parse(&address, &moto.settings()).expect("a place");
        checked(&place).await.expect("it can be used");
    }
    assert_eq!(moto.unfinished(&bucket), 0);
    let listed = moto.request("GET", &format!("/{bucket}?list-type=2"), b"").expect("an answer");
    assert!(!listed.contains("<Key>"), "{listed}");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_named() {
    let moto = Moto::shared();
    refused("s3://nobodys-bucket/x", &moto.settings(), "make the bucket `nobodys-bucket`").await;
}

#[tokio::test]
async fn a_store_that_is_gone_is_named() {
    let moto = Moto::start();
    let bucket = moto.bucket();
    moto.kill();
    refused(&format!("s3://{bucket}"), &moto.settings(), &format!("{} must be reachable", moto.endpoint()))
        .await;
}

/// The handshake goes as far as the certificate: the process has its provider of cryptography.
#[tokio::test]
async fn a_certificate_that_nobody_trusts_is_refused() {
    let moto = Moto::start_encrypted();
    refused("s3://some-bucket", &moto.settings(), "certificate").await;
}
