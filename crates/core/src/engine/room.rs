//! How many jobs one engine may keep of what is bounded for all engines of a process together.

use crate::engine::Engine;
use crate::forecast::MAX_WAITING;
use crate::jobs::ENDED_KEPT;

/// Numbers of jobs: those that are kept, or those that may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Ended jobs, in full.
    pub ended: usize,
    /// Waiting jobs of which forecasts keep estimates.
    pub forecasts: usize,
}

impl Room {
    /// What all engines of a process keep together, at most.
    pub const MAX: Self = Self { ended: ENDED_KEPT, forecasts: MAX_WAITING };

    /// What an engine keeps however many there are: enough for the jobs that end before they are counted.
    pub const LEAST: Self = Self { ended: 2_000, forecasts: 200 };
}

impl Engine {
    /// What is kept now.
    pub fn kept(&self) -> Room {
        Room { ended: self.facts.ledger.ended_count(), forecasts: self.forecaster.kept_count() }
    }

    /// Keeps no more than this from now on; what is beyond it goes, the oldest first, and is counted in `limit.hits`.
    pub fn set_room(&mut self, room: Room) {
        self.facts.ledger.set_room(room.ended);
        self.forecaster.set_room(room.forecasts);
    }
}
