//! Which queues and shares have series.

use std::collections::{BTreeMap, BTreeSet};

use crate::metrics::Inputs;
use crate::model::{InstanceType, Policy, QueueName, ShareName};

/// Share label of jobs without a share.
pub(super) fn no_share() -> ShareName {
    ShareName::new("")
}

/// Instance types by queue and share.
pub(super) type Demanded = BTreeMap<(QueueName, ShareName), BTreeSet<InstanceType>>;

/// All queues and shares with series.
pub(super) type Subjects = BTreeSet<(QueueName, ShareName)>;

/// All queues and shares with series: configured ones and those of open jobs.
pub(super) fn shares_of_all(inputs: &Inputs<'_>) -> Subjects {
    let configured = inputs.queues.iter().flat_map(|queue| {
        let shares: Vec<ShareName> = match &queue.policy {
            Policy::QuotaShares(shares) => shares.iter().map(|share| share.name.clone()).collect(),
            Policy::FairShare { .. } => Vec::new(),
            Policy::Fifo => vec![no_share()],
        };
        shares.into_iter().map(|share| (queue.name.clone(), share))
    });
    let of_jobs =
        inputs.ledger.shares().map(|(queue, share, _)| (queue.clone(), share.cloned().unwrap_or_else(no_share)));
    configured.chain(of_jobs).collect()
}

/// The inverse: the share for a label.
pub(super) fn share_of(label: &ShareName) -> Option<&ShareName> {
    Some(label).filter(|share| !share.as_str().is_empty())
}
