//! Freshness of each source, by queue.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::jobs::Awaited;
use crate::metrics::SourceHealth;
use crate::model::format::{counted, duration};
use crate::model::{Queue, QueueName, Source, Timestamp};

/// Status of a source that has neither answered nor failed since the start.
const NO_ANSWER: &str = "no answer yet";

/// Descriptions that are later than this are reported as late; or than [`LATE_POLLS`] polls, if that is longer.
const LATE_AFTER: Duration = Duration::from_secs(600);

/// See [`LATE_AFTER`].
const LATE_POLLS: u32 = 5;

/// State of all sources.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    began_at: Timestamp,
    /// Whether `began_at` is from the local clock, before it was compared with AWS's.
    began_by_own_clock: bool,
    answers: BTreeMap<(Source, Option<QueueName>), Answers>,
    /// Why there is no queue to watch.
    pub(super) no_queues: Option<String>,
}

/// Last answer of a source, and failures since.
#[derive(Clone, Debug)]
struct Answers {
    /// Start of its age until the first answer.
    since: Timestamp,
    answered_at: Option<Timestamp>,
    error: Option<String>,
}

impl Sources {
    /// Sources that are expected to answer from `began_at` on.
    pub(super) fn new(began_at: Timestamp) -> Self {
        Self { began_at, began_by_own_clock: false, answers: BTreeMap::new(), no_queues: None }
    }

    /// Sets whether `began_at` is from this process's clock rather than from an earlier run.
    pub(super) fn began_by_local_clock(self, is_so: bool) -> Self {
        Self { began_by_own_clock: is_so, ..self }
    }

    /// Applies a clock correction in seconds.
    pub(super) fn clock_corrected(&mut self, seconds: f64) {
        if !self.began_by_own_clock {
            return;
        }
        let before = self.began_at;
        let by = Duration::try_from_secs_f64(seconds.abs()).unwrap_or_default();
        self.began_at = if seconds < 0.0 { before - by } else { before + by };
        for answers in self.answers.values_mut().filter(|answers| answers.since == before) {
            answers.since = self.began_at;
        }
    }

    /// Moves the expected beginning to `at` at the latest.
    pub(super) fn begin_by(&mut self, at: Timestamp) {
        self.began_at = self.began_at.min(at);
    }

    pub(super) fn answered(&mut self, source: Source, queue: Option<QueueName>, at: Timestamp) {
        let answers = self.of(source, queue, at);
        (answers.answered_at, answers.error) = (Some(at), None);
    }

    pub(super) fn failed(&mut self, source: Source, queue: Option<QueueName>, at: Timestamp, error: String) {
        self.of(source, queue, at).error = Some(error);
    }

    /// Sets the watched queues; the state of others is dropped.
    pub(super) fn watch(&mut self, queues: &[Queue], at: Timestamp) {
        self.no_queues = None;
        let is_watched = |name: &QueueName| queues.iter().any(|queue| queue.name == *name);
        self.answers.retain(|(_, queue), _| queue.as_ref().is_none_or(is_watched));
        for queue in queues {
            self.of(Source::Jobs, Some(queue.name.clone()), at);
        }
    }

    pub(super) fn answered_at(&self, source: Source, queue: Option<&QueueName>) -> Option<Timestamp> {
        self.answers.get(&(source, queue.cloned())).and_then(|answers| answers.answered_at)
    }

    /// Whether the last answer of a source, of a queue or of all, was a failure.
    pub(super) fn is_failing(&self, source: Source) -> bool {
        self.about(source).any(|(_, answers)| answers.error.is_some())
    }

    /// Why not every queue has had a complete poll.
    pub(super) fn not_ready(&self) -> String {
        let failure = |source: Source| {
            let ((_, queue), error) =
                self.about(source).find_map(|(of, answers)| Some((of, answers.error.as_ref()?)))?;
            let queue = queue.as_ref().map_or(String::new(), |queue| format!(" of {queue}"));
            Some(format!("{}{queue}: {error}", source.as_str()))
        };
        let cause = self.no_queues.clone();
        let cause = cause.or_else(|| failure(Source::Topology)).or_else(|| failure(Source::Jobs));
        cause.unwrap_or_else(|| "the first poll is not complete yet".to_owned())
    }

    /// Whether a source that counting depends on fails.
    pub(super) fn hold_up_counting(&self) -> bool {
        let needed = [Source::Topology, Source::Jobs, Source::Descriptions];
        self.answers.iter().any(|((source, _), answers)| needed.contains(source) && answers.error.is_some())
    }

    /// Freshness of each source over all watched queues.
    pub(super) fn health(&self, queues: &[Queue], now: Timestamp) -> Vec<SourceHealth> {
        Source::ALL.into_iter().map(|source| self.health_of(source, queues, now)).collect()
    }

    fn health_of(&self, source: Source, queues: &[Queue], now: Timestamp) -> SourceHealth {
        let topology_known = self.answered_at(Source::Topology, None).is_some();
        let has_queues = !queues.is_empty();
        let oldest = self.about(source).map(|(_, answers)| answers.answered_at.unwrap_or(answers.since)).min();
        let oldest = match (oldest, source) {
            (Some(oldest), _) => Some(oldest),
            // Optional sources that are not watched have no age.
            (None, source) if source.is_optional() => None,
            (None, _) if !topology_known => Some(self.began_at),
            // Without queues there are no jobs to list, and the list is complete.
            (None, Source::Jobs | Source::Snapshot) if !has_queues => Some(now),
            (None, _) => None,
        };
        let must_answer = !topology_known || has_queues;
        let is_silent = must_answer && self.about(source).all(|(_, answers)| answers.answered_at.is_none());
        let error = self.about(source).find_map(|(_, answers)| answers.error.clone());
        let error = error.or_else(|| (is_silent && oldest.is_some()).then(|| NO_ANSWER.to_owned()));

        let failed = self.about(source).filter(|(_, answers)| answers.error.is_some());
        let failed_for_all = failed.clone().any(|((_, queue), _)| queue.is_none());
        let failed = failed.filter_map(|((_, queue), _)| queue.clone());
        // Queues that were never listed count as failing.
        let is_unknown = |name: &QueueName| source == Source::Jobs && self.answered_at(source, Some(name)).is_none();
        let unknown = queues.iter().map(|queue| &queue.name);
        let unknown = unknown.filter(|name| failed_for_all || is_unknown(name)).cloned();
        let failing = failed.chain(unknown).collect();
        SourceHealth { source, age_seconds: oldest.map(|at| now.seconds_since(at)), error, note: None, failing }
    }

    fn about(&self, source: Source) -> impl Iterator<Item = (&(Source, Option<QueueName>), &Answers)> + Clone {
        self.answers.iter().filter(move |((other, _), _)| *other == source)
    }

    /// State of a source for a queue. A queue added later is not expected to have answered before.
    fn of(&mut self, source: Source, queue: Option<QueueName>, at: Timestamp) -> &mut Answers {
        let is_late = queue.is_some() && self.answered_at(Source::Topology, None).is_some();
        let since = if is_late { at } else { self.began_at };
        self.answers.entry((source, queue)).or_insert(Answers { since, answered_at: None, error: None })
    }
}

/// Descriptions are as old as what waits for them. Says so in words where they are late.
pub(super) fn descriptions_are_late(
    sources: &mut [SourceHealth],
    awaited: Awaited,
    poll_interval: Option<Duration>,
    now: Timestamp,
) {
    let Some(health) = sources.iter_mut().find(|health| health.source == Source::Descriptions) else { return };
    let late = LATE_AFTER.max(poll_interval.unwrap_or_default() * LATE_POLLS);
    let since = now.since(awaited.since);
    let age = health.age_seconds.get_or_insert_default();
    *age = age.max(since.as_secs_f64());
    if since > late && health.error.is_none() {
        let (jobs, since) = (counted(awaited.jobs as u64, "job"), duration(since.as_secs_f64()));
        health.error = Some(format!(
            "DescribeServiceJob is {since} behind: {jobs} wait to be described, so their changes are reported late"
        ));
    }
}

/// Says which single jobs and training jobs cannot be described. That is no failure of the source.
pub(super) fn note_refused(sources: &mut [SourceHealth], [jobs, training_jobs]: [Option<String>; 2]) {
    for (source, note) in [(Source::Descriptions, jobs), (Source::TrainingJobs, training_jobs)] {
        if let Some(health) = sources.iter_mut().find(|health| health.source == source) {
            health.note = note;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Policy;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    fn queue(name: &str) -> Queue {
        Queue::new(name, Policy::Fifo, None)
    }

    fn health(
        sources: &Sources,
        queues: &[Queue],
        source: Source,
        at: i64,
    ) -> (Option<f64>, Option<String>, Vec<String>) {
        let all = sources.health(queues, second(at));
        let health = all.into_iter().find(|health| health.source == source).unwrap();
        (health.age_seconds, health.error, health.failing.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn before_the_first_answer_every_source_ages_from_the_start() {
        let mut sources = Sources::new(second(0));
        for source in [Source::Topology, Source::Jobs, Source::Snapshot, Source::Utilisation] {
            assert_eq!(health(&sources, &[], source, 400), (Some(400.0), Some(NO_ANSWER.to_owned()), vec![]));
        }
        assert_eq!(health(&sources, &[], Source::Reserved, 400), (None, None, vec![]), "it may not be watched");
        sources.failed(Source::Topology, None, second(20), "expired".to_owned());
        sources.failed(Source::Reserved, None, second(20), "expired".to_owned());
        for source in [Source::Topology, Source::Reserved] {
            assert_eq!(health(&sources, &[], source, 400), (Some(400.0), Some("expired".to_owned()), vec![]));
        }
        assert_eq!(health(&sources, &[], Source::Jobs, 400).0, Some(400.0));
        assert_eq!(sources.not_ready(), "topology: expired");
    }

    #[test]
    fn a_corrected_clock_makes_no_source_older() {
        for (seconds, now) in [(36_000.0, 36_400), (-36_000.0, -35_600)] {
            let mut sources = Sources::new(second(0)).began_by_local_clock(true);
            sources.failed(Source::Topology, None, second(20), "denied".to_owned());
            sources.clock_corrected(seconds);
            for source in [Source::Topology, Source::Jobs] {
                assert_eq!(health(&sources, &[], source, now).0, Some(400.0), "{seconds} {source:?}");
            }
        }
        let mut resumed = Sources::new(second(0));
        resumed.clock_corrected(36_000.0);
        assert_eq!(health(&resumed, &[], Source::Jobs, 36_400).0, Some(36_400.0), "an earlier run knew AWS's time");
    }

    #[test]
    fn a_queue_that_turns_up_later_ages_from_then() {
        let mut sources = Sources::new(second(0));
        sources.watch(&[queue("a")], second(10));
        sources.answered(Source::Topology, None, second(10));
        assert_eq!(health(&sources, &[queue("a")], Source::Jobs, 100).0, Some(100.0));
        sources.answered(Source::Jobs, Some("a".into()), second(990));
        let both = [queue("a"), queue("b")];
        sources.watch(&both, second(900));
        sources.failed(Source::Jobs, Some("b".into()), second(905), "no".to_owned());
        assert_eq!(
            health(&sources, &both, Source::Jobs, 1_000),
            (Some(100.0), Some("no".to_owned()), vec!["b".to_owned()])
        );
        assert_eq!(sources.not_ready(), "jobs of b: no");
    }

    #[test]
    fn descriptions_that_fail_age_alone() {
        let mut sources = Sources::new(second(0));
        sources.watch(&[queue("a")], second(10));
        sources.answered(Source::Topology, None, second(10));
        sources.answered(Source::Jobs, Some("a".into()), second(990));
        sources.failed(Source::Descriptions, None, second(995), "DescribeServiceJob: denied".to_owned());
        let of = |source| health(&sources, &[queue("a")], source, 1_000);
        assert_eq!(of(Source::Jobs), (Some(10.0), None, vec![]), "figures rest on lists");
        let failing = (Some(1_000.0), Some("DescribeServiceJob: denied".to_owned()), vec!["a".to_owned()]);
        assert_eq!(of(Source::Descriptions), failing);
    }

    #[test]
    fn descriptions_are_as_late_as_the_job_that_has_waited_longest_for_one() {
        let mut sources = Sources::new(second(0));
        sources.watch(&[queue("a")], second(10));
        sources.answered(Source::Topology, None, second(10));
        sources.answered(Source::Descriptions, None, second(990));
        let late = |since: i64, poll_interval| {
            let mut all = sources.health(&[queue("a")], second(1_000));
            let awaited = Awaited { jobs: 3, since: second(since) };
            descriptions_are_late(&mut all, awaited, Some(Duration::from_secs(poll_interval)), second(1_000));
            let health = all.into_iter().find(|health| health.source == Source::Descriptions).unwrap();
            (health.age_seconds, health.error)
        };
        assert_eq!(late(995, 30), (Some(10.0), None), "some were answered later than that");
        assert_eq!(late(400, 30), (Some(600.0), None));
        let behind =
            "DescribeServiceJob is 15m behind: 3 jobs wait to be described, so their changes are reported late";
        assert_eq!(late(100, 30), (Some(900.0), Some(behind.to_owned())));
        assert_eq!(late(100, 180), (Some(900.0), None), "five polls");
    }

    #[test]
    fn without_queues_there_is_nothing_to_be_late_with() {
        let mut sources = Sources::new(second(0));
        sources.answered(Source::Topology, None, second(10));
        sources.watch(&[], second(10));
        sources.no_queues = Some("none matches".to_owned());
        for source in [Source::Jobs, Source::Snapshot] {
            assert_eq!(health(&sources, &[], source, 5_000), (Some(0.0), None, vec![]));
        }
        assert_eq!(sources.not_ready(), "none matches");
    }

    #[test]
    fn a_failure_of_one_queue_is_its_own_and_one_of_all_is_everybodys() {
        let mut sources = Sources::new(second(0));
        let both = [queue("a"), queue("b")];
        sources.watch(&both, second(0));
        sources.answered(Source::Topology, None, second(0));
        sources.answered(Source::Topology, Some("a".into()), second(0));
        sources.failed(Source::Topology, Some("b".into()), second(0), "unreadable".to_owned());
        assert_eq!(health(&sources, &both, Source::Topology, 10).2, ["b"]);
        sources.failed(Source::Topology, None, second(5), "down".to_owned());
        assert_eq!(health(&sources, &both, Source::Topology, 10).2, ["a", "b"]);
    }

    #[test]
    fn the_only_queue_takes_its_alerts_with_it() {
        use crate::engine::{Engine, Saved, cadence};
        use crate::model::Observation;
        use crate::rules::{ResolveReason, TransitionKind, parse_rules};

        let rule =
            "rules: [{ alert: Many, metric: queue.jobs, by: [queue], above: -1, annotations: { summary: many } }]";
        let rules = parse_rules("rules.yaml", rule).unwrap();
        let every = std::time::Duration::from_secs(30);
        let mut engine = Engine::new(rules, cadence(every * 30, every), Saved::default(), second(0));
        let answered = |source, queue: Option<&str>, at| Observation::Answered {
            source,
            queue: queue.map(Into::into),
            at: second(at),
        };
        engine.observe(vec![
            Observation::Topology { at: second(0), queues: vec![queue("a")] },
            answered(Source::Topology, None, 0),
            answered(Source::Jobs, Some("a"), 1),
        ]);
        let fired = engine.tick(second(10)).transitions;
        assert!(matches!(fired.as_slice(), [one] if one.kind == TransitionKind::Fired), "{fired:?}");
        engine.observe(vec![
            Observation::Topology { at: second(300), queues: vec![] },
            Observation::NoQueues { why: "none".to_owned() },
            answered(Source::Topology, None, 300),
        ]);
        let ended = engine.tick(second(310)).transitions;
        assert!(
            matches!(ended.as_slice(), [one] if one.kind == TransitionKind::Resolved(ResolveReason::Gone)),
            "{ended:?}"
        );
        assert_eq!(engine.not_ready().as_deref(), Some("none"));
    }
}
