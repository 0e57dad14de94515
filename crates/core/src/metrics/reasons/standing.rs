//! Where a waiting job stands: its place in its share and in the whole queue.

use crate::jobs::{Job, Place, ShareJobs, gpus_of};
use crate::metrics::Inputs;
use crate::model::{JobId, Policy, Position, Queue};

/// Jobs at the front of a queue of which AWS tells the place.
const MAX_IN_FRONT: usize = 100;

/// The place of a waiting job. Its places in share and queue never contradict each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Place among the waiting jobs of its share, from 1: as AWS tells it, else by priority and then age.
    pub in_share: usize,
    /// Place in the whole queue, from 1, as AWS's own snapshot has it; `None` beyond the first jobs that it tells.
    pub in_queue: Option<usize>,
    /// The first and the last place in the whole queue that it may have; both are the place where that is known.
    pub queue_bounds: (usize, usize),
    /// GPUs that the jobs before it in its share ask for; sizes that are not known count as none.
    pub gpus_ahead: f64,
}

pub(super) fn of(job: &Job, queue: &Queue, lane: &ShareJobs, inputs: &Inputs<'_>) -> Standing {
    let front = inputs.fronts.get(job.queue()).map_or(&[][..], |snapshot| &snapshot.front);
    // Jobs that were dispatched since the snapshot no longer stand before anybody.
    let waits = |position: &&Position| known(position, inputs).is_none_or(|job| job.status().is_waiting());
    let ahead: Vec<&Position> = front.iter().filter(waits).take_while(|position| !is_at(job, position)).collect();
    if front.iter().any(|position| is_at(job, position)) {
        return among_the_first(job, &ahead, inputs);
    }
    // Who is not among the first is behind them, and behind what goes before it in its share.
    let beyond = if front.len() >= MAX_IN_FRONT { ahead.len() } else { 0 };
    let all = inputs.ledger.lanes_of(job.queue()).flat_map(|(_, lane)| lane.classes());
    let waiting: usize = all.map(|(_, places)| places.len()).sum();
    if queue.policy == Policy::Fifo {
        return in_line(job, beyond, inputs);
    }
    let place = Place::of(job);
    let (mut before, mut gpus_ahead) = (0, 0.0);
    for (class, places) in lane.classes() {
        let of_class = places.range(..&place).count();
        before += of_class;
        gpus_ahead += class.gpus().unwrap_or(0.0) * of_class as f64;
    }
    let first = (beyond + 1).max(before + 1).min(waiting);
    Standing { in_share: before + 1, in_queue: None, queue_bounds: (first, waiting), gpus_ahead }
}

/// A job that AWS tells of: the jobs before it are known one by one.
fn among_the_first(job: &Job, ahead: &[&Position], inputs: &Inputs<'_>) -> Standing {
    let of_share =
        ahead.iter().filter_map(|position| known(position, inputs)).filter(|other| other.share() == job.share());
    let gpus = |other: &Job| gpus_of(&other.latest.demand).unwrap_or(0.0);
    let (before, gpus_ahead) = of_share.fold((0, 0.0), |(before, sum), other| (before + 1, sum + gpus(other)));
    let place = ahead.len() + 1;
    // Where there are no shares, a job that is not known stands before it all the same.
    let in_share = if job.share().is_none() { place } else { before + 1 };
    Standing { in_share, in_queue: Some(place), queue_bounds: (place, place), gpus_ahead }
}

/// First in, first out. Jobs that were created at the same moment may stand in any order.
fn in_line(job: &Job, beyond: usize, inputs: &Inputs<'_>) -> Standing {
    let created_at = job.latest.created_at;
    let (mut earlier, mut at_once, mut by_id, mut gpus_ahead) = (0, 0, 0, 0.0);
    for (class, places) in inputs.ledger.lanes_of(job.queue()).flat_map(|(_, lane)| lane.classes()) {
        for place in places {
            if place.created_at() < created_at {
                earlier += 1;
                gpus_ahead += class.gpus().unwrap_or(0.0);
            } else if place.created_at() == created_at {
                at_once += 1;
                by_id += usize::from(place.id < job.latest.id);
            }
        }
    }
    let last = earlier + at_once;
    let bounds = (earlier.max(beyond).min(last.saturating_sub(1)) + 1, last.max(1));
    let in_share = (earlier + by_id + 1).clamp(bounds.0, bounds.1);
    Standing { in_share, in_queue: None, queue_bounds: bounds, gpus_ahead }
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
