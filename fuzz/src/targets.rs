//! One function for each kind of input.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;
use trainspotter_clock::Clock;
use trainspotter_core::forecast::{Forecaster, stored_history};
use trainspotter_core::jobs::{Ledger, is_readable};
use trainspotter_core::model::{
    Matchers, SavedJob, SavedQueue, Timestamp, accelerators_of, matches_glob, parse_duration,
};
use trainspotter_core::rules::rule_tests::{RuleTests, parse_rule_tests};
use trainspotter_core::rules::{Rule, export, lint, parse_rules};
use trainspotter_simulator::workload::{Synthetic, Workload, synthetic};
use trainspotter_simulator::{Simulation, scenario, trace};

const POLL_EVERY: Duration = Duration::from_secs(30);

/// Answers are small in so young a world.
const MAX_ANSWER: usize = 8 << 20;

/// A tick in which the rule of [`templates`] fires, and one in which it is over.
const FIRES_AND_ENDS: &str = "
rules: [any.yaml]
tests:
  - name: any
    series:
      - { metric: queue.wait.oldest, labels: { queue: prod, share: vision }, values: '31mx2 5m' }
";

/// A year after the beginning of time.
const LATER: Timestamp = Timestamp::from_millis(365 * 86_400_000);

static SHIPPED: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let text = include_str!("../../alerts/default.yaml");
    parse_rules("default.yaml", text).unwrap_or_else(|problems| panic!("{problems}"))
});

static TESTS: LazyLock<RuleTests> =
    LazyLock::new(|| parse_rule_tests("any.test.yaml", FIRES_AND_ENDS).unwrap_or_else(|problems| panic!("{problems}")));

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread().enable_all().build().unwrap_or_else(|error| panic!("no runtime: {error}"))
});

static WORKLOAD: LazyLock<Workload> = LazyLock::new(|| synthetic(1, Timestamp::default(), Duration::from_secs(600)));

/// A rule file of any text is read, linted and exported, or refused with its mistakes.
pub fn rules(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    match parse_rules("rules.yaml", text) {
        Err(problems) => assert!(!problems.to_string().is_empty()),
        Ok(rules) => {
            lint(&rules, POLL_EVERY);
            export::prometheus(&rules, POLL_EVERY);
            export::alarms(&rules, "Trainspotter", |_| true);
            export::promql_alarms(&rules);
        }
    }
}

/// A file of rule tests of any text is read and run over the shipped rules, or refused with its mistakes.
pub fn rule_tests(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    match parse_rule_tests("rules.test.yaml", text) {
        Err(problems) => assert!(!problems.to_string().is_empty()),
        Ok(tests) => tests.tests.iter().for_each(|test| drop(test.run(&SHIPPED))),
    }
}

/// An annotation of any text renders within its bounds when its rule fires, or is refused.
pub fn templates(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let quoted: String = text.chars().map(|letter| format!("\\U{:08X}", u32::from(letter))).collect();
    let rule = format!(
        "rules:\n  - alert: Any\n    metric: queue.wait.oldest\n    above: 30m\n    annotations:\n      summary: \"{quoted}\"\n"
    );
    match parse_rules("any.yaml", &rule) {
        Err(problems) => assert!(!problems.to_string().is_empty()),
        Ok(rules) => TESTS.tests.iter().for_each(|test| drop(test.run(&rules))),
    }
}

/// Durations, matchers, globs and instance types of any text mean something or are refused.
pub fn names(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(duration) = parse_duration(text) {
        assert!(duration.as_secs_f64().is_finite());
    }
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    matches_glob(first, second);
    accelerators_of(&first.into());
    if let Ok(matchers) = Matchers::parse(first) {
        matchers.matches(&BTreeMap::from([("queue".to_owned(), second.to_owned())]));
    }
}

/// Any request to the simulated AWS, in JSON, CBOR or the query protocol, gets an answer that is no failure of the simulator. An input is a
/// method, path, operation and content type, one a line, and a body.
pub fn aws_requests(input: &[u8]) {
    let mut lines = input.splitn(5, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (method, path, target, content_type, body) = (line(), line(), line(), line(), line());
    let request = Request::builder()
        .method(if method == b"GET" { "GET" } else { "POST" })
        .uri(path)
        .header("x-amz-target", target)
        .header("content-type", content_type)
        .header("smithy-protocol", "rpc-v2-cbor")
        .body(Body::from(body.to_vec()));
    let Ok(request) = request else { return };
    let world = Simulation::new(WORKLOAD.clone(), 1, Clock::starting_at(Timestamp::default(), 1.0));
    let (status, body) = RUNTIME.block_on(async {
        let Ok(response) = world.router().oneshot(request).await;
        (response.status(), to_bytes(response.into_body(), MAX_ANSWER).await)
    });
    assert!(status.as_u16() != 500, "{body:?}");
    assert!(body.is_ok(), "{body:?}");
}

/// A scenario of any text is read and applied, or refused with its mistakes.
pub fn scenarios(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    match scenario::parse("scenario.yaml", text) {
        Err(problems) => assert!(!problems.to_string().is_empty()),
        Ok(scenario) => {
            let workload = Synthetic { length: None, ..Synthetic::default() }.workload(1, Timestamp::default());
            scenario.applied_to(workload.setup);
        }
    }
}

/// A workload trace of any bytes is read into jobs that the simulator takes, or refused with the place of the mistake.
pub fn traces(input: &[u8]) {
    match trace::parse(input, Path::new("jobs.csv"), Timestamp::default()) {
        Err(problem) => assert!(!problem.to_string().is_empty()),
        Ok(workload) => drop(Simulation::new(workload, 1, Clock::starting_at(Timestamp::default(), 1.0))),
    }
}

/// The rows of a state file, as lines of a name, a tab and a body.
fn saved_rows(input: &[u8]) -> Vec<(&str, &str)> {
    str::from_utf8(input).unwrap_or_default().lines().filter_map(|line| line.split_once('\t')).collect()
}

/// Saved forecasts of any text are restored as far as they can be read, and what is saved then is restored completely.
pub fn forecast_rows(input: &[u8]) {
    let rows: BTreeMap<String, String> =
        saved_rows(input).into_iter().map(|(name, body)| (name.to_owned(), body.to_owned())).collect();
    stored_history(rows.clone());
    let restored = Forecaster::restore(rows);
    let again = Forecaster::restore(restored.rows());
    assert_eq!((again.ended(), again.qualities()), (restored.ended(), restored.qualities()));
}

/// Saved jobs and queues of any text are restored, or set aside one by one.
pub fn saved_jobs(input: &[u8]) {
    let (queues, jobs): (Vec<_>, Vec<_>) =
        saved_rows(input).into_iter().partition(|(name, _)| name.starts_with("queue "));
    let queues: Vec<SavedQueue> =
        queues.into_iter().map(|(name, body)| SavedQueue { name: name.into(), body: body.to_owned() }).collect();
    let jobs: Vec<SavedJob> =
        jobs.into_iter().map(|(id, body)| SavedJob { id: id.into(), body: body.to_owned() }).collect();
    let readable = jobs.iter().filter(|job| is_readable(job)).count();
    let mut ledger = Ledger::default();
    ledger.resume(&queues, Timestamp::default());
    ledger.restore(jobs);
    assert!(ledger.len() <= readable);
    ledger.forget(LATER);
    // What is saved then is readable.
    for (id, body) in ledger.to_save([]).changes {
        assert!(body.is_none_or(|body| is_readable(&SavedJob { id, body })));
    }
}
