//! Whoever gets something from the service, with the clients for it: receivers of alerts and the sinks of figures.

use crate::aws::{self, CallCounter, ConnectError};
use crate::config::{Channel, Config, Receiver, Target};
use crate::notify::{Integration, IntegrationError, Notifier, Notifiers};
use crate::publish::{CloudWatchAccess, Origin, Publisher};
use crate::service::StartError;
use crate::store::StoreHandle;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;

/// Why a receiver cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReceiverError {
    /// There is no client of its service.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It cannot be used as it is configured.
    #[error(transparent)]
    Integration(#[from] IntegrationError),
}

/// An integration for a receiver. `calls` counts what it asks of AWS.
///
/// # Errors
/// Why the receiver cannot be used, without secrets.
pub(super) async fn integration(
    config: &Config,
    receiver: &Receiver,
    calls: &CallCounter,
    clock: Clock,
) -> Result<Integration, ReceiverError> {
    let sns = match &receiver.channel {
        Channel::Sns { topic, role, endpoint } => {
            let client = aws::sns(config, topic, role.as_deref(), endpoint.as_deref(), calls, clock).await;
            Some(client?)
        }
        Channel::Webhook { .. }
        | Channel::SlackWebhook { .. }
        | Channel::SlackApp { .. }
        | Channel::PagerDuty { .. }
        | Channel::Alertmanager { .. } => None,
    };
    Ok(Integration::new(&receiver.channel, sns)?)
}

/// One notifier per receiver.
pub(super) async fn notifiers(
    config: &Config,
    calls: &CallCounter,
    store: &StoreHandle,
    clock: Clock,
) -> Result<(Notifiers, Vec<Notifier<StoreHandle, Integration>>), StartError> {
    let mut integrations = Vec::new();
    for receiver in &config.receivers {
        let integration = integration(config, receiver, calls, clock).await;
        let failed = |cause| StartError::new(format!("preparing a receiver: {}", receiver.name), cause);
        integrations.push((receiver.clone(), integration.map_err(failed)?));
    }
    Ok(Notifiers::new(integrations, config.external_url.as_deref(), store, clock))
}

/// All sinks.
pub(super) async fn publisher(
    config: &Config,
    calls: &CallCounter,
    target: &Target,
    began: Timestamp,
    clock: Clock,
) -> Result<Publisher, StartError> {
    let mut cloudwatch = CloudWatchAccess::default();
    if let Some(sink) = &config.publish.cloudwatch {
        let failed = |error| StartError::new("preparing the CloudWatch sink", error);
        if sink.metrics.are_classic() {
            cloudwatch.classic = Some(aws::cloudwatch(config, sink, calls, clock).await.map_err(failed)?);
        }
        if sink.metrics.are_otlp() {
            cloudwatch.otlp = Some(aws::cloudwatch_otlp(config, sink, clock).await.map_err(failed)?);
        }
    }
    let origin = Origin { began, region: Some(target.region.clone()), account: None };
    Publisher::new(&config.publish, cloudwatch, &origin, clock)
        .map_err(|error| StartError::new("preparing the sinks", error))
}
