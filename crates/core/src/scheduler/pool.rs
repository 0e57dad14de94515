//! Capacity of a service environment, in its own units.

use crate::model::Capacity;
use crate::model::InstanceType;
use crate::model::ServiceEnvironment;

/// Maximum units per environment: the five limits that AWS allows, and units whose limit was removed while jobs still
/// hold them. Further units are not counted.
pub const UNITS: usize = 8;

/// Maximum counted quantity of one unit: 16 million instances, so that sums over all shares of a queue do not
/// overflow.
pub const MAX_INSTANCES: i32 = 1 << 24;

/// Instances per unit of one environment, in the order of its units; zero for unused slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts(pub [i32; UNITS]);

/// One environment and its usage.
#[derive(Clone, Debug)]
pub struct Pool {
    /// As set up; an environment that queues name but that was never created has no limits.
    pub environment: ServiceEnvironment,
    /// Whether it was created, and not removed since.
    pub exists: bool,
    /// The counted units.
    pub units: Vec<InstanceType>,
    /// Total capacity.
    pub limits: Amounts,
    /// Capacity held by jobs in flight.
    pub used: Amounts,
    /// Indices of the queues that use it, in dispatch order.
    pub queues: Vec<usize>,
    /// Whether something changed since the queues were last served.
    pub changed: bool,
}

impl Amounts {
    /// Zero of each unit.
    pub const ZERO: Self = Self([0; UNITS]);
    /// No limit: more than any sum of [`MAX_INSTANCES`].
    pub const UNLIMITED: Self = Self([i32::MAX / 2; UNITS]);

    /// Sum per unit.
    pub fn plus(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }

    /// Difference per unit; may be negative.
    pub fn minus(self, other: Self) -> Self {
        self.with(other, |a, b| a - b)
    }

    /// Minimum per unit.
    pub fn least(self, other: Self) -> Self {
        self.with(other, i32::min)
    }

    /// Maximum per unit.
    pub fn most(self, other: Self) -> Self {
        self.with(other, i32::max)
    }

    /// Combines both per unit with `join`.
    #[inline]
    fn with(self, other: Self, join: impl Fn(i32, i32) -> i32) -> Self {
        Self(std::array::from_fn(|unit| join(self.0[unit], other.0[unit])))
    }

    /// Whether this fits into `room`. Units with no need are ignored.
    pub fn fits(&self, room: &Self) -> bool {
        self.0.iter().zip(&room.0).all(|(need, room)| *need == 0 || need <= room)
    }

    /// Whether this fits beside `used` into a limit.
    pub fn fits_beside(&self, used: &Self, limit: &Self) -> bool {
        self.fits(&limit.minus(*used))
    }

    /// Whether no unit is above zero.
    pub fn is_covered(&self) -> bool {
        self.0.iter().all(|amount| *amount <= 0)
    }

    /// Total over all units.
    pub fn total(&self) -> i64 {
        self.0.iter().copied().map(i64::from).sum()
    }
}

impl Pool {
    /// An environment that is named but not created.
    pub fn new(name: &str) -> Self {
        Self {
            environment: ServiceEnvironment { name: name.to_owned(), enabled: true, limits: Vec::new() },
            exists: false,
            units: Vec::new(),
            limits: Amounts::ZERO,
            used: Amounts::ZERO,
            queues: Vec::new(),
            changed: false,
        }
    }

    /// Recomputes units and limits. A unit held by jobs is still counted after its limit was removed, unless
    /// instances of all types are counted now. The caller must add up usage again afterwards.
    pub fn recount(&mut self) {
        let mut units: Vec<InstanceType> = Vec::new();
        for limit in &self.environment.limits {
            if !units.contains(&limit.unit) {
                units.push(limit.unit.clone());
            }
        }
        if !units.iter().any(InstanceType::is_any) {
            let held = self.units.iter().zip(self.used.0).filter(|(_, used)| *used > 0).map(|(unit, _)| unit);
            let homeless: Vec<_> = held.filter(|unit| !units.contains(unit)).cloned().collect();
            units.extend(homeless);
        }
        units.truncate(UNITS);
        self.units = units;
        self.limits = self.limits_of(&self.environment.limits);
        self.used = Amounts::ZERO;
    }

    /// Free capacity; negative where a limit was lowered below usage.
    pub fn free(&self) -> Amounts {
        self.limits.minus(self.used)
    }

    /// A job's need in this environment's units; `None` if it asks for a type that the environment does not have.
    pub fn need(&self, demand: &[Capacity]) -> Option<Amounts> {
        let mut need = Amounts::ZERO;
        for capacity in demand {
            need.0[self.unit(&capacity.unit)?] += whole(capacity.quantity.ceil());
        }
        Some(need)
    }

    /// Limits in this environment's units; other units are ignored.
    pub fn limits_of(&self, limits: &[Capacity]) -> Amounts {
        let mut amounts = Amounts::ZERO;
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

fn whole(quantity: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "rounded by the caller, and `as` saturates")]
    let whole = quantity as i32;
    whole.clamp(0, MAX_INSTANCES)
}
