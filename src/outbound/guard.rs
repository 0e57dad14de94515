//! Name resolution that never returns a blocked address. It applies at connect time, so a DNS record that changes
//! between check and connection has no effect.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use aws_smithy_runtime_api::client::dns::DnsFuture;
use aws_smithy_runtime_api::client::dns::ResolveDns;
use aws_smithy_runtime_api::client::dns::ResolveDnsError;
use reqwest::dns::Addrs;
use reqwest::dns::Name;
use reqwest::dns::Resolve;
use reqwest::dns::Resolving;
use url::Host;
use url::Url;

use crate::config::forbidden_addresses;

type Answer = Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;

/// Filters blocked addresses from DNS results and URLs.
#[derive(Clone)]
pub struct Guard {
    allow_loopback: bool,
    look_up: Arc<dyn Fn(String) -> Answer + Send + Sync>,
}

impl Guard {
    /// Uses the system's resolver.
    pub fn new(allow_loopback: bool) -> Self {
        Self::asking(allow_loopback, |name| Box::pin(system(name)))
    }

    /// Uses another resolver.
    pub fn asking(allow_loopback: bool, look_up: impl Fn(String) -> Answer + Send + Sync + 'static) -> Self {
        Self { allow_loopback, look_up: Arc::new(look_up) }
    }

    /// The allowed addresses of a name: at least one, if the name has any.
    ///
    /// # Errors
    /// [`Refused`] if all are blocked, or the resolver's error.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Box<dyn Error + Send + Sync>> {
        let mut reason = None;
        let mut allowed = Vec::new();
        for ip in (self.look_up)(name.to_owned()).await? {
            match forbidden_addresses::refusal(ip, self.allow_loopback) {
                None => allowed.push(ip),
                refusal => reason = refusal,
            }
        }
        match reason {
            Some(reason) if allowed.is_empty() => {
                Err(Refused { what: "name resolves to an address that", reason }.into())
            }
            _ => Ok(allowed),
        }
    }

    /// Checks the IP address in a URL, which never reaches a resolver.
    ///
    /// # Errors
    /// The address is blocked.
    pub fn judge(&self, url: &Url) -> Result<(), Refused> {
        let literal = match url.host() {
            Some(Host::Ipv4(ip)) => IpAddr::from(ip),
            Some(Host::Ipv6(ip)) => IpAddr::from(ip),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        match forbidden_addresses::refusal(literal, self.allow_loopback) {
            Some(reason) => Err(Refused { what: "address", reason }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("allow_loopback", &self.allow_loopback).finish_non_exhaustive()
    }
}

async fn system(name: String) -> std::io::Result<Vec<IpAddr>> {
    let found = tokio::net::lookup_host((name, 0)).await?;
    Ok(found.map(|address| address.ip()).collect())
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let ips = guard.addresses(name.as_str()).await?;
            // Port 0 means the URL's port.
            Ok(Box::new(ips.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

impl ResolveDns for Guard {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move { self.addresses(name).await.map_err(ResolveDnsError::new) })
    }
}

/// A blocked address, or a name with only blocked addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    what: &'static str,
    reason: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} is refused: {}", self.what, self.reason)
    }
}

impl Error for Refused {}
