//! Settings that hold what must not be shown: neither by `autonomos config`, nor in a log, nor in an
//! error.

use serde::{Deserialize, Serialize};

/// An address that may hold a password: shown without it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

impl Address {
    /// With its password: for those who connect, never for what is shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn masked(&self) -> String {
        let one = |address: &str| match (address.split_once("://"), address.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, place))) => format!("{scheme}://***@{place}"),
            (None, Some((_, place))) => format!("***@{place}"),
            _ => address.to_owned(),
        };
        let shown: Vec<String> = self.0.split(',').map(|address| one(address.trim())).collect();
        // What stands behind a `?` may be a password too.
        shown.join(",").split('?').next().unwrap_or_default().to_owned()
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.masked())
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.masked())
    }
}

/// What is shown of a secret that is set.
const HIDDEN: &str = "***";

/// A secret: shown as being set, never as it is.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// As it is: for those who sign with it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}
