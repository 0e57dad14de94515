//! Which jobs are described again, and that what changed counts.

use super::*;
use crate::engine::tests::lagging_lists::runnable;
use crate::model::{Position, QueueSnapshot};

fn waiting(number: i64, priority: i32) -> JobSeen {
    let details = JobDetails { priority: Some(priority), ..JobDetails::default() };
    let id = format!("job-{number}").as_str().into();
    JobSeen { id, created_at: second(number), details: Some(Box::new(details)), ..runnable() }
}

#[test]
fn jobs_that_go_next_are_described_again_and_their_new_priority_counts() {
    let mut engine = engine(Saved::default()).banded(PriorityBands::new([("batch", 0), ("urgent", 100)]));
    let jobs = (1..=200).map(|number| waiting(number, 5)).collect();
    engine.observe(vec![topology(), known(), answer(300, jobs), answered(300)]);
    let front =
        ["job-150", "job-1"].map(|id| Position { job_arn: format!("arn:aws:batch:r:1:service-job/{id}"), since: None });
    let snapshot =
        QueueSnapshot { queue: Some("prod".into()), at: second(301), front: front.into(), ..QueueSnapshot::default() };
    engine.observe(vec![Observation::Snapshot(snapshot)]);
    assert_eq!(engine.questions(second(330)).jobs, []);
    let again = ["job-1", "job-150", "job-2", "job-3"].map(JobId::from);
    let mut asked = engine.questions(second(360)).jobs;
    asked.sort();
    assert_eq!(asked, again, "what AWS has in front, and the first of the share");

    engine.observe(vec![answer(361, vec![waiting(150, 500)])]);
    assert_eq!(engine.job(&"job-150".into()).unwrap().priority(), Some(500));
    let first = engine.ledger().share_jobs(&"prod".into(), None).unwrap().first().unwrap();
    assert_eq!(first.id, "job-150".into());
    let output = engine.tick(second(370));
    assert_eq!(value(&output, "priority.wait.oldest", "urgent"), Some(220.0));
    assert!(!engine.questions(second(390)).jobs.contains(&"job-150".into()), "it was described lately");
}

#[test]
fn jobs_in_flight_are_described_again_now_and_then() {
    let mut engine = engine(Saved::default());
    let running = |at| answer(at, vec![scheduled_at(70)]);
    engine.observe(vec![topology(), known(), dispatched(), running(900), answered(900)]);
    assert_eq!(engine.questions(second(900)).jobs, []);
    engine.observe(vec![running(1_000)]);
    assert_eq!(engine.questions(second(1_000)).jobs, ["job-1".into()]);
}
