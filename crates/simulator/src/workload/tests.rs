//! Properties of the synthetic workload, and its effect on a scheduler.

use super::*;
use crate::workload::rhythm::HOUR_MILLIS;
use crate::workload::streams::{NIGHTLY, RESEARCH};
use trainspotter_core::model::JobStatus;
use trainspotter_core::model::ShareName;
use trainspotter_core::scheduler::PlannedOutcome;
use trainspotter_core::scheduler::Scheduler;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

#[test]
fn equal_seeds_give_equal_work_and_a_longer_time_only_adds_to_it() {
    let week = synthetic(7, START, WEEK);
    assert_eq!(week, synthetic(7, START, WEEK));
    assert_ne!(week, synthetic(8, START, WEEK));
    let day = synthetic(7, START, WEEK / 7);
    assert_eq!(day.submissions, week.submissions[..day.submissions.len()]);
    assert!(week.submissions.is_sorted_by_key(|submission| submission.at));
    assert!(week.submissions.iter().all(|submission| submission.at >= START && submission.at < START + WEEK));
}

#[test]
fn a_share_of_the_work_fails_and_a_share_idles_and_all_of_it_has_owners() {
    let jobs = synthetic(7, START, WEEK).submissions;
    let part = |holds: fn(&Submission) -> bool| jobs.iter().filter(|job| holds(job)).count() as f64 / jobs.len() as f64;
    let fails = |job: &Submission| matches!(job.plan.outcome(0), PlannedOutcome::Fails(_));
    assert!((0.04..0.08).contains(&part(fails)), "{}", part(fails));
    let idles = |job: &Submission| job.utilisation < 0.05;
    assert!((0.06..0.10).contains(&part(idles)), "{}", part(idles));
    assert!(jobs.iter().all(|job| job.tags.contains_key("owner")));
}

#[test]
fn a_calendar_is_quiet_at_night_and_at_weekends_and_the_load_stays() {
    let calendar =
        Synthetic { rhythm: Rhythm::Calendar, length: Some(HumanDuration(WEEK * 4)), ..Synthetic::default() };
    let jobs = calendar.workload(7, START).submissions;
    let part = |holds: fn(i64, i64) -> bool| {
        let of = |job: &&Submission| {
            let hour = job.at.millis() / HOUR_MILLIS;
            holds((hour / 24 + 3) % 7, hour % 24)
        };
        jobs.iter().filter(of).count() as f64 / jobs.len() as f64
    };
    assert!(part(|weekday, _| weekday >= 5) < 0.18, "{}", part(|weekday, _| weekday >= 5));
    let (day, night) = (part(|_, hour| (10..18).contains(&hour)), part(|_, hour| hour < 6));
    assert!(day > 0.5 && night < 0.2, "{day} {night}");
    let quick = synthetic(7, START, WEEK * 4).submissions.len() as f64;
    assert!((0.85..1.15).contains(&(jobs.len() as f64 / quick)), "{} against {quick}", jobs.len());
}

#[test]
fn some_failures_pass_when_a_job_may_try_again() {
    let ended = |attempts: u32| {
        let habits = Synthetic { attempts, length: Some(HumanDuration(WEEK)), ..Synthetic::default() };
        let workload = habits.workload(7, START);
        let mut scheduler = Scheduler::new(workload.setup, 7, START);
        for submission in workload.submissions {
            scheduler.submit(submission).unwrap();
        }
        scheduler.advance(START + WEEK * 2);
        let failed = scheduler.jobs().filter(|job| job.status == JobStatus::Failed).count();
        let most = scheduler.jobs().map(|job| job.attempts.len()).max().unwrap();
        (failed, most)
    };
    let ((once, one), (thrice, three)) = (ended(1), ended(3));
    assert_eq!((one, three), (1, 3));
    assert!((once / 3..once * 2 / 3).contains(&thrice), "{once} {thrice}");
}

#[test]
fn gangs_need_the_whole_quota_and_sweeps_share_a_name() {
    let habits = Synthetic { gangs: 0.1, length: Some(HumanDuration(WEEK)), ..Synthetic::default() };
    let jobs = habits.workload(7, START).submissions;
    let vision = jobs.iter().filter(|job| job.share == Some(ShareName::from("vision")));
    assert!(vision.clone().any(|job| job.demand[0].quantity == 10.0));
    assert!(vision.clone().any(|job| job.demand[0].quantity < 3.0));
    let sweep: Vec<_> = jobs.iter().filter(|job| job.name.ends_with("-00")).collect();
    assert!(!sweep.is_empty());
    let stem = sweep[0].name.trim_end_matches("00");
    let (members, owners): (Vec<_>, std::collections::BTreeSet<_>) =
        jobs.iter().filter(|job| job.name.starts_with(stem)).map(|job| (&job.name, &job.tags["owner"])).unzip();
    assert!((3..=7).contains(&members.len()) && owners.len() == 1, "{members:?} {owners:?}");
}

/// A demo needs this for its alerts to fire and to resolve.
#[test]
fn waits_build_up_and_drain_and_capacity_is_lent_and_taken_back() {
    for seed in [1, 7] {
        let workload = synthetic(seed, START, WEEK);
        let mut scheduler = Scheduler::new(workload.setup, seed, START);
        for submission in workload.submissions {
            assert_eq!(scheduler.submit(submission).err(), None);
        }
        let (mut first_long, mut long, mut clear, mut borrowing) = (None, 0, 0, 0);
        for quarter in 0..7 * 24 * 4 {
            let now = START + Duration::from_secs(900 * quarter);
            scheduler.advance(now);
            let waiting = |queue: &str| scheduler.jobs_in(&queue.into(), &JobStatus::Runnable).next();
            let oldest = [RESEARCH, NIGHTLY].into_iter().filter_map(waiting).map(|job| now.since(job.created_at));
            let oldest = oldest.max().unwrap_or_default();
            if oldest > Duration::from_secs(1800) {
                long += 1;
                first_long.get_or_insert(quarter / 4);
            }
            clear += u32::from(oldest < Duration::from_secs(600));
            borrowing += u32::from(scheduler.usage(&RESEARCH.into()).iter().any(|row| row.borrowed > 0));
        }
        let quarters = 7 * 24 * 4;
        assert!(first_long.is_some_and(|hour| hour < 6), "seed {seed}: nothing to alert on for {first_long:?} hours");
        assert!((quarters / 5..quarters * 4 / 5).contains(&long), "seed {seed}: long waits {long} times");
        assert!(clear > quarters / 10, "seed {seed}: drained only {clear} times");
        assert!(borrowing > quarters / 4, "seed {seed}: borrowed only {borrowing} times");
        let preemptions: u32 = scheduler.jobs().map(|job| job.preemptions).sum();
        assert!((7 * 5..7 * 100).contains(&preemptions), "seed {seed}: {preemptions} preemptions");
        let misfit = scheduler
            .jobs()
            .find(|job| job.status_reason.as_ref().is_some_and(|reason| reason.starts_with("MISCONFIGURATION")));
        assert_eq!(misfit, None);
    }
}
