//! The latest facts from the sources, as input of the figures.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::jobs::Ledger;
use crate::metrics::{ForecastFigures, Inputs, SourceHealth};
use crate::model::{JobId, Prices, Queue, QueueName, QueueSnapshot, Reserved, Timestamp};

/// Reservations older than this are ignored.
const RESERVED_STALE: Duration = Duration::from_secs(1_800);

/// Input of the figures.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) ledger: Ledger,
    pub(super) queues: Vec<Queue>,
    pub(super) fronts: BTreeMap<QueueName, QueueSnapshot>,
    /// Reservations and the time of their query; `None` if not watched.
    pub(super) reserved: Option<(Timestamp, Vec<Reserved>)>,
    pub(super) prices: Prices,
    /// Estimated start times of waiting jobs.
    pub(super) expected_starts: BTreeMap<JobId, Timestamp>,
    /// Accuracy of these estimates.
    pub(super) forecasts: Vec<ForecastFigures>,
}

impl Facts {
    /// Drops training plans that have ended since they were read.
    pub(super) fn end_reservations(&mut self, now: Timestamp) {
        if let Some((_, all)) = &mut self.reserved {
            all.retain(|reserved| reserved.ends_at.is_none_or(|at| at > now));
        }
    }

    /// The input for one moment.
    pub(super) fn inputs<'a>(&'a self, now: Timestamp, sources: &'a [SourceHealth]) -> Inputs<'a> {
        let fresh = self.reserved.as_ref().filter(|(at, _)| now.since(*at) <= RESERVED_STALE);
        Inputs {
            now,
            queues: &self.queues,
            ledger: &self.ledger,
            fronts: &self.fronts,
            prices: &self.prices,
            reserved: fresh.map_or(&[], |(_, all)| all),
            sources,
            expected_starts: &self.expected_starts,
            forecasts: &self.forecasts,
        }
    }
}
