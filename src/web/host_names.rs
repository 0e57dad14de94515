//! Under which names and at which path the service may be asked.
//!
//! A page from anywhere can have its own name point to 127.0.0.1 and then read what a service on loopback says (DNS rebinding). A
//! browser names whom it asks, so a service on loopback answers only to names that nobody else can have.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::header::{HOST, HeaderValue, LOCATION};
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::web::error::ApiError;
use crate::web::query::shown;

/// The names and the path of the service.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    listens_at: SocketAddr,
    /// The host of `external_url`.
    external: Option<String>,
    /// The path of `external_url` without a `/` at its end; empty if it has none.
    path: String,
}

impl Hosts {
    pub(super) fn new(listens_at: SocketAddr, external_url: Option<&str>) -> Self {
        let url = external_url.and_then(|url| url::Url::parse(url).ok());
        let external = url.as_ref().and_then(|url| url.host_str()).map(str::to_ascii_lowercase);
        let path = url.map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default();
        Self { listens_at, external, path }
    }

    /// The request as the routes take it. A proxy may pass the path of `external_url` on or leave it out.
    pub(super) fn admit(&self, mut request: Request) -> Result<Request, Box<Response>> {
        let named = request.headers().get_all(HOST).iter().map(|name| name.to_str().unwrap_or("\u{fffd}"));
        let named = named.chain(request.uri().authority().map(|authority| authority.as_str()));
        if let Some(other) = named.into_iter().find(|name| !self.has(name)) {
            return Err(Box::new(self.refusal(other).into_response()));
        }
        let path = request.uri().path();
        if let Some(rest) = path.strip_prefix(&self.path).filter(|_| !self.path.is_empty()) {
            if rest.is_empty() {
                return Err(Box::new(self.to_folder()));
            }
            if rest.starts_with('/') {
                let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
                if let Ok(inner) = PathAndQuery::try_from(format!("{rest}{query}")) {
                    *request.uri_mut() = Uri::from(inner);
                }
            }
        }
        Ok(request)
    }

    /// Whether a `Host` names this service. Only a name can be pointed elsewhere, so every address does.
    fn has(&self, host: &str) -> bool {
        if !self.listens_at.ip().is_loopback() {
            return true;
        }
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
            Some(_) | None => host,
        };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        name.is_empty()
            || address.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.external.as_ref() == Some(&name)
    }

    fn refusal(&self, host: &str) -> ApiError {
        ApiError::forbidden_host(format!(
            "this service listens on loopback and does not answer to the name {}: ask http://{}, or set `external_url` to the address \
             under which it is to be reached",
            shown(host),
            self.listens_at
        ))
    }

    /// Files of the page are named relative to it, so that its path must end with a `/`.
    fn to_folder(&self) -> Response {
        let to = HeaderValue::try_from(format!("{}/", self.path)).unwrap_or(HeaderValue::from_static("/"));
        (StatusCode::PERMANENT_REDIRECT, [(LOCATION, to)]).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_nobody_else_can_have_are_answered_on_loopback() {
        let loopback = Hosts::new("127.0.0.1:9464".parse().unwrap(), Some("https://Ops.example.com/trainspotter"));
        for own in [
            "127.0.0.1:9464",
            "127.0.0.1",
            "localhost:1",
            "LOCALHOST",
            "localhost.",
            "a.localhost:80",
            "[::1]:9464",
            "10.0.0.7",
            "ops.example.com",
            "OPS.example.com:443",
            "",
            ":9464",
        ] {
            assert!(loopback.has(own), "{own}");
        }
        for other in [
            "evil.example",
            "evil.example:9464",
            "localhost.evil.example",
            "ops.example.com.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "\u{fffd}",
            "a:b:c",
            "2130706433.nip.io",
        ] {
            assert!(!loopback.has(other), "{other}");
            assert!(Hosts::new("0.0.0.0:9464".parse().unwrap(), None).has(other), "{other}");
        }
    }
}
