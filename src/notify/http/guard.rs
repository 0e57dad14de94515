//! Name resolution that never leads to an address that must not be called. It runs at connect time, so a name that
//! changes its mind between check and connection gains nothing.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::Addrs;
use reqwest::dns::Name;
use reqwest::dns::Resolve;
use reqwest::dns::Resolving;

use crate::config::address;

type Answer = Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;

/// A resolver that drops refused addresses.
pub(super) struct Guard {
    allow_loopback: bool,
    look_up: Arc<dyn Fn(String) -> Answer + Send + Sync>,
}

impl Guard {
    /// Asks the system's resolver.
    pub(super) fn new(allow_loopback: bool) -> Self {
        Self::asking(allow_loopback, |name| Box::pin(system(name)))
    }

    /// Asks another resolver.
    pub(super) fn asking(allow_loopback: bool, look_up: impl Fn(String) -> Answer + Send + Sync + 'static) -> Self {
        Self { allow_loopback, look_up: Arc::new(look_up) }
    }
}

async fn system(name: String) -> std::io::Result<Vec<IpAddr>> {
    let found = tokio::net::lookup_host((name, 0)).await?;
    Ok(found.map(|address| address.ip()).collect())
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let answer = (self.look_up)(name.as_str().to_owned());
        let allow_loopback = self.allow_loopback;
        Box::pin(async move {
            let mut reason = None;
            let mut allowed = Vec::new();
            for ip in answer.await? {
                match address::refusal(ip, allow_loopback) {
                    // Port 0 stands for the URL's own.
                    None => allowed.push(SocketAddr::new(ip, 0)),
                    refusal => reason = refusal,
                }
            }
            match reason {
                Some(reason) if allowed.is_empty() => Err(Refused { reason }.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// Every address of the name is refused.
#[derive(Debug)]
pub(super) struct Refused {
    reason: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name leads to an address that is refused: {}", self.reason)
    }
}

impl std::error::Error for Refused {}
