//! A client for addresses that somebody else than the operator chose.

use crate::s3::{CONNECT_IN, SILENCE};
use object_store::{
    ClientOptions, Error, Result,
    client::{HttpClient, HttpConnector},
};
use reqwest::{
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use std::{fmt, net::IpAddr, sync::Arc};

/// Which addresses may be connected to.
pub type Allowed = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Makes clients that connect to allowed addresses alone, whatever a name means when it is looked up,
/// and that follow no redirect.
pub(crate) struct Guarded {
    pub(crate) allowed: Allowed,
    /// Whether `http` is asked for.
    pub(crate) plain: bool,
}

impl fmt::Debug for Guarded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Guarded").field("plain", &self.plain).finish_non_exhaustive()
    }
}

impl HttpConnector for Guarded {
    fn connect(&self, _: &ClientOptions) -> Result<HttpClient> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .https_only(!self.plain)
            .connect_timeout(CONNECT_IN)
            .read_timeout(SILENCE)
            .dns_resolver(Arc::new(Resolver(Arc::clone(&self.allowed))))
            .build()
            .map_err(|error| Error::Generic { store: "HTTP client", source: Box::new(error) })?;
        Ok(HttpClient::new(client))
    }
}

struct Resolver(Allowed);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = Arc::clone(&self.0);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<_> = found.filter(|address| allowed(address.ip())).collect();
            if found.is_empty() {
                return Err(format!("`{}` has no address that may be connected to", name.as_str()).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
