//! State of the forecast: learned run times and arrivals, calibration, and the current estimates.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::forecast::arrivals::PastArrivals;
use crate::forecast::calibration::{Calibration, Group, Interval, Quality, Truth};
use crate::forecast::estimate::{Ahead, Estimate, MIN_ENDED, Outlook, Unknown, would_change};
use crate::forecast::initial_state::{InitialState, MAX_WAITING, OpenJob};
use crate::forecast::pending_estimates::{PendingEstimates, WaitEnd};
use crate::forecast::runtimes::{JobKind, Profile, Runtimes};
use crate::forecast::saved_rows::Rows;
use crate::forecast::simulate::{HORIZON, JobStarts, NeverBecause, Starts};
use crate::forecast::stored_history::{
    ArrivalRow, AttemptRow, JobTraits, QUEUES, SharedArrival, SharedAttempt, SharedTraits,
};
use crate::forecast::stored_ring::{Ring, Row};
use crate::model::{Demand, JobId, QueueName, SavedForecast, ShareKey, ShareName, Timestamp};
use crate::scheduler::WaitReason;

/// Rows with the time of each group's first resolved estimate, named by the group as JSON: the ring does not go back
/// far enough.
const FIRST_TRUTHS: &str = "first_truth";

/// Time of the latest forecast.
const LATEST: &str = "latest";

/// Maximum jobs with pending estimates, per waiting job of a forecast: a job that drops out of the forecast keeps its
/// pending estimates.
const PENDING_PER_WAITING: usize = 2;

/// Maximum jobs whose typical run times are summarized in the basis of an estimate.
const MAX_NAMED: usize = 50;

/// State of the forecast: learned run times and arrivals, calibration, and the current estimates.
#[derive(Debug, Default)]
pub struct Forecaster {
    runtimes: Runtimes,
    calibration: Calibration,
    kept: PendingEstimates,
    rows: Rows,
    attempts: Ring<SharedAttempt>,
    arrivals: Ring<SharedArrival>,
    truths: Ring<Truth>,
    traits: SharedTraits,
    /// Ids in `attempts`: none counts twice.
    seen_attempts: HashSet<u64>,
    /// Ids in `arrivals`.
    seen_arrivals: HashSet<u64>,
    outlooks: BTreeMap<JobId, Outlook>,
    made_at: Option<Timestamp>,
    /// Time of the latest forecast, possibly of an earlier process.
    latest_at: Option<Timestamp>,
    /// Waiting jobs beyond the maximum of the latest forecast.
    left_out: usize,
    /// Estimates dropped because of the maximum.
    not_kept: u64,
    /// Forecasts that left out jobs in flight because of their maximum.
    pub(super) without_some_in_flight: u64,
    /// Maximum waiting jobs of a forecast, if lower than [`MAX_WAITING`].
    max_waiting: Option<usize>,
}

impl Forecaster {
    /// Restores the state saved by an earlier run.
    pub fn restore(saved: BTreeMap<String, String>) -> Self {
        let mut rows = Rows::default();
        rows.restore(saved);
        let latest_at = rows.named(LATEST).find_map(|(_, at)| serde_json::from_str(at).ok());
        let mut forecaster = Self { kept: PendingEstimates::restore(&mut rows), latest_at, ..Self::default() };
        forecaster.restore_rings(&mut rows);
        let first_truth = |(group, at): (&str, &String)| {
            Some((serde_json::from_str::<Group>(group).ok()?, serde_json::from_str::<Timestamp>(at).ok()?))
        };
        let first_truths: BTreeMap<Group, Timestamp> = rows.named(FIRST_TRUTHS).filter_map(first_truth).collect();
        forecaster.calibration = Calibration::restore(first_truths.clone());
        let late = forecaster.kept.late();
        forecaster.calibration.replay(forecaster.truths.iter(), late);
        forecaster.calibration.forget_empty_groups();
        let known = forecaster.calibration.first_truths();
        for group in first_truths.keys().filter(|group| !known.contains_key(group)) {
            rows.remove(&first_truth_name(group));
        }
        for (group, at) in known.iter().filter(|(group, _)| !first_truths.contains_key(group)) {
            rows.put(first_truth_name(group), at);
        }
        forecaster.rows = rows;
        forecaster
    }

    fn restore_rings(&mut self, rows: &mut Rows) {
        let Self { attempts, arrivals, truths, traits, runtimes, seen_attempts, seen_arrivals, .. } = self;
        *attempts = Ring::restore(&rows.take(SharedAttempt::RING), |row: AttemptRow| {
            let AttemptRow { id, job, at, of, seconds, ended, never_ran } = row;
            seen_attempts.insert(id);
            if !never_ran {
                runtimes.record(of.kind(), seconds, ended);
            }
            AttemptRow { id, job, at, of: traits.share(of), seconds, ended, never_ran }
        });
        let mut demands = BTreeSet::new();
        *arrivals = Ring::restore(&rows.take(SharedArrival::RING), |row: ArrivalRow| {
            let ArrivalRow { id, at, started, of, priority, demand } = row;
            seen_arrivals.insert(id);
            let demand = Demand::from(demand);
            let demand = demands.get(&demand).cloned().unwrap_or_else(|| {
                demands.insert(demand.clone());
                demand
            });
            ArrivalRow { id, at, started, of: traits.share(of), priority, demand }
        });
        *truths = Ring::restore(&rows.take(Truth::RING), |truth: Truth| truth);
    }

    /// Changes since the last call, to be stored.
    pub fn take_unsaved(&mut self) -> SavedForecast {
        let mut unsaved = self.rows.take_unsaved();
        self.kept.take_unsaved(&mut unsaved);
        self.attempts.take_unsaved(&mut unsaved);
        self.arrivals.take_unsaved(&mut unsaved);
        self.truths.take_unsaved(&mut unsaved);
        unsaved
    }

    /// Marks everything as unsaved, because the stored rows were lost.
    pub fn save_all(&mut self) {
        self.rows.save_all();
    }

    /// Adds an attempt that `held` its instances from a time for some seconds, until it `ended` or was preempted. The
    /// same attempt counts once.
    pub fn attempt_ended(&mut self, job: &JobId, attempt: u32, of: &JobTraits, held: (Timestamp, f64), ended: bool) {
        self.add_attempt(job, attempt, of, held, (ended, false));
    }

    /// Adds an attempt that held its instances but never ran: it is stored, but not used for run times.
    pub fn attempt_never_ran(
        &mut self,
        job: &JobId,
        attempt: u32,
        of: &JobTraits,
        held: (Timestamp, f64),
        ended: bool,
    ) {
        self.add_attempt(job, attempt, of, held, (ended, true));
    }

    fn add_attempt(
        &mut self,
        job: &JobId,
        attempt: u32,
        of: &JobTraits,
        (at, seconds): (Timestamp, f64),
        (ended, never_ran): (bool, bool),
    ) {
        let id = id_of(&format!("{job}/{attempt}"));
        if !self.seen_attempts.insert(id) {
            return;
        }
        let (job, of) = (id_of(job.as_str()), self.traits.share(of.without_particulars()));
        if !never_ran {
            self.runtimes.record(of.kind(), seconds, ended);
        }
        let row = AttemptRow { id, job, at, of, seconds: seconds.round(), ended, never_ran };
        if let Some(replaced) = self.attempts.push(row) {
            self.seen_attempts.remove(&replaced.id);
        }
    }

    /// Adds a submitted job, once: when it has `started`, or was cancelled.
    pub fn arrived(
        &mut self,
        job: &JobId,
        (at, started): (Timestamp, Option<Timestamp>),
        of: &JobTraits,
        priority: i32,
        demand: &Demand,
    ) {
        let id = id_of(job.as_str());
        if self.seen_arrivals.insert(id) {
            let of = self.traits.share(of.without_particulars());
            let row = ArrivalRow { id, at, started, of, priority, demand: demand.clone() };
            if let Some(replaced) = self.arrivals.push(row) {
                self.seen_arrivals.remove(&replaced.id);
            }
        }
    }

    /// Stores the setup of the queues beside what is learned. Only readers of the stored [`rows`](Self::rows) use it.
    pub fn keep_queues(&mut self, queues: &impl Serialize) {
        self.rows.put(QUEUES.to_owned(), queues);
    }

    /// All rows by name, as they are stored.
    pub fn rows(&self) -> BTreeMap<String, String> {
        let mut all = self.rows.all().clone();
        all.extend(self.kept.rows());
        all.extend(self.attempts.stored().chain(self.arrivals.stored()).chain(self.truths.stored()));
        all
    }

    /// Handles the end of a job's wait.
    pub fn wait_ended(&mut self, job: &JobId, at: Timestamp, end: WaitEnd) {
        self.outlooks.remove(job);
        let after = self.latest_at.unwrap_or(at);
        for truth in self.kept.resolve(job, at, end, after) {
            self.record_resolved(&truth);
        }
    }

    fn record_resolved(&mut self, truth: &Truth) {
        let groups = Group::of(truth);
        let is_new = groups.map(|group| !self.calibration.first_truths().contains_key(&group));
        self.calibration.record(truth);
        for (group, _) in Group::of(truth).iter().zip(is_new).filter(|(_, is_new)| *is_new) {
            if let Some(at) = self.calibration.first_truths().get(group) {
                self.rows.put(first_truth_name(group), at);
            }
        }
        self.truths.push(truth.clone());
    }

    /// Jobs with pending estimates, to check whether they still wait.
    pub fn kept(&self) -> impl Iterator<Item = &JobId> {
        self.kept.jobs()
    }

    /// Number of jobs with pending estimates.
    pub fn kept_count(&self) -> usize {
        self.kept.len()
    }

    /// Maximum waiting jobs of a forecast.
    pub fn max_waiting(&self) -> usize {
        self.max_waiting.unwrap_or(MAX_WAITING).min(MAX_WAITING)
    }

    /// Limits the waiting jobs of future forecasts. Pending estimates stay until they are resolved.
    pub fn set_max_waiting(&mut self, jobs: usize) {
        self.max_waiting = Some(jobs);
    }

    /// Run times of a kind.
    pub fn profile(&mut self, kind: JobKind) -> Profile {
        self.runtimes.of(kind)
    }

    /// The arrivals before `now` in `wanted` queues and shares.
    pub fn arrivals(
        &mut self,
        now: Timestamp,
        wanted: impl Fn(&QueueName, Option<&ShareName>) -> bool,
    ) -> PastArrivals {
        PastArrivals::until(now, self.arrivals.iter(), &mut self.runtimes, wanted)
    }

    /// Number of attempts that ended without preemption.
    pub fn ended(&self) -> u64 {
        self.runtimes.ended()
    }

    /// Time of the current estimates.
    pub fn made_at(&self) -> Option<Timestamp> {
        self.made_at
    }

    /// Applies the result of a forecast: the estimates are shown from now on, and some are kept as pending until they
    /// are resolved.
    pub fn take(&mut self, initial: &InitialState, starts: &Starts) {
        let after = self.latest_at.replace(initial.now).unwrap_or(initial.now);
        self.rows.put(format!("{LATEST}/all"), &initial.now);
        for late in self.kept.take_late(initial.now, after) {
            self.calibration.record_late(&late);
        }
        self.calibration.settle(initial.now);
        let mut of_shares = ShareNotes::default();
        let mut outlooks = BTreeMap::new();
        for (index, (job, starts)) in initial.waiting.iter().zip(&starts.by_job).enumerate() {
            let outlook = self.outlook(initial, index, starts, &mut of_shares);
            if let (JobStarts::Runs { seconds, .. }, true) = (starts, initial.ended >= MIN_ENDED) {
                let raw = interval(seconds);
                let shown = self.calibration.correct(raw, &job.queue, job.share.as_ref());
                let (queue, share) = (&job.queue, job.share.as_ref());
                let may_keep =
                    self.kept.len() < PENDING_PER_WAITING * self.max_waiting() || self.kept.contains(&job.id);
                let is_kept = may_keep && self.kept.keep(&job.id, queue, share, initial.now, raw, shown);
                self.not_kept += u64::from(!is_kept);
            }
            outlooks.insert(job.id.clone(), outlook);
        }
        self.outlooks = outlooks;
        self.made_at = Some(initial.now);
        self.left_out = initial.left_out;
    }

    /// The estimate of one waiting job.
    pub fn outlook_of(&self, initial: &InitialState, index: usize, starts: &Starts) -> Outlook {
        let of_job = starts.by_job.get(index).unwrap_or(&JobStarts::Never(NeverBecause::NoPlace));
        self.outlook(initial, index, of_job, &mut ShareNotes::default())
    }

    fn outlook(&self, initial: &InitialState, index: usize, starts: &JobStarts, notes: &mut ShareNotes) -> Outlook {
        let Some(job) = initial.waiting.get(index) else { return Outlook::Unknown(Unknown::NotMade) };
        let (seconds, beyond_front, reason) = match starts {
            JobStarts::Never(because) => return Outlook::Unknown(Unknown::Never(*because)),
            JobStarts::Runs { seconds, beyond_front, reason } => (seconds, *beyond_front, *reason),
        };
        if initial.ended < MIN_ENDED {
            return Outlook::Unknown(Unknown::FewEnded(initial.ended));
        }
        let (queue, share) = (&job.queue, job.share.as_ref());
        let truths = self.calibration.known(queue, share);
        let Some(shown) = self.calibration.correct(interval(seconds), queue, share) else {
            return Outlook::Unknown(Unknown::FewTruths(truths));
        };
        let [p10, p50, p90] = Estimate::at(initial.now, shown, HORIZON.as_secs_f64());
        let quality = self.calibration.quality(queue, share).or_else(|| self.calibration.quality_of_queue(queue));
        Outlook::Expected(Box::new(Estimate {
            made_at: initial.now,
            p10,
            p50,
            p90,
            beyond_front,
            rough: self.calibration.rough(queue, share),
            rests_on: notes.ahead(initial, index, reason).sentence(seconds.len(), beyond_front),
            would_change: would_change(reason, job.priority),
            quality,
            truths,
        }))
    }

    /// The current estimate of a waiting job, or why there is none.
    pub fn shown(&self, id: &JobId) -> Outlook {
        let missing = if self.left_out > 0 { Unknown::TooFarBack } else { Unknown::NotMade };
        self.outlooks.get(id).cloned().unwrap_or(Outlook::Unknown(missing))
    }

    /// The median of a waiting job's start; `None` without an estimate, or beyond the horizon.
    pub fn expected(&self, id: &JobId) -> Option<Timestamp> {
        match self.outlooks.get(id)? {
            Outlook::Expected(estimate) => estimate.p50,
            Outlook::Unknown(_) => None,
        }
    }

    /// Accuracy of the estimates of each share.
    pub fn qualities(&self) -> Vec<(QueueName, Option<ShareName>, Quality)> {
        self.calibration.qualities()
    }

    /// Forecasts that left out jobs in flight because of their maximum, since the last call.
    pub fn take_without_some_in_flight(&mut self) -> u64 {
        std::mem::take(&mut self.without_some_in_flight)
    }

    /// Estimates dropped because of the maximum, since the last call.
    pub fn take_not_kept(&mut self) -> u64 {
        std::mem::take(&mut self.not_kept)
    }
}

fn first_truth_name(group: &Group) -> String {
    format!("{FIRST_TRUTHS}/{}", serde_json::to_string(group).unwrap_or_default())
}

/// The quantiles of sorted runs.
fn interval(sorted: &[f64]) -> Interval {
    let horizon = HORIZON.as_secs_f64();
    let quantile = |part: f64| {
        let index = (part * sorted.len() as f64) as usize;
        sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(horizon).min(horizon)
    };
    Interval { low: quantile(0.1), middle: quantile(0.5), high: quantile(0.9) }
}

/// What is ahead of the jobs of each share, computed once per forecast.
#[derive(Default)]
struct ShareNotes {
    usual: HashMap<JobKind, Option<f64>>,
    shares: HashMap<ShareKey, Vec<usize>>,
    holders: HashMap<ShareKey, (usize, Vec<f64>)>,
}

impl ShareNotes {
    fn ahead(&mut self, initial: &InitialState, index: usize, reason: Option<WaitReason>) -> Ahead {
        let Some(job) = initial.waiting.get(index) else { return Ahead::default() };
        let of_share = matches!(reason, Some(WaitReason::ShareLimit | WaitReason::BorrowLimit));
        let rank = |one: &OpenJob, index: usize| (std::cmp::Reverse(one.priority), index);
        if self.shares.is_empty() {
            for (index, one) in initial.waiting.iter().enumerate() {
                self.shares.entry((one.queue.clone(), one.share.clone())).or_default().push(index);
            }
            let priority = |index: &usize| initial.waiting.get(*index).map(|one| rank(one, *index));
            self.shares.values_mut().for_each(|share_jobs| share_jobs.sort_by_key(priority));
        }
        let share_jobs = self.shares.get(&(job.queue.clone(), job.share.clone())).map_or(&[][..], Vec::as_slice);
        let own = rank(job, index);
        let before = share_jobs.partition_point(|at| initial.waiting.get(*at).is_some_and(|one| rank(one, *at) < own));
        let first: Vec<&OpenJob> =
            share_jobs.iter().take(before.min(MAX_NAMED)).filter_map(|at| initial.waiting.get(*at)).collect();
        let of = (job.queue.clone(), job.share.clone().filter(|_| of_share));
        let usual = &mut self.usual;
        let mut usual_of = |one: &OpenJob| *usual.entry(one.kind).or_insert_with(|| one.profile.usual());
        let (holding, of_holders) = self.holders.entry(of).or_insert_with(|| {
            let holds = |one: &&OpenJob| one.queue == job.queue && (!of_share || one.share == job.share);
            let holders: Vec<&OpenJob> = initial.in_flight.iter().filter(holds).collect();
            (holders.len(), holders.iter().take(MAX_NAMED).filter_map(|one| usual_of(one)).collect())
        });
        let mut all = of_holders.clone();
        let holding = *holding;
        all.extend(first.into_iter().filter_map(|one| *usual.entry(one.kind).or_insert_with(|| one.profile.usual())));
        Ahead { waiting: before, holding, usual: all }
    }
}

/// A hash that is stable across releases.
fn id_of(text: &str) -> u64 {
    Sha256::digest(text.as_bytes()).iter().take(8).fold(0, |id, byte| (id << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests;
