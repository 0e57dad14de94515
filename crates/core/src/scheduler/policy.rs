//! Policies: which job is dispatched next, given waiting jobs and free capacity.
//!
//! A queue keeps its jobs by share (FIFO: all in one list). Within a share jobs are ordered by
//! priority, then number, and the head blocks the jobs behind it. A policy only decides; it changes nothing.

use crate::model::Policy;
use crate::model::Timestamp;
use crate::scheduler::Blocked;
use crate::scheduler::decision::Decision;
use crate::scheduler::decision::Misfit;
use crate::scheduler::fair_share_policy::FairShare;
use crate::scheduler::job_entry::Entry;
use crate::scheduler::pool::Amounts;
use crate::scheduler::pool::Pool;
use crate::scheduler::quota::Quota;
use crate::scheduler::quota_policy;
use crate::scheduler::share_state::ShareState;

/// A policy, prepared for decisions.
#[derive(Clone, Debug)]
pub enum SharingPolicy {
    /// One list of jobs, without shares.
    Fifo,
    /// The share with the least weighted usage goes first, and its head blocks the queue.
    FairShare(FairShare),
    /// Quotas by share, in the same order.
    Quotas(Vec<Quota>),
}

impl SharingPolicy {
    /// Prepares a policy. Quotas are matched to shares by name.
    pub fn new(policy: &Policy, share_states: &[ShareState], pool: &Pool) -> Self {
        match policy {
            Policy::Fifo => Self::Fifo,
            Policy::FairShare { shares, decay, reservation } => {
                Self::FairShare(FairShare::new(shares, *decay, *reservation))
            }
            Policy::QuotaShares(shares) => {
                let share_of = |share_state: &ShareState| {
                    shares.iter().find(|share| Some(&share.name) == share_state.share.as_ref())
                };
                let quota = |share_state| share_of(share_state).map_or(Quota::GONE, |share| Quota::new(share, pool));
                Self::Quotas(share_states.iter().map(quota).collect())
            }
        }
    }

    /// Decides one step for the queue with these shares.
    pub fn decide(&self, share_states: &[ShareState], jobs: &[Entry], pool: &Pool, now: Timestamp) -> Decision {
        match self {
            Self::Fifo => match share_states.first().and_then(ShareState::head).filter(|head| !jobs[*head].held) {
                Some(head) if jobs[head].fits(&pool.free()) => Decision::Start(head),
                Some(_) | None => Decision::Wait,
            },
            Self::FairShare(fair) => fair.decide(share_states, jobs, pool, now),
            Self::Quotas(quotas) => quota_policy::decide(quotas, share_states, jobs, pool.free()),
        }
    }

    /// Whether a job that joined its share can change any decision. Behind a waiting head it can only do so through
    /// its entitlement.
    pub fn concerns(&self, share_state: &ShareState, joined: &Entry) -> bool {
        let entitled = match self {
            Self::Fifo | Self::FairShare(_) => false,
            Self::Quotas(quotas) => joined.fits_beside(&share_state.used, &quotas[joined.share_state].limit),
        };
        entitled || share_state.head() == Some(joined.job.number)
    }

    /// Why a job with this need can never be dispatched from this share; `None` if it can.
    pub fn misfit(&self, share_state: usize, need: Option<&Amounts>, pool: &Pool) -> Option<Misfit> {
        let Some(need) = need.filter(|need| need.fits(&pool.limits)) else {
            return Some(Misfit {
                blocked: Blocked::EnvironmentLimit,
                reason: "MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE - Service environment(s) associated with \
                         the job queue cannot meet the capacity requirement of the job.",
            });
        };
        match self {
            Self::Fifo | Self::FairShare(_) => None,
            Self::Quotas(quotas) => quota_policy::misfit(quotas, share_state, need),
        }
    }
}
