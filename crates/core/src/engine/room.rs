//! Per-engine share of limits that apply to all engines of a process together.

use crate::engine::Engine;
use crate::forecast::MAX_WAITING;
use crate::jobs::ENDED_KEPT;

/// Numbers of jobs, kept or allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Ended jobs kept in full.
    pub ended: usize,
    /// Waiting jobs with stored forecast estimates.
    pub forecasts: usize,
}

impl Room {
    /// Maximum of all engines of a process together.
    pub const MAX: Self = Self { ended: ENDED_KEPT, forecasts: MAX_WAITING };

    /// Minimum of each engine, however many there are: enough for the jobs that end before they are counted.
    pub const LEAST: Self = Self { ended: 2_000, forecasts: 200 };
}

impl Engine {
    /// Current numbers.
    pub fn kept(&self) -> Room {
        Room { ended: self.facts.ledger.ended_count(), forecasts: self.forecaster.kept_count() }
    }

    /// Sets the maximum from now on; the oldest entries beyond it are dropped and counted in `limit.hits`.
    pub fn set_room(&mut self, room: Room) {
        self.facts.ledger.set_room(room.ended);
        self.forecaster.set_room(room.forecasts);
    }
}
