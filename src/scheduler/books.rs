//! The books of one queue: its lanes, and its jobs by status.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Range;

use crate::model::{InstanceType, JobStatus, Policy, ShareName};
use crate::scheduler::QueueSetup;
use crate::scheduler::Refusal;
use crate::scheduler::discipline::{Discipline, Lane};
use crate::scheduler::entry::Entry;
use crate::scheduler::pool::{Amounts, Pool};
use crate::scheduler::quota;

/// One queue and its jobs.
#[derive(Debug)]
pub struct Books {
    /// The queue as set up.
    pub setup: QueueSetup,
    /// The index of its environment's pool.
    pub pool: usize,
    /// Its policy.
    pub discipline: Discipline,
    /// Its shares; fair share adds them as they appear.
    pub lanes: Vec<Lane>,
    /// All its jobs.
    pub all: BTreeSet<usize>,
    by_status: [BTreeSet<usize>; JobStatus::KNOWN.len()],
    /// RUNNABLE jobs that wait for their recorded start and take no turn.
    recorded: BTreeSet<(Reverse<i32>, usize)>,
}

/// What one share of a queue uses of one capacity unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The share; `None` is the whole of a FIFO queue.
    pub share: Option<ShareName>,
    /// An instance type, or `NUM_INSTANCES`.
    pub unit: InstanceType,
    /// Its own limit in instances, for FIFO that of the environment; `None` for a fair share, which has none.
    pub quota: Option<u64>,
    /// Instances held by jobs in flight.
    pub used: u64,
    /// Of those, above the quota. Over a queue and unit, borrowed sums to lent.
    pub borrowed: u64,
    /// Of the quota, in use by others.
    pub lent: u64,
}

impl Books {
    /// The empty books of a queue.
    pub fn new(setup: QueueSetup, index: usize, pool: &Pool) -> Self {
        let (discipline, lanes) = Discipline::new(&setup.policy, pool);
        Self {
            setup,
            pool: index,
            discipline,
            lanes,
            all: BTreeSet::new(),
            by_status: Default::default(),
            recorded: BTreeSet::new(),
        }
    }

    /// Whether a job for this share may be submitted.
    pub fn accepts(&self, share: Option<&ShareName>) -> Result<(), Refusal> {
        match (&self.setup.policy, share) {
            (Policy::Fifo, None) | (Policy::FairShare { .. }, Some(_)) => Ok(()),
            (Policy::Fifo, Some(share)) => Err(Refusal::UnexpectedShare(share.clone())),
            (Policy::FairShare { .. } | Policy::QuotaShares(_), None) => Err(Refusal::MissingShare),
            (Policy::QuotaShares(shares), Some(share)) => match shares.iter().find(|one| one.name == *share) {
                Some(found) if found.enabled => Ok(()),
                Some(_) => Err(Refusal::DisabledShare(share.clone())),
                None => Err(Refusal::UnknownShare(share.clone())),
            },
        }
    }

    /// The lane of a share, made if need be.
    pub fn lane(&mut self, share: Option<&ShareName>, pool: &Pool) -> usize {
        self.lanes.iter().position(|lane| lane.share.as_ref() == share).unwrap_or_else(|| {
            self.lanes.push(Lane::new(share.cloned(), pool.units.len()));
            self.lanes.len() - 1
        })
    }

    /// Files a new job.
    pub fn created(&mut self, number: usize) {
        self.all.insert(number);
        self.file(&JobStatus::Submitted).map(|file| file.insert(number));
    }

    /// Files a job under its new status.
    pub fn refile(&mut self, number: usize, before: &JobStatus, after: &JobStatus) {
        if before != after {
            self.file(before).map(|file| file.remove(&number));
            self.file(after).map(|file| file.insert(number));
        }
    }

    /// The numbers of the jobs in a status, as far as they lie in `numbers`.
    pub fn in_status(&self, status: &JobStatus, numbers: Range<usize>) -> impl DoubleEndedIterator<Item = usize> {
        place(status).map(|place| self.by_status[place].range(numbers)).into_iter().flatten().copied()
    }

    /// A job waits for its turn.
    pub fn enqueue(&mut self, entry: &Entry) {
        self.waiting(entry).insert(key(entry));
    }

    /// Whether a job that was enqueued makes it worth while to look who can be dispatched.
    pub fn concerns(&self, entry: &Entry) -> bool {
        !entry.is_recorded() && self.discipline.concerns(&self.lanes[entry.lane], entry)
    }

    /// A job takes its capacity.
    pub fn take(&mut self, entry: &Entry) {
        self.waiting(entry).remove(&key(entry));
        let lane = &mut self.lanes[entry.lane];
        lane.in_flight.insert(entry.job.number);
        if let Some(need) = &entry.need {
            lane.used = lane.used.plus(need);
        }
    }

    /// Preemption begins to stop a job.
    pub fn stopping(&mut self, entry: &Entry) {
        if let Some(need) = &entry.need {
            let lane = &mut self.lanes[entry.lane];
            lane.stopping = lane.stopping.plus(need);
        }
    }

    /// A job leaves its lane, wherever in it it was.
    pub fn release(&mut self, entry: &Entry) {
        self.waiting(entry).remove(&key(entry));
        let lane = &mut self.lanes[entry.lane];
        let was_in_flight = lane.in_flight.remove(&entry.job.number);
        if let Some(need) = entry.need.as_ref().filter(|_| was_in_flight) {
            lane.used = lane.used.minus(need);
            if entry.stopping {
                lane.stopping = lane.stopping.minus(need);
            }
        }
    }

    /// The first `n` waiting jobs: lanes merged by the number of their heads.
    pub fn front(&self, n: usize) -> Vec<usize> {
        let lanes = self.lanes.iter().map(|lane| &lane.waiting).chain([&self.recorded]);
        let mut lanes: Vec<_> = lanes.map(|waiting| waiting.iter().map(|(_, job)| *job).peekable()).collect();
        let mut front = Vec::new();
        while front.len() < n {
            let oldest = lanes.iter_mut().filter_map(|lane| Some((*lane.peek()?, lane))).min_by_key(|(job, _)| *job);
            let Some((job, lane)) = oldest else { break };
            lane.next();
            front.push(job);
        }
        front
    }

    /// What each lane uses of each unit.
    pub fn usage(&self, pool: &Pool) -> Vec<Usage> {
        let quotas = match &self.discipline {
            Discipline::Quotas(quotas) => quotas.as_slice(),
            Discipline::Fifo | Discipline::FairShare(_) => &[],
        };
        let lent: Vec<Vec<i64>> = (0..pool.units.len()).map(|unit| quota::lent(quotas, &self.lanes, unit)).collect();
        let mut rows = Vec::new();
        for (index, lane) in self.lanes.iter().enumerate() {
            for (unit, name) in pool.units.iter().enumerate() {
                let quota = quotas.get(index);
                let limit = quota.map(|quota| &quota.limit).or(self.whole_pool(pool));
                rows.push(Usage {
                    share: lane.share.clone(),
                    unit: name.clone(),
                    quota: limit.map(|limit| count(limit.0[unit])),
                    used: count(lane.used.0[unit]),
                    borrowed: quota.map_or(0, |quota| count(quota::borrowed(quota, lane, unit))),
                    lent: lent[unit].get(index).copied().map_or(0, count),
                });
            }
        }
        rows
    }

    /// A FIFO queue's one lane may use all there is.
    fn whole_pool<'a>(&self, pool: &'a Pool) -> Option<&'a Amounts> {
        match self.discipline {
            Discipline::Fifo => Some(&pool.limits),
            Discipline::FairShare(_) | Discipline::Quotas(_) => None,
        }
    }

    fn waiting(&mut self, entry: &Entry) -> &mut BTreeSet<(Reverse<i32>, usize)> {
        if entry.is_recorded() { &mut self.recorded } else { &mut self.lanes[entry.lane].waiting }
    }

    fn file(&mut self, status: &JobStatus) -> Option<&mut BTreeSet<usize>> {
        place(status).map(|place| &mut self.by_status[place])
    }
}

/// Where a job stands in its lane: the higher priority first, then the older.
fn key(entry: &Entry) -> (Reverse<i32>, usize) {
    (Reverse(entry.job.priority), entry.job.number)
}

fn place(status: &JobStatus) -> Option<usize> {
    JobStatus::KNOWN.iter().position(|known| known == status)
}

fn count(amount: i64) -> u64 {
    u64::try_from(amount).unwrap_or(0)
}
