//! Properties of saved state: a ledger that resumes from it behaves like one that was never stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::jobs::poll_plan::Urgency;
use crate::jobs::{Cadence, EventKind, LISTS_MAY_LAG, Span};
use crate::model::StoppedAttempt;

const QUEUE: &str = "research";
const JOBS: u8 = 5;
/// Seconds between two steps.
const STEP: i64 = 20;

fn second(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

/// A job's true state in AWS.
#[derive(Clone, Debug)]
struct Truth {
    seen: JobSeen,
    details: JobDetails,
}

impl Truth {
    fn submitted(number: u8, at: Timestamp) -> Self {
        let seen = JobSeen {
            name: format!("train {number}").into(),
            share: (number > 2).then(|| "vision".into()),
            status_reason: (number == 1).then(|| "CAPACITY: \"none\"".into()),
            demand: vec![Capacity::new("ml.p5.48xlarge", f64::from(number) + 1.0)].into(),
            odd_arn: (number == 4).then(|| std::sync::Arc::new("arn:other".to_owned())),
            ..JobSeen::new(format!("job-{number}"), QUEUE, JobStatus::Runnable, at)
        };
        Self { seen, details: JobDetails { priority: Some(1), owner: Some("ada".into()), ..JobDetails::default() } }
    }

    /// Applies the next transition; `other` selects between two.
    fn go_on(&mut self, other: bool, at: Timestamp) {
        let (seen, details) = (&mut self.seen, &mut self.details);
        match seen.status {
            JobStatus::Runnable if other => {
                (seen.status, seen.stopped_at, seen.terminated) = (JobStatus::Failed, Some(at), true)
            }
            JobStatus::Runnable => {
                let attempt = format!("{}-{}", seen.id, details.preemptions);
                (seen.status, seen.scheduled_at) = (JobStatus::Scheduled, Some(at));
                seen.training_job = Some(attempt.as_str().into());
            }
            JobStatus::Scheduled => (seen.status, seen.started_at) = (JobStatus::Running, Some(at)),
            JobStatus::Running if other => {
                let attempt = StoppedAttempt { started_at: seen.started_at, stopped_at: Some(at), status_reason: None };
                details.preempted.push(attempt);
                details.preemptions += 1;
                (seen.status, seen.scheduled_at, seen.started_at) = (JobStatus::Runnable, None, None);
            }
            JobStatus::Running => (seen.status, seen.stopped_at) = (JobStatus::Succeeded, Some(at)),
            JobStatus::Submitted
            | JobStatus::Pending
            | JobStatus::Starting
            | JobStatus::Succeeded
            | JobStatus::Failed
            | JobStatus::Unknown(_) => {}
        }
    }
}

type World = BTreeMap<u8, Truth>;

/// A ledger, its saved state, and its counts.
#[derive(Default)]
struct Run {
    ledger: Ledger,
    jobs: SavedJobs,
    queues: Vec<SavedQueue>,
    /// Time up to which an earlier run has counted, and up to which this one has.
    counted: (Timestamp, Timestamp),
    /// Start of the last complete poll.
    polled_at: Timestamp,
    held_back: Vec<Event>,
    counts: BTreeMap<(JobId, &'static str), u32>,
}

impl Run {
    fn list(&mut self, world: &World, wanted: impl Fn(&JobSeen) -> bool, at: Timestamp) {
        let listed = world.values().map(|job| &job.seen).filter(|seen| wanted(seen));
        for seen in listed {
            self.held_back.extend(self.ledger.observe(seen.clone(), at).events);
        }
    }

    fn describe(&mut self, world: &World, number: u8, at: Timestamp) {
        if let Some(Truth { seen, details }) = world.get(&number) {
            let seen = JobSeen { details: Some(Box::new(details.clone())), ..seen.clone() };
            self.held_back.extend(self.ledger.observe(seen, at).events);
        }
    }

    /// Creation time from which on arrivals are needed; `None` for all.
    fn wanted_since(&self, at: Timestamp) -> Option<Timestamp> {
        let queue = QueueName::from(QUEUE);
        self.ledger.questions([queue.clone()].iter(), CADENCE, at).created_after.get(&queue).copied()
    }

    fn poll(&mut self, world: &World, waiting: bool, after: Option<Timestamp>, at: Timestamp) {
        let queue = QueueName::from(QUEUE);
        if waiting {
            self.list(world, |seen| seen.status.is_waiting(), at);
            self.ledger.waiting_listed(&queue, at);
        }
        self.list(world, |seen| seen.status.is_in_flight(), at);
        self.ledger.in_flight_listed(&queue, at);
        self.list(world, |seen| after.is_none_or(|after| seen.created_at > after), at);
        self.ledger.polled(&queue, at);
        self.polled_at = at;
    }

    /// Counts what is known to have happened, and saves.
    fn save(&mut self) {
        let until = self.polled_at - LISTS_MAY_LAG;
        let unreported = self.ledger.unreported_since().map_or(until, |since| since - Duration::from_millis(1));
        self.counted.1 = self.counted.1.max(until.min(unreported));
        let (due, held_back) =
            std::mem::take(&mut self.held_back).into_iter().partition(|event| event.at <= self.counted.1);
        self.held_back = held_back;
        let due: Vec<Event> = due;
        for event in due.into_iter().filter(|event| event.is_news || event.at > self.counted.0) {
            let kind = match event.what {
                EventKind::Dispatched { first: true, .. } => "first wait",
                EventKind::Dispatched { .. } => "wait",
                EventKind::Cancelled { .. } => "cancelled",
                EventKind::Started { .. } => "started",
                EventKind::Ran { .. } => "ran",
                EventKind::Preempted { .. } => "preempted",
                EventKind::Ended { .. } => "ended",
            };
            *self.counts.entry((event.job.unwrap(), kind)).or_default() += 1;
        }
        self.jobs.add(self.ledger.to_save(self.held_back.iter().filter_map(Event::of_job)));
        self.queues = self.ledger.saved_queues();
    }

    /// Resumes from the saved state.
    fn restart(&mut self) {
        self.counted.0 = self.counted.1;
        // Nothing is counted before the first poll of the new run.
        self.polled_at = Timestamp::default();
        self.held_back.clear();
        self.ledger = Ledger::default();
        self.ledger.resume(&self.queues, self.counted.0);
        let kept: Vec<SavedJob> = self.jobs.kept().collect();
        assert!(kept.iter().all(is_readable), "{kept:?}");
        self.held_back = self.ledger.restore(kept).events;
    }

    /// Status of each open job. For changes since a restart it may wait for a description of what came before.
    fn open(&self) -> BTreeMap<JobId, String> {
        let moments = |span: &Span| (span.phase, span.attempt, span.from.latest, span.to.map(|to| to.latest));
        let shown = |job: &Job| {
            let spans: Vec<_> = job.timeline.spans().iter().map(moments).collect();
            let left = self.ledger.queues[job.queue()].left.contains(&job.latest.id);
            let knows = (job.training_job_known, job.preemptions_reported, left);
            format!("{:?} {:?} {spans:?} {knows:?}", job.latest, job.details)
        };
        self.ledger.open_jobs().map(|job| (job.latest.id.clone(), shown(job))).collect()
    }

    /// Indexes of all jobs, except ended ones.
    fn places(&self) -> String {
        let index: Vec<_> =
            self.ledger.shares().map(|(_, share, share_jobs)| format!("{share:?} {share_jobs:?}")).collect();
        let wanted = [Urgency::Requeued, Urgency::UnknownInFlight, Urgency::UnknownWaiting]
            .map(|urgency| self.ledger.index.wanted(urgency).collect::<Vec<_>>());
        format!("{index:?} {:?} {wanted:?}", self.ledger.with_past)
    }

    /// The jobs to describe, except those that were already to be described.
    fn asked(&self, at: Timestamp) -> BTreeSet<JobId> {
        let mut jobs = self.ledger.questions([QUEUE.into()].iter(), CADENCE, at).jobs;
        jobs.retain(|id| self.ledger.job(id).is_some_and(|job| job.wants_description_since.is_none()));
        jobs.into_iter().collect()
    }
}

const CADENCE: Cadence = Cadence { reconcile_every: Duration::from_secs(900), verify_every: Duration::from_secs(60) };

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// For any history, any lists and descriptions of it, and any restarts: a restored ledger has the same state as
    /// one that was never stopped, requests nothing more for unchanged jobs, and in the end has the same counts.
    #[test]
    fn a_restored_ledger_is_like_one_that_went_on(
        steps in prop::collection::vec((0..10_u8, 0..JOBS, any::<bool>()), 1..120)
    ) {
        let (mut steady, mut restarted) = (Run::default(), Run::default());
        let mut world = World::new();
        let mut now = second(1_000);
        for run in [&mut steady, &mut restarted] {
            run.ledger.resume(&[], now);
            run.poll(&world, true, None, now);
        }
        for (step, number, other) in steps {
            now = now + Duration::from_secs(STEP as u64);
            let after = steady.wanted_since(now).min(restarted.wanted_since(now));
            match step {
                0..4 => match world.get_mut(&number) {
                    // Every attempt is seen: of an unseen one the two ledgers cannot know the same.
                    Some(job) if job.seen.training_job.is_none() || job.seen.status != JobStatus::Runnable && !other => job.go_on(other, now),
                    Some(job) => {
                        let is_seen = |known: &Job| (known.status(), &known.latest.training_job) == (&job.seen.status, &job.seen.training_job);
                        if steady.ledger.job(&job.seen.id).is_some_and(is_seen) {
                            job.go_on(other, now);
                        }
                    }
                    None => drop(world.insert(number, Truth::submitted(number, now))),
                },
                4 => if let Some(job) = world.get_mut(&number) { job.details.priority = Some(7) },
                // A restarted ledger may request older arrivals; then both get them.
                _ => for run in [&mut steady, &mut restarted] {
                    match step {
                        5 | 6 => run.describe(&world, number, now),
                        7 => run.poll(&world, other, after, now),
                        8 => run.ledger.in_flight_listed(&QUEUE.into(), now - LISTS_MAY_LAG),
                        _ => run.save(),
                    }
                },
            }
            if step == 9 && other {
                let before = restarted.places();
                restarted.restart();
                prop_assert_eq!(restarted.places(), before, "all is in its place");
                let reported = restarted.held_back.clone();
                prop_assert_eq!(restarted.ledger.to_save(reported.iter().filter_map(Event::of_job)), SavedJobs::default(), "and nothing has to be written");
                let oldest = restarted.ledger.shares().filter_map(|(_, _, share_jobs)| Some(share_jobs.oldest()?.1.clone()));
                let oldest: BTreeSet<JobId> = oldest.collect();
                let more = &restarted.asked(now) - &steady.asked(now);
                prop_assert!(more.is_subset(&oldest), "{more:?} are described again");
            }
            // A listed end may wait for a description in one of them, or be dropped with it.
            if [&steady, &restarted].iter().all(|run| run.ledger.undescribed_ends.ids().next().is_none()) {
                let (mut ours, mut theirs) = (restarted.open(), steady.open());
                prop_assert!(theirs.keys().all(|id| ours.contains_key(id)));
                ours.retain(|id, _| theirs.contains_key(id));
                theirs.retain(|id, _| ours.contains_key(id));
                prop_assert_eq!(ours, theirs);
            }
        }
        for run in [&mut steady, &mut restarted] {
            run.poll(&world, true, run.wanted_since(now), now + Duration::from_secs(60));
            (0..JOBS).for_each(|number| run.describe(&world, number, now + Duration::from_secs(90)));
            run.poll(&world, true, run.wanted_since(now), now + Duration::from_secs(3_600));
            run.save();
        }
        prop_assert_eq!(restarted.open(), steady.open());
        prop_assert_eq!(restarted.counts, steady.counts);
    }
}

#[test]
fn what_the_release_before_has_saved_of_a_job_takes_effect_when_the_job_is_seen() {
    let body = r#"{"spans":[
        {"phase":"Waiting","attempt":1,"from":{"earliest":"1970-01-01T00:00:10Z","latest":"1970-01-01T00:00:10Z"},
         "to":{"earliest":"1970-01-01T00:00:40Z","latest":"1970-01-01T00:00:40Z"},"told_at":"1970-01-01T00:00:40Z"},
        {"phase":"Scheduled","attempt":1,"from":{"earliest":"1970-01-01T00:00:40Z","latest":"1970-01-01T00:00:40Z"},"to":null}],
        "preemptions":0}"#;
    let mut ledger = Ledger::default();
    ledger.resume(&[], second(60));
    let saved = SavedJob { id: "job-1".into(), body: body.to_owned() };
    assert!(is_readable(&saved));
    ledger.restore(vec![saved]);
    assert!(ledger.is_empty(), "it is not known what the job is");
    let mut job = Truth::submitted(1, second(10));
    job.go_on(false, second(40));
    ledger.observe(job.seen, second(100));
    let job = ledger.job(&"job-1".into()).unwrap();
    assert_eq!(job.timeline.spans().len(), 2);
    let changes = ledger.to_save([]);
    assert!(changes.changes["job-1"].as_ref().unwrap().contains("\"status\":\"SCHEDULED\""), "{changes:?}");
}

#[test]
fn what_cannot_be_a_job_is_not_taken_for_one_and_not_kept() {
    let mut ledger = Ledger::default();
    ledger.observe(Truth::submitted(1, second(10)).seen, second(20));
    let whole = ledger.to_save([]).kept().next().unwrap();
    for (from, to) in [
        ("{", "["),
        ("\"created\":10000", "\"created\":\"10\""),
        ("RUNNABLE", "SUCCEEDED"),
        ("}", ",\"timeline\":{\"spans\":[]}}"),
    ] {
        let body = whole.body.replacen(from, to, 1);
        let broken = SavedJob { body, ..whole.clone() };
        assert_ne!(broken, whole);
        assert!(!is_readable(&broken), "{broken:?}");
        let mut next = Ledger::default();
        next.restore(vec![broken]);
        assert!(next.is_empty());
        assert_eq!(next.to_save([]).changes, [("job-1".into(), None)].into());
    }
}

#[test]
fn where_nothing_happens_nothing_is_written_however_many_wait() {
    const MANY: usize = 10_000;
    let mut ledger = Ledger::default();
    let queue = QueueName::from(QUEUE);
    let details =
        || Some(Box::new(JobDetails { priority: Some(3), owner: Some("ada".into()), ..JobDetails::default() }));
    let job = |number: usize, described: bool| {
        let seen = Truth::submitted(1, second(10)).seen;
        JobSeen { id: format!("job-{number}").into(), details: details().filter(|_| described), ..seen }
    };
    let poll = |ledger: &mut Ledger, at: i64, described: usize| {
        (0..MANY).for_each(|number| drop(ledger.observe(job(number, false), second(at))));
        ledger.waiting_listed(&queue, second(at));
        ledger.in_flight_listed(&queue, second(at));
        ledger.polled(&queue, second(at));
        (0..described).for_each(|number| drop(ledger.observe(job(number, true), second(at + 1))));
        ledger.to_save([])
    };
    let first = poll(&mut ledger, 100, MANY);
    assert_eq!(first.changes.len(), MANY);
    let bytes: usize = first.kept().map(|job| job.body.len()).sum();
    assert!(bytes / MANY < 300, "{} bytes a job", bytes / MANY);
    assert_eq!(poll(&mut ledger, 200, 500), SavedJobs::default(), "listed and described as they were");
    assert!(ledger.saved_queues().iter().map(|queue| queue.body.len()).sum::<usize>() < 500);

    // One that was missing in a list, and is seen again.
    (1..MANY).for_each(|number| drop(ledger.observe(job(number, false), second(300))));
    ledger.waiting_listed(&queue, second(300));
    assert_eq!(ledger.to_save([]).changes.into_keys().collect::<Vec<_>>(), ["job-0".into()]);
    ledger.observe(job(0, false), second(310));
    assert_eq!(ledger.to_save([]).changes.into_keys().collect::<Vec<_>>(), ["job-0".into()]);
    ledger.save_all();
    let all = ledger.to_save([]);
    assert!(all.is_complete && all.changes.len() == MANY);
}
