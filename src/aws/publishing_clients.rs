//! Clients for publishing: notifications to SNS topics and metrics to CloudWatch.
//!
//! They belong to no target: each has its own region, credentials and timeouts, and none uses the polling budget,
//! so that a throttled account delays no notification. Their calls are counted like all others.

use url::Url;

use crate::aws::CallCounter;
use crate::aws::ConnectError;
use crate::aws::call_counter::{TooManyRequests, Watch};
use crate::aws::clients::{Access, sdk_config, with_credentials};
use crate::config::{CloudWatch, Config};
use crate::outbound::{SignedEndpoint, SignedService, Signer};
use trainspotter_clock::Clock;

/// Creates a client for the region in a topic's ARN. The topic may belong to another account, whose policy must
/// allow it.
///
/// # Errors
/// The client cannot be created.
pub async fn sns(
    config: &Config,
    topic: &str,
    role: Option<&str>,
    endpoint: Option<&str>,
    calls: &CallCounter,
    clock: Clock,
) -> Result<aws_sdk_sns::Client, ConnectError> {
    let region = topic.split(':').nth(3).unwrap_or_default();
    let access = Access { region, role, external_id: None, endpoint: endpoint.or(endpoint_of_targets(config)) };
    let (sdk, _, renewal) = sdk_config(access, clock).await?;
    let config = aws_sdk_sns::config::Builder::from(&sdk)
        .interceptor(watch("sns", calls))
        .retry_classifier(TooManyRequests)
        .interceptor(renewal.clone())
        .retry_classifier(renewal)
        .build();
    Ok(aws_sdk_sns::Client::from_conf(config))
}

/// Creates a client for the region that metrics are published to.
///
/// # Errors
/// The client cannot be created.
pub async fn cloudwatch(
    config: &Config,
    sink: &CloudWatch,
    calls: &CallCounter,
    clock: Clock,
) -> Result<aws_sdk_cloudwatch::Client, ConnectError> {
    let (sdk, _, renewal) = sdk_config(access(config, sink), clock).await?;
    let config = aws_sdk_cloudwatch::config::Builder::from(&sdk)
        .interceptor(watch("cloudwatch", calls))
        .retry_classifier(TooManyRequests)
        .interceptor(renewal.clone())
        .retry_classifier(renewal)
        .build();
    Ok(aws_sdk_cloudwatch::Client::from_conf(config))
}

/// CloudWatch's OTLP endpoint and the request signer, with the service's own credentials or the sink's role; never
/// a target's.
///
/// # Errors
/// The endpoint or the proxies cannot be used.
pub async fn cloudwatch_otlp(config: &Config, sink: &CloudWatch, clock: Clock) -> Result<SignedEndpoint, ConnectError> {
    let access = access(config, sink);
    let (sdk, _) = with_credentials(access, clock).await?;
    let region = access.region;
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let root = sdk.endpoint_url().map_or_else(|| format!("https://monitoring.{region}.{domain}"), str::to_owned);
    let endpoint = format!("{}/v1/metrics", root.trim_end_matches('/'));
    let url = Url::parse(&endpoint)
        .map_err(|error| ConnectError::Endpoint { endpoint: endpoint.clone(), problem: error.to_string() })?;
    let credentials = sdk.credentials_provider().ok_or(ConnectError::NoCredentials)?;
    let signer = Signer::new(credentials, region.to_owned(), SignedService::Monitoring, clock);
    Ok(SignedEndpoint { url, signer })
}

/// Location and credentials of a bucket.
#[derive(Clone, Copy, Debug, Default)]
pub struct BucketAccess<'a> {
    /// The bucket's region.
    pub region: Option<&'a str>,
    /// Overrides the AWS endpoint.
    pub endpoint: Option<&'a str>,
    /// A role to assume; by default the service's own credentials are used.
    pub role: Option<&'a str>,
}

impl<'a> BucketAccess<'a> {
    /// Fills in a missing region and endpoint from the first target; never a target's role.
    #[must_use]
    pub fn or_target_defaults(self, config: &'a Config) -> Self {
        let region = config.targets.first().map(|target| target.region.as_str());
        Self { region: self.region.or(region), endpoint: self.endpoint.or(endpoint_of_targets(config)), ..self }
    }
}

/// Signer, endpoint and region for requests to a bucket.
///
/// # Errors
/// The endpoint or the proxies cannot be used.
pub async fn s3(bucket: BucketAccess<'_>, clock: Clock) -> Result<(Signer, Option<Url>, String), ConnectError> {
    let BucketAccess { region, endpoint, role } = bucket;
    let region = region.unwrap_or_default();
    let (sdk, _) = with_credentials(Access { region, role, external_id: None, endpoint }, clock).await?;
    let wrong = |endpoint: &str, problem: url::ParseError| ConnectError::Endpoint {
        endpoint: endpoint.to_owned(),
        problem: problem.to_string(),
    };
    let endpoint = sdk.endpoint_url().map(|text| Url::parse(text).map_err(|error| wrong(text, error))).transpose()?;
    let credentials = sdk.credentials_provider().ok_or(ConnectError::NoCredentials)?;
    Ok((Signer::new(credentials, region.to_owned(), SignedService::S3, clock), endpoint, region.to_owned()))
}

fn access<'a>(config: &'a Config, sink: &'a CloudWatch) -> Access<'a> {
    let region = sink.region.as_ref().or(config.targets.first().map(|target| &target.region));
    Access {
        region: region.map_or("", String::as_str),
        role: sink.role.as_deref(),
        external_id: None,
        endpoint: sink.endpoint.as_deref().or(endpoint_of_targets(config)),
    }
}

/// The endpoint of the targets, as for a simulator: it applies to all AWS services.
fn endpoint_of_targets(config: &Config) -> Option<&str> {
    config.targets.first()?.endpoint.as_deref()
}

fn watch(service: &'static str, calls: &CallCounter) -> Watch {
    Watch { service, counter: calls.clone(), budget: None }
}
