//! What figures are made from, as the sources have reported it so far.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::jobs::Ledger;
use crate::metrics::{ForecastFigures, Inputs, SourceHealth};
use crate::model::{JobId, Prices, Queue, QueueName, QueueSnapshot, Reserved, Timestamp};

/// What was reserved longer ago than this says nothing of now.
const RESERVED_STALE: Duration = Duration::from_secs(1_800);

/// What figures are made from.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) ledger: Ledger,
    pub(super) queues: Vec<Queue>,
    pub(super) fronts: BTreeMap<QueueName, QueueSnapshot>,
    /// What is reserved, and when that was asked for; `None` where it is not watched.
    pub(super) reserved: Option<(Timestamp, Vec<Reserved>)>,
    pub(super) prices: Prices,
    /// When waiting jobs are expected to start.
    pub(super) expected_starts: BTreeMap<JobId, Timestamp>,
    /// How good such estimates were.
    pub(super) forecasts: Vec<ForecastFigures>,
}

impl Facts {
    /// The same for one moment.
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
