//! Whose turn it is: what each policy makes of waiting jobs and free capacity.
//!
//! A queue keeps its jobs in lanes, one per share (FIFO has one in all). Within a lane the order is priority, then
//! number, and the head blocks what is behind it. A discipline looks and decides; it changes nothing.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::model::{Policy, ShareName, WeightedShare};
use crate::scheduler::entry::Entry;
use crate::scheduler::pool::{Amounts, Pool};
use crate::scheduler::quota::Quota;
use crate::scheduler::quota::{self};

/// The jobs of one share.
#[derive(Debug)]
pub struct Lane {
    /// Whose; `None` in a FIFO queue.
    pub share: Option<ShareName>,
    /// RUNNABLE jobs in dispatch order.
    pub waiting: BTreeSet<(Reverse<i32>, usize)>,
    /// Jobs that hold capacity.
    pub in_flight: BTreeSet<usize>,
    /// What those hold.
    pub used: Amounts,
    /// Of that, what preemption is about to free.
    pub stopping: Amounts,
}

/// A policy, made ready for decisions.
#[derive(Debug)]
pub enum Discipline {
    /// One lane.
    Fifo,
    /// The lane with the least weighted use goes first, and its head blocks the queue. Past use is not remembered yet.
    FairShare(Vec<WeightedShare>),
    /// Lanes with quotas, in the same order.
    Quotas(Vec<Quota>),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Dispatch this job; then ask again.
    Start(usize),
    /// Stop these jobs, so that what they hold becomes free; then ask again.
    Preempt(Vec<usize>),
    /// Nothing fits.
    Wait,
}

impl Lane {
    /// An empty lane.
    pub fn new(share: Option<ShareName>, units: usize) -> Self {
        Self {
            share,
            waiting: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            used: Amounts::zero(units),
            stopping: Amounts::zero(units),
        }
    }

    /// The job that goes next.
    pub fn head(&self) -> Option<usize> {
        self.waiting.first().map(|(_, job)| *job)
    }
}

impl Discipline {
    /// Reads a policy; the lanes it has from the beginning come with it.
    pub fn new(policy: &Policy, pool: &Pool) -> (Self, Vec<Lane>) {
        let units = pool.units.len();
        match policy {
            Policy::Fifo => (Self::Fifo, vec![Lane::new(None, units)]),
            Policy::FairShare { shares } => (Self::FairShare(shares.clone()), Vec::new()),
            Policy::QuotaShares(shares) => {
                let lanes = shares.iter().map(|share| Lane::new(Some(share.name.clone()), units)).collect();
                (Self::Quotas(shares.iter().map(|share| Quota::new(share, pool)).collect()), lanes)
            }
        }
    }

    /// Decides one step for the queue whose lanes these are.
    pub fn decide(&self, lanes: &[Lane], jobs: &[Entry], free: &Amounts) -> Decision {
        match self {
            Self::Fifo => start(lanes.first().and_then(Lane::head), jobs, free),
            Self::FairShare(weights) => {
                let next = lanes
                    .iter()
                    .filter_map(|lane| Some((weighted_use(lane, weights), lane.head()?)))
                    .min_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
                start(next.map(|(_, head)| head), jobs, free)
            }
            Self::Quotas(quotas) => quota::decide(quotas, lanes, jobs, free),
        }
    }

    /// Whether a job that joined its lane can change any decision. Behind a head that was left waiting it can do so only
    /// by what it is entitled to.
    pub fn concerns(&self, lane: &Lane, joined: &Entry) -> bool {
        let entitled = match self {
            Self::Fifo | Self::FairShare(_) => false,
            Self::Quotas(quotas) => joined.fits_beside(&lane.used, &quotas[joined.lane].limit),
        };
        entitled || lane.head() == Some(joined.job.number)
    }

    /// Why a job with this need can never be dispatched from this lane, in AWS's words; `None` if it can.
    pub fn misfit(&self, lane: usize, need: Option<&Amounts>, pool: &Pool) -> Option<&'static str> {
        let Some(need) = need.filter(|need| need.fits(&pool.limits)) else {
            return Some(
                "MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE - Service environment(s) associated with the job \
                 queue cannot meet the capacity requirement of the job.",
            );
        };
        match self {
            Self::Fifo | Self::FairShare(_) => None,
            Self::Quotas(quotas) => quota::misfit(quotas, lane, need),
        }
    }
}

fn start(head: Option<usize>, jobs: &[Entry], free: &Amounts) -> Decision {
    match head {
        Some(job) if jobs[job].fits(free) => Decision::Start(job),
        Some(_) | None => Decision::Wait,
    }
}

#[expect(clippy::cast_precision_loss, reason = "instance counts are far below 2^52")]
fn weighted_use(lane: &Lane, weights: &[WeightedShare]) -> f64 {
    let share = lane.share.as_ref().map_or("", ShareName::as_str);
    lane.used.total() as f64 * weight_of(share, weights)
}

/// The weight of a share identifier: its own, else that of the longest prefix entry, else 1.
fn weight_of(share: &str, weights: &[WeightedShare]) -> f64 {
    let covers = |entry: &&WeightedShare| match entry.share.as_str().strip_suffix('*') {
        Some(prefix) => share.starts_with(prefix),
        None => entry.share.as_str() == share,
    };
    let exactness = |entry: &&WeightedShare| (!entry.share.as_str().ends_with('*'), entry.share.as_str().len());
    weights.iter().filter(covers).max_by_key(exactness).map_or(1.0, |entry| entry.weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_its_own_or_of_the_longest_prefix_or_one() {
        let weights = [("team*", 2.0), ("team-a*", 3.0), ("team-ab", 4.0)]
            .map(|(share, weight)| WeightedShare { share: share.into(), weight });
        for (share, weight) in [("team-ab", 4.0), ("team-abc", 3.0), ("team-b", 2.0), ("other", 1.0)] {
            assert!((weight_of(share, &weights) - weight).abs() < f64::EPSILON, "{share}");
        }
    }
}
