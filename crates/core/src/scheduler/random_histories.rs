//! Checks the scheduler's invariants on random histories at every decision: jobs with all kinds of terms, and
//! concurrent changes to priorities, limits and queues.

mod invariants;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use self::invariants::check_decision;
use self::invariants::check_life;
use self::invariants::check_state;
use super::*;
use crate::model::Capacity;
use crate::model::InstanceType;
use crate::model::Policy;
use crate::model::QuotaShare;
use crate::model::ShareName;
use crate::model::Sharing;
use crate::model::WeightedShare;
use crate::scheduler::decision::Decision;
use crate::scheduler::job_entry::Preemption;
use crate::scheduler::policy::SharingPolicy;
use crate::scheduler::pool::Amounts;
use crate::scheduler::quota::Quota;
use crate::scheduler::share_state::ShareState;

const UNITS: [&str; 2] = ["ml.p5.48xlarge", "ml.g5.12xlarge"];
const QUEUES: [&str; 3] = ["quotas", "fifo", "fair"];
const ENVIRONMENTS: [&str; 2] = ["whole", "common"];
/// End of all histories, after the last outage.
const END: u64 = 1_000_000;

/// Input of a random history: shares, jobs and interventions.
#[derive(Clone, Debug)]
struct Case {
    shares: Vec<Share>,
    jobs: Vec<Wish>,
    changes: Vec<(u64, Change)>,
    outages: Vec<(usize, u64, u64)>,
    delays: Delays,
    spare: u8,
    reservation: u8,
    holds: bool,
}

#[derive(Clone, Debug)]
struct Share {
    sharing: Sharing,
    limits: [u8; 2],
    preempts: bool,
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
    terms: Terms,
}

#[derive(Clone, Debug)]
enum Change {
    Terminate(usize),
    Priority(usize, i32),
    Share(usize, Share, bool),
    Environment(usize, [u8; 2], bool),
    Queue(usize, bool),
    RemoveShare(usize),
    RemoveQueue(usize),
}

fn share() -> impl Strategy<Value = Share> {
    let sharing = prop_oneof![
        Just(Sharing::Reserve),
        Just(Sharing::Lend),
        Just(Sharing::LendAndBorrow { borrow_limit: None }),
        (0_u32..200).prop_map(|percent| Sharing::LendAndBorrow { borrow_limit: Some(percent) }),
    ];
    (sharing, [0_u8..8, 0_u8..4], any::<bool>()).prop_map(|(sharing, limits, preempts)| Share {
        sharing,
        limits,
        preempts,
    })
}

fn terms() -> impl Strategy<Value = Terms> {
    let rule = (any::<bool>(), any::<bool>()).prop_map(|(matches, retry)| ExitRule {
        on_status_reason: if matches { "Algo*" } else { "Other" }.to_owned(),
        action: if retry { ExitAction::Retry } else { ExitAction::Exit },
    });
    let retry =
        (1_u32..4, prop::collection::vec(rule, 0..3)).prop_map(|(attempts, rules)| RetryStrategy { attempts, rules });
    let odd = (retry, prop::option::of(60_u64..900), prop::option::of(0_u32..3), 0_u32..3);
    let odd = odd.prop_map(|(retry, timeout, preemption_retries, capacity_failures)| Terms {
        retry,
        attempt_timeout: timeout.map(Duration::from_secs),
        preemption_retries,
        capacity_failures,
    });
    prop_oneof![1 => Just(Terms::default()), 1 => odd]
}

fn wish() -> impl Strategy<Value = Wish> {
    let queue = prop_oneof![4 => Just(0_usize), 1 => 1_usize..3];
    let first = (0_u64..3000, queue, any::<usize>(), 0_i32..3, 0_usize..2);
    (first, 1_u8..5, 1_u64..1500, any::<bool>(), terms()).prop_map(
        |((at, queue, share, priority, unit), count, seconds, fails, terms)| Wish {
            at,
            queue,
            share,
            priority,
            unit,
            count,
            seconds,
            fails,
            terms,
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => any::<usize>().prop_map(Change::Terminate),
        4 => (any::<usize>(), 0_i32..4).prop_map(|(job, priority)| Change::Priority(job, priority)),
        4 => (any::<usize>(), share(), any::<bool>()).prop_map(|(index, share, enabled)| Change::Share(index, share, enabled)),
        3 => (0_usize..2, [0_u8..20, 0_u8..8], any::<bool>()).prop_map(|(index, limits, on)| Change::Environment(index, limits, on)),
        2 => (0_usize..3, any::<bool>()).prop_map(|(queue, enabled)| Change::Queue(queue, enabled)),
        1 => any::<usize>().prop_map(Change::RemoveShare),
        1 => (0_usize..3).prop_map(Change::RemoveQueue),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let delays = prop_oneof![Just(Delays::NONE), Just(Delays::TYPICAL)];
    let changes = prop::collection::vec((0_u64..4000, change()), 0..10);
    let outages = prop::collection::vec((0_usize..2, 0_u64..3000, 0_u64..2000), 0..2);
    let world = (delays, 0_u8..3, prop_oneof![Just(0_u8), 1_u8..99], any::<bool>());
    (prop::collection::vec(share(), 2..5), prop::collection::vec(wish(), 1..70), changes, outages, world).prop_map(
        |(shares, jobs, mut changes, outages, (delays, spare, reservation, holds))| {
            changes.sort_by_key(|(at, _)| *at);
            Case { shares, jobs, changes, outages, delays, spare, reservation, holds }
        },
    )
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000) + Duration::from_secs(seconds)
}

fn share_name(index: usize) -> ShareName {
    ShareName::new(format!("share-{index}"))
}

fn quota_share(index: usize, share: &Share, enabled: bool) -> QuotaShare {
    QuotaShare {
        name: share_name(index),
        enabled,
        limits: UNITS.iter().zip(share.limits).map(|(unit, limit)| Capacity::new(*unit, f64::from(limit))).collect(),
        sharing: share.sharing,
        in_share_preemption: share.preempts,
    }
}

fn environment(index: usize, limits: [u8; 2], enabled: bool) -> ServiceEnvironment {
    let limits = if index == 0 {
        UNITS.iter().zip(limits).map(|(unit, limit)| Capacity::new(*unit, f64::from(limit))).collect()
    } else {
        vec![Capacity::new(InstanceType::ANY, f64::from(limits[0]))]
    };
    ServiceEnvironment { name: ENVIRONMENTS[index].to_owned(), enabled, limits }
}

impl Case {
    fn setup(&self) -> Setup {
        let total = |unit: usize| self.shares.iter().map(|share| share.limits[unit]).sum::<u8>() + self.spare;
        let shares = self.shares.iter().enumerate().map(|(index, share)| quota_share(index, share, true)).collect();
        let fair = Policy::FairShare {
            shares: vec![WeightedShare { share: "share-1".into(), weight: 0.5 }],
            decay: Duration::ZERO,
            reservation: self.reservation,
        };
        let outage = |(unit, from, seconds): &(usize, u64, u64)| Outage {
            unit: UNITS[*unit].into(),
            from: at(*from),
            to: Some(at(from + seconds)),
        };
        let disabled_queue = if self.holds { DisabledQueue::Holds } else { DisabledQueue::Drains };
        Setup {
            environments: vec![environment(0, [total(0), total(1)], true), environment(1, [6, 0], true)],
            queues: vec![
                QueueSetup::new(QUEUES[0], ENVIRONMENTS[0], Policy::QuotaShares(shares)),
                QueueSetup::new(QUEUES[1], ENVIRONMENTS[1], Policy::Fifo),
                QueueSetup { priority: 2, ..QueueSetup::new(QUEUES[2], ENVIRONMENTS[1], fair) },
            ],
            outages: self.outages.iter().map(outage).collect(),
            delays: self.delays.clone(),
            quirks: Quirks { disabled_queue, ..Quirks::default() },
        }
    }

    fn scheduler(&self, seed: u64) -> Scheduler {
        let mut scheduler = Scheduler::new(self.setup(), seed, at(0));
        for wish in &self.jobs {
            let duration = Duration::from_secs(wish.seconds);
            let fails = PlannedOutcome::Fails("AlgorithmError".to_owned());
            let plan = match (wish.fails, wish.terms == Terms::default()) {
                (false, _) => Plan::Runs { duration, outcome: PlannedOutcome::Succeeds },
                (true, true) => Plan::Runs { duration, outcome: fails },
                (true, false) => Plan::Attempts(vec![
                    PlannedAttempt { duration, outcome: fails },
                    PlannedAttempt { duration: duration / 2, outcome: PlannedOutcome::Succeeds },
                ]),
            };
            let submission = Submission {
                at: at(wish.at),
                name: "job".to_owned(),
                queue: QUEUES[wish.queue].into(),
                share: (wish.queue != 1).then(|| share_name(wish.share % self.shares.len())),
                priority: wish.priority,
                demand: vec![Capacity::new(UNITS[wish.unit], f64::from(wish.count))],
                tags: BTreeMap::new(),
                plan,
                terms: wish.terms.clone(),
                utilisation: 0.9,
            };
            scheduler.submit(submission).unwrap();
        }
        scheduler
    }

    /// Runs to the end with the given time steps and interventions. The setup is restored at the end, so that every
    /// job that can run does.
    fn play(&self, seed: u64, mut advance: impl FnMut(&mut Scheduler, Timestamp)) -> Scheduler {
        let mut scheduler = self.scheduler(seed);
        for (second, change) in &self.changes {
            advance(&mut scheduler, at(*second));
            self.make(change, &mut scheduler);
            check_state(&scheduler);
        }
        advance(&mut scheduler, at(4000));
        let setup = self.setup();
        setup.environments.into_iter().for_each(|environment| scheduler.put_environment(environment));
        setup.queues.into_iter().for_each(|queue| scheduler.put_queue(queue).unwrap());
        advance(&mut scheduler, at(END));
        scheduler
    }

    fn make(&self, change: &Change, scheduler: &mut Scheduler) {
        let shares = self.shares.len();
        let job = |scheduler: &Scheduler, which: usize| {
            let ids: Vec<_> = scheduler.jobs().map(|job| job.id.clone()).collect();
            ids.get(which % ids.len().max(1)).cloned()
        };
        let quotas = QUEUES[0].into();
        match change {
            Change::Terminate(which) => {
                job(scheduler, *which).map(|id| scheduler.terminate(&id, "not wanted any more"));
            }
            Change::Priority(which, priority) => {
                job(scheduler, *which).map(|id| scheduler.set_priority(&id, *priority));
            }
            Change::Share(index, share, enabled) => {
                // Fails if the queue was removed.
                scheduler.put_share(&quotas, quota_share(index % shares, share, *enabled)).ok();
            }
            Change::Environment(index, limits, enabled) => {
                scheduler.put_environment(environment(*index, *limits, *enabled));
            }
            Change::Queue(index, enabled) => {
                if let Some(queue) = scheduler.queue(&QUEUES[*index].into()).cloned() {
                    scheduler.put_queue(QueueSetup { enabled: *enabled, ..queue }).unwrap();
                }
            }
            Change::RemoveShare(index) => {
                scheduler.remove_share(&quotas, &share_name(index % shares), "share removed");
            }
            Change::RemoveQueue(index) => {
                scheduler.remove_queue(&QUEUES[*index].into(), "queue removed");
            }
        }
    }
}

/// As `Scheduler::advance`, and checks every decision before and after it is applied.
fn advance_checked(scheduler: &mut Scheduler, to: Timestamp) {
    while let Some(next) = scheduler.next_event().filter(|next| *next <= to) {
        scheduler.process_due(next);
        scheduler.serve_watched(&mut check_decision);
        check_state(scheduler);
        scheduler.drop_void();
    }
    scheduler.advance(to);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn every_decision_is_lawful_and_every_job_that_can_run_ends(case in case()) {
        let scheduler = case.play(1, advance_checked);
        for job in scheduler.jobs() {
            check_life(&scheduler, job);
        }
        prop_assert_eq!(scheduler.next_event(), None);
        // What still waits is behind a head that can never be dispatched, or can never be dispatched itself.
        let queue_state = scheduler.queues.iter().filter(|queue_state| !queue_state.removed);
        for head in queue_state.flat_map(|queue_state| queue_state.share_states.iter().filter_map(ShareState::head)) {
            let entry = &scheduler.jobs[head];
            let misfit = matches!(entry.blocked, Some(Blocked::EnvironmentLimit | Blocked::QuotaLimit));
            let fair = entry.job.queue.as_str() == "fair";
            prop_assert!(misfit || fair, "{:?}", entry);
        }
        for job in scheduler.queues.iter().filter(|queue_state| queue_state.removed).flat_map(|queue_state| queue_state.open()) {
            prop_assert!(false, "a removed queue has job {job}");
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
        let judged = case.play(9, advance_checked);
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
                prop_assert_eq!(scheduler.count(&queue, &status), scanned.len());
                prop_assert_eq!(scanned, paged);
            }
            let runnable = scheduler.jobs_in(&queue, &JobStatus::Runnable).count();
            prop_assert_eq!(scheduler.front(&queue, usize::MAX).len(), runnable);
        }
    }
}
