//! Lists of jobs that lag behind: dispatches that a list does not show yet.

use super::*;

pub(super) fn runnable() -> JobSeen {
    JobSeen { status: JobStatus::Runnable, scheduled_at: None, ..scheduled_at(0) }
}

pub(super) fn waits(output: &Output) -> Option<f64> {
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
