//! Clients of the configured receivers. Those of AWS's SNS count their requests.

use std::sync::Arc;

use crate::aws::{self, CallCounter, ConnectError};
use crate::config::{Channel, Config, Receiver};
use crate::notify::{Integration, IntegrationError};
use crate::service::StartError;
use trainspotter_clock::Clock;

/// Why a receiver cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// The AWS client cannot be created.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Its configuration is invalid.
    #[error(transparent)]
    Integration(#[from] IntegrationError),
}

/// Creates the integration of a receiver. `calls` counts its AWS requests.
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

/// Creates the integrations of all receivers.
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
