//! The reporting hosts of a running job: their GPUs and utilisation.
//!
//! SageMaker numbers the hosts of a training job `algo-1`, `algo-2` and so on, over all its instance groups, and
//! reports percentages summed over the GPUs of a host. The order of the groups is not documented. It is assumed to
//! be that of the request, unless the reported percentages rule that out.

use std::time::Duration;

use crate::jobs::Job;
use crate::metrics::Inputs;
use crate::model::{Accelerators, Capacity, HostUtilisation, accelerators_of};

/// Utilisation older than this is ignored.
const STALE: Duration = Duration::from_secs(900);

/// Maximum instance groups whose order is searched: SageMaker's limit is five.
const MAX_GROUPS: usize = 5;

/// Tolerance by which a mean over a few minutes may exceed the maximum of a host's GPUs.
const TOLERANCE: f64 = 1.05;

/// A host with a recent report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Host {
    /// Number of GPUs; at least one.
    pub(super) gpus: f64,
    /// Their utilisation, from 0 to 1.
    pub(super) utilisation: f64,
}

/// Hosts of one instance group.
#[derive(Clone, Copy, Debug)]
struct Group {
    hosts: f64,
    /// GPUs per host; `None` if the instance type is unknown.
    gpus: Option<u32>,
}

/// Report of one host.
#[derive(Clone, Copy, Debug)]
struct Report {
    /// From 1; `None` if its name has no number.
    number: Option<u32>,
    percent: f64,
}

/// The hosts of a job with recent reports and GPUs. Hosts of unknown instance type are left out.
pub(super) fn reporting(job: &Job, inputs: &Inputs<'_>) -> Vec<Host> {
    named(job, inputs).into_iter().map(|(_, host)| host).collect()
}

/// As [`reporting`], each with its report.
pub(super) fn named<'a>(job: &Job, inputs: &Inputs<'a>) -> Vec<(&'a HostUtilisation, Host)> {
    let all = inputs.ledger.hosts_of(&job.latest.id);
    // Hosts of a stopped attempt continue to report for a while: they no longer belong to this job.
    let of_attempt =
        all.filter(|host| job.latest.training_job.as_ref().is_none_or(|name| is_host_of(&host.host, name.as_str())));
    let recent = of_attempt.filter(|host| inputs.now.since(host.at) <= STALE && host.gpu_percent.is_finite());
    let recent: Vec<&HostUtilisation> = recent.collect();
    let report = |host: &&HostUtilisation| Report { number: number_of(&host.host), percent: host.gpu_percent.max(0.0) };
    let reports: Vec<Report> = recent.iter().map(report).collect();
    let groups: Vec<Group> = job.latest.demand.iter().map(group).collect();
    let gpus = gpus_of_all(&groups, &reports);
    let host = |((host, report), gpus): ((&'a HostUtilisation, &Report), Option<u32>)| {
        let gpus = gpus.filter(|gpus| *gpus > 0).map(f64::from)?;
        Some((host, Host { gpus, utilisation: (report.percent / 100.0 / gpus).clamp(0.0, 1.0) }))
    };
    recent.into_iter().zip(&reports).zip(gpus).filter_map(host).collect()
}

/// GPUs and mean utilisation of some hosts; `None` without hosts.
pub(super) fn mean(hosts: impl IntoIterator<Item = Host>) -> Option<(f64, f64)> {
    let sums =
        hosts.into_iter().fold((0.0, 0.0), |(busy, all), host| (busy + host.utilisation * host.gpus, all + host.gpus));
    (sums.1 > 0.0).then(|| (sums.1, sums.0 / sums.1))
}

fn group(capacity: &Capacity) -> Group {
    Group { hosts: capacity.quantity, gpus: accelerators_of(&capacity.unit).map(Accelerators::gpus) }
}

/// Whether a host, `<training job>/algo-<n>`, belongs to a training job.
fn is_host_of(host: &str, training_job: &str) -> bool {
    host.strip_prefix(training_job).is_some_and(|rest| rest.starts_with('/'))
}

fn number_of(host: &str) -> Option<u32> {
    host.rsplit_once("/algo-")?.1.parse().ok()
}

/// GPUs of the host behind each report; `None` if unknown, or if the job has no such host.
fn gpus_of_all(groups: &[Group], reports: &[Report]) -> Vec<Option<u32>> {
    let in_order = |order: &[Group]| reports.iter().map(|report| gpus_of(order, *report)).collect::<Vec<_>>();
    if groups.windows(2).all(|pair| matches!(pair, [one, other] if one.gpus == other.gpus)) {
        return in_order(groups);
    }
    let is_possible = |gpus: &Vec<Option<u32>>| {
        let fits = |(report, gpus): (&Report, &Option<u32>)| {
            gpus.is_none_or(|gpus| report.percent <= f64::from(gpus) * 100.0 * TOLERANCE)
        };
        reports.iter().zip(gpus).all(fits)
    };
    let as_requested = in_order(groups);
    if is_possible(&as_requested) {
        return as_requested;
    }
    let orders = if groups.len() <= MAX_GROUPS { permutations(groups) } else { Vec::new() };
    let mut possible = orders.iter().map(|order| in_order(order)).filter(is_possible);
    let unknown = || vec![None; reports.len()];
    let Some(first) = possible.next() else { return unknown() };
    if possible.all(|other| other == first) { first } else { unknown() }
}

fn gpus_of(order: &[Group], report: Report) -> Option<u32> {
    let is_same = order.windows(2).all(|pair| matches!(pair, [one, other] if one.gpus == other.gpus));
    let Some(number) = report.number else { return order.first().filter(|_| is_same)?.gpus };
    let mut last = 0.0;
    let of_host = |group: &&Group| {
        last += group.hosts;
        f64::from(number) <= last
    };
    order.iter().find(of_host).filter(|_| number > 0)?.gpus
}

fn permutations(groups: &[Group]) -> Vec<Vec<Group>> {
    if groups.is_empty() {
        return vec![Vec::new()];
    }
    let beginning_with = |index: usize| {
        let mut rest = groups.to_vec();
        let first = rest.remove(index);
        permutations(&rest).into_iter().map(move |rest| [first].into_iter().chain(rest).collect())
    };
    (0..groups.len()).flat_map(beginning_with).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GPUs of hosts that report these percentages, by number.
    fn gpus(groups: &[(&str, f64)], reports: &[(u32, f64)]) -> Vec<Option<u32>> {
        let groups: Vec<Group> = groups.iter().map(|(unit, hosts)| group(&Capacity::new(*unit, *hosts))).collect();
        let reports: Vec<Report> =
            reports.iter().map(|(number, percent)| Report { number: Some(*number), percent: *percent }).collect();
        gpus_of_all(&groups, &reports)
    }

    #[test]
    fn hosts_are_numbered_over_the_groups_in_order_unless_that_cannot_be() {
        let (p5, g5, cpu, new) = ("ml.p5.48xlarge", "ml.g5.xlarge", "ml.m5.large", "ml.p9.48xlarge");
        let (eight, one) = (Some(8), Some(1));
        assert_eq!(gpus(&[(p5, 1.0), (g5, 1.0)], &[(1, 700.0), (2, 40.0)]), [eight, one]);
        assert_eq!(gpus(&[(g5, 1.0), (p5, 1.0)], &[(1, 700.0), (2, 40.0)]), [eight, one], "one of g5 cannot give 700");
        assert_eq!(gpus(&[(p5, 2.0), (g5, 3.0)], &[(2, 5.0), (5, 5.0)]), [eight, one]);
        assert_eq!(gpus(&[(cpu, 2.0), (p5, 1.0)], &[(3, 30.0)]), [eight]);
        assert_eq!(gpus(&[(cpu, 2.0), (p5, 1.0)], &[(1, 30.0)]), [eight], "a processor reports no GPU");
        // Both orders of two groups are ruled out.
        assert_eq!(gpus(&[(g5, 1.0), (p5, 1.0)], &[(1, 700.0), (2, 700.0)]), [None, None]);
        // Two orders of three groups remain, and they differ in the last host.
        let three = [(g5, 1.0), (p5, 1.0), ("ml.g5.12xlarge", 1.0)];
        assert_eq!(gpus(&three, &[(1, 790.0), (2, 10.0), (3, 20.0)]), [None, None, None]);
        assert_eq!(gpus(&[(new, 1.0), (p5, 1.0)], &[(1, 700.0), (2, 700.0)]), [None, eight]);
        assert_eq!(gpus(&[(p5, 2.0)], &[(0, 7.0), (2, 7.0), (3, 7.0)]), [None, eight, None], "it has no such hosts");
        assert_eq!(gpus(&[], &[(1, 7.0)]), [None]);
    }
}
