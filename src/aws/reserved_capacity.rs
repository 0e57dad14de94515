//! Capacity that is paid for whether or not jobs use it: training plans and warm pools, if enabled.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sagemaker::types::{SortOrder, TrainingPlanFilter, TrainingPlanFilterName, WarmPoolResourceStatus};
use aws_smithy_types::DateTime;

use crate::aws::Poller;
use crate::aws::endless_listing::Listing;
use crate::aws::failure::{Failure, is_not_found};
use crate::aws::poller::{ObservationSender, is_due, send};
use crate::aws::translate::{self, Pools, Unknowns};
use trainspotter_core::model::{Capacity, Observation, Reserved, Source, Timestamp};

/// Warm pools last six hours at most, and the training job that left one was last modified at its beginning.
const POOLS_LEFT_WITHIN: Duration = Duration::from_secs(7 * 3_600);

/// Maximum pages of training jobs read to find warm pools: SageMaker may paginate before it filters.
const MAX_POOL_PAGES: usize = 20;
/// Maximum pages of active training plans.
const MAX_PLAN_PAGES: usize = 100;

impl Poller {
    /// Reads training plans and warm pools, if watched and due. If either fails neither is reported: a partial
    /// result would look like a change.
    pub(crate) async fn poll_reserved(&mut self, out: &ObservationSender) {
        let at = self.clock.now();
        let watched = self.target.reserved;
        if !(watched.training_plans || watched.warm_pools)
            || !is_due(at, self.reserved_due, self.poll.utilisation_every)
        {
            return;
        }
        let source = Source::Reserved;
        let mut unknowns = Unknowns::default();
        match self.reserved(at, &mut unknowns).await {
            Ok(all) => {
                self.reserved_due = at + self.poll.utilisation_every;
                let mut observations = vec![Observation::Reserved { at, all }];
                observations.extend(unknowns.into_observations());
                observations.push(Observation::Answered { source, queue: None, at });
                send(out, observations).await;
            }
            Err(failure) => {
                send(out, vec![Observation::Failed { source, queue: None, at, error: failure.to_string() }]).await;
            }
        }
    }

    async fn reserved(&mut self, at: Timestamp, unknowns: &mut Unknowns) -> Result<Vec<Reserved>, Failure> {
        let mut all = Vec::new();
        if self.target.reserved.training_plans {
            all.append(&mut self.training_plans(unknowns).await?);
        }
        if self.target.reserved.warm_pools {
            self.pools = self.warm_pools(at, unknowns).await?;
            all.extend(self.pools.iter().flat_map(|(name, instances)| translate::warm_pool(name, instances)));
        }
        Ok(all)
    }

    /// Training plans, unique by name.
    async fn training_plans(&self, unknowns: &mut Unknowns) -> Result<Vec<Reserved>, Failure> {
        const OPERATION: &str = "ListTrainingPlans";
        let active = TrainingPlanFilter::builder().name(TrainingPlanFilterName::Status).value("Active").build();
        let (mut listing, mut token) = (Listing::new(OPERATION, MAX_PLAN_PAGES, self.clients.limits()), None);
        let mut plans = BTreeMap::new();
        loop {
            let request = self.clients.sagemaker.list_training_plans().filters(active.clone()).set_next_token(token);
            let page = request.send().await.map_err(|error| Failure::new(OPERATION, &error))?;
            let summaries = page.training_plan_summaries();
            for plan in summaries.iter().filter_map(|plan| translate::training_plan(plan, unknowns)) {
                plans.entry(plan.name.clone()).or_insert(plan);
            }
            let names = summaries.iter().filter_map(|plan| plan.training_plan_name());
            token = listing.next(page.next_token.clone(), names)?;
            if token.is_none() {
                return Ok(plans.into_values().collect());
            }
        }
    }

    /// The warm pools available now. There may be more beyond the last page read. A pool that a job has reused
    /// belongs to that job.
    async fn warm_pools(&self, at: Timestamp, unknowns: &mut Unknowns) -> Result<Pools, Failure> {
        const OPERATION: &str = "ListTrainingJobs";
        let since = DateTime::from_secs((at - POOLS_LEFT_WITHIN).millis() / 1_000);
        let (mut listing, mut token) = (Listing::new(OPERATION, MAX_POOL_PAGES, self.clients.limits()), None);
        let mut pools = Pools::new();
        loop {
            let request = self.clients.sagemaker.list_training_jobs();
            let request = request.warm_pool_status_equals(WarmPoolResourceStatus::Available);
            let request = request.last_modified_time_after(since).sort_order(SortOrder::Descending).max_results(100);
            let page = request.set_next_token(token).send().await.map_err(|error| Failure::new(OPERATION, &error))?;
            for name in page.training_job_summaries().iter().filter_map(translate::waiting_pool) {
                let instances = match self.pools.get(name).or_else(|| pools.get(name)) {
                    Some(known) => known.clone(),
                    None => self.pool(name, unknowns).await?,
                };
                pools.insert(name.to_owned(), instances);
            }
            let names = page.training_job_summaries().iter().filter_map(|job| job.training_job_name());
            token = match listing.next(page.next_token.clone(), names) {
                Ok(Some(next)) => Some(next),
                // The listing counts the limit as hit.
                Ok(None) | Err(_) => return Ok(pools),
            };
        }
    }

    async fn pool(&self, name: &str, unknowns: &mut Unknowns) -> Result<Vec<Capacity>, Failure> {
        match self.clients.sagemaker.describe_training_job().training_job_name(name).send().await {
            Ok(answer) => Ok(translate::pool(&answer, unknowns)),
            Err(error) if is_not_found(&error) => Ok(Vec::new()),
            Err(error) => Err(Failure::new("DescribeTrainingJob", &error)),
        }
    }
}

#[cfg(test)]
mod tests;
