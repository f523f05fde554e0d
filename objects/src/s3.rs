//! Buckets on S3, and on stores that speak its protocol.

use crate::{
    error::ObjectError,
    guard::{Allowed, Guarded},
    tls,
};
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder, path::Path,
    prefix::PrefixStore,
};
use std::{fmt, sync::Arc, time::Duration};
use zeroize::Zeroizing;

/// Silence after which a request is given up and, if it may be, tried again.
pub(crate) const SILENCE: Duration = Duration::from_mins(1);
pub(crate) const CONNECT_IN: Duration = Duration::from_secs(5);
/// Tries after the first, and how long they may take together.
const RETRIES: usize = 5;
const RETRY_FOR: Duration = Duration::from_mins(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a bucket needs beside its address, as it was set.
#[derive(Clone, Default)]
pub struct S3Settings {
    pub region: Option<String>,
    /// `https://host:port` of a store that is not Amazon's; with `http://` nothing is encrypted.
    pub endpoint: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Zeroizing<String>>,
    /// Whether the bucket is part of the host's name; else it is the start of the path. None: with
    /// Amazon's stores alone.
    pub virtual_host: Option<bool>,
}

/// A part of a bucket, with all it needs.
#[derive(Clone, PartialEq, Eq)]
pub struct S3 {
    bucket: String,
    prefix: Path,
    region: String,
    endpoint: Option<String>,
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    virtual_host: bool,
}

impl S3 {
    /// `place` is `bucket/prefix`; else what is wrong.
    pub(crate) fn parse(place: &str, settings: &S3Settings) -> Result<Self, String> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let valid =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || ".-".contains(letter);
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(valid) {
            return Err(format!("`{bucket}` is not the name of a bucket"));
        }
        let prefix = Path::parse(prefix).map_err(|error| format!("its prefix cannot be used: {error}"))?;
        if let Some(endpoint) = &settings.endpoint {
            let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
            let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '@', '?', '#']);
            if !host.is_some_and(|host| is_host(host.trim_end_matches('/'))) {
                return Err(
                    "`s3_endpoint` is not `https://host` or `http://host`, with a port or without".to_owned()
                );
            }
        }
        let needed = |name: &str| format!("`{name}` is not set: a bucket needs it");
        let region = match (&settings.region, &settings.endpoint) {
            (Some(region), _) => region.clone(),
            // What stores that have none expect in a signature.
            (None, Some(_)) => "us-east-1".to_owned(),
            (None, None) => return Err(needed("s3_region")),
        };
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix,
            region,
            virtual_host: settings.virtual_host.unwrap_or(settings.endpoint.is_none()),
            endpoint: settings.endpoint.as_ref().map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
            access_key_id: settings.access_key_id.clone().ok_or_else(|| needed("s3_access_key_id"))?,
            secret_access_key: settings.secret_access_key.clone().ok_or_else(|| {
                format!("{}, or `s3_secret_access_key_file`", needed("s3_secret_access_key"))
            })?,
        })
    }

    pub(crate) fn open(&self, allowed: Option<Allowed>) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        tls::provider_install();
        let client = ClientOptions::new()
            // Of a large object the whole takes as long as it takes.
            .with_timeout_disabled()
            .with_read_timeout(SILENCE)
            .with_connect_timeout(CONNECT_IN)
            .with_allow_http(self.is_plain());
        let retry = RetryConfig {
            backoff: BackoffConfig { max_backoff: LONGEST_PAUSE, ..BackoffConfig::default() },
            max_retries: RETRIES,
            retry_timeout: RETRY_FOR,
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.bucket)
            .with_region(&self.region)
            .with_access_key_id(&self.access_key_id)
            .with_secret_access_key(self.secret_access_key.as_str())
            .with_virtual_hosted_style_request(self.virtual_host)
            // Not every store removes many at once.
            .with_disable_bulk_delete(true)
            .with_client_options(client)
            .with_retry(retry);
        if let Some(endpoint) = self.bucket_endpoint() {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(allowed) = allowed {
            builder = builder.with_http_connector(Guarded { allowed, plain: self.is_plain() });
        }
        let bucket = builder
            .build()
            .map_err(|error| ObjectError::Place { place: self.to_string(), reason: error.to_string() })?;
        Ok(Arc::new(PrefixStore::new(bucket, self.prefix.clone())))
    }

    /// Whether nothing is encrypted.
    fn is_plain(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"))
    }

    /// The endpoint as the client wants it: a bucket that is part of the host stands in it already.
    fn bucket_endpoint(&self) -> Option<String> {
        let endpoint = self.endpoint.as_ref()?;
        match endpoint.split_once("://") {
            Some((scheme, host)) if self.virtual_host => Some(format!("{scheme}://{}.{host}", self.bucket)),
            _ => Some(endpoint.clone()),
        }
    }

    /// What its key must be allowed to do, and where.
    pub(crate) fn permissions(&self) -> String {
        let below =
            if self.prefix.as_ref().is_empty() { "*".to_owned() } else { format!("{}/*", self.prefix) };
        format!(
            "s3:ListBucket on `{bucket}`, and s3:GetObject, s3:PutObject, s3:DeleteObject and \
             s3:AbortMultipartUpload on `{bucket}/{below}`",
            bucket = self.bucket
        )
    }

    pub(crate) fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Where requests go.
    pub(crate) fn host(&self) -> String {
        self.endpoint.clone().unwrap_or_else(|| format!("Amazon's stores in `{}`", self.region))
    }
}

impl fmt::Display for S3 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "s3://{}", self.bucket)?;
        if !self.prefix.as_ref().is_empty() {
            write!(formatter, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("S3");
        shown.field("place", &self.to_string()).field("region", &self.region);
        shown.field("endpoint", &self.endpoint).field("virtual_host", &self.virtual_host);
        shown.field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for S3Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("S3Settings");
        shown.field("region", &self.region).field("virtual_host", &self.virtual_host);
        shown.field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Of Amazon's.
    pub(crate) fn settings() -> S3Settings {
        S3Settings {
            region: Some("eu-central-1".to_owned()),
            access_key_id: Some("AKIA".to_owned()),
            secret_access_key: Some("s3cret".to_owned().into()),
            ..S3Settings::default()
        }
    }

    #[test]
    fn a_bucket_is_part_of_the_host_where_it_should_be() {
        let at = |endpoint: Option<&str>, virtual_host| {
            let settings = S3Settings { endpoint: endpoint.map(str::to_owned), virtual_host, ..settings() };
            let s3 = S3::parse("bucket/x", &settings).unwrap();
            (s3.virtual_host, s3.bucket_endpoint())
        };
        let stands = |endpoint: &str| Some(endpoint.to_owned());
        assert_eq!(at(None, None), (true, None));
        assert_eq!(at(None, Some(false)), (false, None));
        assert_eq!(at(Some("https://store:9000/"), None), (false, stands("https://store:9000")));
        assert_eq!(at(Some("https://store:9000"), Some(true)), (true, stands("https://bucket.store:9000")));
    }
}
