//! Properties of the ledger over random histories, and drawn examples.

mod first_listed_after_dispatch;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::{Capacity, JobDetails, JobStatus, StoppedAttempt};

fn minute(minutes: i64) -> Timestamp {
    Timestamp::from_millis(minutes * 60_000)
}

fn seen(status: JobStatus) -> JobSeen {
    JobSeen {
        name: "train".into(),
        share: Some("vision".into()),
        demand: vec![Capacity::new("ml.p5.48xlarge", 2.0)].into(),
        ..JobSeen::new("job-1", "research", status, minute(0))
    }
}

/// A response about a job with the times `scheduled`, `started` and `stopped` (minutes), polled at `at`.
fn answer(at: i64, scheduled: i64, started: i64, stopped: i64) -> JobSeen {
    let known = |minutes: i64| (at >= minutes).then(|| minute(minutes));
    let status = match at {
        at if at >= stopped => JobStatus::Succeeded,
        at if at >= started => JobStatus::Running,
        at if at >= scheduled => JobStatus::Scheduled,
        _ => JobStatus::Runnable,
    };
    JobSeen { scheduled_at: known(scheduled), started_at: known(started), stopped_at: known(stopped), ..seen(status) }
}

fn described(seen: JobSeen) -> JobSeen {
    JobSeen { details: Some(Box::default()), ..seen }
}

/// Draws a timeline: initial of the phase, attempt, from and to in minutes, `~` before an inexact time.
fn drawn(ledger: &Ledger) -> String {
    let minutes = |moment: Moment| {
        let about = if moment.is_exact() { "" } else { "~" };
        format!("{about}{}", moment.latest.millis() / 60_000)
    };
    let span = |span: &Span| {
        let initial = span.phase.as_str().chars().take(2).collect::<String>();
        format!("{initial}{} {}-{}", span.attempt, minutes(span.from), span.to.map_or(String::new(), minutes))
    };
    let job = ledger.job(&"job-1".into()).unwrap();
    job.timeline.spans().iter().map(span).collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn check(answers: &[(i64, JobSeen)], expected: &str) {
    let mut ledger = Ledger::default();
    for (at, seen) in answers {
        ledger.observe(seen.clone(), minute(*at));
    }
    assert_eq!(drawn(&ledger), expected);
}

#[test]
fn api_times_win_over_the_time_of_the_poll() {
    let life = |at| (at, answer(at, 5, 12, 40));
    check(&[life(1), life(9), life(20), life(50)], "wa1 0-5, sc1 5-~12, st1 ~12-12, ru1 12-40");
}

#[test]
fn a_job_first_seen_after_its_end_has_its_whole_life() {
    check(&[(60, answer(60, 5, 12, 40))], "wa1 0-5, sc1 5-~12, st1 ~12-12, ru1 12-40");
}

#[test]
fn jobs_that_have_not_run_share_equal_descriptions() {
    let mut ledger = Ledger::default();
    let mut describe = |id: &str, details: JobDetails| {
        let seen =
            JobSeen { details: Some(Box::new(details)), ..JobSeen::new(id, "prod", JobStatus::Runnable, minute(0)) };
        ledger.observe(seen, minute(1));
        ledger.job(&id.into()).unwrap().details.clone().unwrap()
    };
    let of =
        |priority: i32| JobDetails { priority: Some(priority), owner: Some("ada".into()), ..JobDetails::default() };
    let (first, second, other) = (describe("a", of(1)), describe("b", of(1)), describe("c", of(2)));
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!((first.priority, other.priority), (Some(1), Some(2)));
    // A new description of one leaves the others as they are.
    assert_eq!(describe("b", of(3)).priority, Some(3));
    assert_eq!(describe("a", of(1)), first);
    // What nobody has any more is dropped at some time.
    for priority in 0..10_000 {
        describe("c", of(priority));
    }
    assert!(ledger.index.kept_details() < 2_500, "{}", ledger.index.kept_details());
}

#[test]
fn a_job_cancelled_while_waiting_was_never_dispatched() {
    let cancelled = JobSeen { stopped_at: Some(minute(30)), ..seen(JobStatus::Failed) };
    check(&[(10, seen(JobStatus::Runnable)), (35, cancelled)], "wa1 0-30");
}

#[test]
fn a_preempted_job_waits_again_from_when_its_attempt_stopped() {
    let back = seen(JobStatus::Runnable);
    let stopped = StoppedAttempt { started_at: Some(minute(12)), stopped_at: Some(minute(23)), status_reason: None };
    let details = JobDetails { preemptions: 1, preempted: vec![stopped], ..JobDetails::default() };
    let described = JobSeen { details: Some(Box::new(details)), ..back.clone() };
    check(&[(20, answer(20, 5, 12, 99)), (25, back.clone())], "wa1 0-5, sc1 5-~12, st1 ~12-12, ru1 12-~25, wa2 ~25-");
    check(
        &[(20, answer(20, 5, 12, 99)), (25, back), (26, described)],
        "wa1 0-5, sc1 5-~12, st1 ~12-12, ru1 12-23, wa2 23-",
    );
}

#[test]
fn attempts_that_nobody_saw_are_known_from_descriptions() {
    let over = |started: Option<i64>, stopped: i64| StoppedAttempt {
        started_at: started.map(minute),
        stopped_at: Some(minute(stopped)),
        status_reason: None,
    };
    let with = |preempted: Vec<StoppedAttempt>, seen: JobSeen| {
        let preemptions = u32::try_from(preempted.len()).unwrap_or_default();
        JobSeen { details: Some(Box::new(JobDetails { preemptions, preempted, ..JobDetails::default() })), ..seen }
    };
    let waiting = || (3, with(Vec::new(), seen(JobStatus::Runnable)));
    check(
        &[waiting(), (60, with(vec![over(Some(12), 23), over(None, 31)], seen(JobStatus::Runnable)))],
        "wa1 0-~12, sc1 ~12-~12, st1 ~12-12, ru1 12-23, wa2 23-~31, sc2 ~31-31, wa3 31-",
    );
    check(
        &[waiting(), (60, with(vec![over(Some(12), 23)], answer(60, 40, 45, 99)))],
        "wa1 0-~12, sc1 ~12-~12, st1 ~12-12, ru1 12-23, wa2 23-40, sc2 40-~45, st2 ~45-45, ru2 45-",
    );
    // It was seen dispatched, but not running.
    let scheduled = (6, with(Vec::new(), answer(6, 5, 12, 99)));
    check(
        &[scheduled, (60, with(vec![over(Some(12), 23)], seen(JobStatus::Runnable)))],
        "wa1 0-5, sc1 5-~12, st1 ~12-12, ru1 12-23, wa2 23-",
    );
    // Repeated, and with known facts, it changes nothing.
    let known = (20, with(Vec::new(), answer(20, 5, 12, 99)));
    let back = || with(vec![over(Some(12), 23)], seen(JobStatus::Runnable));
    check(&[known, (25, back()), (30, back())], "wa1 0-5, sc1 5-~12, st1 ~12-12, ru1 12-23, wa2 23-");
}

#[test]
fn an_end_is_described_where_attempts_may_have_come_before_it_that_nobody_saw() {
    let cadence = Cadence { reconcile_every: Duration::from_secs(900), verify_every: Duration::from_secs(60) };
    let wanted = |ledger: &Ledger, at| ledger.questions(std::iter::empty(), cadence, minute(at)).jobs.len();
    let ended = || JobSeen { training_job: Some("train-2".into()), ..answer(60, 30, 35, 50) };
    let attempt = StoppedAttempt { started_at: Some(minute(12)), stopped_at: Some(minute(23)), status_reason: None };
    let details = || JobDetails { preemptions: 1, preempted: vec![attempt.clone()], ..JobDetails::default() };

    let mut ledger = Ledger::default();
    ledger.resume(&[], minute(2));
    ledger.observe(ended(), minute(60));
    assert_eq!((ledger.len(), wanted(&ledger, 60), ledger.unreported_since()), (0, 1, Some(minute(0))));
    ledger.observe(JobSeen { details: Some(Box::new(details())), ..ended() }, minute(61));
    let life = "wa1 0-~12, sc1 ~12-~12, st1 ~12-12, ru1 12-23, wa2 23-30, sc2 30-~35, st2 ~35-35, ru2 35-50";
    assert_eq!((drawn(&ledger).as_str(), wanted(&ledger, 61), ledger.unreported_since()), (life, 0, None));

    let mut seen_before_it_was_described = Ledger::default();
    seen_before_it_was_described
        .observe(JobSeen { training_job: ended().training_job, ..answer(40, 30, 35, 50) }, minute(40));
    seen_before_it_was_described.observe(ended(), minute(60));
    seen_before_it_was_described.observe(JobSeen { details: Some(Box::new(details())), ..ended() }, minute(61));
    assert_eq!(drawn(&seen_before_it_was_described), life);

    let mut late = Ledger::default();
    late.resume(&[], minute(2));
    late.observe(ended(), minute(60));
    late.forget(minute(75));
    assert_eq!(late.len(), 0);
    late.forget(minute(76));
    assert_eq!(drawn(&late), "wa1 0-30, sc1 30-~35, st1 ~35-35, ru1 35-50", "as listed");

    let mut old = Ledger::default();
    old.resume(&[], minute(50));
    old.observe(ended(), minute(60));
    assert_eq!((old.len(), wanted(&old, 60)), (1, 0), "it was counted before");
}

#[test]
fn a_visit_to_the_queue_between_two_polls_is_seen_by_the_new_dispatch() {
    check(
        &[(20, answer(20, 5, 12, 99)), (50, answer(50, 44, 47, 99))],
        "wa1 0-5, sc1 5-~12, st1 ~12-12, ru1 12-~44, wa2 ~44-44, sc2 44-~47, st2 ~47-47, ru2 47-",
    );
}

#[test]
fn stale_times_after_a_requeue_do_not_make_a_dispatch() {
    // The API may keep scheduledAt and startedAt of the earlier attempt while the job waits again.
    let kept = JobSeen { status: JobStatus::Runnable, ..answer(20, 5, 12, 99) };
    check(
        &[(20, answer(20, 5, 12, 99)), (25, kept.clone()), (30, kept)],
        "wa1 0-5, sc1 5-~12, st1 ~12-12, ru1 12-~25, wa2 ~25-",
    );
}

#[test]
fn an_end_is_told_late_where_no_description_comes_and_preemptions_of_long_ago_are_not_news() {
    let kept = JobSeen { status: JobStatus::Runnable, ..answer(20, 5, 12, 99) };
    let mut ledger = Ledger::default();
    let mut events = |seen, at| ledger.observe(seen, minute(at)).events;
    assert_eq!(events(answer(20, 5, 12, 99), 20), [], "it may have made attempts before this one");
    assert_eq!(events(answer(24, 5, 12, 99), 36).len(), 2, "as far as lists show");
    assert_eq!(events(kept.clone(), 39), [], "a description is awaited");
    assert_eq!(events(kept.clone(), 55).len(), 1, "it ran");
    let stopped = |at| StoppedAttempt { started_at: None, stopped_at: Some(minute(at)), status_reason: None };
    let details = JobDetails { preemptions: 4, preempted: vec![stopped(14), stopped(16)], ..JobDetails::default() };
    let mut preempted = |details, at| -> Vec<Timestamp> {
        let events = events(JobSeen { details: Some(Box::new(details)), ..kept.clone() }, at).into_iter();
        events.filter(|event| matches!(event.what, EventKind::Preempted { .. })).map(|event| event.at).collect()
    };
    assert_eq!(preempted(details.clone(), 60), [14, 14, 14, 16].map(minute));
    let details = JobDetails { preemptions: 5, preempted: Vec::new(), ..details };
    assert_eq!(preempted(details, 70), [minute(70)], "this one is");
}

#[test]
fn an_answer_that_is_older_than_the_last_one_changes_nothing() {
    check(&[(20, answer(20, 5, 12, 99)), (10, answer(3, 5, 12, 99))], "wa1 0-5, sc1 5-~12, st1 ~12-12, ru1 12-");
}

#[test]
fn who_waits_longest_is_told_by_the_present_wait_and_not_by_age() {
    let mut ledger = Ledger::default();
    let named = |id: &str, seen: JobSeen| JobSeen { id: id.into(), ..described(seen) };
    // The old job ran from minute 12 on and was requeued at minute 50; the younger one has waited since minute 20.
    ledger.observe(named("old", answer(20, 5, 12, 99)), minute(20));
    ledger.observe(named("young", JobSeen { created_at: minute(20), ..seen(JobStatus::Runnable) }), minute(21));
    ledger.observe(named("old", seen(JobStatus::Runnable)), minute(50));
    let ids = |filter: &Filter, limit| -> Vec<String> {
        ledger.waiting_longest(filter, limit).iter().map(|job| job.latest.id.to_string()).collect()
    };
    assert_eq!(ids(&Filter::default(), 10), ["young", "old"]);
    assert_eq!(ids(&Filter::default(), 1), ["young"]);
    assert_eq!(ids(&Filter { id: Some("ol".to_owned()), ..Filter::default() }, 1), ["old"]);
    assert!(ids(&Filter { queue: Some("another".into()), ..Filter::default() }, 10).is_empty());
}

#[test]
fn a_status_of_tomorrow_moves_nothing_and_is_asked_about_again() {
    let mut ledger = Ledger::default();
    ledger.observe(JobSeen { details: Some(Box::default()), ..seen(JobStatus::parse("HIBERNATING")) }, minute(5));
    assert_eq!(drawn(&ledger), "wa1 0-");
    let cadence = Cadence { reconcile_every: Duration::from_secs(900), verify_every: Duration::from_secs(60) };
    let questions = |at| ledger.questions(std::iter::empty(), cadence, minute(at)).jobs.len();
    assert_eq!((questions(5), questions(6)), (0, 1));
}

#[test]
fn a_job_that_left_the_lists_is_asked_about_before_anything_is_concluded() {
    let mut ledger = Ledger::default();
    let running = JobSeen { details: Some(Box::default()), ..answer(20, 5, 12, 99) };
    ledger.observe(running, minute(20));
    let cadence = Cadence { reconcile_every: Duration::from_secs(900), verify_every: Duration::from_secs(60) };
    let asked = |ledger: &Ledger| ledger.questions(std::iter::empty(), cadence, minute(22)).jobs;
    ledger.in_flight_listed(&"research".into(), minute(20));
    assert_eq!(asked(&ledger), [], "it was on a page of that listing");
    ledger.in_flight_listed(&"research".into(), minute(21));
    assert_eq!(asked(&ledger), ["job-1".into()]);
    assert_eq!(drawn(&ledger), "wa1 0-5, sc1 5-~12, st1 ~12-12, ru1 12-");
    ledger.observe_gone(&"job-1".into(), minute(22));
    assert_eq!(ledger.open_jobs().count(), 0);
}

#[test]
fn many_young_jobs_that_left_are_listed_again_and_few_or_old_ones_described() {
    let cadence = Cadence { reconcile_every: Duration::from_secs(900), verify_every: Duration::from_secs(60) };
    let questions = |jobs: usize, created: i64, now: i64| {
        let mut ledger = Ledger::default();
        for number in 0..jobs {
            let id = format!("job-{number}");
            let running =
                JobSeen { created_at: minute(created), started_at: Some(minute(12)), ..seen(JobStatus::Running) };
            let running = JobSeen { details: Some(Box::default()), id: id.as_str().into(), ..running };
            ledger.observe(running, minute(20));
        }
        ledger.in_flight_listed(&"research".into(), minute(21));
        let queue = "research".into();
        let questions = ledger.questions(std::iter::once(&queue), cadence, minute(now));
        (questions.jobs.len(), questions.created_after[&queue])
    };
    assert_eq!(questions(19, 10, 21).0, 19, "a few are described");
    assert_eq!(questions(300, 10, 21), (0, minute(10) - Duration::from_secs(60)), "three pages cover all of them");
    assert_eq!(questions(50, 10, 60).0, 50, "a job that lists did not cover for long is described");
}

/// A history: minutes of dispatch, start and end, and the times of polls.
fn life() -> impl Strategy<Value = (i64, i64, i64, Vec<i64>)> {
    (0..50_i64, 0..50_i64, 0..100_i64, prop::collection::vec(0..300_i64, 1..12)).prop_map(
        |(wait, startup, run, mut polls)| {
            polls.sort_unstable();
            (wait, wait + startup, wait + startup + run, polls)
        },
    )
}

proptest! {
    /// Repeating any response changes neither the history nor the counts.
    #[test]
    fn observing_twice_changes_nothing((scheduled, started, stopped, polls) in life()) {
        let mut once = Ledger::default();
        let mut twice = Ledger::default();
        for at in polls {
            let changes = once.observe(answer(at, scheduled, started, stopped), minute(at));
            prop_assert_eq!(changes, twice.observe(answer(at, scheduled, started, stopped), minute(at)));
            let again = twice.observe(answer(at, scheduled, started, stopped), minute(at));
            prop_assert_eq!(again, Changes::default());
        }
        prop_assert_eq!(drawn(&once), drawn(&twice));
    }

    /// Spans partition the job's life: they are contiguous, in time order, and only the last one is open.
    #[test]
    fn spans_partition_the_life(statuses in prop::collection::vec((0..6_usize, 0..200_i64, any::<bool>()), 1..20)) {
        let mut ledger = Ledger::default();
        for (at, (status, scheduled, stamped)) in (1_i64..).zip(statuses) {
            let stamp = stamped.then(|| minute(scheduled));
            let status = JobStatus::KNOWN[status + 2].clone();
            ledger.observe(JobSeen { scheduled_at: stamp, started_at: stamp, ..seen(status) }, minute(at * 10));
        }
        let job = ledger.job(&"job-1".into()).unwrap();
        for pair in job.timeline.spans().windows(2) {
            prop_assert_eq!(pair[0].to, Some(pair[1].from));
            prop_assert!(pair[0].from.latest <= pair[1].from.latest);
        }
        let open = job.timeline.spans().iter().filter(|span| span.to.is_none()).count();
        prop_assert_eq!(open, usize::from(!job.status().is_ended()));
    }

    /// Late responses in any order give the same knowledge of the past: the same status, and the same times that AWS
    /// gives.
    #[test]
    fn the_order_of_answers_does_not_matter(
        ((scheduled, started, stopped, polls), shuffled) in life().prop_flat_map(|life| {
            let polls = Just(life.3.clone()).prop_shuffle();
            (Just(life), polls)
        })
    ) {
        let observed = |polls: &[i64]| {
            let mut ledger = Ledger::default();
            for at in polls {
                ledger.observe(answer(*at, scheduled, started, stopped), minute(*at));
            }
            ledger
        };
        let exact = |ledger: &Ledger| -> Vec<(Phase, Timestamp)> {
            let spans = ledger.job(&"job-1".into()).unwrap().timeline.spans();
            spans.iter().filter(|span| span.from.is_exact()).map(|span| (span.phase, span.from.latest)).collect()
        };
        let (in_order, in_any) = (observed(&polls), observed(&shuffled));
        let status = |ledger: &Ledger| ledger.job(&"job-1".into()).unwrap().status().clone();
        prop_assert_eq!(status(&in_order), status(&in_any));
        // A skipped response may be the only one that showed a phase without a time from AWS.
        let stamped = |(phase, _): &(Phase, Timestamp)| *phase != Phase::Starting;
        let of = |ledger: &Ledger| exact(ledger).into_iter().filter(stamped).collect::<Vec<_>>();
        prop_assert_eq!(of(&in_order), of(&in_any));
    }

    /// Knowledge is never revised: closed spans stay, an end from AWS stays exact, and an ended job stays ended.
    #[test]
    fn knowledge_only_grows((scheduled, started, stopped, polls) in life(), after in prop::collection::vec(0..300_i64, 0..5)) {
        let mut ledger = Ledger::default();
        let mut before: Vec<Span> = Vec::new();
        let mut ended = false;
        for at in polls.into_iter().chain(after) {
            ledger.observe(answer(at, scheduled, started, stopped), minute(at));
            let job = ledger.job(&"job-1".into()).unwrap();
            let spans = job.timeline.spans();
            prop_assert!(spans.len() >= before.len());
            for (then, now) in before.iter().zip(&*spans) {
                prop_assert_eq!((then.phase, then.attempt, then.from), (now.phase, now.attempt, now.from));
                prop_assert!(then.to.is_none() || then.to == now.to);
            }
            prop_assert!(!ended || job.status().is_ended());
            ended = job.status().is_ended();
            before = spans.to_vec();
        }
    }

    /// For any polls, the first wait is counted once with the API's duration, as soon as a poll has seen it.
    #[test]
    fn the_first_wait_is_exact_and_counted_once((scheduled, started, stopped, polls) in life()) {
        let mut ledger = Ledger::default();
        let mut waits = Vec::new();
        for at in &polls {
            let changes = ledger.observe(described(answer(*at, scheduled, started, stopped)), minute(*at));
            for event in changes.events {
                if let EventKind::Dispatched { seconds, first: true } = event.what {
                    waits.push(seconds);
                }
            }
        }
        let expected = if polls.iter().any(|at| *at >= scheduled) { vec![scheduled as f64 * 60.0] } else { vec![] };
        prop_assert_eq!(waits, expected);
    }
}

#[test]
fn what_was_waited_belongs_to_a_wait_that_is_long_enough() {
    let waited = |amounts: &[f64]| {
        let mut ledger = Ledger::default();
        let stopped = StoppedAttempt { started_at: None, stopped_at: Some(minute(70)), status_reason: None };
        let described = |preemptions: u32| {
            let preempted = (0..preemptions).map(|_| stopped.clone()).collect();
            Some(Box::new(JobDetails { preemptions, preempted, ..JobDetails::default() }))
        };
        let at = |status, scheduled: Option<i64>, preemptions| JobSeen {
            scheduled_at: scheduled.map(minute),
            details: described(preemptions),
            ..seen(status)
        };
        ledger.observe(at(JobStatus::Runnable, None, 0), minute(1));
        ledger.observe(at(JobStatus::Scheduled, Some(60), 0), minute(61));
        ledger.observe(at(JobStatus::Runnable, Some(60), 1), minute(71));
        ledger.observe(at(JobStatus::Scheduled, Some(73), 1), minute(74));
        for amount in amounts {
            ledger.add_waited(vec![("job-1".into(), vec![("behind".to_owned(), *amount)])]);
        }
        let job = ledger.job(&"job-1".into()).unwrap();
        [1, 2].map(|attempt| job.waited_before(attempt).values().sum::<f64>())
    };
    assert_eq!(waited(&[3_500.0]), [3_500.0, 0.0], "the second wait ended before the next tick");
    assert_eq!(waited(&[3_500.0, 150.0]), [3_500.0, 150.0]);
    // As saved by an older build: all waits in one sum.
    assert_eq!(waited(&[9_000.0]), [0.0, 0.0], "longer than its waits: nobody knows which");
}
