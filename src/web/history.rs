//! History of metrics: series over time, from the stored frames.

mod targets;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::RawQuery;
use axum::extract::State;
use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::IntoParams;
use utoipa::ToSchema;

use crate::web::Pages;
use crate::web::error::ApiError;
use crate::web::error::ErrorBody;
use crate::web::place_filter::PlaceFilter;
use crate::web::query::{given_twice, pairs, shown, unknown_parameter};
use crate::web::store_queries::ReadFrames;
use crate::web::watched_targets::WatchedTarget;
use trainspotter_core::metrics::Frame;
use trainspotter_core::metrics::Quantiles;
use trainspotter_core::metrics::Sample;
use trainspotter_core::metrics::Value;
use trainspotter_core::metrics::catalogue;
use trainspotter_core::metrics::catalogue::Metric;
use trainspotter_core::model::Timestamp;
use trainspotter_core::model::parse_duration;

/// Default time span.
const DEFAULT_SPAN: Duration = Duration::from_secs(86_400);

/// Default number of values per series.
const DEFAULT_MOMENTS: u32 = 200;

/// Maximum number of values per series: each requires reading a frame.
pub(super) const MAX_MOMENTS: u32 = 500;

/// Maximum frames read per response. If there are more between `from` and `to`, they are sampled evenly.
pub(super) const MAX_FRAMES: u32 = 3_000;

/// Statistics of a distribution's last hour.
const STATS: [&str; 7] = ["count", "mean", "p50", "p90", "p95", "p99", "max"];

/// Maximum metrics per response.
const MAX_METRICS: usize = 24;

/// Extracts the series of several metrics from frames in one pass.
#[derive(Debug)]
struct Reader {
    views: Vec<HistoryView>,
    reply: oneshot::Sender<Vec<HistoryView>>,
}

impl ReadFrames for Reader {
    fn take(&mut self, frame: &Frame) {
        self.views.iter_mut().for_each(|view| view.take(frame));
    }

    fn is_awaited(&self) -> bool {
        !self.reply.is_closed()
    }

    fn finish(self: Box<Self>) {
        // The client may have disconnected.
        let _ = self.reply.send(self.views);
    }
}

/// Series of one metric over time.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HistoryView {
    /// As in `docs/METRICS.md`.
    #[schema(value_type = String)]
    metric: &'static str,
    /// The statistic over the last hour, for distributions; null for other metrics.
    #[schema(value_type = Option<String>)]
    stat: Option<&'static str>,
    /// How the values of a step are aggregated: `max`, `mean` or `last`.
    fold: Fold,
    /// Minimum interval between the values read; if it is longer than the tick interval, values in between are
    /// skipped.
    looked_every_seconds: f64,
    /// Minimum interval between times.
    step_seconds: f64,
    /// Times, oldest first: in each step the last known one.
    #[schema(value_type = Vec<String>)]
    at: Vec<Timestamp>,
    /// One per label set, ordered by labels.
    #[schema(value_type = Vec<PastSeries>)]
    #[serde(serialize_with = "listed")]
    series: BTreeMap<BTreeMap<String, String>, Vec<Option<Folded>>>,
    #[serde(skip)]
    wanted: BTreeMap<&'static str, String>,
    #[serde(skip)]
    from: Timestamp,
    #[serde(skip)]
    step: Duration,
    /// The current step.
    #[serde(skip)]
    current: Option<u128>,
}

/// Aggregation of the values of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Fold {
    Max,
    Mean,
    Last,
}

impl Fold {
    const ALL: [(&'static str, Self); 3] = [("max", Self::Max), ("mean", Self::Mean), ("last", Self::Last)];

    /// The default aggregation: the maximum for waits and ages, since the peak matters; the last value for
    /// counters; otherwise the mean.
    fn of(metric: &Metric) -> Self {
        match metric.kind {
            catalogue::Kind::Counter => Self::Last,
            catalogue::Kind::Distribution => Self::Max,
            catalogue::Kind::Gauge if metric.unit == catalogue::Unit::Seconds => Self::Max,
            catalogue::Kind::Gauge => Self::Mean,
        }
    }
}

/// Aggregate of a step so far.
#[derive(Clone, Copy, Debug)]
struct Folded {
    value: f64,
    count: u32,
}

impl Folded {
    fn add(self, value: f64, fold: Fold) -> Self {
        let count = self.count.saturating_add(1);
        let value = match fold {
            Fold::Max => self.value.max(value),
            Fold::Mean => self.value + (value - self.value) / f64::from(count),
            Fold::Last => value,
        };
        Self { value, count }
    }
}

/// One series.
#[derive(Debug, Serialize, ToSchema)]
struct PastSeries {
    /// All labels of the metric.
    labels: BTreeMap<String, String>,
    /// One value per time, in the metric's unit; null if there was none.
    values: Vec<Option<f64>>,
}

impl HistoryView {
    /// Reads the next frame.
    fn take(&mut self, frame: &Frame) {
        let step = frame.at.since(self.from).as_nanos() / self.step.as_nanos().max(1);
        match self.at.last_mut() {
            Some(last) if self.current == Some(step) => *last = frame.at,
            Some(_) | None => self.at.push(frame.at),
        }
        self.current = Some(step);
        let moments = self.at.len();
        for sample in frame.samples.iter().filter(|sample| sample.metric.name == self.metric) {
            let is_wanted =
                |(label, value): (&&str, &String)| sample.labels.get(label).is_some_and(|is| **is == **value);
            let Some(value) = self.value(sample).filter(|_| self.wanted.iter().all(is_wanted)) else { continue };
            let labels = sample.labels.iter().map(|(label, value)| (label.to_owned(), value.to_string())).collect();
            let values = self.series.entry(labels).or_default();
            values.resize(moments, None);
            if let Some(last) = values.last_mut() {
                let new = Folded { value, count: 1 };
                *last = Some(last.map_or(new, |folded| folded.add(value, self.fold)));
            }
        }
    }

    fn value(&self, sample: &Sample) -> Option<f64> {
        match &sample.value {
            Value::Gauge(value) | Value::Counter(value) => Some(*value),
            Value::Distribution(distribution) => {
                let Quantiles { count, mean, p50, p90, p95, p99, max } = distribution.recent?;
                let values = [count as f64, mean, p50, p90, p95, p99, max];
                STATS.into_iter().zip(values).find_map(|(stat, value)| (self.stat == Some(stat)).then_some(value))
            }
        }
    }
}

fn listed<S: serde::Serializer>(
    series: &BTreeMap<BTreeMap<String, String>, Vec<Option<Folded>>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(series.iter().map(|(labels, values)| PastSeries {
        labels: labels.clone(),
        values: values.iter().map(|folded| folded.map(|folded| folded.value)).collect(),
    }))
}

/// History of a metric: its series from `from` to `to`, one value per `step`.
#[utoipa::path(
    get, path = "/api/v1/history", tag = "figures", params(HistoryParameters),
    responses((status = 200, body = HistoryView), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn history(
    State(pages): State<Pages>,
    RawQuery(query): RawQuery,
) -> Result<Json<HistoryView>, ApiError> {
    let now = pages.clock.now();
    let parameters = HistoryParameters::parse(query.as_deref().unwrap_or(""))?;
    let watched = parameters.targets(&pages);
    let (asked, view) = parameters.asked(now)?;
    let mut views = targets::read(watched, asked, vec![view]).await?;
    views.pop().map(Json).ok_or_else(|| ApiError::unavailable("no_answer", "the history is unavailable; try again"))
}

/// History of several metrics in one pass: each as in `/api/v1/history`, in this order.
#[utoipa::path(
    get, path = "/api/v1/histories", tag = "figures", params(HistoriesParameters),
    responses((status = 200, body = Vec<HistoryView>), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn histories(
    State(pages): State<Pages>,
    RawQuery(query): RawQuery,
) -> Result<Json<Vec<HistoryView>>, ApiError> {
    let (now, query) = (pages.clock.now(), query.unwrap_or_default());
    let say_which =
        || ApiError::bad_request("metrics is required, for example metrics=queue.wait:p95,queue.wait.oldest");
    let listed = pairs(&query)?.into_iter().find(|(key, _)| key == "metrics").ok_or_else(say_which)?.1;
    let metrics: Vec<&str> = listed.split(',').filter(|metric| !metric.is_empty()).collect();
    if metrics.is_empty() {
        return Err(say_which());
    }
    if metrics.len() > MAX_METRICS {
        return Err(ApiError::bad_request(format!("metrics names {}; at most {MAX_METRICS}", metrics.len())));
    }
    let (mut views, mut asked, mut watched) = (Vec::new(), None::<Asked>, Vec::new());
    for metric in metrics {
        let parameters = HistoryParameters::parse_of(&query, metric)?;
        watched = parameters.targets(&pages);
        let (one, view) = parameters.asked(now)?;
        // Read the frames at the shortest interval that any metric needs.
        asked = Some(asked.map_or(one, |asked| Asked { every: asked.every.min(one.every), ..asked }));
        views.push(view);
    }
    let asked = asked.ok_or_else(say_which)?;
    for view in &mut views {
        view.looked_every_seconds = asked.every.as_secs_f64();
    }
    Ok(Json(targets::read(watched, asked, views).await?))
}

/// Which frames to read.
#[derive(Clone, Copy, Debug)]
struct Asked {
    from: Timestamp,
    to: Timestamp,
    every: Duration,
}

/// Parameters for the history of several metrics.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documentation only; `HistoryParameters` is parsed")]
struct HistoriesParameters {
    /// Metric names from `docs/METRICS.md`, comma-separated; for distributions with the statistic after a colon, as
    /// in `queue.wait:p95`. At most 24.
    #[param(required = true)]
    metrics: Option<String>,
    /// Only series of this AWS account.
    account: Option<String>,
    /// Only series of this AWS region.
    region: Option<String>,
    /// Only series of this queue.
    queue: Option<String>,
    /// Only series of this share, for metrics with shares; empty for jobs without a share.
    share: Option<String>,
    /// As in `/api/v1/history`, like the following parameters; parts of a whole, such as `gpu.part`, always use the
    /// mean, and counters the last value.
    fold: Option<String>,
    /// Start time.
    from: Option<String>,
    /// End time.
    to: Option<String>,
    /// Interval between values.
    step: Option<String>,
}

/// Parameters for the history of a metric.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
struct HistoryParameters {
    /// Metric name from `docs/METRICS.md`, such as `queue.wait.oldest`.
    #[param(required = true)]
    metric: Option<String>,
    /// Only series of this AWS account.
    account: Option<String>,
    /// Only series of this AWS region.
    region: Option<String>,
    /// Only series of this queue.
    queue: Option<String>,
    /// Only series of this share; empty for jobs without a share.
    share: Option<String>,
    /// For distributions: `count`, `mean`, `p50`, `p90`, `p95`, `p99` or `max` of the last hour; `p95` by default.
    stat: Option<String>,
    /// How the values of a step are aggregated: `max`, `mean` or `last`. By default `max` for waits, ages and
    /// distributions, `last` for counters and `mean` for everything else.
    fold: Option<String>,
    /// Start time: RFC 3339, or relative such as `-6h`; a day before `to` by default.
    from: Option<String>,
    /// End time, in the same form; now by default.
    to: Option<String>,
    /// Interval between values, such as `5m`. The minimum yields 500 values, the default 200.
    step: Option<String>,
}

impl HistoryParameters {
    /// The targets to read: of those that the filter matches, the ones with the queue, if any has it now.
    fn targets(&self, pages: &Pages) -> Vec<WatchedTarget> {
        let meant = pages.watched(&PlaceFilter { account: self.account.clone(), region: self.region.clone() });
        let Some(queue) = &self.queue else { return meant };
        let has = |target: &&WatchedTarget| {
            target.snapshot.borrow().frame.queues.iter().any(|row| row.queue.as_str() == queue)
        };
        let having: Vec<WatchedTarget> = meant.iter().filter(has).cloned().collect();
        if having.is_empty() { meant } else { having }
    }

    /// Parses a query string; unknown parameters are refused.
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut read = Self::default();
        for (key, value) in pairs(query)? {
            let place = match &*key {
                "metric" => &mut read.metric,
                "account" => &mut read.account,
                "region" => &mut read.region,
                "queue" => &mut read.queue,
                "share" => &mut read.share,
                "stat" => &mut read.stat,
                "fold" => &mut read.fold,
                "from" => &mut read.from,
                "to" => &mut read.to,
                "step" => &mut read.step,
                _ => {
                    return Err(unknown_parameter(
                        &key,
                        "there are metric, account, region, queue, share, stat, fold, from, to and step",
                    ));
                }
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(given_twice(&key));
            }
        }
        Ok(read)
    }

    /// As [`Self::parse`], for one of several metrics, optionally with a statistic. Filters on labels that the
    /// metric lacks are ignored.
    fn parse_of(query: &str, metric: &str) -> Result<Self, ApiError> {
        let rest = pairs(query)?.into_iter().filter(|(key, _)| key != "metrics");
        let rest: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(rest).finish();
        let mut read = Self::parse(&rest)?;
        if read.metric.is_some() || read.stat.is_some() {
            return Err(ApiError::bad_request("give metrics and their statistics as metrics=queue.wait:p95"));
        }
        let (name, stat) = metric.split_once(':').map_or((metric, None), |(name, stat)| (name, Some(stat)));
        let has = |label: &&str| catalogue::find(name).is_none_or(|metric| metric.labels.contains(label));
        read.queue = read.queue.filter(|_| has(&"queue"));
        read.share = read.share.filter(|_| has(&"share"));
        // Counters always use the last value of a step, and parts of a whole the mean, since only means add up to
        // the whole.
        let is_fixed = |metric: &Metric| metric.kind == catalogue::Kind::Counter || is_part_of_a_whole(metric);
        read.fold = read.fold.filter(|_| !catalogue::find(name).is_some_and(is_fixed));
        Ok(Self { metric: Some(name.to_owned()), stat: stat.map(str::to_owned), ..read })
    }

    fn asked(self, now: Timestamp) -> Result<(Asked, HistoryView), ApiError> {
        let Self { metric, account: _, region: _, queue, share, stat, fold, from, to, step } = self;
        let name =
            metric.ok_or_else(|| ApiError::bad_request("metric is required, for example metric=queue.wait.oldest"))?;
        let metric: &Metric = catalogue::find(&name).ok_or_else(|| {
            ApiError::bad_request(format!("there is no metric {}; see docs/METRICS.md", shown(&name)))
        })?;
        let wanted: BTreeMap<_, _> = [("queue", queue), ("share", share)]
            .into_iter()
            .filter_map(|(label, value)| Some((label, value?)))
            .collect();
        if let Some(label) = wanted.keys().find(|label| !metric.labels.contains(label)) {
            return Err(ApiError::bad_request(format!("{name} has no label {label}")));
        }
        let to = to.map_or(Ok(now), |text| moment("to", &text, now))?;
        let from = from.map_or(Ok(to - DEFAULT_SPAN), |text| moment("from", &text, now))?;
        if from >= to {
            return Err(ApiError::bad_request("`from` must be before `to`"));
        }
        let step = match step {
            None => to.since(from) / DEFAULT_MOMENTS,
            Some(text) => span(&text).ok_or_else(|| {
                ApiError::bad_request(format!("step is {}; write it like 30s, 5m or 1h", shown(&text)))
            })?,
        };
        let step = step.max(to.since(from) / MAX_MOMENTS);
        let fold = match fold {
            None => Fold::of(metric),
            Some(text) => {
                Fold::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, fold)| fold).ok_or_else(|| {
                    ApiError::bad_request(format!("fold is {}; there are max, mean and last", shown(&text)))
                })?
            }
        };
        let every = match fold {
            Fold::Last => step,
            Fold::Max | Fold::Mean => (to.since(from) / MAX_FRAMES).min(step),
        };
        let view = HistoryView {
            metric: metric.name,
            stat: stat_of(metric, stat)?,
            fold,
            looked_every_seconds: every.as_secs_f64(),
            step_seconds: step.as_secs_f64(),
            at: Vec::new(),
            series: BTreeMap::new(),
            wanted,
            from,
            step,
            current: None,
        };
        Ok((Asked { from, to, every }, view))
    }
}

/// Whether series are stacked, so that their peaks at different times would add up to a total that never occurred.
fn is_part_of_a_whole(metric: &Metric) -> bool {
    let parts = ["part", "cause", "reason"];
    metric.kind == catalogue::Kind::Gauge
        && (metric.labels.iter().any(|label| parts.contains(label)) || metric.name == catalogue::QUEUE_DEMAND.name)
}

fn stat_of(metric: &Metric, stat: Option<String>) -> Result<Option<&'static str>, ApiError> {
    if metric.kind != catalogue::Kind::Distribution {
        let message = || {
            ApiError::bad_request(format!(
                "{} is not a distribution: leave `stat` out; `fold` selects how the values of a step are aggregated",
                metric.name
            ))
        };
        return stat.map_or(Ok(None), |_| Err(message()));
    }
    let Some(stat) = stat else { return Ok(Some("p95")) };
    let known = STATS.into_iter().find(|known| *known == stat);
    let message = || ApiError::bad_request(format!("stat is {}; there are {}", shown(&stat), STATS.join(", ")));
    known.map(Some).ok_or_else(message)
}

/// Parses a time: absolute, or relative to `now`.
pub(super) fn moment(key: &str, text: &str, now: Timestamp) -> Result<Timestamp, ApiError> {
    let message = || {
        let form = "write it like 2026-03-01T12:00:00Z, or -6h for six hours ago";
        ApiError::bad_request(format!("{key} is {}; {form}", shown(text)))
    };
    let relative = text.strip_prefix("now").unwrap_or(text);
    if relative.is_empty() && !text.is_empty() {
        return Ok(now);
    }
    match relative.strip_prefix('-') {
        Some(ago) if !ago.contains('T') => span(ago).map(|ago| now - ago).ok_or_else(message),
        Some(_) | None => serde_json::from_value(text.into()).map_err(|_| message()),
    }
}

/// Parses a duration; `M` is not accepted for months.
fn span(text: &str) -> Option<Duration> {
    parse_duration(text).ok()
}
