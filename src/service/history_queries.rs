//! Answers history queries outside the event loop: reading many frames takes long and must not delay ticks. Long
//! queries are answered one at a time, and hold up no others.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::blocking;
use crate::config::Config;
use crate::service::MAX_HISTORY_QUERIES;
use crate::service::report_rows::{ReportError, Sources, objectives, report};
use crate::service::shared_by_targets::{RulesNow, Shared};
use crate::store::StoreError;
use crate::store::{Frames, PastAlerts};
use crate::web::{InvalidReport, JobQuery, PastQuery, Snapshot};
use trainspotter_clock::Clock;
use trainspotter_core::engine::Engine;
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::{Place, Timestamp};

/// Frames up to this age are replayed in full.
const FULL_RESOLUTION: Duration = Duration::from_secs(3_600);

/// Older frames are downsampled to this many, to keep the start short.
const MAX_DOWNSAMPLED_FRAMES: u32 = 500;

/// Data sources for history queries.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// State file of the target.
    store: PathBuf,
    latest: watch::Receiver<Snapshot>,
    /// Configuration of all targets: reports cover all of them.
    config: Arc<Config>,
    rules: watch::Receiver<RulesNow>,
    clock: Clock,
    /// Where refused queries are counted.
    counted: mpsc::Sender<JobQuery>,
}

impl History {
    pub(super) fn of(
        shared: &Shared,
        own: &Config,
        latest: watch::Receiver<Snapshot>,
        counted: mpsc::Sender<JobQuery>,
    ) -> Self {
        let Shared { config, clock, rules, .. } = shared.clone();
        Self { store: own.store.clone(), latest, config, rules, clock, counted }
    }

    /// Answers one query on a thread that may block.
    async fn answer(self, question: PastQuery) {
        let place = self.latest.borrow().place.clone();
        let _ = tokio::task::spawn_blocking(move || answer_one(&self, &place, question)).await;
    }
}

/// Answers history queries until `stop`. A query that fails is dropped, which its client notices.
pub(super) async fn answer(past: History, mut questions: mpsc::Receiver<PastQuery>, stop: CancellationToken) {
    // Frame and report queries are slow and run one after the other. Alert queries are fast and run at once.
    let (long, mut waiting) = mpsc::channel(MAX_HISTORY_QUERIES);
    let mut answering = JoinSet::new();
    let of_long = past.clone();
    answering.spawn(async move {
        while let Some(question) = waiting.recv().await {
            of_long.clone().answer(question).await;
        }
    });
    loop {
        while answering.try_join_next().is_some() {}
        let question = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            question = questions.recv() => question,
        };
        let Some(question) = question else { return stop.cancelled().await };
        if !matches!(question, PastQuery::Frames { .. } | PastQuery::Report { .. }) {
            answering.spawn(past.clone().answer(question));
        } else if long.try_send(question).is_err() {
            tracing::warn!(limit = MAX_HISTORY_QUERIES, "too many history queries wait; one more gets no answer");
            let _ = past.counted.try_send(JobQuery::LimitHit { limit: "history_queries", times: 1 });
        }
    }
}

fn answer_one(past: &History, place: &Place, question: PastQuery) {
    match question {
        PastQuery::Report { from, to, by, reply } => {
            tokio::runtime::Handle::current().block_on(make_report(past, (from, to), &by, reply));
        }
        question @ (PastQuery::Frames { .. } | PastQuery::Episodes { .. } | PastQuery::Alerts { .. }) => {
            if let Err(error) = read(&past.store, place, question) {
                tracing::warn!(%error, "cannot read the history for a query");
            }
        }
    }
}

/// Builds a report on a blocking thread: it takes long.
async fn make_report(
    past: &History,
    span: (Timestamp, Timestamp),
    by: &[String],
    reply: oneshot::Sender<Result<serde_json::Value, InvalidReport>>,
) {
    // The client may have disconnected while earlier queries ran.
    if reply.is_closed() {
        return;
    }
    let rules = past.rules.borrow().rules.clone();
    let built = async {
        let sources = Sources::of(&past.config, past.clock).await?;
        report(&sources, span, by, &past.config.tags, objectives(&rules)).await
    };
    match built.await {
        Ok(report) => match serde_json::to_value(report) {
            Ok(report) => _ = reply.send(Ok(report)),
            Err(error) => tracing::error!(%error, "cannot serialize a report as JSON"),
        },
        Err(ReportError::Usage(message)) => _ = reply.send(Err(InvalidReport(message))),
        Err(error) => tracing::warn!(%error, "cannot build a report for a query"),
    }
}

/// Replays stored frames into the engine, as far back as its rules look: the last hour in full, older frames
/// downsampled. Frames that cannot be read are logged, and the rules start without history.
pub(super) async fn replay_history(mut engine: Engine, store: PathBuf, now: Timestamp) -> Engine {
    let Some(looks_back) = engine.looks_back() else { return engine };
    let reading = blocking::run(move || {
        let recent = (now - FULL_RESOLUTION).max(now - looks_back);
        let read = |engine: &mut Engine| {
            let frames = Frames::open(&store)?;
            let step = looks_back / MAX_DOWNSAMPLED_FRAMES;
            let older = frames.each(now - looks_back - step, recent, Some(step), |frame| engine.recall(&frame))?;
            Ok(older + frames.each(recent + Duration::from_millis(1), now, None, |frame| engine.recall(&frame))?)
        };
        match read(&mut engine) {
            Ok(bad) => warn(bad, &store),
            Err::<_, StoreError>(error) => {
                tracing::warn!(%error, "cannot read the stored history; rules over past values start without it");
            }
        }
        engine
    });
    match reading.await {
        Ok(engine) => engine,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

// If the client is gone, its answer is dropped.
fn read(store: &std::path::Path, place: &Place, question: PastQuery) -> Result<(), StoreError> {
    match question {
        // The client may have disconnected while earlier queries ran.
        PastQuery::Frames { reader, .. } if !reader.is_awaited() => {}
        PastQuery::Frames { from, to, every, mut reader } => {
            let take = |frame: Frame| reader.take(&Frame { place: place.clone(), ..frame });
            warn(Frames::open(store)?.each(from, to, Some(every), take)?, store);
            reader.finish();
        }
        // Built by `make_report`.
        PastQuery::Report { .. } => {}
        PastQuery::Episodes { alert, reply } => {
            let _ = reply.send(PastAlerts::open(store)?.of(&alert)?);
        }
        PastQuery::Alerts { from, to, queue, share, limit, reply } => {
            let found = PastAlerts::open(store)?.between((from, to), queue.as_deref(), share.as_deref(), limit)?;
            let _ = reply.send(found);
        }
    }
    Ok(())
}

fn warn(bad: u64, store: &std::path::Path) {
    if bad > 0 {
        tracing::warn!(
            bad,
            path = %store.display(),
            "skipped unreadable frames of the history; they are deleted when they expire"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Commit, Recording, Store};
    use trainspotter_core::engine::{Saved, cadence};
    use trainspotter_core::metrics::catalogue;
    use trainspotter_core::metrics::{Labels, Sample, Value};
    use trainspotter_core::rules::parse_rules;

    /// Stores a day of frames, one per minute, for a ledger of 100 jobs.
    fn keep(store: &std::path::Path) -> Timestamp {
        let mut store = Store::open(store, Timestamp::default()).unwrap().0;
        let mut at = Timestamp::default();
        for minute in 0..1_440 {
            at = Timestamp::from_millis(minute * 60_000);
            let sample =
                Sample { metric: &catalogue::LEDGER_JOBS, labels: Labels::from_iter([]), value: Value::Gauge(100.0) };
            let samples = vec![sample];
            let frame = Some(Recording {
                frame: Arc::new(Frame { at, samples, ..Frame::default() }),
                keep: Duration::from_secs(86_400),
                at_most: 1_000_000,
            });
            store.commit(&Commit { at, frame, ..Commit::default() }).unwrap();
        }
        at
    }

    /// A query that takes until `go` is dropped, unless nobody awaits it.
    #[derive(Debug)]
    struct Slow {
        is_awaited: bool,
        begun: Option<oneshot::Sender<()>>,
        go: std::sync::mpsc::Receiver<()>,
    }

    impl crate::web::ReadFrames for Slow {
        fn take(&mut self, _: &Frame) {
            let _ = self.begun.take().map(|begun| begun.send(()));
            let _ = self.go.recv();
        }

        fn is_awaited(&self) -> bool {
            self.is_awaited
        }

        fn finish(self: Box<Self>) {}
    }

    #[tokio::test]
    async fn a_long_query_holds_up_no_short_ones_and_none_is_read_for_a_client_that_left() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("state.db");
        let to = keep(&store);
        let stop = CancellationToken::new();
        let (ask, questions) = mpsc::channel(4);
        let text = "targets: [{ region: us-east-1 }]";
        let config = crate::config::load("trainspotter.yaml", text, folder.path(), &|_| None).unwrap();
        let (counted, mut counts) = mpsc::channel(4);
        let past = History {
            store,
            latest: watch::channel(Snapshot::default()).1,
            config: Arc::new(config),
            rules: watch::channel(RulesNow::default()).1,
            clock: Clock::real(),
            counted,
        };
        let answering = tokio::spawn(answer(past, questions, stop.clone()));
        let frames = |is_awaited| {
            let ((begun, has_begun), (go, gone)) = (oneshot::channel(), std::sync::mpsc::channel());
            let reader = Box::new(Slow { is_awaited, begun: Some(begun), go: gone });
            (
                PastQuery::Frames { from: Timestamp::default(), to, every: Duration::from_secs(60), reader },
                has_begun,
                go,
            )
        };
        let (long, has_begun, go) = frames(true);
        ask.send(long).await.unwrap();
        has_begun.await.unwrap();
        let (left, was_read, _go) = frames(false);
        ask.send(left).await.unwrap();
        let (reply, alerts) = oneshot::channel();
        let short = PastQuery::Alerts { from: Timestamp::default(), to, queue: None, share: None, limit: 10, reply };
        ask.send(short).await.unwrap();
        assert_eq!(alerts.await.unwrap().len(), 0);
        // As many as may wait, and one more, which gets no answer.
        let mut waiting = Vec::new();
        for _ in 1..MAX_HISTORY_QUERIES {
            let (question, was_read, go) = frames(false);
            ask.send(question).await.unwrap();
            waiting.push((was_read, go));
        }
        let (refused, no_answer, _refused) = frames(true);
        ask.send(refused).await.unwrap();
        assert!(no_answer.await.is_err());
        let counted = counts.try_recv();
        assert!(matches!(counted, Ok(JobQuery::LimitHit { limit: "history_queries", times: 1 })), "{counted:?}");
        drop(go);
        assert!(was_read.await.is_err());
        stop.cancel();
        answering.await.unwrap();
    }

    #[tokio::test]
    async fn a_rule_over_a_day_knows_the_day_before_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("state.db");
        let last = keep(&store);
        let rules = "rules: [{ alert: Shrinks, metric: ledger.jobs, change_over: 20h, below: -50,
            annotations: { summary: '{{ value }}' } }]";
        let every = Duration::from_secs(60);
        // An engine without jobs.
        let new = || Engine::new(parse_rules("r", rules).unwrap(), cadence(every, every), Saved::default(), last);
        let mut engine = replay_history(new(), store, last).await;
        let reported = |engine: &mut Engine| engine.tick(last + every).alerts.len();
        assert_eq!(reported(&mut new()), 0);
        assert_eq!(reported(&mut engine), 1);
    }
}
