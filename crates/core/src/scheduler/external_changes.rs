//! External changes to environments, queues, shares and jobs, all at the current time.

use std::collections::BTreeMap;

use crate::model::JobId;
use crate::model::Policy;
use crate::model::QueueName;
use crate::model::QuotaShare;
use crate::model::ServiceEnvironment;
use crate::model::ShareName;
use crate::scheduler::Outage;
use crate::scheduler::QueueSetup;
use crate::scheduler::Refusal;
use crate::scheduler::Scheduler;
use crate::scheduler::pool::Pool;
use crate::scheduler::queue_state::QueueState;

impl Scheduler {
    /// Creates or updates a service environment. If a limit falls below current usage, jobs keep running, and nothing
    /// new starts until it fits.
    pub fn put_environment(&mut self, environment: ServiceEnvironment) {
        let pool = self.pool_named(&environment.name);
        self.pools[pool].environment = environment;
        self.pools[pool].exists = true;
        self.recount(pool);
        self.settle();
    }

    /// Removes a service environment: its queues have no capacity from now on. False if it does not exist.
    pub fn remove_environment(&mut self, name: &str) -> bool {
        let Some(pool) = self.pools.iter().position(|pool| pool.exists && pool.environment.name == name) else {
            return false;
        };
        self.pools[pool].exists = false;
        self.pools[pool].environment.limits.clear();
        self.recount(pool);
        self.settle();
        true
    }

    /// Creates or updates a job queue. Quota shares in its policy are created or updated; others stay unchanged.
    ///
    /// # Errors
    /// The queue exists with a different kind of policy.
    pub fn put_queue(&mut self, setup: QueueSetup) -> Result<(), Refusal> {
        let pool = self.pool_named(&setup.environment);
        match self.index_of(&setup.name) {
            None => self.queues.push(QueueState::new(setup, pool)),
            Some(queue) => {
                let queue_state = &mut self.queues[queue];
                let policy = changed(&setup.name, &queue_state.setup.policy, setup.policy)?;
                queue_state.setup = QueueSetup { policy, ..setup };
                let before = std::mem::replace(&mut queue_state.pool, pool);
                if before != pool {
                    self.recount(before);
                }
            }
        }
        self.recount(pool);
        self.settle();
        Ok(())
    }

    /// Removes a job queue and terminates its jobs. False if it does not exist. A queue created later with the same
    /// name starts without jobs.
    pub fn remove_queue(&mut self, queue: &QueueName, reason: &str) -> bool {
        let Some(queue) = self.index_of(queue) else { return false };
        self.terminate_all(self.queues[queue].open(), reason);
        self.queues[queue].removed = true;
        self.recount(self.queues[queue].pool);
        self.settle();
        true
    }

    /// Updates the parameters of a queue's policy; quota shares as in [`Self::put_queue`].
    ///
    /// # Errors
    /// The queue does not exist or has a different kind of policy.
    pub fn put_policy(&mut self, queue: &QueueName, policy: Policy) -> Result<(), Refusal> {
        let setup = self.queue(queue).ok_or_else(|| Refusal::UnknownQueue(queue.clone()))?;
        self.put_queue(QueueSetup { policy, ..setup.clone() })
    }

    /// Creates or updates a quota share. Jobs above a lowered limit keep running, but may be preempted for jobs
    /// within their limits. A disabled share accepts no new jobs; its existing jobs are still dispatched.
    ///
    /// # Errors
    /// The queue does not exist or has no quota shares.
    pub fn put_share(&mut self, queue: &QueueName, share: QuotaShare) -> Result<(), Refusal> {
        self.put_policy(queue, Policy::QuotaShares(vec![share]))
    }

    /// Removes a quota share and terminates its jobs. False if it does not exist.
    pub fn remove_share(&mut self, queue: &QueueName, share: &ShareName, reason: &str) -> bool {
        let Some(queue) = self.index_of(queue) else { return false };
        let Policy::QuotaShares(shares) = &mut self.queues[queue].setup.policy else { return false };
        let before = shares.len();
        shares.retain(|one| one.name != *share);
        if shares.len() == before {
            return false;
        }
        let of_share = |job: &usize| self.jobs[*job].job.share.as_ref() == Some(share);
        let jobs = self.queues[queue].open().into_iter().filter(of_share).collect();
        self.terminate_all(jobs, reason);
        self.recount(self.queues[queue].pool);
        self.settle();
        true
    }

    /// Adds a period in which the provider has no instances of a type.
    pub fn add_outage(&mut self, outage: Outage) {
        self.outages.push(outage);
    }

    /// Changes a job's priority, and with it its position while waiting or its preemption order. False if the job
    /// does not exist or has ended.
    pub fn set_priority(&mut self, id: &JobId, priority: i32) -> bool {
        let Some(number) = self.open_job(id) else { return false };
        let entry = &mut self.jobs[number];
        let queue_state = &mut self.queues[entry.queue];
        queue_state.reprioritise(entry, priority);
        self.pools[queue_state.pool].changed = true;
        self.settle();
        true
    }

    /// Replaces a job's tags. False if it does not exist.
    pub fn set_tags(&mut self, id: &JobId, tags: BTreeMap<String, String>) -> bool {
        let Some(job) = self.by_id.get(id) else { return false };
        self.jobs[job].job.tags = self.interner.tags(tags);
        true
    }

    /// Ends a job now, in any status: FAILED, with `reason`. False if it does not exist or has ended.
    pub fn terminate(&mut self, id: &JobId, reason: &str) -> bool {
        let Some(number) = self.open_job(id) else { return false };
        self.terminate_all(vec![number], reason);
        self.settle();
        true
    }

    fn open_job(&self, id: &JobId) -> Option<usize> {
        self.by_id.get(id).filter(|job| !self.jobs[*job].job.status.is_ended())
    }

    fn pool_named(&mut self, name: &str) -> usize {
        self.pools.iter().position(|pool| pool.environment.name == name).unwrap_or_else(|| {
            self.pools.push(Pool::new(name));
            self.pools.len() - 1
        })
    }

    fn terminate_all(&mut self, jobs: Vec<usize>, reason: &str) {
        for job in jobs {
            self.end_early(job, reason.to_owned().into());
        }
    }

    /// Recomputes everything that depends on an environment: its units, its queues and their quotas, the needs of
    /// jobs and the capacity they hold, and which waiting jobs can never be dispatched.
    fn recount(&mut self, pool: usize) {
        let Self { pools, queues, jobs, .. } = self;
        let index = pool;
        let pool = &mut pools[index];
        pool.recount();
        pool.queues =
            (0..queues.len()).filter(|queue| queues[*queue].pool == index && !queues[*queue].removed).collect();
        pool.queues.sort_by_key(|queue| std::cmp::Reverse(queues[*queue].setup.priority));
        pool.changed = true;
        let mut waiting = Vec::new();
        for queue in &pool.queues {
            let queue_state = &mut queues[*queue];
            for job in queue_state.open() {
                let entry = &mut jobs[job];
                entry.need = pool.need(&entry.job.demand);
                if entry.job.status.is_waiting() {
                    waiting.push(job);
                }
            }
            queue_state.recount(jobs, pool);
            pool.used = queue_state.share_states.iter().fold(pool.used, |sum, share_state| sum.plus(share_state.used));
        }
        waiting.into_iter().for_each(|job| self.examine(job));
    }

    fn settle(&mut self) {
        self.serve();
        self.drop_void();
    }
}

/// A policy after an update. Only its parameters can change, not its kind.
fn changed(queue: &QueueName, from: &Policy, to: Policy) -> Result<Policy, Refusal> {
    match (from, to) {
        (Policy::Fifo, Policy::Fifo) => Ok(Policy::Fifo),
        (Policy::FairShare { .. }, to @ Policy::FairShare { .. }) => Ok(to),
        (Policy::QuotaShares(before), Policy::QuotaShares(put)) => {
            let mut shares = before.clone();
            for share in put {
                match shares.iter_mut().find(|one| one.name == share.name) {
                    Some(one) => *one = share,
                    None => shares.push(share),
                }
            }
            Ok(Policy::QuotaShares(shares))
        }
        (Policy::Fifo | Policy::FairShare { .. } | Policy::QuotaShares(_), _) => {
            Err(Refusal::OtherPolicy(queue.clone()))
        }
    }
}
