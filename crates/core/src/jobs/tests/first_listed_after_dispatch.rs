//! Jobs that a list first shows after they were dispatched, without the attempts before the last.

use super::*;
use crate::model::Attempt;

fn known(ledger: &Ledger) -> (Option<u32>, Option<f64>) {
    let job = ledger.job(&"job-1".into()).unwrap();
    (job.attempts(), job.first_wait().and_then(|span| span.seconds()))
}

#[test]
fn the_wait_of_a_job_first_listed_when_it_had_ended_is_that_before_its_last_attempt() {
    let mut ledger = Ledger::default();
    ledger.resume(&[], minute(50));
    ledger.observe(answer(60, 30, 32, 40), minute(60));
    assert_eq!(known(&ledger), (Some(1), Some(1_800.0)), "usually it had no other");
    assert!(ledger.is_ended(&"job-1".into()));
}

#[test]
fn the_first_wait_of_a_job_first_listed_when_it_ran_is_unknown_until_it_is_described() {
    let mut ledger = Ledger::default();
    ledger.observe(answer(35, 30, 32, 99), minute(35));
    assert_eq!(known(&ledger), (None, None));
    let first = Attempt { started_at: Some(minute(5)), stopped_at: Some(minute(10)), ..Attempt::default() };
    let details = JobDetails { attempts: vec![first], ..JobDetails::default() };
    ledger.observe(JobSeen { details: Some(Box::new(details)), ..answer(36, 30, 32, 99) }, minute(36));
    assert_eq!(known(&ledger), (Some(2), Some(300.0)));
}

#[test]
fn the_first_wait_of_a_job_that_was_seen_waiting_is_known_without_a_description() {
    let mut ledger = Ledger::default();
    for at in [1, 35, 60] {
        ledger.observe(answer(at, 30, 32, 40), minute(at));
    }
    assert_eq!(known(&ledger), (Some(1), Some(1_800.0)));
}
