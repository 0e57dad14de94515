//! The AWS clients of one target: endpoint, credentials, timeouts, retries and call budget.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use url::{Host, Url};

use crate::aws::Budget;
use crate::aws::CallCounter;
use crate::aws::Limits;
use crate::aws::call_counter::{TooManyRequests, Watch};
use crate::aws::expired_credentials::{CachedCredentials, RenewExpired};
use crate::aws::incomplete_answers::Completeness;
use crate::aws::odd_numbers::NumberFilter;
use crate::aws::rewrite_body::AnswerBody;
use crate::config::Target;
use crate::outbound::{Guard, OutboundError, credentials_client, sdk_client};
use trainspotter_clock::Clock;

/// Wall time limit to establish a connection.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Wall time limit until the first byte of a response.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(15);
/// Attempts per call, including the first. Backoff is jittered.
const MAX_ATTEMPTS: u32 = 3;
/// Endpoint for all services, unless the target sets one.
const ENDPOINT_VARIABLE: &str = "AWS_ENDPOINT_URL";
/// If any of these is set, credentials were configured on purpose.
const CREDENTIAL_VARIABLES: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// The AWS clients of one target, with a shared budget and counter. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Queues and jobs.
    pub batch: aws_sdk_batch::Client,
    /// Training jobs.
    pub sagemaker: aws_sdk_sagemaker::Client,
    /// Account limits.
    pub quotas: aws_sdk_servicequotas::Client,
    /// GPU metrics.
    pub cloudwatch: aws_sdk_cloudwatch::Client,
    /// Looks up the account id. Outside the budget, like requests for credentials.
    pub(super) sts: aws_sdk_sts::Client,
    budget: Budget,
    calls: CallCounter,
    limits: Limits,
}

impl Clients {
    /// The call budget of all clients.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Counts every attempt. [`crate::aws::Poller`] drains it into observations.
    pub fn calls(&self) -> &CallCounter {
        &self.calls
    }

    /// Counts how often built-in limits were hit; drained like the calls.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

/// Why the clients of a target could not be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The endpoint is not an HTTP URL.
    Endpoint {
        /// The configured text.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The environment names an unusable proxy; the error names the variable.
    Outbound(OutboundError),
    /// AWS requires TLS, and this machine has no CA certificates.
    NoCaRoots,
    /// The AWS SDK is configured to send unsigned requests.
    NoCredentials,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint { endpoint, problem } => {
                write!(f, "{endpoint:?} is not an endpoint: {problem}; write for example http://127.0.0.1:4566")
            }
            Self::Outbound(problem) => problem.fmt(f),
            Self::NoCredentials => {
                f.write_str("no AWS credentials are configured, and requests for metrics have to be signed")
            }
            Self::NoCaRoots => f.write_str(
                "no CA certificates found, so AWS's certificates cannot be checked: install the ca-certificates \
                 package, or point SSL_CERT_FILE at a bundle",
            ),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Outbound(problem) => Some(problem),
            Self::Endpoint { .. } | Self::NoCaRoots | Self::NoCredentials => None,
        }
    }
}

/// Creates the clients of `target`, limited to `calls_per_second` requests in clock time over all services.
///
/// No request is made yet, unless the session of a role needs a region: credentials are loaded at the first call.
/// Credential requests are outside the budget, since nothing works without them.
pub async fn connect(target: &Target, calls_per_second: f64, clock: Clock) -> Result<Clients, ConnectError> {
    let (sdk, http, renewal) = sdk_config(Access::to(target), clock).await?;
    let budget = Budget::new(calls_per_second, clock);
    let sdk = sdk.into_builder().http_client(budget.guard(http.clone())).build();
    Ok(clients(&sdk, budget, http, &renewal))
}

/// Endpoint and credentials of API calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access<'a> {
    pub(super) region: &'a str,
    /// The role to assume.
    pub(super) role: Option<&'a str>,
    /// External id required by the role's trust policy.
    pub(super) external_id: Option<&'a str>,
    /// Overrides the AWS endpoint.
    pub(super) endpoint: Option<&'a str>,
}

impl<'a> Access<'a> {
    fn to(target: &'a Target) -> Self {
        Self {
            region: &target.region,
            role: target.role.as_deref(),
            external_id: target.external_id.as_deref(),
            endpoint: target.endpoint.as_deref(),
        }
    }
}

/// The SDK configuration for clients, and the interceptor that renews their credentials.
pub(super) async fn sdk_config(
    access: Access<'_>,
    clock: Clock,
) -> Result<(SdkConfig, SharedHttpClient, RenewExpired), ConnectError> {
    let (sdk, http) = with_credentials(access, clock).await?;
    let renewed = sdk.credentials_provider().map(|provider| CachedCredentials::new(provider, clock));
    let sdk = match &renewed {
        None => sdk,
        Some(renewed) => {
            sdk.into_builder().credentials_provider(SharedCredentialsProvider::new(renewed.clone())).build()
        }
    };
    Ok((sdk, http, RenewExpired(renewed)))
}

/// The SDK configuration and HTTP client, for callers that manage credentials themselves. Outbound requests are
/// checked, except those to credential endpoints.
pub(super) async fn with_credentials(
    access: Access<'_>,
    clock: Clock,
) -> Result<(SdkConfig, SharedHttpClient), ConnectError> {
    let endpoint = access.endpoint.map(str::to_owned).or_else(|| variable(ENDPOINT_VARIABLE));
    let url = endpoint.as_deref().map(parse_endpoint).transpose()?;
    let http = http_client(url.as_ref())?;
    #[cfg(test)]
    let http = crate::simulation::network_of(clock).unwrap_or(http);
    let credentials = credentials_client(is_plain(url.as_ref())).map_err(ConnectError::Outbound)?;
    let mut loader = defaults(access.region, clock).http_client(credentials);
    if let Some(endpoint) = &endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if url.as_ref().is_some_and(is_loopback) && CREDENTIAL_VARIABLES.iter().all(|name| variable(name).is_none()) {
        loader = loader.credentials_provider(Credentials::new("simulated", "simulated", None, None, "simulator"));
    }
    let mut sdk = loader.load().await.into_builder().http_client(http.clone()).build();
    if let Some(role) = access.role {
        let mut provider = AssumeRoleProvider::builder(role).session_name("trainspotter").configure(&sdk);
        if let Some(external_id) = access.external_id {
            provider = provider.external_id(external_id);
        }
        let provider = provider.build().await;
        sdk = sdk.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build();
    }
    Ok((sdk, http))
}

/// Creates a client for the event queue at `queue`, with the target's credentials. Outside the budget: it mostly
/// long-polls, and calls no job API.
pub(crate) async fn sqs(target: &Target, queue: &str, clock: Clock) -> Result<aws_sdk_sqs::Client, ConnectError> {
    let url = parse_endpoint(queue)?;
    let (sdk, _, renewal) = sdk_config(Access::to(target), clock).await?;
    let config = aws_sdk_sqs::config::Builder::from(&sdk)
        .endpoint_url(url.origin().ascii_serialization())
        .http_client(http_client(Some(&url))?)
        .interceptor(Completeness)
        .interceptor(renewal.clone())
        .retry_classifier(renewal)
        .build();
    Ok(aws_sdk_sqs::Client::from_conf(config))
}

/// Settings common to all clients.
///
/// There is deliberately no timeout for a whole operation: it would cut off calls that wait for a slow budget. Each
/// attempt is bounded instead: by the connect and read timeouts here and, behind the budget, by a timeout for the
/// complete response. The latter replaces the SDK's stalled stream protection, which measures clock time.
fn defaults(region: &str, clock: Clock) -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(clock.of_wall(CONNECT_TIMEOUT))
        .read_timeout(clock.of_wall(READ_TIMEOUT))
        .build();
    let retries = RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS);
    #[cfg(test)]
    let retries = crate::simulation::without_jitter(retries);
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(region.to_owned()))
        .sleep_impl(clock)
        .time_source(clock)
        .retry_config(retries)
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .identity_cache(IdentityCache::no_cache())
}

fn clients(sdk: &SdkConfig, budget: Budget, http: SharedHttpClient, renewal: &RenewExpired) -> Clients {
    let (calls, limits) = (CallCounter::default(), Limits::default());
    let watch = |service| Watch { service, counter: calls.clone(), budget: Some(budget.clone()) };
    // Job timestamps come from Batch, so Batch's clock is the reference.
    let batch = aws_sdk_batch::config::Builder::from(sdk)
        .http_client(budget.guard_and_compare(http.clone()))
        .interceptor(watch("batch"))
        .interceptor(Completeness)
        .interceptor(AnswerBody(NumberFilter(limits.clone())))
        .retry_classifier(TooManyRequests)
        .interceptor(renewal.clone())
        .retry_classifier(renewal.clone())
        .build();
    let quotas = aws_sdk_servicequotas::config::Builder::from(sdk)
        .interceptor(watch("servicequotas"))
        .interceptor(Completeness)
        .retry_classifier(TooManyRequests)
        .interceptor(renewal.clone())
        .retry_classifier(renewal.clone())
        .build();
    let sagemaker = aws_sdk_sagemaker::config::Builder::from(sdk)
        .interceptor(watch("sagemaker"))
        .interceptor(Completeness)
        .interceptor(AnswerBody(NumberFilter(limits.clone())))
        .retry_classifier(TooManyRequests)
        .interceptor(renewal.clone())
        .retry_classifier(renewal.clone())
        .build();
    let cloudwatch = aws_sdk_cloudwatch::config::Builder::from(sdk)
        .interceptor(watch("cloudwatch"))
        .retry_classifier(TooManyRequests)
        .interceptor(renewal.clone())
        .retry_classifier(renewal.clone())
        .build();
    let sts = aws_sdk_sts::config::Builder::from(sdk)
        .http_client(http)
        .interceptor(Watch { service: "sts", counter: calls.clone(), budget: None })
        .build();
    Clients {
        sts: aws_sdk_sts::Client::from_conf(sts),
        batch: aws_sdk_batch::Client::from_conf(batch),
        sagemaker: aws_sdk_sagemaker::Client::from_conf(sagemaker),
        quotas: aws_sdk_servicequotas::Client::from_conf(quotas),
        cloudwatch: aws_sdk_cloudwatch::Client::from_conf(cloudwatch),
        budget,
        calls,
        limits,
    }
}

/// Plain HTTP for `http:` endpoints, TLS otherwise. CA certificates are loaded only for TLS.
fn http_client(endpoint: Option<&Url>) -> Result<SharedHttpClient, ConnectError> {
    let plain = is_plain(endpoint);
    if !plain && rustls_native_certs::load_native_certs().certs.is_empty() {
        return Err(ConnectError::NoCaRoots);
    }
    sdk_client(plain, Guard::new(true)).map_err(ConnectError::Outbound)
}

fn is_plain(endpoint: Option<&Url>) -> bool {
    endpoint.is_some_and(|url| url.scheme() == "http")
}

fn parse_endpoint(endpoint: &str) -> Result<Url, ConnectError> {
    let wrong = |problem: String| ConnectError::Endpoint { endpoint: endpoint.to_owned(), problem };
    let url = Url::parse(endpoint).map_err(|error| wrong(error.to_string()))?;
    Guard::new(true).judge(&url).map_err(|refused| wrong(refused.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        scheme => Err(wrong(format!("the scheme {scheme} is neither http nor https"))),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

/// A non-empty environment variable.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_http_url() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:4566", None),
            ("https://batch.example", None),
            ("127.0.0.1:4566", Some("relative URL")),
            ("localhost:4566", Some("scheme localhost")),
            ("ftp://127.0.0.1", Some("scheme ftp")),
            ("http://169.254.169.254/latest", Some("link-local")),
            ("http://[fd00:ec2::254]", Some("link-local")),
            ("https://2852039166", Some("link-local")),
            ("", Some("relative URL")),
        ] {
            let problem = parse_endpoint(endpoint).err().map(|error| error.to_string());
            match (problem, expected) {
                (None, None) => {}
                (Some(problem), Some(expected)) => assert!(problem.contains(expected), "{endpoint:?}: {problem}"),
                (problem, expected) => panic!("{endpoint:?}: {problem:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:4566", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:80", true),
            ("http://localhost:80", true),
            ("http://localhost.example", false),
            ("http://10.0.0.1", false),
            ("https://batch.us-east-1.amazonaws.com", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(endpoint).unwrap()), expected, "{endpoint}");
        }
    }

    #[test]
    fn plain_http_needs_no_ca_roots() {
        assert!(http_client(Some(&Url::parse("http://127.0.0.1:1").unwrap())).is_ok());
    }

    #[test]
    fn missing_ca_roots_are_reported_with_the_package_to_install() {
        assert!(ConnectError::NoCaRoots.to_string().contains("ca-certificates"));
    }
}
