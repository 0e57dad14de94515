//! The laws of the scheduler, held against random histories at every single decision.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::{Capacity, InstanceType, Policy, QuotaShare, ServiceEnvironment, ShareName, Sharing, WeightedShare};
use crate::scheduler::discipline::{Discipline, Lane};
use crate::scheduler::pool::Amounts;
use crate::scheduler::quota::Quota;

const UNITS: [&str; 2] = ["ml.p5.48xlarge", "ml.g5.12xlarge"];
const QUEUES: [&str; 3] = ["quotas", "fifo", "fair"];

/// A random history to be: shares, jobs, and jobs that someone ends.
#[derive(Clone, Debug)]
struct Case {
    shares: Vec<(Sharing, [u8; 2])>,
    jobs: Vec<Wish>,
    terminations: Vec<(u64, usize)>,
    delays: Delays,
    spare: u8,
}

#[derive(Clone, Debug)]
struct Wish {
    at: u64,
    queue: usize,
    share: usize,
    priority: i32,
    unit: usize,
    count: u8,
    seconds: u64,
    fails: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let sharing = prop_oneof![
        Just(Sharing::Reserve),
        Just(Sharing::Lend),
        Just(Sharing::LendAndBorrow { borrow_limit: None }),
        (0_u32..200).prop_map(|percent| Sharing::LendAndBorrow { borrow_limit: Some(percent) }),
    ];
    let shares = prop::collection::vec((sharing, [0_u8..8, 0_u8..4]), 2..5);
    let wish = (0_u64..3000, prop_oneof![4 => Just(0_usize), 1 => 1_usize..3], any::<usize>(), 0_i32..3, 0_usize..2)
        .prop_flat_map(|(at, queue, share, priority, unit)| {
            (1_u8..5, 1_u64..1500, any::<bool>()).prop_map(move |(count, seconds, fails)| Wish {
                at,
                queue,
                share,
                priority,
                unit,
                count,
                seconds,
                fails,
            })
        });
    let delays = prop_oneof![Just(Delays::NONE), Just(Delays::TYPICAL)];
    let terminations = prop::collection::vec((0_u64..4000, any::<usize>()), 0..5);
    (shares, prop::collection::vec(wish, 1..70), terminations, delays, 0_u8..3)
        .prop_map(|(shares, jobs, terminations, delays, spare)| Case { shares, jobs, terminations, delays, spare })
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000) + Duration::from_secs(seconds)
}

fn share_name(index: usize) -> ShareName {
    ShareName::new(format!("share-{index}"))
}

impl Case {
    fn setup(&self) -> Setup {
        let share = |(index, (sharing, limits)): (usize, &(Sharing, [u8; 2]))| QuotaShare {
            name: share_name(index),
            enabled: true,
            limits: UNITS.iter().zip(limits).map(|(unit, limit)| Capacity::new(*unit, f64::from(*limit))).collect(),
            sharing: *sharing,
        };
        let total = |unit: usize| self.shares.iter().map(|(_, limits)| limits[unit]).sum::<u8>() + self.spare;
        let limits = UNITS.iter().enumerate().map(|(unit, name)| Capacity::new(*name, f64::from(total(unit))));
        let whole = ServiceEnvironment { name: "whole".to_owned(), enabled: true, limits: limits.collect() };
        let any = vec![Capacity::new(InstanceType::ANY, 6.0)];
        let common = ServiceEnvironment { name: "common".to_owned(), enabled: true, limits: any };
        let weights = vec![WeightedShare { share: "share-1".into(), weight: 0.5 }];
        let policies = [
            (Policy::QuotaShares(self.shares.iter().enumerate().map(share).collect()), whole),
            (Policy::Fifo, common.clone()),
            (Policy::FairShare { shares: weights }, common),
        ];
        let queue = |(name, (policy, environment)): (&str, (Policy, ServiceEnvironment))| QueueSetup {
            name: name.into(),
            priority: 1,
            policy,
            environment,
        };
        Setup {
            queues: QUEUES.into_iter().zip(policies).map(queue).collect(),
            delays: self.delays.clone(),
            quirks: Quirks::default(),
        }
    }

    fn scheduler(&self, seed: u64) -> Scheduler {
        let mut scheduler = Scheduler::new(self.setup(), seed, at(0));
        for wish in &self.jobs {
            let outcome =
                if wish.fails { PlannedOutcome::Fails("AlgorithmError".to_owned()) } else { PlannedOutcome::Succeeds };
            scheduler
                .submit(Submission {
                    at: at(wish.at),
                    name: "job".to_owned(),
                    queue: QUEUES[wish.queue].into(),
                    share: (wish.queue != 1).then(|| share_name(wish.share % self.shares.len())),
                    priority: wish.priority,
                    demand: vec![Capacity::new(UNITS[wish.unit], f64::from(wish.count))],
                    tags: std::collections::BTreeMap::new(),
                    plan: Plan::Runs { duration: Duration::from_secs(wish.seconds), outcome },
                    utilisation: 0.9,
                })
                .unwrap();
        }
        scheduler
    }

    /// Plays to the end with jumps as told, ending jobs on the way.
    fn play(&self, seed: u64, mut advance: impl FnMut(&mut Scheduler, Timestamp)) -> Scheduler {
        let mut scheduler = self.scheduler(seed);
        let mut terminations = self.terminations.clone();
        terminations.sort_unstable();
        for (second, which) in terminations {
            advance(&mut scheduler, at(second));
            let ids: Vec<_> = scheduler.jobs().map(|job| job.id.clone()).collect();
            if !ids.is_empty() {
                scheduler.terminate(&ids[which % ids.len()], "not wanted any more");
            }
        }
        advance(&mut scheduler, at(1_000_000));
        scheduler
    }
}

/// `Scheduler::advance`, but everything is judged before and after every decision.
fn advance_judged(scheduler: &mut Scheduler, to: Timestamp) {
    while let Some(next) = scheduler.next_event().filter(|next| *next <= to) {
        scheduler.happen(next);
        for queue in 0..scheduler.queues.len() {
            loop {
                let decision = scheduler.decide(queue);
                judge_decision(scheduler, queue, &decision);
                let more = scheduler.carry_out(decision);
                judge_state(scheduler);
                if !more {
                    break;
                }
            }
        }
        scheduler.forget_void();
    }
    scheduler.advance(to);
}

fn sum<'a>(amounts: impl Iterator<Item = &'a Amounts>, units: usize) -> Amounts {
    amounts.fold(Amounts::zero(units), |sum, one| sum.plus(one))
}

fn judge_state(scheduler: &Scheduler) {
    for (index, pool) in scheduler.pools.iter().enumerate() {
        let in_flight = scheduler.jobs.iter().filter(|entry| entry.job.status.is_in_flight());
        let needs = in_flight.filter(|entry| scheduler.queues[entry.queue].pool == index);
        let held = sum(needs.map(|entry| entry.need.as_ref().unwrap()), pool.units.len());
        assert_eq!(pool.used, held, "what is used is what jobs in flight hold");
        assert!(held.fits(&pool.limits), "capacity is exceeded: {held:?} of {:?}", pool.limits);
    }
    let books = &scheduler.queues[0];
    let Discipline::Quotas(quotas) = &books.discipline else { panic!("the first queue has quotas") };
    for (quota, lane) in quotas.iter().zip(&books.lanes) {
        assert!(lane.used.fits(&quota.most), "a share is over its borrow limit");
    }
    let lending = || quotas.iter().zip(&books.lanes).filter(|(quota, _)| quota.lends);
    let units = UNITS.len();
    let (theirs, used) = (sum(lending().map(|(q, _)| &q.limit), units), sum(lending().map(|(_, l)| &l.used), units));
    assert!(used.fits(&theirs), "borrowers took what a RESERVE share keeps");
    for unit in UNITS {
        let rows: Vec<_> =
            scheduler.usage(&QUEUES[0].into()).into_iter().filter(|row| row.unit.as_str() == unit).collect();
        let of = |part: fn(&Usage) -> u64| rows.iter().map(part).sum::<u64>();
        assert_eq!(of(|row| row.borrowed), of(|row| row.lent), "{rows:?}");
        for (row, quota) in rows.iter().zip(quotas) {
            assert!(row.lent == 0 || quota.lends && row.lent + row.used <= row.quota.unwrap(), "{row:?}");
            assert_eq!(row.borrowed, row.used.saturating_sub(row.quota.unwrap()));
        }
    }
}

fn judge_decision(scheduler: &Scheduler, queue: usize, decision: &Decision) {
    let books = &scheduler.queues[queue];
    let quotas = match &books.discipline {
        Discipline::Quotas(quotas) => Some(quotas),
        Discipline::Fifo | Discipline::FairShare(_) => None,
    };
    match decision {
        Decision::Start(number) => {
            let chosen = &scheduler.jobs[*number].job;
            let passed_over = scheduler
                .jobs_in(&chosen.queue, &JobStatus::Runnable)
                .find(|job| job.share == chosen.share && job.priority == chosen.priority && job.number < chosen.number);
            assert_eq!(passed_over.map(|job| &job.id), None, "an older equal waits");
            if let Some(quotas) = quotas {
                judge_borrowing(quotas, &books.lanes, &scheduler.jobs, &scheduler.jobs[*number]);
            }
        }
        Decision::Preempt(victims) => {
            judge_preemption(quotas.unwrap(), &books.lanes, &scheduler.jobs, victims);
        }
        Decision::Wait => {}
    }
}

/// What waiting jobs are entitled to, and what the lending shares do not use.
fn wanted_and_unused(quotas: &[Quota], lanes: &[Lane], jobs: &[Entry]) -> (Amounts, Amounts) {
    let mut wanted = Amounts::zero(UNITS.len());
    let mut unused = Amounts::zero(UNITS.len());
    for (quota, lane) in quotas.iter().zip(lanes).filter(|(quota, _)| quota.lends) {
        let mut own = quota.limit.minus(&lane.used);
        unused = unused.plus(&own);
        for (_, job) in &lane.waiting {
            let Some(need) = jobs[*job].need.as_ref().filter(|need| need.fits(&own)) else { break };
            own = own.minus(need);
            wanted = wanted.plus(need);
        }
    }
    (wanted, unused)
}

fn judge_borrowing(quotas: &[Quota], lanes: &[Lane], jobs: &[Entry], chosen: &Entry) {
    if !chosen.fits(&quotas[chosen.lane].limit.minus(&lanes[chosen.lane].used)) {
        let (wanted, unused) = wanted_and_unused(quotas, lanes, jobs);
        let left = unused.minus(&wanted);
        assert!(chosen.fits(&left), "borrowed what an owner waits for");
    }
}

fn judge_preemption(quotas: &[Quota], lanes: &[Lane], jobs: &[Entry], victims: &[usize]) {
    let units = UNITS.len();
    let (wanted, unused) = wanted_and_unused(quotas, lanes, jobs);
    let there = lanes.iter().fold(unused, |sum, lane| sum.plus(&lane.stopping));
    let need = |job: &usize| jobs[*job].need.as_ref().unwrap();
    let freed = sum(victims.iter().map(need), units);
    assert!(wanted.fits(&there.plus(&freed)), "preempted in vain");
    let mut over: Vec<_> = quotas.iter().zip(lanes).map(|(q, l)| l.used.minus(&l.stopping).minus(&q.limit)).collect();
    for victim in victims.iter().rev() {
        assert!(!wanted.fits(&there.plus(&freed).minus(need(victim))), "one victim too many");
        let over = &mut over[jobs[*victim].lane];
        assert!(over.0.iter().zip(&need(victim).0).any(|(over, need)| *over > 0 && *need > 0), "took from its own");
        *over = over.minus(need(victim));
    }
}

fn judge_life(scheduler: &Scheduler, job: &Job) {
    let mut until = job.created_at;
    for (index, span) in job.spans.iter().enumerate() {
        assert_eq!(span.from, until, "a gap or an overlap in {:?}", job.spans);
        assert!(span.to.is_some() || index + 1 == job.spans.len());
        until = span.to.unwrap_or(scheduler.now());
    }
    assert_eq!(job.stopped_at.unwrap_or(scheduler.now()), until);
    assert_eq!(job.stopped_at.is_some(), job.status.is_ended());
    assert_eq!(job.preempted.len(), job.preemptions as usize);
    let dispatches = job.spans.iter().filter(|span| span.phase == Phase::Scheduled).count();
    assert_eq!(dispatches, job.preempted.len() + job.attempts.len() + usize::from(job.status.is_in_flight()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn every_decision_is_lawful_and_every_job_that_can_run_ends(case in case()) {
        let scheduler = case.play(1, advance_judged);
        for job in scheduler.jobs() {
            judge_life(&scheduler, job);
        }
        prop_assert_eq!(scheduler.next_event(), None);
        // What still waits waits behind a head that can never be served, or can never be served itself.
        for head in scheduler.queues.iter().flat_map(|books| books.lanes.iter().filter_map(Lane::head)) {
            let job = &scheduler.jobs[head].job;
            let misfit = job.status_reason.as_ref().is_some_and(|reason| reason.starts_with("MISCONFIGURATION:"));
            prop_assert!(misfit || job.queue.as_str() == "fair", "{:?}", job);
        }
    }

    #[test]
    fn equal_seeds_give_equal_histories_however_time_is_cut(case in case(), step in 1_u64..500) {
        let jumps = case.play(9, Scheduler::advance);
        let steps = case.play(9, |scheduler, to| {
            while scheduler.now() + Duration::from_secs(step) < to && scheduler.next_event().is_some() {
                let next = scheduler.now() + Duration::from_secs(step);
                scheduler.advance(next);
            }
            scheduler.advance(to);
        });
        let judged = case.play(9, advance_judged);
        prop_assert!(jumps.jobs().eq(steps.jobs()));
        prop_assert!(jumps.jobs().eq(judged.jobs()));
    }

    #[test]
    fn a_status_lists_its_jobs_in_order_and_in_pages(case in case(), until in 0_u64..4000, page in 1_usize..5) {
        let mut scheduler = case.scheduler(3);
        scheduler.advance(at(until));
        for queue in QUEUES.map(QueueName::from) {
            for status in JobStatus::KNOWN {
                let scanned: Vec<_> = scheduler.jobs().filter(|job| job.queue == queue && job.status == status).collect();
                let mut paged: Vec<&Job> = Vec::new();
                loop {
                    let from = paged.last().map_or(0, |job| job.number + 1);
                    let before = paged.len();
                    paged.extend(scheduler.jobs_in_range(&queue, &status, from..).take(page));
                    if paged.len() == before {
                        break;
                    }
                }
                prop_assert_eq!(scanned, paged);
            }
            let runnable = scheduler.jobs_in(&queue, &JobStatus::Runnable).count();
            prop_assert_eq!(scheduler.front(&queue, usize::MAX).len(), runnable);
        }
    }
}
