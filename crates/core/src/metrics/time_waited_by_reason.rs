//! How long each job has waited for which reason, at a cost proportional to changes: jobs of one class wait for the
//! same reason, so each class has a clock per reason, and each job stores the clock values at its arrival.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::jobs::{Class, Job, Ledger, Move, key_of};
use crate::metrics::reasons::{Diagnosis, Reason};
use crate::model::{JobId, ShareKey};

/// Seconds by reason.
pub(super) type Seconds = [f64; Reason::ALL.len()];

/// The clocks of all classes with waiting jobs.
#[derive(Debug, Default)]
pub(super) struct WaitByReason {
    classes: BTreeMap<ShareKey, BTreeMap<Class, Seconds>>,
    /// Wait of a job beyond its class's clocks, by the job's key; negative if they ran before it arrived. Jobs that
    /// arrive at the same time share the value, because there may be a million of them.
    beyond: HashMap<u64, Arc<Seconds>>,
    /// Ended waits that were not taken yet.
    over: Vec<(JobId, Seconds)>,
}

impl WaitByReason {
    /// Wait of a job by reason.
    pub(super) fn of(&self, job: &Job) -> Seconds {
        let Some(beyond) = self.beyond.get(&key_of(&job.latest.id)) else { return Seconds::default() };
        let clock = self.clock(&(job.queue().clone(), job.share().cloned()), &Class::of(job));
        let mut waited = plus(**beyond, clock, 1.0);
        // Rounding: sums of differences are inexact.
        waited.iter_mut().for_each(|seconds| *seconds = if *seconds < 1e-6 { 0.0 } else { *seconds });
        waited
    }

    /// Records which jobs joined and left their classes.
    pub(super) fn moved(&mut self, moves: &[Move], ledger: &Ledger) {
        let mut latest = Latest::default();
        for Move { id, queue, share, class, came } in moves {
            let clock = self.clock(&(queue.clone(), share.clone()), class);
            let before = self.beyond.get(&key_of(id)).map_or(Seconds::default(), |beyond| **beyond);
            let beyond = plus(before, clock, if *came { -1.0 } else { 1.0 });
            self.beyond.insert(key_of(id), latest.shared(beyond));
        }
        for Move { id, queue, share, class, .. } in moves.iter().filter(|moved| !moved.came) {
            if ledger.job(id).is_none_or(|job| !job.status().is_waiting()) {
                self.over.extend(self.beyond.remove(&key_of(id)).map(|waited| (id.clone(), *waited)));
            }
            if ledger
                .share_jobs(queue, share.as_ref())
                .is_none_or(|share_jobs| share_jobs.classes().all(|(other, _)| other != class))
            {
                self.forget(&(queue.clone(), share.clone()), class);
            }
        }
    }

    /// Takes the ended waits, in seconds by reason.
    pub(super) fn take_over(&mut self) -> Vec<(JobId, Vec<(String, f64)>)> {
        let named = |waited: Seconds| {
            let all = Reason::ALL.into_iter().zip(waited).filter(|(_, seconds)| *seconds >= 1e-3);
            all.map(|(reason, seconds)| (reason.as_str().to_owned(), seconds)).collect()
        };
        let over = std::mem::take(&mut self.over).into_iter();
        over.map(|(id, waited)| (id, named(waited))).filter(|(_, waited): &(_, Vec<_>)| !waited.is_empty()).collect()
    }

    /// Advances the clock of each class's reason by `seconds`.
    pub(super) fn charge(&mut self, diagnosis: &[Diagnosis<'_>], seconds: f64) {
        for same in diagnosis.chunk_by(|a, b| std::ptr::eq(a.class, b.class)) {
            let Some(class) = same.last() else { continue };
            let share = (class.job.queue().clone(), class.job.share().cloned());
            let clocks = self.classes.entry(share).or_default();
            match clocks.get_mut(class.class) {
                Some(clock) => add(clock, class.reason, seconds),
                None => add(clocks.entry(class.class.clone()).or_default(), class.reason, seconds),
            }
            for next in same.iter().filter(|one| one.reason != class.reason) {
                let beyond = Arc::make_mut(self.beyond.entry(key_of(&next.job.latest.id)).or_default());
                add(beyond, next.reason, seconds);
                add(beyond, class.reason, -seconds);
            }
        }
    }

    fn clock(&self, share: &ShareKey, class: &Class) -> Seconds {
        self.classes.get(share).and_then(|classes| classes.get(class)).copied().unwrap_or_default()
    }

    fn forget(&mut self, share: &ShareKey, class: &Class) {
        if let Some(classes) = self.classes.get_mut(share) {
            classes.remove(class);
            if classes.is_empty() {
                self.classes.remove(share);
            }
        }
    }
}

/// The latest values, for jobs that arrive together to share: about as many as a page has shares and kinds of jobs.
#[derive(Default)]
struct Latest(VecDeque<Arc<Seconds>>);

impl Latest {
    /// Number of values kept.
    const KEPT: usize = 16;

    fn shared(&mut self, seconds: Seconds) -> Arc<Seconds> {
        if let Some(same) = self.0.iter().find(|other| ***other == seconds) {
            return Arc::clone(same);
        }
        if self.0.len() == Self::KEPT {
            self.0.pop_back();
        }
        let new = Arc::new(seconds);
        self.0.push_front(Arc::clone(&new));
        new
    }
}

fn add(clock: &mut Seconds, reason: Reason, seconds: f64) {
    if let Some(of_reason) = clock.get_mut(reason as usize) {
        *of_reason += seconds;
    }
}

fn plus(mut a: Seconds, b: Seconds, sign: f64) -> Seconds {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += sign * b);
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_shared_as_long_as_few_others_come_between() {
        let value = |number: usize| {
            let mut seconds = Seconds::default();
            seconds[0] = number as f64;
            seconds
        };
        let mut latest = Latest::default();
        let first = latest.shared(value(0));
        (1..Latest::KEPT).for_each(|number| assert_eq!(*latest.shared(value(number)), value(number)));
        assert!(Arc::ptr_eq(&first, &latest.shared(value(0))));
        latest.shared(value(Latest::KEPT));
        let again = latest.shared(value(0));
        assert!(!Arc::ptr_eq(&first, &again) && first == again);
        assert_eq!(latest.0.len(), Latest::KEPT);
    }
}
