//! Which payloads are accepted at submission, and their effects.

use std::time::Duration;

use aws_sdk_batch::error::ProvideErrorMetadata;
use aws_sdk_batch::operation::describe_service_job::DescribeServiceJobOutput;
use aws_sdk_batch::types::ServiceJobEvaluateOnExit;
use aws_sdk_batch::types::ServiceJobRetryAction;
use aws_sdk_batch::types::ServiceJobRetryStrategy;
use aws_sdk_batch::types::ServiceJobStatus;
use aws_sdk_batch::types::ServiceJobType;
use aws_sdk_sagemaker::types::SecondaryStatus;
use aws_sdk_sagemaker::types::TrainingJobStatus;
use serde_json::Value;
use serde_json::json;

use crate::tests::fixture::Account;
use crate::tests::fixture::INSTANCE;
use crate::tests::fixture::client;

async fn submit(batch: &aws_sdk_batch::Client, name: &str, payload: &str) -> String {
    let submit = batch.submit_service_job().job_name(name).job_queue("dev").service_request_payload(payload);
    let answer = submit.service_job_type(ServiceJobType::SagemakerTraining).send().await.unwrap();
    answer.job_arn().unwrap().to_owned()
}

/// The job after this time.
async fn after(account: &Account, batch: &aws_sdk_batch::Client, job: &str, time: &str) -> DescribeServiceJobOutput {
    account.control(json!({"advance": time})).await;
    batch.describe_service_job().job_id(job).send().await.unwrap()
}

fn training_job(job: &DescribeServiceJobOutput) -> &str {
    let arn = job.latest_attempt().unwrap().service_resource_id().unwrap().value().unwrap();
    arn.rsplit_once('/').unwrap().1
}

fn payload(resources: Value, members: Value) -> String {
    let mut payload = json!({"ResourceConfig": resources, "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"}});
    payload.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    payload.to_string()
}

#[tokio::test]
async fn batch_takes_any_payload_and_sagemaker_refuses_what_it_cannot_use() {
    let account = Account::open().await;
    let batch = client!(aws_sdk_batch, account);
    for odd in [
        "not JSON",
        "{}",
        r#"{"ResourceConfig": {"InstanceType": "ml.p5.48xlarge", "InstanceCount": 1e308}}"#,
        r#"{"ResourceConfig": {"InstanceType": "ml.p9.48xlarge", "InstanceCount": 1}}"#,
    ] {
        let job = submit(&batch, "odd", odd).await;
        let job = after(&account, &batch, &job, "10m").await;
        assert_eq!(job.status(), Some(&ServiceJobStatus::Failed), "{odd}");
        let reason = job.status_reason().unwrap();
        assert!(reason.starts_with("Received status from SageMaker: ValidationException: "), "{reason}");
        assert_eq!((job.attempts(), job.latest_attempt()), (&[][..], None), "no training job was made");
        assert_eq!((job.service_request_payload(), job.is_terminated()), (Some(odd), Some(false)));
    }
    let refused = json!({"submit": {"queue": "dev", "instance_type": INSTANCE, "lasts": "1h",
        "refused": "Received status from SageMaker: ResourceLimitExceeded: no quota"}});
    let id = account.control(refused).await["submitted"][0].as_str().unwrap().to_owned();
    let job = after(&account, &batch, &id, "10m").await;
    assert_eq!(job.status_reason(), Some("Received status from SageMaker: ResourceLimitExceeded: no quota"));
}

#[tokio::test]
async fn the_actions_of_retry_rules_may_be_in_any_case() {
    let account = Account::open().await;
    let batch = client!(aws_sdk_batch, account);
    for (action, fits) in [("Retry", true), ("exit", true), ("RETRY", true), ("again", false)] {
        let rule =
            ServiceJobEvaluateOnExit::builder().action(ServiceJobRetryAction::from(action)).on_status_reason("*");
        let strategy = ServiceJobRetryStrategy::builder().attempts(2).evaluate_on_exit(rule.build()).build();
        let submit = batch.submit_service_job().job_name("rule").job_queue("dev").retry_strategy(strategy.clone());
        let submit = submit.service_job_type(ServiceJobType::SagemakerTraining);
        let answer = submit.service_request_payload("{}").send().await;
        let Ok(answer) = answer else {
            assert!(!fits, "{action}");
            assert_eq!(answer.unwrap_err().code(), Some("ClientException"));
            continue;
        };
        assert!(fits, "{action}");
        let job = batch.describe_service_job().job_id(answer.job_id().unwrap()).send().await.unwrap();
        assert_eq!(job.retry_strategy(), Some(&strategy), "described as it was submitted");
    }
}

#[tokio::test]
async fn the_stopping_condition_of_the_payload_ends_a_job() {
    let account = Account::open().await;
    let (batch, sagemaker) = (client!(aws_sdk_batch, account), client!(aws_sdk_sagemaker, account));
    let members =
        json!({"StoppingCondition": {"MaxRuntimeInSeconds": 120}, "HyperParameters": {"simulated_seconds": "9000"}});
    let job = submit(&batch, "long", &payload(json!({"InstanceType": INSTANCE, "InstanceCount": 1}), members)).await;
    let job = after(&account, &batch, &job, "10m").await;
    assert_eq!(job.status(), Some(&ServiceJobStatus::Failed));
    assert!(job.status_reason().unwrap().contains("MaxRuntimeExceeded"), "{job:?}");
    let [attempt] = job.attempts() else { panic!("{job:?}") };
    let ran = attempt.stopped_at().unwrap() - attempt.started_at().unwrap();
    assert_eq!(Duration::from_millis(ran.try_into().unwrap()), Duration::from_mins(2));
    let described = sagemaker.describe_training_job().training_job_name(training_job(&job)).send().await.unwrap();
    assert_eq!(described.training_job_status(), Some(&TrainingJobStatus::Stopped));
    assert_eq!(described.secondary_status(), Some(&SecondaryStatus::MaxRuntimeExceeded));
}

#[tokio::test]
async fn what_sdks_read_of_a_training_job_is_always_there() {
    let account = Account::open().await;
    let (batch, sagemaker) = (client!(aws_sdk_batch, account), client!(aws_sdk_sagemaker, account));
    let tags = json!({"Tags": [{"Key": "team", "Value": "vision"}], "Environment": {"A": "b"}});
    let job = submit(&batch, "mine", &payload(json!({"InstanceType": INSTANCE, "InstanceCount": 1}), tags)).await;
    let job = after(&account, &batch, &job, "5m").await;
    let describe = async |name: &str| sagemaker.describe_training_job().training_job_name(name).send().await.unwrap();
    let mine = describe(training_job(&job)).await;
    let output = mine.output_data_config().unwrap();
    assert_eq!((output.s3_output_path(), output.kms_key_id()), (Some("s3://bucket/output"), Some("")));
    assert_eq!(mine.environment().unwrap()["A"], "b");
    assert_eq!(mine.enable_managed_spot_training(), Some(false));
    let tags = sagemaker.list_tags().resource_arn(mine.training_job_arn().unwrap()).send().await.unwrap();
    assert_eq!(tags.tags()[0].value(), Some("vision"));
    // The same holds for jobs of the workload.
    let listed =
        batch.list_service_jobs().job_queue("prod").job_status(ServiceJobStatus::Succeeded).send().await.unwrap();
    let of_workload = batch.describe_service_job().job_id(listed.job_summary_list()[0].job_id().unwrap());
    let of_workload = describe(training_job(&of_workload.send().await.unwrap())).await;
    assert_eq!(of_workload.output_data_config().unwrap().kms_key_id(), Some(""));
}

#[tokio::test]
async fn of_several_instance_preferences_one_is_taken_and_shown() {
    let account = Account::open().await;
    let (batch, sagemaker) = (client!(aws_sdk_batch, account), client!(aws_sdk_sagemaker, account));
    let preferences = json!([
        {"InstanceType": INSTANCE, "InstanceCount": 2},
        {"InstanceType": "ml.p6-b200.48xlarge", "InstanceCount": 1},
    ]);
    let job = submit(&batch, "either", &payload(json!({"InstancePreferences": preferences}), json!({}))).await;
    let job = after(&account, &batch, &job, "5m").await;
    let usage = &job.capacity_usage()[0];
    assert_eq!((usage.capacity_unit(), usage.quantity()), (Some(INSTANCE), Some(2.0)));
    let described = sagemaker.describe_training_job().training_job_name(training_job(&job)).send().await.unwrap();
    let config = described.resource_config().unwrap();
    assert_eq!((config.instance_type(), config.instance_count()), (None, None));
    assert_eq!(config.selected_instance_type().map(|one| one.as_str()), Some(INSTANCE));
    assert_eq!(config.selected_instance_count(), Some(2));
}
