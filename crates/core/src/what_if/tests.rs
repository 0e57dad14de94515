//! Compares the replay of a change with a system that had it from the start.

use std::time::Duration;

use super::*;
use crate::forecast::{Forecaster, JobTraits, MAX_ROWS};
use crate::model::{
    Capacity, Demand, JobId, Policy, Queue, QuotaShare, ServiceEnvironment, ShareName, Sharing, WeightedShare,
};
use crate::scheduler::{Delays, Plan, PlannedOutcome, QueueSetup, Scheduler, Setup, Submission, Terms};

const TYPE: &str = "ml.p5.48xlarge";
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const DAYS: u64 = 12;

/// Random jobs of three shares, with a rate per hour for each.
fn submissions(seed: u64, has_shares: bool) -> Vec<Submission> {
    let mut state = seed;
    let mut unit = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as f64 + 0.5) / f64::from(1_u32 << 31)
    };
    let mut jobs = Vec::new();
    for (share, rate) in [("speech", 2.5), ("vision", 2.0), ("ranking", 2.2)] {
        let mut at = 0.0;
        loop {
            at += -unit().ln() * 3600.0 / rate;
            if at > (DAYS * 86_400) as f64 {
                break;
            }
            let seconds = 1_200.0 + 9_000.0 * unit() * unit();
            jobs.push(Submission {
                at: START + Duration::from_secs_f64(at),
                name: "train".to_owned(),
                queue: "research".into(),
                share: has_shares.then(|| share.into()),
                priority: (unit() * 3.0) as i32,
                demand: vec![Capacity::new(TYPE, 1.0 + (unit() * 2.0).floor())],
                tags: [].into(),
                plan: Plan::Runs { duration: Duration::from_secs_f64(seconds), outcome: PlannedOutcome::Succeeds },
                terms: Terms::default(),
                utilisation: 0.8,
            });
        }
    }
    jobs.sort_by_key(|job| job.at);
    jobs
}

fn setup(policy: Policy) -> Setup {
    let limits = vec![Capacity::new(TYPE, 13.0)];
    Setup {
        environments: vec![ServiceEnvironment { name: "gpus".to_owned(), enabled: true, limits }],
        queues: vec![QueueSetup::new("research", "gpus", policy)],
        delays: Delays::TYPICAL,
        ..Setup::default()
    }
}

fn quotas() -> Policy {
    let share = |name: &str, limit: f64, sharing: Sharing| QuotaShare {
        name: name.into(),
        enabled: true,
        limits: vec![Capacity::new(TYPE, limit)],
        sharing,
        in_share_preemption: false,
    };
    let borrows = Sharing::LendAndBorrow { borrow_limit: Some(50) };
    Policy::QuotaShares(vec![
        share("speech", 5.0, borrows),
        share("vision", 4.0, Sharing::Lend),
        share("ranking", 4.0, borrows),
    ])
}

fn fair() -> Policy {
    let weight = |share: &str, weight: f64| WeightedShare { share: share.into(), weight };
    Policy::FairShare {
        shares: vec![weight("speech", 1.0), weight("vision", 2.0)],
        decay: Duration::ZERO,
        reservation: 0,
    }
}

/// Number of seeds of the start delays with which a changed system is simulated.
const WORLDS: u64 = 10;

/// The record of a simulation run to the end.
fn world(setup: &Setup, jobs: &[Submission]) -> Past {
    world_with(setup, jobs, 3)
}

/// The same with a seed for the start delays.
fn world_with(setup: &Setup, jobs: &[Submission], seed: u64) -> Past {
    let mut scheduler = Scheduler::new(setup.clone(), seed, START - Duration::from_secs(1));
    for job in jobs {
        let _ = scheduler.submit(job.clone());
    }
    scheduler.advance(START + Duration::from_secs(DAYS * 3 * 86_400));
    let past = Past::of_scheduler(&scheduler, setup.clone());
    Past { until: START + Duration::from_secs(DAYS * 86_400), ..past }
}

/// Relative difference of two values; values below `small` count as equal.
fn apart(one: f64, other: f64, small: f64) -> f64 {
    if (one - other).abs() <= small { 0.0 } else { (one - other).abs() / one.abs().max(other.abs()) }
}

/// The changed system, simulated from the start with several seeds of the start delays: the same jobs, with the priorities from the change.
fn changed_worlds(recorded: &Past, changes: &[Change], jobs: &[Submission]) -> Vec<Outcome> {
    let changed = with_changes(recorded, changes).unwrap();
    let is_fifo = changed.setup.queues[0].policy == Policy::Fifo;
    let by_change = |(job, past): (&Submission, &PastJob)| {
        let share = job.share.clone().filter(|_| !is_fifo);
        Submission { priority: past.priority, share, ..job.clone() }
    };
    let jobs: Vec<Submission> = jobs.iter().zip(&changed.jobs).map(by_change).collect();
    let setup = Setup { delays: Delays::TYPICAL, ..changed.setup };
    let outcome = |seed: u64| {
        let mut world = world_with(&setup, &jobs, seed);
        assert_eq!(world.jobs.len(), recorded.jobs.len());
        world.jobs.iter_mut().zip(&recorded.jobs).for_each(|(job, past)| job.share.clone_from(&past.share));
        outcome::happened(&world).unwrap()
    };
    (1..=WORLDS).map(outcome).collect()
}

/// Median of an even number of values: the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2].midpoint(values[values.len() / 2])
}

/// Checks changes: the p95 wait of each share and the utilisation must be within a tenth of the median of systems that had the change from
/// the start and differ only by their start delays. Near a limit these decide which job goes first, and one system is no measure. At most
/// `most_excused` waits may be off by more, if the systems themselves are as far from their median and the answer is within their range.
#[expect(clippy::print_stdout, reason = "shows how far predictions are off")]
fn check(policy: &Policy, seed: u64, has_shares: bool, texts: &[&str], most_excused: usize) {
    let jobs = submissions(seed, has_shares);
    let recorded = world(&setup(policy.clone()), &jobs);
    let unchanged = before(&recorded, &Prices::new(), |_| {});
    let mut excused = Vec::new();
    for text in texts {
        let changes: Vec<Change> = text.split(' ').map(|one| parse(one).unwrap()).collect();
        let said = answer_beside(&recorded, &unchanged, &changes, &Prices::new(), |_| {}).unwrap();
        let worlds = changed_worlds(&recorded, &changes, &jobs);
        for share in &said.after.shares {
            let p95 = |world: &Outcome| world.share(&share.queue, share.share.as_ref()).unwrap().p95.unwrap();
            let (said, real) = (share.p95.unwrap(), median(worlds.iter().map(p95)));
            let (least, most) =
                worlds.iter().map(p95).fold((f64::MAX, 0.0_f64), |(a, b), one| (a.min(one), b.max(one)));
            let apart = apart(said, real, 300.0);
            let name = share.share.as_ref().map_or("-", ShareName::as_str);
            let case = format!(
                "{text}, seed {seed}, {name}: p95 {said:.0} s, in truth {real:.0} s ({least:.0} to {most:.0} s)"
            );
            println!("{:5.1} % {case}", apart * 100.0);
            if apart >= 0.1 {
                assert!((least..=most).contains(&said) && (most - real).max(real - least) >= 0.1 * real, "{case}");
                excused.push(case);
            }
        }
        let utilisation = |outcome: &Outcome| outcome.queues[0].utilisation.unwrap();
        let (said, real) = (utilisation(&said.after), median(worlds.iter().map(utilisation)));
        assert!(apart(said, real, 0.0) < 0.1, "{text}, seed {seed}: utilisation is {said}, and {real} in truth");
    }
    assert!(excused.len() <= most_excused, "not within a tenth of the truth: {excused:#?}");
}

#[test]
fn changes_of_quota_shares_predict_the_effect() {
    let texts = [
        "queue.research.share.speech.quota=8 queue.research.capacity=16",
        "queue.research.share.speech.quota=+1",
        "queue.research.share.vision.sharing=lend-and-borrow",
        "queue.research.share.ranking.borrow_limit=none",
        "queue.research.share.speech.sharing=reserve",
        "queue.research.share.vision.priority=9",
    ];
    [(11, 0), (23, 1)].iter().for_each(|(seed, excused)| check(&quotas(), *seed, true, &texts, *excused));
}

#[test]
fn changes_of_a_fair_share_queue_predict_the_effect() {
    let texts = ["queue.research.share.vision.weight=0.5", "queue.research.capacity=+3", "queue.research.policy=fifo"];
    [12, 24].into_iter().for_each(|seed| check(&fair(), seed, true, &texts, 0));
}

#[test]
fn changes_of_a_fifo_queue_predict_the_effect() {
    let texts = ["queue.research.capacity=15", "queue.research.capacity=-1"];
    [13, 27].into_iter().for_each(|seed| check(&Policy::Fifo, seed, false, &texts, 0));
}

#[test]
fn the_replay_of_what_was_is_close_to_what_happened() {
    let recorded = world(&setup(quotas()), &submissions(11, true));
    let said = answer(&recorded, &[], &Prices::new(), |_, _| {}).unwrap();
    assert_eq!(said.before, said.after);
    let happened = said.happened.as_ref().unwrap();
    for share in &said.before.shares {
        let off = said.error_of(share, |share| share.p95).unwrap();
        let real = happened.share(&share.queue, share.share.as_ref()).unwrap().p95.unwrap();
        assert!(off <= 0.1 * real + 60.0, "{:?}: {:?} and {real} in truth", share.share, share.p95);
    }
    let (before, real) = (said.before.queues[0].utilisation.unwrap(), happened.queues[0].utilisation.unwrap());
    assert!(apart(before, real, 0.0) < 0.05, "{before} {real}");
}

#[test]
fn a_result_for_more_jobs_than_are_replayed_several_times_has_a_note() {
    let mut past = world(&setup(quotas()), &submissions(11, true)[..40]);
    let said = answer(&past, &[], &Prices::new(), |_, _| {}).unwrap();
    let is_said = |past: &Past| Report::of(past, &[], &said).notes.iter().any(|note| note.contains("replayed once"));
    past.jobs = past.jobs.iter().cycle().take(20_000).cloned().collect();
    assert!(!is_said(&past));
    past.jobs.push(past.jobs[0].clone());
    assert!(is_said(&past));
}

#[test]
fn what_there_is_not_is_refused_with_what_there_is() {
    let past = world(&setup(quotas()), &submissions(11, true)[..40]);
    let fails = |text: &str| match parse(text) {
        Err(error) => error.to_string(),
        Ok(change) => with_changes(&past, &[change]).unwrap_err().to_string(),
    };
    for (text, said) in [
        ("speech.quota=8", "known keys: queue.Q.capacity"),
        ("queue.research", "KEY=VALUE"),
        ("queue.research.colour=red", "unknown key"),
        ("queue.research.share.speech.colour=red", "unknown key"),
        ("queue.research.share.speech=8", "unknown key"),
        ("queue.nights.capacity=8", "there is no queue \"nights\"; known queues: research"),
        ("queue.research.share.sound.quota=8", "has no share \"sound\"; known shares: ranking, speech, vision"),
        ("queue.research.share.speech.quota=many", "whole"),
        ("queue.research.share.speech.quota=1.5", "whole"),
        ("queue.research.share.speech.quota=nan", "whole"),
        ("queue.research.share.speech.weight=1", "no weights"),
        ("queue.research.share.speech.weight=-1", "less gets more"),
        ("queue.research.share.speech.borrow_limit=some", "or none"),
        ("queue.research.share.speech.sharing=maybe", "reserve, lend and lend-and-borrow"),
        ("queue.research.share.speech.priority=10000", "0 to 9999"),
        ("queue.research.share.speech.in_share_preemption=yes", "true nor false"),
        ("queue.research.capacity=-14", "there are 13, and the number of instances must not be negative"),
        ("queue.research.capacity=+1000000", "exceeds 1000000"),
        ("queue.research.share.speech.quota=-6", "there are 5, and"),
        ("queue.research.capacity.ml.none=4", "no instances of type \"ml.none\"; known types: ml.p5.48xlarge"),
        (
            "queue.research.share.speech.quota.ml.none=4",
            "no instances of type \"ml.none\"; known types: ml.p5.48xlarge",
        ),
        ("queue.research.share.vision.borrow_limit=50", "share vision may not borrow"),
        ("queue.research.share.speech.borrow_limit=-5", "from 0 to"),
        ("queue.research.share.speech.borrow_limit=50%%", "from 0 to"),
        ("queue.research.policy=lottery", "fifo, fair-share and quota-shares"),
    ] {
        assert!(fails(text).contains(said), "{text}: {}", fails(text));
    }
    let fifo = world(&setup(Policy::Fifo), &submissions(11, false)[..40]);
    let quota = parse("queue.research.share.speech.quota=8").unwrap();
    assert!(with_changes(&fifo, &[quota]).unwrap_err().to_string().contains("has no share"));
}

#[test]
fn what_is_kept_of_queues_makes_the_same_queues_again() {
    for policy in [Policy::Fifo, fair(), quotas()] {
        let queue = crate::model::Queue {
            name: "research".into(),
            arn: String::new(),
            enabled: true,
            status_reason: None,
            has_time_limit: false,
            time_limits: Vec::new(),
            invalid: Vec::new(),
            policy: policy.clone(),
            environment: setup(Policy::Fifo).environments.pop(),
        };
        let rows = of_queues(&[queue]);
        let text = serde_json::to_string(&rows).unwrap();
        let again = setup_of_rows(serde_json::from_str(&text).unwrap());
        assert_eq!(again, Setup { delays: Delays::NONE, ..setup(policy) });
    }
}

#[test]
fn candidates_cost_what_they_add() {
    let past = world(&setup(quotas()), &submissions(11, true)[..40]);
    let all = candidates(&past, None);
    assert!(
        all.iter().any(|one| one.instances == 0.0 && one.changes[0].text.ends_with("vision.sharing=lend-and-borrow"))
    );
    assert!(all.iter().any(|one| one.instances == 2.0 && one.changes.len() == 2));
    assert!(all.iter().all(|one| with_changes(&past, &one.changes).is_ok()));
    assert!(candidates(&past, Some(&"nights".into())).is_empty());
    let shares: Vec<ShareName> = past.shares(&"research".into()).into_iter().collect();
    assert_eq!(shares.len(), 3);
}

/// Stored forecast data of jobs of a FIFO queue.
fn kept() -> (Forecaster, JobTraits, Demand) {
    let queue = Queue::new("research", Policy::Fifo, setup(Policy::Fifo).environments.first().cloned());
    let mut forecaster = Forecaster::default();
    forecaster.keep_queues(&of_queues(&[queue]));
    let of = JobTraits { queue: "research".into(), share: None, owner: None, name: "train".into(), instances: 1.0 };
    (forecaster, of, vec![Capacity::new(TYPE, 1.0)].into())
}

#[test]
fn a_job_that_was_tried_again_holds_its_instances_for_all_its_attempts() {
    let (mut forecaster, of, demand) = kept();
    let job = JobId::from("retried");
    forecaster.arrived(&job, (START, Some(START)), &of, 0, &demand);
    forecaster.attempt_ended(&job, 1, &of, (START, 3_000.0), true);
    forecaster.attempt_ended(&job, 2, &of, (START + Duration::from_secs(4_000), 5_000.0), true);
    // An attempt that ended before its container ran, and says nothing about run times.
    let job = JobId::from("broken");
    forecaster.arrived(&job, (START, Some(START)), &of, 0, &demand);
    forecaster.attempt_never_ran(&job, 1, &of, (START, 90.0), true);
    let past = Past::of_kept(forecaster.rows()).unwrap();
    let mut seconds: Vec<f64> = past.jobs.iter().map(|job| job.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    assert_eq!((seconds, forecaster.ended()), (vec![90.0, 8_000.0], 2));
    let restored = Forecaster::restore(forecaster.rows());
    assert_eq!(restored.ended(), 2);
}

#[test]
fn jobs_whose_attempts_were_overwritten_are_left_out_and_counted() {
    let (mut forecaster, of, demand) = kept();
    let at = |minutes: u64| START + Duration::from_secs(minutes * 60);
    let all = MAX_ROWS + 3;
    for number in 0..all {
        let job = JobId::new(format!("job-{number}"));
        if number < 10 || number + 10 > all {
            forecaster.arrived(&job, (at(number), Some(at(number))), &of, 0, &demand);
        }
        forecaster.attempt_ended(&job, 1, &of, (at(number), 60.0), true);
    }
    forecaster.arrived(&"runs".into(), (at(all), Some(at(all))), &of, 0, &demand);
    let past = Past::of_kept(forecaster.rows()).unwrap();
    assert_eq!((past.jobs.len(), past.jobs[0].at), (10 - 3 + 9 + 1, at(3)));
    let still_run = past.jobs.iter().filter(|job| job.seen.as_ref().is_some_and(|seen| seen.held[0].1.is_none()));
    assert_eq!(still_run.map(|job| job.at).collect::<Vec<_>>(), [at(all)]);
    assert!(past.notes.iter().any(|note| note.starts_with("3 jobs are excluded")), "{:?}", past.notes);
    // While nothing was overwritten, a job without an attempt is a running one.
    let (mut forecaster, of, demand) = kept();
    forecaster.arrived(&"runs".into(), (at(0), Some(at(0))), &of, 0, &demand);
    forecaster.attempt_ended(&"ended".into(), 1, &of, (at(5), 60.0), true);
    assert_eq!(Past::of_kept(forecaster.rows()).unwrap().jobs.len(), 1);
}
