//! The commit of a tick. What a failed commit could not store goes into the next one.

use std::pin::pin;
use std::sync::Arc;

use crate::notify::outbox::{OutboxRow, reminders, rows};
use crate::service::event_loop::EventLoop;
use crate::service::{COUNTED_UNTIL, OPEN_SINCE, job_queries, state_files};
use crate::store::{Commit, Recording, StoreError};
use trainspotter_core::engine::Output;
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::{SavedEvent, SavedForecast, SavedJobs, Timestamp};
use trainspotter_core::rules::Transition;

/// What ticks produced since the last successful commit.
#[derive(Debug, Default)]
pub(super) struct Uncommitted {
    /// Outbox rows; none is ever dropped.
    pub(super) rows: Vec<OutboxRow>,
    transitions: Vec<Transition>,
    events: Vec<SavedEvent>,
    /// Changed jobs.
    jobs: SavedJobs,
    /// Learned forecast state.
    forecast: SavedForecast,
    /// The last failed commit.
    failed: Option<Arc<Commit>>,
    /// Why it failed.
    pub(super) failure: Option<String>,
}

impl Uncommitted {
    /// Starts with these rows.
    pub(super) fn with(rows: Vec<OutboxRow>) -> Self {
        Self { rows, ..Self::default() }
    }
}

impl EventLoop {
    /// Commits state and notifications in one transaction. On failure the rows wait for the next tick: nothing is
    /// sent before it is committed.
    pub(super) async fn commit(&mut self, now: Timestamp, frame: &Arc<Frame>, output: &mut Output) {
        self.memory.uncommitted.rows.extend(rows(&output.transitions, &self.receivers, now));
        self.memory.uncommitted.transitions.extend(output.transitions.iter().cloned());
        self.memory.uncommitted.events.extend(output.events.iter().cloned());
        self.memory.uncommitted.jobs.add(std::mem::take(&mut output.jobs));
        self.archive.add_rows(now, output, frame);
        self.memory.uncommitted.forecast.add(std::mem::take(&mut output.forecast));
        // Reminders are not carried over: the next tick creates them again.
        let mut outbox = self.memory.uncommitted.rows.clone();
        outbox.extend(reminders(&output.alerts, &self.receivers, now));
        let commit = Arc::new(Commit {
            at: now,
            alerts: output.alerts.clone(),
            transitions: self.memory.uncommitted.transitions.clone(),
            outbox,
            series: output.series.clone(),
            jobs: std::mem::take(&mut self.memory.uncommitted.jobs),
            queues: output.queues.clone(),
            forecast: std::mem::take(&mut self.memory.uncommitted.forecast),
            events: self.memory.uncommitted.events.clone(),
            watermarks: [
                (COUNTED_UNTIL.to_owned(), output.counted_until),
                (OPEN_SINCE.to_owned(), output.open_since),
                (state_files::owner_mark(&self.place), now),
            ]
            .into_iter()
            .chain(self.duplicates.account_mark(&self.place, now))
            .collect(),
            frame: (!self.history.keep.is_zero()).then(|| Recording {
                frame: Arc::clone(frame),
                keep: self.history.keep,
                at_most: self.history.at_most,
            }),
            unarchived: self.archive.uncommitted(),
        });
        self.store_commit(commit).await;
    }

    /// Retries the last failed commit. Returns whether nothing is left uncommitted.
    pub(super) async fn retry_commit(&mut self) -> bool {
        match self.memory.uncommitted.failed.clone() {
            Some(commit) => self.store_commit(commit).await,
            None => true,
        }
    }

    /// Runs the commit and answers job queries meanwhile, so that a slow disk does not block page requests.
    async fn store_commit(&mut self, commit: Arc<Commit>) -> bool {
        let committed = {
            let mut committing = pin!(self.store.commit(Arc::clone(&commit)));
            loop {
                tokio::select! {
                    biased;
                    committed = committing.as_mut() => break committed,
                    query = self.inbox.next_query() => job_queries::answer(&mut self.engine, query, self.clock.now()),
                }
            }
        };
        match committed {
            Ok(committed) => {
                self.memory.uncommitted = Uncommitted::default();
                self.archive.committed();
                if committed.wants_all_jobs {
                    self.engine.save_all_jobs();
                }
                self.limit_hit("unstorable_values", committed.unstorable);
                self.limit_hit("notifications_per_receiver", committed.over_limit);
                self.limit_hit("recent_events", committed.events_cut);
                self.limit_hit("past_alerts", committed.past_alerts_cut);
                self.limit_hit("history_bytes", committed.frames_cut);
                self.limit_hit("unarchived_bytes", committed.unarchived_cut);
                self.notifiers.committed();
                true
            }
            Err(error) => {
                tracing::error!(
                    %error,
                    "cannot commit this tick; its notifications are sent after the next successful commit"
                );
                self.memory.is_replaced = error == StoreError::NotLeading;
                let uncommitted = &mut self.memory.uncommitted;
                uncommitted.jobs.clone_from(&commit.jobs);
                uncommitted.forecast.clone_from(&commit.forecast);
                (uncommitted.failed, uncommitted.failure) = (Some(commit), Some(error.to_string()));
                false
            }
        }
    }
}
