//! The event loop's inbox: one channel per sender, and one enum for all messages.

use tokio::sync::{mpsc, oneshot};

use crate::publish::Report;
use crate::service::forecasting::Forecast;
use crate::service::rule_reload::RulesUpdate;
use crate::web::JobQuery;
use trainspotter_core::model::{Observation, Questions, Timestamp};

/// Maximum queries handled in a row while other events wait, so that neither starves the other.
const MAX_QUERIES_IN_A_ROW: usize = 8;

/// An event for the event loop.
#[derive(Debug)]
pub(super) enum InternalEvent {
    /// The poller received data from AWS.
    Observed(Vec<Observation>),
    /// The job lists are complete, and the poller asks what else to query.
    QuestionsAsked(oneshot::Sender<Questions>),
    /// A poll has ended.
    PollEnded {
        /// When the poll began.
        began_at: Timestamp,
    },
    /// Jobs with EventBridge events were described between two polls.
    JobsDescribed,
    /// No poll has ended in time.
    PollOverdue,
    /// A sink published a frame or failed to.
    Published(Report),
    /// The rule files changed.
    RulesChanged(RulesUpdate),
    /// A client queries jobs.
    JobsQueried(JobQuery),
    /// A forecast is ready.
    Forecast(Box<Forecast>),
}

/// Messages of the poller beside observations.
#[derive(Debug)]
pub(super) enum PollerMessage {
    /// See [`InternalEvent::QuestionsAsked`].
    AskQuestions(oneshot::Sender<Questions>),
    /// See [`InternalEvent::PollEnded`].
    PollEnded {
        /// When the poll began.
        began_at: Timestamp,
    },
    /// See [`InternalEvent::JobsDescribed`].
    JobsDescribed,
}

impl From<PollerMessage> for InternalEvent {
    fn from(message: PollerMessage) -> Self {
        match message {
            PollerMessage::AskQuestions(reply) => Self::QuestionsAsked(reply),
            PollerMessage::PollEnded { began_at } => Self::PollEnded { began_at },
            PollerMessage::JobsDescribed => Self::JobsDescribed,
        }
    }
}

/// Receiving ends of the event loop's channels.
#[derive(Debug)]
pub(super) struct Inbox {
    observed: mpsc::Receiver<Vec<Observation>>,
    poller: mpsc::Receiver<PollerMessage>,
    queries: mpsc::Receiver<JobQuery>,
    reports: mpsc::Receiver<Report>,
    rules: mpsc::Receiver<RulesUpdate>,
    forecasts: mpsc::Receiver<Box<Forecast>>,
    queries_in_a_row: usize,
}

/// Sending ends of an [`Inbox`].
#[derive(Debug)]
pub(super) struct Senders {
    pub(super) observed: mpsc::Sender<Vec<Observation>>,
    pub(super) poller: mpsc::Sender<PollerMessage>,
    pub(super) queries: mpsc::Sender<JobQuery>,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) rules: mpsc::Sender<RulesUpdate>,
    pub(super) forecasts: mpsc::Sender<Box<Forecast>>,
}

/// Maximum pages of observations queued for the event loop.
const MAX_OBSERVED: usize = 64;
/// Maximum small messages of one sender queued for the event loop.
const MAX_MESSAGES: usize = 256;

impl Inbox {
    /// Creates an inbox and its senders.
    pub(super) fn new() -> (Senders, Self) {
        let (observed, observed_inbox) = mpsc::channel(MAX_OBSERVED);
        let (poller, poller_inbox) = mpsc::channel(MAX_MESSAGES);
        let (queries, queries_inbox) = mpsc::channel(MAX_MESSAGES);
        let (reports, reports_inbox) = mpsc::channel(MAX_MESSAGES);
        let (rules, rules_inbox) = mpsc::channel(MAX_MESSAGES);
        let (forecasts, forecasts_inbox) = mpsc::channel(1);
        let inbox = Self {
            observed: observed_inbox,
            poller: poller_inbox,
            queries: queries_inbox,
            reports: reports_inbox,
            rules: rules_inbox,
            forecasts: forecasts_inbox,
            queries_in_a_row: 0,
        };
        (Senders { observed, poller, queries, reports, rules, forecasts }, inbox)
    }

    /// Keeps only the job queries, for a service without an event loop.
    pub(super) fn into_queries(self) -> mpsc::Receiver<JobQuery> {
        self.queries
    }

    /// Returns the next event, [`InternalEvent::PollOverdue`] if `overdue` completes first, or `None` once the
    /// poller is gone. Cancel-safe: no event is lost.
    pub(super) async fn next(&mut self, overdue: impl Future<Output = ()>) -> Option<InternalEvent> {
        if self.queries_in_a_row < MAX_QUERIES_IN_A_ROW
            && let Ok(query) = self.queries.try_recv()
        {
            self.queries_in_a_row += 1;
            return Some(InternalEvent::JobsQueried(query));
        }
        self.queries_in_a_row = 0;
        // The order matters: the poller's questions are answered only after all earlier observations are applied.
        tokio::select! {
            biased;
            Some(observations) = self.observed.recv() => Some(InternalEvent::Observed(observations)),
            message = self.poller.recv() => message.map(InternalEvent::from),
            Some(report) = self.reports.recv() => Some(InternalEvent::Published(report)),
            Some(news) = self.rules.recv() => Some(InternalEvent::RulesChanged(news)),
            Some(forecast) = self.forecasts.recv() => Some(InternalEvent::Forecast(forecast)),
            Some(query) = self.queries.recv() => Some(InternalEvent::JobsQueried(query)),
            () = overdue => Some(InternalEvent::PollOverdue),
        }
    }

    /// Returns the next query, for use while no other event can be handled. Pends forever once there are no
    /// clients.
    pub(super) async fn next_query(&mut self) -> JobQuery {
        match self.queries.recv().await {
            Some(query) => query,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use trainspotter_core::jobs::Filter;

    fn query() -> JobQuery {
        let (reply, _) = oneshot::channel();
        JobQuery::List { filter: Filter::default(), reason: None, newest_first: false, after: None, limit: 1, reply }
    }

    fn kind(event: Option<InternalEvent>) -> &'static str {
        match event {
            Some(InternalEvent::Observed(_)) => "observed",
            Some(InternalEvent::QuestionsAsked(_)) => "questions",
            Some(InternalEvent::PollEnded { .. }) => "poll ended",
            Some(InternalEvent::JobsDescribed) => "described",
            Some(InternalEvent::PollOverdue) => "overdue",
            Some(InternalEvent::Published(_)) => "published",
            Some(InternalEvent::RulesChanged(_)) => "rules",
            Some(InternalEvent::JobsQueried(_)) => "query",
            Some(InternalEvent::Forecast(_)) => "forecast",
            None => "end",
        }
    }

    #[tokio::test]
    async fn what_was_observed_comes_before_the_questions_about_it_and_all_before_an_overdue_poll() {
        let (senders, mut inbox) = Inbox::new();
        let (reply, _answer) = oneshot::channel();
        senders.rules.try_send(Ok(Vec::new())).unwrap();
        senders.poller.try_send(PollerMessage::AskQuestions(reply)).unwrap();
        senders.poller.try_send(PollerMessage::PollEnded { began_at: Timestamp::default() }).unwrap();
        for _ in 0..2 {
            senders.observed.try_send(Vec::new()).unwrap();
        }
        let mut order = Vec::new();
        for _ in 0..6 {
            order.push(kind(inbox.next(ready(())).await));
        }
        assert_eq!(order, ["observed", "observed", "questions", "poll ended", "rules", "overdue"]);
    }

    #[tokio::test]
    async fn queries_wait_for_no_backlog_of_events_and_hold_none_up() {
        let (senders, mut inbox) = Inbox::new();
        for _ in 0..3 * MAX_QUERIES_IN_A_ROW {
            senders.queries.try_send(query()).unwrap();
        }
        for _ in 0..3 {
            senders.observed.try_send(Vec::new()).unwrap();
        }
        for _ in 0..3 {
            for _ in 0..MAX_QUERIES_IN_A_ROW {
                assert_eq!(kind(inbox.next(pending()).await), "query");
            }
            assert_eq!(kind(inbox.next(pending()).await), "observed");
        }
    }

    #[tokio::test]
    async fn it_ends_after_the_poller_once_all_observations_are_applied() {
        let (senders, mut inbox) = Inbox::new();
        senders.observed.try_send(Vec::new()).unwrap();
        senders.poller.try_send(PollerMessage::JobsDescribed).unwrap();
        let Senders { observed, poller, queries, reports, rules, forecasts } = senders;
        drop((observed, poller));
        let mut order = Vec::new();
        for _ in 0..3 {
            order.push(kind(inbox.next(pending()).await));
        }
        assert_eq!(order, ["observed", "described", "end"]);
        drop((queries, reports, rules, forecasts));
    }
}
