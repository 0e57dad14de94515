//! Sinks: the checked configuration, and the checks.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Secret;
use crate::config::aws_names::{check_namespace, partition_of};
use crate::config::check::{Check, MAX_POLL};
use crate::config::file;

/// Maximum repeat interval: PromQL looks back five minutes, so a value repeated less often would disappear in
/// between.
const MAX_REPEAT: Duration = Duration::from_secs(240);

/// Allowed budgets in dollars per month.
const BUDGETS: std::ops::RangeInclusive<f64> = 1.0..=1_000_000.0;

/// Configured sinks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Publish {
    /// CloudWatch, if configured.
    pub cloudwatch: Option<CloudWatch>,
    /// OTLP receivers.
    pub otlp: Vec<Otlp>,
}

/// Publishing to CloudWatch.
#[derive(Clone, Debug, PartialEq)]
pub struct CloudWatch {
    /// The namespace: `Trainspotter` by default.
    pub namespace: String,
    /// In which form metrics are sent.
    pub metrics: CloudWatchMetrics,
    /// Publishing interval.
    pub every: Duration,
    /// Region to publish to; by default the first target's.
    pub region: Option<String>,
    /// A role to assume; by default the service's own credentials, never a target's.
    pub role: Option<String>,
    /// Overrides the endpoint; by default the first target's.
    pub endpoint: Option<String>,
    /// Whether classic metrics have the dimensions Account and Region; by default if there is more than one target.
    pub account_and_region: Option<bool>,
    /// Budget for classic metrics in dollars per month, if any.
    pub budget: Option<f64>,
    /// Form of distributions over OTLP.
    pub histograms: Histograms,
    /// Over OTLP, how often an unchanged value is repeated; with every publication if zero.
    pub repeat_unchanged: Duration,
}

/// Forms of metrics for CloudWatch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloudWatchMetrics {
    /// `PutMetricData`: priced by series, for CloudWatch dashboards and alarms. Gets the most useful metrics.
    #[default]
    Classic,
    /// OTLP: priced by bytes, for PromQL. Gets all metrics.
    Otlp,
    /// Both.
    Both,
}

impl CloudWatchMetrics {
    /// Whether `PutMetricData` is used.
    pub fn are_classic(self) -> bool {
        matches!(self, Self::Classic | Self::Both)
    }

    /// Whether OTLP is used.
    pub fn are_otlp(self) -> bool {
        matches!(self, Self::Otlp | Self::Both)
    }
}

impl CloudWatch {
    /// Publishes to a namespace at an interval, in the first target's region and with the service's own
    /// credentials.
    pub fn new(namespace: impl Into<String>, every: Duration) -> Self {
        Self {
            namespace: namespace.into(),
            metrics: CloudWatchMetrics::Classic,
            every,
            region: None,
            role: None,
            endpoint: None,
            account_and_region: None,
            budget: None,
            histograms: Histograms::Explicit,
            repeat_unchanged: Duration::from_secs(240),
        }
    }
}

/// An OTLP receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    /// For HTTP the full URL of the metrics path, for gRPC the origin. May contain a key.
    pub endpoint: Secret,
    /// Transport.
    pub protocol: OtlpProtocol,
    /// Sent with each request; values may be secret and are never logged.
    pub headers: BTreeMap<String, Secret>,
    /// Form of distributions.
    pub histograms: Histograms,
    /// Whether bodies are compressed with gzip.
    pub is_zipped: bool,
    /// Timeout of a request, in wall time; `None` for the default.
    pub timeout: Option<Duration>,
}

impl Otlp {
    /// A receiver without headers, with defaults.
    pub fn new(endpoint: impl Into<String>, protocol: OtlpProtocol) -> Self {
        Self {
            endpoint: Secret::new(endpoint),
            protocol,
            headers: BTreeMap::new(),
            histograms: Histograms::Explicit,
            is_zipped: true,
            timeout: None,
        }
    }
}

/// Forms of distributions in OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Histograms {
    /// Buckets with the bounds of the catalogue.
    #[default]
    Explicit,
    /// Exponential buckets.
    Exponential,
}

/// Transports of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// Protobuf over HTTP.
    Http,
    /// gRPC.
    Grpc,
}

impl Check<'_> {
    pub(super) fn publish(&mut self, publish: &file::Publish) -> Publish {
        let cloudwatch = publish.cloudwatch.as_ref().map(|cloudwatch| {
            let namespace = self.filled("publish.cloudwatch.namespace", &cloudwatch.namespace);
            self.refuse("publish.cloudwatch.namespace", check_namespace(&namespace));
            self.at_least("publish.cloudwatch.every", cloudwatch.every.0, Duration::from_secs(10));
            if cloudwatch.every.0 > MAX_POLL {
                self.problem("publish.cloudwatch.every", "must be at most 24h");
            }
            let at = |key: &str| format!("publish.cloudwatch.{key}");
            let region = cloudwatch.region.as_ref().map(|region| self.filled(&at("region"), region));
            if let Some(region) = &region {
                self.refuse(&at("region"), partition_of(region).map(|_| ()));
            }
            let role = self.role(&at("role"), cloudwatch.role.as_deref(), region.as_deref());
            let endpoint = self.endpoint_of_aws(&at("endpoint"), cloudwatch.endpoint.as_deref());
            let metrics = match cloudwatch.metrics {
                file::CloudWatchMetrics::Classic => CloudWatchMetrics::Classic,
                file::CloudWatchMetrics::Otlp => CloudWatchMetrics::Otlp,
                file::CloudWatchMetrics::Both => CloudWatchMetrics::Both,
            };
            let budget = self.budget(cloudwatch.budget, metrics);
            let (every, histograms) = (cloudwatch.every.0, histograms(cloudwatch.histograms));
            let repeat_unchanged = cloudwatch.repeat_unchanged.0;
            self.at_most("publish.cloudwatch.repeat_unchanged", repeat_unchanged, MAX_REPEAT);
            let account_and_region = cloudwatch.account_and_region;
            CloudWatch {
                namespace,
                metrics,
                every,
                region,
                role,
                endpoint,
                account_and_region,
                budget,
                histograms,
                repeat_unchanged,
            }
        });
        let otlp: Vec<Otlp> = match &publish.otlp {
            Some(otlp) => otlp.iter().enumerate().map(|(index, otlp)| self.otlp(index, otlp)).collect(),
            None => self.otlp_of_the_environment().into_iter().collect(),
        };
        for (index, sink) in otlp.iter().enumerate() {
            // Other headers may select another tenant.
            if otlp.iter().take(index).any(|other| other.endpoint == sink.endpoint && other.headers == sink.headers) {
                let message = "duplicate endpoint with the same headers: every point would be sent twice";
                self.problem(&format!("publish.otlp[{index}].endpoint"), message);
            }
        }
        Publish { cloudwatch, otlp }
    }

    fn otlp(&mut self, index: usize, otlp: &file::Otlp) -> Otlp {
        let at = format!("publish.otlp[{index}]");
        let path = format!("{at}.endpoint");
        let endpoint = self.filled(&path, &otlp.endpoint);
        let protocol = match otlp.protocol {
            file::Protocol::Http => OtlpProtocol::Http,
            file::Protocol::Grpc => OtlpProtocol::Grpc,
        };
        match protocol {
            OtlpProtocol::Grpc => self.origin(&path, &endpoint),
            OtlpProtocol::Http => {
                if self.outgoing(&path, &endpoint).is_some_and(|url| url.path() == "/") {
                    let message = "with http the complete URL is required, such as http://collector:4318/v1/metrics";
                    self.problem(&path, message);
                }
            }
        }
        let headers = self.headers(&at, &otlp.headers);
        let is_zipped = otlp.compression == file::Compression::Gzip;
        let histograms = histograms(otlp.histograms);
        Otlp { endpoint: Secret::new(endpoint), protocol, headers, histograms, is_zipped, timeout: None }
    }

    fn budget(&mut self, budget: Option<file::Dollars>, metrics: CloudWatchMetrics) -> Option<f64> {
        let file::Dollars(dollars) = budget?;
        let path = "publish.cloudwatch.budget";
        if !BUDGETS.contains(&dollars) {
            self.problem(path, "must be between $1 and $1000000 a month");
        }
        if !metrics.are_classic() {
            let message = "applies to classic metrics, and `metrics: otlp` sends none; `trainspotter cost` estimates the cost of OTLP";
            self.problem(path, message);
        }
        Some(dollars)
    }
}

fn histograms(form: file::Histograms) -> Histograms {
    match form {
        file::Histograms::Explicit => Histograms::Explicit,
        file::Histograms::Exponential => Histograms::Exponential,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load;

    fn publish(text: &str) -> Result<Publish, String> {
        let text = format!("targets: [{{ region: us-east-1 }}]\npublish: {text}\n");
        load("c.yaml", &text, Path::new("."), &|_| None)
            .map(|config| config.publish)
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_budget_is_read_and_one_that_can_do_nothing_is_refused() {
        let budget =
            |value: &str| Ok(publish(&format!("{{ cloudwatch: {{ budget: {value} }} }}"))?.cloudwatch.unwrap().budget);
        for value in ["$30", "30", "\"30\"", "\"$30.00\"", "30.0"] {
            assert_eq!(budget(value), Ok::<_, String>(Some(30.0)), "{value}");
        }
        for value in ["-30", "0", "$0.50", "30€", "a lot", "[30]", "$30/month", "1e9", "true"] {
            let problems = budget(value).unwrap_err();
            assert!(problems.contains("c.yaml:2:") && problems.contains("1 problem"), "{value}: {problems}");
        }
        let problems = publish("{ cloudwatch: { metrics: otlp, budget: $30 } }").unwrap_err();
        assert!(problems.contains("applies to classic metrics"), "{problems}");
        assert_eq!(
            publish("{ cloudwatch: { metrics: both, budget: $30 } }").unwrap().cloudwatch.unwrap().budget,
            Some(30.0)
        );
    }

    #[test]
    fn the_form_of_what_a_receiver_gets_can_be_chosen() {
        let text =
            "{ otlp: [{ endpoint: 'http://c.example/v1/metrics', histograms: exponential, compression: none }] }";
        let publish = publish(text).unwrap();
        assert_eq!((publish.otlp[0].histograms, publish.otlp[0].is_zipped), (Histograms::Exponential, false));
        for wrong in ["histograms: base2", "compression: zstd", "compression: true"] {
            let text = format!("{{ otlp: [{{ endpoint: 'http://c.example/v1/metrics', {wrong} }}] }}");
            assert!(super::tests::publish(&text).is_err(), "{wrong}");
        }
    }
}
