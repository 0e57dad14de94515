//! Which metrics CloudWatch gets, and what they cost there.
//!
//! Each series costs money every month, so what an operator would not alarm on, or can have from another series, stays
//! out. Prometheus and OTLP get everything.

use trainspotter_core::metrics::catalogue;
use trainspotter_core::metrics::catalogue::Metric;
use trainspotter_core::metrics::catalogue::Stability;

/// Stable metrics that CloudWatch does not get, and why.
const LEFT_OUT: &[(&Metric, &str)] = &[
    (&catalogue::GPU_TIME, "the average of GpuPart times the period says the same"),
    (&catalogue::SOURCE_CALLS, "one series per operation and outcome, for debugging; SourceFailures is alarmed on"),
    (&catalogue::SOURCE_UNKNOWN, "one series per unknown value; the log names them too"),
    (&catalogue::NOTIFY_DELIVERIES, "one series per receiver and outcome; NotifyOldest is alarmed on"),
];

/// US list prices of custom metrics: dollars per metric and month for the series of each tier. Source: the CloudWatch
/// pricing page, 2026. Other regions differ by some percent. A series costs only for the hours in which it is sent.
const TIERS: &[(u64, f64)] = &[(10_000, 0.30), (240_000, 0.10), (750_000, 0.05), (u64::MAX, 0.02)];

/// Whether CloudWatch gets a metric: all stable ones but a few that are not worth their price. Experimental ones are not
/// worth a bill.
pub fn is_in_cloudwatch(metric: &Metric) -> bool {
    metric.stability == Stability::Stable && !LEFT_OUT.iter().any(|(left_out, _)| *left_out == metric)
}

/// What this many series cost in a month, in US dollars.
pub fn monthly_cost_dollars(series: u64) -> f64 {
    let mut left = series;
    let mut dollars = 0.0;
    for (size, price) in TIERS {
        let here = left.min(*size);
        dollars += here as f64 * price;
        left -= here;
    }
    dollars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tier_is_paid_at_its_own_price() {
        let check = |series, dollars: f64| assert!((monthly_cost_dollars(series) - dollars).abs() < 1e-6, "{series}");
        check(0, 0.0);
        check(100, 30.0);
        check(10_000, 3_000.0);
        check(10_001, 3_000.1);
        check(250_000, 27_000.0);
        check(1_000_000, 64_500.0);
        check(1_000_100, 64_502.0);
    }

    #[test]
    fn what_people_alarm_on_is_there_and_what_is_for_debugging_is_not() {
        assert!(is_in_cloudwatch(&catalogue::QUEUE_WAIT_OLDEST));
        assert!(is_in_cloudwatch(&catalogue::JOB_FAILURES));
        assert!(!is_in_cloudwatch(&catalogue::SOURCE_CALLS));
        assert!(!is_in_cloudwatch(&catalogue::STORE_SIZE), "experimental");
    }
}
