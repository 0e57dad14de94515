//! Rules about single jobs: one alert for each job.

use super::*;
use crate::metrics::single_jobs;

#[test]
fn a_rule_about_single_jobs_has_an_alert_for_each_and_ends_with_it() {
    let rules = rules_of(
        "rules: [{ alert: Stuck, metric: job.scheduled.age, by: [queue, name, job], above: 30m,
           annotations: { summary: '{{ name }} on {{ queue }} {{ value }}' } }]",
    );
    let mut active_alerts = ActiveAlerts::default();
    let job = |id: &str, minutes: f64| {
        let pairs = [("queue", "prod"), ("share", "a"), ("name", "train"), ("job", id)];
        gauge(&single_jobs::JOB_SCHEDULED_AGE, &pairs, minutes * 60.0)
    };
    let mut step = |at: usize, job_samples: Vec<Sample>| {
        let frame = frame_of(job_samples, minute(at));
        let reported = active_alerts.step(&rules, &frame, minute(at));
        reported.iter().map(|reported| (reported.alert.by["job"].clone(), reported.kind)).collect::<Vec<_>>()
    };
    assert_eq!(step(0, vec![job("1", 10.0), job("2", 40.0)]), [("2".to_owned(), TransitionKind::Fired)]);
    let both =
        [("1".to_owned(), TransitionKind::Fired), ("2".to_owned(), TransitionKind::Resolved(ResolveReason::Recovered))];
    assert_eq!(step(1, vec![job("1", 31.0), job("2", 0.0)]), both);
    assert_eq!(step(2, vec![job("2", 0.0)]), [("1".to_owned(), TransitionKind::Resolved(ResolveReason::Gone))]);
}
