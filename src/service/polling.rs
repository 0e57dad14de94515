//! Poll scheduling: polls at a fixed interval and, between polls, describes jobs that have events.

use std::collections::BTreeSet;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::aws::{JobEvent, JobEvents, Poller, Received};
use crate::service::inbox::PollerMessage;
use trainspotter_clock::{Clock, Mark};
use trainspotter_core::model::{JobId, Observation, Questions, Source, Timestamp};

/// Minimum wall time of a poll for the engine's questions.
const MIN_QUESTION_TIME: Duration = Duration::from_millis(50);

/// Tolerance when an event's time is compared with the start of a poll: event times have whole seconds, and clocks
/// differ.
const EVENT_TIME_TOLERANCE: Duration = Duration::from_secs(5);

/// With several targets, the minimum delay between the first and the second poll, as a part of the interval.
const MIN_FIRST_DELAY: f64 = 0.25;

/// The polling task.
pub(super) struct Polling {
    poller: Poller,
    every: Duration,
    /// Delay of the second poll after the first.
    second_after: Duration,
    clock: Clock,
    observed: mpsc::Sender<Vec<Observation>>,
    messages: mpsc::Sender<PollerMessage>,
    hinted: mpsc::Receiver<Vec<JobEvent>>,
}

impl Polling {
    /// Polls at the configured interval; several targets are spread over it.
    pub(super) fn new(
        poller: Poller,
        is_alone: bool,
        observed: mpsc::Sender<Vec<Observation>>,
        messages: mpsc::Sender<PollerMessage>,
        hinted: mpsc::Receiver<Vec<JobEvent>>,
    ) -> Self {
        let (every, clock) = (poller.poll.every, poller.clock);
        let second_after = second_after(every, &poller.target.name, is_alone);
        Self { poller, every, second_after, clock, observed, messages, hinted }
    }

    /// Polls until `stop` or until the event loop is gone. A poll that takes longer than the interval is followed
    /// at once by the next: polls never overlap or pile up.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            _gone = self.poll_loop() => {}
        }
    }

    /// Returns `None` once the event loop is gone.
    async fn poll_loop(&mut self) -> Option<()> {
        let mut turn = self.second_after;
        loop {
            let began = self.clock.mark();
            self.poll_once(began, turn).instrument(tracing::debug_span!(parent: None, "poll")).await?;
            loop {
                tokio::select! {
                    biased;
                    () = self.clock.sleep_from(began, turn) => break,
                    Some(hints) = self.hinted.recv() => {
                        let began_at = self.clock.at(began);
                        self.describe_hinted(hints, began_at, began_at + turn).await?;
                    }
                }
            }
            turn = self.every;
        }
    }

    /// Lists jobs in flight, then answers the engine's questions, then queries what can wait.
    async fn poll_once(&mut self, began: Mark, turn: Duration) -> Option<()> {
        // First of all, since later requests depend on AWS's clock.
        self.poller.begin(&self.observed).await;
        let questions = self.questions().await?;
        self.poller.poll(&questions, &self.observed).await;
        let answered_by = self.poller.reconcile_from(&questions, self.clock.at(began) + turn);
        // At extreme clock speeds the interval is over before the lists are complete. Polls then become rarer, but
        // questions still get their time.
        let deadline = answered_by.max(self.clock.now() + self.clock.of_wall(MIN_QUESTION_TIME));
        let asked = self.questions().await?;
        self.poller.answer(&asked, deadline, &self.observed).await;
        let end = self.clock.at(began) + turn;
        self.poller.end_round_at(end.max(self.clock.now() + self.clock.of_wall(MIN_QUESTION_TIME)));
        self.poller.reconcile(&questions, &self.observed).await;
        self.messages.send(PollerMessage::PollEnded { began_at: self.clock.at(began) }).await.ok()
    }

    /// Describes the jobs of events, except those that the poll of `polled_at` has already covered.
    async fn describe_hinted(&mut self, hints: Vec<JobEvent>, polled_at: Timestamp, deadline: Timestamp) -> Option<()> {
        let is_news = |hint: &JobEvent| hint.at >= polled_at - EVENT_TIME_TOLERANCE;
        let jobs: BTreeSet<JobId> = hints.into_iter().filter(is_news).map(|hint| hint.job).collect();
        if jobs.is_empty() {
            return Some(());
        }
        self.poller.describe_hinted(jobs.into_iter().collect(), deadline, &self.observed).await;
        self.messages.send(PollerMessage::JobsDescribed).await.ok()
    }

    async fn questions(&self) -> Option<Questions> {
        let (reply, answer) = oneshot::channel();
        self.messages.send(PollerMessage::AskQuestions(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// Delay of a target's second poll. With several targets each delay is a different part of the interval, so that
/// the targets are not polled at the same moment from then on.
fn second_after(every: Duration, target: &str, is_alone: bool) -> Duration {
    if is_alone {
        return every;
    }
    let digest = Sha256::digest(target);
    let number = digest.iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    let part = f64::from(number) / f64::from(u32::MAX);
    every.mul_f64(MIN_FIRST_DELAY + (1.0 - MIN_FIRST_DELAY) * part)
}

/// Forwards the events of the event queue, if configured, and its status until `stop`.
pub(super) async fn listen(
    hints: Option<JobEvents>,
    out: mpsc::Sender<Vec<JobEvent>>,
    observed: mpsc::Sender<Vec<Observation>>,
    stop: CancellationToken,
) {
    let listening = async {
        let Some(mut hints) = hints else { return };
        loop {
            let Received { events, at, error } = hints.next().await;
            let (source, queue) = (Source::Events, None);
            let outcome = match error {
                Some(error) => Observation::Failed { source, queue, at, error },
                None => Observation::Answered { source, queue, at },
            };
            if observed.send(vec![outcome]).await.is_err() || (!events.is_empty() && out.send(events).await.is_err()) {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = listening => stop.cancelled().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_targets_are_polled_at_different_moments_and_none_later_than_its_turn() {
        let every = Duration::from_secs(30);
        assert_eq!(second_after(every, "us-east-1", true), every);
        let mut after: Vec<Duration> =
            (0..64).map(|number| second_after(every, &format!("t{number}"), false)).collect();
        after.sort();
        assert!(after.iter().all(|after| (every.mul_f64(MIN_FIRST_DELAY)..=every).contains(after)), "{after:?}");
        // The polls are spread: no second has many of them.
        let within_a_second = |from: &Duration| {
            let at_once = |at: &&Duration| (*from..*from + Duration::from_secs(1)).contains(*at);
            after.iter().filter(at_once).count()
        };
        let most = after.iter().map(within_a_second).max();
        assert!(most.unwrap() <= 10, "{after:?}");
    }
}
