//! Last reported utilisation of the hosts of jobs in flight.

use std::collections::BTreeMap;

use crate::jobs::Ledger;
use crate::jobs::table::JobTable;
use crate::model::{HostUtilisation, JobId};

/// The latest report of each host, by job and host.
#[derive(Debug, Default)]
pub(super) struct Utilisation(BTreeMap<JobId, BTreeMap<String, HostUtilisation>>);

impl Utilisation {
    /// Drops the hosts of jobs that are not in flight.
    pub(super) fn forget(&mut self, jobs: &JobTable) {
        self.0.retain(|id, _| jobs.get(id).is_some_and(|job| job.status().is_in_flight()));
    }
}

impl Ledger {
    /// Applies a host's report, if its number is finite.
    pub fn observe_host(&mut self, host: HostUtilisation) {
        if host.gpu_percent.is_finite() {
            self.utilisation.0.entry(host.job.clone()).or_default().insert(host.host.clone(), host);
        }
    }

    /// The latest report of each host of a job, by host.
    pub fn hosts_of(&self, id: &JobId) -> impl Iterator<Item = &HostUtilisation> {
        self.utilisation.0.get(id).into_iter().flat_map(BTreeMap::values)
    }
}
