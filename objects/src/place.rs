//! Where objects lie: `file:///path` or `s3://bucket/prefix`.

use crate::{
    error::ObjectError,
    guard::Allowed,
    s3::{S3, S3Settings},
};
use object_store::{ObjectStore, local::LocalFileSystem};
use std::{fmt, path::PathBuf, sync::Arc};

/// A place whose settings are whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder that every node sees.
    Folder(PathBuf),
    /// A part of a bucket.
    S3(S3),
}

impl Place {
    /// Reads an address; `settings` are what a bucket needs beside it.
    pub fn parse(address: &str, settings: &S3Settings) -> Result<Self, ObjectError> {
        let refused =
            |reason: &str| Err(ObjectError::Place { place: shown(address), reason: reason.to_owned() });
        match address.split_once("://") {
            Some(("file", path)) if path.starts_with('/') => Ok(Self::Folder(PathBuf::from(path))),
            Some(("file", _)) => refused("a folder is named by its whole path, `file:///path`"),
            Some(("s3", rest)) if rest.contains('@') => {
                refused("keys do not belong into the address, but into their own settings")
            }
            Some(("s3", rest)) => S3::parse(rest, settings)
                .map(Self::S3)
                .map_err(|reason| ObjectError::Place { place: shown(address), reason }),
            _ => refused("it is neither `file:///path` nor `s3://bucket/prefix`"),
        }
    }

    /// Opens the store, whatever it answers: see [`crate::check`]. An object that is put there is seen
    /// whole or not at all.
    pub fn open(&self) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        match self {
            Self::Folder(path) => {
                let unusable = |reason: String| ObjectError::Unusable {
                    place: self.to_string(),
                    step: "opening it",
                    change: "make the folder, and let the user that runs the program write there".to_owned(),
                    reason,
                };
                std::fs::create_dir_all(path).map_err(|error| unusable(error.to_string()))?;
                let folder = LocalFileSystem::new_with_prefix(path);
                let folder = folder.map_err(|error| unusable(error.to_string()))?;
                Ok(Arc::new(folder.with_fsync(true)))
            }
            Self::S3(s3) => s3.open(None),
        }
    }

    /// Opens a bucket for somebody who may not reach every address; names are looked up for each
    /// connection, and an address in place of a name is for the caller to check.
    pub fn open_guarded(&self, allowed: Allowed) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        match self {
            Self::Folder(_) => Err(ObjectError::Place {
                place: self.to_string(),
                reason: "it is a folder, and a bucket is expected".to_owned(),
            }),
            Self::S3(s3) => s3.open(Some(allowed)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(formatter, "file://{}", path.display()),
            Self::S3(s3) => s3.fmt(formatter),
        }
    }
}

/// An address without what may be a password in it.
fn shown(address: &str) -> String {
    match (address.split_once("://"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://***@{rest}"),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::tests::settings;

    fn refused(address: &str, settings: &S3Settings, expect: &str) {
        let error = Place::parse(address, settings).expect_err(expect);
        assert_eq!(error.code(), "AOS-0601");
        let said = format!("{error} {error:?}");
        assert!(said.contains(expect), "`{said}` does not say `{expect}`");
        assert!(!said.contains("s3cret"), "{said}");
    }

    #[test]
    fn addresses_are_read_or_refused_with_what_to_change() {
        let none = S3Settings::default();
        assert_eq!(Place::parse("file:///a/b", &none).unwrap(), Place::Folder("/a/b".into()));
        refused("file://a/b", &none, "whole path");
        refused("/a/b", &none, "neither `file:///path` nor `s3://bucket/prefix`");
        refused("gs://bucket", &none, "neither");
        refused("s3://me:s3cret@bucket/x", &settings(), "`s3://***@bucket/x`");
        refused("s3://", &settings(), "name of a bucket");
        refused("s3://Bu_cket/x", &settings(), "name of a bucket");
        refused("s3://bucket/a//b", &settings(), "prefix");
        refused("s3://bucket", &none, "`s3_region`");
        refused("s3://bucket", &S3Settings { access_key_id: None, ..settings() }, "`s3_access_key_id`");
        refused(
            "s3://bucket",
            &S3Settings { secret_access_key: None, ..settings() },
            "`s3_secret_access_key`",
        );
        let endpoint = |text: &str| S3Settings { endpoint: Some(text.to_owned()), ..settings() };
        refused("s3://bucket", &endpoint("minio:9000"), "`https://host` or `http://host`");
        refused("s3://bucket", &endpoint("http://me:s3cret@minio:9000"), "`s3_endpoint`");
        refused("s3://bucket", &endpoint("https://minio/path"), "`s3_endpoint`");
    }

    #[test]
    fn a_place_is_shown_as_it_was_named_and_without_secrets() {
        let place = Place::parse("s3://bucket/a/b/", &settings()).unwrap();
        assert_eq!(place.to_string(), "s3://bucket/a/b");
        assert!(!format!("{place:?}").contains("s3cret"), "{place:?}");
    }
}
