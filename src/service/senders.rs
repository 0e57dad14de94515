//! Whoever gets something from the service, with the clients for it: receivers of alerts and the sinks of figures.

use std::sync::Arc;

use crate::aws::{self, CallCounter, ConnectError};
use crate::config::{Channel, Config, Receiver, Target};
use crate::notify::{Integration, IntegrationError, Notifier, Notifiers};
use crate::publish::{CloudWatchAccess, Origin, Publisher};
use crate::service::StartError;
use crate::service::shared::Shared;
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

/// What brings messages to each receiver.
pub(super) async fn integrations(
    config: &Config,
    calls: &CallCounter,
    clock: Clock,
) -> Result<Vec<(Receiver, Arc<Integration>)>, StartError> {
    let mut integrations = Vec::new();
    for receiver in &config.receivers {
        let integration = integration(config, receiver, calls, clock).await;
        let failed = |cause| StartError::new(format!("preparing a receiver: {}", receiver.name), cause);
        integrations.push((receiver.clone(), Arc::new(integration.map_err(failed)?)));
    }
    Ok(integrations)
}

/// One notifier per receiver, for the outbox of one target.
pub(super) fn notifiers(
    shared: &Shared,
    store: &StoreHandle,
) -> (Notifiers, Vec<Notifier<StoreHandle, Arc<Integration>>>) {
    Notifiers::new(shared.receivers.to_vec(), shared.config.external_url.as_deref(), store, shared.clock)
}

/// All sinks, for the figures of one target.
pub(super) async fn publisher(shared: &Shared, target: &Target, began: Timestamp) -> Result<Publisher, StartError> {
    let Shared { config, calls, clock, .. } = shared;
    let mut cloudwatch = CloudWatchAccess { places: Arc::clone(&shared.places), ..CloudWatchAccess::default() };
    if let Some(sink) = &config.publish.cloudwatch {
        let failed = |error| StartError::new("preparing the CloudWatch sink", error);
        if sink.metrics.are_classic() {
            cloudwatch.classic = Some(aws::cloudwatch(config, sink, calls, *clock).await.map_err(failed)?);
        }
        if sink.metrics.are_otlp() {
            cloudwatch.otlp = Some(aws::cloudwatch_otlp(config, sink, *clock).await.map_err(failed)?);
        }
    }
    let origin = Origin { began, region: Some(target.region.clone()), account: None };
    let mut publish = config.publish.clone();
    // Targets share what may be spent.
    let count = f64::from(u32::try_from(config.targets.len().max(1)).unwrap_or(u32::MAX));
    if let Some(sink) = &mut publish.cloudwatch {
        sink.budget = sink.budget.map(|dollars| dollars / count);
    }
    Publisher::new(&publish, cloudwatch, &origin, *clock).map_err(|error| StartError::new("preparing the sinks", error))
}
