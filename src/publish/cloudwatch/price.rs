//! What custom metrics cost in CloudWatch: each series costs money every month, so what an operator would not alarm on, or can
//! have from another series, is not sent. The catalogue says which metrics those are; Prometheus and OTLP get all.

/// US list prices of custom metrics: dollars per metric and month for the series of each tier. Source: the CloudWatch
/// pricing page, 2026. Other regions differ by some percent. A series costs only for the hours in which it is sent.
const TIERS: &[(u64, f64)] = &[(10_000, 0.30), (240_000, 0.10), (750_000, 0.05), (u64::MAX, 0.02)];

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
}
