//! What a store is asked at start: whether objects can be written, listed, read and removed there, and
//! a large upload given up. Better an error with what to change then than warnings later.

use crate::{error::ObjectError, place::Place};
use futures::TryStreamExt;
use object_store::{Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, path::Path};
use uuid::Uuid;

/// Below which the check's own objects lie, for as long as it takes.
const FOLDER: &str = "autonomos-check";
const TEXT: &[u8] = b"written by the check at start, and removed by it";

/// Does at `place`, which `store` is, all that is ever done there.
pub async fn check(place: &Place, store: &dyn ObjectStore) -> Result<(), ObjectError> {
    let folder = Path::from(FOLDER);
    let object = folder.clone().join(Uuid::now_v7().to_string());
    let failed = |step| move |error: Error| unusable(place, step, &error);
    let odd = |step, reason: &str| {
        let change = "the store does not keep what is written to it: use another one".to_owned();
        ObjectError::Unusable { place: place.to_string(), step, change, reason: reason.to_owned() }
    };
    store.put(&object, PutPayload::from_static(TEXT)).await.map_err(failed("writing an object"))?;
    let listed: Vec<_> =
        store.list(Some(&folder)).try_collect().await.map_err(failed("listing its objects"))?;
    if !listed.iter().any(|listed| listed.location == object) {
        return Err(odd("listing its objects", "the object that was written is not among them"));
    }
    let read = async { store.get(&object).await?.bytes().await };
    if read.await.map_err(failed("reading an object"))? != TEXT {
        return Err(odd("reading an object", "it is not what was written"));
    }
    store.delete(&object).await.map_err(failed("removing an object"))?;
    let given_up = async { store.put_multipart(&object).await?.abort().await };
    given_up.await.map_err(failed("giving up a large upload"))
}

fn unusable(place: &Place, step: &'static str, error: &Error) -> ObjectError {
    let change = match (place, error) {
        (Place::Folder(_), _) => "let the user that runs the program read and write there".to_owned(),
        (Place::S3(s3), Error::NotFound { .. }) => {
            format!(
                "make the bucket `{}`, or name one that is there; `s3_endpoint` and `s3_region` must be its own",
                s3.bucket()
            )
        }
        (Place::S3(s3), Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) => {
            format!("`s3_access_key_id` and its secret must be right, and allowed {}", s3.permissions())
        }
        (Place::S3(s3), _) => format!(
            "{} must be reachable from here, and `s3_endpoint`, `s3_region` and `s3_virtual_host` right",
            s3.host()
        ),
    };
    ObjectError::Unusable { place: place.to_string(), step, change, reason: causes(error) }
}

/// An error with what it came from: a client's own text says little of a connection.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}
