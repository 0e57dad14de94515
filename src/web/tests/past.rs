//! A past for the fixture, and what the API says of it.

use serde_json::json;
use tokio::sync::mpsc;

use crate::web::HistoryQuery;
use crate::web::tests::Server;
use trainspotter_core::metrics::Distribution;
use trainspotter_core::metrics::Frame;
use trainspotter_core::metrics::Quantiles;
use trainspotter_core::metrics::Sample;
use trainspotter_core::metrics::Value;
use trainspotter_core::metrics::catalogue;
use trainspotter_core::metrics::labels;
use trainspotter_core::metrics::waterfall;
use trainspotter_core::model::Timestamp;

/// Answers as the reader of frames does. `vision` has come lately.
pub(super) async fn answer(mut questions: mpsc::Receiver<HistoryQuery>) {
    while let Some(HistoryQuery { from, to, step, mut view, reply }) = questions.recv().await {
        let (mut at, mut index) = (from, 0);
        while at <= to {
            view.take(&frame(at, index));
            (at, index) = (at + step, index + 1);
        }
        let _ = reply.send(view);
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
    samples.extend(waterfall::PARTS.into_iter().map(|part| Sample {
        metric: &catalogue::GPU_PART,
        labels: labels([("queue", "research".into()), ("part", part.into())]),
        value: Value::Gauge(32.0),
    }));
    Frame { at, samples, ..Frame::default() }
}

#[tokio::test]
async fn a_metric_is_told_by_series_with_a_value_for_each_moment() {
    let server = Server::start().await;
    let times = "from=2026-03-01T11:00:00Z&to=2026-03-01T12:00:00Z&step=30m";
    let told = server.get(&format!("/api/v1/history?metric=queue.wait.oldest&queue=research&{times}")).await.json();
    let series = |share: &str, values: serde_json::Value| json!({ "labels": { "queue": "research", "share": share }, "values": values });
    let expected = json!({
        "metric": "queue.wait.oldest",
        "stat": null,
        "at": ["2026-03-01T11:00:00Z", "2026-03-01T11:30:00Z", "2026-03-01T12:00:00Z"],
        "series": [series("audio", json!([0.0, 60.0, 120.0])), series("vision", json!([null, 1.0, 1.0]))],
    });
    assert_eq!(told, expected);
    let told = server.get(&format!("/api/v1/history?metric=queue.wait&share=audio&stat=max&{times}")).await.json();
    assert_eq!(told["series"], json!([series("audio", json!([100.0, 100.0, 100.0]))]));
    let told = server.get(&format!("/api/v1/history?metric=queue.wait&share=none&{times}")).await.json();
    assert_eq!((&told["stat"], &told["series"]), (&json!("p95"), &json!([])));
}

#[tokio::test]
async fn a_day_is_told_by_default_and_no_step_is_too_small() {
    let server = Server::start().await;
    let told = server.get("/api/v1/history?metric=queue.wait.oldest&to=2026-03-01T12:00:00Z").await.json();
    let at = told["at"].as_array().unwrap();
    assert_eq!((at.len(), &at[0], &at[200]), (201, &json!("2026-02-28T12:00:00Z"), &json!("2026-03-01T12:00:00Z")));
    let told = server.get("/api/v1/history?metric=queue.wait.oldest&step=1ms").await.json();
    assert_eq!(told["at"].as_array().unwrap().len(), 501);
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_told_what_would() {
    let server = Server::start().await;
    for (query, told) in [
        ("", "say which: metric="),
        ("metric=queue.weight", "there is no metric"),
        ("metric=poll.interval&queue=a", "has no label queue"),
        ("metric=queue.wait&stat=p42", "there are count, mean, p50"),
        ("metric=poll.interval&stat=p50", "is no distribution"),
        ("metric=queue.wait&from=yesterday", "2026-03-01T12:00:00Z"),
        ("metric=queue.wait&from=2026-03-01T12:00:00Z&to=2026-03-01T12:00:00Z", "before `to`"),
        ("metric=queue.wait&step=often", "30s, 5m or 1h"),
        ("metric=queue.wait&where=a", "there are metric, queue, share"),
        ("metric=queue.wait&metric=queue.wait", "given twice"),
    ] {
        let answer = server.get(&format!("/api/v1/history?{query}")).await;
        assert_eq!((answer.status, &*answer.error_code()), (400, "bad_request"), "{query}");
        assert!(answer.text().contains(told), "{query}: {}", answer.text());
    }
}
