//! Both settings of every switch, through the Batch client. Effects on the jobs themselves are tested with the
//! scheduler.

use aws_sdk_batch::types::KeyValuesPair;
use aws_sdk_batch::types::ServiceJobStatus;
use serde_json::json;

use crate::scenario;
use crate::tests::fixture::Account;
use crate::tests::fixture::BEGAN;
use crate::tests::fixture::client;

async fn account(quirk: &str) -> Account {
    Account::with(&scenario::parse("quirk", &format!("quirks: {{{quirk}}}")).unwrap()).await
}

/// Names of all waiting jobs, in page order.
async fn waiting(account: &Account) -> Vec<String> {
    let batch = client!(aws_sdk_batch, account);
    let list = batch.list_service_jobs().job_queue("prod").job_status(ServiceJobStatus::Runnable).max_results(7);
    let mut pages = list.into_paginator().items().send();
    let mut names = Vec::new();
    while let Some(job) = pages.next().await {
        names.push(job.unwrap().job_name().unwrap().to_owned());
    }
    names
}

#[tokio::test]
async fn a_list_by_status_begins_with_either_end() {
    let newest = waiting(&account("list_order: newest_first").await).await;
    let mut oldest = waiting(&account("list_order: oldest_first").await).await;
    assert_eq!(newest[0], "train-249");
    assert_ne!(oldest[0], newest[0]);
    oldest.reverse();
    assert_eq!(newest, oldest, "on many pages each");
}

#[tokio::test]
async fn filters_by_time_include_the_time_or_not() {
    for (setting, after, before) in [("exclusive", 9, 2), ("inclusive", 10, 3)] {
        let account = account(&format!("created_at_filters: {setting}")).await;
        let batch = client!(aws_sdk_batch, account);
        for (name, seconds, expected) in [("AFTER_CREATED_AT", 240, after), ("BEFORE_CREATED_AT", 2, before)] {
            let at = (BEGAN.millis() + seconds * 1_000).to_string();
            let filter = KeyValuesPair::builder().name(name).values(at).build();
            let found = batch.list_service_jobs().job_queue("prod").filters(filter).send().await.unwrap();
            assert_eq!(found.job_summary_list().len(), expected, "{setting} {name}");
        }
    }
}

#[tokio::test]
async fn a_job_that_has_not_started_has_no_start_or_started_at_zero() {
    for (setting, listed, described) in [("absent", None, 0), ("zero", Some(0), 0)] {
        let account = account(&format!("started_at_before_start: {setting}")).await;
        let batch = client!(aws_sdk_batch, account);
        let list = batch.list_service_jobs().job_queue("prod").job_status(ServiceJobStatus::Runnable);
        let waiting = list.send().await.unwrap();
        let job = &waiting.job_summary_list()[0];
        assert_eq!(job.started_at(), listed, "{setting}");
        // This client returns zero if the member is missing.
        let job = batch.describe_service_job().job_id(job.job_id().unwrap()).send().await.unwrap();
        assert_eq!(job.started_at(), Some(described), "{setting}");
    }
}

#[tokio::test]
async fn a_snapshot_is_new_or_as_old_as_it_may_be() {
    for (age, stands) in [("0s", false), ("10m", true)] {
        let account = account(&format!("snapshot_age: {age}")).await;
        let batch = client!(aws_sdk_batch, account);
        let snapshot = || async {
            let answer = batch.get_job_queue_snapshot().job_queue("prod").send().await.unwrap();
            answer.front_of_queue().unwrap().last_updated_at().unwrap()
        };
        let first = snapshot().await;
        account.control(json!({"advance": "9m"})).await;
        assert_eq!(snapshot().await == first, stands, "{age}");
        account.control(json!({"advance": "2m"})).await;
        assert!(snapshot().await >= first + 600_000, "{age}");
    }
}
