//! Misconfiguration of queues, shares and environments, reported before jobs wait because of it.
//!
//! A finding names its subject and what to do, in one sentence each. It lasts as long as its condition holds; this
//! module keeps no state.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::jobs::{FailureCategory, Job, Ledger, account_limit};
use crate::metrics::borrowed_and_lent::Unused;
pub use crate::metrics::finding::{Finding, Problem};
use crate::metrics::frame::{FailureFigures, ShareFigures};
use crate::metrics::reasons::{Diagnosis, Reason, most};
use crate::metrics::recent_failures::WINDOW as FAILURES_WINDOW;
use crate::model::format::{counted, duration};
use crate::model::{
    Account, Capacity, InstanceType, JobStatus, Policy, Queue, QueueName, QuotaShare, ShareName, Sharing, Timestamp,
};

/// Clock skew above this many seconds is reported.
pub const MAX_CLOCK_SKEW_SECONDS: f64 = 5.0;

/// Shares unused for this long are reported.
pub const UNUSED: Duration = Duration::from_secs(7 * 24 * 3600);

/// Number of jobs recently refused by an account limit, by queue, and AWS's message for the latest, if known.
pub(super) type Refused = BTreeMap<QueueName, (u64, Option<String>)>;

/// Jobs refused by account limits in the last day.
pub(super) fn refused(failures: &[FailureFigures], ledger: &Ledger, now: Timestamp) -> Refused {
    let mut refused = Refused::new();
    for row in failures.iter().filter(|row| row.category == FailureCategory::AccountQuota) {
        refused.entry(row.queue.clone()).or_default().0 += row.jobs;
    }
    let recent = || ledger.ended_since(now - FAILURES_WINDOW);
    for (queue, (_, words)) in &mut refused {
        let is_refused = |job: &&Job| {
            *job.queue() == *queue
                && *job.status() == JobStatus::Failed
                && job.failure() == FailureCategory::AccountQuota
        };
        *words = recent().find(is_refused).and_then(|job| job.latest.status_reason.as_deref().map(str::to_owned));
    }
    refused
}

fn refused_jobs((jobs, words): &(u64, Option<String>)) -> String {
    let jobs = counted(*jobs, "job");
    match words.as_deref().and_then(account_limit) {
        Some((name, limit)) => {
            let limit = counted(u64::from(limit), "instance");
            format!("The account's limit '{name}' is {limit}; SageMaker refused {jobs} because of it in the last day.")
        }
        None => format!("SageMaker refused {jobs} in the last day because of an account limit."),
    }
}

/// All findings: by queue, then in the order of [`Problem`].
pub(super) fn findings(
    queues: &[Queue],
    shares: &[ShareFigures],
    diagnosis: &[Diagnosis<'_>],
    unused: &Unused,
    refused: &Refused,
    account: &Account,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for queue in queues {
        let finding = |share: Option<&ShareName>, problem, what, advice: &'static str| Finding {
            queue: queue.name.clone(),
            share: share.cloned(),
            problem,
            what,
            advice: advice.into(),
        };
        for what in over_promised(queue, queues) {
            let advice = "Raise the environment's limit or lower quotas: a share may never get its whole quota.";
            found.push(finding(None, Problem::OverPromised, what, advice));
        }
        for (share, what) in too_large(queue, shares, diagnosis) {
            let advice = "It will never start: submit it smaller or to another share, or raise the limit.";
            found.push(finding(share, Problem::JobTooLarge, what, advice));
        }
        for (share, what) in nobody_borrows(queue) {
            let advice = "Set another share to LEND_AND_BORROW; otherwise this share's idle capacity stays unused.";
            found.push(finding(Some(share), Problem::NobodyBorrows, what, advice));
        }
        for (share, seconds) in unused_shares(queue, unused) {
            let what = format!("No job of {share} has held an instance for {} days.", (seconds / 86_400.0).floor());
            let advice = "Give its quota to a share whose jobs wait, or remove it.";
            found.push(finding(Some(share), Problem::ShareUnused, what, advice));
        }
        for what in &queue.invalid {
            let advice = "AWS Batch may not run its jobs until this is fixed: see its status in the AWS Batch console.";
            found.push(finding(None, Problem::Invalid, what.clone(), advice));
        }
        if !queue.has_time_limit {
            let what = format!("{} has no job state time limit: a job that can never start blocks others.", queue.name);
            let advice = "Set jobStateTimeLimitActions with TERMINATE for RUNNABLE jobs.";
            found.push(finding(None, Problem::NoTimeLimit, what, advice));
        }
        for what in beyond_account(queue, queues, account) {
            let advice = "Request a higher limit in Service Quotas, or lower the limits of the service environments.";
            found.push(finding(None, Problem::AccountQuota, what, advice));
        }
        if let Some(what) = refused.get(&queue.name).map(refused_jobs) {
            let advice = "Request a higher limit in Service Quotas, or lower the service environment's limit to match.";
            found.push(finding(None, Problem::AccountQuota, what, advice));
        }
    }
    found
}

/// The finding about the local clock, if it is far ahead of AWS's, or behind if negative.
pub(super) fn clock_skew(queues: &[Queue], skew_seconds: Option<f64>) -> Option<Finding> {
    let skew = skew_seconds.filter(|skew| skew.abs() > MAX_CLOCK_SKEW_SECONDS)?;
    let direction = if skew > 0.0 { "ahead of" } else { "behind" };
    Some(Finding {
        queue: queues.first()?.name.clone(),
        share: None,
        problem: Problem::ClockSkew,
        what: format!("This machine's clock is {} {direction} AWS's.", duration(skew.abs())),
        advice: "Synchronize it, for example with NTP: the service uses AWS's time meanwhile, but signatures and other programs do not.".into(),
    })
}

/// Compares the quotas of all queues of the queue's environment with its capacity. Reported for its first queue
/// only.
fn over_promised(queue: &Queue, queues: &[Queue]) -> Vec<String> {
    let Some(environment) = &queue.environment else { return Vec::new() };
    let beside = |other: &&Queue| other.environment.as_ref().is_some_and(|other| other.name == environment.name);
    if queues.iter().find(beside).is_some_and(|first| first.name != queue.name) {
        return Vec::new();
    }
    let mut promised: BTreeMap<&InstanceType, f64> = BTreeMap::new();
    for share in queues.iter().filter(beside).flat_map(quota_shares) {
        for limit in &share.limits {
            *promised.entry(&limit.unit).or_default() += limit.quantity;
        }
    }
    let has =
        |unit: &InstanceType| environment.limits.iter().filter(|limit| limit.unit == *unit).map(|l| l.quantity).sum();
    let over = promised
        .into_iter()
        .map(|(unit, promised)| (unit, promised, has(unit)))
        .filter(|(_, p, has): &(_, _, f64)| p > has);
    over.map(|(unit, promised, has)| {
        format!("The quotas of the shares on environment {} sum to {promised} {unit}; it has {has}.", environment.name)
    })
    .collect()
}

/// Compares the capacity of all environments, plus use outside of them, with the account's limits. Reported for the
/// first queue only.
fn beyond_account(queue: &Queue, queues: &[Queue], account: &Account) -> Vec<String> {
    if queues.first().is_none_or(|first| first.name != queue.name) {
        return Vec::new();
    }
    let environments: BTreeMap<&str, _> =
        queues.iter().filter_map(|queue| queue.environment.as_ref()).map(|one| (one.name.as_str(), one)).collect();
    let beyond = |limit: &Capacity| {
        // An environment that counts instances of any type may use all of them for this type.
        let counts = |one: &&Capacity| one.unit == limit.unit || one.unit.is_any();
        let allowed: f64 =
            environments.values().flat_map(|one| &one.limits).filter(counts).map(|one| one.quantity).sum();
        let names = environments.keys().copied().collect::<Vec<_>>().join(", ");
        let outside = account.outside.as_ref().map_or(0.0, |outside| outside.of(&limit.unit));
        // A limit of a type that no environment allows does not concern the queues.
        (allowed > 0.0 && allowed + outside > limit.quantity).then(|| {
            let others = if outside > 0.0 {
                format!(", and training jobs outside of the watched queues use {outside}")
            } else {
                String::new()
            };
            format!(
                "The account's limit is {} {} for training jobs; the environments ({names}) allow {allowed}{others}.",
                limit.quantity, limit.unit
            )
        })
    };
    account.limits.iter().filter_map(beyond).collect()
}

/// The largest waiting job of each share that can never run there.
fn too_large<'a>(
    queue: &Queue,
    shares: &[ShareFigures],
    diagnosis: &[Diagnosis<'a>],
) -> Vec<(Option<&'a ShareName>, String)> {
    let exceeds = diagnosis.iter().filter(|one| *one.job.queue() == queue.name && one.reason == Reason::ExceedsShare);
    let mut by_share: BTreeMap<Option<&ShareName>, Vec<&Diagnosis<'_>>> = BTreeMap::new();
    exceeds.for_each(|one| by_share.entry(one.job.share()).or_default().push(one));
    let finding = |(share, jobs): (Option<&'a ShareName>, Vec<&Diagnosis<'a>>)| {
        let one =
            jobs.iter().max_by(|a, b| a.evidence.needs.unwrap_or(0.0).total_cmp(&b.evidence.needs.unwrap_or(0.0)))?;
        let (unit, needs) = (one.evidence.unit.as_ref()?, one.evidence.needs?);
        let count: usize = jobs.iter().map(|one| one.jobs).sum();
        let others = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
        let largest = |of: Option<&ShareName>| {
            let rows = shares.iter().filter(|row| row.queue == queue.name && row.unit == *unit);
            rows.filter(|row| of.is_none_or(|of| row.share == *of)).filter_map(|row| row.largest_job).reduce(f64::max)
        };
        let limit = match (largest(share), largest(None), one.evidence.capacity) {
            (Some(own), Some(any), _) if needs <= any => {
                format!("its share can run {own}; another share of the queue {any}")
            }
            (Some(_), Some(any), _) => format!("no share of the queue can run more than {any}"),
            (_, _, Some(capacity)) => format!("the environment has {capacity}"),
            (_, _, None) => "AWS reports that it never fits".to_owned(),
        };
        let name = &one.job.latest.name;
        Some((share, format!("Job {name} ({}){others} requests {needs} {unit}; {limit}.", one.job.latest.id)))
    };
    by_share.into_iter().filter_map(finding).collect()
}

fn nobody_borrows(queue: &Queue) -> Vec<(&ShareName, String)> {
    let borrows = |share: &QuotaShare, unit: &InstanceType| most(share, unit) > share.limit(unit).unwrap_or(0.0);
    let vain = |share: &&QuotaShare| {
        let others = || quota_shares(queue).iter().filter(|other| other.name != share.name && other.enabled);
        !share.limits.iter().any(|limit| others().any(|other| borrows(other, &limit.unit)))
    };
    // A share that lends and borrows needs no other borrower: it can borrow from the others itself.
    let lenders = quota_shares(queue).iter().filter(|share| share.sharing == Sharing::Lend).filter(vain);
    let message = |share| format!("{share} lends, but no other share of {} may borrow.", queue.name);
    lenders.map(|share| (&share.name, message(&share.name))).collect()
}

fn unused_shares<'a>(queue: &'a Queue, unused: &Unused) -> Vec<(&'a ShareName, f64)> {
    let seconds = |share: &QuotaShare| unused.get(&(queue.name.clone(), share.name.clone())).copied().unwrap_or(0.0);
    let long = |(_, seconds): &(&ShareName, f64)| *seconds >= UNUSED.as_secs_f64();
    quota_shares(queue).iter().map(|share| (&share.name, seconds(share))).filter(long).collect()
}

fn quota_shares(queue: &Queue) -> &[QuotaShare] {
    match &queue.policy {
        Policy::QuotaShares(shares) => shares,
        Policy::Fifo | Policy::FairShare { .. } => &[],
    }
}

#[cfg(test)]
mod tests;
