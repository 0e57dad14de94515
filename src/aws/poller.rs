//! Polls the queues of one target, round by round.
//!
//! The order of requests keeps the results consistent. States are listed in the order jobs pass through them, so a
//! job that changes state meanwhile is seen twice but never missed. A list is reported as complete only after its
//! last page.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_batch::types::{KeyValuesPair, ServiceJobStatus};
use tokio::sync::mpsc;

use crate::aws::Clients;
use crate::aws::endless_listing::Listing;
use crate::aws::failure::Failure;
use crate::aws::full_list_limit::{SWEEP_PAGES_MIN, SweepPages};
use crate::aws::identity::Identity;
use crate::aws::job_list_page::PageReader;
use crate::aws::rewrite_body::AnswerBody;
use crate::aws::topology;
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
/// Batch's maximum number of jobs per page.
const JOBS_PER_PAGE: i32 = 100;
/// Share of a poll's calls for full sweeps. A longer sweep continues in the next poll, so that a queue with a
/// million waiting jobs does not delay the others.
const SWEEP_SHARE: f64 = 0.5;

/// Approximate number of calls in flight at the end of a round.
const CALLS_IN_FLIGHT: f64 = 2.0;

/// Maximum pages of one list of jobs: twice the million waiting jobs that AWS allows.
const MAX_PAGES: usize = 20_000;

/// Maximum pages of jobs in one active state: each job holds at least one instance, and no account has that many.
const MAX_PAGES_IN_FLIGHT: usize = 1_000;

/// After a partial topology failure the next attempt follows after this fraction of the topology interval.
const RETRY_DIVISOR: u32 = 5;

/// Maximum pages of waiting jobs read directly per queue. A longer list is swept.
const MAX_DIRECT_PAGES: u64 = 20;

/// Channel for observations. If it is closed the service is stopping, and the owner drops the poller.
pub(crate) type ObservationSender = mpsc::Sender<Vec<Observation>>;

/// Polls the queues of one target and sends observations.
#[derive(Debug)]
pub struct Poller {
    pub(crate) clients: Clients,
    pub(crate) poll: Poll,
    pub(crate) clock: Clock,
    pub(crate) target: Target,
    /// The watched queues, from the last topology.
    pub(super) queues: Vec<Queue>,
    topology_due: Timestamp,
    pub(crate) utilisation_due: Timestamp,
    /// The last host whose utilisation was queried, for round robin.
    pub(crate) measured_up_to: Option<(JobId, String)>,
    /// Sources that refused every item of their last questions.
    pub(crate) refuses_all: BTreeSet<Source>,
    pub(crate) reserved_due: Timestamp,
    pub(crate) account_due: Timestamp,
    pub(crate) limits_due: Timestamp,
    /// The warm pools of the last poll.
    pub(crate) pools: Pools,
    /// Unfinished sweeps.
    sweeps: BTreeMap<QueueName, Sweep>,
    /// Queues polled successfully in this round, with the start time of their poll.
    polled: Vec<(QueueName, Timestamp)>,
    /// The queue whose sweep ran first in the last round.
    swept_first: Option<QueueName>,
    /// Queues with unread arrivals, and the time from which they are missing.
    missed_arrivals: BTreeMap<QueueName, Timestamp>,
    /// Whether the current round has [begun](Poller::begin).
    begun: bool,
    /// When the sweeps of this round must stop, if set.
    ends_at: Option<Timestamp>,
    /// Finds the account id.
    pub(super) identity: Identity,
}

/// A full listing of a queue's waiting jobs, in progress.
#[derive(Clone, Debug)]
struct Sweep {
    since: Timestamp,
    listing: Listing,
    /// Token of the next page; `None` for the first.
    token: Option<String>,
}

/// Filter of a job list.
#[derive(Clone)]
enum ListFilter {
    Status(JobStatus),
    /// Any status, newest first.
    CreatedAfter(Timestamp),
}

impl Poller {
    /// Creates a poller. Its first poll reads the topology.
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
            refuses_all: BTreeSet::new(),
            reserved_due: now,
            account_due: now,
            limits_due: now,
            pools: Pools::new(),
            sweeps: BTreeMap::new(),
            polled: Vec::new(),
            swept_first: None,
            missed_arrivals: BTreeMap::new(),
            begun: false,
            ends_at: None,
            identity: Identity::default(),
        }
    }

    /// Begins a round: reads the topology, reservations and account limits, as far as they are due. These requests
    /// also determine AWS's clock.
    pub async fn begin(&mut self, out: &ObservationSender) {
        self.identity.ask(&self.clients, &self.queues, out);
        self.poll_topology(out).await;
        self.poll_reserved(out).await;
        self.poll_account(out).await;
        self.begun = true;
    }

    /// Runs the urgent part of a round, after [`Poller::begin`] if it was not called: for each queue its active
    /// jobs, its arrivals, and its waiting jobs if they are few. Observations are sent page by page. A failing
    /// queue is reported, and the next one is polled.
    #[tracing::instrument(name = "poll_sources", level = "debug", skip_all)]
    pub async fn poll(&mut self, questions: &Questions, out: &ObservationSender) {
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

    /// Runs the rest of a round; describe single jobs first. For each polled queue: its full list of waiting jobs,
    /// if due or in progress, and its snapshot. A list that does not fit continues in the next round, and another
    /// queue goes first then.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn reconcile(&mut self, questions: &Questions, out: &ObservationSender) {
        let mut pages = SweepPages::new(self.sweep_pages(), self.ends_at.take());
        let mut polled = std::mem::take(&mut self.polled);
        let first = polled.iter().position(|(queue, _)| Some(queue) > self.swept_first.as_ref()).unwrap_or(0);
        polled.rotate_left(first);
        self.swept_first = None;
        for (queue, at) in polled {
            if self.is_to_sweep(&queue, questions) {
                self.swept_first.get_or_insert_with(|| queue.clone());
                // SUBMITTED and PENDING belong to the full list too, and were listed by `poll`.
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

    /// Deadline for describing single jobs in a round that should end at `end`; it leaves time for full lists.
    pub(crate) fn reconcile_from(&self, questions: &Questions, end: Timestamp) -> Timestamp {
        let sweeps = self.polled.iter().any(|(queue, _)| self.is_to_sweep(queue, questions));
        if sweeps { end - self.poll.every.mul_f64(SWEEP_SHARE) } else { end }
    }

    /// Makes the full lists of this round stop early enough for it to end at about `end`, with time for each
    /// queue's snapshot.
    pub(crate) fn end_round_at(&mut self, end: Timestamp) {
        let calls = self.polled.len() as f64 + CALLS_IN_FLIGHT;
        self.ends_at = Some(end - Duration::from_secs_f64(calls / self.poll.calls_per_second));
    }

    fn is_to_sweep(&self, queue: &QueueName, questions: &Questions) -> bool {
        questions.reconcile.contains(queue) || self.sweeps.contains_key(queue)
    }

    /// Whether a queue is watched, by the last topology.
    pub(crate) fn watches(&self, queue: &QueueName) -> bool {
        self.queues.iter().any(|watched| watched.name == *queue)
    }

    /// Sends the calls and limit hits since the last time.
    pub(crate) async fn send_calls(&self, out: &ObservationSender) {
        let hit = |(limit, times)| Observation::LimitHit { limit, times };
        send(out, self.clients.limits().drain().into_iter().map(hit).collect()).await;
        let calls = self.clients.calls().drain();
        if !calls.is_empty() {
            send(out, vec![Observation::Calls(calls)]).await;
        }
    }

    #[tracing::instrument(level = "debug", skip_all)]
    async fn poll_topology(&mut self, out: &ObservationSender) {
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
                    self.poll.topology_every / RETRY_DIVISOR
                };
                self.topology_due = at + next;
                self.queues.clone_from(&topology.queues);
                let is_watched = |queue: &QueueName| topology.queues.iter().any(|watched| watched.name == *queue);
                self.sweeps.retain(|queue, _| is_watched(queue));
                self.missed_arrivals.retain(|queue, _| is_watched(queue));
                let why = self.too_many_queues(topology.left_out);
                let mut observations = self.topology_observations(topology, at);
                observations.push(Observation::TooManyQueues { why });
                observations.extend(unknowns.into_observations());
                observations.push(Observation::Answered { source, queue: None, at });
                send(out, observations).await;
            }
            Err(failure) => {
                send(out, vec![Observation::Failed { source, queue: None, at, error: failure.to_string() }]).await;
            }
        }
    }

    /// Pages for the sweeps of one poll, over all queues.
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
    async fn poll_jobs(
        &mut self,
        queue: &QueueName,
        questions: &Questions,
        out: &ObservationSender,
    ) -> Result<(), Failure> {
        let created_after = questions.created_after.get(queue).copied();
        let since = self.clock.now();
        self.list(queue, JobStatus::Submitted, out).await?;
        self.list(queue, JobStatus::Pending, out).await?;
        // A queue without a watermark is new.
        if created_after.is_none() || questions.waiting.contains(queue) {
            self.sweep(queue, since, &mut SweepPages::new(MAX_DIRECT_PAGES, None), out).await?;
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
    async fn list(&self, queue: &QueueName, status: JobStatus, out: &ObservationSender) -> Result<(), Failure> {
        let max_pages = if status.is_in_flight() { MAX_PAGES_IN_FLIGHT } else { MAX_PAGES };
        let (mut listing, mut token) = (self.listing(max_pages), None);
        loop {
            token = self.page(queue, ListFilter::Status(status.clone()), token, &mut listing, out).await?.next;
            if token.is_none() {
                return Ok(());
            }
        }
    }

    /// Continues the list of RUNNABLE jobs from the last poll, as far as `pages` allow. A failed page is retried in
    /// the next poll, unless AWS rejects it: then the sweep restarts.
    async fn sweep(
        &mut self,
        queue: &QueueName,
        now: Timestamp,
        pages: &mut SweepPages,
        out: &ObservationSender,
    ) -> Result<(), Failure> {
        let anew = Sweep { since: now, listing: self.listing(MAX_PAGES), token: None };
        let mut sweep = self.sweeps.remove(queue).unwrap_or(anew);
        loop {
            if !pages.take(self.clock.now()) {
                self.sweeps.insert(queue.clone(), sweep);
                return Ok(());
            }
            let (ask, token) = (ListFilter::Status(JobStatus::Runnable), sweep.token.clone());
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

    /// Lists jobs created after `asked`, newest first. If the list fails half-way, the older part is remembered:
    /// the next poll starts from this `asked` again, whatever newer jobs have been seen since.
    async fn poll_arrivals(
        &mut self,
        queue: &QueueName,
        asked: Timestamp,
        out: &ObservationSender,
    ) -> Result<(), Failure> {
        let after = self.missed_arrivals.get(queue).map_or(asked, |missed_arrivals| asked.min(*missed_arrivals));
        self.missed_arrivals.insert(queue.clone(), after);
        let (mut listing, mut token) = (self.listing(MAX_PAGES), None);
        loop {
            let page = self.page(queue, ListFilter::CreatedAfter(after), token, &mut listing, out).await?;
            let all_older = page.newest.is_some_and(|newest| newest < after);
            token = page.next;
            if token.is_none() || all_older {
                break;
            }
        }
        self.missed_arrivals.remove(queue);
        Ok(())
    }

    /// Requests one page of jobs and sends it.
    async fn page(
        &self,
        queue: &QueueName,
        ask: ListFilter,
        token: Option<String>,
        listing: &mut Listing,
        out: &ObservationSender,
    ) -> Result<Listed, Failure> {
        let asked = self.clock.mark();
        let request = self.clients.batch.list_service_jobs().job_queue(queue.as_str()).max_results(JOBS_PER_PAGE);
        let request = match ask {
            ListFilter::Status(status) => request.job_status(ServiceJobStatus::from(status.as_str())),
            ListFilter::CreatedAfter(after) => {
                let after = after.millis().to_string();
                request.filters(KeyValuesPair::builder().name("AFTER_CREATED_AT").values(after).build())
            }
        };
        let reader = PageReader::new(queue.clone());
        let request = request.set_next_token(token).customize().interceptor(AnswerBody(reader.clone()));
        request.send().await.map_err(|error| Failure::new(LIST_JOBS, &error))?;
        let unread = "a response that only the SDK can parse";
        let page = reader.take().ok_or_else(|| Failure::of_answer(LIST_JOBS, unread))?;
        if !page.is_list {
            return Err(Failure::of_answer(LIST_JOBS, "the response lacks the required jobSummaryList"));
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
    async fn poll_snapshot(&self, queue: &QueueName, out: &ObservationSender) {
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

/// Whether the next run at `due` is reached. A `due` further ahead than `every` was set by a wrong clock, and
/// counts as reached.
pub(crate) fn is_due(now: Timestamp, due: Timestamp, every: Duration) -> bool {
    now >= due || due > now + every
}

fn failed(queue: QueueName, at: Timestamp, failure: Failure) -> Observation {
    Observation::Failed { source: Source::Jobs, queue: Some(queue), at, error: failure.to_string() }
}

/// The data of a page besides its jobs.
struct Listed {
    next: Option<String>,
    newest: Option<Timestamp>,
}

/// Sends observations, if any. A closed channel is not an error: see [`ObservationSender`].
pub(crate) async fn send(out: &ObservationSender, observations: Vec<Observation>) {
    if !observations.is_empty() {
        let _closed = out.send(observations).await;
    }
}

#[cfg(test)]
mod tests;
