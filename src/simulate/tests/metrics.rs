//! CloudWatch over CBOR.

use aws_sdk_cloudwatch::error::ProvideErrorMetadata;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::Dimension;
use aws_sdk_cloudwatch::types::Metric;
use aws_sdk_cloudwatch::types::MetricDataQuery;
use aws_sdk_cloudwatch::types::MetricDatum;
use aws_sdk_cloudwatch::types::MetricStat;

use crate::simulate::tests::account::Account;
use crate::simulate::tests::account::BEGAN;
use crate::simulate::tests::account::client;

const HOUR: i64 = 3_600;

fn dimension(name: &str, value: &str) -> Dimension {
    Dimension::builder().name(name).value(value).build()
}

fn query(id: &str, namespace: &str, name: &str, dimension: Dimension, stat: &str) -> MetricDataQuery {
    let metric = Metric::builder().namespace(namespace).metric_name(name).dimensions(dimension).build();
    let stat = MetricStat::builder().metric(metric).period(60).stat(stat).build();
    MetricDataQuery::builder().id(id).metric_stat(stat).build()
}

/// Seconds since the epoch, relative to the first job.
fn at(seconds: i64) -> DateTime {
    DateTime::from_secs(BEGAN.millis() / 1_000 + seconds)
}

#[tokio::test]
async fn what_is_put_can_be_read_and_listed_and_large_bodies_come_zipped() {
    let account = Account::open().await;
    let cloudwatch = client!(aws_sdk_cloudwatch, account);
    let datum = |n: u32| {
        MetricDatum::builder()
            .metric_name("queue.wait")
            .dimensions(dimension("share", &format!("s{n}")))
            .timestamp(at(HOUR))
            .set_values(Some(vec![1.0, 3.0]))
            .set_counts(Some(vec![f64::from(n) + 1.0, 1.0]))
            .build()
    };
    let data: Vec<_> = (0..1_000).map(datum).collect();
    cloudwatch.put_metric_data().namespace("Trainspotter").set_metric_data(Some(data)).send().await.unwrap();

    let queries = ["SampleCount", "Average", "Maximum", "p50"]
        .map(|stat| query(&stat.to_lowercase(), "Trainspotter", "queue.wait", dimension("share", "s2"), stat));
    let answer = cloudwatch
        .get_metric_data()
        .set_metric_data_queries(Some(queries.to_vec()))
        .start_time(at(HOUR - 60))
        .end_time(at(HOUR + 60))
        .send()
        .await
        .unwrap();
    let values: Vec<_> = answer.metric_data_results().iter().map(|series| series.values().to_vec()).collect();
    assert_eq!(values, [[4.0], [1.5], [3.0], [1.0]]);
    assert_eq!(answer.metric_data_results()[0].timestamps(), [at(HOUR)]);

    let mut pages = cloudwatch.list_metrics().namespace("Trainspotter").into_paginator().send();
    let (mut count, mut page_count) = (0, 0);
    while let Some(page) = pages.next().await {
        count += page.unwrap().metrics().len();
        page_count += 1;
    }
    assert_eq!((count, page_count), (1_000, 2));
    assert_eq!(account.sim("truth").await["published"]["cloudwatch_data"], 1_000);
}

#[tokio::test]
async fn refusals_carry_their_code() {
    let account = Account::open().await;
    let cloudwatch = client!(aws_sdk_cloudwatch, account);
    let datum = MetricDatum::builder().metric_name("m").value(f64::NAN).build();
    let error = cloudwatch.put_metric_data().namespace("n").metric_data(datum).send().await.unwrap_err();
    assert!(error.as_service_error().unwrap().is_invalid_parameter_value_exception(), "{error:?}");

    let many = (0..501).map(|n| query(&format!("q{n}"), "n", "m", dimension("a", "b"), "Average")).collect();
    let error = cloudwatch
        .get_metric_data()
        .set_metric_data_queries(Some(many))
        .start_time(at(0))
        .end_time(at(60))
        .send()
        .await
        .unwrap_err();
    assert!(error.message().unwrap().contains("500"), "{error:?}");
    let error = cloudwatch.describe_alarms().send().await.unwrap_err();
    assert!(error.message().unwrap().contains("DescribeAlarms"), "{error:?}");

    let faults = serde_json::json!({"throttle": {"operation": "ListMetrics", "count": 1}});
    account.arrange(faults).await;
    let error = cloudwatch.list_metrics().send().await.unwrap_err();
    // The code of the query protocol, which the SDK prefers where it is given.
    assert_eq!(error.code(), Some("Throttling"));
}

#[tokio::test]
async fn gpus_report_per_host_and_minute_while_their_container_runs() {
    let account = Account::open().await;
    let batch = client!(aws_sdk_batch, account);
    let cloudwatch = client!(aws_sdk_cloudwatch, account);
    let running = batch.list_service_jobs().job_queue("prod").send().await.unwrap().job_summary_list()[0].clone();
    let arn = running.latest_attempt().unwrap().service_resource_id().unwrap().value().unwrap().to_owned();
    let host = |n: u32| format!("{}/algo-{n}", arn.rsplit('/').next().unwrap());
    let queries: Vec<_> = (1..=3)
        .map(|n| {
            let host = dimension("Host", &host(n));
            query(&format!("h{n}"), "/aws/sagemaker/TrainingJobs", "GPUUtilization", host, "Average")
        })
        .collect();
    let answer = cloudwatch
        .get_metric_data()
        .set_metric_data_queries(Some(queries))
        .start_time(at(0))
        .end_time(at(HOUR + 600))
        .send()
        .await
        .unwrap();
    let [one, two, three] = answer.metric_data_results() else { panic!("{answer:?}") };
    assert!(three.values().is_empty(), "the job has two hosts");
    assert!(!one.values().is_empty() && one.values() != two.values(), "{answer:?}");
    for value in one.values().iter().chain(two.values()) {
        // 75 % of eight GPUs, give or take 5 %.
        assert!((570.0..=630.0).contains(value), "{value}");
    }
    let (newest, oldest) = (one.timestamps().first().unwrap(), one.timestamps().last().unwrap());
    assert!(oldest.to_millis().unwrap() >= running.started_at().unwrap(), "none before the container runs");
    assert_eq!(newest.secs(), at(HOUR - 120).secs(), "a minute is there a minute after its end");
    assert_eq!(newest.secs() - oldest.secs(), 60 * (one.values().len() as i64 - 1), "one a minute");

    let listed = cloudwatch
        .list_metrics()
        .dimensions(aws_sdk_cloudwatch::types::DimensionFilter::builder().name("Host").value(host(1)).build());
    let listed = listed.send().await.unwrap();
    let names: Vec<_> = listed.metrics().iter().filter_map(|metric| metric.metric_name()).collect();
    assert_eq!(names, ["GPUMemoryUtilization", "GPUUtilization"]);
}
