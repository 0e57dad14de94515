//! Decisions for a queue with quota shares: which head is dispatched, or which jobs are preempted for it.

use crate::scheduler::Blocked;
use crate::scheduler::decision::Decision;
use crate::scheduler::decision::Misfit;
use crate::scheduler::job_entry::Entry;
use crate::scheduler::job_entry::Preemption;
use crate::scheduler::pool::Amounts;
use crate::scheduler::preemption;
use crate::scheduler::quota::Candidate;
use crate::scheduler::quota::Quota;
use crate::scheduler::quota::Room;
use crate::scheduler::share_state::ShareState;

/// Decides one step: entitled jobs first, then preemption for them, then borrowers, then in-share preemption.
pub fn decide(quotas: &[Quota], share_states: &[ShareState], jobs: &[Entry], free: Amounts) -> Decision {
    let (candidates, room) = (candidates(quotas, share_states, jobs), Room::of(quotas, share_states, free));
    let mut claims = [Amounts::ZERO; 2];
    for Candidate { head, job, share_state, quota, .. } in candidates.iter().filter(|one| one.entitled) {
        if job.fits(&room.entitled(quota, share_state)) {
            return Decision::Start(*head);
        }
        let claims = &mut claims[usize::from(!quota.lends)];
        *claims = claims.plus(claim(quota, share_state, jobs));
    }
    let victims = preemption::reclaim(quotas, share_states, jobs, &room, claims, &candidates);
    if !victims.is_empty() {
        return Decision::Preempt(victims, Preemption::CrossShare, None);
    }
    let borrowable = room.borrowable(claims[0]);
    let may_borrow = |one: &&Candidate| {
        let Candidate { job, share_state, quota, .. } = one;
        !one.entitled && quota.borrows && job.fits(&borrowable) && job.fits_beside(&share_state.used, &quota.most)
    };
    // A job that was promised the capacity of preempted jobs goes before older ones.
    let promised = candidates.iter().filter(|one| one.share_state.promised == Some(one.head)).find(may_borrow);
    if let Some(one) = promised.or_else(|| candidates.iter().find(may_borrow)) {
        return Decision::Start(one.head);
    }
    for one in candidates.iter().filter(|one| !one.entitled && one.quota.preempts_within) {
        let victims = preemption::within(one, jobs, borrowable);
        if !victims.is_empty() {
            return Decision::Preempt(victims, Preemption::InShare, Some(one.head));
        }
    }
    Decision::Wait
}

/// Why a need can never be met from a share, with AWS's status reason.
pub fn misfit(quotas: &[Quota], share_state: usize, need: &Amounts) -> Option<Misfit> {
    let quota = &quotas[share_state];
    let all = quotas.iter().filter(|quota| quota.lends).fold(Amounts::ZERO, |sum, quota| sum.plus(quota.limit));
    let reason = if need.fits(&quota.limit) || need.fits(&quota.most) && need.fits(&all) {
        return None;
    } else if !quota.borrows {
        "MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED - Job requirements exceed quota share capacity limits."
    } else if !need.fits(&quota.most) {
        "MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED - Job requirements exceed quota share capacity limits and \
         borrow limits."
    } else {
        "MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED - Job requires borrowing that exceeds all configured \
         borrowable capacity."
    };
    Some(Misfit { blocked: Blocked::QuotaLimit, reason })
}

/// The shares whose heads may be dispatched, oldest head first.
fn candidates<'a>(quotas: &'a [Quota], share_states: &'a [ShareState], jobs: &'a [Entry]) -> Vec<Candidate<'a>> {
    let candidate = |(quota, share_state): (&'a Quota, &'a ShareState)| {
        let head = share_state.head().filter(|head| !jobs[*head].held)?;
        let job = &jobs[head];
        Some(Candidate { head, job, share_state, quota, entitled: job.fits_beside(&share_state.used, &quota.limit) })
    };
    let mut candidates: Vec<_> = quotas.iter().zip(share_states).filter_map(candidate).collect();
    candidates.sort_unstable_by_key(|one| one.head);
    candidates
}

/// Total need of a share's first jobs that all stay within its limit.
fn claim(quota: &Quota, share_state: &ShareState, jobs: &[Entry]) -> Amounts {
    let own = quota.limit.minus(share_state.used);
    let mut claim = Amounts::ZERO;
    for job in share_state.waiting() {
        match jobs[job].need {
            Some(need) if !jobs[job].held && claim.plus(need).fits(&own) => claim = claim.plus(need),
            Some(_) | None => break,
        }
    }
    claim
}
