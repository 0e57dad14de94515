//! Converts service jobs and queue snapshots.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_batch::operation::describe_service_job::DescribeServiceJobOutput;
use aws_sdk_batch::operation::get_job_queue_snapshot::GetJobQueueSnapshotOutput;
use aws_sdk_batch::types::{ServiceJobAttemptDetail, ServiceJobPreemptedAttempt, ServiceResourceId};
use serde_json::Value;

use crate::aws::job_summary::{CapacityUsage, Millis, Summary, Text};
use crate::aws::translate::Unknowns;
use crate::aws::translate::capacities;
use crate::aws::translate::instances_of_job;
use crate::aws::translate::present;
use crate::aws::translate::queue_name;
use crate::aws::translate::status;
use crate::aws::translate::time;
use trainspotter_core::model::Attempt;
use trainspotter_core::model::Capacity;
use trainspotter_core::model::Demand;
use trainspotter_core::model::JobDetails;
use trainspotter_core::model::JobSeen;
use trainspotter_core::model::Position;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::QueueSnapshot;
use trainspotter_core::model::ShareName;
use trainspotter_core::model::StoppedAttempt;
use trainspotter_core::model::Timestamp;
use trainspotter_core::model::TrainingJobName;

/// Converts the jobs of a page one by one. A job often has the same share or demand as the one before, and then
/// shares the allocation.
pub(crate) struct ListedJobs<'q> {
    queue: &'q QueueName,
    share: Option<ShareName>,
    demand: Demand,
}

impl<'q> ListedJobs<'q> {
    pub(crate) fn new(queue: &'q QueueName) -> Self {
        Self { queue, share: None, demand: Demand::default() }
    }

    /// Converts the next job. An entry without id or creation time is skipped and recorded.
    pub(crate) fn next(&mut self, job: &Summary<'_>, unknowns: &mut Unknowns) -> Option<JobSeen> {
        let (id, created_at) = identity(text(&job.job_id), job.created_at.map(|at| at.0), unknowns)?;
        let resource = job.latest_attempt.as_ref().and_then(|attempt| attempt.service_resource_id.as_ref());
        Some(JobSeen {
            id: id.into(),
            name: text(&job.job_name).unwrap_or_default().into(),
            queue: self.queue.clone(),
            share: share_name(text(&job.quota_share_name), text(&job.share_identifier)).map(|name| self.share(name)),
            status: status(text(&job.status), unknowns),
            status_reason: present(text(&job.status_reason)).map(Into::into),
            created_at,
            scheduled_at: millis(job.scheduled_at),
            started_at: millis(job.started_at),
            stopped_at: millis(job.stopped_at),
            demand: self.demand(job.capacity_usage.as_deref().unwrap_or_default(), unknowns),
            training_job: resource.and_then(|resource| training_job_name(text(&resource.value)?)),
            odd_arn: odd_arn(text(&job.job_arn), id),
            terminated: job.is_terminated.unwrap_or(false),
            details: None,
        })
    }

    fn share(&mut self, name: &str) -> ShareName {
        match &self.share {
            Some(share) if share.as_str() == name => share.clone(),
            Some(_) | None => self.share.insert(name.into()).clone(),
        }
    }

    fn demand(&mut self, usage: &[CapacityUsage<'_>], unknowns: &mut Unknowns) -> Demand {
        let amount = |usage: &CapacityUsage<'_>| usage.quantity.map(|quantity| quantity.0);
        let same = |(usage, before): (&CapacityUsage<'_>, &Capacity)| {
            text(&usage.capacity_unit) == Some(before.unit.as_str()) && amount(usage) == Some(before.quantity)
        };
        if usage.len() != self.demand.len() || !usage.iter().zip(&self.demand).all(same) {
            let usage = usage.iter().map(|usage| (text(&usage.capacity_unit), amount(usage)));
            self.demand = instances_of_job(usage, unknowns).into();
        }
        self.demand.clone()
    }
}

fn text<'a>(text: &'a Option<Text<'_>>) -> Option<&'a str> {
    text.as_ref().map(Text::as_str)
}

fn millis(at: Option<Millis>) -> Option<Timestamp> {
    time(at.map(|at| at.0))
}

fn odd_arn(arn: Option<&str>, id: &str) -> Option<Arc<String>> {
    present(arn).filter(|arn| arn.rsplit('/').next() != Some(id)).map(|arn| Arc::new(arn.to_owned()))
}

/// Converts a `DescribeServiceJob` response; `None`, and recorded, if it lacks the job's id, queue or creation
/// time.
pub(crate) fn described_job(job: &DescribeServiceJobOutput, unknowns: &mut Unknowns) -> Option<JobSeen> {
    let (id, created_at) = identity(job.job_id(), job.created_at(), unknowns)?;
    let Some(queue) = job.job_queue().and_then(queue_name) else {
        unknowns.note("job_without_queue", id);
        return None;
    };
    let usage = job.capacity_usage().iter().map(|usage| (usage.capacity_unit(), usage.quantity()));
    let demand = match job.service_request_payload().and_then(|payload| instances_of_payload(payload, unknowns)) {
        Some(instances) => {
            instances_of_job(instances.iter().map(|(name, count)| (Some(name.as_str()), Some(*count))), unknowns)
        }
        None => instances_of_job(usage, unknowns),
    };
    Some(JobSeen {
        id: id.into(),
        name: job.job_name().unwrap_or_default().into(),
        queue,
        share: share_name(job.quota_share_name(), job.share_identifier()).map(ShareName::from),
        status: status(job.status().map(|status| status.as_str()), unknowns),
        status_reason: present(job.status_reason()).map(Into::into),
        created_at,
        scheduled_at: time(job.scheduled_at()),
        started_at: time(job.started_at()),
        stopped_at: time(job.stopped_at()),
        demand: demand.into(),
        training_job: job.latest_attempt().and_then(|attempt| training_job(attempt.service_resource_id())),
        odd_arn: odd_arn(job.job_arn(), id),
        terminated: job.is_terminated().unwrap_or(false),
        details: Some(Box::new(details(job, unknowns))),
    })
}

/// Converts a `GetJobQueueSnapshot` response. With quota shares it lists the first jobs of each share; these are
/// appended to the front of the whole queue, longest in place first.
pub(crate) fn snapshot(
    answer: &GetJobQueueSnapshotOutput,
    queue: &QueueName,
    at: Timestamp,
    unknowns: &mut Unknowns,
) -> QueueSnapshot {
    let position =
        |arn: Option<&str>, since| present(arn).map(|arn| Position { job_arn: arn.to_owned(), since: time(since) });
    let (whole, shares) = (answer.front_of_queue(), answer.front_of_quota_shares());
    let jobs = whole.map(|whole| whole.jobs()).unwrap_or_default().iter();
    let mut front: Vec<_> = jobs.filter_map(|job| position(job.job_arn(), job.earliest_time_at_position())).collect();
    let firsts = shares.and_then(|shares| shares.quota_shares()).into_iter().flatten().flat_map(|(_, jobs)| jobs);
    let mut firsts: Vec<_> =
        firsts.filter_map(|job| position(job.job_arn(), job.earliest_time_at_position())).collect();
    firsts.sort_by(|a, b| (a.since, &a.job_arn).cmp(&(b.since, &b.job_arn)));
    firsts.retain(|first| front.iter().all(|position| position.job_arn != first.job_arn));
    front.append(&mut firsts);

    let utilisation = answer.queue_utilization();
    let total = utilisation.map(|block| block.total_capacity_usage()).unwrap_or_default();
    let updated_at = whole.and_then(|block| block.last_updated_at());
    QueueSnapshot {
        queue: Some(queue.clone()),
        at,
        front,
        front_updated_at: time(updated_at.or_else(|| shares.and_then(|block| block.last_updated_at()))),
        used: capacities(total.iter().map(|usage| (usage.capacity_unit(), usage.quantity())), unknowns),
        used_by_share: used_by_share(answer, unknowns),
        utilisation_updated_at: time(utilisation.and_then(|block| block.last_updated_at())),
    }
}

fn used_by_share(answer: &GetJobQueueSnapshotOutput, unknowns: &mut Unknowns) -> Vec<(ShareName, Vec<Capacity>)> {
    let mut used = Vec::new();
    let utilisation = answer.queue_utilization();
    let fair = utilisation.and_then(|block| block.fairshare_utilization());
    for share in fair.map(|block| block.top_capacity_utilization()).unwrap_or_default() {
        let usage = share.capacity_usage().iter().map(|usage| (usage.capacity_unit(), usage.quantity()));
        if let Some(name) = present(share.share_identifier()) {
            used.push((name.into(), capacities(usage, unknowns)));
        }
    }
    let quota = utilisation.and_then(|block| block.quota_share_utilization());
    for share in quota.map(|block| block.top_capacity_utilization()).unwrap_or_default() {
        let usage = share.capacity_usage().iter().map(|usage| (usage.capacity_unit(), usage.quantity()));
        if let Some(name) = present(share.quota_share_name()) {
            used.push((name.into(), capacities(usage, unknowns)));
        }
    }
    used
}

fn identity<'a>(id: Option<&'a str>, created_at: Option<i64>, unknowns: &mut Unknowns) -> Option<(&'a str, Timestamp)> {
    let Some(id) = present(id) else {
        unknowns.note("job_without_id", "");
        return None;
    };
    let Some(created_at) = time(created_at) else {
        unknowns.note("job_without_created_at", id);
        return None;
    };
    Some((id, created_at))
}

fn share_name<'a>(quota_share: Option<&'a str>, share_identifier: Option<&'a str>) -> Option<&'a str> {
    present(quota_share).or_else(|| present(share_identifier))
}

fn details(job: &DescribeServiceJobOutput, unknowns: &mut Unknowns) -> JobDetails {
    let summary = job.preemption_summary();
    let preempted = summary.map(|summary| summary.recent_preempted_attempts()).unwrap_or_default();
    let counted = summary.and_then(|summary| summary.preempted_attempt_count());
    let mut attempts: Vec<_> = job.attempts().iter().map(attempt).collect();
    let mut preempted: Vec<_> = preempted.iter().map(stopped_attempt).collect();
    // AWS does not document the order. Attempts that never started sort by their end.
    attempts.sort_by_key(|attempt| attempt.started_at.or(attempt.stopped_at));
    preempted.sort_by_key(|attempt| attempt.stopped_at.or(attempt.started_at));
    let owner = job.tags().and_then(|tags| tags.get(JobDetails::OWNER_TAG));
    let tags = job.tags().into_iter().flatten();
    let count = |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok());
    let preemption = job.preemption_configuration();
    JobDetails {
        priority: job.scheduling_priority(),
        attempts,
        most_attempts: count(job.retry_strategy().and_then(|retry| retry.attempts())),
        most_preemptions: count(preemption.and_then(|preemption| preemption.preemption_retries_before_termination())),
        preemptions: preemptions(counted, preempted.len(), unknowns),
        preempted,
        attempt_timeout: count(job.timeout_config().and_then(|timeout| timeout.attempt_duration_seconds()))
            .filter(|seconds| *seconds > 0)
            .map(|seconds| Duration::from_secs(seconds.into())),
        owner: owner.map(|owner| owner.as_str().into()),
        tags: tags
            .filter(|(tag, _)| *tag != JobDetails::OWNER_TAG)
            .map(|(tag, value)| (tag.clone(), value.clone()))
            .collect(),
        start_by: start_by(job, unknowns),
    }
}

/// Start deadline of a job, from its tag; an unparseable tag is recorded.
fn start_by(job: &DescribeServiceJobOutput, unknowns: &mut Unknowns) -> Option<Timestamp> {
    let tag = job.tags()?.get(JobDetails::START_BY_TAG)?;
    let start_by = JobDetails::start_by(tag, time(Some(job.created_at()?))?);
    if start_by.is_none() {
        unknowns.note("start_by", tag);
    }
    start_by
}

/// Number of preemptions. If the count is missing or impossible, the listed attempts are counted; an impossible count
/// is recorded.
fn preemptions(counted: Option<i32>, listed: usize, unknowns: &mut Unknowns) -> u32 {
    let possible = |counted: i32| u32::try_from(counted).ok().filter(|count| *count <= JobDetails::MAX_PREEMPTIONS);
    match counted.map(|counted| possible(counted).ok_or(counted)) {
        Some(Ok(count)) => count,
        Some(Err(odd)) => {
            unknowns.note("preempted_attempt_count", &odd.to_string());
            u32::try_from(listed).unwrap_or(0)
        }
        None => u32::try_from(listed).unwrap_or(0),
    }
}

fn attempt(attempt: &ServiceJobAttemptDetail) -> Attempt {
    Attempt {
        started_at: time(attempt.started_at()),
        stopped_at: time(attempt.stopped_at()),
        status_reason: present(attempt.status_reason()).map(str::to_owned),
        training_job: training_job(attempt.service_resource_id()),
    }
}

fn stopped_attempt(attempt: &ServiceJobPreemptedAttempt) -> StoppedAttempt {
    StoppedAttempt {
        started_at: time(attempt.started_at()),
        stopped_at: time(attempt.stopped_at()),
        status_reason: present(attempt.status_reason()).map(str::to_owned),
    }
}

fn training_job(resource: Option<&ServiceResourceId>) -> Option<TrainingJobName> {
    training_job_name(resource?.value()?)
}

/// The name at the end of a training job's ARN. It is never derived from the job's name: AWS uses two different
/// forms.
fn training_job_name(arn: &str) -> Option<TrainingJobName> {
    let (_, name) = arn.split_once(":training-job/")?;
    present(Some(name)).map(TrainingJobName::from)
}

/// Instances per type from the SageMaker request payload, in the order of its instance groups. `None` if type or
/// count is missing, as when SageMaker chooses the type (`InstancePreferences`), or if a value is impossible, which
/// is recorded.
fn instances_of_payload(payload: &str, unknowns: &mut Unknowns) -> Option<Vec<(String, f64)>> {
    let request: Value = serde_json::from_str(payload).ok()?;
    let config = request.get("ResourceConfig")?;
    let groups = match config.get("InstanceGroups").and_then(Value::as_array) {
        Some(groups) if !groups.is_empty() => groups.as_slice(),
        Some(_) | None => std::slice::from_ref(config),
    };
    let mut instances = Vec::new();
    for group in groups {
        let name = group.get("InstanceType")?.as_str().filter(|name| !name.is_empty())?;
        let count = group.get("InstanceCount")?.as_f64()?;
        if !Capacity::new(name, count).is_of_job() {
            unknowns.note("instance_count", &format!("{count:?}"));
            return None;
        }
        // A group may have zero instances.
        if count > 0.0 {
            instances.push((name.to_owned(), count));
        }
    }
    (!instances.is_empty()).then_some(instances)
}

#[cfg(test)]
mod tests;
