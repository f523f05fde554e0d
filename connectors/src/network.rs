//! Which addresses a connection may reach. A tenant types a host; the server that connects stands
//! inside the operator's network, where it could be sent to what is not the tenant's: other services,
//! and the metadata page that hands out the machine's own credentials.

use crate::error::ConnectorError;
use reqwest::{
    Client, ClientBuilder, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// How long a connection may take to come about.
const CONNECT_IN: Duration = Duration::from_secs(10);

/// What the operator lets connections reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkScope {
    /// Private networks and the machine itself too.
    pub private: bool,
}

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Public,
    /// A private network, or this machine.
    Private,
    /// Nothing anybody connects to by intention, or a page of credentials.
    Never,
}

impl NetworkScope {
    /// The addresses of `host` that may be connected to. Connect to these, not to the name: it could
    /// mean another address when it is looked up again. `field`: where the host stands in the configuration.
    pub async fn resolve(
        self,
        host: &str,
        port: u16,
        field: &str,
    ) -> Result<Vec<SocketAddr>, ConnectorError> {
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<SocketAddr> = tokio::net::lookup_host((plain, port))
            .await
            .map_err(|cause| ConnectorError::Transient {
                code: "AOS-0262",
                message: format!("the host `{host}` was not found: {cause}"),
            })?
            .collect();
        let allowed: Vec<SocketAddr> =
            found.into_iter().filter(|address| self.allows(address.ip())).collect();
        if allowed.is_empty() {
            // Without the address: what a name means inside is nobody's to probe.
            return Err(ConnectorError::Configuration {
                code: "AOS-0261",
                field: field.to_owned(),
                message: format!(
                    "`{host}` is not an address this installation connects to: private ones need the operator's AOS_ALLOW_PRIVATE_SOURCES"
                ),
            });
        }
        Ok(allowed)
    }

    /// What an HTTP client is made of that connects to allowed addresses alone, whatever a name means when
    /// it is looked up, and follows no redirect. Look at each address by [`Self::reachable`] before: what
    /// is an address in place of a name is not looked up. An answer may be silent for as long as `silence`.
    pub(crate) fn http(self, silence: Duration) -> ClientBuilder {
        operator_http(silence).https_only(!self.private).dns_resolver(Arc::new(Resolver(self)))
    }

    /// Whether an address of the web may be asked: encrypted, or within what the operator allows.
    pub(crate) async fn reachable(self, url: &Url, field: &str) -> Result<(), ConnectorError> {
        let refused = |message: String| ConnectorError::Configuration {
            code: "AOS-0261",
            field: field.to_owned(),
            message,
        };
        let Some(host) = url.host_str() else {
            return Err(refused(format!("`{url}` names no host")));
        };
        match url.scheme() {
            "https" => {}
            "http" if self.private => {}
            _ => return Err(refused(format!("`{host}` is to be asked by https"))),
        }
        self.resolve(host, url.port_or_known_default().unwrap_or(443), field).await.map(|_| ())
    }

    /// Whether an address may be connected to.
    pub fn allows(self, address: IpAddr) -> bool {
        match reach(address) {
            Reach::Public => true,
            Reach::Private => self.private,
            Reach::Never => false,
        }
    }
}

/// What an HTTP client is made of that asks an address which the operator chose, whatever network it is
/// in. It follows no redirect: those are somebody else's choice.
pub fn operator_http(silence: Duration) -> ClientBuilder {
    autonomos_objects::provider_install();
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_IN)
        .read_timeout(silence)
}

struct Resolver(NetworkScope);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let scope = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<_> = found.filter(|address| scope.allows(address.ip())).collect();
            if found.is_empty() {
                return Err(format!("`{}` has no address that may be connected to", name.as_str()).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let [first, second, third, _] = address.octets();
    let never = first == 0
        || first >= 224
        || address.is_link_local()
        // Pages of credentials outside of the link-local range: Alibaba's and Oracle's.
        || address == Ipv4Addr::new(100, 100, 100, 200)
        || address == Ipv4Addr::new(192, 0, 0, 192);
    let private = address.is_loopback()
        || address.is_private()
        || (first == 100 && (64..128).contains(&second))
        || (first == 198 && (18..20).contains(&second))
        || (first == 192 && second == 0 && third == 0);
    match (never, private) {
        (true, _) => Reach::Never,
        (_, true) => Reach::Private,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let parts = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        reach_v4(Ipv4Addr::new(a, b, c, d))
    };
    if let Some(mapped) = address.to_ipv4_mapped() {
        return reach_v4(mapped);
    }
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Private,
        // What is left of `::/96`, multicast, link-local, Amazon's page of credentials.
        [0, 0, 0, 0, 0, 0, ..] | [0xff00..=0xffff | 0xfe80..=0xfebf, ..] => Reach::Never,
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] => Reach::Never,
        [0xfc00..=0xfdff, ..] => Reach::Private,
        // Translated (RFC 6052) and tunnelled (RFC 3056) addresses lead where the inner one does.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        _ => Reach::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addresses: &[&str], expect: Reach) {
        for address in addresses {
            assert_eq!(reach(address.parse().expect(address)), expect, "{address}");
        }
    }

    #[test]
    fn addresses_are_told_apart_in_every_spelling() {
        check(&["93.184.216.34", "2606:2800:220:1::1", "100.63.0.1", "64:ff9b::5db8:d822"], Reach::Public);
        check(
            &["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd12::1"],
            Reach::Private,
        );
        check(&["::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::"], Reach::Private);
        check(
            &["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254"],
            Reach::Never,
        );
        check(&["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "fe80::1", "ff02::1"], Reach::Never);
        check(&["100.100.100.200", "192.0.0.192"], Reach::Never);
    }

    #[tokio::test]
    async fn a_private_host_needs_the_operator_and_a_page_of_credentials_is_never_reached() {
        let (closed, open) = (NetworkScope::default(), NetworkScope { private: true });
        let refused = closed.resolve("127.0.0.1", 5432, "/host").await.expect_err("loopback");
        assert_eq!(refused.code(), "AOS-0261");
        assert!(!refused.retryable());
        assert_eq!(open.resolve("127.0.0.1", 5432, "/host").await.expect("allowed").len(), 1);
        assert!(open.resolve("169.254.169.254", 80, "/host").await.is_err());
        assert!(open.resolve("[::1]", 5432, "/host").await.is_ok());
    }
}
