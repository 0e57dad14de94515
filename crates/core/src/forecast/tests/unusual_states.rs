//! Worlds with something missing, broken or too large: an answer that says so, and no panic.

use super::*;
use crate::forecast::initial_state::MAX_WAITING;

#[test]
fn jobs_beyond_the_maximum_are_left_out_and_reported() {
    let mut known = known(&[1, 2]);
    let waiting: Vec<OpenJob> = (0..MAX_WAITING).map(|n| job(&format!("w{n}"), 1.0, None, &mut known)).collect();
    let all = OpenJob { id: "left out".into(), ..waiting[0].clone() };
    let initial = InitialState {
        left_out: 1_000_000 - MAX_WAITING,
        ..initial_state(setup(50.0, Policy::Fifo), Vec::new(), waiting)
    };
    let starts = run(&initial, 1);
    assert_eq!(starts.by_job.len(), MAX_WAITING);
    assert!(starts.by_job.iter().all(|starts| matches!(starts, JobStarts::Runs { seconds, .. } if seconds.len() == 1)));
    let mut forecaster = Forecaster::default();
    forecaster.take(&initial, &starts);
    assert_eq!(forecaster.shown(&all.id), Outlook::Unknown(Unknown::TooFarBack));
    assert_eq!(forecaster.shown(&"w3".into()), Outlook::Unknown(Unknown::FewTruths(0)));
}

#[test]
fn a_queue_without_history_is_reported_as_such() {
    let mut forecaster = Forecaster::default();
    let mut known = Runtimes::default();
    let initial = InitialState {
        ended: 0,
        ..initial_state(setup(4.0, Policy::Fifo), Vec::new(), vec![job("a", 1.0, None, &mut known)])
    };
    forecaster.take(&initial, &run(&initial, 3));
    assert_eq!(forecaster.shown(&"a".into()), Outlook::Unknown(Unknown::FewEnded(0)));
}

#[test]
fn missing_data_leaves_a_job_without_an_estimate_and_the_others_with_theirs() {
    let mut known = known(&[1, 2, 3]);
    let fine = job("fine", 1.0, None, &mut known);
    let without_demand = OpenJob { id: "size".into(), demand: Vec::new().into(), ..fine.clone() };
    let of_no_queue = OpenJob { id: "queue".into(), queue: "gone".into(), ..fine.clone() };
    let undated = job("undated", 4.0, None, &mut known);
    let waiting = vec![fine, without_demand, of_no_queue];
    let starts = run(&initial_state(setup(4.0, Policy::Fifo), vec![undated], waiting), 3);
    let because = |index: usize| match &starts.by_job[index] {
        JobStarts::Never(because) => Some(*because),
        JobStarts::Runs { .. } => None,
    };
    let expected = [None, Some(NeverBecause::UnknownSize), Some(NeverBecause::NoPlace)];
    assert_eq!([because(0), because(1), because(2)], expected);
    // Nothing is known at all.
    let nothing =
        InitialState { setup: Setup::default(), ..initial_state(setup(0.0, Policy::Fifo), Vec::new(), Vec::new()) };
    assert!(run(&nothing, 3).by_job.is_empty() && run_for_last(&nothing, 3).by_job.is_empty());
}

#[test]
fn rows_that_cannot_be_read_are_left_out_after_a_restart_or_a_take_over() {
    let mut forecaster = Forecaster::default();
    let of = JobTraits { queue: "q".into(), share: None, owner: None, name: "train".into(), instances: 1.0 };
    for index in 0..8 {
        forecaster.attempt_ended(&JobId::new(format!("j{index}")), 1, &of, (NOW, 60.0), true);
    }
    let mut rows = forecaster.rows();
    let broken: Vec<String> = rows.keys().take(3).cloned().collect();
    for (name, body) in broken.into_iter().zip(["", "{\"n\":1}", "not JSON"]) {
        rows.insert(name, body.to_owned());
    }
    rows.insert("kept/x".to_owned(), "[]".to_owned());
    rows.insert("of a later release".to_owned(), "{}".to_owned());
    assert_eq!(Forecaster::restore(rows).ended(), 5);
}

#[test]
fn a_job_that_can_never_start_is_found_without_a_run() {
    let mut known = known(&[1, 2, 3]);
    let mut waiting: Vec<OpenJob> = (0..500).map(|n| job(&format!("w{n}"), 1.0, None, &mut known)).collect();
    let asked = |instances: f64, waiting: &mut Vec<OpenJob>, known: &mut Runtimes| {
        waiting.push(job("asked", instances, None, known));
        let starts = run_for_last(&initial_state(setup(4.0, Policy::Fifo), Vec::new(), waiting.clone()), 2);
        waiting.pop();
        starts.by_job.last().cloned()
    };
    let never = asked(100_000.0, &mut waiting, &mut known);
    assert!(matches!(never, Some(JobStarts::Never(NeverBecause::TooLarge(Some(4))))), "{never:?}");
    let starts = asked(4.0, &mut waiting, &mut known);
    assert!(matches!(&starts, Some(JobStarts::Runs { seconds, .. }) if seconds.len() == 2), "{starts:?}");
    let sentence = NeverBecause::TooLarge(Some(4)).sentence();
    assert!(sentence.contains("at most 4 instances"), "{sentence}");
}
