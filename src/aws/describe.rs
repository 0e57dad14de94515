//! Describes the jobs, training jobs and hosts that the engine asks about, within the time available.

use std::future::ready;
use std::time::Duration;

use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat};
use aws_smithy_types::DateTime;
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;

use crate::aws::Poller;
use crate::aws::endless_listing::Listing;
use crate::aws::failure::{Failure, Fault, is_not_found};
use crate::aws::poller::{is_due, send};
use crate::aws::translate;
use crate::aws::translate::{MeanUtilisation, Unknowns};
use trainspotter_core::model::HostUtilisation;
use trainspotter_core::model::JobId;
use trainspotter_core::model::MANY_REFUSED;
use trainspotter_core::model::Observation;
use trainspotter_core::model::Questions;
use trainspotter_core::model::Source;
use trainspotter_core::model::Timestamp;
use trainspotter_core::model::TrainingJobName;
use trainspotter_core::model::TrainingJobSeen;
use trainspotter_core::model::Undescribed;

/// Concurrent calls. More would only queue for the budget.
const CONCURRENCY: usize = 8;
/// Share of the time for service jobs before training jobs are described.
const SHARE_OF_JOBS: f64 = 0.75;
/// CloudWatch namespace of SageMaker's training host metrics; their one dimension is `Host`.
const NAMESPACE: &str = "/aws/sagemaker/TrainingJobs";
/// Percent, summed over a host's GPUs.
const GPU_METRIC: &str = "GPUUtilization";
const DESCRIBE_JOB: &str = "DescribeServiceJob";
const GET_METRICS: &str = "GetMetricData";
/// Maximum queries per `GetMetricData` call.
const QUERIES_PER_CALL: usize = 500;
/// Maximum hosts per query round: five calls.
const MAX_HOSTS: usize = 5 * QUERIES_PER_CALL;
/// Maximum pages of one `GetMetricData` query. A full result fits on one.
const MAX_METRIC_PAGES: usize = 20;
/// SageMaker's metric resolution.
const PERIOD: Duration = Duration::from_secs(60);
/// Number of latest whole minutes to average.
const MINUTES: u32 = 5;

/// Result of one question: observations, or why there are none.
pub(super) type Answer = Result<Vec<Observation>, Failure>;

/// Result of a list of questions about one item each.
pub(super) struct Asked {
    /// Whether at least one succeeded.
    answered: bool,
    /// The first failure of the source, with their number.
    pub(super) failure: Option<Failure>,
    /// The first of many refusals, with their number, if none succeeded: AWS may refuse everything.
    refuses_all: Option<Failure>,
    /// The items without a description for which the source may not be to blame.
    undescribed: Vec<Observation>,
}

impl Asked {
    /// If only some questions fail, the source is reported both as answered and as failing.
    fn outcome(mut self, source: Source, at: Timestamp) -> Vec<Observation> {
        self.failure = self.failure.or(self.refuses_all.take());
        let answered = self.answered || self.failure.is_none();
        let answered = answered.then_some(Observation::Answered { source, queue: None, at });
        answered.into_iter().chain(self.without_answer(source, at)).collect()
    }

    /// The failures only: for questions that are too few to say that the source responds.
    pub(super) fn without_answer(self, source: Source, at: Timestamp) -> Vec<Observation> {
        let failed = |failure: Failure| Observation::Failed { source, queue: None, at, error: failure.to_string() };
        self.undescribed.into_iter().chain(self.failure.map(failed)).collect()
    }

    /// Result of questions of which some were answered, and others failed. `refused_all_before` tells whether AWS refused
    /// everything the last time.
    fn of(
        has_answers: bool,
        failures: Vec<(Undescribed, Failure)>,
        at: Timestamp,
        refused_all_before: impl Fn(Source) -> bool,
    ) -> Self {
        // If AWS refuses many items and describes none, the items are not to blame alone. Once it did, a few say as much.
        let are_many = failures.len() >= MANY_REFUSED
            || failures.first().is_some_and(|(item, _)| refused_all_before(item.source()));
        let are_all_refused = !has_answers && are_many;
        let (mut undescribed, mut of_source, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
        for (item, failure) in failures {
            let fault = failure.fault();
            if fault == Fault::Item || (fault == Fault::Unclear && has_answers) {
                let (item, error) = (item.clone(), failure.to_string());
                let is_own = fault == Fault::Item && !are_all_refused;
                undescribed.push(Observation::Undescribed { item, at, is_own, error });
            }
            if fault != Fault::Item { &mut of_source } else { &mut refusals }.push((item, failure));
        }
        // What AWS refuses to this caller, or does not answer, does not depend on the item.
        let named = |(item, failure): (Undescribed, Failure)| match failure.fault() {
            Fault::Item | Fault::Unclear => failure.about(item.as_str()),
            Fault::Source => failure,
        };
        let first_of = |failures: Vec<(Undescribed, Failure)>| {
            let count = failures.len();
            failures.into_iter().next().map(|first| named(first).first_of(count))
        };
        let refuses_all = first_of(refusals).filter(|_| are_all_refused);
        Self { answered: has_answers, failure: first_of(of_source), refuses_all, undescribed }
    }
}

impl Poller {
    /// Answers the engine's questions until `deadline`, most urgent first: GPU utilisation if due, then jobs, then
    /// training jobs. The rest is asked again in the next poll. Calls in flight at the deadline are awaited. The
    /// first few of each kind are made even after the deadline, so that polls without spare time do not starve
    /// them.
    pub async fn answer(&mut self, questions: &Questions, deadline: Timestamp, out: &mpsc::Sender<Vec<Observation>>) {
        if questions.hosts_left_out > 0 {
            self.clients.limits().hit("hosts");
        }
        self.measure(&questions.hosts, deadline, out).await;
        let now = self.clock.now();
        let jobs_until = now + deadline.since(now).mul_f64(SHARE_OF_JOBS);
        let asked = self.describe_jobs(&questions.jobs, jobs_until, out).await;
        self.report(Source::Descriptions, asked, questions, now, out).await;
        let now = self.clock.now();
        let asked = self.describe_training_jobs(&questions.training_jobs, deadline, out).await;
        self.report(Source::TrainingJobs, asked, questions, now, out).await;
        self.describe_outside_jobs(&questions.outside, deadline, out).await;
        self.send_calls(out).await;
    }

    /// Describes jobs that have events, until `deadline`. Jobs of unwatched queues are ignored.
    pub async fn describe_hinted(&self, jobs: Vec<JobId>, deadline: Timestamp, out: &mpsc::Sender<Vec<Observation>>) {
        let at = self.clock.now();
        let describe = |id| async {
            let mut observations = self.describe_job(id).await?;
            observations.retain(|observation| {
                let Observation::Jobs { jobs, .. } = observation else { return true };
                jobs.iter().all(|job| self.watches(&job.queue))
            });
            Ok(observations)
        };
        let asked = self.ask(jobs, |id| Undescribed::Job(id.clone()), deadline, out, describe).await;
        send(out, asked.without_answer(Source::Descriptions, at)).await;
        self.send_calls(out).await;
    }

    /// Reports the result of the questions to a source that began at `at`; `None` if there were none.
    async fn report(
        &mut self,
        source: Source,
        asked: Option<Asked>,
        questions: &Questions,
        at: Timestamp,
        out: &mpsc::Sender<Vec<Observation>>,
    ) {
        let Some(asked) = asked else {
            // What refused everything does not answer again because it is not asked for a while.
            if !(self.refuses_all.contains(&source) && questions.refused.contains(&source)) {
                self.refuses_all.remove(&source);
                send(out, vec![Observation::Answered { source, queue: None, at }]).await;
            }
            return;
        };
        if asked.refuses_all.is_some() {
            self.refuses_all.insert(source);
        } else if asked.answered || asked.failure.is_none() {
            self.refuses_all.remove(&source);
        }
        send(out, asked.outcome(source, at)).await;
    }

    async fn describe_jobs(
        &self,
        jobs: &[JobId],
        until: Timestamp,
        out: &mpsc::Sender<Vec<Observation>>,
    ) -> Option<Asked> {
        let about = |id: &JobId| Undescribed::Job(id.clone());
        let ask = self.ask(jobs.to_vec(), about, until, out, |id| self.describe_job(id));
        if jobs.is_empty() { None } else { Some(ask.await) }
    }

    async fn describe_training_jobs(
        &self,
        training_jobs: &[(JobId, TrainingJobName)],
        until: Timestamp,
        out: &mpsc::Sender<Vec<Observation>>,
    ) -> Option<Asked> {
        let describe = |(job, name)| self.describe_training_job(job, name);
        let about = |(_, name): &(JobId, TrainingJobName)| Undescribed::TrainingJob(name.clone());
        let ask = self.ask(training_jobs.to_vec(), about, until, out, describe);
        if training_jobs.is_empty() { None } else { Some(ask.await) }
    }

    /// Runs questions in order, with limited concurrency, until `until`, and sends each result as it arrives. A
    /// failure does not stop the others.
    pub(super) async fn ask<Q, F>(
        &self,
        questions: Vec<Q>,
        about: impl Fn(&Q) -> Undescribed,
        until: Timestamp,
        out: &mpsc::Sender<Vec<Observation>>,
        call: impl Fn(Q) -> F,
    ) -> Asked
    where
        F: Future<Output = Answer>,
    {
        let mut answers = stream::iter(questions)
            .enumerate()
            .take_while(|(place, _)| ready(*place < CONCURRENCY || self.clock.now() < until))
            .map(|(_, question)| {
                let (item, answer) = (about(&question), call(question));
                async { (item, answer.await) }
            })
            .buffer_unordered(CONCURRENCY);
        let (mut answered, mut failures) = (false, Vec::new());
        while let Some((item, answer)) = answers.next().await {
            match answer {
                Ok(observations) => {
                    answered = true;
                    send(out, observations).await;
                }
                Err(failure) => failures.push((item, failure)),
            }
        }
        Asked::of(answered, failures, self.clock.now(), |source| self.refuses_all.contains(&source))
    }

    async fn describe_job(&self, id: JobId) -> Answer {
        let asked = self.clock.mark();
        let answer = self.clients.batch.describe_service_job().job_id(id.as_str()).send().await;
        let (at, answered_at) = self.clock.answered(asked);
        match answer {
            Ok(answer) => {
                let mut unknowns = Unknowns::default();
                let job = translate::described_job(&answer, &mut unknowns);
                let lacks =
                    || Failure::of_answer(DESCRIBE_JOB, "the response lacks the job's id, queue or creation time");
                let job = job.ok_or_else(lacks)?;
                if job.id != id {
                    return Err(Failure::of_answer(
                        DESCRIBE_JOB,
                        format!("the response is about another job, {}", job.id),
                    ));
                }
                let mut observations = vec![Observation::Jobs { at, answered_at, jobs: vec![job] }];
                observations.extend(unknowns.into_observations());
                Ok(observations)
            }
            Err(error) if is_not_found(&error) => Ok(vec![Observation::JobGone { at, answered_at, id }]),
            Err(error) => Err(Failure::new(DESCRIBE_JOB, &error)),
        }
    }

    /// A missing training job yields an empty result, not an error: Batch deletes the training jobs of attempts
    /// that found no capacity.
    async fn describe_training_job(&self, job: JobId, name: TrainingJobName) -> Answer {
        match self.clients.sagemaker.describe_training_job().training_job_name(name.as_str()).send().await {
            Ok(answer) => {
                let mut unknowns = Unknowns::default();
                let seen = translate::training_job(&answer, &job, &name, &mut unknowns);
                let mut observations = vec![Observation::TrainingJob(seen)];
                observations.extend(unknowns.into_observations());
                Ok(observations)
            }
            Err(error) if is_not_found(&error) => Ok(vec![Observation::TrainingJob(TrainingJobSeen {
                job,
                name,
                starting_at: None,
                training_at: None,
                ended_at: None,
                instances: Vec::new(),
                failure_reason: None,
            })]),
            Err(error) => Err(Failure::new("DescribeTrainingJob", &error)),
        }
    }

    /// Queries the GPU utilisation of `hosts` if it is due. Without hosts nothing is asked, and the next host that
    /// starts is queried at once.
    async fn measure(&mut self, hosts: &[(JobId, String)], deadline: Timestamp, out: &mpsc::Sender<Vec<Observation>>) {
        let at = self.clock.now();
        let source = Source::Utilisation;
        if hosts.is_empty() {
            return send(out, vec![Observation::Answered { source, queue: None, at }]).await;
        }
        if !is_due(at, self.utilisation_due, self.poll.utilisation_every) {
            return;
        }
        let due_next = at + self.poll.utilisation_every;
        let turn = self.hosts_in_turn(hosts);
        for (place, chunk) in turn.chunks(QUERIES_PER_CALL).enumerate() {
            let at = self.clock.now();
            if place > 0 && at >= deadline {
                self.utilisation_due = due_next;
                let error = Failure::OutOfTime { operation: GET_METRICS, what: "hosts" }.to_string();
                return send(out, vec![Observation::Failed { source, queue: None, at, error }]).await;
            }
            let (hosts, failure) = self.utilisation_of(chunk, at).await;
            send(out, vec![Observation::Utilisation { at, hosts }]).await;
            if let Some(failure) = failure {
                let error = failure.to_string();
                return send(out, vec![Observation::Failed { source, queue: None, at, error }]).await;
            }
            self.measured_up_to = chunk.last().cloned();
        }
        self.utilisation_due = due_next;
        send(out, vec![Observation::Answered { source, queue: None, at }]).await;
    }

    /// The hosts to query this time, round robin from where the last query stopped, if there are more than one
    /// round can hold.
    fn hosts_in_turn(&self, hosts: &[(JobId, String)]) -> Vec<(JobId, String)> {
        let mut turn = hosts.to_vec();
        turn.sort();
        turn.dedup();
        let begin = turn.partition_point(|host| self.measured_up_to.as_ref().is_some_and(|last| host <= last));
        turn.rotate_left(begin);
        if turn.len() > MAX_HOSTS {
            turn.truncate(MAX_HOSTS);
            self.clients.limits().hit("hosts_measured_at_once");
        }
        turn
    }

    /// Queries the utilisation of hosts. Returns what was received, and the failure if incomplete.
    async fn utilisation_of(
        &self,
        hosts: &[(JobId, String)],
        at: Timestamp,
    ) -> (Vec<HostUtilisation>, Option<Failure>) {
        let mut means = MeanUtilisation::default();
        let failure = self.read_metrics(hosts, at, &mut means).await.err();
        let of_host = |(n, (job, host)): (usize, &(JobId, String))| means.host(&query_id(n), job, host, PERIOD);
        (hosts.iter().enumerate().filter_map(of_host).collect(), failure)
    }

    async fn read_metrics(
        &self,
        hosts: &[(JobId, String)],
        at: Timestamp,
        means: &mut MeanUtilisation,
    ) -> Result<(), Failure> {
        // Whole minutes only: the current minute has incomplete data.
        let end = at.millis() / 60_000 * 60;
        let start = end - i64::from(MINUTES) * 60;
        let queries: Vec<_> = hosts.iter().enumerate().map(|(n, (_, host))| query(n, host)).collect();
        let (mut listing, mut token) = (Listing::new(GET_METRICS, MAX_METRIC_PAGES, self.clients.limits()), None);
        loop {
            let request = self.clients.cloudwatch.get_metric_data().set_metric_data_queries(Some(queries.clone()));
            let request = request.start_time(DateTime::from_secs(start)).end_time(DateTime::from_secs(end));
            let page = request.set_next_token(token).send().await.map_err(|error| Failure::new(GET_METRICS, &error))?;
            let results = page.metric_data_results.as_deref();
            let lacks = "the response lacks the required MetricDataResults";
            let results = results.ok_or_else(|| Failure::of_answer(GET_METRICS, lacks))?;
            means.add(results);
            let ids = results.iter().filter_map(|result| result.id());
            token = listing.next(page.next_token.clone(), ids)?;
            if token.is_none() {
                return Ok(());
            }
        }
    }
}

/// Query ids must begin with a lowercase letter and be unique per call.
fn query_id(n: usize) -> String {
    format!("h{n}")
}

fn query(n: usize, host: &str) -> MetricDataQuery {
    let metric = Metric::builder()
        .namespace(NAMESPACE)
        .metric_name(GPU_METRIC)
        .dimensions(Dimension::builder().name("Host").value(host).build())
        .build();
    let stat = MetricStat::builder().metric(metric).period(60).stat("Average").build();
    MetricDataQuery::builder().id(query_id(n)).metric_stat(stat).build()
}

#[cfg(test)]
mod tests;
