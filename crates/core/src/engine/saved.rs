//! Saved state: what an engine stores, and how the next one resumes from it.

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::model::{SavedEvent, SavedJob, SavedQueue, SavedSeries, Timestamp};
use crate::rules::Alert;

/// What an engine continues from after a restart.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// Alerts of the last tick.
    pub alerts: Vec<Alert>,
    /// Counters and distributions of the last tick.
    pub series: Vec<SavedSeries>,
    /// Counted events of the last day.
    pub events: Vec<SavedEvent>,
    /// Open jobs, or a part of them: the rest can be [restored](Engine::restore) page by page.
    pub jobs: Vec<SavedJob>,
    /// Time up to which the lists of each queue were complete. Without it everything is listed again.
    pub queues: Vec<SavedQueue>,
    /// Forecast state, by name.
    pub forecast: BTreeMap<String, String>,
    /// Time of the last tick.
    pub ticked_at: Option<Timestamp>,
    /// Events up to here were counted; `None` on the first start.
    pub counted_until: Option<Timestamp>,
    /// Creation time of the oldest open job: a job that ended since was created no earlier.
    pub open_since: Option<Timestamp>,
}

impl Engine {
    /// Restores saved jobs; call before any observation.
    pub fn restore(&mut self, jobs: Vec<SavedJob>) {
        let changes = self.facts.ledger.restore(jobs);
        self.counting.restored(changes, &self.facts.ledger);
    }

    /// Marks all jobs and forecast state as changed, so that the next tick saves all of it: the stored copy is
    /// lost.
    pub fn save_all_jobs(&mut self) {
        self.facts.ledger.save_all();
        self.forecaster.save_all();
    }

    /// Records that the clock was corrected by some seconds, so that sources without a response do not appear to
    /// have waited that long.
    pub fn clock_corrected(&mut self, seconds: f64) {
        self.sources.clock_corrected(seconds);
    }

    /// Corrects times that lie in the future by AWS's clock: a start, or saved times, taken from a wrong clock.
    /// Otherwise nothing would be counted until then. Counting resumes from the latest counted event, or from
    /// `now`. Returns the rejected time, if any.
    pub fn correct_future(&mut self, now: Timestamp) -> Option<Timestamp> {
        let counted = std::mem::take(&mut self.counted_events);
        let wrong = Some(self.horizon).filter(|horizon| *horizon > now)?;
        let until = counted.into_iter().filter(|at| *at <= now).max().unwrap_or(now);
        self.horizon = until;
        self.held_since = None;
        self.open_since = self.open_since.min(until);
        self.resumed_from = self.resumed_from.filter(|at| *at <= now);
        self.facts.ledger.correct_future(until, now);
        self.counting.count_from(until);
        self.sources.begin_by(until);
        self.active_alerts.correct_future(now);
        Some(wrong)
    }
}
