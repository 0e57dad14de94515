//! Limits of the whole account, and capacity used outside the watched queues.

use crate::model::Capacity;

/// Training job limits of the account, and instances in use outside the queues.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// The queried limits by instance type.
    pub limits: Vec<Capacity>,
    /// Instances in use outside the watched queues; `None` if unknown.
    pub outside: Option<OutsideUse>,
}

/// Instances of training jobs that belong to no watched queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutsideUse {
    /// By instance type, without duplicates.
    pub instances: Vec<Capacity>,
    /// Whether the list is complete; otherwise it is a lower bound.
    pub is_complete: bool,
}

impl OutsideUse {
    /// Instances of a type.
    pub fn of(&self, unit: &super::InstanceType) -> f64 {
        self.instances.iter().filter(|one| one.unit == *unit).map(|one| one.quantity).sum()
    }
}
