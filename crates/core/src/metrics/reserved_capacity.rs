//! Capacity that is paid for whether or not jobs use it: how much of it is in use, and how much is idle.
//!
//! It is reported beside the waterfall, not in it: a plan or pool belongs to no queue, and an instance of a plan
//! may be in a pool.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::metrics::catalogue::{RESERVED_COST, RESERVED_TIME};
use crate::metrics::frame::{Labels, labels};
use crate::metrics::{Counting, Inputs};
use crate::model::{Accelerators, InstanceType, Reserved, ReservedKind, accelerators_of};

/// Used by a job.
const IN_USE: &str = "in_use";
/// Available and unused.
const IDLE: &str = "idle";
/// Unhealthy or spare.
const UNAVAILABLE: &str = "unavailable";

/// Instances by kind, type and state. The states of a kind and type sum to the total reserved; `None` if any plan
/// or pool lacks its count.
pub(super) type States = BTreeMap<(ReservedKind, InstanceType, &'static str), Option<f64>>;

/// All current reservations.
pub(super) fn states(inputs: &Inputs<'_>) -> States {
    let mut states = States::new();
    for Reserved { kind, unit, total, in_use, idle, .. } in inputs.reserved {
        let unavailable = total.zip(*in_use).zip(*idle).map(|((total, in_use), idle)| (total - in_use - idle).max(0.0));
        for (state, instances) in [(IN_USE, *in_use), (IDLE, *idle), (UNAVAILABLE, unavailable)] {
            let sum = states.entry((*kind, unit.clone(), state)).or_insert(Some(0.0));
            *sum = sum.zip(instances).map(|(sum, instances)| sum + instances);
        }
    }
    states
}

pub(super) fn labels_of(kind: ReservedKind, unit: &InstanceType, state: &'static str) -> Labels {
    labels([("kind", kind.as_str().into()), ("instance_type", unit.shared()), ("state", Arc::from(state))])
}

impl Counting {
    /// Series of all reservations since counting began.
    pub(super) fn was_reserved(&self) -> Vec<Labels> {
        self.tallies.counters(&RESERVED_TIME).map(|(labels, _)| labels.clone()).collect()
    }

    /// Charges each state for the time since the previous tick: in GPU-seconds, and in dollars if there is a price.
    pub(super) fn reserved_time(&mut self, states: &States, inputs: &Inputs<'_>, seconds: f64) {
        let known = states.iter().filter_map(|(state, instances)| Some((state, (*instances)?)));
        for ((kind, unit, state), instances) in known {
            let labels = || labels_of(*kind, unit, state);
            if let Some(gpus) = accelerators_of(unit).map(Accelerators::gpus) {
                self.tallies.add(&RESERVED_TIME, labels(), instances * f64::from(gpus) * seconds);
            }
            if let Some(dollars) = inputs.prices.get(unit) {
                self.tallies.add(&RESERVED_COST, labels(), instances * dollars * seconds / 3_600.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::jobs::Ledger;
    use crate::metrics::{Frame, Service, Value, frame};
    use crate::model::Timestamp;

    #[test]
    fn what_is_reserved_is_charged_by_state_to_the_second_and_sums_to_all_of_it() {
        let reserved = |kind, name: &str, unit: &str, [total, in_use, idle]: [f64; 3]| Reserved {
            kind,
            name: name.to_owned(),
            unit: unit.into(),
            total: Some(total),
            in_use: Some(in_use),
            idle: Some(idle),
            ends_at: None,
        };
        let all = [
            reserved(ReservedKind::TrainingPlan, "spring", "ml.p5.48xlarge", [16.0, 10.0, 5.0]),
            reserved(ReservedKind::TrainingPlan, "summer", "ml.p5.48xlarge", [4.0, 0.0, 4.0]),
            reserved(ReservedKind::WarmPool, "train-7", "ml.p4d.24xlarge", [2.0, 0.0, 2.0]),
            reserved(ReservedKind::TrainingPlan, "neuron", "ml.trn1.32xlarge", [1.0, 0.0, 1.0]),
        ];
        let prices = [("ml.p5.48xlarge".into(), 36.0)].into();
        let mut counting = Counting::default();
        let mut tick = |seconds: u64, reserved: &[Reserved]| {
            let inputs = Inputs {
                now: Timestamp::default() + Duration::from_secs(seconds),
                queues: &[],
                ledger: &Ledger::default(),
                fronts: &BTreeMap::new(),
                prices: &prices,
                reserved,
                sources: &[],
                expected_starts: &BTreeMap::new(),
                forecasts: &[],
            };
            frame(&inputs, &Service::default(), &mut counting)
        };
        let value = |frame: &Frame, metric: &str, wanted: [&str; 3]| {
            let wanted =
                labels([("kind", wanted[0].into()), ("instance_type", wanted[1].into()), ("state", wanted[2].into())]);
            let mut samples = frame.samples.iter().filter(|one| one.metric.name == metric && one.labels == wanted);
            samples.next().map(|sample| match sample.value {
                Value::Gauge(value) | Value::Counter(value) => value,
                Value::Distribution(_) => panic!("{sample:?}"),
            })
        };
        tick(0, &all);
        let frame = tick(100, &all);
        let plan = |metric: &str| {
            ["in_use", "idle", "unavailable"]
                .map(|state| value(&frame, metric, ["training_plan", "ml.p5.48xlarge", state]).unwrap())
        };
        assert_eq!(plan("reserved.instances"), [10.0, 9.0, 1.0]);
        assert_eq!(plan("reserved.gpu_time"), [8_000.0, 7_200.0, 800.0]);
        assert_eq!(plan("reserved.cost"), [10.0, 9.0, 1.0]);
        let pool = ["warm_pool", "ml.p4d.24xlarge", "idle"];
        assert_eq!(value(&frame, "reserved.gpu_time", pool), Some(1_600.0));
        assert_eq!(value(&frame, "reserved.cost", pool), None, "there is no price");
        assert_eq!(value(&frame, "reserved.gpu_time", ["training_plan", "ml.trn1.32xlarge", "idle"]), Some(0.0));
        assert_eq!(frame.reserved, all);

        let mut silent = all.clone();
        silent[1].in_use = None;
        let frame = tick(150, &silent);
        let plan = ["in_use", "idle", "unavailable"]
            .map(|state| value(&frame, "reserved.instances", ["training_plan", "ml.p5.48xlarge", state]));
        assert_eq!(plan, [None, Some(9.0), None], "what one plan does not say is not known of all of them");

        let frame = tick(200, &all[..2]);
        assert_eq!(value(&frame, "reserved.instances", pool), Some(0.0), "the pool is gone");
        assert_eq!(value(&frame, "reserved.gpu_time", pool), Some(2_400.0));
    }
}
