//! Selects jobs to preempt: as few as needed, lowest priority first, then the latest dispatched, which loses the
//! least work. (AWS weighs borrowed capacity, priority and run time by an undocumented heuristic.)

use std::cmp::Reverse;

use crate::scheduler::job_entry::Entry;
use crate::scheduler::pool::Amounts;
use crate::scheduler::quota::Candidate;
use crate::scheduler::quota::Quota;
use crate::scheduler::quota::Room;
use crate::scheduler::share_state::ShareState;

/// Selects jobs of shares above their limits to stop so that entitled jobs can start: for all `claims` (those of
/// lending shares, and those of RESERVE shares) or, if they cannot all be met, for the first job for which it is
/// possible. Capacity that is already being freed counts as free.
pub fn reclaim(
    quotas: &[Quota],
    share_states: &[ShareState],
    jobs: &[Entry],
    room: &Room,
    claims: [Amounts; 2],
    candidates: &[Candidate<'_>],
) -> Vec<usize> {
    if claims == [Amounts::ZERO; 2] {
        return Vec::new();
    }
    let coming = share_states.iter().fold(Amounts::ZERO, |sum, share_state| sum.plus(share_state.stopping));
    let shortfall = |claims: [Amounts; 2]| room.shortfall(claims[0], claims[1]).minus(coming);
    let all = shortfall(claims);
    if all.is_covered() {
        return Vec::new();
    }
    if let Some(victims) = of_borrowers(quotas, share_states, jobs, all) {
        return victims;
    }
    for one in candidates.iter().filter(|one| one.entitled) {
        let need = one.job.need.unwrap_or_default();
        let one_claim = if one.quota.lends { [need, Amounts::ZERO] } else { [Amounts::ZERO, need] };
        let lack = shortfall(one_claim);
        if lack.is_covered() {
            // It starts once the capacity being freed is available.
            return Vec::new();
        }
        if let Some(victims) = of_borrowers(quotas, share_states, jobs, lack) {
            return victims;
        }
    }
    Vec::new()
}

/// Selects jobs of lower priority in the share of `one` to stop so that its head can start in their place: within the
/// share's own limit or, if the share borrows, with its borrowed capacity. Empty if that is impossible, or if they
/// are already being stopped.
pub(super) fn within(one: &Candidate<'_>, jobs: &[Entry], borrowable: Amounts) -> Vec<usize> {
    let Candidate { head, job, share_state, quota, .. } = *one;
    let Some(need) = job.need.filter(|_| share_state.promised != Some(head) || share_state.stopping == Amounts::ZERO)
    else {
        return Vec::new();
    };
    let own = need.minus(quota.limit.minus(share_state.used));
    let borrows = quota.borrows && both(&need, &quota.over(share_state));
    let lack = if borrows { need.minus(borrowable).most(need.minus(quota.most.minus(share_state.used))) } else { own };
    let lack = Amounts(std::array::from_fn(|unit| if need.0[unit] > 0 { lack.0[unit] } else { 0 }));
    let lower = cheapest_first(jobs, [share_state]).take_while(|other| other.job.priority < job.job.priority);
    let lower = lower.filter(|other| other.preemptible());
    pick(lower.map(|other| (other, other.need.unwrap_or_default())), lack).unwrap_or_default()
}

/// Selects jobs of shares above their limits that together free `shortfall`, none of them unnecessarily. `None` if
/// that is impossible.
fn of_borrowers(
    quotas: &[Quota],
    share_states: &[ShareState],
    jobs: &[Entry],
    shortfall: Amounts,
) -> Option<Vec<usize>> {
    let mut over: Vec<Amounts> = quotas
        .iter()
        .zip(share_states)
        .map(|(quota, share_state)| share_state.used.minus(share_state.stopping).minus(quota.limit))
        .collect();
    let above = share_states
        .iter()
        .zip(over.clone())
        .filter(|(_, over)| both(over, &shortfall))
        .map(|(share_state, _)| share_state);
    let candidates = cheapest_first(jobs, above).filter(|job| job.preemptible());
    let given = candidates.filter_map(|job| {
        // Only while its share is above its limit in a unit that this job would free.
        let need = job.need?;
        let over = &mut over[job.share_state];
        let borrowed = need.least(*over);
        both(&borrowed, &shortfall).then(|| {
            *over = over.minus(need);
            (job, need)
        })
    });
    pick(given, shortfall)
}

/// Takes jobs in order until `lack` is covered, then drops those that turn out unnecessary. `None` if `lack` cannot
/// be covered.
fn pick<'a>(candidates: impl Iterator<Item = (&'a Entry, Amounts)>, lack: Amounts) -> Option<Vec<usize>> {
    let mut lack = lack;
    let mut taken = Vec::new();
    for (job, need) in candidates {
        if lack.is_covered() {
            break;
        }
        if both(&need, &lack) {
            lack = lack.minus(need);
            taken.push((job.job.number, need));
        }
    }
    if !lack.is_covered() {
        return None;
    }
    taken.reverse();
    taken.retain(|(_, need)| {
        let without = lack.plus(*need);
        let spare = without.is_covered();
        if spare {
            lack = without;
        }
        !spare
    });
    Some(taken.into_iter().map(|(job, _)| job).collect())
}

/// Whether both are above zero in some unit.
fn both(one: &Amounts, other: &Amounts) -> bool {
    one.0.iter().zip(&other.0).any(|(one, other)| *one > 0 && *other > 0)
}

/// The jobs in flight of some shares, cheapest to lose first.
fn cheapest_first<'a>(
    jobs: &'a [Entry],
    share_states: impl IntoIterator<Item = &'a ShareState>,
) -> impl Iterator<Item = &'a Entry> {
    let mut share_states: Vec<_> =
        share_states.into_iter().map(|share_state| share_state.in_flight.iter().peekable()).collect();
    std::iter::from_fn(move || {
        let next = share_states
            .iter_mut()
            .filter_map(|share_state| Some((*share_state.peek()?, share_state)))
            .min_by_key(|(stake, _)| *stake);
        let ((.., Reverse(job)), share_state) = next?;
        share_state.next();
        Some(&jobs[*job])
    })
}
