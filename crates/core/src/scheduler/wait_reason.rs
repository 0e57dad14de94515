//! Why a waiting job has not been dispatched: the ground truth that an outside observer can only infer.
//!
//! A job is judged as if it were the head of its share, with the same state that decisions use; only a job that would
//! fit waits because of the order.

use crate::model::Capacity;
use crate::model::JobId;
use crate::model::JobStatus;
use crate::model::QueueName;
use crate::model::ShareName;
use crate::scheduler::Blocked;
use crate::scheduler::Scheduler;
use crate::scheduler::job_entry::Entry;
use crate::scheduler::policy::SharingPolicy;
use crate::scheduler::pool::Amounts;
use crate::scheduler::pool::Pool;
use crate::scheduler::queue_state::QueueState;
use crate::scheduler::quota::Quota;
use crate::scheduler::quota::Room;
use crate::scheduler::share_state::ShareState;

/// What a waiting job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitReason {
    /// Its queue or its environment is disabled.
    Disabled,
    /// It has arrived and was not examined yet.
    NotExamined,
    /// It can never be dispatched under the current setup.
    Misfit,
    /// Its share has reached its limit, or no share lends it more.
    ShareLimit,
    /// It would exceed its share's borrow limit.
    BorrowLimit,
    /// It claims capacity of its own share that others still hold.
    Claim,
    /// The provider has no instances for it.
    NoInstances,
    /// The environment's capacity is in use.
    Full,
    /// The free capacity is reserved for inactive shares.
    Reserved,
    /// Others go first.
    Order,
}

impl WaitReason {
    /// The reason as one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::NotExamined => "not_examined",
            Self::Misfit => "misfit",
            Self::ShareLimit => "share_limit",
            Self::BorrowLimit => "borrow_limit",
            Self::Claim => "claim",
            Self::NoInstances => "no_instances",
            Self::Full => "full",
            Self::Reserved => "reserved",
            Self::Order => "order",
        }
    }
}

impl Scheduler {
    /// What a job waits for; `None` if it does not wait.
    pub fn wait_reason(&self, id: &JobId) -> Option<WaitReason> {
        let entry = &self.jobs[self.by_id.get(id)?];
        if !entry.job.status.is_waiting() {
            return None;
        }
        let queue_state = &self.queues[entry.queue];
        let pool = &self.pools[queue_state.pool];
        let never = matches!(entry.blocked, Some(Blocked::EnvironmentLimit | Blocked::QuotaLimit));
        Some(if !self.is_served(entry.queue) {
            WaitReason::Disabled
        } else if entry.job.status != JobStatus::Runnable {
            WaitReason::NotExamined
        } else if never {
            WaitReason::Misfit
        } else {
            match &queue_state.sharing_policy {
                SharingPolicy::Fifo => of_environment(entry, pool, &pool.free()),
                SharingPolicy::FairShare(fair) => {
                    of_environment(entry, pool, &fair.room(&queue_state.share_states, pool, self.now))
                }
                SharingPolicy::Quotas(quotas) => of_quota(entry, quotas, &queue_state.share_states, pool),
            }
        })
    }

    /// Whether a job with this demand could never be dispatched under the current setup. False if the queue or share
    /// does not exist.
    pub fn never_fits(&self, queue: &QueueName, share: Option<&ShareName>, demand: &[Capacity]) -> bool {
        let of_name = |one: &&QueueState| one.setup.name == *queue && !one.removed;
        let Some(queue_state) = self.queues.iter().find(of_name) else { return false };
        let share_index = queue_state.share_states.iter().position(|one| one.share.as_ref() == share);
        // Without quotas, the share makes no difference.
        let has_quotas = matches!(queue_state.sharing_policy, SharingPolicy::Quotas(_));
        let Some(share_index) = share_index.or((!has_quotas).then_some(0)) else { return false };
        let pool = &self.pools[queue_state.pool];
        queue_state.sharing_policy.misfit(share_index, pool.need(demand).as_ref(), pool).is_some()
    }
}

/// `room` is the free capacity that is not reserved.
fn of_environment(entry: &Entry, pool: &Pool, room: &Amounts) -> WaitReason {
    if entry.blocked == Some(Blocked::InstanceCapacity) {
        WaitReason::NoInstances
    } else if !entry.fits(&pool.free()) {
        WaitReason::Full
    } else if !entry.fits(room) {
        WaitReason::Reserved
    } else {
        WaitReason::Order
    }
}

fn of_quota(entry: &Entry, quotas: &[Quota], share_states: &[ShareState], pool: &Pool) -> WaitReason {
    let (quota, share_state) = (&quotas[entry.share_state], &share_states[entry.share_state]);
    let room = Room::of(quotas, share_states, pool.free());
    if entry.fits_beside(&share_state.used, &quota.limit) {
        if quota.lends && !entry.fits(&room.lendable) {
            return WaitReason::Claim;
        }
    } else if !quota.borrows || !entry.fits(&room.lendable) {
        return WaitReason::ShareLimit;
    } else if !entry.fits_beside(&share_state.used, &quota.most) {
        return WaitReason::BorrowLimit;
    }
    of_environment(entry, pool, &pool.free())
}
