//! Resources that are being created, updated or deleted.

use aws_sdk_batch::error::ProvideErrorMetadata;
use aws_sdk_batch::types::CapacityLimit;
use aws_sdk_batch::types::JobQueueType;
use aws_sdk_batch::types::JqState;
use aws_sdk_batch::types::QuotaShareCapacityLimit;
use aws_sdk_batch::types::QuotaShareIdleResourceAssignmentStrategy;
use aws_sdk_batch::types::QuotaShareInSharePreemptionState;
use aws_sdk_batch::types::QuotaSharePolicy;
use aws_sdk_batch::types::QuotaSharePreemptionConfiguration;
use aws_sdk_batch::types::QuotaShareResourceSharingConfiguration;
use aws_sdk_batch::types::QuotaShareResourceSharingStrategy;
use aws_sdk_batch::types::ServiceEnvironmentOrder;
use aws_sdk_batch::types::ServiceEnvironmentState;
use aws_sdk_batch::types::ServiceEnvironmentType;
use aws_sdk_batch::types::ServiceJobType;
use serde_json::json;

use crate::tests::fixture::Account;
use crate::tests::fixture::client;

/// The simulated clock is paused, so nothing changes between calls.
#[tokio::test]
async fn a_queue_is_made_on_an_environment_that_is_being_created_and_one_that_is_updating_is_deleted() {
    let account = Account::open().await;
    let batch = client!(aws_sdk_batch, account);
    account.control(json!({"pause": true})).await;
    let limit = CapacityLimit::builder().max_capacity(2).capacity_unit("NUM_INSTANCES").build();
    let create = batch.create_service_environment().service_environment_name("new").capacity_limits(limit.clone());
    create.service_environment_type(ServiceEnvironmentType::SagemakerTraining).send().await.unwrap();
    let order = ServiceEnvironmentOrder::builder().order(1).service_environment("new").build();
    let create = batch.create_job_queue().job_queue_name("new").priority(1).service_environment_order(order);
    create.job_queue_type(JobQueueType::SagemakerTraining).send().await.unwrap();

    let submit = || {
        let submit = batch.submit_service_job().job_name("job").job_queue("new").service_request_payload("{}");
        submit.service_job_type(ServiceJobType::SagemakerTraining)
    };
    let early = submit().send().await.unwrap_err();
    assert!(early.message().unwrap().contains("does not accept service job submissions"), "{early:?}");
    let update = batch.update_service_environment().service_environment("new").capacity_limits(limit);
    let early = update.clone().send().await.unwrap_err();
    assert!(early.message().unwrap().contains("Cannot update, resource is being modified"), "{early:?}");

    account.control(json!({"advance": "5s"})).await;
    update.send().await.unwrap();
    submit().send().await.expect("jobs are taken while limits change");

    let disable = batch.update_job_queue().job_queue("new").state(JqState::Disabled);
    disable.send().await.unwrap();
    let early = batch.delete_job_queue().job_queue("new").send().await.unwrap_err();
    assert!(early.message().unwrap().contains("Cannot delete, resource is being modified"), "{early:?}");
    account.control(json!({"advance": "5s"})).await;
    batch.delete_job_queue().job_queue("new").send().await.unwrap();
    account.control(json!({"advance": "5s"})).await;
    let disable = batch.update_service_environment().service_environment("new");
    disable.state(ServiceEnvironmentState::Disabled).send().await.unwrap();
    batch.delete_service_environment().service_environment("new").send().await.expect("it is UPDATING");
    account.control(json!({"advance": "5s"})).await;
    let left = batch.describe_service_environments().service_environments("new").send().await.unwrap();
    assert!(left.service_environments().is_empty());
}

#[tokio::test]
async fn capacity_is_counted_in_units_that_there_are_and_that_fit_the_policy() {
    let account = Account::open().await;
    let batch = client!(aws_sdk_batch, account);
    let limit = |unit: &str| CapacityLimit::builder().max_capacity(2).capacity_unit(unit).build();
    let create = |name: &str, unit: &str| {
        let create = batch.create_service_environment().service_environment_name(name).capacity_limits(limit(unit));
        create.service_environment_type(ServiceEnvironmentType::SagemakerTraining).send()
    };
    for unit in ["NUM_GPUS", "num_instances", "ml.p9.48xlarge", "p5.48xlarge", "ml.P5.48xlarge", "ml.p5"] {
        let refused = create("odd", unit).await.unwrap_err();
        assert_eq!(refused.code(), Some("ClientException"), "{unit}");
        assert!(refused.message().unwrap().contains(unit), "{refused:?}");
    }
    create("any", "NUM_INSTANCES").await.unwrap();
    create("typed", "ml.g6e.12xlarge").await.unwrap();
    let quotas = QuotaSharePolicy::builder()
        .idle_resource_assignment_strategy(QuotaShareIdleResourceAssignmentStrategy::Fifo)
        .build();
    let policy = batch.create_scheduling_policy().name("quotas").quota_share_policy(quotas).send().await.unwrap();
    let queue = |environment: &str, policy: Option<&str>| {
        let order = ServiceEnvironmentOrder::builder().order(1).service_environment(environment).build();
        let create = batch.create_job_queue().job_queue_name(environment).priority(1).service_environment_order(order);
        create
            .job_queue_type(JobQueueType::SagemakerTraining)
            .set_scheduling_policy_arn(policy.map(str::to_owned))
            .send()
    };
    let refused = queue("any", policy.arn()).await.unwrap_err();
    assert!(refused.message().unwrap().contains("must be an instance type"), "{refused:?}");
    let refused = queue("typed", None).await.unwrap_err();
    assert!(refused.message().unwrap().contains("must be NUM_INSTANCES"), "{refused:?}");
    queue("any", None).await.unwrap();
    queue("typed", policy.arn()).await.unwrap();
    account.control(json!({"advance": "5s"})).await;
    let update = batch.update_service_environment().service_environment("typed");
    let refused = update.capacity_limits(limit("NUM_INSTANCES")).send().await.unwrap_err();
    assert!(refused.message().unwrap().contains("must be an instance type"), "{refused:?}");
    for (unit, fits) in [("NUM_INSTANCES", false), ("ml.p9.48xlarge", false), ("ml.g6e.12xlarge", true)] {
        let limit = QuotaShareCapacityLimit::builder().max_capacity(1).capacity_unit(unit).build();
        let sharing = QuotaShareResourceSharingConfiguration::builder()
            .strategy(QuotaShareResourceSharingStrategy::Reserve)
            .build();
        let preemption = QuotaSharePreemptionConfiguration::builder()
            .in_share_preemption(QuotaShareInSharePreemptionState::Disabled)
            .build();
        let create = batch.create_quota_share().quota_share_name("team").job_queue("typed").capacity_limits(limit);
        let create = create.resource_sharing_configuration(sharing).preemption_configuration(preemption);
        assert_eq!(create.send().await.is_ok(), fits, "{unit}");
    }
}
