//! State of one queue: its shares, and its jobs by status.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::model::JobStatus;
use crate::model::Policy;
use crate::model::ShareName;
use crate::model::Timestamp;
use crate::scheduler::QueueSetup;
use crate::scheduler::Refusal;
use crate::scheduler::bit_set::BitSet;
use crate::scheduler::fair_share_policy::MAX_ACTIVE;
use crate::scheduler::fair_share_policy::Turn;
use crate::scheduler::job_entry::DispatchKey;
use crate::scheduler::job_entry::Entry;
use crate::scheduler::policy::SharingPolicy;
use crate::scheduler::pool::Amounts;
use crate::scheduler::pool::Pool;
use crate::scheduler::share_state::ShareState;

/// One queue and its jobs.
#[derive(Clone, Debug)]
pub struct QueueState {
    /// The queue as set up.
    pub setup: QueueSetup,
    /// Whether it was removed. Its jobs remain, but are not listed under its name.
    pub removed: bool,
    /// Index of its environment's pool.
    pub pool: usize,
    /// Its policy.
    pub sharing_policy: SharingPolicy,
    /// Its shares. Those of a fair-share queue are added as share identifiers appear.
    pub share_states: Vec<ShareState>,
    /// Numbers of all its jobs, in order.
    members: Vec<usize>,
    /// Per status, positions in `members`.
    by_status: [BitSet; JobStatus::KNOWN.len()],
    /// RUNNABLE jobs that wait for their recorded start; they are never dispatched by the policy.
    recorded: BTreeSet<DispatchKey>,
}

impl QueueState {
    /// Creates an empty queue.
    pub fn new(setup: QueueSetup, pool: usize) -> Self {
        Self {
            setup,
            removed: false,
            pool,
            sharing_policy: SharingPolicy::Fifo,
            share_states: Vec::new(),
            members: Vec::new(),
            by_status: Default::default(),
            recorded: BTreeSet::new(),
        }
    }

    /// Prepares the policy again in the pool's current units, and adds up the jobs in flight.
    pub fn recount(&mut self, jobs: &[Entry], pool: &Pool) {
        match &self.setup.policy {
            Policy::Fifo => {
                self.share_state(None);
            }
            Policy::FairShare { .. } => {}
            Policy::QuotaShares(shares) => {
                let names: Vec<_> = shares.iter().map(|share| share.name.clone()).collect();
                names.iter().for_each(|name| {
                    self.share_state(Some(name));
                });
            }
        }
        self.share_states.iter_mut().for_each(|share_state| share_state.recount(jobs));
        self.sharing_policy = SharingPolicy::new(&self.setup.policy, &self.share_states, pool);
    }

    /// Checks that a job for this share may be submitted.
    pub fn accepts(&self, share: Option<&ShareName>, now: Timestamp) -> Result<(), Refusal> {
        if !self.setup.enabled {
            return Err(Refusal::DisabledQueue(self.setup.name.clone()));
        }
        match (&self.setup.policy, share) {
            (Policy::Fifo, None) => Ok(()),
            (Policy::FairShare { .. }, Some(share)) => self.may_activate(share, now),
            (Policy::Fifo, Some(share)) => Err(Refusal::UnexpectedShare(share.clone())),
            (Policy::FairShare { .. } | Policy::QuotaShares(_), None) => Err(Refusal::MissingShare),
            (Policy::QuotaShares(shares), Some(share)) => match shares.iter().find(|one| one.name == *share) {
                Some(found) if found.enabled => Ok(()),
                Some(_) => Err(Refusal::DisabledShare(share.clone())),
                None => Err(Refusal::UnknownShare(share.clone())),
            },
        }
    }

    /// Index of a share's state, created if missing.
    pub fn share_state(&mut self, share: Option<&ShareName>) -> usize {
        self.share_states.iter().position(|share_state| share_state.share.as_ref() == share).unwrap_or_else(|| {
            self.share_states.push(ShareState::new(share.cloned()));
            self.share_states.len() - 1
        })
    }

    /// Whether a share's quota share was removed.
    pub fn is_gone(&self, share_state: usize) -> bool {
        match &self.setup.policy {
            Policy::Fifo | Policy::FairShare { .. } => false,
            Policy::QuotaShares(shares) => {
                !shares.iter().any(|share| Some(&share.name) == self.share_states[share_state].share.as_ref())
            }
        }
    }

    /// Adds a new job and returns its position in `members`.
    pub fn created(&mut self, number: usize, share_state: usize) -> usize {
        let member = self.members.len();
        self.members.push(number);
        if let Some(file) = self.file(&JobStatus::Submitted) {
            file.insert(member);
        }
        self.share_states[share_state].open += 1;
        member
    }

    /// Moves a job to the index of its new status.
    pub fn refile(&mut self, entry: &Entry, before: &JobStatus) {
        let after = &entry.job.status;
        if before != after {
            if let Some(file) = self.file(before) {
                file.remove(entry.member);
            }
            if let Some(file) = self.file(after) {
                file.insert(entry.member);
            }
            if after.is_ended() {
                self.share_states[entry.share_state].open -= 1;
            }
        }
    }

    /// All job numbers in `numbers`.
    pub fn all(&self, numbers: Range<usize>) -> &[usize] {
        &self.members[self.members_among(numbers)]
    }

    /// Numbers of the jobs in a status, limited to `numbers`.
    pub fn in_status(&self, status: &JobStatus, numbers: Range<usize>) -> impl DoubleEndedIterator<Item = usize> {
        let members = self.members_among(numbers);
        let file = status_index(status).map(|index| self.by_status[index].within(members));
        file.into_iter().flatten().map(|member| self.members[member])
    }

    /// Number of jobs in a status.
    pub fn count(&self, status: &JobStatus) -> usize {
        status_index(status).map_or(0, |index| self.by_status[index].len())
    }

    /// Numbers of the jobs that have not ended.
    pub fn open(&self) -> Vec<usize> {
        let open = JobStatus::KNOWN.iter().filter(|status| !status.is_ended());
        open.flat_map(|status| self.in_status(status, 0..usize::MAX)).collect()
    }

    /// Adds a job to its share.
    pub fn enqueue(&mut self, entry: &Entry) {
        if entry.plan.is_recorded() {
            self.recorded.insert(entry.dispatch_key());
        } else {
            self.share_states[entry.share_state].enqueue(entry.dispatch_key());
        }
    }

    /// Removes a job from its share. False if it was not waiting.
    pub fn dequeue(&mut self, entry: &Entry) -> bool {
        if entry.plan.is_recorded() {
            self.recorded.remove(&entry.dispatch_key())
        } else {
            self.share_states[entry.share_state].dequeue(entry.dispatch_key())
        }
    }

    /// Whether an enqueued job can change a decision.
    pub fn concerns(&self, entry: &Entry) -> bool {
        !entry.plan.is_recorded() && self.sharing_policy.concerns(&self.share_states[entry.share_state], entry)
    }

    /// Counts a job's capacity as used.
    pub fn take(&mut self, entry: &Entry, now: Timestamp) {
        self.dequeue(entry);
        self.note(entry.share_state, now);
        self.share_states[entry.share_state].take(entry);
    }

    /// Changes a job's priority, waiting or in flight.
    pub fn reprioritise(&mut self, entry: &mut Entry, priority: i32) {
        let waits = self.dequeue(entry);
        let in_flight = self.share_states[entry.share_state].in_flight.remove(&entry.stake());
        entry.job.priority = priority;
        if waits {
            self.enqueue(entry);
        }
        if in_flight {
            self.share_states[entry.share_state].in_flight.insert(entry.stake());
        }
    }

    /// Marks a job as being preempted.
    pub fn stopping(&mut self, entry: &Entry) {
        let share_state = &mut self.share_states[entry.share_state];
        share_state.stopping = share_state.stopping.plus(entry.need.unwrap_or_default());
    }

    /// Removes a job from its share, waiting or in flight. Returns whether it held capacity.
    pub fn release(&mut self, entry: &Entry, now: Timestamp) -> bool {
        self.dequeue(entry);
        self.note(entry.share_state, now);
        self.share_states[entry.share_state].give_back(entry)
    }

    /// The first `n` waiting jobs in dispatch order, assuming that each of them keeps its capacity: fair shares by
    /// usage, others by the number of their heads. Recorded jobs are sorted in by number.
    pub fn front(&self, n: usize, jobs: &[Entry], now: Timestamp) -> Vec<usize> {
        let mut share_states: Vec<_> = self
            .share_states
            .iter()
            .map(|share_state| (share_state, share_state.waiting().peekable(), Amounts::ZERO))
            .collect();
        let mut recorded = self.recorded.iter().map(|(_, job)| *job).peekable();
        let mut front = Vec::new();
        while front.len() < n {
            let turn = |share_state: &ShareState, more: Amounts, head: usize| match &self.sharing_policy {
                SharingPolicy::FairShare(fair) => fair.turn(share_state, more, head, now),
                SharingPolicy::Fifo | SharingPolicy::Quotas(_) => Turn::by_number(head),
            };
            let next = share_states
                .iter_mut()
                .filter_map(|(share_state, waiting, more)| {
                    Some((turn(share_state, *more, *waiting.peek()?), waiting, more))
                })
                .min_by(|(one, ..), (other, ..)| one.cmp(other));
            match (next, recorded.peek()) {
                (Some((Turn { head, .. }, waiting, more)), earlier)
                    if earlier.is_none_or(|earlier| head < *earlier) =>
                {
                    waiting.next();
                    *more = more.plus(jobs[head].need.unwrap_or_default());
                    front.push(head);
                }
                (_, Some(_)) => front.extend(recorded.next()),
                (_, None) => break,
            }
        }
        front
    }

    fn may_activate(&self, share: &ShareName, now: Timestamp) -> Result<(), Refusal> {
        let known = self
            .share_states
            .iter()
            .any(|share_state| share_state.open > 0 && share_state.share.as_ref() == Some(share));
        match &self.sharing_policy {
            SharingPolicy::FairShare(fair) if !known && fair.active(&self.share_states, now) >= MAX_ACTIVE => {
                Err(Refusal::TooManyShares(share.clone()))
            }
            SharingPolicy::Fifo | SharingPolicy::FairShare(_) | SharingPolicy::Quotas(_) => Ok(()),
        }
    }

    /// Fair share records usage before it changes.
    fn note(&mut self, share_state: usize, now: Timestamp) {
        if let SharingPolicy::FairShare(fair) = &self.sharing_policy {
            fair.note(&mut self.share_states[share_state], now);
        }
    }

    fn members_among(&self, numbers: Range<usize>) -> Range<usize> {
        let index = |number: usize| self.members.partition_point(|member| *member < number);
        index(numbers.start)..index(numbers.end).max(index(numbers.start))
    }

    fn file(&mut self, status: &JobStatus) -> Option<&mut BitSet> {
        status_index(status).map(|index| &mut self.by_status[index])
    }
}

/// Index of a status in [`JobStatus::KNOWN`].
fn status_index(status: &JobStatus) -> Option<usize> {
    match status {
        JobStatus::Submitted => Some(0),
        JobStatus::Pending => Some(1),
        JobStatus::Runnable => Some(2),
        JobStatus::Scheduled => Some(3),
        JobStatus::Starting => Some(4),
        JobStatus::Running => Some(5),
        JobStatus::Succeeded => Some(6),
        JobStatus::Failed => Some(7),
        JobStatus::Unknown(_) => None,
    }
}
