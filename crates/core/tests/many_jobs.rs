//! With many jobs, queries cost as much as they return: lists are compared with a full scan, and rules over single
//! jobs with the same rules over the figures of every job.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use trainspotter_core::engine::{Engine, Saved, cadence};
use trainspotter_core::jobs::{EXAMINED_AT_MOST, Filter, Job, Ledger, Wanted};
use trainspotter_core::metrics::{self, Inputs};
use trainspotter_core::model::{
    Capacity, Demand, JobDetails, JobId, JobSeen, JobStatus, Observation, Policy, Queue, Source, Timestamp,
};
use trainspotter_core::rules::{ActiveAlerts, Rule, parse_rules};

const OWNERS: [&str; 3] = ["", "ada", "grace"];
const TYPES: [&str; 2] = ["ml.p5.48xlarge", "ml.g5.xlarge"];
const NAMES: [&str; 4] = ["train", "train-large", "eval", "écoute"];

fn second(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

/// A job derived from its number; several are created at the same time.
fn job(number: usize, status: JobStatus, at: i64) -> JobSeen {
    let queue = if number.is_multiple_of(3) { "research" } else { "prod" };
    let share = ["vision", "audio"].get(number % 5).map(|share| (*share).into());
    let at = Some(second(at));
    let in_flight = !status.is_waiting();
    JobSeen {
        name: format!("{}-{}", NAMES[number % 4], number % 7).into(),
        share,
        scheduled_at: at.filter(|_| in_flight),
        started_at: at.filter(|_| in_flight && status != JobStatus::Scheduled && status != JobStatus::Starting),
        stopped_at: at.filter(|_| status.is_ended()),
        demand: TYPES.get(number % 3).map_or_else(Demand::default, |unit| vec![Capacity::new(*unit, 2.0)].into()),
        ..JobSeen::new(format!("{:04x}-{number}", number * 40_503 % 65_536), queue, status, second(number as i64 / 4))
    }
}

fn described(number: usize, job: JobSeen) -> JobSeen {
    let owner = Some(OWNERS[number % 3]).filter(|owner| !owner.is_empty()).map(Into::into);
    JobSeen {
        details: Some(Box::new(JobDetails { owner, preemptions: number as u32 % 4, ..JobDetails::default() })),
        ..job
    }
}

const STATES: [JobStatus; 5] =
    [JobStatus::Runnable, JobStatus::Scheduled, JobStatus::Starting, JobStatus::Running, JobStatus::Succeeded];

fn ids(jobs: &[&Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.latest.id.clone()).collect()
}

/// All pages of a list, with this page size.
fn pages(ledger: &Ledger, filter: &Filter, limit: usize, newest_first: bool) -> Vec<JobId> {
    let (mut seen, mut after): (Vec<JobId>, Option<(Timestamp, JobId)>) = (Vec::new(), None);
    loop {
        let after_one = after.as_ref().map(|(at, id)| (*at, id));
        let found = ledger.find(Wanted { after: after_one, newest_first, ..Wanted::of(filter, limit) });
        assert!(found.jobs.len() <= limit);
        seen.extend(ids(&found.jobs));
        let Some(last) = found.next else { return seen };
        after = Some((last.latest.created_at, last.latest.id.clone()));
    }
}

fn filters() -> impl Strategy<Value = Filter> {
    let text = |options: &'static [&'static str]| prop::option::of(prop::sample::select(options));
    let state = prop::option::of(prop::sample::select(&STATES[..]));
    let id = text(&["", "0", "a", "ff", "9e37-1", "zz"]);
    let name = text(&["", "train", "train-", "train-large", "train-3", "é", "none"]);
    let unit = text(&["ml.p5.48xlarge", "ml.p4d.24xlarge"]);
    let of = (text(&["research", "prod", "none"]), text(&["", "vision", "none"]), state, id, name);
    (of, text(&["", "ada", "none"]), unit, prop::bool::weighted(0.2)).prop_map(
        |((queue, share, state, id, name), owner, unit, waiting)| Filter {
            queue: queue.map(Into::into),
            share: share.map(Into::into),
            state,
            id: id.map(str::to_owned),
            name: name.map(str::to_owned),
            owner: owner.map(str::to_owned),
            unit: unit.map(Into::into),
            waiting,
        },
    )
}

/// Whether a job matches, according to the documentation.
fn passes(filter: &Filter, job: &Job) -> bool {
    let is = |wanted: Option<&str>, value: &str| wanted.is_none_or(|wanted| wanted == value);
    let begins = |wanted: Option<&str>, value: &str| wanted.is_none_or(|wanted| value.starts_with(wanted));
    is(filter.queue.as_ref().map(|queue| queue.as_str()), job.queue().as_str())
        && is(filter.share.as_ref().map(|share| share.as_str()), job.share().map_or("", |share| share.as_str()))
        && filter.state.as_ref().is_none_or(|state| state == job.status())
        && begins(filter.id.as_deref(), job.latest.id.as_str())
        && begins(filter.name.as_deref(), &job.latest.name)
        && is(filter.owner.as_deref(), job.owner().unwrap_or_default())
        && filter.unit.as_ref().is_none_or(|unit| job.latest.demand.iter().any(|capacity| capacity.unit == *unit))
        && (!filter.waiting || job.status().is_waiting())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pages_are_what_a_scan_of_everything_finds(
        steps in prop::collection::vec((0..60_usize, 0..5_usize, any::<bool>()), 1..200),
        filter in filters(),
        limit in 1..9_usize,
    ) {
        let mut ledger = Ledger::default();
        for (at, (number, state, is_described)) in steps.into_iter().enumerate() {
            let at = 100 + at as i64;
            let seen = job(number, STATES[state].clone(), at);
            ledger.observe(if is_described { described(number, seen) } else { seen }, second(at));
            // A week: jobs that ended earlier are known by id only.
            if at % 64 == 0 {
                ledger.forget(second(at) + Duration::from_secs(7 * 24 * 3_600 - 20));
            }
        }
        let mut expected: Vec<&Job> = ledger.jobs().filter(|job| passes(&filter, job)).collect();
        expected.sort_by_key(|job| (job.latest.created_at, job.latest.id.clone()));
        let mut waiting: Vec<&Job> = expected.iter().copied().filter(|job| job.waiting_since().is_some()).collect();
        waiting.sort_by_key(|job| (job.waiting_since(), job.latest.id.clone()));
        waiting.truncate(limit);
        prop_assert_eq!(ids(&ledger.waiting_longest(&filter, limit)), ids(&waiting));
        let mut found = pages(&ledger, &filter, limit, false);
        let mut newest = pages(&ledger, &filter, limit, true);
        newest.reverse();
        prop_assert_eq!(&newest, &found, "the same jobs the other way round");
        let in_order: Vec<Timestamp> = found.iter().map(|id| ledger.job(id).unwrap().latest.created_at).collect();
        prop_assert!(in_order.is_sorted());
        found.sort_by_key(|id| (ledger.job(id).unwrap().latest.created_at, id.clone()));
        prop_assert_eq!(found, ids(&expected));
    }
}

#[test]
fn a_page_with_few_matches_ends_early_with_a_cursor() {
    let mut ledger = Ledger::default();
    let many = EXAMINED_AT_MOST * 2;
    for number in 0..many {
        ledger.observe(job(number, JobStatus::Runnable, 0), second(many as i64));
    }
    let nobody = Filter { owner: Some("nobody".to_owned()), ..Filter::default() };
    assert_eq!(pages(&ledger, &nobody, 10, false), [] as [JobId; 0]);
    let last = Filter { name: Some("last".to_owned()), ..Filter::default() };
    ledger.observe(JobSeen { name: "last".into(), ..job(many + 9_999, JobStatus::Runnable, 0) }, second(many as i64));
    assert_eq!(ledger.waiting_longest(&last, 10).len(), 1, "few jobs are found wherever they stand");
    // So many names have this prefix that all jobs are scanned, and all of those come late.
    for number in many..many + 4_000 {
        let late = JobSeen { name: format!("late-{number}").into(), ..job(number, JobStatus::Runnable, 0) };
        ledger.observe(late, second(many as i64));
    }
    let filter = Filter { name: Some("late-".to_owned()), ..Filter::default() };
    let found = ledger.list(&filter, None, 500);
    assert!(found.jobs.is_empty() && found.next.is_some(), "{} jobs", found.jobs.len());
    assert_eq!(pages(&ledger, &filter, 500, true).len(), 4_000);
    assert_eq!(pages(&ledger, &filter, 500, false).len(), 4_000);
}

#[test]
fn people_mean_an_id_a_name_a_beginning_or_an_owner() {
    let mut ledger = Ledger::default();
    for number in 0..20 {
        ledger.observe(described(number, job(number, JobStatus::Runnable, 0)), second(100));
    }
    let meant = |words: &str| ids(&ledger.meant(words, 5));
    let one = job(7, JobStatus::Runnable, 0);
    let only = vec![one.id.clone()];
    assert_eq!(meant(one.id.as_str()), only);
    assert_eq!(meant(&one.id.as_str()[..5]), only);
    assert_eq!(meant("écoute-0"), only);
    // An exact name takes precedence over longer ones.
    assert_eq!(meant("train-4").len(), 1);
    assert_eq!(meant("train-").len(), 5, "no more than asked for");
    assert_eq!(meant("grace").len(), 5);
    for nothing in ["", "nobody", "zzz"] {
        assert_eq!(meant(nothing), [] as [JobId; 0], "{nothing}");
    }
}

#[test]
fn a_job_that_vanished_is_not_listed_as_waiting() {
    let mut ledger = Ledger::default();
    let gone = job(1, JobStatus::Runnable, 0);
    ledger.observe(gone.clone(), second(10));
    ledger.observe_gone(&gone.id, second(20));
    let in_state = |state| Filter { state: Some(state), ..Filter::default() };
    assert_eq!(pages(&ledger, &in_state(JobStatus::Runnable), 10, false), [] as [JobId; 0]);
    assert_eq!(pages(&ledger, &in_state(JobStatus::Failed), 10, false), [gone.id]);
}

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
