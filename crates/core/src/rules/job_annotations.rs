//! Annotations beside an alert's value: the jobs it is about, why they wait, and what can be done.

use std::collections::BTreeMap;

use crate::metrics::catalogue::Subject;
use crate::metrics::{Frame, Notes, Reason, Sample};
use crate::model::{JobId, Timestamp};
use crate::rules::active_alerts::ActiveAlerts;
use crate::rules::alert::{Alert, Transition};
use crate::rules::queue_annotations::{LIKELY_REASON, NEXT_STEP};
use crate::rules::rule::{Clause, Rule};

/// Annotation that names the jobs behind an alert about a queue.
const JOBS: &str = "jobs";

impl ActiveAlerts {
    /// As [`ActiveAlerts::step`], with samples of [single jobs](crate::metrics::single_jobs); adds what is known about
    /// the jobs behind each alert.
    pub fn step_with(
        &mut self,
        rules: &[Rule],
        frame: &Frame,
        job_samples: &[Sample],
        now: Timestamp,
        notes: &Notes<'_>,
    ) -> Vec<Transition> {
        let mut transitions = self.step_with_jobs(rules, frame, job_samples, now);
        let rules: BTreeMap<&str, &Rule> = rules.iter().map(|rule| (rule.name.as_str(), rule)).collect();
        let looked_at = |alert: &&mut Alert| alert.evaluated_at == now && !alert.is_overflow();
        for alert in self.alerts_mut().filter(looked_at) {
            if let Some(rule) = rules.get(alert.rule.as_str()) {
                advise(rule, alert, notes);
            }
        }
        for transition in &mut transitions {
            let of_now = self.alert(&transition.alert.id).filter(|alert| alert.state == transition.alert.state);
            if let Some(alert) = of_now {
                transition.alert.annotations.clone_from(&alert.annotations);
            }
        }
        transitions
    }
}

fn advise(rule: &Rule, alert: &mut Alert, notes: &Notes<'_>) {
    let Some(clause) = rule.clauses.get(alert.condition) else { return };
    let advice = match (alert.by.get("job"), alert.by.get("queue")) {
        (Some(job), _) => of_job(&job.as_str().into(), notes),
        (None, Some(queue)) => of_queue(rule, clause, alert, queue, notes),
        (None, None) => BTreeMap::new(),
    };
    let own: Vec<&str> = rule.templates.sources().map(|(name, _)| name).collect();
    // Remove annotations that no longer apply.
    if !own.contains(&JOBS) {
        alert.annotations.remove(JOBS);
    }
    for (name, text) in advice.into_iter().filter(|(name, _)| !own.contains(name)) {
        alert.annotations.insert(name.to_owned(), text);
    }
}

type Advice = BTreeMap<&'static str, String>;

/// The reason of the job itself, rather than that of most other jobs.
fn of_job(id: &JobId, notes: &Notes<'_>) -> Advice {
    let Some(note) = notes.wait(id) else { return Advice::new() };
    Advice::from([(LIKELY_REASON, sentence(&note.explanation)), (NEXT_STEP, sentence(note.reason.next_step()))])
}

fn of_queue(rule: &Rule, clause: &Clause, alert: &Alert, queue: &str, notes: &Notes<'_>) -> Advice {
    let share = alert.by.get("share").map(String::as_str);
    match clause.metric.about {
        Subject::WaitingJobs | Subject::LongestWait => of_waiting_jobs(rule, clause, alert, queue, notes),
        Subject::EndedJobs => named(&notes.failed(queue, share)).into_iter().collect(),
        Subject::IdleGpus => named(&notes.idle(queue, share)).into_iter().collect(),
        Subject::Other => Advice::new(),
    }
}

fn of_waiting_jobs(rule: &Rule, clause: &Clause, alert: &Alert, queue: &str, notes: &Notes<'_>) -> Advice {
    let share = alert.by.get("share").map(String::as_str);
    let wanted = rule.wanted_reasons(clause, &alert.by);
    let jobs = notes.waiting(queue, share, wanted.as_ref().map(|wanted| wanted as &dyn Fn(Reason) -> bool));
    let mut advice = Advice::new();
    if let Some((reason, _)) = jobs.first().filter(|_| clause.metric.about == Subject::LongestWait) {
        let most = alert.annotations.get(LIKELY_REASON).filter(|most| !most.ends_with(reason.words()));
        let most = most.map(|most| format!("; {most}")).unwrap_or_default();
        let reported = format!("the longest-waiting job waits {}{most}", reason.words());
        advice.extend([(LIKELY_REASON, reported), (NEXT_STEP, sentence(reason.next_step()))]);
    }
    advice.extend(named(&jobs.into_iter().map(|(_, job)| job).collect::<Vec<_>>()));
    advice
}

fn named(jobs: &[String]) -> Option<(&'static str, String)> {
    (!jobs.is_empty()).then(|| (JOBS, jobs.join("; ")))
}

fn sentence(text: &str) -> String {
    text.trim_end_matches('.').to_owned()
}
