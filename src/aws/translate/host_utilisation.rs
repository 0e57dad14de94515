//! Converts pages of `GetMetricData` to the utilisation of hosts.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_cloudwatch::types::MetricDataResult;

use crate::aws::translate::date_time;
use crate::aws::translate::present;
use trainspotter_core::model::HostUtilisation;
use trainspotter_core::model::JobId;
use trainspotter_core::model::Timestamp;

/// Upper bound of a host's percentage, summed over its GPUs: no instance type has a hundred GPUs.
const MAX_PERCENT: f64 = 10_000.0;

/// Averages the datapoints of many hosts over the pages of `GetMetricData`. A datapoint that is on several pages
/// counts once.
#[derive(Debug, Default)]
pub(crate) struct MeanUtilisation(BTreeMap<String, BTreeMap<Timestamp, f64>>);

impl MeanUtilisation {
    /// Adds a page of results. Values that are not valid percentages are ignored.
    pub(crate) fn add(&mut self, results: &[MetricDataResult]) {
        for result in results {
            let Some(id) = present(result.id()) else { continue };
            for (at, value) in result.timestamps().iter().zip(result.values()) {
                let Some(at) = date_time(Some(at)) else { continue };
                if (0.0..=MAX_PERCENT).contains(value) {
                    self.0.entry(id.to_owned()).or_default().insert(at, *value);
                }
            }
        }
    }

    /// The mean for query `id`, of `host` of `job`; `None` without datapoints: unknown, not idle.
    pub(crate) fn host(&self, id: &str, job: &JobId, host: &str, period: Duration) -> Option<HostUtilisation> {
        let points = self.0.get(id)?;
        let (newest, _) = points.last_key_value()?;
        Some(HostUtilisation {
            job: job.clone(),
            host: host.to_owned(),
            at: *newest + period,
            gpu_percent: points.values().sum::<f64>() / points.len() as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_types::DateTime;

    #[test]
    fn a_host_has_the_mean_of_what_came_and_no_data_is_no_entry() {
        let result = |id: &str, points: &[(i64, f64)]| {
            let mut builder = MetricDataResult::builder().id(id);
            for (at, value) in points {
                builder = builder.timestamps(DateTime::from_secs(*at)).values(*value);
            }
            builder.build()
        };
        let mut means = MeanUtilisation::default();
        let odd = [f64::NAN, f64::INFINITY, 1e308, -1.0];
        means.add(&[
            result("h0", &[(180, 400.0), (120, 200.0)]),
            result("h1", &[]),
            result("h2", &odd.map(|value| (60, value))),
        ]);
        means.add(&[result("h0", &[(60, 300.0), (180, 400.0)]), result("h3", &[(60, 0.0)])]);
        let host = |id: &str| means.host(id, &"job".into(), "t/algo-1", Duration::from_secs(60));
        let first = host("h0").unwrap();
        assert_eq!((first.gpu_percent, first.at), (300.0, Timestamp::from_millis(240_000)));
        assert_eq!(host("h1"), None);
        assert_eq!(host("h2"), None);
        assert_eq!(host("h3").unwrap().gpu_percent, 0.0);
    }
}
