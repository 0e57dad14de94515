//! Position of a waiting job in its share and in the whole queue.

use crate::jobs::{Class, Job, ShareJobs, WaitingKey, gpus_of};
use crate::metrics::Inputs;
use crate::model::{JobId, Policy, Position, Queue};

/// Number of jobs at the front of a queue whose position AWS reports.
const MAX_IN_FRONT: usize = 100;

/// Maximum jobs counted ahead of a job; beyond it, only a lower bound is known.
pub(super) const MAX_COUNTED_AHEAD: usize = 10_000;

/// Position of a waiting job. Positions in share and queue are consistent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueuePosition {
    /// Position among the waiting jobs of its share, from 1: as AWS reports it, else by priority, then age; `None`
    /// if too many jobs are ahead to count.
    pub in_share: Option<usize>,
    /// Lower bound of its position in its share: the position itself if known.
    pub in_share_at_least: usize,
    /// Position in the whole queue, from 1, from AWS's snapshot; `None` beyond the jobs it lists.
    pub in_queue: Option<usize>,
    /// Lower and upper bound of its position in the whole queue; both are the position if known.
    pub queue_bounds: (usize, usize),
    /// GPUs requested by the jobs ahead of it in its share; unknown sizes count as none. `None` if too many jobs
    /// are ahead to count.
    pub gpus_ahead: Option<f64>,
}

pub(super) fn of(job: &Job, queue: &Queue, share_jobs: &ShareJobs, inputs: &Inputs<'_>) -> QueuePosition {
    let front = inputs.fronts.get(job.queue()).map_or(&[][..], |snapshot| &snapshot.front);
    // Jobs dispatched since the snapshot are no longer ahead.
    let waits = |position: &&Position| known(position, inputs).is_none_or(|job| job.status().is_waiting());
    let ahead: Vec<&Position> = front.iter().filter(waits).take_while(|position| !is_at(job, position)).collect();
    if front.iter().any(|position| is_at(job, position)) {
        return among_the_first(job, &ahead, inputs);
    }
    // A job that is not listed is behind all listed ones, and behind the jobs ahead of it in its share.
    let beyond = if front.len() >= MAX_IN_FRONT { ahead.len() } else { 0 };
    let all = inputs.ledger.shares_of(job.queue()).flat_map(|(_, share_jobs)| share_jobs.classes());
    let waiting: usize = all.map(|(_, keys)| keys.len()).sum();
    if queue.policy == Policy::Fifo {
        return in_line(job, beyond, waiting, inputs);
    }
    let (mut ahead, key) = (Ahead::default(), WaitingKey::of(job));
    for (class, keys) in share_jobs.classes() {
        ahead.count(class, keys.range(..&key));
    }
    let first = (beyond + 1).max(ahead.next_position()).min(waiting);
    QueuePosition {
        in_share: ahead.is_counted().then_some(ahead.next_position()),
        in_share_at_least: ahead.next_position(),
        in_queue: None,
        queue_bounds: (first, waiting),
        gpus_ahead: ahead.is_counted().then_some(ahead.gpus),
    }
}

/// Jobs ahead of a job, counted up to [`MAX_COUNTED_AHEAD`]; one more stands for any larger number.
#[derive(Default)]
struct Ahead {
    jobs: usize,
    gpus: f64,
}

impl Ahead {
    fn count<'a>(&mut self, class: &Class, keys: impl Iterator<Item = &'a WaitingKey>) {
        let left = (MAX_COUNTED_AHEAD + 1).saturating_sub(self.jobs);
        let jobs = keys.take(left).count();
        self.jobs += jobs;
        self.gpus += class.gpus().unwrap_or(0.0) * jobs as f64;
    }

    fn is_counted(&self) -> bool {
        self.jobs <= MAX_COUNTED_AHEAD
    }

    fn next_position(&self) -> usize {
        self.jobs + 1
    }
}

/// Position of a job that AWS lists: the jobs ahead are known one by one.
fn among_the_first(job: &Job, ahead: &[&Position], inputs: &Inputs<'_>) -> QueuePosition {
    let of_share =
        ahead.iter().filter_map(|position| known(position, inputs)).filter(|other| other.share() == job.share());
    let gpus = |other: &Job| gpus_of(&other.latest.demand).unwrap_or(0.0);
    let (before, gpus_ahead) = of_share.fold((0, 0.0), |(before, sum), other| (before + 1, sum + gpus(other)));
    let in_queue = ahead.len() + 1;
    // Without shares, an unknown listed job is still ahead of it.
    let in_share = if job.share().is_none() { in_queue } else { before + 1 };
    QueuePosition {
        in_share: Some(in_share),
        in_share_at_least: in_share,
        in_queue: Some(in_queue),
        queue_bounds: (in_queue, in_queue),
        gpus_ahead: Some(gpus_ahead),
    }
}

/// First in, first out. Jobs created at the same moment may be in any order.
fn in_line(job: &Job, beyond: usize, waiting: usize, inputs: &Inputs<'_>) -> QueuePosition {
    let created_at = job.latest.created_at;
    let (mut earlier, mut at_once, mut by_id) = (Ahead::default(), Ahead::default(), 0);
    for (class, keys) in inputs.ledger.shares_of(job.queue()).flat_map(|(_, share_jobs)| share_jobs.classes()) {
        earlier.count(class, WaitingKey::created_before(keys, created_at));
        let of_the_moment = WaitingKey::created_at_once(keys, created_at);
        at_once.count(class, of_the_moment.inspect(|key| by_id += usize::from(key.id < job.latest.id)));
    }
    let is_counted = earlier.is_counted() && at_once.is_counted();
    let last = if is_counted { earlier.jobs + at_once.jobs } else { waiting };
    let bounds = (earlier.jobs.max(beyond).min(last.saturating_sub(1)) + 1, last.max(1));
    let in_share = is_counted.then(|| (earlier.jobs + by_id + 1).clamp(bounds.0, bounds.1));
    QueuePosition {
        in_share,
        in_share_at_least: in_share.unwrap_or(bounds.0),
        in_queue: None,
        queue_bounds: bounds,
        gpus_ahead: earlier.is_counted().then_some(earlier.gpus),
    }
}

fn is_at(job: &Job, position: &Position) -> bool {
    match &job.latest.odd_arn {
        Some(arn) => *position.job_arn == **arn,
        None => id_of(position) == job.latest.id.as_str(),
    }
}

fn known<'a>(position: &Position, inputs: &Inputs<'a>) -> Option<&'a Job> {
    inputs.ledger.job(&JobId::from(id_of(position)))
}

/// `arn:aws:batch:<region>:<account>:service-job/<id>`
fn id_of(position: &Position) -> &str {
    position.job_arn.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::JobStatus;

    #[test]
    fn no_more_jobs_are_counted_than_the_limit_however_many_wait() {
        let class = |status| Class { status, status_reason: None, demand: Vec::new().into() };
        let key = WaitingKey::of(&crate::metrics::reasons::tests::waiting_job());
        let looked_at = std::cell::Cell::new(0);
        let endless = || std::iter::repeat(&key).inspect(|_| looked_at.set(looked_at.get() + 1));
        let mut ahead = Ahead::default();
        ahead.count(&class(JobStatus::Pending), endless().take(30));
        assert_eq!((ahead.is_counted(), ahead.next_position()), (true, 31));
        ahead.count(&class(JobStatus::Runnable), endless());
        ahead.count(&class(JobStatus::Submitted), endless());
        assert_eq!((ahead.is_counted(), looked_at.get()), (false, MAX_COUNTED_AHEAD + 1));
    }
}
