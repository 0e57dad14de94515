//! Quota shares: who may take what, and who must give back.
//!
//! A RESERVE share lives on its own: what it does not use stays free. All others lend what they do not use. A job that
//! stays within its share's limit is *entitled*: it takes what is free before any borrower, and if that is not enough,
//! shares that use more than their limit are preempted, whether they borrowed it or the limit was lowered under them. A
//! job beyond the limit borrows: it takes what lending shares leave idle and no entitled job is waiting for, up to its
//! share's borrow limit, in the order of the age of the shares' heads (AWS: idle resource assignment FIFO). Where a
//! share preempts within itself, a head that is left waiting may take the place of jobs of lower priority.

use crate::model::QuotaShare;
use crate::model::Sharing;
use crate::scheduler::pool::Amounts;
use crate::scheduler::pool::MOST;
use crate::scheduler::pool::Pool;
use crate::scheduler::queued_job::Entry;
use crate::scheduler::share_state::ShareState;

/// What one share has and may do.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Its own capacity.
    pub limit: Amounts,
    /// Whether others may use what it does not.
    pub lends: bool,
    /// Whether it may use what others do not.
    pub borrows: bool,
    /// The most it may use, borrowed capacity included.
    pub most: Amounts,
    /// Whether its jobs of higher priority preempt those of lower.
    pub preempts_within: bool,
}

/// What is there for whom, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// What is not in use.
    pub free: Amounts,
    /// What RESERVE shares leave idle.
    pub reserved: Amounts,
    /// What lending shares leave idle, less what is used beyond limits.
    pub lendable: Amounts,
}

/// A lane whose head may be dispatched.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub head: usize,
    pub job: &'a Entry,
    pub share_state: &'a ShareState,
    pub quota: &'a Quota,
    /// Whether it would stay within its share's limit.
    pub entitled: bool,
}

impl Quota {
    /// Of a share that does not exist any more.
    pub const GONE: Self =
        Self { limit: Amounts::ZERO, lends: false, borrows: false, most: Amounts::ZERO, preempts_within: false };

    /// Reads a share's limits in the units of its environment.
    pub fn new(share: &QuotaShare, pool: &Pool) -> Self {
        let limit = pool.limits_of(&share.limits);
        let (lends, borrows, most) = match share.sharing {
            Sharing::Reserve | Sharing::Unknown => (false, false, limit),
            Sharing::Lend => (true, false, limit),
            Sharing::LendAndBorrow { borrow_limit: None } => (true, true, Amounts::ENDLESS),
            Sharing::LendAndBorrow { borrow_limit: Some(percent) } => {
                let more = |own: i32| i64::from(own) * (100 + i64::from(percent)) / 100;
                (true, true, Amounts(limit.0.map(|own| more(own).min(i64::from(MOST)) as i32)))
            }
        };
        Self { limit, lends, borrows, most, preempts_within: share.in_share_preemption }
    }

    /// What a lane does not use of its limit.
    pub fn idle(&self, share_state: &ShareState) -> Amounts {
        self.limit.minus(share_state.used).most(Amounts::ZERO)
    }

    /// What a lane uses beyond its limit.
    pub fn over(&self, share_state: &ShareState) -> Amounts {
        share_state.used.minus(self.limit).most(Amounts::ZERO)
    }
}

impl Room {
    /// What is there now.
    pub fn of(quotas: &[Quota], share_states: &[ShareState], free: Amounts) -> Self {
        let mut room = Self { free, reserved: Amounts::ZERO, lendable: Amounts::ZERO };
        for (quota, share_state) in quotas.iter().zip(share_states) {
            let idle = quota.idle(share_state);
            if quota.lends {
                room.lendable = room.lendable.plus(idle);
            } else {
                room.reserved = room.reserved.plus(idle);
            }
            room.lendable = room.lendable.minus(quota.over(share_state));
        }
        room
    }

    /// What an entitled job of this lane may take: all that is free, but for what other shares keep for themselves.
    pub fn entitled(&self, quota: &Quota, share_state: &ShareState) -> Amounts {
        let own = if quota.lends { Amounts::ZERO } else { quota.idle(share_state) };
        self.free.minus(self.reserved).plus(own)
    }

    /// What may be borrowed while entitled jobs claim `claims`.
    pub fn borrowable(&self, claims: Amounts) -> Amounts {
        self.lendable.least(self.free.minus(self.reserved)).minus(claims)
    }

    /// What must become free before all claims can be met, unit by unit. Those who lend may not touch what others reserve.
    pub fn shortfall(&self, of_lenders: Amounts, of_reserves: Amounts) -> Amounts {
        Amounts(std::array::from_fn(|unit| {
            let kept = if of_lenders.0[unit] > 0 { self.reserved.0[unit] } else { of_reserves.0[unit] };
            of_lenders.0[unit] + kept - self.free.0[unit]
        }))
    }
}
