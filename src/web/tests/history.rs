//! A history for the fixture, and the API's responses.

use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;

use crate::web::PastQuery;
use crate::web::tests::Server;
use crate::web::tests::fixture_snapshot;
use trainspotter_core::metrics::Distribution;
use trainspotter_core::metrics::Frame;
use trainspotter_core::metrics::Quantiles;
use trainspotter_core::metrics::Sample;
use trainspotter_core::metrics::Value;
use trainspotter_core::metrics::catalogue;
use trainspotter_core::metrics::gpu_part_names::Part;
use trainspotter_core::metrics::labels;
use trainspotter_core::model::Timestamp;

/// Answers history queries as the reader of the store does. `vision` was added recently.
pub(super) async fn answer(questions: mpsc::Receiver<PastQuery>) {
    answer_with(questions, frame).await;
}

/// As [`answer`], with other frames, each by its time and number.
pub(super) async fn answer_with(mut questions: mpsc::Receiver<PastQuery>, frame: fn(Timestamp, u32) -> Frame) {
    while let Some(question) = questions.recv().await {
        match question {
            PastQuery::Frames { from, to, every, mut reader } => {
                let (mut at, mut index) = (from, 0);
                // A reader of every frame gets one per five minutes.
                let every = if every < Duration::from_secs(60) { Duration::from_secs(300) } else { every };
                while at <= to {
                    reader.take(&frame(at, index));
                    (at, index) = (at + every, index + 1);
                }
                reader.finish();
            }
            PastQuery::Report { by, reply, .. } => {
                let _ = reply.send(Ok(serde_json::json!({ "by": by, "jobs": 0 })));
            }
            PastQuery::Episodes { alert, reply } => {
                let mut known = fixture_snapshot::past_alerts();
                known.retain(|transition| transition.alert.id.as_str() == alert);
                let _ = reply.send(known);
            }
            PastQuery::Alerts { from, to, queue, share, reply, .. } => {
                let mut known = fixture_snapshot::past_alerts();
                known.retain(|transition| {
                    let of = |label: &str, wanted: &Option<String>| {
                        wanted.as_ref().is_none_or(|wanted| transition.alert.by.get(label) == Some(wanted))
                    };
                    let fired_at = transition.alert.state.fired_at().unwrap();
                    of("queue", &queue) && of("share", &share) && fired_at <= to && transition.at >= from
                });
                let _ = reply.send(known);
            }
        }
    }
}

fn frame(at: Timestamp, index: u32) -> Frame {
    let index = f64::from(index);
    let of_share = |share: &str| labels([("queue", "research".into()), ("share", share.into())]);
    let recent = Some(Quantiles { count: 4, p95: index, max: 100.0, ..Quantiles::default() });
    let mut samples = vec![
        Sample { metric: &catalogue::QUEUE_WAIT_OLDEST, labels: of_share("audio"), value: Value::Gauge(60.0 * index) },
        Sample {
            metric: &catalogue::QUEUE_WAIT,
            labels: of_share("audio"),
            value: Value::Distribution(Distribution { recent, ..Distribution::default() }),
        },
    ];
    if index > 0.0 {
        let labels = of_share("vision");
        samples.push(Sample { metric: &catalogue::QUEUE_WAIT_OLDEST, labels, value: Value::Gauge(1.0) });
    }
    samples.extend(Part::ALL.into_iter().map(|part| Sample {
        metric: &catalogue::GPU_PART,
        labels: labels([("queue", "research".into()), ("part", part.as_str().into())]),
        value: Value::Gauge(32.0),
    }));
    Frame { at, samples, ..Frame::default() }
}

#[tokio::test]
async fn a_metric_is_returned_by_series_with_a_value_per_step() {
    let server = Server::start().await;
    let times = "from=2026-03-01T11:00:00Z&to=2026-03-01T12:00:00Z&step=30m&fold=last";
    let reported = server.get(&format!("/api/v1/history?metric=queue.wait.oldest&queue=research&{times}")).await.json();
    let series = |share: &str, values: serde_json::Value| json!({ "labels": { "account": "123456789012", "region": "eu-west-1", "queue": "research", "share": share }, "values": values });
    let expected = json!({
        "metric": "queue.wait.oldest",
        "stat": null,
        "fold": "last",
        "looked_every_seconds": 1800.0,
        "step_seconds": 1800.0,
        "at": ["2026-03-01T11:00:00Z", "2026-03-01T11:30:00Z", "2026-03-01T12:00:00Z"],
        "series": [series("audio", json!([0.0, 60.0, 120.0])), series("vision", json!([null, 1.0, 1.0]))],
    });
    assert_eq!(reported, expected);
    let reported = server.get(&format!("/api/v1/history?metric=queue.wait&share=audio&stat=max&{times}")).await.json();
    assert_eq!(reported["series"], json!([series("audio", json!([100.0, 100.0, 100.0]))]));
    let reported = server.get(&format!("/api/v1/history?metric=queue.wait&share=none&{times}")).await.json();
    assert_eq!((&reported["stat"], &reported["series"]), (&json!("p95"), &json!([])));
}

/// The fixture's gauge grows by a minute with each frame, one per five minutes.
#[tokio::test]
async fn a_step_has_its_peak_mean_or_last_value() {
    let server = Server::start().await;
    let reported = async |rest: &str| {
        let hour = "metric=queue.wait.oldest&share=audio&from=2026-03-01T11:00:00Z&to=2026-03-01T12:00:00Z&step=30m";
        server.get(&format!("/api/v1/history?{hour}{rest}")).await.json()
    };
    for (rest, fold, values) in [
        ("", "max", json!([300.0, 660.0, 720.0])),
        ("&fold=max", "max", json!([300.0, 660.0, 720.0])),
        ("&fold=mean", "mean", json!([150.0, 510.0, 720.0])),
    ] {
        let reported = reported(rest).await;
        assert_eq!((&reported["fold"], &reported["series"][0]["values"]), (&json!(fold), &values), "{rest}");
        assert_eq!(reported["looked_every_seconds"], 1.2);
        assert_eq!(reported["at"], json!(["2026-03-01T11:25:00Z", "2026-03-01T11:55:00Z", "2026-03-01T12:00:00Z"]));
    }
    let reported = server.get("/api/v1/history?metric=gpu.part&from=-1h").await.json();
    assert_eq!(reported["fold"], "mean");
}

/// Peaks of parts at different times would add up to more than the total.
#[tokio::test]
async fn several_metrics_come_in_one_pass_and_parts_of_a_whole_as_means() {
    let server = Server::start().await;
    let hour = "from=2026-03-01T11:00:00Z&to=2026-03-01T12:00:00Z&step=30m";
    let asked = format!("metrics=queue.wait.oldest,queue.wait:max,gpu.part&queue=research&share=audio&fold=max&{hour}");
    let reported = server.get(&format!("/api/v1/histories?{asked}")).await.json();
    let of = |index: usize, key: &str| reported[index][key].clone();
    assert_eq!((of(0, "fold"), of(0, "series")[0]["values"].clone()), (json!("max"), json!([300.0, 660.0, 720.0])));
    assert_eq!((of(1, "stat"), of(1, "fold")), (json!("max"), json!("max")));
    assert_eq!((of(2, "fold"), of(2, "at")), (json!("mean"), of(0, "at")));
    assert_eq!(
        of(2, "series").as_array().unwrap().len(),
        Part::ALL.len(),
        "parts have no shares, and are there all the same"
    );
    for (query, reported) in [
        ("", "metrics is required"),
        ("metrics=", "metrics is required"),
        ("metrics=queue.weight", "there is no metric"),
        ("metrics=queue.wait:p42", "there are count, mean, p50"),
        ("metrics=queue.wait&metric=queue.wait", "as metrics=queue.wait:p95"),
        ("metrics=queue.wait&where=a", "unknown parameter"),
    ] {
        let answer = server.get(&format!("/api/v1/histories?{query}")).await;
        assert_eq!((answer.status, &*answer.error_code()), (400, "bad_request"), "{query}");
        assert!(answer.text().contains(reported), "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn times_may_be_relative() {
    let server = Server::start().await;
    let asked = |times: &str| format!("/api/v1/history?metric=queue.wait.oldest&step=1h&fold=last&{times}");
    let reported = server.get(&asked("from=-6h")).await.json();
    // The clock is running.
    assert!(reported["at"][0].as_str().unwrap().starts_with("2026-03-01T06:0"), "{reported}");
    let reported = server.get(&asked("from=now-6h&to=-3h")).await.json();
    let at: Vec<Timestamp> = serde_json::from_value(reported["at"].clone()).unwrap();
    assert_eq!((at.len(), at[3].since(at[0])), (4, Duration::from_secs(3 * 3_600)));
}

#[tokio::test]
async fn the_default_is_a_day_and_steps_have_a_minimum() {
    let server = Server::start().await;
    let reported =
        server.get("/api/v1/history?metric=queue.wait.oldest&to=2026-03-01T12:00:00Z&fold=last").await.json();
    let at = reported["at"].as_array().unwrap();
    assert_eq!((at.len(), &at[0], &at[200]), (201, &json!("2026-02-28T12:00:00Z"), &json!("2026-03-01T12:00:00Z")));
    let reported = server.get("/api/v1/history?metric=queue.wait.oldest&step=1ms&fold=last").await.json();
    assert_eq!(reported["at"].as_array().unwrap().len(), 501);
}

#[tokio::test]
async fn an_invalid_query_gets_a_message_with_the_valid_form() {
    let server = Server::start().await;
    for (query, reported) in [
        ("", "metric is required"),
        ("metric=queue.weight", "there is no metric"),
        ("metric=poll.interval&queue=a", "has no label queue"),
        ("metric=queue.wait&stat=p42", "there are count, mean, p50"),
        ("metric=poll.interval&stat=p50", "is not a distribution"),
        ("metric=queue.wait&from=yesterday", "2026-03-01T12:00:00Z"),
        ("metric=queue.wait&from=2026-03-01T12:00:00Z&to=2026-03-01T12:00:00Z", "before `to`"),
        ("metric=queue.wait&step=often", "30s, 5m or 1h"),
        ("metric=queue.wait&from=-often", "-6h for six hours ago"),
        ("metric=queue.wait&from=", "-6h for six hours ago"),
        ("metric=queue.wait&fold=min", "there are max, mean and last"),
        ("metric=queue.wait&from=-1s&to=-1h", "before `to`"),
        ("metric=queue.wait&queue=%ff", "not UTF-8"),
        ("metric=queue.wait&where=a", "there are metric, account, region, queue, share"),
        ("metric=queue.wait&metric=queue.wait", "given twice"),
    ] {
        let answer = server.get(&format!("/api/v1/history?{query}")).await;
        assert_eq!((answer.status, &*answer.error_code()), (400, "bad_request"), "{query}");
        assert!(answer.text().contains(reported), "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn what_would_mean_something_else_is_refused_with_the_valid_form() {
    let server = Server::start().await;
    for (path, reported) in [("report?from=-6h&by=queue,share,queue", "has the key \\\"queue\\\" twice")] {
        let answer = server.get(&format!("/api/v1/{path}")).await;
        assert_eq!((answer.status, &*answer.error_code()), (400, "bad_request"), "{path}: {}", answer.text());
        assert!(answer.text().contains(reported), "{path}: {}", answer.text());
    }
}
