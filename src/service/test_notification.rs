//! Sample notifications to one receiver, so that whoever sets it up sees what it answers.

use std::time::Duration;

use crate::aws::CallCounter;
use crate::config::{Channel, Config, Receiver};
use crate::notify::Deliver as _;
use crate::notify::message::Message;
use crate::notify::sample::{Sample, Scene};
use crate::service::senders::integration;
use trainspotter_clock::Clock;

/// Wall time that the receiver has for each message.
const PATIENCE: Duration = Duration::from_secs(15);

/// Sends a sample of each kind to a receiver, past the outbox, and returns what it answered to each.
///
/// # Errors
/// Why one was not delivered, without secrets.
pub async fn test_receiver(
    config: &Config,
    receiver: &Receiver,
    samples: &[Sample],
    clock: Clock,
) -> Result<Vec<(Sample, String)>, String> {
    let target = config.targets.first().ok_or("the configuration has no target")?;
    let integration = integration(config, receiver, &CallCounter::default(), clock).await?;
    let scene = Scene { region: target.region.clone(), owner: owner(&receiver.channel) };
    let mut answers = Vec::new();
    // What the receiver calls its message of the firing that an end belongs to.
    let mut reported: Option<(String, Option<String>)> = None;
    for sample in samples {
        for mut row in sample.rows(&receiver.name, &scene, clock.now()) {
            let alert = row.alert().to_string();
            row.reference = reported.take().filter(|(before, _)| *before == alert).and_then(|(_, reference)| reference);
            let by = sample.group();
            let message = Message::of_group(&row, config.external_url.as_deref(), by.as_deref());
            let delivered = tokio::time::timeout(PATIENCE, integration.deliver(&message, &clock)).await;
            let receipt = match delivered {
                Ok(Ok(receipt)) => receipt,
                Ok(Err(failure)) => return Err(format!("{}: {}", sample.as_str(), failure.reason)),
                Err(_) => {
                    let patience = humantime::format_duration(PATIENCE);
                    return Err(format!("{}: no answer within {patience}", sample.as_str()));
                }
            };
            reported = Some((alert, receipt.reference));
            answers.push((*sample, receipt.said));
        }
    }
    Ok(answers)
}

/// Somebody whom the receiver can mention, if there is one.
fn owner(channel: &Channel) -> String {
    let known = match channel {
        Channel::SlackWebhook { owners, .. } | Channel::SlackApp { owners, .. } => owners.keys().next().cloned(),
        Channel::Sns { .. } | Channel::Webhook { .. } | Channel::PagerDuty { .. } | Channel::Alertmanager { .. } => {
            None
        }
    };
    known.unwrap_or_else(|| "nobody".to_owned())
}
