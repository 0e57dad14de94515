//! Applies observations: each goes to the owner of its facts.

use crate::engine::shares_shown::Series;
use crate::engine::{Engine, UNKNOWN_VALUES_KEPT, plausible_amounts};
use crate::jobs::Moment;
use crate::metrics::catalogue;
use crate::model::{HostUtilisation, JobSeen, Observation, Queue, QueueName, ShareName, Source, Timestamp};
use crate::what_if;

impl Engine {
    pub(super) fn observe_one(&mut self, observation: Observation) {
        match observation {
            Observation::Account(account) => self.service.place.account = Some(account.into()),
            Observation::Topology { at, queues } => self.set_queues(queues, at),
            Observation::Jobs { at, answered_at, mut jobs } => {
                plausible_amounts::moments(&mut jobs, answered_at, |id| self.count_unknown("job_time", id));
                self.facts.ledger.expect(&jobs);
                let within = Moment::between(at, answered_at);
                jobs.into_iter().for_each(|job| self.observe_job(job, within));
            }
            Observation::JobGone { at, answered_at, id } => {
                let changes = self.facts.ledger.observe_gone(&id, Moment::between(at, answered_at));
                self.learn(&changes);
                self.counting.record(changes);
            }
            Observation::InFlightListed { queue, since } => self.facts.ledger.in_flight_listed(&queue, since),
            Observation::WaitingListed { queue, since } => self.facts.ledger.waiting_listed(&queue, since),
            // For queue positions only; figures use the job lists, which are complete.
            Observation::Snapshot(mut snapshot) => {
                plausible_amounts::places(&mut snapshot);
                if let Some(queue) = snapshot.queue.clone() {
                    self.facts.fronts.insert(queue, snapshot);
                }
            }
            Observation::Reserved { at, all } => {
                self.facts.reserved = Some((at, all.into_iter().filter(plausible_amounts::is_reserved).collect()));
            }
            Observation::TrainingJob(seen) => self.facts.ledger.observe_training_job(&seen),
            Observation::Utilisation { at, hosts } => {
                // A report of the future would count as recent until then.
                let until_now = |host: HostUtilisation| HostUtilisation { at: host.at.min(at), ..host };
                hosts.into_iter().map(until_now).for_each(|host| self.facts.ledger.observe_host(host));
            }
            Observation::Answered { source, queue, at } => {
                if let Some(queue) = queue.as_ref().filter(|_| source == Source::Jobs) {
                    self.facts.ledger.polled(queue, at);
                }
                self.count_failures(source, 0);
                self.sources.answered(source, queue, at);
            }
            Observation::Failed { source, queue, error, at } => {
                self.count_failures(source, 1);
                self.sources.failed(source, queue, at, error);
            }
            Observation::Undescribed { item, at, is_own, error } => {
                let changes = self.facts.ledger.observe_undescribed(item, at, is_own, error);
                self.learn(&changes);
                self.counting.record(changes);
            }
            Observation::AccountLimits(read) => {
                let read: Vec<_> = read.into_iter().filter(|one| plausible_amounts::is_amount(one.quantity)).collect();
                let limits = &mut self.service.account.limits;
                // Limits that could not be read keep their last value.
                limits.retain(|known| read.iter().all(|one| one.unit != known.unit));
                limits.extend(read);
            }
            Observation::TrainingJobsListed { at, names, is_complete } => self.outside.listed(at, names, is_complete),
            Observation::OutsideTrainingJob { name, instances } => self.outside.described(name, instances),
            Observation::TooManyQueues { .. } => {}
            Observation::NoQueues { why } => self.sources.no_queues = Some(why),
            Observation::LimitHit { limit, times } => {
                self.counting.add(&catalogue::LIMIT_HITS, [("limit", limit.into())], times);
            }
            Observation::Calls(calls) => self.counting.count_calls(&calls),
            Observation::UnknownValue { kind, value } => self.count_unknown(kind, value),
        }
    }

    fn observe_job(&mut self, mut job: JobSeen, at: Moment) {
        if let Some(details) = &mut job.details {
            details.tags.retain(|tag, _| self.tags.contains(tag));
        }
        if let Some(share) = &job.share {
            let has_ended = job.status.is_ended();
            match self.shares.series(&job.queue, share, has_ended, &self.facts.ledger) {
                Series::Own => {}
                Series::InsteadOf(gone) => self.forget_share(&job.queue, &gone),
                Series::Hidden => job.share = Some(self.shares.other()),
                Series::NoPlace => {
                    // Ended jobs are listed repeatedly.
                    let is_new = !has_ended && self.facts.ledger.job(&job.id).is_none();
                    self.counting.add(&catalogue::LIMIT_HITS, [("limit", "shares".into())], u64::from(is_new));
                    job.share = Some(self.shares.other());
                }
            }
        }
        let changes = self.facts.ledger.observe(job, at);
        self.learn(&changes);
        self.counting.record(changes);
    }

    fn forget_share(&mut self, queue: &QueueName, share: &ShareName) {
        self.counting.forget_share(queue, share, &self.shares.other(), &self.facts.ledger);
    }

    fn set_queues(&mut self, mut queues: Vec<Queue>, at: Timestamp) {
        plausible_amounts::limits(&mut queues);
        queues.sort_by(|a, b| a.name.cmp(&b.name));
        queues.dedup_by(|a, b| a.name == b.name);
        let watched = |queue: &Option<QueueName>| {
            queue.as_ref().is_none_or(|name| queues.iter().any(|queue| queue.name == *name))
        };
        if self.sources.answered_at(Source::Topology, None).is_none() {
            let forgotten = self.facts.ledger.forget_other_queues(|name| watched(&Some(name.clone())));
            self.counting.record(forgotten);
        }
        self.sources.watch(&queues, at);
        self.facts.fronts.retain(|queue, _| watched(&Some(queue.clone())));
        self.counting.watch(&queues);
        for (queue, share) in self.shares.configured(&queues, &self.facts.ledger) {
            self.forget_share(&queue, &share);
        }
        self.find_account(&queues);
        if self.facts.queues != queues {
            self.changes += 1;
            self.forecaster.keep_queues(&what_if::of_queues(&queues));
        }
        self.facts.queues = queues;
    }

    /// Counts failures of a source. A new series starts at 0, so that the first failure shows as an increase.
    pub(super) fn count_failures(&mut self, source: Source, failures: u64) {
        self.counting.add(&catalogue::SOURCE_FAILURES, [("source", source.as_str().into())], failures);
    }

    fn count_unknown(&mut self, kind: &'static str, value: String) {
        let key = (kind, value);
        let full = self.unknown_values.len() >= UNKNOWN_VALUES_KEPT;
        let shown = if full && !self.unknown_values.contains_key(&key) { "other".to_owned() } else { key.1.clone() };
        if !full {
            self.unknown_values.insert(key, ());
        }
        self.counting.add(&catalogue::SOURCE_UNKNOWN, [("kind", kind.into()), ("value", shown.into())], 1);
    }
}
