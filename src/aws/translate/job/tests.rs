//! Jobs and snapshots as AWS might send them, valid and invalid.

use aws_sdk_batch::types::{
    FairshareCapacityUsage, FairshareCapacityUtilization, FairshareUtilizationDetail, FrontOfQueueDetail,
    FrontOfQueueJobSummary, FrontOfQuotaShareJobSummary, FrontOfQuotaSharesDetail, QueueSnapshotCapacityUsage,
    QueueSnapshotUtilizationDetail, QuotaShareCapacityUsage, QuotaShareCapacityUtilization,
    QuotaShareUtilizationDetail, ServiceJobCapacityUsageDetail, ServiceJobPreemptionConfiguration,
    ServiceJobPreemptionSummary, ServiceJobRetryStrategy, ServiceJobStatus, ServiceResourceIdName,
};

use super::*;
use crate::aws::job_summary::{LatestAttempt, Quantity, ResourceId};
use trainspotter_core::model::JobStatus;
use trainspotter_core::model::Observation;

const ARN: &str = "arn:aws:sagemaker:us-east-1:123456789012:training-job/AWSBatchnightly0123";

fn some(text: &str) -> Option<Text<'_>> {
    Some(Text(text.into()))
}

fn at(millis: i64) -> Option<Millis> {
    Some(Millis(millis))
}

fn summary() -> Summary<'static> {
    Summary { job_id: some("j1"), created_at: at(1_000), ..Summary::default() }
}

fn resource(arn: &str) -> ServiceResourceId {
    ServiceResourceId::builder().name(ServiceResourceIdName::from("TrainingJobArn")).value(arn).build()
}

fn translate(job: Summary<'_>) -> (Option<JobSeen>, Vec<Observation>) {
    let mut unknowns = Unknowns::default();
    let job = ListedJobs::new(&"q".into()).next(&job, &mut unknowns);
    (job, unknowns.into_observations().collect())
}

fn described(
    build: impl FnOnce(
        aws_sdk_batch::operation::describe_service_job::builders::DescribeServiceJobOutputBuilder,
    ) -> aws_sdk_batch::operation::describe_service_job::builders::DescribeServiceJobOutputBuilder,
) -> (Option<JobSeen>, Vec<Observation>) {
    let builder = DescribeServiceJobOutput::builder()
        .job_id("j1")
        .job_name("nightly")
        .job_queue("arn:aws:batch:us-east-1:123456789012:job-queue/q")
        .created_at(1_000)
        .started_at(0)
        .status(ServiceJobStatus::Runnable);
    let mut unknowns = Unknowns::default();
    let job = described_job(&build(builder).build(), &mut unknowns);
    (job, unknowns.into_observations().collect())
}

#[test]
fn a_listed_job_in_full() {
    let usage = CapacityUsage { capacity_unit: some("ml.p5.48xlarge"), quantity: Some(Quantity(2.0)) };
    let (job, unknown) = translate(Summary {
        job_arn: some("arn:job"),
        job_name: some("nightly"),
        status: some("RUNNING"),
        status_reason: some("because"),
        scheduled_at: at(2_000),
        started_at: at(3_000),
        stopped_at: at(0),
        quota_share_name: some("research"),
        capacity_usage: Some(vec![usage]),
        latest_attempt: Some(LatestAttempt { service_resource_id: Some(ResourceId { value: some(ARN) }) }),
        is_terminated: Some(true),
        ..summary()
    });
    let expected = JobSeen {
        id: "j1".into(),
        name: "nightly".into(),
        queue: "q".into(),
        share: Some("research".into()),
        status: JobStatus::Running,
        status_reason: Some("because".into()),
        created_at: Timestamp::from_millis(1_000_000),
        scheduled_at: Some(Timestamp::from_millis(2_000_000)),
        started_at: Some(Timestamp::from_millis(3_000_000)),
        stopped_at: None,
        demand: vec![Capacity::new("ml.p5.48xlarge", 2.0)].into(),
        training_job: Some("AWSBatchnightly0123".into()),
        odd_arn: Some(Arc::new("arn:job".to_owned())),
        terminated: true,
        details: None,
    };
    assert_eq!((job, unknown), (Some(expected), vec![]));
}

#[test]
fn a_job_shares_what_it_has_in_common_with_the_one_before_and_nothing_else() {
    let usage = |unit, quantity| CapacityUsage { capacity_unit: some(unit), quantity: Some(Quantity(quantity)) };
    let (queue, mut unknowns) = ("q".into(), Unknowns::default());
    let mut jobs = ListedJobs::new(&queue);
    for (share, demand) in [
        ("a", vec![("NUM_INSTANCES", 1.0)]),
        ("a", vec![("NUM_INSTANCES", 1.0)]),
        ("b", vec![("NUM_INSTANCES", 2.0)]),
        ("a", vec![("ml.p5.48xlarge", 2.0)]),
        ("", vec![]),
        ("a", vec![("ml.p5.48xlarge", 2.0), ("NUM_INSTANCES", 1.0)]),
        ("a", vec![("ml.p5.48xlarge", 2.0)]),
    ] {
        let capacity_usage = Some(demand.iter().map(|(unit, quantity)| usage(unit, *quantity)).collect());
        let job = Summary { quota_share_name: some(share), capacity_usage, ..summary() };
        let job = jobs.next(&job, &mut unknowns).unwrap();
        let demand: Vec<_> = demand.into_iter().map(|(unit, quantity)| Capacity::new(unit, quantity)).collect();
        assert_eq!((job.share, job.demand), (present(Some(share)).map(ShareName::from), demand.into()));
    }
}

#[test]
fn every_known_status_is_known_and_others_are_kept_and_noted() {
    for known in JobStatus::KNOWN {
        let (job, unknown) = translate(Summary { status: some(known.as_str()), ..summary() });
        assert_eq!((job.unwrap().status, unknown), (known, vec![]));
    }
    let (long, cut) = ("S".repeat(1_000_000), format!("{}...", "S".repeat(100)));
    for (status, spelt) in [(some("HIBERNATING"), "HIBERNATING"), (None, "no value was set"), (some(&long), &cut)] {
        let (job, unknown) = translate(Summary { status, ..summary() });
        assert_eq!(job.unwrap().status, JobStatus::Unknown(Arc::new(spelt.to_owned())));
        assert_eq!(unknown, vec![Observation::UnknownValue { kind: "job_status", value: spelt.to_owned() }]);
    }
}

#[test]
fn what_cannot_be_followed_is_left_out_and_noted() {
    let noted = |kind, value: &str| vec![Observation::UnknownValue { kind, value: value.to_owned() }];
    for (job, expected) in [
        (Summary { job_id: None, ..summary() }, noted("job_without_id", "")),
        (Summary { job_id: some(""), ..summary() }, noted("job_without_id", "")),
        (Summary { created_at: None, ..summary() }, noted("job_without_created_at", "j1")),
        (Summary { created_at: at(0), ..summary() }, noted("job_without_created_at", "j1")),
        (Summary { created_at: at(-5), ..summary() }, noted("job_without_created_at", "j1")),
    ] {
        assert_eq!(translate(job), (None, expected));
    }
    assert_eq!(described(|job| job.job_queue("")), (None, noted("job_without_queue", "j1")));
}

#[test]
fn a_share_is_a_quota_share_or_an_identifier() {
    for (quota, identifier, expected) in [
        (None, None, None),
        (Some("a"), None, Some("a")),
        (None, Some("b"), Some("b")),
        (Some("a"), Some("b"), Some("a")),
        (Some(""), Some("b"), Some("b")),
        (Some(""), Some(""), None),
    ] {
        assert_eq!(share_name(quota, identifier), expected, "{quota:?} {identifier:?}");
    }
}

#[test]
fn training_jobs_are_named_by_their_arn() {
    for (arn, expected) in [
        (ARN, Some("AWSBatchnightly0123")),
        ("arn:aws-cn:sagemaker:cn-north-1:1:training-job/plain", Some("plain")),
        ("arn:aws:sagemaker:us-east-1:1:training-job/", None),
        ("arn:aws:sagemaker:us-east-1:1:processing-job/x", None),
        ("plain", None),
        ("", None),
    ] {
        assert_eq!(training_job(Some(&resource(arn))), expected.map(TrainingJobName::from), "{arn:?}");
    }
    assert_eq!(training_job(Some(&ServiceResourceId::builder().build())), None);
}

#[test]
fn started_at_zero_is_not_started() {
    let (job, unknown) = described(|job| job);
    let job = job.unwrap();
    assert_eq!((job.started_at, job.scheduled_at, unknown), (None, None, vec![]));
    assert_eq!(job.queue, "q".into());
    assert_eq!(job.details, Some(Box::default()));
}

#[test]
fn demand_comes_from_the_payload_if_it_is_complete() {
    let from_usage = vec![Capacity::new("NUM_INSTANCES", 7.0)];
    let one = |name: &str, count| vec![Capacity::new(name, count)];
    for (payload, expected) in [
        (r#"{"ResourceConfig":{"InstanceType":"ml.p5.48xlarge","InstanceCount":2}}"#, one("ml.p5.48xlarge", 2.0)),
        (
            r#"{"ResourceConfig":{"InstanceGroups":[
                {"InstanceType":"ml.p4d.24xlarge","InstanceCount":2,"InstanceGroupName":"a"},
                {"InstanceType":"ml.m5.large","InstanceCount":1},
                {"InstanceType":"ml.p4d.24xlarge","InstanceCount":3}]}}"#,
            vec![
                Capacity::new("ml.p4d.24xlarge", 2.0),
                Capacity::new("ml.m5.large", 1.0),
                Capacity::new("ml.p4d.24xlarge", 3.0),
            ],
        ),
        (
            r#"{"ResourceConfig":{"InstanceGroups":[
                {"InstanceType":"ml.g5.xlarge","InstanceCount":0},{"InstanceType":"ml.m5.large","InstanceCount":1}]}}"#,
            one("ml.m5.large", 1.0),
        ),
        (
            r#"{"ResourceConfig":{"InstanceGroups":[],"InstanceType":"ml.g5.xlarge","InstanceCount":1}}"#,
            one("ml.g5.xlarge", 1.0),
        ),
        (r#"{"ResourceConfig":{"InstanceGroups":[{"InstanceType":"ml.m5.large"}]}}"#, from_usage.clone()),
        (r#"{"ResourceConfig":{"InstancePreferences":[{"InstanceType":"ml.p5.48xlarge"}]}}"#, from_usage.clone()),
        (r#"{"ResourceConfig":{"InstanceType":"ml.p5.48xlarge"}}"#, from_usage.clone()),
        (r#"{"ResourceConfig":{"InstanceType":"ml.p5.48xlarge","InstanceCount":0}}"#, from_usage.clone()),
        (r#"{"ResourceConfig":{"InstanceType":"ml.p5.48xlarge","InstanceCount":"2"}}"#, from_usage.clone()),
        (r#"{"ResourceConfig":{"InstanceType":8,"InstanceCount":2}}"#, from_usage.clone()),
        (r#"{"ResourceConfig":null}"#, from_usage.clone()),
        ("{}", from_usage.clone()),
        ("[1]", from_usage.clone()),
        ("not json", from_usage.clone()),
        ("", from_usage.clone()),
    ] {
        let usage = ServiceJobCapacityUsageDetail::builder().capacity_unit("NUM_INSTANCES").quantity(7.0).build();
        let (job, unknown) = described(|job| job.capacity_usage(usage).service_request_payload(payload));
        assert_eq!((job.unwrap().demand, unknown), (expected.into(), vec![]), "{payload}");
    }
    for odd in ["1e308", "-1", "1.5", "2000000"] {
        let payload = format!(r#"{{"ResourceConfig":{{"InstanceType":"ml.p5.48xlarge","InstanceCount":{odd}}}}}"#);
        let (job, unknown) = described(|job| job.service_request_payload(payload));
        let noted = format!("{:?}", odd.parse::<f64>().unwrap());
        assert_eq!(job.unwrap().demand, vec![].into(), "{odd}");
        assert_eq!(unknown, vec![Observation::UnknownValue { kind: "instance_count", value: noted }]);
    }
    let future = r#"{"ResourceConfig":{"InstanceType":"ml.p9.48xlarge","InstanceCount":2}}"#;
    let (job, unknown) = described(|job| job.service_request_payload(future));
    assert_eq!(job.unwrap().demand, one("ml.p9.48xlarge", 2.0).into());
    assert_eq!(unknown, vec![Observation::UnknownValue { kind: "instance_type", value: "ml.p9.48xlarge".to_owned() }]);
}

#[test]
fn attempts_and_preemptions_come_oldest_first() {
    let attempt = |start, stop| ServiceJobAttemptDetail::builder().started_at(start).stopped_at(stop).build();
    let preempted = |start, stop| {
        ServiceJobPreemptedAttempt::builder().started_at(start).stopped_at(stop).status_reason("reclaimed").build()
    };
    let summary = ServiceJobPreemptionSummary::builder()
        .preempted_attempt_count(12)
        .recent_preempted_attempts(preempted(0, 900))
        .recent_preempted_attempts(preempted(100, 200))
        .build();
    let named = ServiceJobAttemptDetail::builder()
        .started_at(500)
        .stopped_at(600)
        .status_reason("Received status from SageMaker:InternalServerError")
        .service_resource_id(resource(ARN))
        .build();
    let (job, _) = described(|job| {
        job.scheduling_priority(7)
            .attempts(named)
            .attempts(attempt(0, 50))
            .attempts(attempt(300, 400))
            .preemption_summary(summary)
            .tags("of", "another")
            .tags("owner", "vision")
            .retry_strategy(ServiceJobRetryStrategy::builder().attempts(5).build())
            .preemption_configuration(
                ServiceJobPreemptionConfiguration::builder().preemption_retries_before_termination(20).build(),
            )
    });
    let details = job.unwrap().details.unwrap();
    let at = |seconds: i64| Some(Timestamp::from_millis(seconds * 1_000));
    assert_eq!(details.priority, Some(7));
    assert_eq!(details.attempts.iter().map(|a| a.started_at).collect::<Vec<_>>(), vec![None, at(300), at(500)]);
    assert_eq!(details.attempts[2].training_job, Some("AWSBatchnightly0123".into()));
    assert_eq!(details.preemptions, 12);
    assert_eq!(details.preempted.iter().map(|a| a.stopped_at).collect::<Vec<_>>(), vec![at(200), at(900)]);
    // Three of five attempts are over and one is running.
    assert_eq!((details.retries_left(), details.preemptions_left()), (Some(1), Some(8)));
    assert_eq!(details.preempted[1].started_at, None);
    assert_eq!(details.owner.as_deref(), Some("vision"));
    for odd in [-1, i32::MAX] {
        let summary = ServiceJobPreemptionSummary::builder().preempted_attempt_count(odd).build();
        let (job, unknown) = described(|job| job.preemption_summary(summary));
        let details = job.unwrap().details.unwrap();
        assert_eq!((details.preemptions, details.retries_left(), details.preemptions_left()), (0, None, None));
        let value = odd.to_string();
        assert_eq!(unknown, vec![Observation::UnknownValue { kind: "preempted_attempt_count", value }]);
    }
}

#[test]
fn a_snapshot_has_the_front_and_the_use_by_share() {
    let front = FrontOfQueueDetail::builder()
        .jobs(FrontOfQueueJobSummary::builder().job_arn("arn:1").earliest_time_at_position(10).build())
        .jobs(FrontOfQueueJobSummary::builder().earliest_time_at_position(10).build())
        .last_updated_at(100)
        .build();
    let first = |arn: &str, since| {
        vec![FrontOfQuotaShareJobSummary::builder().job_arn(arn).earliest_time_at_position(since).build()]
    };
    let firsts = FrontOfQuotaSharesDetail::builder()
        .quota_shares("a", first("arn:late", 30))
        .quota_shares("b", first("arn:early", 20))
        .quota_shares("c", first("arn:1", 10))
        .quota_shares("d", vec![])
        .last_updated_at(50)
        .build();
    let fair = FairshareCapacityUtilization::builder()
        .share_identifier("fair")
        .capacity_usage(FairshareCapacityUsage::builder().capacity_unit("NUM_INSTANCES").quantity(2.0).build())
        .build();
    let quota = QuotaShareCapacityUtilization::builder()
        .quota_share_name("quota")
        .capacity_usage(QuotaShareCapacityUsage::builder().capacity_unit("ml.p5.48xlarge").quantity(3.0).build())
        .build();
    let utilisation = QueueSnapshotUtilizationDetail::builder()
        .total_capacity_usage(
            QueueSnapshotCapacityUsage::builder().capacity_unit("NUM_INSTANCES").quantity(5.0).build(),
        )
        .fairshare_utilization(FairshareUtilizationDetail::builder().top_capacity_utilization(fair).build())
        .quota_share_utilization(QuotaShareUtilizationDetail::builder().top_capacity_utilization(quota).build())
        .last_updated_at(90)
        .build();
    let answer = GetJobQueueSnapshotOutput::builder()
        .front_of_queue(front)
        .front_of_quota_shares(firsts)
        .queue_utilization(utilisation)
        .build();
    let at = Timestamp::from_millis(1_000);
    let seen = snapshot(&answer, &"q".into(), at, &mut Unknowns::default());
    let position =
        |arn: &str, since| Position { job_arn: arn.to_owned(), since: Some(Timestamp::from_secs_f64(since)) };
    assert_eq!(seen.front, vec![position("arn:1", 10.0), position("arn:early", 20.0), position("arn:late", 30.0)]);
    assert_eq!(seen.front_updated_at, Some(Timestamp::from_millis(100_000)));
    assert_eq!(seen.used, vec![Capacity::new("NUM_INSTANCES", 5.0)]);
    assert_eq!(
        seen.used_by_share,
        vec![
            ("fair".into(), vec![Capacity::new("NUM_INSTANCES", 2.0)]),
            ("quota".into(), vec![Capacity::new("ml.p5.48xlarge", 3.0)]),
        ]
    );
    assert_eq!(seen.utilisation_updated_at, Some(Timestamp::from_millis(90_000)));

    let nothing = GetJobQueueSnapshotOutput::builder().build();
    let expected = QueueSnapshot { queue: Some("q".into()), at, ..QueueSnapshot::default() };
    assert_eq!(snapshot(&nothing, &"q".into(), at, &mut Unknowns::default()), expected);
}
