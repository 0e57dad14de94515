//! Selects the proxy of a connection.

use std::fmt;

use aws_smithy_http_client::proxy::ProxyConfig;
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::client::proxy::matcher::Matcher;
use tonic::transport::Uri;

use crate::outbound::OutboundError;

/// Hosts that are never called through a proxy, in addition to `NO_PROXY`: this machine, and link-local endpoints
/// such as those of the AWS SDK's credentials.
const NEVER: &str = "localhost,127.0.0.0/8,::1,169.254.0.0/16,fe80::/10,fd00:ec2::/32";

/// The proxies of the process.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<String>,
    https: Option<String>,
    no: String,
}

impl Proxies {
    /// Reads the environment of the process.
    ///
    /// # Errors
    /// A variable is not a valid proxy URL. The error names the variable without its value, which may contain a
    /// password.
    pub fn from_environment() -> Result<Self, OutboundError> {
        Self::read(&|name| std::env::var(name).ok())
    }

    /// Reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, or their lower-case forms. Empty counts as
    /// unset.
    ///
    /// # Errors
    /// As for [`Proxies::from_environment`].
    pub fn read(environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, OutboundError> {
        let get = |name: &str| {
            let value = environment(name).filter(|value| !value.is_empty());
            value.or_else(|| environment(&name.to_ascii_lowercase()).filter(|value| !value.is_empty()))
        };
        let proxy = |name: &str| get(name).map(|value| checked(name, value)).transpose();
        let all = proxy("ALL_PROXY")?;
        let (http, https) = (proxy("HTTP_PROXY")?.or_else(|| all.clone()), proxy("HTTPS_PROXY")?.or(all));
        let no = get("NO_PROXY").map_or_else(|| NEVER.to_owned(), |own| format!("{own},{NEVER}"));
        Ok(Self { http, https, no })
    }

    /// The proxy for `uri`; `None` for a direct connection.
    pub(super) fn for_uri(&self, uri: &Uri) -> Option<Intercept> {
        let [http, https] = [&self.http, &self.https].map(|proxy| proxy.clone().unwrap_or_default());
        Matcher::builder().http(http).https(https).no(self.no.clone()).build().intercept(uri)
    }

    /// The same rules for the AWS SDK's HTTP client: for plain HTTP endpoints, or for TLS ones.
    pub(super) fn for_sdk(&self, plain: bool) -> Result<ProxyConfig, OutboundError> {
        let unusable = |_| OutboundError::ProxyForAws;
        let config = match (plain, &self.http, &self.https) {
            (true, Some(proxy), _) => ProxyConfig::http(proxy.as_str()).map_err(unusable)?,
            (false, _, Some(proxy)) => ProxyConfig::https(proxy.as_str()).map_err(unusable)?,
            _ => return Ok(ProxyConfig::disabled()),
        };
        Ok(config.no_proxy(&self.no))
    }
}

impl fmt::Debug for Proxies {
    /// Omits the URLs, which may contain passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").field("no", &self.no).finish_non_exhaustive()
    }
}

fn checked(name: &str, value: String) -> Result<String, OutboundError> {
    let value = if value.contains("://") { value } else { format!("http://{value}") };
    let usable = value.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
    if usable { Ok(value) } else { Err(OutboundError::Proxy(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, OutboundError> {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Proxies::read(&move |name| variables.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone()))
    }

    #[test]
    fn a_proxy_is_used_by_scheme_but_never_for_this_machine() {
        let both = proxies(&[("HTTPS_PROXY", "http://tls.example:1"), ("http_proxy", "plain.example:2")]).unwrap();
        let all = proxies(&[("ALL_PROXY", "http://user:pass@all.example:3"), ("NO_PROXY", "example.org,10.0.0.0/8")]);
        let all = all.unwrap();
        let check = |proxies: &Proxies, uri: &'static str, by: Option<&str>| {
            let proxy = proxies.for_uri(&Uri::from_static(uri));
            assert_eq!(proxy.as_ref().and_then(|proxy| proxy.uri().host()), by, "{uri}");
        };
        check(&both, "https://sns.us-east-1.amazonaws.com/", Some("tls.example"));
        check(&both, "http://collector:4318/", Some("plain.example"));
        check(&all, "https://events.pagerduty.com/", Some("all.example"));
        check(&all, "http://hooks.example.org/", None);
        check(&all, "https://10.1.2.3/", None);
        check(&Proxies::default(), "https://events.pagerduty.com/", None);
        for here in [
            "http://127.0.0.1:4317/",
            "https://127.8.9.1/",
            "http://localhost:4566/",
            "http://[::1]:9/",
            "http://169.254.170.2/v2",
            "http://[fd00:ec2::23]/",
        ] {
            check(&both, here, None);
            check(&all, here, None);
        }
    }

    #[test]
    fn what_is_no_proxy_is_an_error_without_its_password() {
        for wrong in
            ["socks5://user:s3cret@proxy:1080", "https://user:s3cret@proxy", "http://", "http://user:s3cret@ x"]
        {
            let error = proxies(&[("HTTPS_PROXY", wrong)]).unwrap_err().to_string();
            assert!(error.starts_with("HTTPS_PROXY is not") && !error.contains("s3cret"), "{wrong}: {error}");
        }
        let secret = proxies(&[("HTTPS_PROXY", "http://user:s3cret@proxy:1")]).unwrap();
        assert!(!format!("{secret:?}").contains("s3cret"));
        assert!(proxies(&[("HTTPS_PROXY", "")]).unwrap().https.is_none());
    }
}
