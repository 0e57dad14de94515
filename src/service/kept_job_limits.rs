//! Divides process-wide limits on kept jobs among targets: each target may keep what the others leave, and at least an
//! equal part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use trainspotter_core::engine::JobCounts;

/// Number of jobs kept by each target. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct KeptJobLimits(Arc<Mutex<BTreeMap<String, JobCounts>>>);

/// The share of one target, released on drop.
#[derive(Debug)]
pub(super) struct TargetLimits {
    limits: KeptJobLimits,
    target: String,
}

impl KeptJobLimits {
    pub(super) fn of(&self, target: &str) -> TargetLimits {
        TargetLimits { limits: self.clone(), target: target.to_owned() }
    }
}

impl TargetLimits {
    /// Records what the target keeps now, and returns what it may keep.
    pub(super) fn allowance(&self, kept: JobCounts) -> JobCounts {
        let mut all = self.limits.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(self.target.clone(), kept);
        let others = || all.iter().filter(|(name, _)| **name != self.target).map(|(_, kept)| kept);
        let allowed = |most: usize, least: usize, of_others: usize| {
            most.saturating_sub(of_others).max(most / all.len()).max(least)
        };
        JobCounts {
            ended: allowed(JobCounts::MAX.ended, JobCounts::LEAST.ended, others().map(|kept| kept.ended).sum()),
            forecasts: allowed(
                JobCounts::MAX.forecasts,
                JobCounts::LEAST.forecasts,
                others().map(|kept| kept.forecasts).sum(),
            ),
        }
    }
}

impl Drop for TargetLimits {
    fn drop(&mut self) {
        self.limits.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_target_may_keep_all_and_several_share_the_limit_by_what_they_need() {
        let limits = KeptJobLimits::default();
        let (large, small) = (limits.of("large"), limits.of("small"));
        let kept = |ended| JobCounts { ended, forecasts: 0 };
        assert_eq!(large.allowance(kept(100_000)), JobCounts::MAX);
        // A new target gets its part, and a target with more gives it back as it is needed.
        assert_eq!(small.allowance(kept(0)).ended, 50_000);
        assert_eq!(large.allowance(kept(100_000)).ended, 100_000);
        assert_eq!(small.allowance(kept(10_000)).ended, 50_000);
        assert_eq!(large.allowance(kept(100_000)).ended, 90_000);
        drop(small);
        assert_eq!(large.allowance(kept(90_000)), JobCounts::MAX);
    }

    #[test]
    fn all_targets_together_keep_no_more_than_one_but_for_the_least() {
        for count in [2_usize, 7, 64, 200] {
            let limits = KeptJobLimits::default();
            let targets: Vec<TargetLimits> = (0..count).map(|number| limits.of(&number.to_string())).collect();
            let mut kept = vec![0; count];
            for _ in 0..20 {
                for (target, kept) in targets.iter().zip(&mut kept) {
                    let allowed = target.allowance(JobCounts { ended: *kept, forecasts: *kept });
                    // It always has more than it may keep.
                    *kept = allowed.ended;
                    target.allowance(JobCounts { ended: *kept, forecasts: 0 });
                }
            }
            let all: usize = kept.iter().sum();
            assert!(all <= JobCounts::MAX.ended.max(count * JobCounts::LEAST.ended), "{count} targets keep {all}");
            assert!(kept.iter().all(|kept| *kept >= JobCounts::MAX.ended / count), "{kept:?}");
        }
    }
}
