//! The capacity of a service environment, counted in its own units.

use crate::model::Capacity;
use crate::model::InstanceType;
use crate::model::ServiceEnvironment;

/// Most units that one environment can count: the five limits that AWS allows, and units that lost their limit while
/// jobs still hold them. What comes after those is not counted.
pub const UNITS: usize = 8;

/// The most of one unit that is counted: 16 million instances, so that sums over all shares of a queue do not overflow.
pub const MOST: i32 = 1 << 24;

/// Instances per unit of one environment, in the order of its units; zero beyond them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts(pub [i32; UNITS]);

/// One environment and what is in use of it.
#[derive(Clone, Debug)]
pub struct Pool {
    /// As set up; one that queues name but nobody has made has no limits.
    pub environment: ServiceEnvironment,
    /// Whether it has been made, and not been removed since.
    pub exists: bool,
    /// What is counted.
    pub units: Vec<InstanceType>,
    /// How much there is.
    pub limits: Amounts,
    /// How much jobs in flight hold.
    pub used: Amounts,
    /// The indices of the queues that draw on it, in the order in which they are served.
    pub queues: Vec<usize>,
    /// Whether something changed since the queues were last served.
    pub changed: bool,
}

impl Amounts {
    /// Nothing of anything.
    pub const ZERO: Self = Self([0; UNITS]);
    /// No limit at all: more than any sum of [`MOST`].
    pub const ENDLESS: Self = Self([i32::MAX / 2; UNITS]);

    /// Unit by unit.
    pub fn plus(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }

    /// Unit by unit; may go below zero.
    pub fn minus(self, other: Self) -> Self {
        self.with(other, |a, b| a - b)
    }

    /// The lesser of each unit.
    pub fn least(self, other: Self) -> Self {
        self.with(other, i32::min)
    }

    /// The greater of each unit.
    pub fn most(self, other: Self) -> Self {
        self.with(other, i32::max)
    }

    /// Each unit of both, through `join`.
    #[inline]
    fn with(self, other: Self, join: impl Fn(i32, i32) -> i32) -> Self {
        Self(std::array::from_fn(|unit| join(self.0[unit], other.0[unit])))
    }

    /// Whether this can be taken from `room`. What is not needed cannot be lacking.
    pub fn fits(&self, room: &Self) -> bool {
        self.0.iter().zip(&room.0).all(|(need, room)| *need == 0 || need <= room)
    }

    /// Whether this can be taken beside what is `used` of a limit.
    pub fn fits_beside(&self, used: &Self, limit: &Self) -> bool {
        self.fits(&limit.minus(*used))
    }

    /// Whether nothing is above zero.
    pub fn is_covered(&self) -> bool {
        self.0.iter().all(|amount| *amount <= 0)
    }

    /// Everything together, whatever the unit.
    pub fn total(&self) -> i64 {
        self.0.iter().copied().map(i64::from).sum()
    }
}

impl Pool {
    /// An environment that has been named, but not made.
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

    /// Counts anew by the environment's limits. A unit that jobs hold is still counted when it has lost its limit, unless
    /// instances of all types are counted now. What is used has to be added up again afterwards.
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

    /// What is not in use; below zero where a limit was lowered under running jobs.
    pub fn free(&self) -> Amounts {
        self.limits.minus(self.used)
    }

    /// What a job needs, in this environment's units; `None` if it asks for a type that the environment has not.
    pub fn need(&self, demand: &[Capacity]) -> Option<Amounts> {
        let mut need = Amounts::ZERO;
        for capacity in demand {
            need.0[self.unit(&capacity.unit)?] += whole(capacity.quantity.ceil());
        }
        Some(need)
    }

    /// Limits in this environment's units; those of other units have no meaning here and are left out.
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
    whole.clamp(0, MOST)
}
