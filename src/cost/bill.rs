//! The bill: quantities at their prices.

use crate::cost::prices::{Item, PriceTable};
use crate::cost::usage::Usage;
use trainspotter_core::model::format::counted;

/// Bytes per gigabyte, as billed.
const GIGABYTE: f64 = 1e9;

/// Destination of costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// CloudWatch custom metrics, by `PutMetricData`.
    Classic,
    /// CloudWatch and other receivers, by OTLP.
    Otlp,
    /// Reading GPU metrics from CloudWatch.
    GpuMetrics,
    /// CloudWatch alarms.
    Alarms,
    /// CloudWatch dashboards.
    Dashboards,
    /// Log of the replicas.
    Log,
    /// Long-term archive.
    Archive,
    /// Running the service.
    Compute,
}

impl Destination {
    /// All destinations.
    pub const ALL: [Self; 8] = [
        Self::Classic,
        Self::Otlp,
        Self::GpuMetrics,
        Self::Alarms,
        Self::Dashboards,
        Self::Log,
        Self::Archive,
        Self::Compute,
    ];

    /// Its name in metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Otlp => "otlp",
            Self::GpuMetrics => "gpu_metrics",
            Self::Alarms => "alarms",
            Self::Dashboards => "dashboards",
            Self::Log => "log",
            Self::Archive => "archive",
            Self::Compute => "compute",
        }
    }
}

/// A line of the bill.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Destination.
    pub destination: Destination,
    /// Description.
    pub what: String,
    /// Quantity per month.
    pub quantity: f64,
    /// Unit of the quantity.
    pub unit: &'static str,
    /// Cost; `None` without a price, as for a receiver outside AWS.
    pub dollars: Option<f64>,
    /// Whether the price is unconfirmed.
    pub is_guess: bool,
}

/// The bill of a month.
#[derive(Clone, Debug, PartialEq)]
pub struct Bill {
    /// All quantities above 0.
    pub lines: Vec<Line>,
}

impl Bill {
    /// Total of priced lines, in dollars.
    pub fn total(&self) -> f64 {
        self.lines.iter().filter_map(|line| line.dollars).fold(0.0, |sum, dollars| sum + dollars)
    }

    /// Total of a destination, in dollars; `None` if none of it has a price.
    pub fn of(&self, destination: Destination) -> Option<f64> {
        let mut dollars =
            self.lines.iter().filter(|line| line.destination == destination).filter_map(|line| line.dollars);
        let first = dollars.next()?;
        Some(dollars.fold(first, |sum, more| sum + more))
    }
}

/// Computes the bill.
pub fn bill(usage: &Usage, prices: &PriceTable) -> Bill {
    let mut lines = Lines { prices, lines: Vec::new() };
    if let Some(classic) = &usage.classic {
        lines.add(Destination::Classic, "custom metrics", classic.series as f64, "metrics", Item::Metric);
        lines.add(Destination::Classic, "sending them", classic.requests, "requests", Item::PutMetricData);
    }
    for otlp in &usage.otlp {
        let per_point = otlp.bytes_per_point().map_or_else(String::new, |bytes| format!(", {bytes:.0} bytes a point"));
        let what = format!("{}: {}{per_point}", otlp.sink, counted(otlp.series, "series").replace("seriess", "series"));
        let gigabytes = otlp.bytes / GIGABYTE;
        if otlp.is_cloudwatch {
            lines.add(Destination::Otlp, &what, gigabytes, "GB", Item::OtlpGigabyte);
        } else {
            lines.unpriced(Destination::Otlp, &what, gigabytes, "GB");
        }
    }
    let requested = usage.metrics_requested;
    lines.add(
        Destination::GpuMetrics,
        "GPU metrics of running jobs",
        requested,
        "metrics requested",
        Item::GetMetricData,
    );
    lines.add(Destination::Alarms, "alarms of the rules", usage.alarms as f64, "alarms", Item::Alarm);
    let composite = usage.composite_alarms as f64;
    lines.add(Destination::Alarms, "alarms over several conditions", composite, "alarms", Item::CompositeAlarm);
    lines.add(Destination::Dashboards, "dashboards", usage.dashboards as f64, "dashboards", Item::Dashboard);
    if let Some((puts, gets, gigabytes)) = usage.log {
        lines.add(Destination::Log, "records", puts, "puts", Item::S3Put);
        lines.add(Destination::Log, "replicas that follow", gets, "gets", Item::S3Get);
        lines.add(Destination::Log, "storage", gigabytes, "GB", Item::S3Gigabyte);
    }
    if let Some((puts, gets, gigabytes)) = usage.archive {
        lines.add(Destination::Archive, "completed days", puts, "puts", Item::S3Put);
        lines.add(Destination::Archive, "listing the objects", gets, "gets", Item::S3Get);
        lines.add(Destination::Archive, "storage after a year", gigabytes, "GB", Item::S3Gigabyte);
    }
    let tasks = counted(usage.tasks, "Fargate task");
    lines.add(Destination::Compute, &format!("{tasks}, CPU"), usage.vcpu_hours, "vCPU hours", Item::FargateVcpu);
    lines.add(
        Destination::Compute,
        &format!("{tasks}, memory"),
        usage.gigabyte_hours,
        "GB hours",
        Item::FargateGigabyte,
    );
    Bill { lines: lines.lines }
}

struct Lines<'a> {
    prices: &'a PriceTable,
    lines: Vec<Line>,
}

impl Lines<'_> {
    fn add(&mut self, destination: Destination, what: &str, quantity: f64, unit: &'static str, item: Item) {
        if quantity > 0.0 {
            let dollars = self.prices.cost(item, quantity);
            let is_guess = self.prices.price(item).is_none_or(|price| !price.confirmed);
            self.lines.push(Line { destination, what: what.to_owned(), quantity, unit, dollars, is_guess });
        }
    }

    fn unpriced(&mut self, destination: Destination, what: &str, quantity: f64, unit: &'static str) {
        if quantity > 0.0 {
            self.lines.push(Line {
                destination,
                what: what.to_owned(),
                quantity,
                unit,
                dollars: None,
                is_guess: false,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::usage::{ClassicUse, OtlpUse};

    #[test]
    fn every_destination_has_its_lines_and_they_sum_to_the_total() {
        let otlp = |sink: &str, is_cloudwatch| OtlpUse {
            sink: sink.to_owned(),
            is_cloudwatch,
            series: 1,
            points: 1e6,
            bytes: 2e9,
        };
        let usage = Usage {
            classic: Some(ClassicUse { series: 100, left_out: 5, requests: 43_800.0 }),
            otlp: vec![otlp("cloudwatch-otlp", true), otlp("otlp", false)],
            metrics_requested: 100_000.0,
            alarms: 10,
            composite_alarms: 1,
            dashboards: 1,
            log: Some((200_000.0, 3_750_000.0, 0.5)),
            archive: Some((2_000.0, 0.0, 1.0)),
            tasks: 2,
            vcpu_hours: 365.0,
            gigabyte_hours: 730.0,
        };
        let bill = bill(&usage, &PriceTable::shipped().unwrap());
        let of = |destination| (bill.of(destination).unwrap() * 100.0).round() / 100.0;
        assert_eq!(of(Destination::Classic), 30.44);
        assert_eq!(of(Destination::Otlp), 1.0, "another receiver has no price here");
        assert_eq!(of(Destination::GpuMetrics), 1.0);
        assert_eq!(of(Destination::Alarms), 1.5);
        assert_eq!(of(Destination::Dashboards), 3.0);
        assert_eq!(of(Destination::Log), 2.51);
        assert_eq!(of(Destination::Archive), 0.03);
        assert_eq!(of(Destination::Compute), 14.42);
        assert!((bill.total() - 53.90).abs() < 0.02, "{}", bill.total());
        assert!(bill.lines.iter().any(|line| line.what.contains("2000 bytes a point")), "{bill:#?}");
        assert!(bill.lines.iter().any(|line| line.is_guess) && bill.lines.iter().any(|line| !line.is_guess));
    }

    #[test]
    fn what_is_not_used_has_no_line() {
        let bill = bill(&Usage::default(), &PriceTable::shipped().unwrap());
        assert_eq!((bill.lines.len(), bill.total(), bill.of(Destination::Log)), (0, 0.0, None));
    }
}
