//! Frames are read back unchanged, by step, and removed by age and size.

use super::*;
use crate::store::Commit;
use crate::store::Store;
use trainspotter_core::metrics::labels;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

/// A frame with a value of each kind; distributions without fresh values, which are not stored.
fn frame(seconds: i64, value: f64) -> Arc<Frame> {
    let of_share = || labels([("queue", "größe".into()), ("share", "".into())]);
    let recent = Some(Quantiles { count: 3, mean: 0.1 + 0.2, p50: 1.0, p90: 2.0, p95: 2.0, p99: 2.0, max: 1e-9 });
    let sample = |metric, labels, value| Sample { metric, labels, value };
    let distribution = |recent| {
        Value::Distribution(Distribution { buckets: vec![0, 7], sum: 0.3, count: 7, recent, ..Distribution::default() })
    };
    let samples = vec![
        sample(&catalogue::QUEUE_WAIT_OLDEST, of_share(), Value::Gauge(value)),
        sample(&catalogue::QUEUE_WAIT, of_share(), distribution(recent)),
        sample(&catalogue::QUEUE_WAIT, labels([("queue", "b".into()), ("share", "s".into())]), distribution(None)),
        sample(&catalogue::LEDGER_CORRECTIONS, labels([]), Value::Counter(12.5)),
    ];
    let queue = |name: &str| QueueFigures {
        queue: name.into(),
        arn: String::new(),
        policy: "".into(),
        jobs: [].into(),
        oldest_wait_seconds: None,
    };
    let source = |source, error: Option<&str>, failing: &[&str]| SourceHealth {
        source,
        age_seconds: error.map(|_| 3.25),
        error: error.map(str::to_owned),
        note: error.map(|_| "AWS does not describe 1 job".to_owned()),
        failing: failing.iter().map(|queue| (*queue).into()).collect(),
    };
    let sources = vec![source(Source::Topology, None, &[]), source(Source::Jobs, Some("throttled"), &["b"])];
    Arc::new(Frame {
        at: at(seconds), queues: vec![queue("b"), queue("größe")], sources, samples, ..Frame::default()
    })
}

fn commit(store: &mut Store, frame: Arc<Frame>, keep: u64, at_most: u64) -> u64 {
    let recording = Recording { keep: Duration::from_secs(keep), at_most, frame };
    let commit = Commit { at: recording.frame.at, frame: Some(recording), ..Commit::default() };
    store.commit(&commit).unwrap().frames_cut
}

fn read(path: &Path, from: i64, to: i64, step: Option<u64>) -> Vec<Frame> {
    let mut frames = Vec::new();
    let step = step.map(Duration::from_secs);
    Frames::open(path).unwrap().each(at(from), at(to), step, |frame| frames.push(frame)).unwrap();
    frames
}

fn seconds_of(frames: &[Frame]) -> Vec<i64> {
    frames.iter().map(|frame| frame.at.millis() / 1_000).collect()
}

#[test]
fn frames_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (mut store, _) = Store::open(&path, at(0)).unwrap();
    let whole = frame(30, 0.1 + 0.2);
    assert_eq!(commit(&mut store, Arc::clone(&whole), 3_600, 1_000_000), 0);
    assert_eq!(commit(&mut store, Arc::clone(&whole), 3_600, 1_000_000), 0, "tried again");
    let [read] = &read(&path, 0, 30, None)[..] else { panic!("there is one") };
    assert_eq!(format!("{read:?}"), format!("{whole:?}"));
}

#[test]
fn a_step_gives_the_last_frame_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (mut store, _) = Store::open(&path, at(0)).unwrap();
    for seconds in [0, 30, 60, 90, 120, 300] {
        commit(&mut store, frame(seconds, 1.0), 3_600, 1_000_000);
    }
    assert_eq!(Frames::open(&path).unwrap().span().unwrap(), Some((at(0), at(300))));
    assert_eq!(seconds_of(&read(&path, 30, 299, None)), [30, 60, 90, 120]);
    assert_eq!(seconds_of(&read(&path, 0, 300, Some(60))), [30, 90, 120, 300]);
    assert!(read(&path, 301, 400, None).is_empty());
}

#[test]
fn frames_go_by_age_and_by_size_and_only_the_latter_is_a_limit_that_bites() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (mut store, _) = Store::open(&path, at(0)).unwrap();
    let one = encode(&frame(0, 1.0)).unwrap().len() as u64;
    for seconds in 0..10 {
        assert_eq!(commit(&mut store, frame(seconds, 1.0), 5, one * 100), 0);
    }
    assert_eq!(seconds_of(&read(&path, 0, 100, None)), [4, 5, 6, 7, 8, 9]);
    let cut: u64 = (10..20).map(|seconds| commit(&mut store, frame(seconds, 1.0), 100, one * 3)).sum();
    assert_eq!(seconds_of(&read(&path, 0, 100, None)), [17, 18, 19]);
    assert_eq!(cut, 13);
    assert_eq!(commit(&mut store, frame(20, 1.0), 100, 1), 3, "the newest always stays");
    assert_eq!(seconds_of(&read(&path, 0, 100, None)), [20]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Frames::open(&folder.path().join("state.db")).unwrap_err().to_string();
    assert!(error.contains("state.db"), "{error}");
}
