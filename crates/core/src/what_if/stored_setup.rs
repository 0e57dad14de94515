//! Setup of queues as stored with forecast data, so that the past can be replayed from a file alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    Capacity, Policy, Queue, QueueName, QuotaShare, ServiceEnvironment, ShareName, Sharing, WeightedShare,
};
use crate::scheduler::{Delays, QueueSetup, Setup};

/// One queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetupRow {
    queue: QueueName,
    environment: String,
    limits: Vec<Capacity>,
    policy: PolicyRow,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PolicyRow {
    Fifo,
    FairShare { weights: Vec<(ShareName, f64)>, decay_seconds: u64, reservation: u8 },
    QuotaShares(Vec<ShareRow>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ShareRow {
    name: ShareName,
    limits: Vec<Capacity>,
    lends: bool,
    borrows: bool,
    borrow_limit: Option<u32>,
    in_share_preemption: bool,
}

/// Rows of the queues whose environment is known.
pub fn of_queues(queues: &[Queue]) -> Vec<SetupRow> {
    let row = |queue: &Queue| {
        let environment = queue.environment.as_ref()?;
        Some(SetupRow {
            queue: queue.name.clone(),
            environment: environment.name.clone(),
            limits: environment.limits.clone(),
            policy: policy_row(&queue.policy),
        })
    };
    queues.iter().filter_map(row).collect()
}

fn policy_row(policy: &Policy) -> PolicyRow {
    match policy {
        Policy::Fifo => PolicyRow::Fifo,
        Policy::FairShare { shares, decay, reservation } => PolicyRow::FairShare {
            weights: shares.iter().map(|one| (one.share.clone(), one.weight)).collect(),
            decay_seconds: decay.as_secs(),
            reservation: *reservation,
        },
        Policy::QuotaShares(shares) => PolicyRow::QuotaShares(shares.iter().map(share_row).collect()),
    }
}

fn share_row(share: &QuotaShare) -> ShareRow {
    let (borrows, borrow_limit) = match share.sharing {
        Sharing::LendAndBorrow { borrow_limit } => (true, borrow_limit),
        Sharing::Reserve | Sharing::Lend | Sharing::Unknown => (false, None),
    };
    ShareRow {
        name: share.name.clone(),
        limits: share.limits.clone(),
        lends: share.lends(),
        borrows,
        borrow_limit,
        in_share_preemption: share.in_share_preemption,
    }
}

/// The setup from stored rows.
pub fn setup_of_rows(rows: Vec<SetupRow>) -> Setup {
    let mut setup = Setup { delays: Delays::NONE, ..Setup::default() };
    for SetupRow { queue, environment, limits, policy } in rows {
        if !setup.environments.iter().any(|one| one.name == environment) {
            setup.environments.push(ServiceEnvironment { name: environment.clone(), enabled: true, limits });
        }
        let policy = match policy {
            PolicyRow::Fifo => Policy::Fifo,
            PolicyRow::FairShare { weights, decay_seconds, reservation } => Policy::FairShare {
                shares: weights.into_iter().map(|(share, weight)| WeightedShare { share, weight }).collect(),
                decay: Duration::from_secs(decay_seconds),
                reservation,
            },
            PolicyRow::QuotaShares(shares) => Policy::QuotaShares(shares.into_iter().map(quota_share).collect()),
        };
        setup.queues.push(QueueSetup::new(queue, environment, policy));
    }
    setup
}

fn quota_share(row: ShareRow) -> QuotaShare {
    let sharing = match (row.lends, row.borrows) {
        (_, true) => Sharing::LendAndBorrow { borrow_limit: row.borrow_limit },
        (true, false) => Sharing::Lend,
        (false, false) => Sharing::Reserve,
    };
    QuotaShare {
        name: row.name,
        enabled: true,
        limits: row.limits,
        sharing,
        in_share_preemption: row.in_share_preemption,
    }
}
