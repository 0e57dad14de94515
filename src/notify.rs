//! Alert notifications: delivered at least once, under a stable id and in order, even while receivers fail.
//!
//! A transition becomes one outbox row per receiver ([`outbox`]), stored in the same transaction as the transition.
//! Each receiver has a [`Notifier`] that reads its rows, formats them ([`message`]) and sends them through an
//! [`Integration`] until the receiver accepts them or the notifier gives up. Nothing is sent before it is
//! committed.

pub mod alert_traces;
mod alertmanager;
mod grouping;
mod http;
mod inhibition;
pub mod message;
pub mod outbox;
mod pagerduty;
mod receiver_task;
mod report_notification;
mod retry;
pub mod routing;
pub mod routing_check;
pub mod sample_alerts;
mod setup_error;
pub mod silence;
mod slack;
mod sns;
mod webhook;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Channel;
use crate::notify::message::Message;
use trainspotter_clock::Clock;

pub use alertmanager::Alertmanager;
pub use http::judge;
pub use outbox::{OutboxRow, rows};
pub use pagerduty::PagerDuty;
pub use receiver_task::{ATTEMPT_TIMEOUT, Notifier, Notifiers, Outcome};
pub use report_notification::{Digest, notification};
pub use setup_error::IntegrationError;
pub use slack::Slack;
pub use sns::Sns;
pub use webhook::Webhook;

/// Sends messages to one receiver.
pub trait Deliver: fmt::Debug + Send + Sync + 'static {
    /// Makes one attempt to send a message.
    ///
    /// # Errors
    /// Why it failed, and how to proceed.
    fn deliver(&self, message: &Message, clock: &Clock) -> impl Future<Output = Result<Receipt, Failure>> + Send;

    /// Maximum number of alerts per message; further alerts go into the next message.
    fn max_alerts_per_message(&self) -> usize {
        100
    }

    /// Interval at which firing alerts must be sent again, in clock time, because the receiver would otherwise
    /// consider them resolved; `None` if never.
    fn repeat_interval(&self, _clock: &Clock) -> Option<Duration> {
        None
    }
}

impl<D: Deliver> Deliver for Arc<D> {
    fn deliver(&self, message: &Message, clock: &Clock) -> impl Future<Output = Result<Receipt, Failure>> + Send {
        D::deliver(self, message, clock)
    }

    fn max_alerts_per_message(&self) -> usize {
        D::max_alerts_per_message(self)
    }

    fn repeat_interval(&self, clock: &Clock) -> Option<Duration> {
        D::repeat_interval(self, clock)
    }
}

/// The integration of a receiver.
#[derive(Debug)]
pub enum Integration {
    /// An HTTP endpoint.
    Webhook(Webhook),
    /// An SNS topic.
    Sns(Sns),
    /// A Slack channel.
    Slack(Slack),
    /// A PagerDuty service.
    PagerDuty(PagerDuty),
    /// An Alertmanager.
    Alertmanager(Alertmanager),
}

impl Integration {
    /// Creates the integration of a channel. For a topic, `sns` is a client of its region.
    ///
    /// # Errors
    /// The channel cannot be used. The reason contains no secrets.
    pub fn new(channel: &Channel, sns: Option<aws_sdk_sns::Client>) -> Result<Self, IntegrationError> {
        match channel {
            Channel::Webhook { endpoint, keys, headers } => {
                Webhook::new(endpoint, keys)?.with_headers(headers).map(Self::Webhook)
            }
            Channel::Sns { topic, .. } => {
                sns.map(|sns| Self::Sns(Sns::new(topic, sns))).ok_or(IntegrationError::NoSnsClient)
            }
            Channel::SlackWebhook { endpoint, owners } => {
                Slack::webhook(endpoint).map(|slack| Self::Slack(slack.with_owners(owners)))
            }
            Channel::SlackApp { endpoint, token, channel, owners } => {
                Slack::app(endpoint, token, channel).map(|slack| Self::Slack(slack.with_owners(owners)))
            }
            Channel::PagerDuty { endpoint, routing_key } => PagerDuty::new(endpoint, routing_key).map(Self::PagerDuty),
            Channel::Alertmanager { endpoint, headers } => {
                Alertmanager::new(endpoint)?.with_headers(headers).map(Self::Alertmanager)
            }
        }
    }
}

impl Deliver for Integration {
    async fn deliver(&self, message: &Message, clock: &Clock) -> Result<Receipt, Failure> {
        match self {
            Self::Webhook(webhook) => webhook.deliver(message, clock).await,
            Self::Sns(sns) => sns.deliver(message).await,
            Self::Slack(slack) => slack.deliver(message, clock).await,
            Self::PagerDuty(pagerduty) => pagerduty.deliver(message, clock).await,
            Self::Alertmanager(alertmanager) => alertmanager.deliver(message, clock).await,
        }
    }

    fn max_alerts_per_message(&self) -> usize {
        match self {
            Self::Sns(_) => sns::MAX_TOGETHER,
            Self::Webhook(_) | Self::Slack(_) | Self::PagerDuty(_) | Self::Alertmanager(_) => 100,
        }
    }

    fn repeat_interval(&self, clock: &Clock) -> Option<Duration> {
        match self {
            Self::Alertmanager(_) => Some(alertmanager::repeat_interval(clock)),
            // These keep an alert until it is resolved.
            Self::Webhook(_) | Self::Sns(_) | Self::Slack(_) | Self::PagerDuty(_) => None,
        }
    }
}

/// Result of a successful delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The receiver's response, shown by tests of the receiver.
    pub response: String,
    /// The receiver's id of the message, if it has one.
    pub reference: Option<String>,
}

impl From<http::Answer> for Receipt {
    fn from(answer: http::Answer) -> Self {
        Self { response: format!("{} {}", answer.status, answer.body).trim().to_owned(), reference: None }
    }
}

/// A failed delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason, without secrets.
    pub reason: String,
    /// How to proceed.
    pub remedy: RetryClass,
}

/// How to proceed after a failed delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryClass {
    /// Retry with backoff: the receiver as a whole is failing.
    Retry {
        /// Pause requested by the receiver, in clock time.
        after: Option<Duration>,
    },
    /// Retry the receiver rarely: further attempts fail until someone changes the setup.
    Park,
    /// As [`RetryClass::Park`], but for this message only: the receiver accepts others.
    SetAside,
}

impl Failure {
    fn retry(reason: String, after: Option<Duration>) -> Self {
        Self { reason, remedy: RetryClass::Retry { after } }
    }

    fn park(reason: String) -> Self {
        Self { reason, remedy: RetryClass::Park }
    }

    fn set_aside(reason: String) -> Self {
        Self { reason, remedy: RetryClass::SetAside }
    }

    fn unwritable(error: &dyn fmt::Display) -> Self {
        Self::set_aside(format!("cannot serialize the notification: {error}"))
    }
}
