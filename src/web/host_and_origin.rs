//! Checks of the host name, path and origin of requests.
//!
//! DNS rebinding: any web page can point its own host name to 127.0.0.1 and then read a service on loopback.
//! Browsers send the host name, so a service on loopback answers only to names that nobody else can own.
//!
//! Cross-site requests: browsers send the origin of the requesting page, and requests from other sites are refused,
//! whatever they ask for. If the service is reachable from outside, acting requests are accepted only under its own
//! names.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::header::{HOST, HeaderName, HeaderValue, LOCATION, ORIGIN};
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::web::access::is_act;
use crate::web::error::ApiError;
use crate::web::query::shown;

/// Browsers say here whether the requesting page is of the same site.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The service's own host names and path.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    listens_at: SocketAddr,
    /// Host of `external_url`.
    external: Option<String>,
    /// Origin of `external_url`, in browser format.
    origin: Option<String>,
    /// Path of `external_url` without a trailing `/`; empty if it has none.
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

    /// Checks a request and strips the path of `external_url`, which a proxy may forward or remove.
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

    /// Refuses requests of other sites' pages, and acting requests under unknown host names.
    fn check_sender(&self, request: &Request) -> Result<(), ApiError> {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let host = request.uri().authority().map_or(host, |authority| authority.as_str());
        for origin in request.headers().get_all(ORIGIN) {
            let origin = origin.to_str().unwrap_or("\u{fffd}");
            if !self.is_own(origin, host) {
                return Err(ApiError::forbidden_origin(format!(
                    "this request came from a page of {}, and only the service's own pages are allowed: if that is its public address, set \
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
                "this request came from a page of another site, and only the service's own pages are allowed",
            ));
        }
        // Without `external_url` the external host names are unknown.
        if self.external.is_some() && !self.is_own_name(host) {
            return Err(self.refusal(host));
        }
        Ok(())
    }

    /// Whether an `Origin` is the service's own.
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

    /// Whether a `Host` is the service's, as far as that can be decided for a service that is reachable from
    /// outside.
    fn has(&self, host: &str) -> bool {
        !self.listens_at.ip().is_loopback() || self.is_own_name(host)
    }

    /// Whether a name cannot belong to anyone else. Only host names can be pointed elsewhere, so every IP address
    /// is fine.
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
            "requests for the host {} are not accepted: use http://{}, or set `external_url` to the public address \
             of the service",
            shown(host),
            self.listens_at
        ))
    }

    /// Redirects to the path with a trailing `/`, since pages load their files by relative paths.
    fn to_folder(&self) -> Response {
        let to = HeaderValue::try_from(format!("{}/", self.path)).unwrap_or(HeaderValue::from_static("/"));
        (StatusCode::PERMANENT_REDIRECT, [(LOCATION, to)]).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_no_one_else_can_own_are_accepted_on_loopback() {
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
