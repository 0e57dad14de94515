//! Converts SDK responses to `model` types: pure functions that never fail.
//!
//! Missing values stay `None`; a time of 0 or less is absent; unknown enum values, capacity units and instance
//! types keep their spelling and are recorded in [`Unknowns`]. SDK enums are read through `as_str`, so that
//! variants the SDK adds later are still understood.

mod host_utilisation;
mod job;
mod reserved_capacity;
mod topology;
mod training_job;

use std::collections::BTreeSet;

use aws_smithy_types::DateTime;

use trainspotter_core::model::Capacity;
use trainspotter_core::model::InstanceType;
use trainspotter_core::model::JobStatus;
use trainspotter_core::model::Observation;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::Timestamp;
use trainspotter_core::model::accelerators_of;
use trainspotter_core::model::unknown_value;

pub(crate) use host_utilisation::MeanUtilisation;
pub(crate) use job::{ListedJobs, described_job, snapshot};
pub(crate) use reserved_capacity::{Pools, pool, training_plan, waiting_pool, warm_pool};
pub(crate) use topology::{
    environment, environment_name, fair_share, invalid, is_covered, is_of_training_jobs, is_quota_policy, is_watched,
    queue, quota_share, scheduling_policy,
};
pub(crate) use training_job::{outside_use, training_job};

/// Upper bound of a limit or of a sum over jobs: the range of `maxCapacity`.
const MAX_CAPACITY: f64 = i32::MAX as f64;

/// Unknown values, without duplicates.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unknowns(BTreeSet<(&'static str, String)>);

impl Unknowns {
    pub(crate) fn note(&mut self, kind: &'static str, value: &str) {
        self.0.insert((kind, unknown_value(value).into_owned()));
    }

    pub(crate) fn into_observations(self) -> impl Iterator<Item = Observation> {
        self.0.into_iter().map(|(kind, value)| Observation::UnknownValue { kind, value })
    }
}

/// The name at the end of a queue's or environment's ARN; a plain name is returned as is.
pub(crate) fn name_of(name_or_arn: &str) -> &str {
    if name_or_arn.starts_with("arn:") { name_or_arn.rsplit('/').next().unwrap_or(name_or_arn) } else { name_or_arn }
}

fn queue_name(name_or_arn: &str) -> Option<QueueName> {
    present(Some(name_or_arn)).map(|text| name_of(text).into())
}

/// Treats an empty string as absent: the SDK fills in required strings that are missing.
pub(super) fn present(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// Boundary between seconds and milliseconds: in milliseconds a smaller number is before 1973, in seconds a larger
/// one is after the year 5000.
const MAX_SECONDS: i64 = 100_000_000_000;

/// The year 2100 in milliseconds, later than any time of a job. Times beyond the year 9999 could not even be
/// formatted.
const MAX_MILLIS: i64 = 4_102_444_800_000;

/// Parses milliseconds since the epoch, as in the API reference, or seconds, as in AWS's guide to service jobs. 0
/// is absent: the SDK fills in required times that are missing.
fn time(number: Option<i64>) -> Option<Timestamp> {
    let millis = |number: i64| if number < MAX_SECONDS { number.saturating_mul(1_000) } else { number };
    number.map(millis).filter(is_time).map(Timestamp::from_millis)
}

/// Converts a time in fractional seconds; values too large for seconds are taken as milliseconds.
fn date_time(at: Option<&DateTime>) -> Option<Timestamp> {
    let at = at?;
    let millis = if at.secs() < MAX_SECONDS { at.to_millis().ok()? } else { at.secs() };
    Some(millis).filter(is_time).map(Timestamp::from_millis)
}

fn is_time(millis: &i64) -> bool {
    (1..=MAX_MILLIS).contains(millis)
}

fn status(text: Option<&str>, unknowns: &mut Unknowns) -> JobStatus {
    let status = JobStatus::parse(text.unwrap_or("no value was set"));
    if let JobStatus::Unknown(text) = &status {
        unknowns.note("job_status", text);
    }
    status
}

/// Valid capacity amounts: with a unit, not negative, and at most [`MAX_CAPACITY`]. Others are recorded as unknown.
fn capacities<'a>(
    entries: impl Iterator<Item = (Option<&'a str>, Option<f64>)>,
    unknowns: &mut Unknowns,
) -> Vec<Capacity> {
    entries
        .filter_map(|(unit, quantity)| {
            let (unit, quantity) = (instance_type(present(unit)?, unknowns), quantity?);
            if !(0.0..=MAX_CAPACITY).contains(&quantity) {
                unknowns.note("capacity", &format!("{quantity:?}"));
                return None;
            }
            Some(Capacity::new(unit, quantity))
        })
        .collect()
}

/// A job's instances per type, sorted. Empty, for unknown, if any amount is missing or impossible; impossible ones
/// are recorded.
fn instances_of_job<'a>(
    entries: impl Iterator<Item = (Option<&'a str>, Option<f64>)>,
    unknowns: &mut Unknowns,
) -> Vec<Capacity> {
    let mut instances = Some(Vec::new());
    for (unit, quantity) in entries {
        let unit = present(unit).map(|unit| instance_type(unit, unknowns));
        let capacity = unit.zip(quantity).map(|(unit, quantity)| Capacity::new(unit, quantity));
        let possible = capacity.filter(|capacity| {
            let is_possible = capacity.is_of_job();
            if !is_possible {
                unknowns.note("instance_count", &format!("{:?}", capacity.quantity));
            }
            is_possible
        });
        instances = instances.zip(possible).map(|(mut instances, capacity)| {
            instances.push(capacity);
            instances
        });
    }
    instances.unwrap_or_default()
}

fn instance_type(text: &str, unknowns: &mut Unknowns) -> InstanceType {
    let unit = InstanceType::from(text);
    if unit.is_any() || accelerators_of(&unit).is_some() {
        return unit;
    }
    unknowns.note("instance_type", text);
    InstanceType::from(&*unknown_value(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_named_by_its_name_or_its_arn() {
        for (text, expected) in [
            ("ml-prod", Some("ml-prod")),
            ("arn:aws:batch:us-east-1:123456789012:job-queue/ml-prod", Some("ml-prod")),
            ("arn:aws:batch:us-east-1:123456789012:service-environment/se", Some("se")),
            ("", None),
        ] {
            assert_eq!(queue_name(text), expected.map(QueueName::from), "{text:?}");
        }
    }

    #[test]
    fn zero_and_less_is_no_time() {
        assert_eq!(time(None), None);
        assert_eq!(time(Some(0)), None);
        assert_eq!(time(Some(-1)), None);
        assert_eq!(time(Some(1)), Some(Timestamp::from_millis(1_000)));
        assert_eq!(date_time(Some(&DateTime::from_secs(0))), None);
        assert_eq!(date_time(Some(&DateTime::from_secs_f64(1.25))), Some(Timestamp::from_millis(1_250)));
    }

    #[test]
    fn a_time_is_the_same_in_seconds_and_in_milliseconds() {
        let at = Some(Timestamp::from_millis(1_700_000_000_000));
        for number in [1_700_000_000, 1_700_000_000_000] {
            assert_eq!(time(Some(number)), at, "{number}");
            assert_eq!(date_time(Some(&DateTime::from_secs(number))), at, "{number}");
        }
        assert_eq!(time(Some(MAX_SECONDS)), Some(Timestamp::from_millis(MAX_SECONDS)));
        assert_eq!(time(Some(MAX_MILLIS)), Some(Timestamp::from_millis(MAX_MILLIS)));
        for never in [MAX_SECONDS - 1, MAX_MILLIS + 1, i64::MAX] {
            assert_eq!(time(Some(never)), None, "{never}");
            assert_eq!(date_time(Some(&DateTime::from_secs(never))), None, "{never}");
        }
    }

    #[test]
    fn what_is_no_amount_is_left_out_and_unknown_types_are_noted() {
        let mut unknowns = Unknowns::default();
        let amounts = [
            (Some("ml.p5.48xlarge"), Some(2.0)),
            (Some("NUM_INSTANCES"), Some(0.0)),
            (Some("ml.p9.48xlarge"), Some(1.0)),
            (Some("ml.p9.48xlarge"), Some(3.0)),
            (Some("ml.g5.xlarge"), Some(f64::NAN)),
            (Some("ml.g5.xlarge"), Some(-1.0)),
            (Some("ml.g5.xlarge"), None),
            (Some(""), Some(1.0)),
            (None, Some(1.0)),
        ];
        let expected = vec![
            Capacity::new("ml.p5.48xlarge", 2.0),
            Capacity::new("NUM_INSTANCES", 0.0),
            Capacity::new("ml.p9.48xlarge", 1.0),
            Capacity::new("ml.p9.48xlarge", 3.0),
        ];
        assert_eq!(capacities(amounts.into_iter(), &mut unknowns), expected);
        let noted = |kind, value: &str| Observation::UnknownValue { kind, value: value.to_owned() };
        assert_eq!(
            unknowns.into_observations().collect::<Vec<_>>(),
            [noted("capacity", "-1.0"), noted("capacity", "NaN"), noted("instance_type", "ml.p9.48xlarge")]
        );
    }

    #[test]
    fn an_amount_that_no_job_can_have_makes_its_size_unknown_and_is_noted() {
        let of = |amounts: &[(&'static str, f64)]| {
            let mut unknowns = Unknowns::default();
            let entries = amounts.iter().map(|(unit, quantity)| (Some(*unit), Some(*quantity)));
            let instances = instances_of_job(entries, &mut unknowns);
            (instances, unknowns.into_observations().collect::<Vec<_>>())
        };
        let (p5, g5) = ("ml.p5.48xlarge", "ml.g5.xlarge");
        for odd in [1e308, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -1.0, 1.5, 1_000_001.0] {
            let noted = Observation::UnknownValue { kind: "instance_count", value: format!("{odd:?}") };
            assert_eq!(of(&[(p5, 2.0), (g5, odd)]), (vec![], vec![noted]), "{odd}");
        }
        assert_eq!(of(&[(p5, 2.0), (g5, 1_000_000.0)]).0.len(), 2);
        assert_eq!(instances_of_job([(Some(p5), None)].into_iter(), &mut Unknowns::default()), []);
    }
}
