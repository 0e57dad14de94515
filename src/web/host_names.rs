//! Under which names and at which path the service may be asked.
//!
//! A page from anywhere can have its own name point to 127.0.0.1 and then read what a service on loopback says (DNS rebinding). A
//! browser names whom it asks, so a service on loopback answers only to names that nobody else can have.
//!
//! Nor may a page of another site send requests by whoever looks at it: a browser says which page a request comes from, and one that comes
//! from elsewhere is refused, whatever it asks for. Where the service is reached from outside, acts are taken only under its own names.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::header::{HOST, HeaderName, HeaderValue, LOCATION, ORIGIN};
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::web::access::is_act;
use crate::web::error::ApiError;
use crate::web::query::shown;

/// Browsers say in it whether the page that sends a request is of the same site.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names and the path of the service.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    listens_at: SocketAddr,
    /// The host of `external_url`.
    external: Option<String>,
    /// The origin of `external_url`, as browsers write it.
    origin: Option<String>,
    /// The path of `external_url` without a `/` at its end; empty if it has none.
    path: String,
}

impl Hosts {
    pub(super) fn new(listens_at: SocketAddr, external_url: Option<&str>) -> Self {
        let url = external_url.and_then(|url| url::Url::parse(url).ok());
        let external = url.as_ref().and_then(|url| url.host_str()).map(str::to_ascii_lowercase);
        let origin = url.as_ref().map(|url| url.origin().ascii_serialization());
        let path = url.map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default();
        Self { listens_at, external, origin, path }
    }

    /// The request as the routes take it. A proxy may pass the path of `external_url` on or leave it out.
    pub(super) fn admit(&self, mut request: Request) -> Result<Request, Box<Response>> {
        let named = request.headers().get_all(HOST).iter().map(|name| name.to_str().unwrap_or("\u{fffd}"));
        let named = named.chain(request.uri().authority().map(|authority| authority.as_str()));
        if let Some(other) = named.into_iter().find(|name| !self.has(name)) {
            return Err(Box::new(self.refusal(other).into_response()));
        }
        if let Err(refusal) = self.check_sender(&request) {
            return Err(Box::new(refusal.into_response()));
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

    /// Refuses what a page of another site sends, and acts under a name that is not known to be the service's.
    fn check_sender(&self, request: &Request) -> Result<(), ApiError> {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let host = request.uri().authority().map_or(host, |authority| authority.as_str());
        for origin in request.headers().get_all(ORIGIN) {
            let origin = origin.to_str().unwrap_or("\u{fffd}");
            if !self.is_own(origin, host) {
                return Err(ApiError::forbidden_origin(format!(
                    "a page of {} sent this request, and only the service's own pages may: if that is where people reach it, set \
                     `external_url` to its address",
                    shown(origin)
                )));
            }
        }
        if !is_act(request.method()) {
            return Ok(());
        }
        let site = request.headers().get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
        if !matches!(site, None | Some(b"same-origin" | b"none")) {
            return Err(ApiError::forbidden_origin(
                "a page of another site sent this request, and only the service's own pages may",
            ));
        }
        // Without `external_url` nobody knows the names under which it is reached from outside.
        if self.external.is_some() && !self.is_own_name(host) {
            return Err(self.refusal(host));
        }
        Ok(())
    }

    /// Whether an `Origin` is that of the service's own pages.
    fn is_own(&self, origin: &str, host: &str) -> bool {
        if self.origin.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(origin)) {
            return true;
        }
        let Some((scheme, at)) = origin.split_once("://") else { return false };
        let port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return false,
        };
        let bare = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
        !at.is_empty() && bare(at) == bare(host)
    }

    /// Whether a `Host` names this service, as far as that can be said of one that is reached from outside.
    fn has(&self, host: &str) -> bool {
        !self.listens_at.ip().is_loopback() || self.is_own_name(host)
    }

    /// Whether a name is one that nobody else can have. Only a name can be pointed elsewhere, so every address is.
    fn is_own_name(&self, host: &str) -> bool {
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
            "this service does not answer to the name {}: ask http://{}, or set `external_url` to the address under which it is to be \
             reached",
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

    #[test]
    fn only_the_services_own_pages_are_its_own() {
        let hosts = Hosts::new("127.0.0.1:9464".parse().unwrap(), Some("https://ops.example.com/trainspotter"));
        for (origin, host) in [
            ("http://127.0.0.1:9464", "127.0.0.1:9464"),
            ("http://localhost:9464", "localhost:9464"),
            ("https://ops.example.com", "10.0.0.1:9464"),
            ("https://OPS.example.com", "ops.example.com:443"),
            ("http://localhost", "localhost:80"),
            ("http://[::1]:9464", "[::1]:9464"),
        ] {
            assert!(hosts.is_own(origin, host), "{origin} at {host}");
        }
        for (origin, host) in [
            ("http://evil.example", "127.0.0.1:9464"),
            ("http://localhost:3000", "localhost:9464"),
            ("http://localhost:9464", "127.0.0.1:9464"),
            ("null", "127.0.0.1:9464"),
            ("", "127.0.0.1:9464"),
            ("file://", ""),
            ("http://", ""),
            ("https://ops.example.com.evil.example", "ops.example.com"),
            ("http://ops.example.com:81", "ops.example.com"),
            ("ftp://localhost:9464", "localhost:9464"),
        ] {
            assert!(!hosts.is_own(origin, host), "{origin} at {host}");
        }
    }
}
