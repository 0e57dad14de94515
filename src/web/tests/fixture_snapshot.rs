//! A service in operation: two queues, alerts of every kind, a failing source.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::notify::silence::Silence;
use crate::web::Cursor;
use crate::web::JobMatches;
use crate::web::JobPage;
use crate::web::JobQuery;
use crate::web::JobView;
use crate::web::Snapshot;
use crate::web::tests::fixture_jobs::{jobs, past};
use crate::web::tests::job_context::around;
use trainspotter_core::forecast::{InitialState, Outlook, PastArrivals, Unknown};
use trainspotter_core::jobs::FailureCategory;
use trainspotter_core::jobs::Filter;
use trainspotter_core::metrics::Estimate;
use trainspotter_core::metrics::FailureFigures;
use trainspotter_core::metrics::FairShareFigures;
use trainspotter_core::metrics::Frame;
use trainspotter_core::metrics::Loan;
use trainspotter_core::metrics::Quantiles;
use trainspotter_core::metrics::QueueFigures;
use trainspotter_core::metrics::Reason;
use trainspotter_core::metrics::ReasonFigures;
use trainspotter_core::metrics::ShareFigures;
use trainspotter_core::metrics::SourceHealth;
use trainspotter_core::metrics::WaitFigures;
use trainspotter_core::metrics::Waterfall;
use trainspotter_core::metrics::gpu_part_names::{Part, UnallocatedCause};
use trainspotter_core::metrics::misconfiguration::{Finding, Problem};
use trainspotter_core::metrics::{CatchUp, Sample, Value, catalogue, labels};
use trainspotter_core::model::Place;
use trainspotter_core::model::Source;
use trainspotter_core::model::Timestamp;
use trainspotter_core::model::{Reserved, ReservedKind};
use trainspotter_core::rules::AlertId;
use trainspotter_core::rules::AlertState;
use trainspotter_core::rules::ResolveReason;
use trainspotter_core::rules::Transition;
use trainspotter_core::rules::TransitionKind;
use trainspotter_core::rules::{Alert, PastValues, Rule, parse_rules};

/// 2026-03-01T12:00:00Z: the service's time in all tests.
pub(super) fn now() -> Timestamp {
    Timestamp::from_millis(1_772_366_400_000)
}

/// The time `seconds` before [`now`].
pub(super) fn ago(seconds: u64) -> Timestamp {
    now() - Duration::from_secs(seconds)
}

pub(super) fn snapshot() -> Snapshot {
    snapshot_at(now())
}

/// The fixture at another time: only the waterfall changes.
pub(super) fn snapshot_at(at: Timestamp) -> Snapshot {
    Snapshot {
        place: place(),
        frame: Arc::new(frame(at)),
        alerts: alerts().into(),
        resolved: [resolved()].into(),
        ready: true,
        not_ready: None,
        ticked_at: Some(at),
        store_error: None,
        replica: None,
        problems: [].into(),
    }
}

fn loan() -> Loan {
    Loan {
        queue: "research".into(),
        lender: "audio".into(),
        borrower: "language".into(),
        gpus: 32.0,
        gpu_seconds: 90_000.0,
    }
}

fn reserved() -> Reserved {
    Reserved {
        kind: ReservedKind::TrainingPlan,
        name: "spring".to_owned(),
        unit: "ml.p5.48xlarge".into(),
        total: Some(16.0),
        in_use: Some(10.0),
        idle: Some(5.0),
        ends_at: Some(Timestamp::from_millis(1_800_000_000_000)),
    }
}

fn fair_share() -> FairShareFigures {
    FairShareFigures { queue: "production".into(), share: "nightly".into(), target: 24.0, used: 8.0, recent: 12.5 }
}

fn frame(at: Timestamp) -> Frame {
    Frame {
        place: place(),
        at,
        queues: vec![
            queue("production", "FIFO", [0, 0, 1, 2, 41, 0], None),
            queue("research", "QUOTA_SHARE", [1, 17, 1, 1, 28, 3], Some(15_000.0)),
        ],
        shares: vec![
            share("", "production", "NUM_INSTANCES", [None, Some(44.0), Some(0.0), Some(0.0)]),
            share("audio", "research", "ml.p5.48xlarge", [Some(8.0), Some(2.0), Some(0.0), Some(4.0)]),
            share("language", "research", "ml.p5.48xlarge", [Some(16.0), Some(20.0), Some(4.0), Some(0.0)]),
            share("vision", "research", "ml.p5.48xlarge", [Some(8.0), Some(8.0), Some(0.0), Some(0.0)]),
        ],
        loans: vec![loan()],
        fair_shares: vec![fair_share()],
        reserved: vec![reserved()],
        waits: vec![
            waits("", "production", 212, 40.0),
            waits("audio", "research", 31, 300.0),
            waits("language", "research", 140, 5_400.0),
            waits("vision", "research", 66, 900.0),
        ],
        estimates: vec![Estimate {
            queue: "research".into(),
            share: "audio".into(),
            seconds: [300.0, 600.0, 2_100.0, 2_100.0],
        }],
        reasons: vec![ReasonFigures {
            queue: "research".into(),
            share: "language".into(),
            reason: Reason::ShareAtLimit,
            jobs: 8,
            gpus: 256.0,
        }],
        waterfall: vec![
            waterfall("production", None, BTreeMap::new(), BTreeMap::new()),
            waterfall("research", Some(256.0), parts(at), [(UnallocatedCause::NoDemand, 16.0)].into()),
        ],
        failures: vec![FailureFigures {
            queue: "research".into(),
            share: "language".into(),
            owner: "ada".into(),
            category: FailureCategory::UserCode,
            jobs: 3,
            gpu_seconds: 7_200.0,
        }],
        setup: vec![Finding {
            queue: "research".into(),
            share: Some("audio".into()),
            problem: Problem::ShareUnused,
            what: "No job of audio has held an instance for 8 days.".to_owned(),
            advice: "Give its quota to a share whose jobs wait, or remove it.".into(),
        }],
        sources: vec![
            health(Source::Topology, Some(140.0), None),
            health(Source::Jobs, Some(4.0), None),
            health(Source::Snapshot, Some(94.0), Some("research: rate exceeded (throttled)")),
            health(Source::TrainingJobs, Some(5.5), None),
            health(Source::Utilisation, None, None),
        ],
        samples: samples(),
        topology: Vec::new(),
        catch_up: CatchUp::Done,
    }
}

/// The jobs of `language`.
fn samples() -> Vec<Sample> {
    let jobs = |state: &str, count| Sample {
        metric: &catalogue::QUEUE_JOBS,
        labels: labels([("queue", "research".into()), ("share", "language".into()), ("state", state.into())]),
        value: Value::Gauge(count),
    };
    let oldest = Sample {
        metric: &catalogue::QUEUE_WAIT_OLDEST,
        labels: labels([("queue", "research".into()), ("share", "language".into())]),
        value: Value::Gauge(15_000.0),
    };
    vec![jobs("runnable", 7.0), jobs("running", 2.0), oldest]
}

/// Idle GPUs, with a daily cycle.
fn parts(at: Timestamp) -> BTreeMap<Part, f64> {
    let swing = (at.since(now()).as_secs_f64() / 900.0).sin();
    let idle = (24.0 + 16.0 * swing).round();
    [
        (Part::Unallocated, 16.0),
        (Part::Scheduled, 8.0),
        (Part::Starting, 8.0),
        (Part::Busy, 200.0 - idle),
        (Part::Idle, idle),
        (Part::Unknown, 24.0),
    ]
    .into()
}

fn waterfall(
    queue: &str,
    capacity_gpus: Option<f64>,
    parts: BTreeMap<Part, f64>,
    unallocated: BTreeMap<UnallocatedCause, f64>,
) -> Waterfall {
    Waterfall { queue: queue.into(), capacity_gpus, parts, dollars_per_hour: BTreeMap::new(), unallocated }
}

fn queue(name: &str, policy: &'static str, jobs: [u64; 6], oldest: Option<f64>) -> QueueFigures {
    let states = ["submitted", "runnable", "scheduled", "starting", "running", "failed"];
    let jobs = states.into_iter().map(str::to_owned).zip(jobs).collect();
    QueueFigures { queue: name.into(), arn: String::new(), policy: policy.into(), jobs, oldest_wait_seconds: oldest }
}

fn share(share: &str, queue: &str, unit: &str, [quota, used, borrowed, lent]: [Option<f64>; 4]) -> ShareFigures {
    let (used, borrowed, lent) = (used.unwrap(), borrowed.unwrap(), lent.unwrap());
    let idle = quota.map_or(0.0, |quota| (quota - used - lent).max(0.0));
    let (queue, share, unit, largest_job) = (queue.into(), share.into(), unit.into(), quota.map(|_| 32.0));
    ShareFigures { queue, share, unit, quota, used, borrowed, lent, idle, most: None, largest_job, weight: None }
}

fn waits(share: &str, queue: &str, count: u64, p50: f64) -> WaitFigures {
    let seconds =
        Quantiles { count, mean: p50 * 1.25, p50, p90: p50 * 2.0, p95: p50 * 2.5, p99: p50 * 3.0, max: p50 * 3.5 };
    WaitFigures { queue: queue.into(), share: share.into(), seconds }
}

fn health(source: Source, age_seconds: Option<f64>, error: Option<&str>) -> SourceHealth {
    SourceHealth { source, age_seconds, error: error.map(str::to_owned), note: None, failing: BTreeSet::new() }
}

/// An active silence for `audio`, and an expired one.
pub(super) fn silences() -> Vec<Silence> {
    let silence = |id, starts_at, ends_at| Silence {
        id,
        matchers: trainspotter_core::model::Matchers::parse("share=audio").unwrap(),
        starts_at,
        ends_at,
        author: "ann".to_owned(),
        comment: "maintenance".to_owned(),
    };
    vec![silence(1, ago(7_200), ago(3_600)), silence(2, ago(600), now() + Duration::from_secs(3_600))]
}

/// A pending alert, a firing one, and one that fired before it: not in display order.
fn alerts() -> Vec<Alert> {
    let firing = |active, fired| AlertState::Firing { active_at: ago(active), fired_at: ago(fired), keep_since: None };
    vec![
        alert("GpusIdle", "vision", AlertState::Pending { active_at: ago(240) }, 0.42, "42 % of GPUs are idle"),
        alert("ShareWaitsTooLong", "audio", firing(900, 300), 2_100.0, "audio waits 35m (p95)"),
        alert(
            "ShareWaitsTooLong",
            "language",
            firing(7_800, 7_200),
            13_500.0,
            "<b>language</b> on research waits 3h 45m (p95); its share is at its limit",
        ),
    ]
}

fn resolved() -> Transition {
    let state = AlertState::Firing { active_at: ago(9_000), fired_at: ago(8_400), keep_since: Some(ago(2_400)) };
    let alert = alert("JobsFail", "vision", state, 0.02, "2 % of jobs failed in the last hour");
    Transition { alert, kind: TransitionKind::Resolved(ResolveReason::Recovered), at: ago(1_800) }
}

/// Stored alerts: those of [`snapshot`], and one that was resolved long before.
pub(super) fn past_alerts() -> Vec<Transition> {
    let firing = alerts().into_iter().filter(|alert| alert.state.fired_at().is_some());
    let fired = firing.map(|alert| Transition {
        at: alert.state.fired_at().unwrap_or_default(),
        alert,
        kind: TransitionKind::Fired,
    });
    let state = AlertState::Firing { active_at: ago(400_000), fired_at: ago(399_000), keep_since: None };
    let alert = alert("GpusIdle", "audio", state, 0.61, "61 % of GPUs were idle");
    let long_ago = Transition { alert, kind: TransitionKind::Resolved(ResolveReason::Recovered), at: ago(390_000) };
    fired.chain([resolved(), long_ago]).collect()
}

fn alert(rule: &str, share: &str, state: AlertState, value: f64, summary: &str) -> Alert {
    let by = pairs([("queue", "research"), ("share", share)]);
    let mut labels = by.clone();
    labels.extend(pairs([("alertname", rule), ("severity", "page")]));
    Alert {
        id: AlertId::of(rule, &by),
        rule: rule.to_owned(),
        by,
        labels,
        annotations: pairs([("summary", summary)]),
        state,
        recent: Vec::new(),
        value: Some(value),
        value_at_fire: state.fired_at().map(|_| value),
        unit: trainspotter_core::rules::Unit::Seconds,
        threshold: Some(1_800.0),
        condition: 0,
        queue_arn: None,
        evaluated_at: now(),
    }
}

/// The rule of the firing alerts.
fn rules() -> Vec<Rule> {
    let rule =
        "rules: [{ alert: ShareWaitsTooLong, by: [queue, share], metric: queue.wait.oldest, above: 30m, recover: 20m,
        for: 10m, annotations: { summary: x } }]";
    parse_rules("rules.yaml", rule).unwrap()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The initial state of a forecast without any knowledge.
fn nothing_yet() -> InitialState {
    InitialState {
        now: ago(0),
        setup: Default::default(),
        disabled: Vec::new(),
        in_flight: Vec::new(),
        waiting: Vec::new(),
        left_out: 0,
        arrivals: PastArrivals::default(),
        ended: 0,
    }
}

/// Whether a job matches a filter.
fn is_wanted(job: &JobView, filter: &Filter) -> bool {
    let Filter { queue, share, state, id, name, owner, unit, waiting } = filter;
    queue.as_ref().is_none_or(|queue| job.queue == *queue)
        && share.as_ref().is_none_or(|share| job.share.clone().unwrap_or("".into()) == *share)
        && state.as_ref().is_none_or(|state| job.status == *state)
        && id.as_ref().is_none_or(|id| job.id.as_str().starts_with(id))
        && name.as_ref().is_none_or(|name| job.name.starts_with(name))
        && owner.as_ref().is_none_or(|owner| job.owner.as_deref().unwrap_or_default() == owner)
        && unit.as_ref().is_none_or(|unit| job.demand.iter().any(|demand| demand.unit == *unit))
        && (!waiting || job.status.is_waiting())
}

/// Answers queries as the owner of the ledger does, from [`jobs`].
pub(super) async fn answer(mut questions: mpsc::Receiver<JobQuery>) {
    let place = |job: &JobView| (job.created_at, job.id.clone());
    while let Some(question) = questions.recv().await {
        match question {
            JobQuery::List { filter, reason, newest_first, after, limit, reply } => {
                let passes = |job: &JobView| {
                    let is_after = after.as_ref().is_none_or(|after| {
                        let after = (after.created_at, after.id.clone());
                        if newest_first { place(job) < after } else { place(job) > after }
                    });
                    is_after
                        && is_wanted(job, &filter)
                        && reason.is_none_or(|reason| job.why.as_ref().is_some_and(|why| why.reason == reason.as_str()))
                };
                let mut found = jobs();
                found.retain(passes);
                found.sort_by_key(place);
                if newest_first {
                    found.reverse();
                }
                found.truncate(limit);
                let next = found.last().filter(|_| found.len() == limit);
                let next = next.map(|job| Cursor { created_at: job.created_at, id: job.id.clone() });
                let _ = reply.send(JobPage { jobs: found, next, ..JobPage::default() });
            }
            JobQuery::Context { id, reply } => {
                let _ = reply.send(jobs().into_iter().find(|job| job.id == id).map(|job| Box::new(around(&job))));
            }
            JobQuery::Present { reply, .. } => {
                let _ = reply.send(Ok(Some(Box::new(nothing_yet()))));
            }
            JobQuery::Past { reply } => {
                let _ = reply.send((past(), Default::default()));
            }
            JobQuery::Outlook { reply, .. } => {
                let _ = reply.send(Outlook::Unknown(Unknown::NotMade));
            }
            JobQuery::LimitHit { .. } => {}
            JobQuery::Rules { reply } => {
                let _ = reply.send(rules());
            }
            JobQuery::PastValues { alert, reply } => {
                let _ = reply.send(PastValues::of(&rules(), &alert));
            }
            JobQuery::WaitingLongest { limit, reply, .. } => {
                let mut found = jobs();
                found.retain(|job| job.waiting_seconds.is_some());
                found.sort_by(|a, b| b.waiting_seconds.partial_cmp(&a.waiting_seconds).unwrap());
                found.truncate(limit);
                let _ = reply.send(JobPage { jobs: found, ..JobPage::default() });
            }
            JobQuery::One { words, reply } => {
                let exact = jobs().into_iter().find(|job| job.id.as_str() == words);
                let mut meant: Vec<JobView> = jobs();
                meant.retain(|job| job.name.starts_with(&words) || job.owner.as_ref() == Some(&words));
                let meant = exact.map_or(meant, |job| vec![job]);
                let _ = reply.send(match meant.len() {
                    0 => JobMatches::None,
                    1 => meant.into_iter().next().map_or(JobMatches::None, |job| JobMatches::One(Box::new(job))),
                    _ => JobMatches::Several(meant, false),
                });
            }
        }
    }
}

/// Place of the fixture.
pub(super) fn place() -> Place {
    Place { account: Some("123456789012".into()), ..Place::new("eu-west-1", "eu-west-1") }
}
