//! Candidate changes to be ranked by their effect.

use crate::model::{Capacity, Policy, QueueName, Sharing};
use crate::what_if::change::{Change, parse};
use crate::what_if::past::Past;

/// Maximum candidates: each takes a replay.
const MAX_CANDIDATES: usize = 40;

/// A candidate and the instances that it costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The change; several if a quota grows together with the capacity.
    pub changes: Vec<Change>,
    /// Additional instances.
    pub instances: f64,
}

/// For each queue, one, two and four more instances; for each share, these with its quota, any missing lending and
/// borrowing, and no borrow limit. Limited to one queue, if given.
pub fn candidates(past: &Past, queue: Option<&QueueName>) -> Vec<Candidate> {
    let mut found = Vec::new();
    for setup in past.setup.queues.iter().filter(|setup| queue.is_none_or(|queue| setup.name == *queue)) {
        let name = &setup.name;
        let environment = past.setup.environments.iter().find(|one| one.name == setup.environment);
        let limits = environment.map_or(&[][..], |environment| &environment.limits);
        let grow = |Capacity { unit, .. }: &Capacity, more: u32| format!("queue.{name}.capacity.{unit}=+{more}");
        let no_shares = Vec::new();
        let shares = match &setup.policy {
            Policy::QuotaShares(shares) => shares,
            Policy::Fifo | Policy::FairShare { .. } => &no_shares,
        };
        for limit in limits {
            for more in [1, 2, 4] {
                found.push((vec![grow(limit, more)], f64::from(more)));
                for share in shares.iter().filter(|share| share.limit(&limit.unit).is_some()) {
                    let quota = format!("queue.{name}.share.{}.quota.{}=+{more}", share.name, limit.unit);
                    found.push((vec![grow(limit, more), quota], f64::from(more)));
                }
            }
        }
        for share in shares {
            let key = format!("queue.{name}.share.{}", share.name);
            match share.sharing {
                Sharing::Reserve | Sharing::Lend | Sharing::Unknown => {
                    found.push((vec![format!("{key}.sharing=lend-and-borrow")], 0.0));
                }
                Sharing::LendAndBorrow { borrow_limit: Some(_) } => {
                    found.push((vec![format!("{key}.borrow_limit=none")], 0.0));
                }
                Sharing::LendAndBorrow { borrow_limit: None } => {}
            }
        }
    }
    let candidate = |(texts, instances): (Vec<String>, f64)| {
        let changes = texts.iter().map(|text| parse(text).ok()).collect::<Option<Vec<Change>>>()?;
        Some(Candidate { changes, instances })
    };
    let mut candidates: Vec<Candidate> = found.into_iter().filter_map(candidate).collect();
    candidates.sort_by(|a, b| a.instances.total_cmp(&b.instances));
    candidates.truncate(MAX_CANDIDATES);
    candidates
}
