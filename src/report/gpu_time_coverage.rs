//! Whether hourly rows cover the GPU time of the jobs that ended: no GPU time is counted between polls that are far apart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use trainspotter_core::metrics::EndedJob;
use trainspotter_core::metrics::archived_hour::{HourFigures, hour_of};
use trainspotter_core::metrics::gpu_part_names::Part;
use trainspotter_core::model::Timestamp;

/// Maximum pairs of first and last hour that are kept; jobs beyond are left out, so that coverage seems higher.
const MAX_PAIRS: usize = 200_000;

/// Fraction from which hours count as complete: jobs and hours are counted at different polls.
const COMPLETE: f64 = 0.9;

/// Minimum GPU-seconds of jobs for a statement.
const MIN_GPU_SECONDS: f64 = 36_000.0;

const HOUR: Duration = Duration::from_secs(3_600);

/// GPU time of one account and region.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    /// GPU-seconds held by ended jobs, by their first and last hour.
    jobs: BTreeMap<(Timestamp, Timestamp), f64>,
    /// GPU-seconds held by jobs, according to hourly rows.
    hours: f64,
    /// Jobs that were left out.
    left_out: u64,
}

impl Coverage {
    /// Adds an ended job.
    pub(super) fn take_job(&mut self, job: &EndedJob) {
        let Some((scheduled_at, held)) = job.scheduled_at.zip(job.gpu_seconds) else { return };
        let span = (hour_of(scheduled_at), hour_of(job.ended_at));
        if self.jobs.len() < MAX_PAIRS || self.jobs.contains_key(&span) {
            *self.jobs.entry(span).or_default() += held;
        } else {
            self.left_out += 1;
        }
    }

    /// Adds an hourly row.
    pub(super) fn take_hour(&mut self, hour: &HourFigures) {
        let held = Part::ALL.into_iter().filter(|part| !matches!(part, Part::Unallocated | Part::OtherQueues));
        let of_part = |part: Part| hour.figures.get(&format!("{}_gpu_seconds", part.as_str())).copied();
        self.hours += held.filter_map(of_part).sum::<f64>();
    }

    /// Jobs that were left out of the comparison.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The covered fraction at most, if hours lack GPU time of jobs that ran within them.
    pub(super) fn incomplete(&self, hours: &BTreeSet<Timestamp>) -> Option<f64> {
        let is_within = |(first, last): (Timestamp, Timestamp)| {
            let needed = last.since(first).as_secs() / HOUR.as_secs() + 1;
            first <= last && hours.range(first..=last).count() as u64 == needed
        };
        let jobs: f64 = self.jobs.iter().filter(|(span, _)| is_within(**span)).map(|(_, held)| held).sum();
        (jobs >= MIN_GPU_SECONDS && self.hours < jobs * COMPLETE).then(|| self.hours / jobs)
    }
}
