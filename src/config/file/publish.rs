//! Sinks for metrics, as written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use trainspotter_core::yaml::HumanDuration;

/// Sinks for metrics.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Publish {
    /// CloudWatch custom metrics; off by default.
    pub(in crate::config) cloudwatch: Option<CloudWatch>,
    /// OTLP receivers. Without this key, the environment variables OTEL_EXPORTER_OTLP_* may define one.
    pub(in crate::config) otlp: Option<Vec<Otlp>>,
}

/// CloudWatch custom metrics.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct CloudWatch {
    /// Namespace of classic metrics. IAM can restrict access to it.
    pub(in crate::config) namespace: String,
    /// Form of metrics: classic, otlp or both.
    pub(in crate::config) metrics: CloudWatchMetrics,
    /// How often to publish. At least 10s.
    pub(in crate::config) every: HumanDuration,
    /// Region to publish to; by default the first target's.
    pub(in crate::config) region: Option<String>,
    /// ARN of a role to assume for publishing. By default the service's own credentials, never a target's role.
    pub(in crate::config) role: Option<String>,
    /// Overrides the endpoint. By default the first target's, if it has one.
    pub(in crate::config) endpoint: Option<String>,
    /// Whether classic metrics have the dimensions Account and Region. By default if there is more than one target.
    pub(in crate::config) account_and_region: Option<bool>,
    /// Budget for classic metrics in US dollars per month, such as $30: the most useful ones are sent within it. No
    /// limit by default.
    pub(in crate::config) budget: Option<Dollars>,
    /// Form of distributions over OTLP: explicit or exponential.
    pub(in crate::config) histograms: Histograms,
    /// Over OTLP, how often an unchanged value is repeated, since each point is billed. At most 4m; 0s sends
    /// everything each time.
    pub(in crate::config) repeat_unchanged: HumanDuration,
}

impl Default for CloudWatch {
    fn default() -> Self {
        Self {
            namespace: "Trainspotter".to_owned(),
            metrics: CloudWatchMetrics::Classic,
            every: HumanDuration(Duration::from_secs(60)),
            region: None,
            role: None,
            endpoint: None,
            account_and_region: None,
            budget: None,
            histograms: Histograms::Explicit,
            repeat_unchanged: HumanDuration(Duration::from_secs(240)),
        }
    }
}

/// Forms of metrics for CloudWatch.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum CloudWatchMetrics {
    /// PutMetricData, priced by series: the most useful metrics, for CloudWatch dashboards and alarms.
    #[default]
    Classic,
    /// OTLP, priced by bytes: all metrics, for PromQL.
    Otlp,
    /// Both.
    Both,
}

/// An OTLP receiver.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Otlp {
    /// For http the full URL of the metrics path, for grpc the origin.
    pub(in crate::config) endpoint: String,
    /// Transport.
    #[serde(default)]
    pub(in crate::config) protocol: Protocol,
    /// Sent with each request. Take secrets from the environment: ${NAME}.
    #[serde(default)]
    pub(in crate::config) headers: BTreeMap<String, String>,
    /// Form of distributions: explicit or exponential.
    #[serde(default)]
    pub(in crate::config) histograms: Histograms,
    /// Compression of bodies: gzip or none.
    #[serde(default)]
    pub(in crate::config) compression: Compression,
}

/// Transports of OTLP.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Protocol {
    /// Protobuf over HTTP.
    #[default]
    Http,
    /// gRPC.
    Grpc,
}

/// The forms of distributions in OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Histograms {
    /// Buckets with the bounds of the catalogue, as at /metrics.
    #[default]
    Explicit,
    /// Exponential buckets: smaller, with the same relative precision everywhere. Values are placed at the middle
    /// of their explicit bucket.
    Exponential,
}

/// Compression of bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Compression {
    /// Gzip.
    #[default]
    Gzip,
    /// None.
    None,
}

/// An amount of US dollars: $30, 30, 29.99.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::config) struct Dollars(pub(in crate::config) f64);

impl Dollars {
    /// Parses digits, optionally with two decimals, optionally after a dollar sign.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().strip_prefix('$').unwrap_or(text.trim()).trim_start();
        let is_plain = |part: &str| !part.is_empty() && part.chars().all(|letter| letter.is_ascii_digit());
        let (whole, cents) = digits.split_once('.').unwrap_or((digits, "0"));
        let number = (is_plain(whole) && is_plain(cents)).then(|| digits.parse().ok()).flatten();
        number.map(Self)
    }
}

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format!("`{text}` is not an amount of dollars a month; write it like $30 or 29.99"))
        })
    }
}

impl JsonSchema for Dollars {
    fn schema_name() -> Cow<'static, str> {
        "Dollars".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "number"],
            "description": "An amount of US dollars: $30, 29.99.",
            "examples": ["$30"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_as_people_write_them() {
        for (text, expected) in [("$30", 30.0), ("30", 30.0), ("29.99", 29.99), (" $ 5.5 ", 5.5), ("0", 0.0)] {
            assert_eq!(Dollars::parse(text), Some(Dollars(expected)), "{text}");
        }
        for text in ["", "$", "-5", "$-5", "30€", "1e3", "1,000", "$30/month", ".5", "5.", "inf", "NaN", "USD 30"] {
            assert_eq!(Dollars::parse(text), None, "{text}");
        }
    }
}
