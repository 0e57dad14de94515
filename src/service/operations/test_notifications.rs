//! Test notifications: to one receiver, or for a rule to all its receivers.

use std::time::Duration;

use futures_util::future::join_all;

use crate::config::{Channel, Receiver};
use crate::notify::outbox::row;
use crate::notify::routing::notified_after;
use crate::notify::sample_alerts::{Sample, of_rule};
use crate::service::NoTarget;
use crate::service::operations::Operations;
use crate::service::send_samples::{Samples, Undelivered, samples_for, scene, send};
use crate::web::{Outcome, Refusal, TestRequest, TestResult};
use trainspotter_core::rules::Rule;

/// Samples for a receiver, and the delay after firing before the receiver is notified.
type ToReceiver<'a> = (&'a Receiver, Duration, Samples<&'static str>);

impl Operations {
    pub(super) async fn test(&self, test: TestRequest, author: &str) -> Outcome<Vec<TestResult>> {
        let messages = match (&test.receiver, &test.rule) {
            (Some(name), _) => vec![self.to_receiver(name, &test.kinds)?],
            (None, Some(name)) => self.of_rule(name, &test)?,
            (None, None) => return Err(Refusal::Invalid("either receiver or rule is required".to_owned())),
        };
        let sent = join_all(messages.into_iter().map(|(receiver, after, rows)| async move {
            let became = send(&self.config, receiver, rows, self.clock).await;
            let result = |(sample, outcome): (&'static str, Result<String, Undelivered>)| TestResult {
                receiver: receiver.name.clone(),
                sample: sample.to_owned(),
                delivered: outcome.is_ok(),
                answer: outcome.unwrap_or_else(|undelivered| undelivered.to_string()),
                after_seconds: after.as_secs_f64(),
            };
            became.into_iter().map(result).collect::<Vec<_>>()
        }))
        .await
        .concat();
        for TestResult { receiver, sample, delivered, .. } in &sent {
            tracing::info!(author, receiver, sample, delivered, "test notification sent");
        }
        Ok(sent)
    }

    fn to_receiver(&self, name: &str, kinds: &[String]) -> Outcome<ToReceiver<'_>> {
        let all = &self.config.receivers;
        let receiver = all.iter().find(|receiver| receiver.name == *name).ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|receiver| receiver.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Refusal::NotFound(format!("there is no receiver {name:?}; known receivers: {known}"))
        })?;
        let mut samples = vec![Sample::Firing, Sample::Resolved];
        if !kinds.is_empty() {
            samples = kinds.iter().map(|kind| sample(kind)).collect::<Outcome<_>>()?;
        }
        if matches!(receiver.channel, Channel::PagerDuty { .. })
            && samples.iter().any(|sample| sample.group().is_some())
        {
            let message = "kinds: group and digest are not supported for PagerDuty, which has one incident per alert";
            return Err(Refusal::Invalid(message.to_owned()));
        }
        let rows = samples_for(&self.config, receiver, &samples, self.clock).map_err(unavailable)?;
        let named = rows.into_iter().map(|(sample, row, by)| (sample.as_str(), row, by));
        Ok((receiver, Duration::ZERO, named.collect()))
    }

    fn of_rule(&self, name: &str, test: &TestRequest) -> Outcome<Vec<ToReceiver<'_>>> {
        let rules = self.rules.borrow().clone();
        let Some(rule) = rules.iter().find(|rule| rule.name() == name) else {
            return Err(Refusal::NotFound(format!("there is no rule {name:?}")));
        };
        if let Some(other) = test.labels.keys().find(|label| !rule.by().contains(&label.as_str())) {
            let there_are = if rule.by().is_empty() { "none".to_owned() } else { rule.by().join(", ") };
            return Err(Refusal::Invalid(format!(
                "labels: alerts of {name} have no label {other:?}; known labels: {there_are}"
            )));
        }
        let messages = self.messages(rule, test)?;
        if messages.is_empty() {
            let message =
                format!("no receiver matches an alert of {name} with these labels; see `match` of the receivers");
            return Err(Refusal::Conflict(message));
        }
        Ok(messages)
    }

    fn messages(&self, rule: &Rule, test: &TestRequest) -> Outcome<Vec<ToReceiver<'_>>> {
        let snapshot = self.snapshot.borrow().clone();
        let mut labels = test.labels.clone();
        if labels.is_empty() {
            // Use the labels of an existing alert, or else of an existing queue.
            let there = snapshot.alerts.iter().find(|alert| alert.rule == rule.name()).map(|alert| alert.by.clone());
            labels = there.unwrap_or_else(|| {
                let queue = snapshot.frame.queues.first().map(|queue| ("queue".to_owned(), queue.queue.to_string()));
                queue.filter(|_| rule.by().contains(&"queue")).into_iter().collect()
            });
        }
        let all = &self.config.receivers;
        let mut messages = Vec::new();
        for receiver in all {
            let scene = scene(&self.config, receiver).map_err(unavailable)?;
            let (routed, transitions) = of_rule(rule, &labels, &scene, self.clock.now());
            let Some(after) = notified_after(receiver, all, &routed) else { continue };
            let named = ["firing", "resolved"].into_iter().zip(transitions);
            let rows = named.map(|(name, transition)| (name, row(&transition, &receiver.name, transition.at), None));
            messages.push((receiver, after, rows.collect()));
        }
        Ok(messages)
    }
}

fn unavailable(error: NoTarget) -> Refusal {
    Refusal::Unavailable(error.to_string())
}

fn sample(kind: &str) -> Outcome<Sample> {
    Sample::ALL.into_iter().find(|sample| sample.as_str() == kind).ok_or_else(|| {
        let known = Sample::ALL.map(Sample::as_str).join(", ");
        Refusal::Invalid(format!("kinds: there is no sample {kind:?}; known samples: {known}"))
    })
}
