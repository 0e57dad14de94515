//! The capacity of a service environment, counted in its own units.

use crate::model::{Capacity, InstanceType, ServiceEnvironment};

/// Instances per unit of one environment, in the order of its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amounts(pub Vec<i64>);

/// One environment and what is in use of it.
#[derive(Debug)]
pub struct Pool {
    /// The environment's name.
    pub name: String,
    /// The units, in the order of the limits.
    pub units: Vec<InstanceType>,
    /// How much there is.
    pub limits: Amounts,
    /// How much jobs in flight hold.
    pub used: Amounts,
    /// The indices of the queues that draw on it, in the order in which they are served.
    pub queues: Vec<usize>,
    /// Whether something changed since the queues were last served.
    pub stirred: bool,
}

impl Amounts {
    /// Nothing of anything.
    pub fn zero(units: usize) -> Self {
        Self(vec![0; units])
    }

    /// Unit by unit.
    pub fn plus(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a + b).collect())
    }

    /// Unit by unit; may go below zero.
    pub fn minus(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a - b).collect())
    }

    /// Whether this can be taken from `room`. What is not needed cannot be lacking.
    pub fn fits(&self, room: &Self) -> bool {
        self.0.iter().zip(&room.0).all(|(need, room)| *need == 0 || need <= room)
    }

    /// Whether this can be taken beside what is `used` of a limit: `fits(limit - used)` without the copy.
    pub fn fits_beside(&self, used: &Self, limit: &Self) -> bool {
        let mut units = self.0.iter().zip(&used.0).zip(&limit.0);
        units.all(|((need, used), limit)| *need == 0 || *need <= limit - used)
    }

    /// Everything together, whatever the unit.
    pub fn total(&self) -> i64 {
        self.0.iter().sum()
    }
}

impl Pool {
    /// The untouched capacity of an environment.
    pub fn new(environment: &ServiceEnvironment) -> Self {
        let units: Vec<_> = environment.limits.iter().map(|limit| limit.unit.clone()).collect();
        let used = Amounts::zero(units.len());
        let mut pool = Self {
            name: environment.name.clone(),
            units,
            limits: used.clone(),
            used,
            queues: Vec::new(),
            stirred: false,
        };
        pool.limits = pool.limits_of(&environment.limits);
        pool
    }

    /// What is not in use.
    pub fn free(&self) -> Amounts {
        self.limits.minus(&self.used)
    }

    /// What a job needs, in this environment's units; `None` if it asks for a type that the environment has not.
    pub fn need(&self, demand: &[Capacity]) -> Option<Amounts> {
        let mut need = Amounts::zero(self.units.len());
        for capacity in demand {
            need.0[self.unit(&capacity.unit)?] += whole(capacity.quantity.ceil());
        }
        Some(need)
    }

    /// Limits in this environment's units; those of other units have no meaning here and are left out.
    pub fn limits_of(&self, limits: &[Capacity]) -> Amounts {
        let mut amounts = Amounts::zero(self.units.len());
        for limit in limits {
            if let Some(unit) = self.unit(&limit.unit) {
                amounts.0[unit] += whole(limit.quantity.floor());
            }
        }
        amounts
    }

    fn unit(&self, wanted: &InstanceType) -> Option<usize> {
        let exact = self.units.iter().position(|unit| unit == wanted);
        exact.or_else(|| self.units.iter().position(InstanceType::is_any))
    }
}

fn whole(quantity: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "rounded by the caller, and `as` saturates")]
    let whole = quantity as i64;
    whole.max(0)
}
