//! What an engine leaves to the next one, and how that one goes on from it.

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::model::{SavedEvent, SavedJob, SavedQueue, SavedSeries, Timestamp};
use crate::rules::Alert;

/// What an engine continues from after a restart.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// The alerts as of the last tick.
    pub alerts: Vec<Alert>,
    /// Counters and distributions as of the last tick.
    pub series: Vec<SavedSeries>,
    /// Events of the last day that were counted.
    pub events: Vec<SavedEvent>,
    /// Jobs that had not ended, or some of them: the others can be [taken in](Engine::restore) one page after the other.
    pub jobs: Vec<SavedJob>,
    /// Up to when the lists of each queue were complete. Without it everything is listed again.
    pub queues: Vec<SavedQueue>,
    /// What forecasts have learnt, by name.
    pub forecast: BTreeMap<String, String>,
    /// When the last tick was.
    pub ticked_at: Option<Timestamp>,
    /// Up to when events were counted; `None` on the first start.
    pub counted_until: Option<Timestamp>,
    /// When the oldest job was created that had not ended then: what may have ended since was created no earlier.
    pub open_since: Option<Timestamp>,
}

impl Engine {
    /// Takes in jobs that an earlier run has saved, before anything is observed.
    pub fn restore(&mut self, jobs: Vec<SavedJob>) {
        let changes = self.facts.ledger.restore(jobs);
        self.counting.restored(changes, &self.facts.ledger);
    }

    /// What was saved of jobs and forecasts is lost: the next tick says again what is to be kept of all of them.
    pub fn save_all_jobs(&mut self) {
        self.facts.ledger.save_all();
        self.forecaster.save_all();
    }

    /// Takes in that the clock was set by so many seconds to show AWS's time: sources that never answered have waited no longer for that.
    pub fn clock_corrected(&mut self, seconds: f64) {
        self.sources.clock_corrected(seconds);
    }

    /// Takes in that it is `now` by AWS's clock. A start, or what an earlier run has saved, that lies in the future was taken from a
    /// clock that was wrong, and nothing would be counted until then: counting goes on from the latest event that was counted, or
    /// from now. Returns what time was not believed, if so.
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
