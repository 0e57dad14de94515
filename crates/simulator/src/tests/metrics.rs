//! CloudWatch: metrics that are put, GPU metrics of hosts, metrics of Batch, alarms and dashboards, in every protocol.

use std::time::Duration;

use aws_sdk_batch::types::ServiceJobStatus;
use aws_sdk_cloudwatch::error::ProvideErrorMetadata;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::Dimension;
use aws_sdk_cloudwatch::types::Metric;
use aws_sdk_cloudwatch::types::MetricDataQuery;
use aws_sdk_cloudwatch::types::MetricDatum;
use aws_sdk_cloudwatch::types::MetricStat;

use serde_json::json;

use crate::tests::fixture::Account;
use crate::tests::fixture::BEGAN;
use crate::tests::fixture::JOBS;
use crate::tests::fixture::client;

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
    let error = cloudwatch.describe_alarm_history().send().await.unwrap_err();
    assert!(error.message().unwrap().contains("DescribeAlarmHistory"), "{error:?}");

    let faults = serde_json::json!({"throttle": {"operation": "ListMetrics", "count": 1}});
    account.arrange(faults).await;
    let error = cloudwatch.list_metrics().send().await.unwrap_err();
    // The code of the query protocol, which the SDK prefers if present.
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

#[tokio::test]
async fn shapes_of_gpu_use_differ_by_host_and_memory() {
    let account = Account::open().await;
    let cloudwatch = client!(aws_sdk_cloudwatch, account);
    let submitted = account
        .control(serde_json::json!({
            "submit": {"queue": "dev", "name": "dead", "instance_type": "ml.p5.48xlarge", "instances": 2, "lasts": "1h", "shape": "dead_host"},
            "advance": "1h",
        }))
        .await["submitted"][0]
        .clone();
    let measure = async || {
        let jobs = account.sim("truth/jobs?limit=1000").await;
        let job = jobs["jobs"].as_array().unwrap().iter().find(|job| job["id"] == submitted).unwrap().clone();
        let host = |n: u32| format!("{}/algo-{n}", job["training_job"].as_str().unwrap());
        let queries = [(1, "GPUUtilization"), (2, "GPUUtilization"), (1, "GPUMemoryUtilization")].map(|(n, name)| {
            let host = dimension("Host", &host(n));
            query(&format!("{}{n}", name.to_lowercase()), "/aws/sagemaker/TrainingJobs", name, host, "Average")
        });
        let answer = cloudwatch
            .get_metric_data()
            .set_metric_data_queries(Some(queries.to_vec()))
            .start_time(at(HOUR))
            .end_time(at(3 * HOUR))
            .send()
            .await
            .unwrap();
        answer.metric_data_results().iter().map(|series| series.values()[0] / 8.0).collect::<Vec<_>>()
    };
    let dead = measure().await;
    assert!(dead[0] > 70.0 && dead[1] < 5.0 && dead[2] > 50.0, "{dead:?}");
    account.control(serde_json::json!({"shape": {"job": submitted, "shape": "memory_loaded"}})).await;
    let loaded = measure().await;
    assert!(loaded[0] < 5.0 && loaded[1] < 5.0 && loaded[2] > 80.0, "{loaded:?}");
}

#[tokio::test]
async fn alarms_and_dashboards_are_kept_and_described() {
    use aws_sdk_cloudwatch::types::ComparisonOperator;
    use aws_sdk_cloudwatch::types::Statistic;
    let account = Account::open().await;
    let cloudwatch = client!(aws_sdk_cloudwatch, account);
    let alarm = || {
        cloudwatch
            .put_metric_alarm()
            .alarm_name("long-waits")
            .namespace("Trainspotter")
            .metric_name("queue.wait.oldest")
            .statistic(Statistic::Maximum)
            .period(60)
            .evaluation_periods(3)
            .threshold(1_800.0)
            .comparison_operator(ComparisonOperator::GreaterThanThreshold)
            .ok_actions("arn:aws:sns:us-east-1:123456789012:alerts")
    };
    alarm().send().await.unwrap();
    let error = alarm().period(61).send().await.unwrap_err();
    assert_eq!(error.code(), Some("ValidationError"));
    let described = cloudwatch.describe_alarms().alarm_name_prefix("long").send().await.unwrap();
    let [described] = described.metric_alarms() else { panic!("{described:?}") };
    assert_eq!((described.alarm_name(), described.threshold()), (Some("long-waits"), Some(1_800.0)));
    assert_eq!(described.state_value().map(|state| state.as_str()), Some("INSUFFICIENT_DATA"));
    assert_eq!(described.state_updated_timestamp().unwrap().secs(), at(HOUR).secs());
    cloudwatch.delete_alarms().alarm_names("long-waits").send().await.unwrap();
    let error = cloudwatch.delete_alarms().alarm_names("long-waits").send().await.unwrap_err();
    assert!(error.as_service_error().unwrap().is_resource_not_found(), "{error:?}");

    let put = |body: &str| cloudwatch.put_dashboard().dashboard_name("queues").dashboard_body(body);
    let body = r#"{"widgets": [{"type": "text", "properties": {"markdown": "hello"}}], "odd": 1}"#;
    let doubts = put(body).send().await.unwrap();
    assert_eq!(doubts.dashboard_validation_messages()[0].data_path(), Some("/odd"));
    let error = put(r#"{"widgets": [{"type": "text", "properties": {}}]}"#).send().await.unwrap_err();
    assert!(error.message().unwrap().contains("markdown"), "{error:?}");
    let got = cloudwatch.get_dashboard().dashboard_name("queues").send().await.unwrap();
    assert_eq!(got.dashboard_body(), Some(body), "what was refused changes nothing");
    let listed = cloudwatch.list_dashboards().send().await.unwrap();
    assert_eq!(listed.dashboard_entries()[0].size(), Some(body.len() as i64));
    cloudwatch.delete_dashboards().dashboard_names("queues").send().await.unwrap();
    let error = cloudwatch.get_dashboard().dashboard_name("queues").send().await.unwrap_err();
    assert_eq!(error.code(), Some("ResourceNotFound"));
}

#[tokio::test]
async fn statistics_come_in_any_protocol() {
    let account = Account::open().await;
    let cloudwatch = client!(aws_sdk_cloudwatch, account);
    let form = async |members: &str| {
        let body = format!("Version=2010-08-01&{members}");
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        let request = reqwest::Client::new().post(&account.url).header("content-type", kind).body(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let began = at(HOUR - 60).fmt(aws_sdk_cloudwatch::primitives::DateTimeFormat::DateTime).unwrap();
    let datum = "MetricData.member.1.MetricName=m&MetricData.member.1.Unit=Seconds";
    let values = "MetricData.member.1.Values.member.1=1&MetricData.member.1.Values.member.2=3";
    let put = format!("Action=PutMetricData&Namespace=n&{datum}&{values}&MetricData.member.1.Timestamp={began}");
    let (status, answer) = form(&put).await;
    assert_eq!(status, 200, "{answer}");
    let read = cloudwatch
        .get_metric_statistics()
        .namespace("n")
        .metric_name("m")
        .start_time(at(HOUR - 120))
        .end_time(at(HOUR))
        .period(60)
        .statistics(aws_sdk_cloudwatch::types::Statistic::Average)
        .send()
        .await
        .unwrap();
    let [point] = read.datapoints() else { panic!("{read:?}") };
    assert_eq!((point.average(), point.timestamp()), (Some(2.0), Some(&at(HOUR - 60))));
    assert_eq!(point.unit().map(|unit| unit.as_str()), Some("Seconds"));

    let until = at(HOUR).fmt(aws_sdk_cloudwatch::primitives::DateTimeFormat::DateTime).unwrap();
    let read = format!(
        "Action=GetMetricStatistics&Namespace=n&MetricName=m&Period=60&StartTime={began}&EndTime={until}\
         &ExtendedStatistics.member.1=p99"
    );
    let (status, answer) = form(&read).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains(&format!("<Datapoints><member><Timestamp>{began}</Timestamp>")), "{answer}");
    assert!(answer.contains("<entry><key>p99</key><value>3</value></entry>"), "{answer}");
    let (status, answer) = form("Action=PutMetricData&Namespace=:n").await;
    assert_eq!(status, 400);
    assert!(answer.contains("<Code>InvalidParameterValue</Code>"), "{answer}");
}

/// Statistics of `AWS/Batch` for a queue in the first hour.
async fn native(cloudwatch: &aws_sdk_cloudwatch::Client, queue: &str, name: &str, stat: &str) -> Vec<f64> {
    let metric =
        Metric::builder().namespace("AWS/Batch").metric_name(name).dimensions(dimension("JobQueueName", queue));
    let stat = MetricStat::builder().metric(metric.build()).period(3_600).stat(stat).build();
    let query = MetricDataQuery::builder().id("a").metric_stat(stat).build();
    values(cloudwatch, query).await.remove(0)
}

async fn values(cloudwatch: &aws_sdk_cloudwatch::Client, query: MetricDataQuery) -> Vec<Vec<f64>> {
    let from = DateTime::from_millis(BEGAN.millis());
    let to = DateTime::from_millis(BEGAN.millis() + 2 * 3_600_000);
    let get = cloudwatch.get_metric_data().metric_data_queries(query).start_time(from).end_time(to);
    get.send().await.unwrap().metric_data_results().iter().map(|series| series.values().to_vec()).collect()
}

#[tokio::test]
async fn batch_publishes_transitions_and_durations_of_each_queue() {
    let account = Account::open().await;
    account.control(json!({"pause": true})).await;
    let cloudwatch = client!(aws_sdk_cloudwatch, account);
    let batch = client!(aws_sdk_batch, account);
    let total = async |name: &str| native(&cloudwatch, "prod", name, "Sum").await.iter().sum::<f64>();
    let truth = account.sim("truth").await;
    let states = &truth["queues"][0]["jobs"];
    assert_eq!(total("JobsSubmitted").await, JOBS as f64);
    assert_eq!(total("JobsMovedToSucceeded").await, states["succeeded"].as_f64().unwrap());
    let dispatched = total("JobsMovedToScheduled").await;
    assert!(dispatched > 0.0 && total("JobsMovedToStarting").await <= dispatched);
    let waits = truth["waits"].as_array().unwrap().iter().filter(|wait| wait["queue"] == "prod");
    let first: f64 = waits.filter_map(|wait| wait["count"].as_f64()).sum();
    assert_eq!(native(&cloudwatch, "prod", "JobSubmittedToFirstScheduledDuration", "SampleCount").await, [first]);
    assert_eq!(dispatched - first, total("JobsPreempted").await, "the others went again after a preemption");
    let run = native(&cloudwatch, "prod", "JobAttemptExecutionDuration", "p50").await;
    assert_eq!(run, [Duration::from_mins(20).as_millis() as f64], "in milliseconds");
    let whole = native(&cloudwatch, "prod", "JobAttemptDuration", "Maximum").await[0];
    assert!(whole > run[0], "with what comes before it runs: {whole}");
    assert_eq!(native(&cloudwatch, "dev", "JobsMovedToFailed", "Sum").await, [1.0]);
    assert!(native(&cloudwatch, "dev", "JobsPreempted", "Sum").await.is_empty(), "nothing where nothing happened");

    let waiting =
        batch.list_service_jobs().job_queue("prod").job_status(ServiceJobStatus::Runnable).send().await.unwrap();
    let id = waiting.job_summary_list()[0].job_id().unwrap();
    batch.terminate_service_job().job_id(id).reason("enough").send().await.unwrap();
    let expression = "SEARCH('{\"AWS/Batch\",JobQueueName} MetricName=\"JobsTerminated\"', 'Sum', 3600)";
    let search = MetricDataQuery::builder().id("s").expression(expression).build();
    assert_eq!(values(&cloudwatch, search).await, [[1.0]]);
    let put = account.sim("truth").await["published"]["cloudwatch_data"].clone();
    assert_eq!(put, truth["published"]["cloudwatch_data"], "what AWS publishes was put by no client");
}
