//! Clusters minute by minute, through `metrics`: virtual clusters as quota shares that lend nothing. The figures that were integrated
//! from the same data by other means must come out.
//!
//! One is made by `tests/data/cluster/make.py`. Where `TRAINSPOTTER_TRACES` names a folder with them, or there is `../shared/data/traces`,
//! a month of Helios' Earth is another.
//!
//! Counters charge a tick for the time since the one before, so a minute's state is shown at the minute's end.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use trainspotter_core::jobs::Ledger;
use trainspotter_core::metrics::{self, Counting, Inputs, Sample, Service, Value, lending};
use trainspotter_core::model::{
    Capacity, JobSeen, JobStatus, Policy, Queue, QuotaShare, ServiceEnvironment, ShareName, Sharing, Timestamp,
};

const OURS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cluster");
const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/traces");
/// One GPU per instance.
const TYPE: &str = "ml.p3.2xlarge";
const MINUTE: Duration = Duration::from_secs(60);
const DAY: u64 = 24 * 60;
/// 0.1 %.
const TOLERANCE: f64 = 0.001;

/// What a virtual cluster has and does in a minute.
#[derive(Clone, Copy, Default)]
struct Minute {
    quota: u32,
    running: u32,
    pending_gpus: u32,
    pending_jobs: u32,
}

/// Changes by minute of the month.
type Changes = BTreeMap<u64, Vec<(String, Minute)>>;

/// What two files say of a cluster.
struct Cluster {
    changes: Changes,
    minutes: u64,
    /// The figures of each virtual cluster.
    expected: Vec<BTreeMap<String, String>>,
}

impl Cluster {
    fn read(minutes_of: &Path, expected: &Path, minutes: u64) -> Self {
        Self { changes: changes(minutes_of), minutes, expected: rows(expected) }
    }
}

#[test]
fn three_days_of_four_shares_give_the_figures_of_a_plain_count() {
    let folder = Path::new(OURS);
    let cluster = Cluster::read(&folder.join("minutes.csv"), &folder.join("expected.csv"), 3 * DAY);
    assert_eq!(cluster.expected.len(), 4);
    figures_are_as_expected(&cluster);
}

#[test]
fn a_month_of_sixteen_shares_gives_the_published_figures() {
    let folder = std::env::var("TRAINSPOTTER_TRACES").unwrap_or_else(|_| SHARED.to_owned());
    let [minutes, expected] = ["minutes", "expected"].map(|what| format!("helios_earth_vc_{what}_2020-05.csv"));
    let (minutes, expected) = (Path::new(&folder).join(minutes), Path::new(&folder).join(expected));
    if !expected.exists() {
        eprintln!(
            "a month of Helios is not counted, only the cluster of tests/data: there is no {}",
            expected.display()
        );
        return;
    }
    let [idle_hours, pending_minutes, utilisation] =
        figures_are_as_expected(&Cluster::read(&minutes, &expected, 31 * DAY));
    near(idle_hours, 212_091.4, "idle GPU-hours");
    near(pending_minutes, 289_707.0, "pending job-minutes");
    near(utilisation, 0.667, "mean utilisation");
}

/// Compares the figures of each share. Returns idle GPU-hours, pending job-minutes and the mean utilisation of the whole.
fn figures_are_as_expected(cluster: &Cluster) -> [f64; 3] {
    // Two services, one for each half of the time, because one takes twice as long.
    let middle = cluster.minutes / 2;
    let samples: Vec<Sample> = std::thread::scope(|scope| {
        let halves = [0..middle, middle..cluster.minutes].map(|half| scope.spawn(|| watch(&cluster.changes, half)));
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    let counter = |metric: &str, pairs: &[(&str, &str)]| -> f64 {
        let fits = |sample: &&Sample| {
            sample.metric.name == metric
                && pairs.iter().all(|(label, value)| sample.labels.get(label).is_some_and(|found| **found == **value))
        };
        let value = |sample: &Sample| if let Value::Counter(value) = sample.value { value } else { panic!("{metric}") };
        samples.iter().filter(fits).map(value).sum()
    };
    let share_hours = |vc: &str, part: &str| counter("share.time", &[("share", vc), ("part", part)]) / 3_600.0;
    let (mut idle_everywhere, mut pending_everywhere) = (0.0, 0.0);
    for expected in &cluster.expected {
        let vc = expected["vc"].as_str();
        let waiting = share_hours(vc, lending::IDLE_WHILE_WAITING);
        let idle = share_hours(vc, lending::IDLE) + waiting;
        let own = share_hours(vc, lending::OWN) + share_hours(vc, lending::BORROWED);
        let pending_minutes = counter("queue.waiting.time", &[("share", vc)]) / 60.0;
        let pending_gpu_minutes = counter("queue.waiting.gpu_time", &[("share", vc)]) / 60.0;
        for (figure, found) in [
            ("pending_gpu_job_minutes", pending_minutes),
            ("pending_gpu_minutes", pending_gpu_minutes),
            ("idle_gpu_hours", idle),
            ("idle_while_pending_gpu_hours", waiting),
            ("mean_util", own / (own + idle)),
        ] {
            near(found, expected[figure].parse().unwrap(), &format!("{vc} {figure}"));
        }
        idle_everywhere += idle;
        pending_everywhere += pending_minutes;
    }
    let held = counter("gpu.time", &[("part", "running_unknown")]);
    [idle_everywhere, pending_everywhere, held / (held + counter("gpu.time", &[("part", "unallocated")]))]
}

/// What has been counted when some minutes have been watched.
fn watch(changes: &Changes, minutes: Range<u64>) -> Vec<Sample> {
    let (mut now, mut counting) = (BTreeMap::new(), Counting::default());
    now.extend(changes.range(..minutes.start).flat_map(|(_, changes)| changes).cloned());
    let mut samples = tick(&now, &mut counting, minutes.start);
    for minute in minutes.clone() {
        now.extend(changes.get(&minute).into_iter().flatten().cloned());
        // Nothing is charged for more than 15 minutes at once.
        if changes.contains_key(&(minute + 1)) || minute + 1 == minutes.end || minute % 10 == 9 {
            samples = tick(&now, &mut counting, minute + 1);
        }
    }
    samples
}

/// Within 0.1 %, or within what rounding hides in the expected figures.
fn near(found: f64, expected: f64, what: &str) {
    let rounding = if expected < 10.0 { 0.0005 } else { 0.051 };
    assert!((found - expected).abs() <= (expected * TOLERANCE).max(rounding), "{what}: {found} is not {expected}");
}

/// The samples of the tick at the end of a minute.
fn tick(minutes: &BTreeMap<String, Minute>, counting: &mut Counting, ends: u64) -> Vec<Sample> {
    let now = Timestamp::default() + MINUTE * u32::try_from(ends).unwrap();
    let mut ledger = Ledger::default();
    for (vc, minute) in minutes {
        if minute.running > 0 {
            ledger.observe(job(vc, JobStatus::Running, "running", minute.running), now);
        }
        // Only the sum of what they ask for is known.
        for number in 0..minute.pending_jobs {
            let rest = minute.pending_gpus - (minute.pending_jobs - 1);
            let gpus = if number == 0 { rest } else { 1 };
            ledger.observe(job(vc, JobStatus::Runnable, &format!("pending-{number}"), gpus), now);
        }
    }
    let (queues, fronts) = ([queue(minutes)], BTreeMap::new());
    let inputs = Inputs {
        now,
        queues: &queues,
        ledger: &ledger,
        fronts: &fronts,
        prices: &BTreeMap::new(),
        reserved: &[],
        sources: &[],
        expected_starts: &BTreeMap::new(),
        forecasts: &[],
    };
    metrics::frame(&inputs, &Service::default(), counting).samples
}

fn queue(minutes: &BTreeMap<String, Minute>) -> Queue {
    let share = |(vc, minute): (&String, &Minute)| QuotaShare {
        name: ShareName::new(vc.as_str()),
        enabled: true,
        limits: vec![Capacity::new(TYPE, f64::from(minute.quota))],
        sharing: Sharing::Reserve,
        in_share_preemption: false,
    };
    let capacity: u32 = minutes.values().map(|minute| minute.quota).sum();
    let limits = vec![Capacity::new(TYPE, f64::from(capacity))];
    Queue::new(
        "cluster",
        Policy::QuotaShares(minutes.iter().map(share).collect()),
        Some(ServiceEnvironment { name: "cluster".to_owned(), enabled: true, limits }),
    )
}

fn job(vc: &str, status: JobStatus, name: &str, gpus: u32) -> JobSeen {
    let began = Some(Timestamp::default()).filter(|_| status == JobStatus::Running);
    JobSeen {
        name: name.to_owned(),
        share: Some(ShareName::new(vc)),
        scheduled_at: began,
        started_at: began,
        demand: vec![Capacity::new(TYPE, f64::from(gpus))].into(),
        ..JobSeen::new(format!("{vc}-{name}"), "cluster", status, Timestamp::default())
    }
}

fn changes(file: &Path) -> Changes {
    let mut changes = Changes::new();
    for row in rows(file) {
        let number = |column: &str| row[column].parse().unwrap();
        let minute = Minute {
            quota: number("quota_gpus"),
            running: number("running_gpus"),
            pending_gpus: number("pending_gpus"),
            pending_jobs: number("pending_gpu_jobs"),
        };
        changes.entry(minute_of(&row["time"])).or_default().push((row["vc"].clone(), minute));
    }
    changes
}

/// `2020-05-DD hh:mm:00` in minutes of the month.
fn minute_of(time: &str) -> u64 {
    let part = |range: Range<usize>| time[range].parse::<u64>().unwrap();
    ((part(8..10) - 1) * 24 + part(11..13)) * 60 + part(14..16)
}

/// The rows of a file by column; its last line, the totals, is none.
fn rows(file: &Path) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(file).unwrap();
    let header = reader.headers().unwrap().clone();
    let records = reader.records().map(Result::unwrap).filter(|record| record.len() == header.len());
    records.map(|record| header.iter().map(str::to_owned).zip(record.iter().map(str::to_owned)).collect()).collect()
}
