//! Quota shares: what each share may use, and what it must return.
//!
//! The idle capacity of a RESERVE share stays free. All other shares lend what they do not use. A job within its
//! share's limit is *entitled*: it takes free capacity before any borrower; if that is not enough, shares above their
//! limits are preempted, whether they borrowed or their limit was lowered. A job beyond the limit borrows: it takes
//! idle capacity of lending shares that no entitled job waits for, up to its share's borrow limit, in the order of
//! the shares' head jobs by age (AWS: idle resource assignment FIFO). In a share with in-share preemption, a waiting
//! head may replace jobs of lower priority.

use crate::model::QuotaShare;
use crate::model::Sharing;
use crate::scheduler::job_entry::Entry;
use crate::scheduler::pool::Amounts;
use crate::scheduler::pool::MAX_INSTANCES;
use crate::scheduler::pool::Pool;
use crate::scheduler::share_state::ShareState;

/// Limits and rights of one share.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Its own capacity.
    pub limit: Amounts,
    /// Whether others may use its idle capacity.
    pub lends: bool,
    /// Whether it may use the idle capacity of others.
    pub borrows: bool,
    /// Maximum usage, including borrowed capacity.
    pub most: Amounts,
    /// Whether its jobs of higher priority preempt those of lower priority.
    pub preempts_within: bool,
}

/// Available capacity at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Free capacity.
    pub free: Amounts,
    /// Idle capacity of RESERVE shares.
    pub reserved: Amounts,
    /// Idle capacity of lending shares, minus usage above limits.
    pub lendable: Amounts,
}

/// A share whose head may be dispatched.
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
    /// Quota of a removed share.
    pub const GONE: Self =
        Self { limit: Amounts::ZERO, lends: false, borrows: false, most: Amounts::ZERO, preempts_within: false };

    /// Converts a share's limits to the units of its environment.
    pub fn new(share: &QuotaShare, pool: &Pool) -> Self {
        let limit = pool.limits_of(&share.limits);
        let (lends, borrows, most) = match share.sharing {
            Sharing::Reserve | Sharing::Unknown => (false, false, limit),
            Sharing::Lend => (true, false, limit),
            Sharing::LendAndBorrow { borrow_limit: None } => (true, true, Amounts::UNLIMITED),
            Sharing::LendAndBorrow { borrow_limit: Some(percent) } => {
                let more = |own: i32| i64::from(own) * (100 + i64::from(percent)) / 100;
                (true, true, Amounts(limit.0.map(|own| more(own).min(i64::from(MAX_INSTANCES)) as i32)))
            }
        };
        Self { limit, lends, borrows, most, preempts_within: share.in_share_preemption }
    }

    /// Unused part of a share's limit.
    pub fn idle(&self, share_state: &ShareState) -> Amounts {
        self.limit.minus(share_state.used).most(Amounts::ZERO)
    }

    /// Usage of a share above its limit.
    pub fn over(&self, share_state: &ShareState) -> Amounts {
        share_state.used.minus(self.limit).most(Amounts::ZERO)
    }
}

impl Room {
    /// Computes the available capacity.
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

    /// Capacity available to an entitled job of this share: all free capacity except what other shares reserve.
    pub fn entitled(&self, quota: &Quota, share_state: &ShareState) -> Amounts {
        let own = if quota.lends { Amounts::ZERO } else { quota.idle(share_state) };
        self.free.minus(self.reserved).plus(own)
    }

    /// Capacity that may be borrowed while entitled jobs claim `claims`.
    pub fn borrowable(&self, claims: Amounts) -> Amounts {
        self.lendable.least(self.free.minus(self.reserved)).minus(claims)
    }

    /// Capacity that must become free to meet all claims, per unit. Lending shares may not use reserved capacity.
    pub fn shortfall(&self, of_lenders: Amounts, of_reserves: Amounts) -> Amounts {
        Amounts(std::array::from_fn(|unit| {
            let kept = if of_lenders.0[unit] > 0 { self.reserved.0[unit] } else { of_reserves.0[unit] };
            of_lenders.0[unit] + kept - self.free.0[unit]
        }))
    }
}
