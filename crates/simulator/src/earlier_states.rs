//! Earlier states of the account, for lagging lists.

use std::time::Duration;

use trainspotter_core::model::Timestamp;
use trainspotter_core::scheduler::Scheduler;

/// States of the account, oldest first: each after a request, until the next one.
#[derive(Debug, Default)]
pub(super) struct Past(Vec<(Timestamp, Scheduler)>);

impl Past {
    /// Stores the state before a request advances it, while lists lag by `lag`.
    pub(super) fn keep(&mut self, scheduler: &Scheduler, lag: Duration) {
        if lag.is_zero() {
            self.0.clear();
            return;
        }
        let now = scheduler.now();
        let needed = self.0.iter().rposition(|(at, _)| *at <= now - lag).unwrap_or(0);
        self.0.drain(..needed);
        self.0.push((now, scheduler.clone()));
    }

    /// The account's state at a time; `None` if unknown.
    pub(super) fn at(&self, moment: Timestamp) -> Option<Scheduler> {
        let mut scheduler = self.0.iter().rev().find(|(at, _)| *at <= moment)?.1.clone();
        scheduler.advance(moment);
        Some(scheduler)
    }
}
