//! Clients for what leaves the service: notifications to SNS topics and figures to CloudWatch.
//!
//! They are nobody's target: each has a region, credentials and timeouts of its own, and none waits for the budget of polling, so
//! that a throttled account delays no page. Their calls are counted with the others.

use crate::aws::CallCounter;
use crate::aws::ConnectError;
use crate::aws::call_counter::{TooManyRequests, Watch};
use crate::aws::clients::{Access, identified};
use crate::config::{CloudWatch, Config};
use trainspotter_clock::Clock;

/// A client of the region that a topic's ARN names. The topic may be another account's, whose policy then has to allow it.
///
/// # Errors
/// The client cannot be made.
pub async fn sns(
    config: &Config,
    topic: &str,
    role: Option<&str>,
    endpoint: Option<&str>,
    calls: &CallCounter,
    clock: Clock,
) -> Result<aws_sdk_sns::Client, ConnectError> {
    let region = topic.split(':').nth(3).unwrap_or_default();
    let access = Access { region, role, endpoint: endpoint.or(endpoint_of_targets(config)) };
    let (sdk, _) = identified(access, clock).await?;
    let config = aws_sdk_sns::config::Builder::from(&sdk)
        .interceptor(watch("sns", calls))
        .retry_classifier(TooManyRequests)
        .build();
    Ok(aws_sdk_sns::Client::from_conf(config))
}

/// A client of the region that gets figures.
///
/// # Errors
/// The client cannot be made.
pub async fn cloudwatch(
    config: &Config,
    sink: &CloudWatch,
    calls: &CallCounter,
    clock: Clock,
) -> Result<aws_sdk_cloudwatch::Client, ConnectError> {
    let region = sink.region.as_ref().or(config.targets.first().map(|target| &target.region));
    let access = Access {
        region: region.map_or("", String::as_str),
        role: sink.role.as_deref(),
        endpoint: sink.endpoint.as_deref().or(endpoint_of_targets(config)),
    };
    let (sdk, _) = identified(access, clock).await?;
    let config = aws_sdk_cloudwatch::config::Builder::from(&sdk)
        .interceptor(watch("cloudwatch", calls))
        .retry_classifier(TooManyRequests)
        .build();
    Ok(aws_sdk_cloudwatch::Client::from_conf(config))
}

/// Where the simulator is, say: an endpoint for all of AWS is given once.
fn endpoint_of_targets(config: &Config) -> Option<&str> {
    config.targets.first()?.endpoint.as_deref()
}

fn watch(service: &'static str, calls: &CallCounter) -> Watch {
    Watch { service, counter: calls.clone(), budget: None }
}
