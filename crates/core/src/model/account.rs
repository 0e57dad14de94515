//! What the account as a whole may run, and what of that jobs outside of the watched queues take.

use crate::model::Capacity;

/// How many instances the account may run for training jobs at a time, and who uses them beside the queues.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// The limits by instance type, as far as they are asked for.
    pub limits: Vec<Capacity>,
    /// What runs outside of the watched queues; `None` while that is not known.
    pub outside: Option<OutsideUse>,
}

/// Instances of training jobs that belong to no watched queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutsideUse {
    /// By instance type, each once.
    pub instances: Vec<Capacity>,
    /// Whether these are all; otherwise there are at least so many.
    pub is_complete: bool,
}

impl OutsideUse {
    /// Instances of a type.
    pub fn of(&self, unit: &super::InstanceType) -> f64 {
        self.instances.iter().filter(|one| one.unit == *unit).map(|one| one.quantity).sum()
    }
}
