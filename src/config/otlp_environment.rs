//! The OTLP receiver from OpenTelemetry's environment variables, used if the configuration has no OTLP receivers
//! (OpenTelemetry specification, "OpenTelemetry Protocol Exporter" and "Environment Variable Specification").
//! Variables for metrics take precedence over general ones.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::check::Check;
use crate::config::{Histograms, Otlp, OtlpProtocol, Secret};

/// Location shown for problems with the environment.
const PLACE: &str = "publish";
/// Maximum timeout, in milliseconds.
const MAX_TIMEOUT: u64 = 3_600_000;

/// Settings that are refused because they would be ignored silently.
const NOT_SUPPORTED: [(&str, &str); 3] = [
    ("CERTIFICATE", "is not supported: add the certificate to those of the machine, or set SSL_CERT_FILE"),
    ("CLIENT_CERTIFICATE", "is not supported: client certificates are not implemented"),
    ("CLIENT_KEY", "is not supported: client certificates are not implemented"),
];

impl Check<'_> {
    /// The receiver from the environment; `None` without an endpoint, or if metrics or the whole SDK are disabled.
    pub(super) fn otlp_of_the_environment(&mut self) -> Option<Otlp> {
        let metrics_endpoint = self.variable("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT");
        let endpoint = self.variable("OTEL_EXPORTER_OTLP_ENDPOINT");
        if metrics_endpoint.is_none() && endpoint.is_none() {
            return None;
        }
        let is_disabled = self.flag("OTEL_SDK_DISABLED") == Some(true);
        let is_otlp = |exporter: &str| exporter.trim().eq_ignore_ascii_case("otlp");
        let others = |exporters: String| !exporters.split(',').any(is_otlp);
        if is_disabled || self.variable("OTEL_METRICS_EXPORTER").is_some_and(others) {
            return None;
        }
        for (suffix, why) in NOT_SUPPORTED {
            if let Some((name, _)) = self.otlp_variable(suffix) {
                self.wrong(&name, why);
            }
        }
        let protocol = self.choice("PROTOCOL", &[("http/protobuf", OtlpProtocol::Http), ("grpc", OtlpProtocol::Grpc)]);
        let protocol = protocol.unwrap_or(OtlpProtocol::Http);
        let (name, url) = match (metrics_endpoint, endpoint) {
            (Some(url), _) => ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", url),
            (None, Some(url)) if protocol == OtlpProtocol::Http => {
                ("OTEL_EXPORTER_OTLP_ENDPOINT", below(&url, "/v1/metrics"))
            }
            (None, url) => ("OTEL_EXPORTER_OTLP_ENDPOINT", url.unwrap_or_default()),
        };
        let url = self.endpoint_of(name, url, protocol);
        let compression = self.choice("COMPRESSION", &[("gzip", true), ("none", false)]);
        let cumulative = [("cumulative", ())];
        self.exact_choice("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", &cumulative);
        let aggregations = [
            ("explicit_bucket_histogram", Histograms::Explicit),
            ("base2_exponential_bucket_histogram", Histograms::Exponential),
        ];
        let histograms = self.exact_choice("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", &aggregations);
        Some(Otlp {
            endpoint: Secret::new(url),
            protocol,
            headers: self.headers_of_the_environment(),
            histograms: histograms.unwrap_or_default(),
            is_zipped: compression.unwrap_or(true),
            timeout: self.timeout(),
        })
    }

    /// The endpoint with a scheme. It may contain a key, so it is never shown.
    fn endpoint_of(&mut self, name: &str, url: String, protocol: OtlpProtocol) -> String {
        let insecure = self.otlp_flag("INSECURE");
        let url = match (protocol, url.contains("://")) {
            (OtlpProtocol::Grpc, false) => {
                let scheme = if insecure == Some(true) { "http" } else { "https" };
                format!("{scheme}://{url}")
            }
            (_, _) => url,
        };
        let parsed =
            url::Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        match parsed {
            None => self.wrong(name, "is not an http:// or https:// URL"),
            Some(parsed) if protocol == OtlpProtocol::Grpc && !is_origin(&parsed) => {
                let why = "must be an origin such as http://collector:4317, without user, path or query, for the protocol is grpc";
                self.wrong(name, why);
            }
            Some(_) => {}
        }
        url
    }

    /// Parses comma-separated `key=value` pairs with percent-encoded values. They are never shown.
    fn headers_of_the_environment(&mut self) -> BTreeMap<String, Secret> {
        let Some((name, text)) = self.otlp_variable("HEADERS") else { return BTreeMap::new() };
        let mut headers = BTreeMap::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else {
                self.wrong(&name, "is not a comma-separated list of key=value pairs");
                continue;
            };
            let is_token = |key: &str| reqwest::header::HeaderName::from_bytes(key.as_bytes()).is_ok();
            let value = decoded(value);
            if is_token(key) && value.chars().all(|letter| matches!(letter, ' '..='~')) {
                headers.insert(key.to_ascii_lowercase(), Secret::new(value));
            } else {
                self.wrong(&name, "has a pair that is not a header name and a percent-encoded value");
            }
        }
        headers
    }

    fn timeout(&mut self) -> Option<Duration> {
        let (name, text) = self.otlp_variable("TIMEOUT")?;
        match text.trim().parse::<u64>() {
            Ok(millis) if (1..=MAX_TIMEOUT).contains(&millis) => Some(Duration::from_millis(millis)),
            Ok(_) | Err(_) => {
                self.wrong(&name, &format!("is `{text}`, which is not a number of milliseconds such as 8000"));
                None
            }
        }
    }

    /// Parses a choice from the variable for metrics, or the general one.
    fn choice<T: Copy>(&mut self, suffix: &str, values: &[(&str, T)]) -> Option<T> {
        let (name, _) = self.otlp_variable(suffix)?;
        self.exact_choice(&name, values)
    }

    /// Parses a choice from a variable, ignoring case.
    fn exact_choice<T: Copy>(&mut self, name: &str, values: &[(&str, T)]) -> Option<T> {
        let text = self.variable(name)?;
        let found = values.iter().find(|(value, _)| value.eq_ignore_ascii_case(text.trim())).map(|(_, chosen)| *chosen);
        if found.is_none() {
            let known: Vec<&str> = values.iter().map(|(value, _)| *value).collect();
            self.wrong(name, &format!("is `{text}`; supported here: {}", known.join(" or ")));
        }
        found
    }

    fn otlp_flag(&mut self, suffix: &str) -> Option<bool> {
        let (name, _) = self.otlp_variable(suffix)?;
        self.flag(&name)
    }

    fn flag(&mut self, name: &str) -> Option<bool> {
        self.exact_choice(name, &[("true", true), ("false", false)])
    }

    /// The variable for metrics, or the general one, with its name.
    fn otlp_variable(&self, suffix: &str) -> Option<(String, String)> {
        ["OTEL_EXPORTER_OTLP_METRICS_", "OTEL_EXPORTER_OTLP_"].iter().find_map(|prefix| {
            let name = format!("{prefix}{suffix}");
            let value = self.variable(&name)?;
            Some((name, value))
        })
    }

    /// A variable; empty counts as unset.
    fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.trim().is_empty())
    }

    fn wrong(&mut self, name: &str, why: &str) {
        let hint = "; `otlp: []` ignores the environment";
        self.problem(PLACE, format!("the environment variable {name} {why}{hint}"));
    }
}

/// Whether a URL has nothing that gRPC would ignore.
fn is_origin(url: &url::Url) -> bool {
    let has_user = !url.username().is_empty() || url.password().is_some();
    !has_user && matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none()
}

/// Appends a path to a URL, and keeps its query, which may contain a key.
fn below(url: &str, path: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let (before, query) = url.split_at(end);
    format!("{}{path}{query}", before.trim_end_matches('/'))
}

/// Decodes percent-encoded text. Characters with another meaning in form encoding are escaped first.
fn decoded(text: &str) -> String {
    let escaped = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(escaped.as_bytes()).next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load;

    fn otlp(publish: &str, variables: &[(&str, &str)]) -> Result<Vec<Otlp>, String> {
        let text = format!("targets: [{{ region: us-east-1 }}]\n{publish}\n");
        let environment = |name: &str| {
            let found =
                variables.iter().find(|(suffix, _)| name == *suffix || name == format!("OTEL_EXPORTER_OTLP_{suffix}"));
            found.map(|(_, value)| (*value).to_owned())
        };
        let config = load("c.yaml", &text, Path::new("."), &environment);
        config.map(|config| config.publish.otlp).map_err(|problems| problems.to_string())
    }

    fn one(variables: &[(&str, &str)]) -> Otlp {
        let found = otlp("", variables).unwrap();
        assert_eq!(found.len(), 1, "{variables:?}");
        found[0].clone()
    }

    #[test]
    fn the_environment_names_a_receiver_if_the_configuration_has_none() {
        assert_eq!(otlp("", &[]).unwrap(), []);
        assert_eq!(otlp("", &[("ENDPOINT", " ")]).unwrap(), [], "empty is unset");
        assert_eq!(otlp("publish: { otlp: [] }", &[("ENDPOINT", "http://c:4318")]).unwrap(), []);
        let receiver = one(&[("ENDPOINT", "http://c.example:4318/")]);
        assert_eq!(receiver.endpoint.expose(), "http://c.example:4318/v1/metrics");
        let keyed = one(&[("ENDPOINT", "https://c.example/in/?key=s3cret")]);
        assert_eq!(keyed.endpoint.expose(), "https://c.example/in/v1/metrics?key=s3cret", "a query stays one");
        assert_eq!((receiver.protocol, receiver.is_zipped, receiver.timeout), (OtlpProtocol::Http, true, None));
        let own = "publish: { otlp: [{ endpoint: 'http://own.example/v1/metrics' }] }";
        let found = otlp(own, &[("ENDPOINT", "http://c.example:4318"), ("PROTOCOL", "nonsense")]).unwrap();
        assert_eq!(found[0].endpoint.expose(), "http://own.example/v1/metrics");
        assert_eq!(otlp("publish: { cloudwatch: {} }", &[("ENDPOINT", "http://c.example:4318")]).unwrap().len(), 1);
    }

    #[test]
    fn what_is_for_metrics_goes_before_what_is_for_all() {
        let receiver = one(&[
            ("ENDPOINT", "http://all.example:4318"),
            ("METRICS_ENDPOINT", "http://metrics.example/in"),
            ("HEADERS", "a=1"),
            ("METRICS_HEADERS", "Authorization=Bearer%20x%2Cy , b = 2"),
            ("COMPRESSION", "gzip"),
            ("METRICS_COMPRESSION", "none"),
            ("METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "BASE2_EXPONENTIAL_BUCKET_HISTOGRAM"),
            ("METRICS_TEMPORALITY_PREFERENCE", "Cumulative"),
            ("TIMEOUT", "1500"),
        ]);
        assert_eq!(receiver.endpoint.expose(), "http://metrics.example/in", "as it is");
        let headers: Vec<_> = receiver.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(headers, [("authorization", "Bearer x,y"), ("b", "2")]);
        assert_eq!((receiver.is_zipped, receiver.histograms), (false, Histograms::Exponential));
        assert_eq!(receiver.timeout, Some(Duration::from_millis(1_500)));
        let grpc = |url: &str, insecure: &str| {
            one(&[("ENDPOINT", url), ("PROTOCOL", "grpc"), ("INSECURE", insecure)]).endpoint.expose().to_owned()
        };
        assert_eq!(grpc("http://c.example:4317", ""), "http://c.example:4317");
        assert_eq!(grpc("c.example:4317", "true"), "http://c.example:4317");
        assert_eq!(grpc("c.example:4317", "false"), "https://c.example:4317");
    }

    #[test]
    fn metrics_can_be_switched_off() {
        let endpoint = ("ENDPOINT", "http://c.example:4318");
        assert_eq!(otlp("", &[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]).unwrap(), []);
        for (exporters, receivers) in
            [("none", 0), ("prometheus", 0), ("console, prometheus", 0), ("otlp", 1), ("console, OTLP", 1), (" ", 1)]
        {
            let found = otlp("", &[endpoint, ("OTEL_METRICS_EXPORTER", exporters)]).unwrap();
            assert_eq!(found.len(), receivers, "{exporters}");
        }
        assert_eq!(otlp("", &[endpoint, ("OTEL_SDK_DISABLED", "false")]).unwrap().len(), 1);
    }

    #[test]
    fn a_bad_value_is_refused_by_the_name_of_its_variable_and_secrets_are_not_shown() {
        for (name, value) in [
            ("PROTOCOL", "http/json"),
            ("PROTOCOL", "udp"),
            ("METRICS_PROTOCOL", "HTTP"),
            ("COMPRESSION", "zstd"),
            ("TIMEOUT", "10s"),
            ("TIMEOUT", "-1"),
            ("TIMEOUT", "0"),
            ("HEADERS", "s3cret"),
            ("HEADERS", "a b=s3cret"),
            ("HEADERS", "a=s3cret%0A"),
            ("HEADERS", "a=s3cret%FF"),
            ("METRICS_ENDPOINT", "s3cret"),
            ("METRICS_ENDPOINT", "ftp://c.example/s3cret"),
            ("METRICS_TEMPORALITY_PREFERENCE", "delta"),
            ("METRICS_TEMPORALITY_PREFERENCE", "lowmemory"),
            ("METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "exponential"),
            ("CERTIFICATE", "/etc/ca.pem"),
            ("METRICS_CLIENT_KEY", "/etc/key.pem"),
            ("OTEL_SDK_DISABLED", "yes"),
        ] {
            let problems = otlp("", &[("ENDPOINT", "http://c.example:4318"), (name, value)]).unwrap_err();
            assert!(problems.contains(name) && problems.contains("1 problem"), "{name}={value}: {problems}");
            assert!(!problems.contains("s3cret"), "{problems}");
        }
        for ignored in ["http://c.example/in", "http://u:s3cret@c.example", "http://c.example?key=s3cret"] {
            let problems = otlp("", &[("ENDPOINT", ignored), ("PROTOCOL", "grpc")]).unwrap_err();
            assert!(problems.contains("must be an origin") && !problems.contains("s3cret"), "{problems}");
        }
    }
}
