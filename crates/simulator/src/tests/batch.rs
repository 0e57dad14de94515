//! Queues, jobs and training jobs through the Batch and SageMaker clients.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_batch::error::ProvideErrorMetadata;
use aws_sdk_batch::types::KeyValuesPair;
use aws_sdk_batch::types::ServiceJobStatus;
use aws_sdk_batch::types::ServiceJobType;
use aws_sdk_sagemaker::types::TrainingJobStatus;
use aws_sdk_sagemaker::types::TrainingJobSummary;
use serde_json::json;

use crate::tests::fixture::Account;
use crate::tests::fixture::BEGAN;
use crate::tests::fixture::INSTANCE;
use crate::tests::fixture::JOBS;
use crate::tests::fixture::client;

const PAYLOAD: &str = r#"{"ResourceConfig": {"InstanceType": "ml.p5.48xlarge", "InstanceCount": 2}}"#;

fn filter(name: &str, value: &str) -> KeyValuesPair {
    KeyValuesPair::builder().name(name).values(value).build()
}

#[tokio::test]
async fn queues_and_what_hangs_on_them_are_described() {
    let account = Account::open().await;
    let batch = client!(aws_sdk_batch, account);
    let queues = batch.describe_job_queues().send().await.unwrap();
    let [dev, prod] = queues.job_queues() else { panic!("{queues:?}") };
    assert_eq!(dev.job_queue_name(), Some("dev"));
    assert_eq!(dev.scheduling_policy_arn(), None);
    assert_eq!(prod.status_reason(), Some("JobQueue Healthy"));

    let policies =
        batch.describe_scheduling_policies().arns(prod.scheduling_policy_arn().unwrap()).send().await.unwrap();
    assert!(policies.scheduling_policies()[0].quota_share_policy().is_some());
    assert_eq!(batch.list_scheduling_policies().send().await.unwrap().scheduling_policies().len(), 1);

    let name = prod.service_environment_order()[0].service_environment().unwrap();
    let environments = batch.describe_service_environments().service_environments(name).send().await.unwrap();
    let limit = &environments.service_environments()[0].capacity_limits()[0];
    assert_eq!((limit.max_capacity(), limit.capacity_unit()), (Some(8), Some(INSTANCE)));

    let shares = batch.list_quota_shares().job_queue("prod").max_results(1).send().await.unwrap();
    assert_eq!(shares.quota_shares()[0].quota_share_name(), Some("nlp"));
    let rest = batch.list_quota_shares().job_queue("prod").set_next_token(shares.next_token).send().await.unwrap();
    let arn = rest.quota_shares()[0].quota_share_arn().unwrap();
    let share = batch.describe_quota_share().quota_share_arn(arn).send().await.unwrap();
    assert_eq!(share.quota_share_name(), Some("vision"));
    assert_eq!(share.resource_sharing_configuration().unwrap().borrow_limit(), Some(-1));
}

#[tokio::test]
async fn every_job_is_on_exactly_one_page_of_one_status_while_jobs_move() {
    let account = Account::open().await;
    let batch = client!(aws_sdk_batch, account);
    let mut ids = BTreeSet::new();
    let mut count = 0;
    for status in ServiceJobStatus::values().iter().copied().map(ServiceJobStatus::from) {
        let mut pages = batch
            .list_service_jobs()
            .job_queue("prod")
            .job_status(status.clone())
            .max_results(17)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            for job in page.unwrap().job_summary_list() {
                assert_eq!(job.status(), Some(&status));
                assert_eq!(job.capacity_usage()[0].quantity(), Some(2.0));
                count += 1;
                ids.insert(job.job_id().unwrap().to_owned());
            }
        }
    }
    assert_eq!((count, ids.len()), (JOBS, JOBS));

    // A page's last job leaves the list before the next page is requested.
    let list = || batch.list_service_jobs().job_queue("prod").job_status(ServiceJobStatus::Runnable).max_results(5);
    let first = list().send().await.unwrap();
    let last = first.job_summary_list()[4].clone();
    let expected = list().set_next_token(first.next_token.clone()).send().await.unwrap();
    batch.terminate_service_job().job_id(last.job_arn().unwrap()).reason("enough").send().await.unwrap();
    let second = list().set_next_token(first.next_token).send().await.unwrap();
    assert_eq!(second.job_summary_list(), expected.job_summary_list());
    let gone = batch.describe_service_job().job_id(last.job_id().unwrap()).send().await.unwrap();
    assert_eq!(gone.status(), Some(&ServiceJobStatus::Failed));
    assert_eq!((gone.status_reason(), gone.is_terminated()), (Some("enough"), Some(true)));
}

#[tokio::test]
async fn lists_keep_to_their_odd_rules() {
    let account = Account::open().await;
    let batch = client!(aws_sdk_batch, account);
    let list = || batch.list_service_jobs().job_queue("prod");

    let by_default = list().send().await.unwrap();
    assert!(!by_default.job_summary_list().is_empty());
    assert!(by_default.job_summary_list().iter().all(|job| job.status() == Some(&ServiceJobStatus::Running)));

    // With a name filter the status is ignored, and case too; newest first.
    let named =
        list().job_status(ServiceJobStatus::Failed).filters(filter("JOB_NAME", "TRAIN-24*")).send().await.unwrap();
    let names: Vec<_> = named.job_summary_list().iter().filter_map(|job| job.job_name()).collect();
    let expected: Vec<_> = (240..250).rev().chain([24]).map(|n| format!("train-{n}")).collect();
    assert_eq!(names, expected);

    let after = (BEGAN.millis() + 240_000).to_string();
    let late = list().filters(filter("AFTER_CREATED_AT", &after)).send().await.unwrap();
    assert_eq!(late.job_summary_list().len(), 9);
    let before = (BEGAN.millis() + 2_000).to_string();
    let early = list().filters(filter("BEFORE_CREATED_AT", &before)).send().await.unwrap();
    assert_eq!(early.job_summary_list().len(), 2);

    // With a share filter it is not ignored.
    let waiting = list()
        .job_status(ServiceJobStatus::Runnable)
        .filters(filter("QUOTA_SHARE_NAME", "vision"))
        .send()
        .await
        .unwrap();
    assert!(
        waiting.job_summary_list().iter().all(|job| {
            job.status() == Some(&ServiceJobStatus::Runnable) && job.quota_share_name() == Some("vision")
        })
    );
    assert!(!waiting.job_summary_list().is_empty());

    for refused in [
        list().max_results(101),
        list().next_token("forged"),
        list().filters(filter("JOB_NAME", "a")).filters(filter("JOB_NAME", "b")),
        batch.list_service_jobs().job_queue("nowhere"),
        batch.list_service_jobs(),
    ] {
        let error = refused.send().await.unwrap_err();
        assert_eq!(error.code(), Some("ClientException"), "{error:?}");
    }
}

#[tokio::test]
async fn batch_and_sagemaker_agree_about_a_job() {
    let account = Account::open().await;
    let batch = client!(aws_sdk_batch, account);
    let sagemaker = client!(aws_sdk_sagemaker, account);
    let listed = batch.list_service_jobs().job_queue("prod").send().await.unwrap().job_summary_list()[0].clone();
    let job = batch.describe_service_job().job_id(listed.job_id().unwrap()).send().await.unwrap();
    assert_eq!(job.scheduling_priority(), Some(1));
    assert_eq!(job.tags().unwrap()["owner"], "ada");
    let arn = job.latest_attempt().unwrap().service_resource_id().unwrap().value().unwrap().to_owned();
    let name = arn.rsplit('/').next().unwrap();
    let training = sagemaker.describe_training_job().training_job_name(name).send().await.unwrap();
    assert_eq!(training.training_job_arn(), Some(arn.as_str()));
    assert_eq!(training.training_job_status().unwrap().as_str(), "InProgress");
    let phases: Vec<_> = training.secondary_status_transitions().iter().map(|t| t.status().unwrap().as_str()).collect();
    assert_eq!(phases, ["Pending", "Downloading", "Training"]);
    let began = |n: usize| training.secondary_status_transitions()[n].start_time().unwrap().to_millis().unwrap();
    assert_eq!(Some(began(0)), job.scheduled_at());
    assert_eq!(Some(began(2)), job.started_at());
    let resources = training.resource_config().unwrap();
    assert_eq!((resources.instance_type().unwrap().as_str(), resources.instance_count()), (INSTANCE, Some(2)));

    let failed = batch.list_service_jobs().job_queue("dev").job_status(ServiceJobStatus::Failed).send().await.unwrap();
    let arn = failed.job_summary_list()[0]
        .latest_attempt()
        .unwrap()
        .service_resource_id()
        .unwrap()
        .value()
        .unwrap()
        .to_owned();
    let training =
        sagemaker.describe_training_job().training_job_name(arn.rsplit('/').next().unwrap()).send().await.unwrap();
    assert_eq!(training.training_job_status().unwrap().as_str(), "Failed");
    assert_eq!(training.failure_reason(), Some("AlgorithmError: exit code 1"));
    assert!(training.training_end_time().is_some());

    let error = sagemaker.describe_training_job().training_job_name("nothing").send().await.unwrap_err();
    assert!(error.message().unwrap().contains("not found"), "{error:?}");
    let error = batch.describe_service_job().job_id("nothing").send().await.unwrap_err();
    assert!(error.message().unwrap().contains("does not exist"), "{error:?}");
    let error = sagemaker.list_models().send().await.unwrap_err();
    assert!(error.message().unwrap().contains("ListModels"), "{error:?}");
}

#[tokio::test]
async fn training_jobs_are_paged_newest_first() {
    let account = Account::open().await;
    let sagemaker = client!(aws_sdk_sagemaker, account);
    let mut pages = sagemaker.list_training_jobs().max_results(3).into_paginator().send();
    let mut created = Vec::new();
    while let Some(page) = pages.next().await {
        created.extend(page.unwrap().training_job_summaries().iter().map(|job| job.creation_time().unwrap().secs()));
    }
    assert!(created.len() > 8, "{created:?}");
    assert!(created.is_sorted_by(|a, b| a >= b), "{created:?}");
}

#[tokio::test]
async fn training_jobs_are_selected_by_time_before_paging_and_by_status_after_it() {
    const PAGE: usize = 3;
    let account = Account::open().await;
    let sagemaker = client!(aws_sdk_sagemaker, account);
    let pages =
        async |list: aws_sdk_sagemaker::operation::list_training_jobs::builders::ListTrainingJobsFluentBuilder| {
            let mut pages = list.max_results(i32::try_from(PAGE).unwrap()).into_paginator().send();
            let mut found = Vec::new();
            while let Some(page) = pages.next().await {
                found.push(page.unwrap().training_job_summaries.unwrap());
            }
            found
        };
    let all = pages(sagemaker.list_training_jobs()).await.concat();
    assert!(all.len() > 4 * PAGE, "{all:?}");
    let middle = &all[all.len() / 2];
    let (created, modified) = (*middle.creation_time().unwrap(), *middle.last_modified_time().unwrap());
    let list = || sagemaker.list_training_jobs();
    for (what, list, is_wanted) in [
        ("created after", list().creation_time_after(created), &|job: &TrainingJobSummary| {
            *job.creation_time().unwrap() > created
        }),
        ("created before", list().creation_time_before(created), &|job| *job.creation_time().unwrap() < created),
        ("modified after", list().last_modified_time_after(modified), &|job| {
            *job.last_modified_time().unwrap() > modified
        }),
        ("modified before", list().last_modified_time_before(modified), &|job| {
            *job.last_modified_time().unwrap() < modified
        }),
    ] as [(&str, _, &dyn Fn(&TrainingJobSummary) -> bool); 4]
    {
        let found = pages(list).await;
        let (last, full) = found.split_last().unwrap();
        assert!(full.iter().all(|page| page.len() == PAGE) && last.len() <= PAGE, "{what}: {found:?}");
        let wanted: Vec<_> = all.iter().filter(|job| is_wanted(job)).cloned().collect();
        assert!(!wanted.is_empty() && wanted.len() < all.len(), "{what} selects some");
        assert_eq!(found.concat(), wanted, "{what}");
    }
    // By status pages are short, and there are as many as without it.
    let found = pages(list().status_equals(TrainingJobStatus::Completed)).await;
    assert_eq!(found.len(), all.len().div_ceil(PAGE));
    assert!(found.iter().any(|page| page.len() < PAGE), "{found:?}");
    let completed = |job: &&TrainingJobSummary| job.training_job_status() == Some(&TrainingJobStatus::Completed);
    assert_eq!(found.concat(), all.iter().filter(completed).cloned().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_completed_job_leaves_a_warm_pool_for_the_requested_time() {
    let account = Account::open().await;
    let (batch, sagemaker) = (client!(aws_sdk_batch, account), client!(aws_sdk_sagemaker, account));
    let payload = json!({
        "ResourceConfig": {"InstanceType": INSTANCE, "InstanceCount": 2, "KeepAlivePeriodInSeconds": 1_800},
        "HyperParameters": {"simulated_seconds": "600"},
    });
    let submit = batch.submit_service_job().job_name("warm").job_queue("dev").client_token("once");
    let submit =
        submit.service_job_type(ServiceJobType::SagemakerTraining).service_request_payload(payload.to_string());
    submit.send().await.unwrap();
    let pools = async |advance: &str, status: &str| {
        account.control(json!({"advance": advance})).await;
        let jobs = sagemaker.list_training_jobs().warm_pool_status_equals(status.into()).max_results(100).send().await;
        jobs.unwrap().training_job_summaries().len()
    };
    assert_eq!(pools("5m", "InUse").await, 1);
    assert_eq!(pools("0s", "Available").await, 0);
    assert_eq!(pools("20m", "Available").await, 1, "the job is over");
    assert_eq!(pools("30m", "Available").await, 0);
    assert_eq!(pools("0s", "Terminated").await, 1, "nobody took it");
}

#[tokio::test]
async fn a_snapshot_shows_the_front_and_the_use_of_each_share() {
    let account = Account::open().await;
    let batch = client!(aws_sdk_batch, account);
    let snapshot = batch.get_job_queue_snapshot().job_queue("prod").send().await.unwrap();
    assert_eq!(snapshot.front_of_queue().unwrap().jobs().len(), 100);
    let fronts = snapshot.front_of_quota_shares().unwrap().quota_shares().unwrap();
    assert_eq!(fronts.keys().collect::<BTreeSet<_>>().len(), 2);
    let utilization = snapshot.queue_utilization().unwrap();
    let total = &utilization.total_capacity_usage()[0];
    assert_eq!((total.capacity_unit(), total.quantity()), (Some(INSTANCE), Some(8.0)));
    let shares = utilization.quota_share_utilization().unwrap().top_capacity_utilization();
    let sum: f64 = shares.iter().filter_map(|share| share.capacity_usage()[0].quantity()).sum();
    assert_eq!(sum, 8.0);
    let empty = batch.get_job_queue_snapshot().job_queue("dev").send().await.unwrap();
    assert!(empty.front_of_quota_shares().is_none());
}

#[tokio::test]
async fn a_submitted_job_is_scheduled_and_described_back() {
    let account = Account::open().await;
    let batch = client!(aws_sdk_batch, account);
    let submit = |name: &str, payload: &str| {
        batch
            .submit_service_job()
            .job_name(name)
            .job_queue("dev")
            .service_job_type(ServiceJobType::SagemakerTraining)
            .service_request_payload(payload)
            .client_token("once")
    };
    let first = submit("mine", PAYLOAD).send().await.unwrap();
    let again = submit("mine", PAYLOAD).send().await.unwrap();
    assert_eq!(first.job_id(), again.job_id());
    let job = batch.describe_service_job().job_id(first.job_arn().unwrap()).send().await.unwrap();
    assert_eq!(job.service_request_payload(), Some(PAYLOAD));
    assert_eq!(job.capacity_usage()[0].quantity(), Some(2.0));

    let large = format!("{PAYLOAD}{}", " ".repeat(10 * 1_024));
    for refused in [
        submit("no spaces", PAYLOAD).client_token("a"),
        submit("large", &large).client_token("b"),
        submit("shared", PAYLOAD).client_token("d").quota_share_name("vision"),
    ] {
        let error = refused.send().await.unwrap_err();
        assert_eq!(error.code(), Some("ClientException"), "{error:?}");
    }
}

#[tokio::test]
async fn faults_strike_as_arranged() {
    let account = Account::open().await;
    let batch = client!(aws_sdk_batch, account);
    let list = || batch.list_service_jobs().job_queue("prod").job_status(ServiceJobStatus::Runnable);

    account.arrange(json!({"throttle": {"operation": "ListServiceJobs", "count": 1}})).await;
    let error = list().send().await.unwrap_err();
    assert_eq!(error.code(), Some("TooManyRequestsException"));
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 429);

    account.arrange(json!({"fail_page": {"operation": "ListServiceJobs", "page": 2}})).await;
    let first = list().send().await.unwrap();
    let second = || list().set_next_token(first.next_token.clone());
    assert_eq!(second().send().await.unwrap_err().raw_response().unwrap().status().as_u16(), 500);
    assert!(second().send().await.is_ok());

    account.arrange(json!({"unknown_status": "HIBERNATING", "unknown_instance_type": "ml.p9.48xlarge"})).await;
    let strange = list().send().await.unwrap();
    let odd: Vec<_> =
        strange.job_summary_list().iter().filter(|job| job.status() != Some(&ServiceJobStatus::Runnable)).collect();
    assert_eq!(odd.len(), 1);
    assert_eq!(odd[0].status().unwrap().as_str(), "HIBERNATING");
    assert_eq!(odd[0].capacity_usage()[0].capacity_unit(), Some("ml.p9.48xlarge"));

    let answer = reqwest::Client::new().post(format!("{}/v1/registerjobdefinition", account.url)).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 400);
    assert!(answer.text().await.unwrap().contains("registerjobdefinition"));
}

#[tokio::test]
async fn the_truth_agrees_with_itself() {
    let account = Account::open().await;
    let truth = account.sim("truth").await;
    assert_eq!(truth["queues"][0]["queue"], "prod");
    let states = truth["queues"][0]["jobs"].as_object().unwrap();
    assert_eq!(states.values().filter_map(serde_json::Value::as_u64).sum::<u64>(), JOBS as u64);
    let shares = truth["shares"].as_array().unwrap();
    let sum = |member: &str| shares.iter().filter_map(|share| share[member].as_f64()).sum::<f64>();
    assert_eq!(sum("borrowed"), sum("lent"));
    assert_eq!(truth["failures"], 1);
    let waterfall = &truth["waterfall"][0];
    let parts = waterfall["parts"].as_object().unwrap();
    assert_eq!(waterfall["capacity_gpus"], 64.0);
    assert!((parts.values().filter_map(serde_json::Value::as_f64).sum::<f64>() - 64.0).abs() < 1e-9, "{waterfall}");

    let mut after = String::new();
    let mut waits = Vec::new();
    loop {
        let page = account.sim(&format!("truth/jobs?limit=100{after}")).await;
        waits.extend(page["jobs"].as_array().unwrap().iter().filter_map(|job| job["first_wait_seconds"].as_f64()));
        let Some(next) = page["next"].as_u64() else { break };
        after = format!("&after={next}");
    }
    let counted: u64 = truth["waits"].as_array().unwrap().iter().filter_map(|wait| wait["count"].as_u64()).sum();
    assert_eq!(waits.len() as u64, counted);
    assert_eq!(account.simulation.progress().jobs["failed"], 1);
}

#[tokio::test]
async fn serving_stops_when_asked_although_clients_keep_their_connections() {
    let account = Account::open().await;
    let batch = client!(aws_sdk_batch, account);
    batch.describe_job_queues().send().await.unwrap();
    tokio::time::timeout(Duration::from_secs(300), account.close()).await.unwrap();
    assert!(batch.describe_job_queues().send().await.is_err());
}
