//! Descriptions that come late or never: what is counted by state is what the lists show.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::jobs::{Cadence, Filter, Phase, Wanted};
use crate::model::{Capacity, JobDetails, JobStatus};

const QUEUE: &str = "research";
/// Seconds between polls.
const EVERY: i64 = 30;

fn second(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn queue() -> QueueName {
    QUEUE.into()
}

/// A job as AWS knows it.
fn submitted(number: usize, at: i64) -> JobSeen {
    JobSeen {
        name: "train".into(),
        share: Some(if number.is_multiple_of(2) { "vision" } else { "speech" }.into()),
        demand: vec![Capacity::new("ml.p5.48xlarge", 1.0)].into(),
        ..JobSeen::new(format!("job-{number}"), QUEUE, JobStatus::Runnable, second(at))
    }
}

/// Lets a job take its next step: forward, or by preemption and retry back to the queue, where the next attempt begins.
fn step(job: &mut JobSeen, choice: u8, at: i64) {
    let at = second(at);
    match (&job.status, choice % 4) {
        (JobStatus::Runnable, 0) => {
            (job.status, job.stopped_at) = (JobStatus::Failed, Some(at));
        }
        (JobStatus::Runnable, _) => {
            (job.status, job.scheduled_at, job.started_at) = (JobStatus::Scheduled, Some(at), None);
            job.training_job = Some(format!("{}-{}", job.id, at.millis()).as_str().into());
        }
        (JobStatus::Scheduled | JobStatus::Starting | JobStatus::Running, 0) => job.status = JobStatus::Runnable,
        (JobStatus::Scheduled, _) => job.status = JobStatus::Starting,
        (JobStatus::Starting, _) => (job.status, job.started_at) = (JobStatus::Running, Some(at)),
        (JobStatus::Running, 1) => (job.status, job.stopped_at) = (JobStatus::Failed, Some(at)),
        (JobStatus::Running, _) => (job.status, job.stopped_at) = (JobStatus::Succeeded, Some(at)),
        _ => {}
    }
}

fn described(seen: &JobSeen) -> JobSeen {
    JobSeen { details: Some(Box::new(JobDetails::default())), ..seen.clone() }
}

/// Lists every state in the order of the service's polls, then the jobs that were created since the last poll or all.
fn poll(ledger: &mut Ledger, world: &[JobSeen], all: bool, at: i64) {
    let mut list = |wanted: &dyn Fn(&JobSeen) -> bool| {
        world.iter().filter(|job| wanted(job)).for_each(|job| drop(ledger.observe(job.clone(), second(at))));
    };
    list(&|job| job.status.is_waiting());
    list(&|job| job.status.is_in_flight());
    list(&|job| all || job.created_at > second(at - 2 * EVERY));
    ledger.waiting_listed(&queue(), second(at));
    ledger.in_flight_listed(&queue(), second(at));
    ledger.polled(&queue(), second(at));
}

/// Jobs that have not ended, by state.
fn open(ledger: &Ledger) -> BTreeMap<JobStatus, usize> {
    let mut counts = BTreeMap::new();
    for (status, count) in ledger.shares().flat_map(|(_, _, share_jobs)| share_jobs.counts()) {
        *counts.entry(status.clone()).or_default() += count;
    }
    counts
}

fn listed(world: &[JobSeen], wanted: impl Fn(&JobStatus) -> bool) -> BTreeMap<JobStatus, usize> {
    let mut counts = BTreeMap::new();
    world.iter().filter(|job| wanted(&job.status)).for_each(|job| *counts.entry(job.status.clone()).or_default() += 1);
    counts
}

fn ended(ledger: &Ledger) -> BTreeMap<JobStatus, usize> {
    let mut counts = BTreeMap::new();
    for (status, count) in ledger.ended_counts(&queue()).filter(|(_, count)| *count > 0) {
        *counts.entry(status.clone()).or_default() += count;
    }
    counts
}

/// One poll: which jobs take a step before it, and which, whether all jobs are listed, which of the wanted descriptions come, and how
/// many polls late.
type Round = (Vec<(usize, u8)>, bool, Vec<bool>, usize);

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let steps = prop::collection::vec((0..12_usize, any::<u8>()), 0..10);
    let round = (steps, any::<bool>(), prop::collection::vec(any::<bool>(), 6), 0..5_usize);
    prop::collection::vec(round, 1..30)
}

proptest! {
    #[test]
    fn what_is_counted_by_state_is_what_the_lists_show_however_late_descriptions_are(rounds in rounds()) {
        let mut ledger = Ledger::default();
        ledger.resume(&[], second(0));
        let mut world: Vec<JobSeen> = (0..12).map(|number| submitted(number, 1)).collect();
        let mut under_way: Vec<(usize, i64, JobSeen)> = Vec::new();
        for (number, (steps, all, answered, late)) in rounds.into_iter().enumerate() {
            let at = EVERY * (i64::try_from(number).unwrap() + 1);
            steps.iter().for_each(|(job, choice)| step(&mut world[*job], *choice, at - 5));
            poll(&mut ledger, &world, all, at);
            ledger.forget(second(at));
            let shown = || listed(&world, |status| !status.is_ended());
            prop_assert_eq!(open(&ledger), shown());
            let running = |state| {
                let filter = Filter { state: Some(state), ..Filter::default() };
                ledger.find(Wanted::of(&filter, 100)).jobs.len()
            };
            prop_assert_eq!(running(JobStatus::Running), shown().get(&JobStatus::Running).copied().unwrap_or(0));
            let in_flight = ledger.in_flight().count();
            prop_assert_eq!(in_flight, world.iter().filter(|job| job.status.is_in_flight()).count());
            let waiting = ledger.waiting_since_before(second(at + 1)).count();
            prop_assert_eq!(waiting, world.iter().filter(|job| job.status.is_waiting()).count());
            // Each job that is counted as ended is in a page, or said to be missing there.
            for (status, count) in ended(&ledger) {
                let filter = Filter { state: Some(status), ..Filter::default() };
                let found = ledger.find(Wanted::of(&filter, 100)).jobs.len();
                prop_assert_eq!(found + ledger.undescribed_ends(&filter), count);
            }
            let all_ended = listed(&world, JobStatus::is_ended);
            if all {
                prop_assert_eq!(ended(&ledger), all_ended);
            } else {
                prop_assert!(ended(&ledger).iter().all(|(status, count)| all_ended.get(status) >= Some(count)));
            }
            // Descriptions say what was so when they were asked for; until all are there nothing is said to be in order.
            let cadence = Cadence { reconcile_every: Duration::from_secs(900), verify_every: Duration::from_secs(60) };
            let asked = ledger.questions([queue()].iter(), cadence, second(at)).jobs;
            let answers = asked.iter().zip(answered).filter(|(_, comes)| *comes);
            let answers = answers.filter_map(|(id, _)| world.iter().find(|job| job.id == *id));
            under_way.extend(answers.map(|job| (number + late, at + 1, described(job))));
            for (_, asked_at, job) in under_way.extract_if(.., |(due, ..)| *due <= number) {
                ledger.observe(job, second(asked_at));
            }
        }
        // All that is known in the end is so.
        for at in 1..10 {
            let at = EVERY * 100 + at * EVERY;
            poll(&mut ledger, &world, true, at);
            world.iter().for_each(|job| drop(ledger.observe(described(job), second(at + 1))));
        }
        prop_assert_eq!(ledger.awaited(), None);
        prop_assert!(ledger.jobs().all(|job| !job.has_left()));
        for job in &world {
            prop_assert_eq!(ledger.job(&job.id).unwrap().status(), &job.status);
        }
    }
}

fn running(number: usize) -> JobSeen {
    let mut job = submitted(number, 1);
    (2..5).for_each(|at| step(&mut job, 2, at));
    assert_eq!(job.status, JobStatus::Running);
    job
}

#[test]
fn an_end_that_awaits_its_description_runs_no_more_and_is_counted_once() {
    let mut ledger = Ledger::default();
    let mut world = vec![running(0), running(1)];
    poll(&mut ledger, &world, true, 30);
    assert_eq!(ledger.awaited(), Some(Awaited { jobs: 2, since: second(30) }), "they may have made attempts before");
    step(&mut world[0], 2, 40);
    poll(&mut ledger, &world, true, 60);
    assert_eq!(open(&ledger), [(JobStatus::Running, 1)].into());
    assert_eq!(ended(&ledger), [(JobStatus::Succeeded, 1)].into());
    let job = ledger.job(&"job-0".into()).unwrap();
    assert_eq!((job.status(), job.has_left(), job.timeline.current().is_some()), (&JobStatus::Succeeded, true, true));
    assert!(ledger.dispatched().all(|job| job.latest.id == "job-1".into()));
    // A list that is behind shows it at work, even one that is asked for later.
    ledger.observe(running(0), second(70));
    assert_eq!(open(&ledger), [(JobStatus::Running, 1)].into());

    let events = ledger.observe(described(&world[0]), second(80)).events;
    assert_eq!(events.iter().filter(|event| matches!(event.what, crate::jobs::EventKind::Ended { .. })).count(), 1);
    assert_eq!(ended(&ledger), [(JobStatus::Succeeded, 1)].into());
    assert!(!ledger.job(&"job-0".into()).unwrap().has_left());
}

#[test]
fn an_end_that_a_description_contradicts_is_no_end() {
    let mut ledger = Ledger::default();
    let mut world = vec![running(0)];
    poll(&mut ledger, &world, true, 30);
    step(&mut world[0], 2, 40);
    poll(&mut ledger, &world, true, 60);
    ledger.observe(described(&running(0)), second(61));
    assert_eq!((open(&ledger), ended(&ledger)), ([(JobStatus::Running, 1)].into(), BTreeMap::new()));
    // A description that is older than what the lists show changes nothing, and the job is still asked about.
    let mut ledger = Ledger::default();
    poll(&mut ledger, &[running(0)], true, 30);
    poll(&mut ledger, &world, true, 60);
    ledger.observe(described(&running(0)), second(20));
    poll(&mut ledger, &world, true, 90);
    assert_eq!((open(&ledger), ended(&ledger)), (BTreeMap::new(), [(JobStatus::Succeeded, 1)].into()));
    assert!(ledger.awaited().is_some());
}

#[test]
fn a_list_from_before_an_end_is_about_the_past_and_takes_nothing_back() {
    let mut ledger = Ledger::default();
    let mut job = submitted(0, 1);
    ledger.observe(described(&job), second(2));
    for at in [10, 20, 30] {
        step(&mut job, 2, at);
    }
    let at_work = job.clone();
    step(&mut job, 2, 40);
    ledger.observe(job.clone(), second(60));
    assert_eq!((ledger.awaited().map(|awaited| awaited.jobs), open(&ledger)), (Some(1), BTreeMap::new()));
    ledger.observe(at_work, second(35));
    let known = ledger.job(&"job-0".into()).unwrap();
    assert_eq!((known.status(), known.timeline.current().unwrap().phase), (&JobStatus::Succeeded, Phase::Running));
    assert_eq!((open(&ledger), ended(&ledger)), (BTreeMap::new(), [(JobStatus::Succeeded, 1)].into()));
    // This attempt was seen, so that the end is known from any list.
    ledger.observe(job, second(90));
    assert_eq!(ledger.awaited(), None);
    assert!(ledger.job(&"job-0".into()).unwrap().timeline.current().is_none());
}

#[test]
fn a_job_that_complete_lists_no_longer_show_counts_nowhere_until_it_is_seen_or_described() {
    let mut ledger = Ledger::default();
    let world = vec![described(&running(0)), described(&running(1))];
    poll(&mut ledger, &world, true, 30);
    assert_eq!(ledger.awaited(), None);
    ledger.in_flight_listed(&queue(), second(50));
    assert_eq!(open(&ledger), [(JobStatus::Running, 2)].into(), "the poll is not complete, or it failed");
    poll(&mut ledger, &world[1..], true, 60);
    assert_eq!(open(&ledger), [(JobStatus::Running, 1)].into());
    assert_eq!(ledger.awaited(), Some(Awaited { jobs: 1, since: second(60) }));
    let missing = ledger.job(&"job-0".into()).unwrap();
    assert_eq!((missing.status(), missing.has_left()), (&JobStatus::Running, true), "where it was");
    assert_eq!(missing.timeline.current().unwrap().phase, Phase::Running, "nothing is concluded");
    let of = |filter: Filter| ledger.find(Wanted::of(&filter, 10)).jobs.len();
    assert_eq!(of(Filter { state: Some(JobStatus::Running), ..Filter::default() }), 1);
    assert_eq!(of(Filter::default()), 2, "it can still be found");
    poll(&mut ledger, &world[1..], true, 90);
    assert_eq!(ledger.awaited(), Some(Awaited { jobs: 1, since: second(60) }));

    let mut back = Ledger::default();
    poll(&mut back, &world, true, 30);
    poll(&mut back, &world[1..], true, 60);
    poll(&mut back, &[running(0), running(1)], true, 90);
    assert_eq!((open(&back), back.awaited()), ([(JobStatus::Running, 2)].into(), None), "it was a list's fault");

    ledger.observe_gone(&"job-0".into(), second(91));
    assert_eq!((ledger.awaited(), ended(&ledger)), (None, [(JobStatus::Failed, 1)].into()));
}

#[test]
fn a_wait_that_nobody_sees_goes_on_where_it_was_when_the_job_is_back() {
    let mut ledger = Ledger::default();
    let waiting = described(&submitted(0, 1));
    let moves = |ledger: &mut Ledger, world: &[JobSeen], at| -> Vec<bool> {
        let mut moves: Vec<bool> = Vec::new();
        for job in world {
            moves.extend(ledger.observe(job.clone(), second(at)).moves.iter().map(|moved| moved.came));
        }
        poll(ledger, &[], false, at);
        moves.extend(ledger.forget(second(at)).moves.iter().map(|moved| moved.came));
        moves
    };
    assert_eq!(moves(&mut ledger, std::slice::from_ref(&waiting), 30), [true]);
    assert_eq!(moves(&mut ledger, &[], 60), [false], "it is missing");
    assert_eq!(ledger.unverified(&queue()), 1);
    assert_eq!(ledger.job(&"job-0".into()).unwrap().waiting_since(), None);
    let mut dispatched = submitted(0, 1);
    step(&mut dispatched, 2, 70);
    assert_eq!(moves(&mut ledger, &[dispatched], 90), [true, false], "and left the queue from there");
}

#[test]
fn an_end_of_an_unknown_job_is_said_to_be_missing_in_pages_until_it_is_described() {
    let mut ledger = Ledger::default();
    ledger.resume(&[], second(0));
    poll(&mut ledger, &[], true, 30);
    let mut job = submitted(0, 35);
    [40, 42, 44, 50].into_iter().for_each(|at| step(&mut job, 2, at));
    assert_eq!(job.status, JobStatus::Succeeded);
    poll(&mut ledger, &[job.clone()], true, 60);
    let by_state = |state| Filter { state: Some(state), ..Filter::default() };
    let succeeded = by_state(JobStatus::Succeeded);
    assert_eq!((ledger.list(&succeeded, None, 10).jobs.len(), ledger.undescribed_ends(&succeeded)), (0, 1));
    let begins =
        |id: &str, name: &str| Filter { id: Some(id.to_owned()), name: Some(name.to_owned()), ..succeeded.clone() };
    for (filter, count) in [
        (Filter::default(), 1),
        (by_state(JobStatus::Failed), 0),
        (begins("job", "tr"), 1),
        (begins("jib", "tr"), 0),
        (begins("job", "ti"), 0),
        (Filter { queue: Some("other".into()), ..succeeded.clone() }, 0),
        (Filter { share: Some("vision".into()), ..succeeded.clone() }, 1),
        (Filter { share: Some("speech".into()), ..succeeded.clone() }, 0),
        (Filter { unit: Some("ml.p5.48xlarge".into()), ..succeeded.clone() }, 1),
        (Filter { unit: Some("ml.p4d.24xlarge".into()), ..succeeded.clone() }, 0),
        (Filter { owner: Some("ann".to_owned()), ..succeeded.clone() }, 0),
        (Filter { waiting: true, ..Filter::default() }, 0),
    ] {
        assert_eq!(ledger.undescribed_ends(&filter), count, "{filter:?}");
    }
    ledger.observe(described(&job), second(70));
    assert_eq!((ledger.list(&succeeded, None, 10).jobs.len(), ledger.undescribed_ends(&succeeded)), (1, 0));
}
