//! Jobs that a list first shows when they have ended, without the attempts before the last.

use super::*;
use crate::model::{Attempt, Undescribed};

/// A job of two attempts, first listed when it had ended: the list has the times of the second attempt.
fn listed_when_ended() -> (Ledger, JobSeen) {
    let mut ledger = Ledger::default();
    ledger.resume(&[], minute(50));
    let listed = answer(60, 30, 32, 40);
    ledger.observe(listed.clone(), minute(60));
    (ledger, listed)
}

fn asked(ledger: &Ledger) -> Vec<JobId> {
    let cadence = Cadence { reconcile_every: Duration::from_secs(900), verify_every: Duration::from_secs(60) };
    ledger.questions([&QueueName::from("research")].into_iter(), cadence, minute(61)).jobs
}

#[test]
fn the_first_wait_of_a_job_first_listed_when_it_had_ended_is_unknown_until_it_is_described() {
    let (mut ledger, listed) = listed_when_ended();
    let of = |ledger: &Ledger| {
        let job = ledger.job(&"job-1".into()).unwrap();
        (job.attempts(), job.first_wait().and_then(|span| span.seconds()))
    };
    assert_eq!(of(&ledger), (None, None));
    assert_eq!(asked(&ledger), ["job-1".into()]);
    let mut details = JobDetails::default();
    let first = Attempt { started_at: Some(minute(5)), stopped_at: Some(minute(10)), ..Attempt::default() };
    let second = Attempt { started_at: Some(minute(32)), stopped_at: Some(minute(40)), ..Attempt::default() };
    details.attempts = vec![first, second];
    let described = JobSeen { details: Some(Box::new(details)), ..listed.clone() };
    assert_eq!(ledger.observe(described, minute(61)), Changes::default(), "nothing is counted of it");
    assert_eq!(of(&ledger), (Some(2), Some(300.0)));
    assert_eq!(drawn(&ledger), "wa1 0-~5, sc1 ~5-~5, st1 ~5-5, ru1 5-10, wa2 10-30, sc2 30-~32, st2 ~32-32, ru2 32-40");
    assert_eq!(asked(&ledger), []);
    ledger.observe(listed, minute(62));
    assert_eq!(of(&ledger), (Some(2), Some(300.0)), "the list shows no more than before");
    assert_eq!(ledger.ended_counts(&"research".into()).map(|(_, jobs)| jobs).sum::<usize>(), 1);
}

#[test]
fn a_job_that_had_ended_is_asked_for_no_more_when_aws_does_not_describe_it() {
    let (mut ledger, _) = listed_when_ended();
    ledger.observe_undescribed(Undescribed::Job("job-1".into()), minute(60), false, "busy".to_owned());
    assert_eq!(asked(&ledger), ["job-1".into()], "the fault may be the source's own");
    ledger.observe_undescribed(Undescribed::Job("job-1".into()), minute(60), true, "no".to_owned());
    assert_eq!(asked(&ledger), []);
    assert_eq!(ledger.refused_in_words(minute(61)), [None, None]);
    let (mut ledger, _) = listed_when_ended();
    ledger.observe_gone(&"job-1".into(), minute(61));
    assert_eq!(asked(&ledger), []);
    let job = ledger.job(&"job-1".into()).unwrap();
    assert_eq!((job.status(), job.attempts()), (&JobStatus::Succeeded, None));
}

#[test]
fn ended_jobs_are_described_a_few_at_a_time_the_newest_first() {
    let mut ledger = Ledger::default();
    for number in 0..30 {
        let created_at = minute(number);
        let ended = JobSeen { id: format!("job-{number}").as_str().into(), created_at, ..answer(60, 30, 32, 40) };
        ledger.observe(ended, minute(60));
    }
    let newest: Vec<JobId> = (20..30).rev().map(|number| format!("job-{number}").as_str().into()).collect();
    assert_eq!(asked(&ledger), newest);
}
