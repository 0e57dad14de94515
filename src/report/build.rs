//! Computes the figures of a report from rows of the archive.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::report::Key;
use crate::report::contents::{Breakdown, Failures, Gpus, Lending, Objective, Report, Waits};
use crate::report::gpu_time_coverage::Coverage;
use crate::report::text::moment;
use crate::report::wastes::{self, WasteKind};
use trainspotter_core::jobs::FailureCategory;
use trainspotter_core::metrics::EndedJob;
use trainspotter_core::metrics::archived_hour::HourFigures;
use trainspotter_core::metrics::gpu_part_names::{Part, UnallocatedCause};
use trainspotter_core::model::Timestamp;
use trainspotter_core::model::format::counted;
use trainspotter_core::rules;

/// Maximum rows of a breakdown; all other jobs are summed in the row `(other)`.
const MAX_ROWS: usize = 10_000;

/// Maximum waits kept for quantiles, over all rows. With more, quantiles are those of the first.
const MAX_WAITS: usize = 10_000_000;

/// Maximum distinct tags remembered for messages, beside those of the report's keys.
const MAX_TAGS: usize = 1_000;

/// Minimum GPU-hours without a price for a note.
const MIN_MISSING: f64 = 0.05;

/// Length of an hour; hourly rows begin at one.
const HOUR: Duration = Duration::from_secs(3_600);

/// Name of the row for all other jobs.
const OTHER: &str = "(other)";

/// A report being built.
#[derive(Debug)]
pub struct Builder {
    from: Timestamp,
    to: Timestamp,
    by: Vec<Key>,
    objectives: Vec<(rules::Objective, u64, u64)>,
    jobs: u64,
    columns: BTreeMap<String, f64>,
    /// GPU-seconds by part of the hours with known dollars.
    priced: BTreeMap<&'static str, f64>,
    lending: BTreeMap<Quota, Lending>,
    failures: BTreeMap<String, (u64, f64)>,
    rows: BTreeMap<Vec<String>, Row>,
    waits_kept: usize,
    waits_left_out: u64,
    tags: BTreeSet<String>,
    /// Hours with rows, by account and region.
    hours: BTreeMap<Place, BTreeSet<Timestamp>>,
    /// GPU time of jobs and of hours, by account and region.
    coverage: BTreeMap<Place, Coverage>,
    notes: Vec<String>,
}

/// Account and region, if known.
type Place = (Option<String>, Option<String>);

/// Key of a quota: account, region, queue and share.
type Quota = (Option<String>, Option<String>, String, String);

#[derive(Debug, Default)]
struct Row {
    breakdown: Breakdown,
    waits: Vec<f64>,
    sum: f64,
}

impl Builder {
    /// Starts a report about a period, grouped by these keys.
    pub fn new(from: Timestamp, to: Timestamp, by: Vec<Key>, objectives: Vec<rules::Objective>) -> Self {
        Self {
            from,
            to,
            by,
            objectives: objectives.into_iter().map(|objective| (objective, 0, 0)).collect(),
            jobs: 0,
            columns: BTreeMap::new(),
            priced: BTreeMap::new(),
            lending: BTreeMap::new(),
            failures: BTreeMap::new(),
            rows: BTreeMap::new(),
            waits_kept: 0,
            waits_left_out: 0,
            tags: BTreeSet::new(),
            hours: BTreeMap::new(),
            coverage: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// The period.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        (self.from, self.to)
    }

    /// Adds a note about missing data.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The tags of the jobs seen so far.
    pub fn tags(&self) -> &BTreeSet<String> {
        &self.tags
    }

    /// Adds a job, if it ended in the period.
    pub fn take_job(&mut self, job: &EndedJob) {
        if !(self.from..self.to).contains(&job.ended_at) {
            return;
        }
        self.jobs += 1;
        self.coverage.entry((job.account.clone(), job.region.clone())).or_default().take_job(job);
        for tag in job.tags.keys() {
            let is_key = || self.by.iter().any(|key| key.as_str() == tag);
            if !self.tags.contains(tag) && (self.tags.len() < MAX_TAGS || is_key()) {
                self.tags.insert(tag.clone());
            }
        }
        let wait = job.first_wait_seconds.filter(|_| job.scheduled_at.is_some());
        if let Some(seconds) = wait {
            for (objective, all, good) in &mut self.objectives {
                if objective.is_about(&job.queue, job.share.as_deref().unwrap_or_default()) {
                    *all += 1;
                    *good += u64::from(seconds <= objective.within_seconds);
                }
            }
        }
        if let Some(category) = &job.failure_category {
            let (jobs, lost) = self.failures.entry(category.clone()).or_default();
            *jobs += 1;
            *lost += hours(job.lost_gpu_seconds.unwrap_or(0.0));
        }
        let keys: Vec<String> = self.by.iter().map(|key| key.of(job).to_owned()).collect();
        let is_other = self.rows.len() >= MAX_ROWS && !self.rows.contains_key(&keys);
        let keys = if is_other { vec![OTHER.to_owned(); keys.len()] } else { keys };
        let row = self.rows.entry(keys).or_default();
        row.add(job);
        if let Some(seconds) = wait {
            row.breakdown.waits.count += 1;
            row.sum += seconds;
            if self.waits_kept < MAX_WAITS {
                row.waits.push(seconds);
                self.waits_kept += 1;
            } else {
                self.waits_left_out += 1;
            }
        }
    }

    /// Adds an hour, if it began in the period.
    pub fn take_hour(&mut self, hour: &HourFigures) {
        if !(self.from..self.to).contains(&hour.hour) {
            return;
        }
        let place = (hour.account.clone(), hour.region.clone());
        self.hours.entry(place.clone()).or_default().insert(hour.hour);
        self.coverage.entry(place).or_default().take_hour(hour);
        for (column, value) in &hour.figures {
            match self.columns.get_mut(column) {
                Some(sum) => *sum += value,
                None => _ = self.columns.insert(column.clone(), *value),
            }
        }
        for part in Part::ALL.map(Part::as_str).into_iter().filter(|part| hour.figures.contains_key(&dollars(part))) {
            *self.priced.entry(part).or_default() += hour.figures.get(&gpu_seconds(part)).copied().unwrap_or(0.0);
        }
        let Some(share) = &hour.share else { return };
        let of_quota = |part: &str| hour.figures.get(&format!("quota_{part}_gpu_seconds")).copied().map(hours);
        let Some(own) = of_quota("own") else { return };
        let quota = (hour.account.clone(), hour.region.clone(), hour.queue.clone(), share.clone());
        let row = self.lending.entry(quota).or_insert_with(|| Lending {
            account: hour.account.clone(),
            region: hour.region.clone(),
            queue: hour.queue.clone(),
            share: share.clone(),
            ..Lending::default()
        });
        let while_waiting = of_quota("idle_while_waiting").unwrap_or(0.0);
        row.own_gpu_hours += own;
        row.lent_gpu_hours += of_quota("lent").unwrap_or(0.0);
        row.borrowed_gpu_hours += of_quota("borrowed").unwrap_or(0.0);
        row.idle_gpu_hours += of_quota("idle").unwrap_or(0.0) + while_waiting;
        row.idle_while_waiting_gpu_hours += while_waiting;
    }

    /// Builds the report.
    pub fn finish(mut self) -> Report {
        let parts: Vec<Gpus> = Part::ALL
            .into_iter()
            .filter(|part| *part != Part::OtherQueues)
            .map(|part| self.gpus(part.as_str(), &gpu_seconds(part.as_str()), Some(part)))
            .collect();
        let sum = |of: fn(&Gpus) -> f64| parts.iter().map(of).sum::<f64>();
        let dollars_of = |parts: &[&Gpus]| parts.iter().map(|part| part.dollars).sum::<Option<f64>>();
        let used: Vec<&Gpus> = parts.iter().filter(|part| part.name != Part::Unallocated.as_str()).collect();
        let (gpu_hours, dollars) = (sum(|part| part.gpu_hours), dollars_of(&parts.iter().collect::<Vec<_>>()));
        let (used_gpu_hours, used_dollars) = (used.iter().map(|part| part.gpu_hours).sum(), dollars_of(&used));
        let idle = UnallocatedCause::ALL.into_iter().map(|cause| {
            let name = cause.as_str();
            self.gpus(name, &format!("unallocated_{name}_gpu_seconds"), None)
        });
        let idle = idle.collect();
        if self.columns.get("other_queues_gpu_seconds").is_some_and(|seconds| *seconds > 0.0) {
            let note = "queues share a service environment: its unallocated capacity counts for each of them";
            self.notes.push(note.to_owned());
        }
        self.note_missing_prices(gpu_hours);
        self.note_missing_hours();
        if self.waits_left_out > 0 {
            let left_out = counted(self.waits_left_out, "wait");
            self.notes.push(format!("quantiles of waits cover the first {MAX_WAITS} only, without {left_out} others"));
        }
        Report {
            wastes: wastes::largest(|kind| self.waste(kind)),
            from: self.from,
            to: self.to,
            by: self.by.iter().map(|key| key.as_str().to_owned()).collect(),
            jobs: self.jobs,
            hours_from: self.hours.values().filter_map(BTreeSet::first).min().copied(),
            hours_to: self.hours.values().filter_map(BTreeSet::last).max().map(|last| *last + HOUR),
            gpu_hours,
            used_gpu_hours,
            dollars,
            used_dollars,
            parts,
            idle,
            lending: self.lending.into_values().collect(),
            objectives: self
                .objectives
                .into_iter()
                .map(|(objective, all, good)| reached(&objective, all, good))
                .collect(),
            failures: failures(self.failures),
            breakdown: breakdown(self.rows),
            notes: self.notes,
        }
    }

    /// GPU-hours of a column with their dollars: as recorded for a part, otherwise at the mean price of its part.
    fn gpus(&self, name: &str, column: &str, part: Option<Part>) -> Gpus {
        let gpu_hours = hours(self.columns.get(column).copied().unwrap_or(0.0));
        let dollars = match part {
            Some(part) => self.columns.get(&dollars(part.as_str())).copied(),
            None => self.dollars_like(&[Part::Unallocated], gpu_hours),
        };
        Gpus { name: name.to_owned(), gpu_hours, dollars }
    }

    /// Cost of GPU-hours at the mean price of those parts that have one.
    fn dollars_like(&self, parts: &[Part], gpu_hours: f64) -> Option<f64> {
        let of_part = |part: &Part| self.columns.get(&dollars(part.as_str())).copied();
        let all_dollars = parts.iter().map(of_part).sum::<Option<f64>>()?;
        let priced = hours(parts.iter().filter_map(|part| self.priced.get(part.as_str())).sum());
        (priced > 0.0).then(|| all_dollars / priced * gpu_hours)
    }

    /// Adds a note about GPU-hours without a price, if others have one.
    fn note_missing_prices(&mut self, gpu_hours: f64) {
        let other_queues = Part::OtherQueues.as_str();
        let priced = hours(self.priced.iter().filter(|(part, _)| **part != other_queues).map(|(_, sum)| sum).sum());
        if priced > 0.0 && gpu_hours - priced >= MIN_MISSING {
            let missing = gpu_hours - priced;
            self.notes.push(format!(
                "prices are missing for {missing:.1} of {gpu_hours:.1} GPU-hours: sums of dollars exclude them, \
                 and waste is valued at the mean price of the others"
            ));
        }
    }

    /// Adds notes about missing hours, by account and region.
    fn note_missing_hours(&mut self) {
        if self.hours.is_empty() {
            self.notes.push("there are no hourly rows for this period: GPU use is unknown".to_owned());
        }
        let is_one = self.hours.len() == 1;
        for ((account, region), hours) in &self.hours {
            let known = |part: &Option<String>| part.clone().unwrap_or_else(|| "(unknown)".to_owned());
            let of = if is_one { String::new() } else { format!(", of {}/{}", known(account), known(region)) };
            let missing = missing_hours((self.from, self.to), hours);
            self.notes.extend(missing.into_iter().map(|what| format!("{what}{of}")));
            let coverage = self.coverage.get(&(account.clone(), region.clone()));
            let left_out = coverage.map_or(0, Coverage::left_out);
            if left_out > 0 {
                let jobs = counted(left_out, "job");
                self.notes.push(format!("GPU use was not compared with the GPU time of {jobs}{of}: they are too many"));
            }
            let incomplete = coverage.and_then(|coverage| coverage.incomplete(hours));
            self.notes.extend(incomplete.map(|fraction| {
                format!(
                    "GPU use covers only about {:.0} % of the time of these hours{of}: no GPU time is counted between polls \
                     that are far apart (metric `poll.interval`), for example on a busy machine or in a fast demo",
                    fraction * 100.0
                )
            }));
        }
    }

    fn waste(&self, kind: &WasteKind) -> (f64, Option<f64>) {
        let gpu_hours = hours(kind.columns.iter().filter_map(|column| self.columns.get(*column)).sum());
        let like: &[Part] = match kind.name {
            "no_demand" | "quota_bound" | "shape_does_not_fit" => &[Part::Unallocated],
            "running_idle" => &[Part::Idle],
            "starting" => &[Part::Scheduled, Part::Starting],
            _ => &[Part::Busy, Part::Idle, Part::Unknown],
        };
        (gpu_hours, self.dollars_like(like, gpu_hours))
    }
}

/// Parts of a period without hourly rows.
fn missing_hours((from, to): (Timestamp, Timestamp), hours: &BTreeSet<Timestamp>) -> Vec<String> {
    let (Some(first), Some(last)) = (hours.first().copied(), hours.last().copied()) else { return Vec::new() };
    let end = last + HOUR;
    let mut missing = Vec::new();
    // Hours that began before the period are not part of it, and the last one is not completed.
    if first.since(from) >= HOUR {
        missing.push(format!(
            "there are no data from {} to {} (before the retention, or not watched), and none about jobs that \
             ended then",
            moment(from),
            moment(first)
        ));
    }
    let between = (end.since(first).as_secs() / HOUR.as_secs()).saturating_sub(hours.len() as u64);
    if between > 0 {
        missing.push(format!(
            "{} in between have no rows: the service did not run, or did not poll",
            counted(between, "hour")
        ));
    }
    if to.since(end) >= HOUR * 2 {
        missing.push(format!("nothing was counted from {} to {}", moment(end), moment(to)));
    }
    missing
}

impl Row {
    fn add(&mut self, job: &EndedJob) {
        let row = &mut self.breakdown;
        row.jobs += 1;
        row.succeeded += u64::from(job.outcome == "succeeded");
        row.failed += u64::from(job.outcome == "failed");
        row.preemptions += u64::from(job.preemptions.unwrap_or(0));
        row.gpu_hours += hours(job.gpu_seconds.unwrap_or(0.0));
        row.lost_gpu_hours += hours(job.lost_gpu_seconds.unwrap_or(0.0));
        if let Some(dollars) = job.dollars {
            *row.dollars.get_or_insert(0.0) += dollars;
        }
    }
}

fn dollars(part: &str) -> String {
    format!("{part}_dollars")
}

fn gpu_seconds(part: &str) -> String {
    format!("{part}_gpu_seconds")
}

fn hours(seconds: f64) -> f64 {
    seconds / 3_600.0
}

fn reached(objective: &rules::Objective, all: u64, good: u64) -> Objective {
    Objective {
        name: objective.name.clone(),
        within_seconds: objective.within_seconds,
        target: objective.target,
        reached: (all > 0).then(|| good as f64 / all as f64),
        waits: all,
    }
}

fn failures(by_category: BTreeMap<String, (u64, f64)>) -> Vec<Failures> {
    let row = |(category, (jobs, lost_gpu_hours)): (String, (u64, f64))| {
        let known = FailureCategory::ALL.into_iter().find(|known| known.as_str() == category);
        Failures {
            who: known.map_or("nobody knows", who).to_owned(),
            words: known.map(FailureCategory::words).unwrap_or_default().to_owned(),
            category,
            jobs,
            lost_gpu_hours,
        }
    };
    let mut rows: Vec<Failures> = by_category.into_iter().map(row).collect();
    rows.sort_by(|a, b| b.jobs.cmp(&a.jobs).then_with(|| a.category.cmp(&b.category)));
    rows
}

/// Who can fix a failure.
fn who(category: FailureCategory) -> &'static str {
    match category {
        FailureCategory::UserCode => "the job's owner",
        FailureCategory::Misconfiguration => "the job's owner, or the operator of the queue",
        FailureCategory::TimedOut => "the job's owner",
        FailureCategory::Terminated => "the person who cancelled it",
        FailureCategory::Preempted => "the operator of the queue",
        FailureCategory::AccountQuota => "the administrator of the account",
        FailureCategory::Capacity | FailureCategory::SagemakerInternal => "AWS",
    }
}

fn breakdown(rows: BTreeMap<Vec<String>, Row>) -> Vec<Breakdown> {
    let finished = |(keys, Row { mut breakdown, mut waits, sum }): (Vec<String>, Row)| {
        waits.sort_by(f64::total_cmp);
        let count = breakdown.waits.count;
        // A quantile `p` is `sorted[floor(p * n)]`, as everywhere.
        let at = |hundredths: usize| waits.get(waits.len() * hundredths / 100).copied();
        breakdown.waits = Waits {
            count,
            mean_seconds: (count > 0).then(|| sum / count as f64),
            p50_seconds: at(50),
            p90_seconds: at(90),
            max_seconds: waits.last().copied(),
        };
        breakdown.keys = keys;
        breakdown
    };
    let mut rows: Vec<Breakdown> = rows.into_iter().map(finished).collect();
    rows.sort_by(|a, b| b.gpu_hours.total_cmp(&a.gpu_hours).then_with(|| a.keys.cmp(&b.keys)));
    rows
}
