//! Converts a per-minute record of running and waiting jobs by share to a workload: an increase is a submission, a
//! decrease is an end. Which job of the share ended is drawn at random.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use trainspotter_core::model::ShareName;

use crate::synthetic::Random;
use crate::workload::{START, Workload, WorkloadJob};

/// GPUs of one instance.
const GPUS: f64 = 8.0;

/// Maximum GPUs of one job: jobs of the same minute cannot be distinguished.
const MOST_GPUS: f64 = 64.0;

struct Open {
    at: f64,
    started: f64,
    gpus: f64,
}

/// One share: its running jobs, then its waiting jobs.
#[derive(Default)]
struct OfShare {
    open: Vec<Open>,
    running: usize,
}

impl OfShare {
    /// Applies a minute. Returns the jobs that ended, with their run times.
    fn take(
        &mut self,
        now: f64,
        (running, running_gpus): (usize, f64),
        (pending, pending_gpus): (usize, f64),
        random: &mut Random,
    ) -> Vec<(Open, f64)> {
        let mut ended = Vec::new();
        while self.open.len() > running + pending {
            let index = random.below(self.running.max(1)).min(self.open.len() - 1);
            let one = self.open.remove(index);
            let seconds = (now - one.started).max(30.0);
            ended.push((one, seconds));
            self.running = self.running.saturating_sub(1);
        }
        let known: f64 = self.open.iter().map(|one| one.gpus).sum();
        let new = running + pending - self.open.len();
        let gpus = ((running_gpus + pending_gpus - known) / new.max(1) as f64).clamp(1.0, MOST_GPUS).round();
        self.open.extend((0..new).map(|_| Open { at: now + random.unit() * 60.0, started: now, gpus }));
        let starting = running.saturating_sub(self.running);
        self.open.iter_mut().skip(self.running).take(starting).for_each(|one| one.started = now);
        self.running = self.running.max(running).min(self.open.len());
        ended
    }
}

/// Parses a record with the columns `time, vc, running_gpus, pending_gpus, running_gpu_jobs, pending_gpu_jobs`.
pub fn workload(path: &Path) -> Option<Workload> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next()?.split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name);
    let (time, vc) = (column("time")?, column("vc")?);
    let (running, pending) = (column("running_gpu_jobs")?, column("pending_gpu_jobs")?);
    let (running_gpus, pending_gpus) = (column("running_gpus")?, column("pending_gpus")?);
    let mut random = Random(5);
    let mut shares: BTreeMap<&str, OfShare> = BTreeMap::new();
    let mut jobs = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        let (share, now) = (*fields.get(vc)?, seconds_of(fields.get(time)?)?);
        let of_share = shares.entry(share).or_default();
        let (runs, waits) =
            ((number(running) as usize, number(running_gpus)), (number(pending) as usize, number(pending_gpus)));
        let ended = of_share.take(now, runs, waits, &mut random);
        jobs.extend(ended.into_iter().map(|(one, seconds)| WorkloadJob {
            at: START + Duration::from_secs_f64(one.at),
            name: String::new(),
            owner: String::new(),
            share: ShareName::new(share),
            instances: (one.gpus / GPUS).ceil(),
            seconds,
        }));
    }
    Workload::of_trace("Helios Earth by the minute", jobs)
}

/// Seconds from the start of the month, of a time such as `2020-05-01 00:19:00`.
fn seconds_of(text: &str) -> Option<f64> {
    let (day, clock) = text.split_once(' ')?;
    let mut clock = clock.split(':').map(|part| part.parse::<f64>().ok());
    let day: f64 = day.rsplit('-').next()?.parse().ok()?;
    Some((day - 1.0) * 86_400.0 + clock.next()?? * 3_600.0 + clock.next()?? * 60.0 + clock.next()??)
}
