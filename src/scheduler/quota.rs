//! Quota shares: who may take what, who must give back, and whose work is stopped for it.
//!
//! A RESERVE share lives on its own. All others lend what they do not use, so together they have one stock of
//! capacity: the sum of their limits less the sum of their uses. A job that stays within its share's limit is
//! *entitled*: it takes from the stock before any borrower, and if the stock is lent out, borrowers are preempted. A
//! job beyond the limit borrows: it takes what no entitled job is waiting for, up to its share's borrow limit, and
//! shares are served in the order of the age of their heads (AWS: idle resource assignment FIFO).

use std::cmp::Reverse;

use crate::model::{QuotaShare, Sharing};
use crate::scheduler::discipline::{Decision, Lane};
use crate::scheduler::entry::Entry;
use crate::scheduler::pool::{Amounts, Pool};

/// What one share has and may do.
#[derive(Debug)]
pub struct Quota {
    /// Its own capacity.
    pub limit: Amounts,
    /// Whether others may use what it does not.
    pub lends: bool,
    /// Whether it may use what others do not.
    pub borrows: bool,
    /// The most it may use, borrowed capacity included.
    pub most: Amounts,
}

impl Quota {
    /// Reads a share's limits in the units of its environment.
    pub fn new(share: &QuotaShare, pool: &Pool) -> Self {
        let limit = pool.limits_of(&share.limits);
        let (lends, borrows, most) = match share.sharing {
            Sharing::Reserve | Sharing::Unknown => (false, false, limit.clone()),
            Sharing::Lend => (true, false, limit.clone()),
            Sharing::LendAndBorrow { borrow_limit: None } => (true, true, Amounts(vec![i64::MAX; limit.0.len()])),
            Sharing::LendAndBorrow { borrow_limit: Some(percent) } => {
                let more = limit.0.iter().map(|own| own + own * i64::from(percent) / 100).collect();
                (true, true, Amounts(more))
            }
        };
        Self { limit, lends, borrows, most }
    }
}

/// Decides one step: entitled jobs first, then what must be taken back for them, then borrowers.
pub fn decide(quotas: &[Quota], lanes: &[Lane], jobs: &[Entry], free: &Amounts) -> Decision {
    let stock = stock(quotas, lanes, free.0.len());
    let mut claims = Amounts::zero(free.0.len());
    let mut borrowers = Vec::new();
    for (head, lane, quota) in heads(quotas, lanes) {
        let (used, job) = (&lane.used, &jobs[head]);
        if !job.fits_beside(used, &quota.limit) {
            borrowers.push((head, lane, quota));
        } else if job.fits(free) && (!quota.lends || job.fits(&stock)) {
            return Decision::Start(head);
        } else if quota.lends {
            claims = claims.plus(&claim(quota, lane, jobs));
        }
    }
    let victims = victims(quotas, lanes, jobs, claims.minus(&stock));
    if !victims.is_empty() {
        return Decision::Preempt(victims);
    }
    let unclaimed = stock.minus(&claims);
    let may_borrow = |(head, lane, quota): &(usize, &Lane, &Quota)| {
        let job = &jobs[*head];
        quota.borrows && job.fits(free) && job.fits(&unclaimed) && job.fits_beside(&lane.used, &quota.most)
    };
    borrowers.into_iter().find(may_borrow).map_or(Decision::Wait, |(head, ..)| Decision::Start(head))
}

/// Why a need can never be met from a lane, in AWS's words.
pub fn misfit(quotas: &[Quota], lane: usize, need: &Amounts) -> Option<&'static str> {
    let quota = &quotas[lane];
    let all = quotas.iter().filter(|quota| quota.lends).fold(Amounts::zero(need.0.len()), |sum, q| sum.plus(&q.limit));
    if need.fits(&quota.limit) || need.fits(&quota.most) && need.fits(&all) {
        None
    } else if !quota.borrows {
        Some("MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED - Job requirements exceed quota share capacity limits.")
    } else if !need.fits(&quota.most) {
        Some(
            "MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED - Job requirements exceed quota share capacity limits \
             and borrow limits.",
        )
    } else {
        Some(
            "MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED - Job requires borrowing that exceeds all configured \
             borrowable capacity.",
        )
    }
}

/// Per lane how much of its limit others use, so that over the lanes it sums to what they borrow. Nobody knows whose
/// instance a borrower got: the shares with the most to spare are taken to lend first, evenly.
pub fn lent(quotas: &[Quota], lanes: &[Lane], unit: usize) -> Vec<i64> {
    let spare = |(quota, lane): (&Quota, &Lane)| (quota.limit.0[unit] - lane.used.0[unit]).max(0);
    let idle: Vec<i64> = quotas.iter().zip(lanes).map(|pair| if pair.0.lends { spare(pair) } else { 0 }).collect();
    let borrowed: i64 = quotas.iter().zip(lanes).map(|(quota, lane)| borrowed(quota, lane, unit)).sum();
    // Each lends what it has above a level, and the level is the lowest that does not lend too much.
    let above = |level: i64| idle.iter().map(move |idle| (idle - level).max(0));
    let level = (0..=idle.iter().copied().max().unwrap_or(0)).find(|level| above(*level).sum::<i64>() <= borrowed);
    let mut lent: Vec<i64> = above(level.unwrap_or(0)).collect();
    let mut rest = borrowed - lent.iter().sum::<i64>();
    for (lent, idle) in lent.iter_mut().zip(&idle) {
        if rest > 0 && *lent < *idle {
            *lent += 1;
            rest -= 1;
        }
    }
    lent
}

/// What a lane uses above its own limit.
pub fn borrowed(quota: &Quota, lane: &Lane, unit: usize) -> i64 {
    (lane.used.0[unit] - quota.limit.0[unit]).max(0)
}

/// The heads of the lanes, oldest first.
fn heads<'a>(quotas: &'a [Quota], lanes: &'a [Lane]) -> Vec<(usize, &'a Lane, &'a Quota)> {
    let mut heads: Vec<_> =
        quotas.iter().zip(lanes).filter_map(|(quota, lane)| Some((lane.head()?, lane, quota))).collect();
    heads.sort_unstable_by_key(|(head, ..)| *head);
    heads
}

/// What the lending shares have together and do not use. A share that uses more than it has takes from the others'
/// part, so the sum needs no distinction.
fn stock(quotas: &[Quota], lanes: &[Lane], units: usize) -> Amounts {
    let mut stock = Amounts::zero(units);
    for (quota, lane) in quotas.iter().zip(lanes).filter(|(quota, _)| quota.lends) {
        for ((stock, limit), used) in stock.0.iter_mut().zip(&quota.limit.0).zip(&lane.used.0) {
            *stock += limit - used;
        }
    }
    stock
}

/// What a lane's first jobs need that would all stay within its limit.
fn claim(quota: &Quota, lane: &Lane, jobs: &[Entry]) -> Amounts {
    let own = quota.limit.minus(&lane.used);
    let mut claim = Amounts::zero(own.0.len());
    for (_, job) in &lane.waiting {
        match &jobs[*job].need {
            Some(need) if claim.plus(need).fits(&own) => claim = claim.plus(need),
            Some(_) | None => break,
        }
    }
    claim
}

/// Jobs to stop so that `shortfall` becomes free, beyond what is being freed already: only of shares that borrow at
/// that moment, lowest priority first, then the latest dispatched; and none that is not needed in the end.
fn victims(quotas: &[Quota], lanes: &[Lane], jobs: &[Entry], shortfall: Amounts) -> Vec<usize> {
    let mut shortfall = lanes.iter().fold(shortfall, |sum, lane| sum.minus(&lane.stopping));
    let covered = |shortfall: &Amounts| shortfall.0.iter().all(|lack| *lack <= 0);
    if covered(&shortfall) {
        return Vec::new();
    }
    let mut over: Vec<Amounts> =
        quotas.iter().zip(lanes).map(|(q, lane)| lane.used.minus(&lane.stopping).minus(&q.limit)).collect();
    let borrows_what_lacks =
        |over: &Amounts, lack: &Amounts| over.0.iter().zip(&lack.0).any(|(over, lack)| *over > 0 && *lack > 0);
    let mut candidates: Vec<&Entry> = quotas
        .iter()
        .zip(lanes)
        .zip(&over)
        .filter(|((quota, _), over)| quota.lends && borrows_what_lacks(over, &shortfall))
        .flat_map(|((_, lane), _)| &lane.in_flight)
        .map(|job| &jobs[*job])
        .filter(|job| job.preemptible())
        .collect();
    candidates.sort_by_key(|job| (job.job.priority, Reverse(job.job.scheduled_at), Reverse(job.job.number)));

    let mut taken = Vec::new();
    for job in candidates {
        let Some(need) = &job.need else { continue };
        let lane = &mut over[job.lane];
        let relevant = Amounts(need.0.iter().zip(&lane.0).map(|(need, over)| *need.min(over)).collect());
        if borrows_what_lacks(&relevant, &shortfall) {
            *lane = lane.minus(need);
            shortfall = shortfall.minus(need);
            taken.push((job.job.number, need));
        }
        if covered(&shortfall) {
            break;
        }
    }
    taken.reverse();
    taken.retain(|(_, need)| {
        let without = shortfall.plus(need);
        let spare = covered(&without);
        if spare {
            shortfall = without;
        }
        !spare
    });
    taken.into_iter().map(|(job, _)| job).collect()
}
