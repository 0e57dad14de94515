//! Rules over single jobs find what the same rules find among the figures of every job, and cost what they select.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use crate::{STATES, described, job, second};
use trainspotter_core::engine::{Engine, Saved, cadence};
use trainspotter_core::jobs::Ledger;
use trainspotter_core::metrics::{self, Inputs};
use trainspotter_core::model::{JobSeen, JobStatus, Observation, Policy, Queue, Source};
use trainspotter_core::rules::{ActiveAlerts, Rule, parse_rules};

/// Rules over single jobs of every kind that is evaluated by selection.
const RULES: &str = "
rules:
  - { alert: Waits, metric: job.waiting.age, by: [queue, job], above: 40s, recover: 30s, annotations: { summary: x } }
  - { alert: Stuck, by: [job, name], any: [{ metric: job.scheduled.age, above: 20s }, { metric: job.starting.age, above: 30s }],
      for: 20s, annotations: { summary: x } }
  - { alert: Preempted, by: [job], metric: job.preempted, above: 2, where: { queue: 'pr*' }, keep_firing_for: 30s,
      annotations: { summary: x } }
  - { alert: Young, by: [job, owner], metric: job.running.age, below: 15s, where: { share: vision, owner: ada },
      annotations: { summary: x } }
  - { alert: Both, by: [job], all: [{ metric: job.waiting.age, below: 1d }, { metric: job.preempted, above: 1 },
      { metric: job.running.age, above: 10s }], limit: 3, annotations: { summary: x } }
  - { alert: Either, by: [share, job], any: [{ metric: job.waiting.age, above: 70s }, { metric: job.running.age, above: 70s }],
      no_data: ok, annotations: { summary: x } }
";

/// Rules that fold jobs: they need the figures of every job, which must not affect the other rules' alerts.
const FOLDS: &str = "
  - { alert: F1, metric: job.waiting.age, by: [queue], above: 300d, annotations: { summary: x } }
  - { alert: F2, metric: job.scheduled.age, by: [queue], above: 300d, annotations: { summary: x } }
  - { alert: F3, metric: job.starting.age, by: [queue], above: 300d, annotations: { summary: x } }
  - { alert: F4, metric: job.running.age, by: [queue], above: 300d, annotations: { summary: x } }
  - { alert: F5, metric: job.preempted, by: [queue], above: 300, annotations: { summary: x } }
";

fn rules(text: &str) -> Vec<Rule> {
    parse_rules("rules.yaml", text).unwrap()
}

fn queue(name: &str) -> Queue {
    Queue::new(name, Policy::Fifo, None)
}

fn answered(at: i64) -> Vec<Observation> {
    let queues = vec![queue("prod"), queue("research")];
    let answer =
        |source, queue: Option<&str>| Observation::Answered { source, queue: queue.map(Into::into), at: second(at) };
    vec![
        Observation::Topology { at: second(at), queues },
        answer(Source::Topology, None),
        answer(Source::Jobs, Some("prod")),
        answer(Source::Jobs, Some("research")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rules_over_single_jobs_find_what_they_find_among_all(
        steps in prop::collection::vec((prop::collection::vec((0..24_usize, any::<bool>()), 0..8), 1..40_i64), 1..12)
    ) {
        let every = Duration::from_secs(30);
        let engine = |text: &str| Engine::new(rules(text), cadence(every * 30, every), Saved::default(), second(0));
        let (mut selecting, mut all) = (engine(RULES), engine(&format!("{RULES}{FOLDS}")));
        let mut states: BTreeMap<usize, (usize, i64)> = BTreeMap::new();
        let mut at = 10;
        for (moves, passed) in steps {
            at += passed;
            let mut seen = Vec::new();
            for (number, is_described) in moves {
                let (state, since) = states.entry(number).and_modify(|(state, since)| (*state, *since) = (*state + 1, at)).or_insert((0, at));
                let one = JobSeen { created_at: second(0), ..job(number, STATES[(*state).min(4)].clone(), *since) };
                seen.push(if is_described { described(number, one) } else { one });
            }
            for engine in [&mut selecting, &mut all] {
                engine.observe(vec![Observation::Jobs { at: second(at), answered_at: second(at), jobs: seen.clone() }]);
                engine.observe(answered(at));
            }
            let reported = |engine: &mut Engine| {
                let output = engine.tick(second(at));
                let transition = |one: &trainspotter_core::rules::Transition| format!("{:?} {:?} {:?}", one.kind, one.alert.id, one.alert.value);
                let alert = |one: &trainspotter_core::rules::Alert| format!("{} {:?} {:?} {:?}", one.rule, one.by, one.state, one.value);
                (output.transitions.iter().map(transition).collect::<Vec<_>>(), output.alerts.iter().map(alert).collect::<Vec<_>>())
            };
            prop_assert_eq!(reported(&mut selecting), reported(&mut all), "after {} s", at);
        }
    }
}

#[test]
fn a_rule_over_single_jobs_costs_what_it_selects() {
    let mut ledger = Ledger::default();
    for number in 0..2_000 {
        ledger.observe(job(number, JobStatus::Runnable, 0), second(1_000));
    }
    for number in 2_000..2_010 {
        ledger.observe(job(number, JobStatus::Running, 600), second(1_000));
    }
    let queues = [queue("prod"), queue("research")];
    let inputs = Inputs {
        now: second(1_000),
        queues: &queues,
        ledger: &ledger,
        fronts: &BTreeMap::new(),
        prices: &BTreeMap::new(),
        reserved: &[],
        sources: &[],
        expected_starts: &BTreeMap::new(),
        forecasts: &[],
    };
    let figures = |rest: &str| {
        let rules = rules(&format!("rules: [{{ alert: A, {rest}, annotations: {{ summary: x }} }}]"));
        let book = ActiveAlerts::default();
        let wanted = book.wanted(&rules);
        metrics::single_jobs::samples(&inputs, &wanted).len()
    };
    assert_eq!(figures("metric: job.running.age, by: [job], above: 5m"), 10);
    assert_eq!(figures("metric: job.running.age, by: [job], above: 7m"), 0);
    // Four jobs are created per second.
    assert_eq!(figures("metric: job.waiting.age, by: [job], above: 990s"), 40);
    assert_eq!(figures("metric: job.preempted, by: [job, owner], above: 0"), 0);
    assert_eq!(figures("metric: job.gpu.utilisation, by: [job], below: 10%"), 0);
    assert_eq!(figures("metric: job.waiting.age, by: [queue], above: 990s"), 2_010, "what is folded is looked at");
}
