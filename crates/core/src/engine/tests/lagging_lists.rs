//! Lagging lists, wrong clocks, and job facts that change after a description.

use super::*;
use crate::model::{Capacity, Position, QueueSnapshot, ServiceEnvironment};

fn runnable() -> JobSeen {
    JobSeen { status: JobStatus::Runnable, scheduled_at: None, ..scheduled_at(0) }
}

fn waits(output: &Output) -> Option<f64> {
    value(output, "queue.wait", "prod")
}

#[test]
fn what_a_list_shows_late_is_counted_after_a_restart_too() {
    for lag in [0, 2, 5, 20] {
        let mut first = engine(Saved::default());
        first.observe(vec![topology(), known(), answer(40, vec![runnable()]), polled(second(40))]);
        // Dispatched at 70 s; a list from shortly after does not show it yet.
        first.observe(vec![answer(70 + lag, vec![runnable()]), polled(second(70 + lag))]);
        let output = first.tick(second(75 + lag));
        let mut next = engine(saved(output));
        let scheduled = || vec![described(scheduled_at(70))];
        next.observe(vec![topology(), known(), answer(100 + lag, scheduled()), polled(second(100 + lag))]);
        let output = next.tick(second(105 + lag));
        let mut last = engine(saved(output));
        last.observe(vec![topology(), known(), answer(130 + lag, scheduled()), polled(second(130 + lag))]);
        let output = last.tick(second(135 + lag));
        assert_eq!(waits(&output), Some(1.0), "lists are {lag} s late");
        assert_eq!(value(&output, "queue.wait.requeue", "prod"), Some(0.0));
    }
}

#[test]
fn a_list_that_is_behind_a_description_puts_no_job_back_into_the_queue() {
    let mut engine = engine(Saved::default());
    engine.observe(vec![topology(), known(), answer(40, vec![runnable()]), dispatched()]);
    engine.observe(vec![answer(81, vec![runnable()]), answered(80)]);
    let output = engine.tick(second(120));
    assert_eq!(engine.job(&"job-1".into()).unwrap().status(), &JobStatus::Scheduled);
    // Nor after a restart.
    let mut next = super::engine(saved(output));
    next.observe(vec![topology(), known(), answer(85, vec![runnable()]), answer(115, vec![scheduled_at(70)])]);
    next.observe(vec![answered(120)]);
    let output = next.tick(second(150));
    assert_eq!((waits(&output), value(&output, "queue.wait.requeue", "prod")), (Some(1.0), Some(0.0)));
    assert_eq!(next.job(&"job-1".into()).unwrap().timeline.spans().last().unwrap().attempt, 1);
    // Later it is requeued indeed.
    next.observe(vec![answer(145, vec![runnable()])]);
    assert_eq!(next.job(&"job-1".into()).unwrap().timeline.spans().last().unwrap().attempt, 2);
}

#[test]
fn a_job_that_moved_while_its_list_was_under_way_was_not_requeued() {
    let mut engine = engine(Saved::default());
    engine.observe(vec![topology(), known(), answer(40, vec![runnable()])]);
    // The list was requested at 70 s, answered at 72 s, and does not contain the dispatch at 71 s.
    let without_time = JobSeen { scheduled_at: None, ..scheduled_at(70) };
    engine.observe(vec![Observation::Jobs { at: second(70), answered_at: second(72), jobs: vec![without_time] }]);
    engine.observe(vec![answer(73, vec![described(scheduled_at(71))])]);
    assert_eq!(engine.job(&"job-1".into()).unwrap().timeline.spans().last().unwrap().attempt, 1);
}

#[test]
fn a_watermark_of_the_future_is_not_believed() {
    let day = Duration::from_secs(86_400);
    let mut wrong = Engine::new(
        Vec::new(),
        cadence(Duration::from_secs(900), Duration::from_secs(30)),
        Saved::default(),
        second(0),
    );
    wrong.observe(vec![topology(), known(), dispatched(), polled(second(90) + day)]);
    let output = wrong.tick(second(95) + day);
    assert_eq!((waits(&output), output.counted_until > second(80_000)), (Some(1.0), true));

    let mut engine = super::engine(Saved { open_since: Some(output.open_since), ..saved(output) });
    let believed = engine.correct_future(second(120));
    assert!(believed.is_some_and(|believed| believed > second(80_000)), "{believed:?}");
    assert_eq!(engine.correct_future(second(121)), None);
    assert!(engine.questions(second(121)).since.unwrap() <= second(120));
    let ended = JobSeen {
        status: JobStatus::Succeeded,
        started_at: Some(second(80)),
        stopped_at: Some(second(110)),
        ..scheduled_at(70)
    };
    engine.observe(vec![topology(), known(), answer(125, vec![described(ended)]), answered(125)]);
    let output = engine.tick(second(160));
    assert_eq!((waits(&output), value(&output, "job.ended", "succeeded")), (Some(1.0), Some(1.0)));
    assert!(output.counted_until <= second(125));
}

#[test]
fn a_start_in_the_future_is_now() {
    let every = Duration::from_secs(30);
    let mut engine = Engine::new(Vec::new(), cadence(every * 30, every), Saved::default(), second(3_600));
    assert_eq!(engine.correct_future(second(20)), Some(just_before(3_600)));
    engine.observe(vec![topology(), known(), dispatched(), answered(90)]);
    assert_eq!(waits(&engine.tick(second(120))), Some(1.0));
}

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

#[test]
fn time_between_rare_polls_is_charged_and_a_gap_beyond_them_or_a_restart_is_not() {
    let every = Duration::from_secs(1_800);
    let run = |state: Saved| {
        let mut engine = Engine::new(Vec::new(), cadence(every, every), state, second(0));
        let limits = vec![Capacity::new("ml.p5.48xlarge", 1.0)];
        let environment = ServiceEnvironment { name: "gpus".to_owned(), enabled: true, limits };
        let queues = vec![Queue::new("prod", Policy::Fifo, Some(environment))];
        engine.observe(vec![Observation::Topology { at: second(0), queues }, known(), answered(0)]);
        engine
    };
    let unallocated = |output: &Output| value(output, "gpu.time", "unallocated");
    let charged = |seconds: i64| {
        let mut engine = run(Saved::default());
        engine.tick(second(10));
        unallocated(&engine.tick(second(10 + seconds)))
    };
    assert_eq!(charged(60), Some(8.0 * 60.0));
    assert_eq!(charged(1_800), Some(8.0 * 1_800.0), "an interval");
    assert_eq!(charged(3_600), Some(8.0 * 3_600.0), "one poll was late");
    assert_eq!(charged(3_601), Some(0.0), "nobody looked");
    let restarted = |seconds: i64| {
        let state = Saved { ticked_at: Some(second(10)), ..saved(run(Saved::default()).tick(second(10))) };
        unallocated(&run(state).tick(second(10 + seconds)))
    };
    assert_eq!(restarted(600), Some(8.0 * 600.0));
    assert_eq!(restarted(3_000), Some(0.0), "it was down");
}
