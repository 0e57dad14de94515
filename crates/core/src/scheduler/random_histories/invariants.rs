//! The invariants of every state and decision, computed independently from the recorded state.

use std::cmp::Reverse;

use super::*;

/// Checks the state; holds at any time.
pub(super) fn check_state(scheduler: &Scheduler) {
    for (index, pool) in scheduler.pools.iter().enumerate() {
        let in_flight = scheduler.jobs.iter().filter(|entry| entry.job.status.is_in_flight());
        let needs = in_flight.filter(|entry| scheduler.queues[entry.queue].pool == index);
        assert_eq!(pool.used, sum(needs.map(need)), "what is used is what jobs in flight hold");
    }
    for queue_state in &scheduler.queues {
        for share_state in &queue_state.share_states {
            let entries = || share_state.in_flight.iter().map(|(.., Reverse(job))| &scheduler.jobs[*job]);
            assert_eq!(share_state.used, sum(entries().map(need)));
            assert_eq!(share_state.stopping, sum(entries().filter(|entry| entry.stopping.is_some()).map(need)));
        }
    }
    for unit in UNITS {
        let rows: Vec<_> =
            scheduler.usage(&QUEUES[0].into()).into_iter().filter(|row| row.unit.as_str() == unit).collect();
        let of = |part: fn(&Usage) -> u64| rows.iter().map(part).sum::<u64>();
        assert_eq!(of(|row| row.borrowed), of(|row| row.lent), "{rows:?}");
        for row in &rows {
            let quota = row.quota.unwrap();
            assert!(row.lent == 0 || row.lent + row.used <= quota, "lends what it uses: {row:?}");
            assert_eq!(row.borrowed + row.excess, row.used.saturating_sub(quota), "{row:?}");
            let lends = scheduler.queue(&QUEUES[0].into()).is_some_and(|queue| match &queue.policy {
                Policy::QuotaShares(shares) => shares
                    .iter()
                    .any(|share| Some(&share.name) == row.share.as_ref() && !matches!(share.sharing, Sharing::Reserve)),
                Policy::Fifo | Policy::FairShare { .. } => false,
            });
            assert!(row.lent == 0 || lends, "{row:?}");
        }
    }
}

/// Checks a decision before it is applied.
pub(super) fn check_decision(scheduler: &Scheduler, queue: usize, decision: &Decision) {
    let queue_state = &scheduler.queues[queue];
    let pool = &scheduler.pools[queue_state.pool];
    assert!(pool.environment.enabled || *decision == Decision::Wait, "a disabled environment is left alone");
    match (decision, &queue_state.sharing_policy) {
        (Decision::Start(number), sharing_policy) => {
            let chosen = &scheduler.jobs[*number];
            check_start(scheduler, chosen, pool);
            if let SharingPolicy::Quotas(quotas) = sharing_policy {
                Ledger::of(scheduler, quotas, queue).check_start(chosen);
            }
        }
        (Decision::Preempt(victims, preemption, promised), SharingPolicy::Quotas(quotas)) => {
            let ledger = Ledger::of(scheduler, quotas, queue);
            for victim in victims {
                let job = &scheduler.jobs[*victim];
                assert!(job.stopping.is_none() && job.job.status.is_in_flight() && job.queue == queue);
            }
            match (preemption, promised) {
                (Preemption::CrossShare, None) => ledger.check_reclaim(victims),
                (Preemption::InShare, Some(head)) => ledger.check_within(victims, *head),
                _ => panic!("a promise belongs to in-share preemption"),
            }
        }
        (Decision::Preempt(..), SharingPolicy::Fifo | SharingPolicy::FairShare(_)) => {
            panic!("only quota shares preempt")
        }
        (Decision::Wait, _) => {}
    }
}

/// Checks a job at the end of a history.
pub(super) fn check_life(scheduler: &Scheduler, job: &Job) {
    let mut until = job.created_at;
    for (index, span) in job.spans.iter().enumerate() {
        assert_eq!(span.from, until, "a gap or an overlap in {:?}", job.spans);
        assert!(span.to.is_some() || index + 1 == job.spans.len());
        until = span.to.unwrap_or(scheduler.now());
    }
    assert_eq!(job.stopped_at.unwrap_or(scheduler.now()), until);
    assert_eq!(job.stopped_at.is_some(), job.status.is_ended());
    assert_eq!(job.preempted.len(), job.preemptions as usize);
    assert_eq!(job.capacity_failed.is_some(), job.capacity_failures > 0);
    let dispatches = job.spans.iter().filter(|span| span.phase == Phase::Scheduled).count();
    let over = job.preempted.len() + job.attempts.len() + job.capacity_failures as usize;
    assert_eq!(dispatches, over + usize::from(job.status.is_in_flight()));
    assert!(job.attempts.len() <= job.terms.retry.attempts as usize, "more attempts than allowed");
    let may_return = job.terms.preemption_retries.unwrap_or(u32::MAX);
    assert!(job.preemptions <= may_return.saturating_add(1), "preempted too often");
    assert!(job.preemptions <= may_return || job.status == JobStatus::Failed);
    // Preemption may have started just before the timeout.
    let longest = job.terms.attempt_timeout.map_or(Duration::MAX, |timeout| timeout + scheduler.delays.stopping);
    for span in job.spans.iter().filter(|span| span.phase == Phase::Running) {
        assert!(span.to.is_none_or(|to| to.since(span.from) <= longest), "ran beyond its timeout");
    }
}

fn check_start(scheduler: &Scheduler, chosen: &Entry, pool: &Pool) {
    assert!(!chosen.held && chosen.job.status == JobStatus::Runnable);
    let job = &chosen.job;
    let passed_over = scheduler
        .jobs_in(&job.queue, &JobStatus::Runnable)
        .find(|other| other.share == job.share && other.priority >= job.priority && other.number < job.number);
    assert_eq!(passed_over.map(|job| &job.id), None, "one ahead of it waits");
    assert!(chosen.fits(&pool.free()), "capacity is exceeded");
}

fn need(entry: &Entry) -> Amounts {
    entry.need.unwrap_or_default()
}

fn sum(amounts: impl Iterator<Item = Amounts>) -> Amounts {
    amounts.fold(Amounts::ZERO, Amounts::plus)
}

/// Totals of a queue with quota shares.
struct Ledger<'a> {
    jobs: &'a [Entry],
    quotas: &'a [Quota],
    share_states: &'a [ShareState],
    free: Amounts,
    /// Idle capacity of RESERVE shares.
    kept: Amounts,
    /// Entitled demand of waiting jobs: of lending shares, and of RESERVE shares.
    wanted: [Amounts; 2],
}

impl<'a> Ledger<'a> {
    fn of(scheduler: &'a Scheduler, quotas: &'a [Quota], queue: usize) -> Self {
        let queue_state = &scheduler.queues[queue];
        let (jobs, share_states) = (&scheduler.jobs[..], &queue_state.share_states[..]);
        let mut wanted = [Amounts::ZERO; 2];
        for (quota, share_state) in quotas.iter().zip(share_states) {
            let mut own = quota.limit.minus(share_state.used);
            for job in share_state.waiting() {
                let Some(need) = jobs[job].need.filter(|need| need.fits(&own) && !jobs[job].held) else { break };
                own = own.minus(need);
                let wanted = &mut wanted[usize::from(!quota.lends)];
                *wanted = wanted.plus(need);
            }
        }
        let kept = sum(quotas
            .iter()
            .zip(share_states)
            .filter(|(quota, _)| !quota.lends)
            .map(|(quota, share_state)| quota.idle(share_state)));
        Self { jobs, quotas, share_states, free: scheduler.pools[queue_state.pool].free(), kept, wanted }
    }

    /// Capacity that could be borrowed without waiting entitled jobs.
    fn lendable(&self) -> Amounts {
        let pairs = || self.quotas.iter().zip(self.share_states);
        let idle = sum(pairs().filter(|(quota, _)| quota.lends).map(|(quota, share_state)| quota.idle(share_state)));
        let over = sum(pairs().map(|(quota, share_state)| quota.over(share_state)));
        idle.minus(over).least(self.free.minus(self.kept))
    }

    fn check_start(&self, chosen: &Entry) {
        let (quota, share_state) = (&self.quotas[chosen.share_state], &self.share_states[chosen.share_state]);
        assert!(chosen.fits_beside(&share_state.used, &quota.most), "over its borrow limit");
        if chosen.fits_beside(&share_state.used, &quota.limit) {
            let own = if quota.lends { Amounts::ZERO } else { quota.idle(share_state) };
            assert!(chosen.fits(&self.free.minus(self.kept).plus(own)), "took what a RESERVE share keeps");
        } else {
            assert!(quota.borrows && chosen.fits(&self.lendable().minus(self.wanted[0])), "borrowed what nobody lends");
        }
    }

    /// Whether these claims could be met if `more` were free.
    fn is_enough(&self, claims: [Amounts; 2], more: Amounts) -> bool {
        let there = self.free.plus(more);
        (0..there.0.len()).all(|unit| {
            let (lenders, reserves) = (claims[0].0[unit], claims[1].0[unit]);
            let promised = if lenders > 0 { lenders + self.kept.0[unit] } else { reserves };
            promised <= there.0[unit]
        })
    }

    fn check_reclaim(&self, victims: &[usize]) {
        let coming = sum(self.share_states.iter().map(|share_state| share_state.stopping));
        let freed = sum(victims.iter().map(|job| need(&self.jobs[*job]))).plus(coming);
        let minimal = |claims: [Amounts; 2]| {
            let without = |victim: &usize| freed.minus(need(&self.jobs[*victim]));
            self.is_enough(claims, freed) && victims.iter().all(|victim| !self.is_enough(claims, without(victim)))
        };
        let one = |share_state: &ShareState| {
            let need = need(&self.jobs[share_state.head().unwrap()]);
            if self.quotas[self.jobs[share_state.head().unwrap()].share_state].lends {
                [need, Amounts::ZERO]
            } else {
                [Amounts::ZERO, need]
            }
        };
        let waiting = self.share_states.iter().filter(|share_state| share_state.head().is_some());
        assert!(minimal(self.wanted) || waiting.map(one).any(minimal), "preempted in vain, or one too many");
        let mut over: Vec<_> = self
            .quotas
            .iter()
            .zip(self.share_states)
            .map(|(quota, share_state)| share_state.used.minus(share_state.stopping).minus(quota.limit))
            .collect();
        // The last job to go must still free capacity that its share holds above its limit.
        for victim in victims.iter().rev() {
            let job = &self.jobs[*victim];
            let over = &mut over[job.share_state];
            assert!(over.0.iter().zip(need(job).0).any(|(over, need)| *over > 0 && need > 0), "took from its own");
            *over = over.minus(need(job));
        }
    }

    fn check_within(&self, victims: &[usize], head: usize) {
        let job = &self.jobs[head];
        let (quota, share_state) = (&self.quotas[job.share_state], &self.share_states[job.share_state]);
        assert!(quota.preempts_within && share_state.head() == Some(head));
        for victim in victims.iter().map(|victim| &self.jobs[*victim]) {
            assert!(
                victim.share_state == job.share_state && victim.job.priority < job.job.priority,
                "preempted its equal"
            );
        }
        let freed = sum(victims.iter().map(|victim| need(&self.jobs[*victim])));
        let entitled = |freed: Amounts| job.fits_beside(&share_state.used.minus(freed), &quota.limit);
        let lendable = self.lendable().minus(self.wanted[0]);
        let swapped = |freed: Amounts| {
            quota.borrows
                && job.fits_beside(&share_state.used.minus(freed), &quota.most)
                && job.fits(&lendable.plus(freed))
        };
        let minimal = |enough: &dyn Fn(Amounts) -> bool| {
            enough(freed) && victims.iter().all(|victim| !enough(freed.minus(need(&self.jobs[*victim]))))
        };
        assert!(minimal(&entitled) || minimal(&swapped), "preempted in vain, or one too many");
    }
}
