//! Cost of the service itself, at the shipped prices: from the latest batches of its sinks and its AWS requests.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::cost::{ClassicUse, Destination, OtlpUse, PriceTable, SECONDS_A_MONTH, Usage, bill, hosts_in_use};
use crate::publish::{MAX_DATA_PER_REQUEST, Report};
use crate::service::StartError;
use trainspotter_core::metrics::{Frame, Service};
use trainspotter_core::yaml::Problems;

/// Weight of the newest batch in the moving average: batches differ in size.
const NEWEST_WEIGHT: f64 = 0.2;

/// Sinks that are billed by volume.
const CLASSIC: &str = "cloudwatch";
const OTLP: &str = "cloudwatch-otlp";

/// Usage, as far as known.
#[derive(Debug)]
pub(super) struct OwnCost {
    prices: PriceTable,
    config: Usage,
    /// GPU metric requests per month for each host that runs a job.
    requests_per_host: f64,
    every: Duration,
    classic_series: Option<u64>,
    otlp: Option<(u64, f64)>,
}

impl OwnCost {
    /// Starts with the configuration only.
    ///
    /// # Errors
    ///
    /// The shipped prices cannot be parsed; a released binary never fails here.
    pub(super) fn new(config: &Config) -> Result<Self, StartError> {
        let unreadable = |mistakes: Problems| StartError::new("reading the prices", mistakes.to_string());
        Ok(Self {
            prices: PriceTable::shipped().map_err(unreadable)?,
            config: Usage::of(config, 0.0, 0),
            requests_per_host: Usage::of(config, 1.0, 0).metrics_requested,
            every: config.publish.cloudwatch.as_ref().map_or(Duration::ZERO, |sink| sink.every),
            classic_series: None,
            otlp: None,
        })
    }

    /// Records what a sink published.
    pub(super) fn published(&mut self, report: &Report, service: &mut Service) {
        service.left_out.retain(|(sink, _), _| **sink != *report.sink);
        let left_out = report.left_out.iter().map(|(metric, series)| ((report.sink.to_string(), *metric), *series));
        service.left_out.extend(left_out);
        if report.error.is_some() {
            return;
        }
        match &*report.sink {
            CLASSIC => self.classic_series = Some(report.series),
            OTLP => {
                let bytes = report.bytes as f64;
                let before = self.otlp.map_or(bytes, |(_, before)| before);
                self.otlp = Some((report.series, before + NEWEST_WEIGHT * (bytes - before)));
            }
            _ => {}
        }
    }

    /// Sets the projected monthly cost.
    pub(super) fn ticked(&self, frame: &Arc<Frame>, service: &mut Service) {
        let pushes = SECONDS_A_MONTH / self.every.as_secs_f64().max(1.0);
        let requests = |series: u64| series.div_ceil(MAX_DATA_PER_REQUEST as u64) as f64 * pushes;
        let classic = self.classic_series.map(|series| ClassicUse { series, left_out: 0, requests: requests(series) });
        let otlp = self.otlp.iter().map(|(series, bytes)| OtlpUse {
            sink: OTLP.to_owned(),
            is_cloudwatch: true,
            series: *series,
            points: *series as f64 * pushes,
            bytes: bytes * pushes,
        });
        let usage = Usage {
            classic,
            otlp: otlp.collect(),
            metrics_requested: self.requests_per_host
                * hosts_in_use(std::slice::from_ref(frame.as_ref())).unwrap_or_default(),
            ..self.config.clone()
        };
        let bill = bill(&usage, &self.prices);
        let costs = Destination::ALL.iter().filter_map(|to| Some((to.as_str(), bill.of(*to)?)));
        service.monthly_cost = costs.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::SinkError;
    use trainspotter_core::metrics::catalogue::QUEUE_JOBS;

    const CONFIG: &str = "
targets: [{ region: us-east-1 }]
publish: { cloudwatch: { metrics: both } }
";

    #[test]
    fn what_sinks_took_last_is_what_a_month_costs() {
        let config = crate::config::load("c.yaml", CONFIG, std::path::Path::new("."), &|_| None).unwrap();
        let mut cost = OwnCost::new(&config).unwrap();
        let mut service = Service::default();
        let frame = Arc::new(Frame::default());
        cost.ticked(&frame, &mut service);
        assert_eq!(service.monthly_cost.keys().collect::<Vec<_>>(), [&"dashboards"]);

        let left_out = [(QUEUE_JOBS.name, 7)].into();
        let classic = Report { sink: CLASSIC.into(), series: 100, left_out, ..Report::default() };
        cost.published(&classic, &mut service);
        cost.published(
            &Report { sink: OTLP.into(), series: 1_000, bytes: 1_000_000, ..Report::default() },
            &mut service,
        );
        cost.published(&Report { sink: "otlp".into(), series: 9, bytes: 9, ..Report::default() }, &mut service);
        let failed = Some(SinkError::Unavailable { reason: "away".to_owned(), retry_after: None });
        cost.published(&Report { sink: CLASSIC.into(), error: failed, ..Report::default() }, &mut service);
        cost.ticked(&frame, &mut service);
        let of = |destination: &str| (service.monthly_cost[destination] * 100.0).round() / 100.0;
        assert_eq!((of("classic"), of("otlp")), (30.44, 21.9));
        assert_eq!(service.left_out.len(), 0, "as of the last report");
        cost.published(&classic, &mut service);
        assert_eq!(service.left_out[&(CLASSIC.to_owned(), QUEUE_JOBS.name)], 7);
    }
}
