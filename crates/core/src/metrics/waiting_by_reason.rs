//! Waiting jobs and their GPUs by queue, share and reason.

use std::collections::BTreeMap;

use crate::metrics::frame::ReasonFigures;
use crate::metrics::reasons::{Diagnosis, Reason};
use crate::metrics::shares_with_series::no_share;
use crate::model::{QueueName, ShareName};

/// Waiting jobs by queue, share and reason.
pub(super) fn reasons(diagnosis: &[Diagnosis<'_>]) -> Vec<ReasonFigures> {
    let mut rows: BTreeMap<(&QueueName, Option<&ShareName>, Reason), (u64, f64)> = BTreeMap::new();
    for one in diagnosis {
        let (jobs, gpus) = rows.entry((one.job.queue(), one.job.share(), one.reason)).or_default();
        *jobs += one.jobs as u64;
        *gpus += one.gpus();
    }
    rows.into_iter()
        .map(|((queue, share, reason), (jobs, gpus))| ReasonFigures {
            queue: queue.clone(),
            share: share.cloned().unwrap_or_else(no_share),
            reason,
            jobs,
            gpus,
        })
        .collect()
}
