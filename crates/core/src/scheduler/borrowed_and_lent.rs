//! Usage of each share by unit, and which shares lend borrowed capacity.

use crate::model::InstanceType;
use crate::model::ShareName;
use crate::scheduler::policy::SharingPolicy;
use crate::scheduler::pool::Pool;
use crate::scheduler::queue_state::QueueState;
use crate::scheduler::quota::Quota;
use crate::scheduler::share_state::ShareState;

/// Usage of one capacity unit by one share of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The share; `None` for the whole of a FIFO queue.
    pub share: Option<ShareName>,
    /// An instance type, or `NUM_INSTANCES`.
    pub unit: InstanceType,
    /// Its own limit in instances, for FIFO that of the environment; `None` for fair shares, which have none.
    pub quota: Option<u64>,
    /// Instances held by jobs in flight.
    pub used: u64,
    /// Part of `used` that is above the quota and lent by others. Over a queue and unit, borrowed sums to lent.
    pub borrowed: u64,
    /// Part of the quota that others use.
    pub lent: u64,
    /// Part of `used` that is above the quota and not lent: a limit was lowered below usage.
    pub excess: u64,
}

/// The rows of a queue, in share order. Removed shares are included only while jobs of them run.
pub fn of(queue_state: &QueueState, pool: &Pool) -> Vec<Usage> {
    let lending: Vec<Lending> = (0..pool.units.len()).map(|unit| Lending::of(queue_state, unit)).collect();
    let mut rows = Vec::new();
    for (index, share_state) in queue_state.share_states.iter().enumerate() {
        if queue_state.is_gone(index) && share_state.in_flight.is_empty() {
            continue;
        }
        for (unit, name) in pool.units.iter().enumerate() {
            let limit = match &queue_state.sharing_policy {
                SharingPolicy::Fifo => Some(pool.limits.0[unit]),
                SharingPolicy::FairShare(_) => None,
                SharingPolicy::Quotas(quotas) => Some(quotas[index].limit.0[unit]),
            };
            let part = |parts: &[i64]| parts.get(index).copied().map_or(0, count);
            let borrowed = part(&lending[unit].borrowed);
            rows.push(Usage {
                share: share_state.share.clone(),
                unit: name.clone(),
                quota: limit.map(|limit| count(limit.into())),
                used: count(share_state.used.0[unit].into()),
                borrowed,
                lent: part(&lending[unit].lent),
                excess: part(&lending[unit].over) - borrowed,
            });
        }
    }
    rows
}

/// Usage above limits and lending of one unit, by share.
#[derive(Clone, Debug, Default)]
struct Lending {
    over: Vec<i64>,
    borrowed: Vec<i64>,
    lent: Vec<i64>,
}

impl Lending {
    /// It is undefined whose capacity a borrower got, so lenders lend in proportion to their idle capacity; and if
    /// more is used above limits than is idle, borrowers borrow in proportion to their excess.
    fn of(queue_state: &QueueState, unit: usize) -> Self {
        let quotas: &[Quota] = match &queue_state.sharing_policy {
            SharingPolicy::Quotas(quotas) => quotas,
            SharingPolicy::Fifo | SharingPolicy::FairShare(_) => return Self::default(),
        };
        let pairs = || quotas.iter().zip(&queue_state.share_states);
        let idle = |(quota, share_state): (&Quota, &ShareState)| {
            if quota.lends { i64::from(quota.idle(share_state).0[unit]) } else { 0 }
        };
        let idle: Vec<i64> = pairs().map(idle).collect();
        let over: Vec<i64> = pairs().map(|(quota, share_state)| i64::from(quota.over(share_state).0[unit])).collect();
        let lending = idle.iter().sum::<i64>().min(over.iter().sum());
        Self { borrowed: proportional(&over, lending), lent: proportional(&idle, lending), over }
    }
}

/// Divides `total`, at most the sum of `parts`, in proportion to them: rounded down, with the remainder going to the
/// parts that lost the most by rounding.
fn proportional(parts: &[i64], total: i64) -> Vec<i64> {
    let whole: i128 = parts.iter().map(|part| i128::from(*part)).sum();
    if whole == 0 {
        return vec![0; parts.len()];
    }
    let exact = |part: i64| i128::from(part) * i128::from(total);
    let mut given: Vec<i64> = parts.iter().map(|part| i64::try_from(exact(*part) / whole).unwrap_or(0)).collect();
    let mut losers: Vec<usize> = (0..parts.len()).filter(|index| given[*index] < parts[*index]).collect();
    losers.sort_by_key(|index| std::cmp::Reverse(exact(parts[*index]) % whole));
    let rest = usize::try_from(total - given.iter().sum::<i64>()).unwrap_or(0);
    for index in losers.into_iter().take(rest) {
        given[index] += 1;
    }
    given
}

fn count(amount: i64) -> u64 {
    u64::try_from(amount).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_in_proportion_and_sum_to_the_whole() {
        let table: [(&[i64], i64, &[i64]); 5] = [
            (&[4, 8], 6, &[2, 4]),
            (&[1, 1, 1], 2, &[1, 1, 0]),
            (&[0, 5], 5, &[0, 5]),
            (&[0, 0], 0, &[0, 0]),
            (&[7, 2, 1], 4, &[3, 1, 0]),
        ];
        for (parts, total, expected) in table {
            assert_eq!(proportional(parts, total), expected, "{total} over {parts:?}");
        }
    }
}
