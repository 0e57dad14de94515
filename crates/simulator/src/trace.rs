//! Workloads from CSV files: scheduled here, or replayed as recorded.
//!
//! A header names the columns. `job_id, share, num_gpu, submit_s` and either `duration_s` (the simulator schedules)
//! or `start_s, end_s` (it replays; empty means never). Optional:
//! `instance_type, instance_count, priority, owner, status, gpu_util` (percent of each GPU). Times are seconds from
//! the start of the trace.
//!
//! A trace contains no quotas, so they are derived: see [`load`].

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use csv::StringRecord;

use crate::workload::Workload;
use trainspotter_core::model::{
    Accelerators, Capacity, InstanceType, Policy, QueueName, QuotaShare, ServiceEnvironment, ShareName, Sharing,
    Timestamp, accelerators_of,
};
use trainspotter_core::scheduler::{Delays, Plan, PlannedOutcome, QueueSetup, Setup, Submission, Terms};

/// Batch's limit of quota shares per queue.
const MAX_SHARES: usize = 20;
/// Batch's limit of capacity limits per quota share.
const MAX_TYPES: usize = 5;
/// Default instance type: one GPU, so that GPUs and instances are the same number.
const ONE_GPU: &str = "ml.p5.4xlarge";
/// Default instance type of jobs without GPUs.
const NO_GPU: &str = "ml.m5.4xlarge";
/// Ratio of quota to mean demand when the simulator schedules: low enough that waits build up while jobs arrive, and
/// high enough that they drain within a third of that time afterwards.
const TIGHTNESS: f64 = 0.9;
/// Default GPU utilisation.
const USUAL_UTILISATION: f64 = 0.8;
/// Maximum instances of a capacity limit: `maxCapacity` is a signed 32-bit integer.
const MOST_INSTANCES: f64 = i32::MAX as f64;
/// Maximum seconds, about 300 years; a larger number is a timestamp or a mistake.
const MAX_SECONDS: f64 = 1e10;
const FAILED: &str = "Received status from SageMaker: AlgorithmError: recorded as failed";

/// An error in a trace, with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; `None` for an error of the whole file.
    pub line: Option<u64>,
    /// Name of the column, if the error is in one.
    pub column: Option<String>,
    /// What is wrong and how to fix it.
    pub message: String,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ": column {column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for TraceError {}

/// Reads a trace and maps its second 0 to `start`. There is one queue, named after the file, with one share per share
/// of the trace; each share lends, and borrows without limit.
///
/// If the simulator schedules, a share's quota is 90 % of its mean demand over the time of arrivals, but no less than
/// its largest job and no more than all its jobs together; instances without GPUs are never short. If it replays, the
/// quota is the maximum that the share used at any time.
///
/// # Errors
/// The file cannot be read, lacks a column, or has an invalid row.
pub fn load(path: &Path, start: Timestamp) -> Result<Workload, TraceError> {
    let text = std::fs::read(path).map_err(|error| about_file(path, format!("cannot be read: {error}")))?;
    parse(&text, path, start)
}

/// As [`load`], for the contents of a file.
///
/// # Errors
/// As for [`load`].
pub fn parse(text: &[u8], path: &Path, start: Timestamp) -> Result<Workload, TraceError> {
    let name = path.file_stem().map_or_else(|| "trace".into(), |stem| stem.to_string_lossy());
    read(text, &name, start).map_err(|problem| match problem.place {
        Some((line, column)) => TraceError { line: Some(line), column, ..about_file(path, problem.message) },
        None => about_file(path, problem.message),
    })
}

fn about_file(path: &Path, message: String) -> TraceError {
    TraceError { path: path.to_owned(), line: None, column: None, message }
}

/// An error, with the line and column if known.
#[derive(Debug)]
struct Problem {
    place: Option<(u64, Option<String>)>,
    message: String,
}

/// A parsed row.
#[derive(Debug)]
struct Row {
    job: String,
    share: ShareName,
    unit: InstanceType,
    count: u32,
    submit: Duration,
    course: Course,
    outcome: PlannedOutcome,
    priority: i32,
    owner: Option<String>,
    utilisation: f64,
}

/// Recorded times, or a duration.
#[derive(Clone, Copy, Debug)]
enum Course {
    Lasts(Duration),
    Recorded { start: Option<Duration>, end: Option<Duration> },
}

fn read(text: &[u8], name: &str, start: Timestamp) -> Result<Workload, Problem> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let header = reader.headers().map_err(|error| unreadable(&error))?.clone();
    check_header(&header)?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| unreadable(&error))?;
        rows.push(Cells { header: &header, record: &record }.row()?);
    }
    rows.sort_by_key(|row| row.submit);
    let queue = QueueName::new(name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_', "_"));
    let setup = setup(&queue, &rows)?;
    let submissions = rows.into_iter().map(|row| submission(row, &queue, start)).collect();
    Ok(Workload { setup, submissions })
}

fn unreadable(error: &csv::Error) -> Problem {
    Problem { place: error.position().map(|at| (at.line(), None)), message: format!("is no CSV: {error}") }
}

fn check_header(header: &StringRecord) -> Result<(), Problem> {
    let has = |column: &str| header.iter().any(|name| name == column);
    let lacks =
        |column: &str, why: &str| Problem { place: Some((1, Some(column.to_owned()))), message: why.to_owned() };
    if let Some(column) = ["job_id", "share", "num_gpu", "submit_s"].into_iter().find(|column| !has(column)) {
        return Err(lacks(column, "is missing; job_id, share, num_gpu and submit_s are needed"));
    }
    match (has("duration_s"), has("start_s"), has("end_s")) {
        (true, false, false) | (false, true, true) => Ok(()),
        (false, true, false) => Err(lacks("end_s", "is missing beside start_s")),
        (false, false, true) => Err(lacks("start_s", "is missing beside end_s")),
        (false, false, false) => Err(lacks("duration_s", "is missing; give it, or start_s and end_s")),
        (true, _, _) => Err(lacks("duration_s", "contradicts start_s and end_s; keep one form")),
    }
}

/// A record, read by column names.
struct Cells<'a> {
    header: &'a StringRecord,
    record: &'a StringRecord,
}

impl Cells<'_> {
    fn row(&self) -> Result<Row, Problem> {
        let (unit, count) = self.demand()?;
        let submit = self.required("submit_s", Self::seconds)?;
        Ok(Row {
            job: self.required("job_id", |_, text| Ok(text.to_owned()))?,
            share: self.required("share", |_, text| Ok(ShareName::from(text)))?,
            unit,
            count,
            submit,
            course: self.course(submit)?,
            outcome: self.outcome()?,
            priority: self.optional("priority", Self::whole)?.unwrap_or(0),
            owner: self.text("owner").map(str::to_owned),
            utilisation: self.optional("gpu_util", Self::percent)?.unwrap_or(USUAL_UTILISATION),
        })
    }

    /// Instance type and number. Without a type, one instance per GPU; without GPUs, one instance without GPUs.
    fn demand(&self) -> Result<(InstanceType, u32), Problem> {
        let gpus = self.required("num_gpu", Self::whole::<u32>)?;
        let given = self.optional("instance_count", Self::whole::<u32>)?;
        let usual = if gpus == 0 { NO_GPU } else { ONE_GPU };
        let unit = InstanceType::from(self.text("instance_type").unwrap_or(usual));
        match (given, accelerators_of(&unit)) {
            (Some(0), _) => Err(self.problem("instance_count", "a job needs at least one instance".to_owned())),
            (Some(count), _) if f64::from(count) > MOST_INSTANCES => {
                Err(self.problem("instance_count", format!("{count} instances: Batch counts {MOST_INSTANCES} at most")))
            }
            (Some(count), _) => Ok((unit, count)),
            (None, _) if gpus == 0 => Ok((unit, 1)),
            (None, Some(Accelerators::Gpus(each) | Accelerators::Neuron(each))) if each > 0 => {
                Ok((unit, gpus.div_ceil(each)))
            }
            (None, _) => {
                Err(self.problem("instance_type", format!("{unit} has no GPUs known here; give instance_count")))
            }
        }
    }

    fn course(&self, submit: Duration) -> Result<Course, Problem> {
        if self.header.iter().any(|name| name == "duration_s") {
            return Ok(Course::Lasts(self.required("duration_s", Self::seconds)?));
        }
        let (start, end) = (self.optional("start_s", Self::seconds)?, self.optional("end_s", Self::seconds)?);
        if start.is_some_and(|start| start < submit) {
            return Err(self.problem("start_s", "is before submit_s".to_owned()));
        }
        if end.is_some_and(|end| end < start.unwrap_or(submit)) {
            return Err(self.problem("end_s", "is before start_s or submit_s".to_owned()));
        }
        Ok(Course::Recorded { start, end })
    }

    fn outcome(&self) -> Result<PlannedOutcome, Problem> {
        let Some(status) = self.text("status") else { return Ok(PlannedOutcome::Succeeds) };
        match status.to_ascii_lowercase().as_str() {
            "succeeded" | "completed" | "pass" => Ok(PlannedOutcome::Succeeds),
            "failed" | "killed" | "cancelled" | "canceled" | "stopped" => Ok(PlannedOutcome::Fails(FAILED.to_owned())),
            _ => Err(self.problem("status", format!("{status:?} is not one of succeeded, failed, killed, cancelled"))),
        }
    }

    fn text(&self, column: &str) -> Option<&str> {
        let place = self.header.iter().position(|name| name == column)?;
        self.record.get(place).filter(|text| !text.is_empty())
    }

    fn optional<T>(&self, column: &str, read: fn(&str, &str) -> Result<T, String>) -> Result<Option<T>, Problem> {
        let read = |text| read(column, text).map_err(|message| self.problem(column, message));
        self.text(column).map(read).transpose()
    }

    fn required<T>(&self, column: &str, read: fn(&str, &str) -> Result<T, String>) -> Result<T, Problem> {
        self.optional(column, read)?.ok_or_else(|| self.problem(column, "is empty".to_owned()))
    }

    fn problem(&self, column: &str, message: String) -> Problem {
        let line = self.record.position().map_or(0, csv::Position::line);
        Problem { place: Some((line, Some(column.to_owned()))), message }
    }

    fn whole<T: std::str::FromStr>(_: &str, text: &str) -> Result<T, String> {
        text.parse().map_err(|_| format!("{text:?} is no whole number in range"))
    }

    fn seconds(_: &str, text: &str) -> Result<Duration, String> {
        let seconds = text.parse().ok().filter(|seconds| (0.0..=MAX_SECONDS).contains(seconds));
        seconds.map(Duration::from_secs_f64).ok_or_else(|| format!("{text:?} is no number of seconds from the start"))
    }

    fn percent(_: &str, text: &str) -> Result<f64, String> {
        let percent = text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
        percent.map(|percent: f64| percent / 100.0).ok_or_else(|| format!("{text:?} is no percentage, 0 to 100"))
    }
}

fn submission(row: Row, queue: &QueueName, start: Timestamp) -> Submission {
    let plan = match row.course {
        Course::Lasts(duration) => Plan::Runs { duration, outcome: row.outcome },
        Course::Recorded { start: began, end } => Plan::Recorded {
            start: began.map(|began| start + began),
            end: end.map(|end| start + end),
            outcome: row.outcome,
        },
    };
    Submission {
        at: start + row.submit,
        name: row.job,
        queue: queue.clone(),
        share: Some(row.share),
        priority: row.priority,
        demand: vec![Capacity::new(row.unit, f64::from(row.count))],
        tags: row.owner.into_iter().map(|owner| ("owner".to_owned(), owner)).collect(),
        plan,
        terms: Terms::default(),
        utilisation: row.utilisation,
    }
}

fn setup(queue: &QueueName, rows: &[Row]) -> Result<Setup, Problem> {
    let too_many = |what: String| Problem { place: None, message: what };
    let window = rows.last().map_or(0.0, |row| row.submit.as_secs_f64()).max(1.0);
    let mut by_share: BTreeMap<&ShareName, BTreeMap<&InstanceType, Vec<&Row>>> = BTreeMap::new();
    for row in rows {
        by_share.entry(&row.share).or_default().entry(&row.unit).or_default().push(row);
    }
    if by_share.len() > MAX_SHARES {
        let found = by_share.len();
        return Err(too_many(format!("{found} shares, but a queue has at most {MAX_SHARES}: merge some")));
    }
    let mut totals: BTreeMap<&InstanceType, f64> = BTreeMap::new();
    let mut shares = Vec::new();
    for (name, units) in by_share {
        let mut limits = Vec::new();
        for (unit, rows) in units {
            let quota = quota(&rows, window);
            *totals.entry(unit).or_default() += quota;
            limits.push(Capacity::new(unit.clone(), quota));
        }
        let sharing = Sharing::LendAndBorrow { borrow_limit: None };
        shares.push(QuotaShare { name: name.clone(), enabled: true, limits, sharing, in_share_preemption: false });
    }
    if totals.len() > MAX_TYPES {
        let found = totals.len();
        return Err(too_many(format!("{found} instance types, but a quota share has at most {MAX_TYPES} limits")));
    }
    if let Some((unit, total)) = totals.iter().find(|(_, total)| **total > MOST_INSTANCES) {
        let message = format!("needs {total} instances of {unit}, but a capacity limit holds {MOST_INSTANCES} at most");
        return Err(too_many(message));
    }
    let limits = totals.into_iter().map(|(unit, total)| Capacity::new(unit.clone(), total)).collect();
    let environment = ServiceEnvironment { name: format!("{queue}-environment"), enabled: true, limits };
    let queue = QueueSetup::new(queue.clone(), environment.name.clone(), Policy::QuotaShares(shares));
    Ok(Setup { environments: vec![environment], queues: vec![queue], ..Setup::default() })
}

/// The quota for rows of one share and one instance type.
fn quota(rows: &[&Row], window: f64) -> f64 {
    let largest = rows.iter().map(|row| row.count).max().unwrap_or(0);
    let held = Delays::TYPICAL.mean_before_running();
    let mut seconds = 0.0;
    let mut changes = Vec::new();
    for row in rows {
        let count = i64::from(row.count);
        match row.course {
            Course::Lasts(duration) if row.unit.as_str() == NO_GPU => {
                changes.push((row.submit, count));
                changes.push((row.submit + held + duration, -count));
            }
            Course::Lasts(duration) => seconds += f64::from(row.count) * (duration + held).as_secs_f64(),
            Course::Recorded { start: None, .. } => {}
            Course::Recorded { start: Some(start), end } => {
                changes.push((start, count));
                changes.extend(end.map(|end| (end, -count)));
            }
        }
    }
    // At the same instant ends sort before starts: freed capacity can be reused.
    changes.sort_unstable();
    let running = changes.iter().scan(0, |running, (_, change)| {
        *running += change;
        Some(*running)
    });
    #[expect(clippy::cast_precision_loss, reason = "instance counts are far below 2^52")]
    let peak = running.max().unwrap_or(0) as f64;
    // Never more than all jobs at once.
    let all: f64 = rows.iter().map(|row| f64::from(row.count)).sum();
    (seconds / window * TIGHTNESS).ceil().min(all).max(peak).max(f64::from(largest))
}
