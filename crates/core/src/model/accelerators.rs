//! GPU counts of instance types.
//!
//! The table lists every value of SageMaker's `TrainingInstanceType` as of botocore 1.44.5, with counts from
//! `ec2:DescribeInstanceTypes`. Any other type is unknown: never 0, never 8.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::model::InstanceType;

const TABLE: &str = include_str!("accelerators.csv");

static BY_TYPE: LazyLock<BTreeMap<&'static str, Accelerators>> =
    LazyLock::new(|| TABLE.lines().skip(1).filter_map(row).collect());

/// Accelerators of an instance type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerators {
    /// This many GPUs per instance.
    Gpus(u32),
    /// This many Neuron devices per instance: known, but not counted as GPUs.
    Neuron(u32),
    /// None: a CPU instance.
    None,
}

impl Accelerators {
    /// GPUs per instance; 0 for types without GPUs.
    pub fn gpus(self) -> u32 {
        match self {
            Self::Gpus(count) => count,
            Self::Neuron(_) | Self::None => 0,
        }
    }
}

/// Looks up an instance type; `None` if it is not in the table.
pub fn accelerators_of(instance_type: &InstanceType) -> Option<Accelerators> {
    BY_TYPE.get(instance_type.as_str()).copied()
}

/// Every value of SageMaker's `TrainingInstanceType` that the table knows, in AWS's order.
pub fn training_instance_types() -> impl Iterator<Item = &'static str> {
    TABLE.lines().skip(1).filter_map(|line| line.split(',').next())
}

fn row(line: &'static str) -> Option<(&'static str, Accelerators)> {
    let mut cells = line.split(',');
    let (name, kind, count) = (cells.next()?, cells.next()?, cells.next()?.parse().ok()?);
    let accelerators = match kind {
        "gpu" => Accelerators::Gpus(count),
        "neuron" => Accelerators::Neuron(count),
        _ => Accelerators::None,
    };
    Some((name, accelerators))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_read() {
        assert_eq!(BY_TYPE.len(), TABLE.lines().count() - 1);
    }

    #[test]
    fn counts_are_per_instance_and_unknown_types_are_unknown() {
        let of = |name: &str| accelerators_of(&name.into());
        assert_eq!(of("ml.p5.48xlarge"), Some(Accelerators::Gpus(8)));
        assert_eq!(of("ml.p5.4xlarge"), Some(Accelerators::Gpus(1)));
        assert_eq!(of("ml.trn2.48xlarge"), Some(Accelerators::Neuron(16)));
        assert_eq!(of("ml.m5.large"), Some(Accelerators::None));
        assert_eq!(of("ml.p9.48xlarge"), None);
    }
}
