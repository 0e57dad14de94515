//! Forecast state of the engine, and results of forecasts.

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::forecast::{self, Hypothetical, InitialState, Outlook, Starts, Unknown, WaitEnd};
use crate::jobs::Changes;
use crate::metrics::ForecastFigures;
use crate::metrics::catalogue;
use crate::model::{JobId, Policy, Prices, ShareName, Timestamp};

impl Engine {
    /// Learns from the changes of one observation.
    pub(super) fn learn(&mut self, changes: &Changes) {
        self.changes += u64::from(!changes.events.is_empty() || !changes.moves.is_empty());
        forecast::learn(&mut self.forecaster, &changes.events, &self.facts.ledger);
    }

    /// Counts what forecasts left out for lack of room.
    pub(super) fn count_forecast_limits(&mut self) {
        let not_kept = self.forecaster.take_not_kept();
        self.counting.add(&catalogue::LIMIT_HITS, [("limit", "kept_estimates".into())], not_kept);
        let cut = self.forecaster.take_without_some_in_flight();
        self.counting.add(&catalogue::LIMIT_HITS, [("limit", "forecast_jobs_in_flight".into())], cut);
    }

    /// A counter that changes whenever a new forecast could differ from the last one.
    pub fn forecast_changes(&self) -> u64 {
        self.changes
    }

    /// The current state for a forecast; with `asked`, a hypothetical job is the last in the queue. `None` before
    /// every queue was polled completely.
    pub fn forecast_state(&mut self, now: Timestamp, asked: Option<&Hypothetical>) -> Option<InitialState> {
        let facts = &self.facts;
        self.is_ready().then(|| forecast::initial_state(&mut self.forecaster, &facts.queues, &facts.ledger, now, asked))
    }

    /// Checks the queue and share of a hypothetical job.
    ///
    /// # Errors
    /// The queue or share does not exist or is disabled; the text lists existing ones.
    pub fn check_asked(&self, asked: &Hypothetical) -> Result<(), String> {
        let list = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let queues = &self.facts.queues;
        let Some(queue) = queues.iter().find(|queue| queue.name == asked.queue) else {
            let names = queues.iter().map(|queue| queue.name.as_str()).collect();
            return Err(format!("there is no queue {:?}; known queues: {}", asked.queue.as_str(), list(names)));
        };
        if !queue.enabled {
            return Err(format!("queue {} is disabled: it accepts no new jobs", queue.name));
        }
        match (&queue.policy, &asked.share) {
            (Policy::Fifo, Some(_)) => Err(format!("queue {} is first in, first out: omit the share", queue.name)),
            (Policy::FairShare { .. }, None) => {
                Err(format!("queue {} schedules by share: a share identifier is required", queue.name))
            }
            (Policy::Fifo, None) | (Policy::FairShare { .. }, Some(_)) => Ok(()),
            (Policy::QuotaShares(shares), share) if !shares.iter().any(|one| Some(&one.name) == share.as_ref()) => {
                let names = list(shares.iter().map(|share| share.name.as_str()).collect());
                Err(match share {
                    Some(share) => {
                        format!("queue {} has no share {:?}; known shares: {names}", queue.name, share.as_str())
                    }
                    None => format!("queue {} schedules by share: one of {names} is required", queue.name),
                })
            }
            (Policy::QuotaShares(shares), share) => {
                match shares.iter().find(|one| Some(&one.name) == share.as_ref() && !one.enabled) {
                    Some(one) => {
                        Err(format!("share {} of queue {} is disabled: it accepts no new jobs", one.name, queue.name))
                    }
                    None => Ok(()),
                }
            }
        }
    }

    /// All stored forecast data, from which the past can be replayed.
    pub fn forecast_rows(&self) -> BTreeMap<String, String> {
        self.forecaster.rows()
    }

    /// Prices per instance-hour.
    pub fn prices(&self) -> &Prices {
        &self.facts.prices
    }

    /// Stores the start times that a forecast from an initial state found for its waiting jobs.
    pub fn take_forecast(&mut self, initial: &InitialState, starts: &Starts) {
        let gone: Vec<JobId> =
            self.forecaster.kept().filter(|id| self.facts.ledger.job(id).is_none()).cloned().collect();
        // The end of the wait is unknown, so the estimate cannot be verified.
        gone.iter().for_each(|id| self.forecaster.wait_ended(id, Timestamp::default(), WaitEnd::Cancelled));
        self.forecaster.take(initial, starts);
        let expected =
            initial.waiting.iter().filter_map(|job| Some((job.id.clone(), self.forecaster.expected(&job.id)?)));
        self.facts.expected_starts = expected.collect();
        let figures = self.forecaster.qualities().into_iter().map(|(queue, share, quality)| ForecastFigures {
            queue,
            share: share.unwrap_or_else(|| ShareName::from("")),
            coverage: quality.coverage,
            error_seconds: quality.error,
        });
        self.facts.forecasts = figures.collect();
    }

    /// Estimated start of a waiting job; `None` if it does not wait or is unknown.
    pub fn outlook(&self, id: &JobId) -> Option<Outlook> {
        self.facts.ledger.job(id).filter(|job| job.status().is_waiting())?;
        Some(self.forecaster.shown(id))
    }

    /// Estimated start of the hypothetical job, the last that waits in an initial state.
    pub fn outlook_of_asked(&self, initial: &InitialState, starts: &Starts) -> Outlook {
        match initial.waiting.len().checked_sub(1) {
            Some(last) => self.forecaster.outlook_of(initial, last, starts),
            None => Outlook::Unknown(Unknown::NotMade),
        }
    }
}
