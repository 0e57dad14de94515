//! Sends sample notifications without the outbox, to test a receiver or a rule.

use std::time::Duration;

use crate::aws::CallCounter;
use crate::config::{Channel, Config, Receiver};
use crate::notify::Deliver as _;
use crate::notify::Failure;
use crate::notify::OutboxRow;
use crate::notify::message::Message;
use crate::notify::sample_alerts::{Sample, Scene};
use crate::service::NoTarget;
use crate::service::receiver_clients::{ReceiverError, integration};
use trainspotter_clock::Clock;

/// Wall time limit per message.
const MAX_DELIVERY_TIME: Duration = Duration::from_secs(15);

/// Samples by name, each with its grouping labels if it is a group.
pub(super) type Samples<N> = Vec<(N, OutboxRow, Option<Vec<String>>)>;

/// Why a test notification failed, without secrets.
#[derive(Debug, thiserror::Error)]
pub enum Undelivered {
    /// There is no target that the sample could be about.
    #[error(transparent)]
    NoTarget(#[from] NoTarget),
    /// The receiver cannot be used.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// The receiver refused the message or could not be reached.
    #[error("{}", .0.reason)]
    Refused(Failure),
    /// The receiver did not answer in time.
    #[error("no response within {}", humantime::format_duration(*.0))]
    NoAnswer(Duration),
    /// One of several samples failed.
    #[error("{}: {cause}", sample.as_str())]
    Sample {
        /// The sample that failed.
        sample: Sample,
        /// Why it failed.
        #[source]
        cause: Box<Self>,
    },
}

/// Sends one sample of each kind directly to a receiver, and returns its response to each.
///
/// # Errors
/// See [`Undelivered`].
pub async fn test_receiver(
    config: &Config,
    receiver: &Receiver,
    samples: &[Sample],
    clock: Clock,
) -> Result<Vec<(Sample, String)>, Undelivered> {
    let mut answers = Vec::new();
    for (sample, outcome) in send(config, receiver, samples_for(config, receiver, samples, clock)?, clock).await {
        let outcome = outcome.map_err(|cause| Undelivered::Sample { sample, cause: Box::new(cause) })?;
        answers.push((sample, outcome));
    }
    Ok(answers)
}

/// The samples of the given kinds.
pub(super) fn samples_for(
    config: &Config,
    receiver: &Receiver,
    samples: &[Sample],
    clock: Clock,
) -> Result<Samples<Sample>, NoTarget> {
    let scene = scene(config, receiver)?;
    let rows = |sample: &Sample| {
        let (sample, by) = (*sample, sample.group());
        sample.rows(&receiver.name, &scene, clock.now()).into_iter().map(move |row| (sample, row, by.clone()))
    };
    Ok(samples.iter().flat_map(rows).collect())
}

/// Labels and values for the samples.
pub(super) fn scene(config: &Config, receiver: &Receiver) -> Result<Scene, NoTarget> {
    let target = config.targets.first().ok_or(NoTarget)?;
    Ok(Scene { region: target.region.clone(), owner: owner(&receiver.channel) })
}

/// Sends notifications in order until one fails, and returns the result of each.
pub(super) async fn send<N>(
    config: &Config,
    receiver: &Receiver,
    rows: Samples<N>,
    clock: Clock,
) -> Vec<(N, Result<String, Undelivered>)> {
    let mut answers = Vec::new();
    let integration = match integration(config, receiver, &CallCounter::default(), clock).await {
        Ok(integration) => integration,
        Err(error) => {
            let first = rows.into_iter().next().map(|(name, ..)| (name, Err(error.into())));
            return first.into_iter().collect();
        }
    };
    // The receiver's id of the firing message, which the resolved message refers to.
    let mut reported: Option<(String, Option<String>)> = None;
    for (name, mut row, by) in rows {
        let alert = row.alert().to_string();
        row.reference = reported.take().filter(|(before, _)| *before == alert).and_then(|(_, reference)| reference);
        let message = Message::of_group(&row, config.external_url.as_deref(), by.as_deref());
        let delivered = tokio::time::timeout(MAX_DELIVERY_TIME, integration.deliver(&message, &clock)).await;
        let outcome = match delivered {
            Ok(Ok(receipt)) => {
                reported = Some((alert, receipt.reference));
                Ok(receipt.response)
            }
            Ok(Err(failure)) => Err(Undelivered::Refused(failure)),
            Err(_) => Err(Undelivered::NoAnswer(MAX_DELIVERY_TIME)),
        };
        let failed = outcome.is_err();
        answers.push((name, outcome));
        if failed {
            break;
        }
    }
    answers
}

/// A user that the receiver can mention, if there is one.
fn owner(channel: &Channel) -> String {
    let known = match channel {
        Channel::SlackWebhook { owners, .. } | Channel::SlackApp { owners, .. } => owners.keys().next().cloned(),
        Channel::Sns { .. } | Channel::Webhook { .. } | Channel::PagerDuty { .. } | Channel::Alertmanager { .. } => {
            None
        }
    };
    known.unwrap_or_else(|| "nobody".to_owned())
}
