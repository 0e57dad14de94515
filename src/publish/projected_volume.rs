//! Monthly volume per sink, for `trainspotter cost`: the same selection of series and the same messages as
//! published. Pure.

use std::time::Duration;

use crate::config;
use crate::config::Histograms;
use crate::cost::{ClassicUse, OtlpUse, PriceTable, SECONDS_A_MONTH};
use crate::publish::cloudwatch::{Admission, Budget, MAX_DATA_PER_REQUEST};
use trainspotter_core::metrics::Frame;
use trainspotter_otlp::{ExponentialHistograms, Form, MAX_POINTS_PER_REQUEST, Origin, charged_bytes, requests_in};

/// Fraction of points that change within a minute: a seventh on the demo and at most a sixth, plus a margin for
/// busier queues.
pub const CHANGED_FRACTION: f64 = 0.25;

/// Volume of custom metrics for a frame of one of `targets` targets, if every month is like it. The budget is the
/// service's: the part of one target at the `shipped` prices, whatever prices the bill uses.
pub fn classic_use(frame: &Frame, sink: &config::CloudWatch, targets: usize, shipped: &PriceTable) -> ClassicUse {
    let samples = frame.samples.iter().filter(|sample| sample.metric.is_in_cloudwatch());
    let all = samples.clone().count() as u64;
    let series = match budget_of_target(sink.budget, targets) {
        None => all,
        Some(dollars) => {
            let mut budget = Budget::new(dollars, sink.every, shipped).warm();
            budget.admit(frame);
            samples.filter(|sample| budget.admission(sample.metric, &sample.labels) == Admission::Sent).count() as u64
        }
    };
    let requests_each = series.div_ceil(MAX_DATA_PER_REQUEST as u64) as f64;
    ClassicUse { series, left_out: all - series, requests: requests_each * pushes(sink.every) }
}

/// Number of series of each of `targets` targets that the budget pays for at the `shipped` prices; `None` without a
/// budget.
pub fn affordable_series(sink: &config::CloudWatch, targets: usize, shipped: &PriceTable) -> Option<usize> {
    let dollars = budget_of_target(sink.budget, targets)?;
    Some(Budget::new(dollars, sink.every, shipped).most())
}

/// The part of a target: targets share the budget evenly.
fn budget_of_target(dollars: Option<f64>, targets: usize) -> Option<f64> {
    let targets = f64::from(u32::try_from(targets.max(1)).unwrap_or(u32::MAX));
    dollars.map(|dollars| dollars / targets)
}

/// Volume of a frame by OTLP to one receiver, at this interval.
pub fn otlp_use(
    frame: &Frame,
    sink: &str,
    is_cloudwatch: bool,
    (every, repeat_unchanged): (Duration, Duration),
    histograms: Histograms,
    origin: &Origin,
) -> OtlpUse {
    let exponential = (histograms == Histograms::Exponential).then(|| ExponentialHistograms::of_buckets(frame));
    let form = Form {
        origin,
        max_points: MAX_POINTS_PER_REQUEST,
        is_short: is_cloudwatch,
        exponential: exponential.as_ref(),
        unchanged: None,
    };
    let requests = requests_in(&form, frame, None);
    let series: u64 = requests.iter().map(|(_, points)| points).sum();
    let bytes: u64 = requests.iter().map(|(request, _)| charged_bytes(request)).sum();
    // Changed points are sent each time, unchanged ones at the repeat interval.
    let repeated = if repeat_unchanged > every { every.as_secs_f64() / repeat_unchanged.as_secs_f64() } else { 1.0 };
    let pushes = pushes(every) * (CHANGED_FRACTION + (1.0 - CHANGED_FRACTION) * repeated);
    OtlpUse {
        sink: sink.to_owned(),
        is_cloudwatch,
        series,
        points: series as f64 * pushes,
        bytes: bytes as f64 * pushes,
    }
}

fn pushes(every: Duration) -> f64 {
    SECONDS_A_MONTH / every.as_secs_f64().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{Assumed, assumed_frame};
    use trainspotter_core::model::Timestamp;

    #[test]
    fn the_budget_is_that_of_one_target_at_the_prices_that_the_service_has() {
        let assumed = Assumed {
            queues: 5,
            shares: 20,
            instance_types: 1,
            bands: 1,
            sinks: 1,
            receivers: 1,
            reserved: false,
            priced: false,
        };
        let frame = assumed_frame(&assumed, Timestamp::from_millis(1_700_000_000_000));
        let shipped = PriceTable::shipped().unwrap();
        let sink = |budget: Option<f64>| config::CloudWatch {
            budget,
            ..config::CloudWatch::new("T", Duration::from_secs(60))
        };
        let of = |budget: Option<f64>, targets: usize| classic_use(&frame, &sink(budget), targets, &shipped);
        assert_eq!(of(Some(60.0), 2), of(Some(30.0), 1));
        assert!(of(Some(60.0), 1).series > of(Some(60.0), 2).series);
        assert_eq!(of(None, 2), of(None, 1));
        let affordable = |dollars: f64, targets: usize| affordable_series(&sink(Some(dollars)), targets, &shipped);
        // A request a minute costs 44 cents a month.
        assert_eq!((affordable(1.0, 1), affordable(1.0, 3), affordable(31.0, 1)), (Some(1), Some(0), Some(101)));
        assert_eq!(affordable_series(&sink(None), 1, &shipped), None);
    }
}
