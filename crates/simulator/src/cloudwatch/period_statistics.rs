//! Values of one period, and their statistics.

/// Maximum values kept for percentiles, per metric and minute.
const MAX_VALUES: usize = 1_000;
pub(super) const MINUTE_MILLIS: i64 = 60_000;

/// The values of one period.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Summary {
    pub count: f64,
    pub sum: f64,
    pub min: f64,
    pub max: f64,
    /// Values with their counts; empty if only statistics were put.
    pub values: Vec<(f64, f64)>,
}

impl Summary {
    /// Summarises values with their counts.
    pub fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut summary = Self::default();
        for (value, count) in pairs {
            summary.merge(&Self { count, sum: value * count, min: value, max: value, values: vec![(value, count)] });
        }
        summary
    }

    /// Adds the values of another summary.
    pub fn merge(&mut self, other: &Self) {
        (self.min, self.max) =
            if self.count == 0.0 { (other.min, other.max) } else { (self.min.min(other.min), self.max.max(other.max)) };
        self.count += other.count;
        self.sum += other.sum;
        let room = MAX_VALUES.saturating_sub(self.values.len());
        self.values.extend(other.values.iter().take(room));
    }

    /// A statistic by its name in GetMetricData; `None` for an unknown name.
    pub fn statistic(&self, name: &str) -> Option<f64> {
        match name {
            "SampleCount" => Some(self.count),
            "Sum" => Some(self.sum),
            "Average" => Some(self.sum / self.count),
            "Minimum" => Some(self.min),
            "Maximum" => Some(self.max),
            _ => self.percentile(name.strip_prefix('p')?.parse().ok().filter(|p| (0.0..=100.0).contains(p))?),
        }
    }

    fn percentile(&self, percent: f64) -> Option<f64> {
        let mut values = self.values.clone();
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let rank = values.iter().map(|(_, count)| count).sum::<f64>() * percent / 100.0;
        let mut seen = 0.0;
        let reached = values.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        reached.or(values.last()).map(|(value, _)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_values_with_counts() {
        let mut summary = Summary::of([(1.0, 3.0), (10.0, 1.0)]);
        summary.merge(&Summary::of([(100.0, 1.0)]));
        let cases = [
            ("SampleCount", 5.0),
            ("Sum", 113.0),
            ("Average", 22.6),
            ("Minimum", 1.0),
            ("Maximum", 100.0),
            ("p50", 1.0),
            ("p80", 10.0),
            ("p99.9", 100.0),
        ];
        for (name, expected) in cases {
            assert_eq!(summary.statistic(name), Some(expected), "{name}");
        }
        assert_eq!(summary.statistic("p101"), None);
        assert_eq!(summary.statistic("Mode"), None);
    }
}
