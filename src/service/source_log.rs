//! Logs the state of sources: one line at the start, one when a source fails or fails for another reason, one when
//! it recovers. On ECS the log may be all an operator has.

mod undescribed_log;

use std::collections::{BTreeMap, BTreeSet};

use undescribed_log::RefusalLog;

use crate::config::{CloudWatchMetrics, Config, Target};
use trainspotter_core::model::{JobId, Observation, Queue, QueueName, Source, Timestamp, Undescribed, format};

/// Maximum queues named in one line.
const MAX_NAMED: usize = 50;

/// Content of the line at the start. Queues are added once AWS has listed them.
#[derive(Clone, Debug)]
pub(super) struct Started {
    targets: String,
    rules: usize,
    receivers: String,
    sinks: String,
    state: String,
}

impl Started {
    pub(super) fn new(config: &Config, rules: usize) -> Self {
        let target = |target: &Target| {
            let role = target.role.as_ref().map_or(String::new(), |role| format!(" as {role}"));
            format!("{}{role} queues {}", target.region, target.queues.join(","))
        };
        let cloudwatch = config.publish.cloudwatch.iter().map(|sink| match sink.metrics {
            CloudWatchMetrics::Classic => format!("CloudWatch {}", sink.namespace),
            CloudWatchMetrics::Otlp => "CloudWatch by OTLP".to_owned(),
            CloudWatchMetrics::Both => format!("CloudWatch {} and by OTLP", sink.namespace),
        });
        // An OTLP endpoint may contain a secret.
        let otlp = config.publish.otlp.iter().map(|_| "OTLP".to_owned());
        let sinks = ["/metrics".to_owned()].into_iter().chain(cloudwatch).chain(otlp);
        Self {
            targets: config.targets.iter().map(target).collect::<Vec<_>>().join("; "),
            rules,
            receivers: or_none(config.receivers.iter().map(|receiver| receiver.name.clone())),
            sinks: or_none(sinks),
            state: config.store.display().to_string(),
        }
    }
}

/// Tracks the state of the sources.
#[derive(Debug)]
pub(super) struct SourceLog {
    /// Present until it is logged.
    started: Option<Started>,
    queues: BTreeSet<QueueName>,
    no_queues: Option<String>,
    too_many_queues: Option<String>,
    failing: BTreeMap<Source, Failing>,
    refusals: RefusalLog,
}

/// State of a failing source.
#[derive(Debug)]
struct Failing {
    since: Timestamp,
    /// Errors by queue, without parts that differ from call to call.
    reasons: BTreeMap<Option<QueueName>, String>,
}

impl SourceLog {
    pub(super) fn new(started: Started) -> Self {
        Self {
            started: Some(started),
            queues: BTreeSet::new(),
            no_queues: None,
            too_many_queues: None,
            failing: BTreeMap::new(),
            refusals: RefusalLog::default(),
        }
    }

    /// Logs changes in these observations, which were made by `now`. `has_ended` is true for jobs that had ended before them: these are
    /// not described again, and no figure lacks it.
    pub(super) fn observe(&mut self, observations: &[Observation], now: Timestamp, has_ended: impl Fn(&JobId) -> bool) {
        for observation in observations {
            match observation {
                Observation::Topology { at, queues } => self.watch(queues, *at),
                Observation::NoQueues { why } => {
                    if self.no_queues.replace(why.clone()).as_ref() != Some(why) {
                        tracing::warn!("{why}");
                    }
                }
                Observation::TooManyQueues { why } => self.too_many_queues(why.as_ref()),
                Observation::Failed { source, queue, at, error } => self.failed(*source, queue.as_ref(), *at, error),
                // One queue of a source may succeed while another fails.
                Observation::Answered { source, queue, at } if !is_failing(observations, *source, queue.as_ref()) => {
                    self.recovered(*source, *at, |failing| *failing == *queue);
                }
                Observation::Undescribed { item: Undescribed::Job(id), error, is_own: true, .. } if has_ended(id) => {
                    tracing::debug!(id = id.as_str(), error, "AWS does not describe a job that has ended");
                }
                // Otherwise the source's failure is logged.
                Observation::Undescribed { item, at, error, is_own: true } => {
                    self.refusals.refused(item, *at, &normalized(error), error);
                }
                Observation::Jobs { at, jobs, .. } => jobs.iter().for_each(|job| self.refusals.seen(job, *at)),
                Observation::JobGone { id, .. } => self.refusals.gone(id),
                Observation::TrainingJob(seen) => self.refusals.training_job_seen(&seen.name, seen.exists(), now),
                Observation::OutsideTrainingJob { name, instances } => {
                    self.refusals.training_job_seen(name, !instances.is_empty(), now);
                }
                Observation::Answered { .. }
                | Observation::Account(_)
                | Observation::InFlightListed { .. }
                | Observation::WaitingListed { .. }
                | Observation::Snapshot(_)
                | Observation::Reserved { .. }
                | Observation::Utilisation { .. }
                | Observation::Calls(_)
                | Observation::AccountLimits(_)
                | Observation::TrainingJobsListed { .. }
                | Observation::LimitHit { .. }
                | Observation::Undescribed { .. }
                | Observation::UnknownValue { .. } => {}
            }
        }
    }

    fn too_many_queues(&mut self, why: Option<&String>) {
        if let Some(why) = why.filter(|why| self.too_many_queues.as_ref() != Some(why)) {
            tracing::warn!("{why}");
        }
        self.too_many_queues = why.cloned();
    }

    /// Why not all queues are watched, or not in time, if so.
    pub(super) fn queues_problem(&self) -> Option<String> {
        self.too_many_queues.as_ref().map(|why| format!("queues: {why}"))
    }

    fn watch(&mut self, queues: &[Queue], at: Timestamp) {
        let now: BTreeSet<QueueName> = queues.iter().map(|queue| queue.name.clone()).collect();
        if self.started.is_some() {
            self.start(&some_of(now.iter().map(ToString::to_string)));
        } else if now != self.queues {
            let new = some_of(now.difference(&self.queues).map(ToString::to_string));
            let gone = some_of(self.queues.difference(&now).map(ToString::to_string));
            tracing::info!(new, gone, "the watched queues changed");
        }
        if !now.is_empty() {
            self.no_queues = None;
        }
        for source in Source::ALL {
            self.recovered(source, at, |queue| queue.as_ref().is_some_and(|queue| !now.contains(queue)));
        }
        self.queues = now;
    }

    fn start(&mut self, queues: &str) {
        if let Some(Started { targets, rules, receivers, sinks, state }) = self.started.take() {
            tracing::info!(targets, queues, rules, receivers, sinks, state, "trainspotter has started");
        }
    }

    fn failed(&mut self, source: Source, queue: Option<&QueueName>, at: Timestamp, error: &str) {
        if source == Source::Topology {
            self.start("not known yet");
        }
        let reason = normalized(error);
        let failing = self.failing.entry(source).or_insert(Failing { since: at, reasons: BTreeMap::new() });
        let is_known = failing.reasons.values().any(|known| *known == reason);
        failing.reasons.insert(queue.cloned(), reason);
        if !is_known {
            match queue {
                Some(queue) => tracing::warn!(source = source.as_str(), %queue, error, "a request to AWS failed"),
                None => tracing::warn!(source = source.as_str(), error, "{}", without(source)),
            }
        }
    }

    fn recovered(&mut self, source: Source, at: Timestamp, is_recovered: impl Fn(&Option<QueueName>) -> bool) {
        let Some(failing) = self.failing.get_mut(&source) else { return };
        failing.reasons.retain(|queue, _| !is_recovered(queue));
        if failing.reasons.is_empty() {
            let after = format::duration(at.seconds_since(failing.since));
            tracing::info!(source = source.as_str(), after = %after, "requests to AWS succeed again");
            self.failing.remove(&source);
        }
    }
}

/// What is missing while a source fails.
fn without(source: Source) -> &'static str {
    match source {
        Source::Account => "cannot read the limits or the usage of the account; other data are not affected",
        Source::Events => "cannot read the event queue; changes are seen by polling only",
        Source::Topology
        | Source::Jobs
        | Source::Snapshot
        | Source::Descriptions
        | Source::TrainingJobs
        | Source::Utilisation
        | Source::Reserved => "a request to AWS failed",
    }
}

fn is_failing(observations: &[Observation], wanted: Source, about: Option<&QueueName>) -> bool {
    observations.iter().any(|observation| {
        matches!(observation, Observation::Failed { source, queue, .. } if *source == wanted && queue.as_ref() == about)
    })
}

/// The first names, and how many more there are.
fn some_of(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(MAX_NAMED);
    names.truncate(MAX_NAMED);
    let named = or_none(names.into_iter());
    if more > 0 { format!("{named} and {more} more") } else { named }
}

fn or_none(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Strips ids, numbers and times from an error, so that repeated errors compare equal.
fn normalized(error: &str) -> String {
    let words = error.split(|letter: char| !(letter.is_alphanumeric() || "-_".contains(letter)));
    words
        .filter(|word| !word.is_empty() && !word.contains(|letter: char| letter.is_ascii_digit()))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use trainspotter_core::model::{JobSeen, JobStatus, TrainingJobSeen};

    /// Log lines for a sequence of polls, each a list of observations.
    fn logged(polls: &[Vec<Observation>]) -> Vec<String> {
        let mut log = SourceLog::new(Started {
            targets: "us-east-1 queues *".to_owned(),
            rules: 3,
            receivers: "none".to_owned(),
            sinks: "/metrics".to_owned(),
            state: "state.db".to_owned(),
        });
        crate::log_capture::lines(|| {
            polls.iter().for_each(|observations| log.observe(observations, second(121), |id| id.as_str() == "ended"))
        })
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    fn failed(source: Source, queue: Option<&str>, error: &str) -> Observation {
        Observation::Failed { source, queue: queue.map(QueueName::from), at: second(1), error: error.to_owned() }
    }

    fn answered(source: Source, queue: Option<&str>) -> Observation {
        Observation::Answered { source, queue: queue.map(QueueName::from), at: second(31) }
    }

    #[test]
    fn a_source_is_logged_when_it_fails_when_the_reason_changes_and_when_it_answers_again() {
        let expired = || failed(Source::Topology, None, "DescribeJobQueues: ExpiredToken: at 12:00:01");
        let again = || failed(Source::Topology, None, "DescribeJobQueues: ExpiredToken: at 12:00:31");
        let refused = || failed(Source::Topology, None, "DescribeJobQueues: AccessDenied");
        let lines = logged(&[
            vec![expired()],
            vec![again()],
            vec![again()],
            vec![refused()],
            vec![refused()],
            vec![answered(Source::Topology, None)],
            vec![answered(Source::Topology, None)],
        ]);
        let [started, first, second, recovered] = lines.as_slice() else { panic!("{lines:#?}") };
        assert!(
            started.starts_with("INFO") && started.contains("queues=\"not known yet\"") && started.contains("rules=3")
        );
        assert!(
            first.starts_with("WARN") && first.contains("ExpiredToken") && first.contains("source=\"topology\""),
            "{first}"
        );
        assert!(second.starts_with("WARN") && second.contains("AccessDenied"), "{second}");
        assert!(
            recovered.starts_with("INFO")
                && recovered.contains("requests to AWS succeed again")
                && recovered.contains("30s"),
            "{recovered}"
        );
    }

    #[test]
    fn fifty_queues_that_fail_alike_are_one_line() {
        let names: Vec<String> = (0..50).map(|number| format!("queue-{number}")).collect();
        let fail =
            || names.iter().map(|name| failed(Source::Jobs, Some(name), "ListServiceJobs: AccessDenied")).collect();
        let answer = || names.iter().map(|name| answered(Source::Jobs, Some(name))).collect();
        let lines = logged(&[fail(), fail(), answer(), answer()]);
        assert!(
            matches!(lines.as_slice(), [warn, info] if warn.starts_with("WARN") && info.starts_with("INFO")),
            "{lines:#?}"
        );
    }

    #[test]
    fn descriptions_of_which_some_fail_recover_once_none_does() {
        let answer = || answered(Source::Descriptions, None);
        let fail = |id: &str| {
            let error = format!("DescribeServiceJob: AccessDenied: {id} (and 3 more)");
            vec![answer(), failed(Source::Descriptions, None, &error)]
        };
        let lines = logged(&[fail("4f1c-22"), fail("99ab-1"), vec![answer()], vec![answer()]]);
        assert!(
            matches!(lines.as_slice(), [warn, info] if warn.starts_with("WARN") && info.starts_with("INFO")),
            "{lines:#?}"
        );
    }

    #[test]
    fn a_job_that_is_refused_is_logged_with_each_reason_and_when_it_is_described_again() {
        let refused = |id: &str, error: &str| {
            let error = format!("DescribeServiceJob: ClientException: {error}");
            let item = Undescribed::Job(id.into());
            vec![Observation::Undescribed { item, at: second(1), is_own: true, error }]
        };
        let seen = |id: &str, is_described: bool| {
            let mut job = JobSeen::new(id, "prod", JobStatus::Runnable, second(0));
            job.details = is_described.then(Box::default);
            vec![Observation::Jobs { at: second(61), answered_at: second(61), jobs: vec![job] }]
        };
        let lines = logged(&[
            refused("a", "odd, request 1"),
            refused("a", "odd, request 2"),
            seen("a", false),
            refused("a", "odd, request 3"),
            refused("a", "locked"),
            seen("a", true),
            seen("a", true),
            refused("a", "odd, request 4"),
            refused("ended", "odd, request 5"),
        ]);
        let expected = ["WARN odd", "WARN locked", "INFO 1m", "WARN odd"];
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, expected) in lines.iter().zip(expected) {
            let (level, words) = expected.split_once(' ').unwrap();
            assert!(line.starts_with(level) && line.contains(words) && line.contains("id=\"a\""), "{line}");
        }
    }

    #[test]
    fn what_no_longer_exists_is_not_described_again() {
        let refused = |item: Undescribed| Observation::Undescribed {
            item,
            at: second(1),
            is_own: true,
            error: "AccessDenied".to_owned(),
        };
        let training_job = |exists: bool, name: &str| {
            Observation::TrainingJob(TrainingJobSeen {
                job: "a".into(),
                name: name.into(),
                starting_at: exists.then_some(second(31)),
                training_at: None,
                ended_at: None,
                instances: Vec::new(),
                failure_reason: None,
            })
        };
        let gone = Observation::JobGone { at: second(61), answered_at: second(61), id: "a".into() };
        let items = [Undescribed::Job("a".into()), Undescribed::TrainingJob("t".into())];
        let lines = logged(&[
            items.clone().map(refused).into(),
            vec![gone, training_job(false, "t")],
            items.map(refused).into(),
            vec![training_job(true, "t"), training_job(true, "other")],
        ]);
        let levels: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(levels, ["WARN", "WARN", "WARN", "WARN", "INFO"], "{lines:#?}");
        assert!(lines[4].contains("id=\"t\"") && lines[4].contains("after=2m"), "{lines:#?}");
    }

    #[test]
    fn refused_jobs_beyond_the_limit_are_one_line_and_jobs_that_ended_make_room() {
        let refused = |number: i64| Observation::Undescribed {
            item: Undescribed::Job(format!("job-{number:03}").as_str().into()),
            at: second(1),
            is_own: true,
            error: "DescribeServiceJob: ClientException: odd".to_owned(),
        };
        let ended = JobSeen::new("job-000", "prod", JobStatus::Succeeded, second(0));
        let ended = Observation::Jobs { at: second(2), answered_at: second(2), jobs: vec![ended] };
        let lines = logged(&[(0..150).map(refused).collect(), vec![ended], vec![refused(150), refused(151)]]);
        let of = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
        assert_eq!((of("id="), of("more than 100 jobs"), lines.len()), (101, 2, 103), "{lines:#?}");
    }

    #[test]
    fn more_refused_jobs_than_are_logged_are_said_again_once_the_old_ones_are_forgotten() {
        let refused = |number: i64, at: i64| Observation::Undescribed {
            item: Undescribed::Job(format!("job-{number:03}").as_str().into()),
            at: second(at),
            is_own: true,
            error: "DescribeServiceJob: ClientException: odd".to_owned(),
        };
        let day = |day: i64| (0..150).map(|number| refused(day * 1_000 + number, day * 86_400)).collect();
        let lines = logged(&[day(0), day(1)]);
        let of = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
        assert_eq!((of("id="), of("more than 100 jobs")), (200, 2), "{lines:#?}");
    }

    #[test]
    fn a_glob_without_match_is_logged_once() {
        let none = || {
            let why = "no job queue matches `queues: dev-*`; there are: prod".to_owned();
            vec![Observation::Topology { at: second(1), queues: vec![] }, Observation::NoQueues { why }]
        };
        let lines = logged(&[none(), none()]);
        let [started, warning] = lines.as_slice() else { panic!("{lines:#?}") };
        assert!(started.contains("queues=\"none\""), "{started}");
        assert!(warning.starts_with("WARN") && warning.contains("there are: prod"), "{warning}");
    }
}
