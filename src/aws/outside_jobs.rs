//! Training jobs outside the queues, which also count against the account's limits. Queried if the target names
//! limits.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_sagemaker::types::{SortOrder, TrainingJobStatus};
use aws_smithy_types::DateTime;
use tokio::sync::mpsc;

use crate::aws::Poller;
use crate::aws::describe::Answer;
use crate::aws::endless_listing::Listing;
use crate::aws::failure::{Failure, is_not_found};
use crate::aws::poller::{ObservationSender, send};
use crate::aws::translate::{self, Unknowns, present};
use trainspotter_core::model::{Observation, Source, Timestamp, TrainingJobName, Undescribed};

/// Longer than any training job runs: SageMaker's limit is 28 days, plus time to wait before the start.
const CREATED_WITHIN: Duration = Duration::from_secs(35 * 86_400);

/// Maximum pages read to find running training jobs: SageMaker may paginate before it filters.
const MAX_PAGES: usize = 50;

/// Entries per page.
const PER_PAGE: i32 = 100;

impl Poller {
    /// Lists running training jobs, latest first, and reports whether the list is complete: there may be more
    /// beyond the last page read.
    pub(super) async fn list_training_jobs(&self, at: Timestamp, out: &ObservationSender) -> Result<(), Failure> {
        const OPERATION: &str = "ListTrainingJobs";
        let since = DateTime::from_secs((at - CREATED_WITHIN).millis() / 1_000);
        let (mut listing, mut token) = (Listing::new(OPERATION, MAX_PAGES, self.clients.limits()), None);
        let mut names = BTreeSet::new();
        let is_complete = loop {
            let request = self.clients.sagemaker.list_training_jobs().status_equals(TrainingJobStatus::InProgress);
            let request = request.creation_time_after(since).sort_order(SortOrder::Descending).max_results(PER_PAGE);
            let page = request.set_next_token(token).send().await;
            let page = page.map_err(|error| Failure::new(OPERATION, &error))?;
            let summaries = page.training_job_summaries();
            let runs = summaries.iter().filter(|job| job.training_job_status() == Some(&TrainingJobStatus::InProgress));
            names.extend(runs.filter_map(|job| present(job.training_job_name())).map(TrainingJobName::from));
            let all = summaries.iter().filter_map(|job| job.training_job_name());
            match listing.next(page.next_token.clone(), all) {
                Ok(None) => break true,
                Ok(next) => token = next,
                // The listing counts the limit as hit.
                Err(_) => break false,
            }
        };
        send(out, vec![Observation::TrainingJobsListed { at, names, is_complete }]).await;
        Ok(())
    }

    /// Describes training jobs without a known service job.
    pub(super) async fn describe_outside_jobs(
        &self,
        names: &[TrainingJobName],
        until: Timestamp,
        out: &mpsc::Sender<Vec<Observation>>,
    ) {
        if names.is_empty() {
            return;
        }
        let at = self.clock.now();
        let describe = |name| self.describe_outside_job(name);
        let about = |name: &TrainingJobName| Undescribed::TrainingJob(name.clone());
        let asked = self.ask(names.to_vec(), about, until, out, describe).await;
        // The list of training jobs is the same source: only it shows that the source responds completely.
        send(out, asked.without_answer(Source::Account, at)).await;
    }

    async fn describe_outside_job(&self, name: TrainingJobName) -> Answer {
        match self.clients.sagemaker.describe_training_job().training_job_name(name.as_str()).send().await {
            Ok(answer) => {
                let mut unknowns = Unknowns::default();
                let instances = translate::outside_use(&answer, &mut unknowns);
                let mut observations = vec![Observation::OutsideTrainingJob { name, instances }];
                observations.extend(unknowns.into_observations());
                Ok(observations)
            }
            Err(error) if is_not_found(&error) => {
                Ok(vec![Observation::OutsideTrainingJob { name, instances: Vec::new() }])
            }
            Err(error) => Err(Failure::new("DescribeTrainingJob", &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::aws::scripted_endpoint;
    use trainspotter_core::model::{Capacity, Questions};

    fn summary(name: &str, status: &str) -> Value {
        json!({"TrainingJobName": name, "TrainingJobArn": format!("arn:{name}"), "CreationTime": 1.8e9,
               "TrainingJobStatus": status})
    }

    #[tokio::test]
    async fn running_jobs_are_listed_over_all_pages_and_an_endless_list_is_marked_as_cut() {
        for (endless, expected) in [(false, true), (true, false)] {
            let (endpoint, log) = scripted_endpoint::serve(move |_, body| match body["NextToken"].as_str() {
                None => (200, json!({"TrainingJobSummaries": [summary("a", "InProgress")], "NextToken": "2"})),
                Some("2") => (200, json!({"TrainingJobSummaries": [], "NextToken": "3"})),
                Some(_) if endless => {
                    (200, json!({"TrainingJobSummaries": [summary("b", "InProgress")], "NextToken": "3"}))
                }
                Some(_) => (200, json!({"TrainingJobSummaries": [summary("b", "InProgress"), summary("c", "Failed")]})),
            })
            .await;
            let (poller, _, clock) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
            let (out, mut from) = scripted_endpoint::channel();
            poller.list_training_jobs(clock.now(), &out).await.unwrap();
            let observations = scripted_endpoint::received(&mut from);
            let [Observation::TrainingJobsListed { names, is_complete, .. }] = observations.as_slice() else {
                panic!("{observations:?}")
            };
            let names: Vec<&str> = names.iter().map(TrainingJobName::as_str).collect();
            assert_eq!((names, *is_complete), (vec!["a", "b"], expected));
            let asked = log.lock().unwrap()[0].1.clone();
            assert_eq!(asked["StatusEquals"], "InProgress", "{asked}");
        }
    }

    #[tokio::test]
    async fn what_has_a_limit_of_its_own_or_has_ended_counts_for_nothing() {
        let (endpoint, _) = scripted_endpoint::serve(|_, body| {
            let name = body["TrainingJobName"].as_str().unwrap();
            let mut answer = summary(name, "InProgress");
            answer["ResourceConfig"] =
                json!({"InstanceType": "ml.p5.48xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30});
            match name {
                "spot" => answer["EnableManagedSpotTraining"] = json!(true),
                "plan" => answer["ResourceConfig"]["TrainingPlanArn"] = json!("arn:aws:sagemaker:r:1:training-plan/p"),
                "ended" => answer["TrainingJobStatus"] = json!("Completed"),
                "gone" => return scripted_endpoint::error(400, "ValidationException", "Requested resource not found."),
                "denied" => return scripted_endpoint::error(400, "AccessDeniedException", "not you"),
                _ => {}
            }
            (200, answer)
        })
        .await;
        let (mut poller, _, clock) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
        let (out, mut from) = scripted_endpoint::channel();
        let outside = ["plain", "spot", "plan", "ended", "gone", "denied"].map(TrainingJobName::from).to_vec();
        let questions = Questions { outside, ..Questions::default() };
        poller.answer(&questions, clock.now() + Duration::from_secs(60), &out).await;
        let (mut found, mut failed) = (Vec::new(), Vec::new());
        for observation in scripted_endpoint::received(&mut from) {
            if let Observation::OutsideTrainingJob { name, instances } = &observation {
                found.push((name.to_string(), instances.clone()));
            }
            if let Observation::Failed { source, error, .. } = observation {
                failed.push((source, error));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let none = |name: &str| (name.to_owned(), Vec::new());
        let plain = ("plain".to_owned(), vec![Capacity::new("ml.p5.48xlarge", 2.0)]);
        assert_eq!(found, [none("ended"), none("gone"), plain, none("plan"), none("spot")]);
        let [(Source::Account, error)] = failed.as_slice() else { panic!("{failed:?}") };
        assert!(error.contains("allow sagemaker:DescribeTrainingJob"), "{error}");
    }
}
