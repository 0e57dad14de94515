//! Single questions against a scripted endpoint: found, not found, and out of time.

use serde_json::{Value, json};

use super::*;
use crate::aws::scripted_endpoint;
use crate::aws::scripted_endpoint::{error, job, shown};
use crate::config::Poll;

#[tokio::test]
async fn jobs_and_training_jobs_are_described_gone_or_failed() {
    let (endpoint, _) =
        scripted_endpoint::serve(|operation, body| match (operation, body.get("jobId").and_then(Value::as_str)) {
            ("describeservicejob", Some("a")) => {
                let mut described = job("a", "FAILED", 10);
                described["jobQueue"] = json!("q");
                (200, described)
            }
            ("describeservicejob", Some("b")) => error(400, "ClientException", "Service job b does not exist"),
            ("describeservicejob", _) => error(403, "AccessDeniedException", "not you"),
            ("DescribeTrainingJob", _) if body["TrainingJobName"] == "t1" => (
                200,
                json!({
                    "TrainingJobName": "t1", "TrainingJobArn": "arn", "TrainingJobStatus": "InProgress",
                    "SecondaryStatusTransitions": [{"Status": "Training", "StartTime": 1_700_000_000.5}],
                }),
            ),
            _ => error(400, "ValidationException", "Requested resource not found."),
        })
        .await;
    let (mut poller, _, clock) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
    let questions = Questions {
        jobs: ["a", "b", "c", "d"].map(JobId::from).to_vec(),
        training_jobs: vec![("a".into(), "t1".into()), ("a".into(), "t0".into())],
        ..Questions::default()
    };
    let (out, mut from) = scripted_endpoint::channel();
    poller.answer(&questions, clock.now() + Duration::from_secs(3600), &out).await;
    let observations = scripted_endpoint::received(&mut from);
    let mut shown = shown(&observations);
    shown.sort();
    let expected = [
        "a FAILED",
        "descriptions answered",
        "descriptions failed: DescribeServiceJob: AccessDeniedException: not you (allow batch:DescribeServiceJob to the role: \
         deploy/iam-policy.json lists all required permissions) (and 1 more)",
        "gone b",
        "training job t0",
        "training job t1",
        "training_jobs answered",
        "utilisation answered",
    ];
    assert_eq!(shown, expected);
    let began = observations
        .iter()
        .find_map(|observation| if let Observation::TrainingJob(seen) = observation { seen.training_at } else { None });
    assert_eq!(began, Some(Timestamp::from_millis(1_700_000_000_500)));
}

#[tokio::test]
async fn asking_ends_at_the_deadline_and_keeps_to_the_budget() {
    let (endpoint, log) = scripted_endpoint::serve(|_, _| error(400, "ClientException", "does not exist")).await;
    let poll = Poll { calls_per_second: 0.05, ..scripted_endpoint::poll_config() };
    let (mut poller, _, clock) = scripted_endpoint::poller(&endpoint, poll).await;
    let jobs: Vec<JobId> = (0..1000).map(|n: u32| n.to_string().into()).collect();
    let (out, mut from) = scripted_endpoint::channel();
    let began = clock.now();
    let questions = Questions { jobs, ..Questions::default() };
    poller.answer(&questions, began + Duration::from_secs(400), &out).await;
    let spent = clock.now().seconds_since(began);
    let calls = log.lock().unwrap().len();
    assert!(calls >= 13, "{calls} calls");
    assert!(calls as f64 <= 5.0 + spent * 0.05 + 1.0, "{calls} calls in {spent} s");
    assert!(calls < 100, "{calls} calls");
    assert_eq!(
        scripted_endpoint::received(&mut from).iter().filter(|o| matches!(o, Observation::JobGone { .. })).count(),
        calls
    );
}

#[tokio::test]
async fn utilisation_is_asked_when_due_and_hosts_without_data_are_absent() {
    let (endpoint, log) = scripted_endpoint::serve(|operation, _| match operation {
        "GetMetricData" => (200, json!({"MetricDataResults": [
            {"Id": "h0", "StatusCode": "Complete", "Timestamps": ["@1700000060", "@1700000000"], "Values": [700.0, 100.0]},
            {"Id": "h1", "StatusCode": "Complete", "Timestamps": [], "Values": []},
        ]})),
        _ => error(400, "ClientException", "?"),
    })
    .await;
    let rarely = Poll { utilisation_every: Duration::from_secs(1_000_000), ..scripted_endpoint::poll_config() };
    let (mut poller, _, clock) = scripted_endpoint::poller(&endpoint, rarely).await;
    let hosts = vec![("a".into(), "t/algo-1".to_owned()), ("a".into(), "t/algo-2".to_owned())];
    let questions = Questions { hosts, ..Questions::default() };
    let (out, mut from) = scripted_endpoint::channel();
    let deadline = clock.now() + Duration::from_secs(3600);
    poller.answer(&questions, deadline, &out).await;
    let observations = scripted_endpoint::received(&mut from);
    let Some(Observation::Utilisation { hosts, .. }) = observations.first() else { panic!("{observations:?}") };
    let [host] = hosts.as_slice() else { panic!("{hosts:?}") };
    assert_eq!((host.host.as_str(), host.gpu_percent), ("t/algo-1", 400.0));
    assert_eq!(host.at, Timestamp::from_millis(1_700_000_120_000));
    assert_eq!(
        shown(&observations),
        ["utilisation of 1", "utilisation answered", "descriptions answered", "training_jobs answered"]
    );

    poller.answer(&questions, deadline, &out).await;
    assert_eq!(shown(&scripted_endpoint::received(&mut from)), ["descriptions answered", "training_jobs answered"]);
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_first_questions_are_asked_even_after_the_deadline() {
    let (endpoint, log) = scripted_endpoint::serve(|_, _| error(400, "ClientException", "does not exist")).await;
    let (mut poller, _, clock) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
    let jobs: Vec<JobId> = (0..100).map(|n: u32| n.to_string().into()).collect();
    let (out, mut from) = scripted_endpoint::channel();
    let questions = Questions { jobs, ..Questions::default() };
    poller.answer(&questions, clock.now(), &out).await;
    assert_eq!(log.lock().unwrap().len(), CONCURRENCY);
    assert_eq!(
        scripted_endpoint::received(&mut from).iter().filter(|o| matches!(o, Observation::JobGone { .. })).count(),
        CONCURRENCY
    );
}

#[tokio::test]
async fn hosts_beyond_what_is_asked_at_once_take_turns() {
    let (endpoint, _) = scripted_endpoint::serve(|_, _| (200, json!({"MetricDataResults": []}))).await;
    let often = Poll { utilisation_every: Duration::ZERO, ..scripted_endpoint::poll_config() };
    let (mut poller, clients, clock) = scripted_endpoint::poller(&endpoint, often).await;
    let all: Vec<(JobId, String)> = (0..6_000).map(|n: u32| ("a".into(), format!("t/algo-{n:05}"))).collect();
    let mut asked = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..12 {
        let turn = poller.hosts_in_turn(&all);
        assert_eq!(turn.len(), MAX_HOSTS);
        turn.into_iter().for_each(|(_, host)| *asked.entry(host).or_default() += 1);
        let (out, _from) = scripted_endpoint::channel();
        poller.measure(&all, clock.now() + Duration::from_secs(3_600), &out).await;
    }
    assert_eq!(asked.len(), all.len());
    let (least, most) = (asked.values().min().unwrap(), asked.values().max().unwrap());
    assert!(most - least <= 1, "between {least} and {most} times");
    assert_eq!(clients.limits().drain()["hosts_measured_at_once"], 24, "twelve looks and twelve polls");
    assert_eq!(poller.hosts_in_turn(&all[..10]).len(), 10);
}

#[tokio::test]
async fn endless_metrics_or_a_missing_list_are_a_failure_and_received_values_count() {
    for (answer, expected) in [
        (
            json!({"MetricDataResults": [{"Id": "h0", "StatusCode": "PartialData", "Timestamps": ["@1700000060"], "Values": [700.0]}],
                "NextToken": "again"}),
            ["utilisation of 1", "utilisation failed: GetMetricData: the listing does not end"],
        ),
        (
            json!({}),
            [
                "utilisation of 0",
                "utilisation failed: GetMetricData: the response lacks the required MetricDataResults",
            ],
        ),
    ] {
        let (endpoint, _) = scripted_endpoint::serve(move |_, _| (200, answer.clone())).await;
        let (mut poller, _, clock) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
        let (out, mut from) = scripted_endpoint::channel();
        let hosts = [("a".into(), "t/algo-1".to_owned())];
        poller.measure(&hosts, clock.now() + Duration::from_secs(3_600), &out).await;
        let shown = shown(&scripted_endpoint::received(&mut from));
        assert!(
            shown.len() == 2 && shown.iter().zip(expected).all(|(one, expected)| one.starts_with(expected)),
            "{shown:?}"
        );
    }
}

#[tokio::test]
async fn a_number_that_cannot_be_held_costs_no_description() {
    let (endpoint, _) = scripted_endpoint::serve(|operation, body| match operation {
        "describeservicejob" => {
            let id = body["jobId"].as_str().unwrap();
            let mut answer = job(id, "RUNNABLE", 10);
            answer["jobQueue"] = json!("q");
            // Values beyond 32 and 64 bits.
            answer["schedulingPriority"] = json!(8_000_000_000_000_i64);
            answer["stoppedAt"] = json!(1e30);
            answer["attempts"] = json!([{"startedAt": 1e25, "statusReason": "no"}]);
            (200, answer)
        }
        _ => (
            200,
            json!({"TrainingJobName": "t", "TrainingJobStatus": "InProgress", "CreationTime": 1e300,
                          "ResourceConfig": {"InstanceType": "ml.p5.48xlarge", "InstanceCount": 7_000_000_000_i64}}),
        ),
    })
    .await;
    let (mut poller, _, clock) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
    let (out, mut from) = scripted_endpoint::channel();
    let training_jobs = vec![("a".into(), "t".into())];
    let questions = Questions { jobs: vec!["a".into()], training_jobs, ..Questions::default() };
    poller.answer(&questions, clock.now() + Duration::from_secs(60), &out).await;
    let observations = scripted_endpoint::received(&mut from);
    let shown = scripted_endpoint::shown(&observations);
    assert!(shown.iter().all(|one| !one.contains("failed")), "{shown:?}");
    assert!(shown.contains(&"a RUNNABLE".to_owned()) && shown.contains(&"training job t".to_owned()), "{shown:?}");
    assert!(shown.contains(&"limit numbers_out_of_range 2".to_owned()), "{shown:?}");
    let described =
        observations.iter().find_map(|one| if let Observation::Jobs { jobs, .. } = one { jobs.first() } else { None });
    let described = described.unwrap();
    assert_eq!((described.details.as_ref().unwrap().priority, described.stopped_at), (None, None));
}

fn about(id: &str) -> Value {
    let mut described = job(id, "RUNNABLE", 10);
    described["jobQueue"] = json!("q");
    described
}

#[tokio::test]
async fn a_job_that_cannot_be_described_is_its_own_failure_and_not_the_sources() {
    let refused = "undescribed bad: DescribeServiceJob: ClientException: jobId is odd";
    let odd = "undescribed bad: DescribeServiceJob: the response has an unexpected format";
    let (answered, failed) = ("descriptions answered", "descriptions failed: DescribeServiceJob: ");
    let cases: [(&str, &[&str], &[&str]); 9] = [
        // Alone, or beside others: AWS says that it is about this request.
        ("refused", &["bad"], &[refused, answered]),
        ("refused", &["bad", "good"], &[refused, answered, "good RUNNABLE"]),
        // Of several that are all refused nobody knows whether the source is to blame.
        ("refused", &["bad", "bad1", "bad2"], &[refused, failed]),
        ("unparsable", &["bad", "good"], &[odd, answered, failed, "good RUNNABLE"]),
        ("unparsable", &["bad"], &[failed]),
        ("other", &["bad", "good"], &["undescribed bad: DescribeServiceJob: the response is about another job, good"]),
        ("broken", &["bad", "good"], &["undescribed bad: DescribeServiceJob: ServerException: sorry", failed]),
        ("denied", &["bad", "good"], &[answered, failed, "good RUNNABLE"]),
        ("proxy", &["bad", "good"], &[answered, failed, "good RUNNABLE"]),
    ];
    for (fault, jobs, expected) in cases {
        let (endpoint, _) = scripted_endpoint::serve(move |_, body| match body["jobId"].as_str() {
            Some("good") => (200, about("good")),
            _ => match fault {
                "refused" => error(400, "ClientException", "jobId is odd"),
                "unparsable" => {
                    (200, json!({"jobId": "bad", "jobQueue": "q", "status": "RUNNABLE", "attempts": "none"}))
                }
                "other" => (200, about("good")),
                "broken" => error(500, "ServerException", "sorry"),
                "denied" => error(403, "AccessDeniedException", "not you"),
                _ => (200, json!("<html>")),
            },
        })
        .await;
        let (mut poller, _, clock) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
        let questions = Questions { jobs: jobs.iter().map(|id| JobId::from(*id)).collect(), ..Questions::default() };
        let (out, mut from) = scripted_endpoint::channel();
        poller.answer(&questions, clock.now() + Duration::from_secs(3_600), &out).await;
        let mut shown = shown(&scripted_endpoint::received(&mut from));
        shown.retain(|text| !text.starts_with("training_jobs") && !text.starts_with("utilisation"));
        for begins in expected {
            assert!(
                shown.iter().any(|text| text.starts_with(begins)),
                "{fault} {jobs:?}: {begins} is not in {shown:#?}"
            );
        }
        let count = |begins: &str| shown.iter().filter(|text| text.starts_with(begins)).count();
        let expected = |begins: &str| expected.iter().filter(|text| text.starts_with(begins)).count();
        if fault != "other" && fault != "broken" {
            assert_eq!(count("descriptions"), expected("descriptions"), "{fault} {jobs:?}: {shown:#?}");
        }
        if matches!(fault, "denied" | "proxy") {
            assert_eq!(count("undescribed"), 0, "{fault}: the source's fault is no job's: {shown:#?}");
        }
        if jobs.len() == 2 && fault == "unparsable" {
            assert!(shown.iter().any(|text| text.ends_with(", about bad")), "{shown:#?}");
        }
    }
}

#[tokio::test]
async fn a_training_job_that_cannot_be_described_is_named() {
    let (endpoint, _) = scripted_endpoint::serve(|_, _| error(400, "ValidationException", "the name is odd")).await;
    let (mut poller, _, clock) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
    let questions = Questions {
        training_jobs: vec![("a".into(), "t1".into())],
        outside: vec!["t2".into()],
        ..Questions::default()
    };
    let (out, mut from) = scripted_endpoint::channel();
    poller.answer(&questions, clock.now() + Duration::from_secs(3_600), &out).await;
    let shown = shown(&scripted_endpoint::received(&mut from));
    let text = |name: &str| format!("undescribed {name}: DescribeTrainingJob: ValidationException: the name is odd");
    assert_eq!(
        shown,
        ["utilisation answered", "descriptions answered", "training_jobs answered", &text("t1"), &text("t2")]
    );
}

#[tokio::test]
async fn a_source_that_refuses_everything_fails_until_it_describes_something() {
    let (endpoint, _) = scripted_endpoint::serve(|_, body| match body["jobId"].as_str() {
        Some("good") => (200, about("good")),
        _ => error(400, "ClientException", "jobId is odd"),
    })
    .await;
    let (mut poller, _, clock) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
    let mut described = async |jobs: &[&str], refused: &[Source]| {
        let jobs = jobs.iter().map(|id| JobId::from(*id)).collect();
        let questions = Questions { jobs, refused: refused.iter().copied().collect(), ..Questions::default() };
        let (out, mut from) = scripted_endpoint::channel();
        poller.answer(&questions, clock.now() + Duration::from_secs(3_600), &out).await;
        let received = scripted_endpoint::received(&mut from);
        let own = received.iter().filter(|seen| matches!(seen, Observation::Undescribed { is_own: true, .. })).count();
        let shown = shown(&received);
        let one = |begins: &str| shown.iter().any(|text| text.starts_with(begins));
        let failed = "descriptions failed: DescribeServiceJob: ClientException: jobId is odd";
        (one("descriptions answered"), one(failed), own)
    };
    let refused = [Source::Descriptions];
    assert_eq!(described(&["a", "b"], &[]).await, (true, false, 2));
    assert_eq!(described(&["a", "b", "c"], &[]).await, (false, true, 0), "the source may be to blame");
    assert_eq!(described(&[], &refused).await, (false, false, 0), "not asked is not answered");
    assert_eq!(described(&["d"], &refused).await, (false, true, 0), "it still refuses everything");
    assert_eq!(described(&["a", "b", "c", "good"], &refused).await, (true, false, 3), "they are odd");
    assert_eq!(described(&[], &refused).await, (true, false, 0));
    assert_eq!(described(&["d"], &refused).await, (true, false, 1));
    assert_eq!(described(&["a", "b", "c"], &[]).await, (false, true, 0));
    assert_eq!(described(&[], &[]).await, (true, false, 0), "none is left");
    assert_eq!(described(&["d"], &[]).await, (true, false, 1));

    let (out, mut from) = scripted_endpoint::channel();
    let jobs = ["a", "b", "c"].map(JobId::from).to_vec();
    poller.describe_hinted(jobs, clock.now() + Duration::from_secs(60), &out).await;
    let shown = shown(&scripted_endpoint::received(&mut from));
    assert!(shown.iter().all(|text| text.starts_with("undescribed ")), "events say little about the source: {shown:?}");
}
