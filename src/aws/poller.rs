//! Asking one target's queues, round by round.
//!
//! The order of the questions is what makes the answers fit together: the states of a job are listed in the order it
//! passes through them, so that one that moves on meanwhile is seen twice and never missed; and that a list is complete
//! is said only when its last page came.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_batch::types::{KeyValuesPair, ServiceJobStatus};
use tokio::sync::mpsc;

use crate::aws::Clients;
use crate::aws::answer_body::AnswerBody;
use crate::aws::failure::Failure;
use crate::aws::identity::Identity;
use crate::aws::listing::Listing;
use crate::aws::page::PageReader;
use crate::aws::sweep_pages::{SWEEP_PAGES_MIN, SweepPages};
use crate::aws::topology::{self, Topology};
use crate::aws::translate;
use crate::aws::translate::{Pools, Unknowns};
use crate::config::Poll;
use crate::config::Target;
use trainspotter_clock::Clock;
use trainspotter_core::model::JobId;
use trainspotter_core::model::JobStatus;
use trainspotter_core::model::Observation;
use trainspotter_core::model::Questions;
use trainspotter_core::model::Queue;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::Source;
use trainspotter_core::model::Timestamp;

const LIST_JOBS: &str = "ListServiceJobs";
/// The most jobs that Batch lists on a page.
const JOBS_PER_PAGE: i32 = 100;
/// The part of a poll's calls that full sweeps may take. A longer sweep goes on in the next poll, so that a queue with a
/// million waiting jobs does not keep the others waiting.
const SWEEP_SHARE: f64 = 0.5;

/// Calls that have begun when a round should be over, about.
const CALLS_ON_THEIR_WAY: f64 = 2.0;

/// Pages of one list of jobs, at most: twice the million of jobs that AWS lets wait.
const MAX_PAGES: usize = 20_000;

/// Pages of jobs in one state in flight, at most: each holds an instance at least, and nobody has that many.
const MAX_PAGES_IN_FLIGHT: usize = 1_000;

/// Queues that are named when none of them is watched.
const MAX_NAMED: usize = 20;

/// After this part of the time between two topologies one is tried again of which something could not be read.
const RETRY_PART: u32 = 5;

/// Pages of the waiting jobs of a queue that are read at once where they are few. If there are more, the rest is swept.
const FEW_PAGES: u64 = 20;

/// Where observations go. When no one takes them any more the service is stopping, and whoever runs the poller drops it.
pub(crate) type Out = mpsc::Sender<Vec<Observation>>;

/// Asks one target's queues and sends what it learns.
#[derive(Debug)]
pub struct Poller {
    pub(crate) clients: Clients,
    pub(crate) poll: Poll,
    pub(crate) clock: Clock,
    pub(crate) target: Target,
    /// The watched queues, as of the last topology.
    queues: Vec<Queue>,
    topology_due: Timestamp,
    pub(crate) utilisation_due: Timestamp,
    /// The host up to which utilisation was asked for last, where not all can be asked for at once.
    pub(crate) measured_up_to: Option<(JobId, String)>,
    pub(crate) reserved_due: Timestamp,
    pub(crate) account_due: Timestamp,
    pub(crate) limits_due: Timestamp,
    /// The warm pools of the last look.
    pub(crate) pools: Pools,
    /// Sweeps that a poll did not finish.
    sweeps: BTreeMap<QueueName, Sweep>,
    /// Queues of which the urgent part of this round is done, and when it began.
    polled: Vec<(QueueName, Timestamp)>,
    /// The queue whose sweep went on first in the last round.
    swept_first: Option<QueueName>,
    /// Queues whose arrivals were not read to the end, and since when they are owed.
    owed: BTreeMap<QueueName, Timestamp>,
    /// Whether the round under way has [begun](Poller::begin).
    begun: bool,
    /// When this round should be over, if somebody said so.
    ends_at: Option<Timestamp>,
    /// Finds out which account this is.
    pub(super) identity: Identity,
}

/// A full listing of the waiting jobs of a queue, under way.
#[derive(Clone, Debug)]
struct Sweep {
    since: Timestamp,
    listing: Listing,
    /// The next page; `None` is the first.
    token: Option<String>,
}

/// What a job list is about.
#[derive(Clone)]
enum Ask {
    Status(JobStatus),
    /// Any status, newest first.
    CreatedAfter(Timestamp),
}

impl Poller {
    /// A poller that has asked nothing yet: its first poll reads the topology.
    pub fn new(clients: Clients, target: Target, poll: Poll, clock: Clock) -> Self {
        let now = clock.now();
        Self {
            clients,
            poll,
            clock,
            target,
            queues: Vec::new(),
            topology_due: now,
            utilisation_due: now,
            measured_up_to: None,
            reserved_due: now,
            account_due: now,
            limits_due: now,
            pools: Pools::new(),
            sweeps: BTreeMap::new(),
            polled: Vec::new(),
            swept_first: None,
            owed: BTreeMap::new(),
            begun: false,
            ends_at: None,
            identity: Identity::default(),
        }
    }

    /// Begins a round: the topology, what is reserved and the limits of the account, if they are due. After it AWS's clock is known, if it ever is.
    pub async fn begin(&mut self, out: &Out) {
        self.identity.ask(&self.clients, &self.queues, out);
        self.poll_topology(out).await;
        self.poll_reserved(out).await;
        self.poll_account(out).await;
        self.begun = true;
    }

    /// The urgent part of a round, which is begun if it was not: of each queue its jobs in flight, its
    /// arrivals, and its waiting jobs where they are few. Observations are sent page by page. A queue that fails is said to have
    /// failed, and the next one is asked.
    #[tracing::instrument(name = "poll_sources", level = "debug", skip_all)]
    pub async fn poll(&mut self, questions: &Questions, out: &Out) {
        if !self.begun {
            self.begin(out).await;
        }
        self.begun = false;
        self.polled.clear();
        let queues: Vec<QueueName> = self.queues.iter().map(|queue| queue.name.clone()).collect();
        for queue in queues {
            let at = self.clock.now();
            match self.poll_jobs(&queue, questions, out).await {
                // The clock may have been set back meanwhile.
                Ok(()) => self.polled.push((queue, at.min(self.clock.now()))),
                Err(failure) => send(out, vec![failed(queue, at, failure)]).await,
            }
        }
    }

    /// The rest of a round, for which single jobs may well be described first: full lists of waiting jobs, of each queue that was polled
    /// and where they are due or under way, and what each queue says of itself. A list that does not fit in goes on in the next round,
    /// and another queue is the first to go on then.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn reconcile(&mut self, questions: &Questions, out: &Out) {
        let mut pages = SweepPages::new(self.sweep_pages(), self.ends_at.take());
        let mut polled = std::mem::take(&mut self.polled);
        let first = polled.iter().position(|(queue, _)| Some(queue) > self.swept_first.as_ref()).unwrap_or(0);
        polled.rotate_left(first);
        self.swept_first = None;
        for (queue, at) in polled {
            if self.is_to_sweep(&queue, questions) {
                self.swept_first.get_or_insert_with(|| queue.clone());
                // SUBMITTED and PENDING belong to it, and were listed at once.
                if let Err(failure) = self.sweep(&queue, at, &mut pages, out).await {
                    send(out, vec![failed(queue, at, failure)]).await;
                    continue;
                }
            }
            send(out, vec![Observation::Answered { source: Source::Jobs, queue: Some(queue.clone()), at }]).await;
            self.poll_snapshot(&queue, out).await;
        }
        self.send_calls(out).await;
    }

    /// When single jobs should have been described, of a round that should end at `end`: full lists have their part of it.
    pub(crate) fn reconcile_from(&self, questions: &Questions, end: Timestamp) -> Timestamp {
        let sweeps = self.polled.iter().any(|(queue, _)| self.is_to_sweep(queue, questions));
        if sweeps { end - self.poll.every.mul_f64(SWEEP_SHARE) } else { end }
    }

    /// Full lists of this round stop in time for it to end then, but for a few pages. After them each queue says something of itself.
    pub(crate) fn end_round_at(&mut self, end: Timestamp) {
        let calls = self.polled.len() as f64 + CALLS_ON_THEIR_WAY;
        self.ends_at = Some(end - Duration::from_secs_f64(calls / self.poll.calls_per_second));
    }

    fn is_to_sweep(&self, queue: &QueueName, questions: &Questions) -> bool {
        questions.reconcile.contains(queue) || self.sweeps.contains_key(queue)
    }

    /// Whether a queue is watched, as of the last topology.
    pub(crate) fn watches(&self, queue: &QueueName) -> bool {
        self.queues.iter().any(|watched| watched.name == *queue)
    }

    /// Sends the calls made and the limits hit since the last time.
    pub(crate) async fn send_calls(&self, out: &Out) {
        let hit = |(limit, times)| Observation::LimitHit { limit, times };
        send(out, self.clients.limits().drain().into_iter().map(hit).collect()).await;
        let calls = self.clients.calls().drain();
        if !calls.is_empty() {
            send(out, vec![Observation::Calls(calls)]).await;
        }
    }

    #[tracing::instrument(level = "debug", skip_all)]
    async fn poll_topology(&mut self, out: &Out) {
        let at = self.clock.now();
        if !is_due(at, self.topology_due, self.poll.topology_every) {
            return;
        }
        let mut unknowns = Unknowns::default();
        let source = Source::Topology;
        match topology::fetch(&self.clients, &self.target.queues, &self.queues, &mut unknowns).await {
            Ok(topology) => {
                let next = if topology.failures.is_empty() {
                    self.poll.topology_every
                } else {
                    self.poll.topology_every / RETRY_PART
                };
                self.topology_due = at + next;
                self.queues.clone_from(&topology.queues);
                let is_watched = |queue: &QueueName| topology.queues.iter().any(|watched| watched.name == *queue);
                self.sweeps.retain(|queue, _| is_watched(queue));
                self.owed.retain(|queue, _| is_watched(queue));
                let mut observations = self.learnt(topology, at);
                observations.extend(unknowns.into_observations());
                observations.push(Observation::Answered { source, queue: None, at });
                send(out, observations).await;
            }
            Err(failure) => {
                send(out, vec![Observation::Failed { source, queue: None, at, error: failure.to_string() }]).await;
            }
        }
    }

    /// The topology, of which queues it is complete, and what is wrong with the others.
    fn learnt(&self, topology: Topology, at: Timestamp) -> Vec<Observation> {
        let source = Source::Topology;
        let Topology { queues, others, failures } = topology;
        let failed: BTreeSet<&QueueName> = failures.iter().map(|(queue, _)| queue).collect();
        let complete = queues.iter().map(|queue| &queue.name).filter(|name| !failed.contains(name));
        let answered = |name: &QueueName| Observation::Answered { source, queue: Some(name.clone()), at };
        let answered: Vec<Observation> = complete.map(answered).collect();
        let why = queues.is_empty().then(|| self.nothing_matches(&others));
        let mut observations = vec![Observation::Topology { at, queues }];
        observations.extend(answered);
        let failed = |(queue, failure): (QueueName, Failure)| Observation::Failed {
            source,
            queue: Some(queue),
            at,
            error: failure.to_string(),
        };
        observations.extend(failures.into_iter().map(failed));
        observations.extend(why.map(|why| Observation::NoQueues { why }));
        observations
    }

    /// What was looked for in vain, and what there is instead.
    fn nothing_matches(&self, others: &BTreeSet<String>) -> String {
        let globs = self.target.queues.join(", ");
        let region = &self.target.region;
        let what = format!("no job queue of type SAGEMAKER_TRAINING in {region} matches `queues: {globs}`");
        let named: Vec<&str> = others.iter().take(MAX_NAMED).map(String::as_str).collect();
        match others.len().saturating_sub(MAX_NAMED) {
            _ if named.is_empty() => {
                format!("{what}: there is none at all (is it the right region, account and role?)")
            }
            0 => format!("{what}; there are: {}", named.join(", ")),
            more => format!("{what}; there are: {} and {more} more", named.join(", ")),
        }
    }

    /// How many pages the sweeps of one poll may take, all queues together.
    fn sweep_pages(&self) -> u64 {
        let calls = self.poll.calls_per_second * self.poll.every.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates, and it is positive"
        )]
        let pages = (calls * SWEEP_SHARE) as u64;
        pages.max(SWEEP_PAGES_MIN)
    }

    #[tracing::instrument(level = "debug", skip_all, fields(%queue))]
    async fn poll_jobs(&mut self, queue: &QueueName, questions: &Questions, out: &Out) -> Result<(), Failure> {
        let created_after = questions.created_after.get(queue).copied();
        let since = self.clock.now();
        self.list(queue, JobStatus::Submitted, out).await?;
        self.list(queue, JobStatus::Pending, out).await?;
        // A queue without a watermark is new.
        if created_after.is_none() || questions.waiting.contains(queue) {
            self.sweep(queue, since, &mut SweepPages::new(FEW_PAGES, None), out).await?;
        }
        let since = self.clock.now();
        for status in [JobStatus::Scheduled, JobStatus::Starting, JobStatus::Running] {
            self.list(queue, status, out).await?;
        }
        send(out, vec![Observation::InFlightListed { queue: queue.clone(), since }]).await;
        match created_after.or(questions.since) {
            Some(after) => self.poll_arrivals(queue, after, out).await,
            None => Ok(()),
        }
    }

    fn listing(&self, max_pages: usize) -> Listing {
        Listing::new(LIST_JOBS, max_pages, self.clients.limits())
    }

    /// Lists one status to its last page.
    async fn list(&self, queue: &QueueName, status: JobStatus, out: &Out) -> Result<(), Failure> {
        let max_pages = if status.is_in_flight() { MAX_PAGES_IN_FLIGHT } else { MAX_PAGES };
        let (mut listing, mut token) = (self.listing(max_pages), None);
        loop {
            token = self.page(queue, Ask::Status(status.clone()), token, &mut listing, out).await?.next;
            if token.is_none() {
                return Ok(());
            }
        }
    }

    /// Lists RUNNABLE from where the last poll left off, as far as `pages` reach. What fails is tried again from the
    /// same page, unless AWS refuses it: then the sweep begins anew.
    async fn sweep(
        &mut self,
        queue: &QueueName,
        now: Timestamp,
        pages: &mut SweepPages,
        out: &Out,
    ) -> Result<(), Failure> {
        let anew = Sweep { since: now, listing: self.listing(MAX_PAGES), token: None };
        let mut sweep = self.sweeps.remove(queue).unwrap_or(anew);
        loop {
            if !pages.take(self.clock.now()) {
                self.sweeps.insert(queue.clone(), sweep);
                return Ok(());
            }
            let (ask, token) = (Ask::Status(JobStatus::Runnable), sweep.token.clone());
            match self.page(queue, ask, token, &mut sweep.listing, out).await {
                Ok(Listed { next: None, .. }) => break,
                Ok(Listed { next, .. }) => sweep.token = next,
                Err(failure) => {
                    if !failure.is_refusal() {
                        self.sweeps.insert(queue.clone(), sweep);
                    }
                    return Err(failure);
                }
            }
        }
        send(out, vec![Observation::WaitingListed { queue: queue.clone(), since: sweep.since }]).await;
        Ok(())
    }

    /// Lists what was created after `asked`, newest first. If that fails half-way the older part is owed: the next poll
    /// goes back as far as this one should have, whatever newer jobs have been seen since.
    async fn poll_arrivals(&mut self, queue: &QueueName, asked: Timestamp, out: &Out) -> Result<(), Failure> {
        let after = self.owed.get(queue).map_or(asked, |owed| asked.min(*owed));
        self.owed.insert(queue.clone(), after);
        let (mut listing, mut token) = (self.listing(MAX_PAGES), None);
        loop {
            let page = self.page(queue, Ask::CreatedAfter(after), token, &mut listing, out).await?;
            let all_older = page.newest.is_some_and(|newest| newest < after);
            token = page.next;
            if token.is_none() || all_older {
                break;
            }
        }
        self.owed.remove(queue);
        Ok(())
    }

    /// Asks for one page of jobs and sends it.
    async fn page(
        &self,
        queue: &QueueName,
        ask: Ask,
        token: Option<String>,
        listing: &mut Listing,
        out: &Out,
    ) -> Result<Listed, Failure> {
        let asked = self.clock.mark();
        let request = self.clients.batch.list_service_jobs().job_queue(queue.as_str()).max_results(JOBS_PER_PAGE);
        let request = match ask {
            Ask::Status(status) => request.job_status(ServiceJobStatus::from(status.as_str())),
            Ask::CreatedAfter(after) => {
                let after = after.millis().to_string();
                request.filters(KeyValuesPair::builder().name("AFTER_CREATED_AT").values(after).build())
            }
        };
        let reader = PageReader::new(queue.clone());
        let request = request.set_next_token(token).customize().interceptor(AnswerBody(reader.clone()));
        request.send().await.map_err(|error| Failure::new(LIST_JOBS, &error))?;
        let unread = "an answer that only the SDK can read";
        let page = reader.take().ok_or_else(|| Failure::of_answer(LIST_JOBS, unread))?;
        if !page.is_list {
            return Err(Failure::of_answer(LIST_JOBS, "the answer lacks jobSummaryList, which it must have"));
        }
        let next = listing.next(page.next, page.jobs.iter().map(|job| job.id.as_str()));
        let newest = page.jobs.iter().map(|job| job.created_at).max();
        let mut observations = Vec::new();
        if newest.is_some() {
            let (at, answered_at) = self.clock.answered(asked);
            observations.push(Observation::Jobs { at, answered_at, jobs: page.jobs });
        }
        observations.extend(page.unknowns.into_observations());
        send(out, observations).await;
        Ok(Listed { next: next?, newest })
    }

    #[tracing::instrument(level = "debug", skip_all)]
    async fn poll_snapshot(&self, queue: &QueueName, out: &Out) {
        let at = self.clock.now();
        let source = Source::Snapshot;
        let about = Some(queue.clone());
        let mut observations = Vec::new();
        match self.clients.batch.get_job_queue_snapshot().job_queue(queue.as_str()).send().await {
            Ok(answer) => {
                let mut unknowns = Unknowns::default();
                let snapshot = translate::snapshot(&answer, queue, at, &mut unknowns);
                observations.push(Observation::Snapshot(snapshot));
                observations.extend(unknowns.into_observations());
                observations.push(Observation::Answered { source, queue: about, at });
            }
            Err(error) => {
                let error = Failure::new("GetJobQueueSnapshot", &error).to_string();
                observations.push(Observation::Failed { source, queue: about, at, error });
            }
        }
        send(out, observations).await;
    }
}

/// Whether it is time for what is to be done next at `due`. Further ahead than it ever is, that was set by a wrong clock.
pub(crate) fn is_due(now: Timestamp, due: Timestamp, every: Duration) -> bool {
    now >= due || due > now + every
}

fn failed(queue: QueueName, at: Timestamp, failure: Failure) -> Observation {
    Observation::Failed { source: Source::Jobs, queue: Some(queue), at, error: failure.to_string() }
}

/// What a page says besides its jobs.
struct Listed {
    next: Option<String>,
    newest: Option<Timestamp>,
}

/// Sends observations, if there are any. See [`Out`] for why a closed channel is no error.
pub(crate) async fn send(out: &Out, observations: Vec<Observation>) {
    if !observations.is_empty() {
        let _closed = out.send(observations).await;
    }
}

#[cfg(test)]
mod odd_answers;
#[cfg(test)]
mod tests;
