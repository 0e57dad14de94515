//! Workloads for the measurement: jobs with their capacity and queue, from traces or generated.

use std::path::Path;
use std::time::Duration;

use trainspotter_core::model::{
    Capacity, Policy, QuotaShare, ServiceEnvironment, ShareName, Sharing, Timestamp, WeightedShare,
};
use trainspotter_core::scheduler::{Delays, QueueSetup, Setup};

pub const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub const TYPE: &str = "ml.p5.4xlarge";

/// Fraction of the time in which the capacity would suffice for the jobs of a trace if none had to wait.
const ENOUGH_FOR: f64 = 0.9;

/// Maximum jobs of a trace: the first.
const MAX_JOBS: usize = 100_000;

/// One in this many jobs, at each end of a trace, is far from the others and is ignored for the load.
const FAR_OUT: usize = 50;

/// A job of a workload.
#[derive(Clone, Debug)]
pub struct WorkloadJob {
    pub at: Timestamp,
    pub name: String,
    pub owner: String,
    pub share: ShareName,
    pub instances: f64,
    pub seconds: f64,
}

/// Jobs in submission order, with their capacity.
#[derive(Clone, Debug)]
pub struct Workload {
    pub name: String,
    pub jobs: Vec<WorkloadJob>,
    pub capacity: f64,
}

impl Workload {
    /// The jobs of a trace, on enough instances for most of the time.
    pub fn of_trace(name: &str, mut jobs: Vec<WorkloadJob>) -> Option<Self> {
        jobs.sort_by_key(|job| job.at);
        jobs.truncate(MAX_JOBS);
        let few = jobs.len() / FAR_OUT;
        let most = jobs.get(few..jobs.len() - few)?;
        let (from, to) = (most.first()?.at, most.last()?.at);
        let end = |job: &WorkloadJob| job.at + Duration::try_from_secs_f64(job.seconds).unwrap_or_default();
        let mut changes: Vec<(Timestamp, f64)> =
            jobs.iter().flat_map(|job| [(job.at, job.instances), (end(job), -job.instances)]).collect();
        changes.sort_by_key(|(at, _)| *at);
        let (mut asked, mut since, mut held) = (0.0_f64, from, Vec::new());
        for (at, change) in changes {
            if at > since && at <= to {
                held.push((asked, at.seconds_since(since)));
                since = at;
            }
            asked += change;
        }
        held.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut left = to.seconds_since(from) * ENOUGH_FOR;
        let reached = held.into_iter().find(|(_, seconds)| {
            left -= seconds;
            left <= 0.0
        });
        let largest = jobs.iter().map(|job| job.instances).fold(0.0, f64::max);
        Some(Self { name: name.to_owned(), capacity: reached?.0.max(largest), jobs })
    }

    /// Jobs with this load as a fraction of the capacity.
    pub fn of(name: &str, mut jobs: Vec<WorkloadJob>, load: f64) -> Option<Self> {
        jobs.sort_by_key(|job| job.at);
        let span = jobs.last()?.at.seconds_since(jobs.first()?.at).max(1.0);
        let work: f64 = jobs.iter().map(|job| job.instances * job.seconds.min(span)).sum();
        let largest = jobs.iter().map(|job| job.instances).fold(0.0, f64::max);
        Some(Self { name: name.to_owned(), capacity: (work / span / load).ceil().max(largest), jobs })
    }

    pub fn span(&self) -> Duration {
        match (self.jobs.first(), self.jobs.last()) {
            (Some(first), Some(last)) => last.at.since(first.at),
            _ => Duration::ZERO,
        }
    }

    /// The queue of the jobs, by the name of its policy.
    pub fn setup(&self, policy: &str) -> Setup {
        let mut shares: Vec<(ShareName, f64, f64)> = Vec::new();
        for job in &self.jobs {
            let work = job.instances * job.seconds;
            match shares.iter_mut().find(|(share, ..)| *share == job.share) {
                Some((_, all, largest)) => (*all, *largest) = (*all + work, largest.max(job.instances)),
                None => shares.push((job.share.clone(), work, job.instances)),
            }
        }
        let whole: f64 = shares.iter().map(|(_, work, _)| work).sum();
        let quota = |(name, work, largest): &(ShareName, f64, f64)| QuotaShare {
            name: name.clone(),
            enabled: true,
            limits: vec![Capacity::new(TYPE, (self.capacity * work / whole).ceil().max(*largest))],
            sharing: Sharing::LendAndBorrow { borrow_limit: None },
            in_share_preemption: false,
        };
        let quotas: Vec<QuotaShare> = shares.iter().map(quota).collect();
        let limit: f64 = quotas.iter().filter_map(|quota| quota.limit(&TYPE.into())).sum();
        let (policy, capacity) = match policy {
            "FIFO" => (Policy::Fifo, self.capacity),
            "fair share" => {
                let weight = |(share, ..): &(ShareName, f64, f64)| WeightedShare { share: share.clone(), weight: 1.0 };
                let shares = shares.iter().map(weight).collect();
                (Policy::FairShare { shares, decay: Duration::from_secs(3600), reservation: 0 }, self.capacity)
            }
            _ => (Policy::QuotaShares(quotas), limit),
        };
        let limits = vec![Capacity::new(TYPE, capacity)];
        Setup {
            environments: vec![ServiceEnvironment { name: "gpus".to_owned(), enabled: true, limits }],
            queues: vec![QueueSetup::new("q", "gpus", policy)],
            delays: Delays::TYPICAL,
            ..Setup::default()
        }
    }
}

/// A trace with a header and `job_id, share, num_gpu, submit_s` and either `duration_s` or `start_s, end_s`; `owner`
/// and `name`, if present. Jobs that never started are skipped.
pub fn trace(path: &Path) -> Option<Workload> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next()?.split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name);
    let (share, gpus, at) = (column("share")?, column("num_gpu")?, column("submit_s")?);
    let (duration, start, end) = (column("duration_s"), column("start_s"), column("end_s"));
    let (name, owner) = (column("name"), column("owner"));
    let job = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
        let text = |index: Option<usize>| {
            index.and_then(|index| fields.get(index)).map_or_else(String::new, |text| (*text).to_owned())
        };
        let seconds = match duration {
            Some(duration) => number(duration)?,
            None => number(end?)? - number(start?)?,
        };
        Some(WorkloadJob {
            at: START + Duration::try_from_secs_f64(number(at)?).ok()?,
            name: text(name),
            owner: text(owner),
            share: ShareName::new(*fields.get(share)?),
            instances: number(gpus)?.max(1.0),
            seconds: seconds.max(1.0),
        })
    };
    let jobs: Vec<WorkloadJob> = lines.filter_map(job).collect();
    Workload::of_trace(path.file_stem()?.to_str()?, jobs)
}
