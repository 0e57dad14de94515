//! Resources that are being created, updated or deleted.

use aws_sdk_batch::error::ProvideErrorMetadata;
use aws_sdk_batch::types::CapacityLimit;
use aws_sdk_batch::types::JobQueueType;
use aws_sdk_batch::types::JqState;
use aws_sdk_batch::types::ServiceEnvironmentOrder;
use aws_sdk_batch::types::ServiceEnvironmentState;
use aws_sdk_batch::types::ServiceEnvironmentType;
use aws_sdk_batch::types::ServiceJobType;
use serde_json::json;

use crate::tests::account::Account;
use crate::tests::account::client;

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
