//! Headroom of a queue: capacity of its environment and quotas of its shares, less what jobs hold.

use std::collections::BTreeMap;

use crate::metrics::Inputs;
use crate::metrics::compute_reservation;
use crate::metrics::reasons::{Evidence, Reason};
use crate::model::{Capacity, InstanceType, Policy, Queue, QueueName, QuotaShare, ShareName, Sharing};

/// Instances by unit.
pub(super) type Amounts = BTreeMap<InstanceType, f64>;

/// Instances held by jobs in flight, by queue and share.
pub(super) type InUse = BTreeMap<QueueName, BTreeMap<Option<ShareName>, Amounts>>;

/// Headroom for jobs of one queue.
pub(super) struct Headroom {
    /// Capacity of the environment; `None` if it could not be read.
    capacity: Option<Amounts>,
    /// Whether the environment counts instances of any type.
    any: bool,
    /// Held by all queues of the environment.
    held: Amounts,
    /// Fraction of the capacity, 0 to 1, kept for share identifiers without jobs.
    reserved: f64,
    /// Held by the queue's shares.
    by_share: BTreeMap<Option<ShareName>, Amounts>,
    /// Total quota of the lending shares, and the unused part of it.
    lendable: Amounts,
    stock: Amounts,
}

/// Instances held by all jobs in flight.
pub(super) fn in_use(inputs: &Inputs<'_>) -> InUse {
    let mut in_use = InUse::new();
    for job in inputs.ledger.in_flight() {
        let held = in_use.entry(job.queue().clone()).or_default().entry(job.share().cloned()).or_default();
        add(held, &job.latest.demand);
    }
    in_use
}

impl Headroom {
    pub(super) fn of(queue: &Queue, inputs: &Inputs<'_>, in_use: &InUse) -> Self {
        let name = |queue: &Queue| queue.environment.as_ref().map(|environment| environment.name.clone());
        let limits = queue.environment.as_ref().map(|environment| environment.limits.as_slice());
        let any = limits.is_some_and(|limits| limits.iter().any(|limit| limit.unit.is_any()));
        let capacity = limits.map(sum);
        let mut held = Amounts::new();
        let beside = |other: &&Queue| other.name == queue.name || (name(other).is_some() && name(other) == name(queue));
        for other in inputs.queues.iter().filter(beside) {
            for amounts in in_use.get(&other.name).into_iter().flat_map(BTreeMap::values) {
                for (unit, quantity) in amounts {
                    let unit = if any { InstanceType::ANY.into() } else { unit.clone() };
                    *held.entry(unit).or_default() += quantity;
                }
            }
        }
        let by_share = in_use.get(&queue.name).cloned().unwrap_or_default();
        let (mut lendable, mut stock) = (Amounts::new(), Amounts::new());
        if let Policy::QuotaShares(shares) = &queue.policy {
            for share in shares.iter().filter(|share| share.lends()) {
                add(&mut lendable, &share.limits);
                for unit in share.limits.iter().map(|limit| &limit.unit) {
                    let used = of(by_share.get(&Some(share.name.clone())), unit);
                    *stock.entry(unit.clone()).or_default() += share.limit(unit).unwrap_or(0.0) - used;
                }
            }
        }
        Self { capacity, any, held, reserved: compute_reservation::kept(queue, inputs), by_share, lendable, stock }
    }

    /// Converts a demand to the units of the environment.
    pub(super) fn need(&self, demand: &[Capacity]) -> Amounts {
        let need = sum(demand);
        if self.any && !need.is_empty() {
            Amounts::from([(InstanceType::ANY.into(), need.values().sum())])
        } else {
            need
        }
    }

    /// Whether a job could run if nothing else did; the error is the unit it requests too much of.
    pub(super) fn ever(&self, need: &Amounts, own: Option<&QuotaShare>) -> Result<(), InstanceType> {
        if let Some(capacity) = &self.capacity {
            fits(need, |unit| of(Some(capacity), unit))?;
        }
        let Some(own) = own else { return Ok(()) };
        fits(need, |unit| most(own, unit).min(of(Some(&self.lendable), unit).max(own.limit(unit).unwrap_or(0.0))))
    }

    pub(super) fn within_quota(&self, need: &Amounts, own: &QuotaShare) -> Result<(), InstanceType> {
        fits(need, |unit| own.limit(unit).unwrap_or(0.0) - self.used(own, unit))
    }

    /// Whether the unused capacity of the lending shares has room for a job within its share's quota.
    pub(super) fn stock_has(&self, need: &Amounts, own: &QuotaShare) -> Result<(), InstanceType> {
        if own.lends() { fits(need, |unit| of(Some(&self.stock), unit)) } else { Ok(()) }
    }

    /// Whether a share may borrow what a job requests beyond its quota; the error says why not.
    pub(super) fn may_borrow(&self, need: &Amounts, own: &QuotaShare) -> Result<(), (Reason, Option<InstanceType>)> {
        match own.sharing {
            Sharing::Reserve | Sharing::Lend | Sharing::Unknown => return Err((Reason::ShareAtLimit, None)),
            Sharing::LendAndBorrow { .. } => {}
        }
        fits(need, |unit| of(Some(&self.stock), unit)).map_err(|unit| (Reason::ShareAtLimit, Some(unit))).and(
            fits(need, |unit| most(own, unit) - self.used(own, unit)).map_err(|unit| (Reason::BorrowLimit, Some(unit))),
        )
    }

    /// Whether the environment has free capacity that is not kept for others; the error says why not.
    pub(super) fn free_has(&self, need: &Amounts) -> Result<(), (Reason, InstanceType)> {
        let Some(capacity) = &self.capacity else { return Ok(()) };
        let free = |unit: &InstanceType| of(Some(capacity), unit) - of(Some(&self.held), unit);
        fits(need, free).map_err(|unit| (Reason::CapacityInUse, unit))?;
        let kept = |unit: &InstanceType| (of(Some(capacity), unit) * self.reserved).floor();
        fits(need, |unit| free(unit) - kept(unit)).map_err(|unit| (Reason::Reserved, unit))
    }

    /// The numbers for one unit: the limiting one, or the first.
    pub(super) fn evidence(
        &self,
        need: &Amounts,
        unit: Option<InstanceType>,
        share: Option<&ShareName>,
        own: Option<&QuotaShare>,
    ) -> Evidence {
        let Some(unit) = unit.or_else(|| need.keys().next().cloned()) else { return Evidence::default() };
        let used = self.by_share.get(&share.cloned());
        let uses = |used: &Amounts| if self.any { used.values().sum() } else { of(Some(used), &unit) };
        let most = own.map(|own| most(own, &unit)).filter(|most| most.is_finite());
        Evidence {
            needs: need.get(&unit).copied(),
            capacity: self.capacity.as_ref().map(|capacity| of(Some(capacity), &unit)),
            free: self.capacity.as_ref().map(|all| (of(Some(all), &unit) - of(Some(&self.held), &unit)).max(0.0)),
            reserved: self
                .capacity
                .as_ref()
                .filter(|_| self.reserved > 0.0)
                .map(|all| (of(Some(all), &unit) * self.reserved).floor()),
            share_uses: share.map(|_| used.map_or(0.0, uses)),
            share_quota: own.map(|own| own.limit(&unit).unwrap_or(0.0)),
            share_most: most,
            lendable: own.map(|_| of(Some(&self.stock), &unit).max(0.0)),
            unit: Some(unit),
        }
    }

    fn used(&self, own: &QuotaShare, unit: &InstanceType) -> f64 {
        of(self.by_share.get(&Some(own.name.clone())), unit)
    }
}

/// Maximum instances of a unit that a share may use; infinite if its borrowing is unlimited.
pub(in crate::metrics) fn most(own: &QuotaShare, unit: &InstanceType) -> f64 {
    let limit = own.limit(unit).unwrap_or(0.0);
    match own.sharing {
        Sharing::Reserve | Sharing::Lend | Sharing::Unknown => limit,
        Sharing::LendAndBorrow { borrow_limit: None } => f64::INFINITY,
        Sharing::LendAndBorrow { borrow_limit: Some(percent) } => limit + (limit * f64::from(percent) / 100.0).floor(),
    }
}

fn fits(need: &Amounts, headroom: impl Fn(&InstanceType) -> f64) -> Result<(), InstanceType> {
    need.iter().find(|(unit, quantity)| **quantity > headroom(unit)).map_or(Ok(()), |(unit, _)| Err(unit.clone()))
}

fn of(amounts: Option<&Amounts>, unit: &InstanceType) -> f64 {
    amounts.and_then(|amounts| amounts.get(unit)).copied().unwrap_or(0.0)
}

fn sum(capacities: &[Capacity]) -> Amounts {
    let mut amounts = Amounts::new();
    add(&mut amounts, capacities);
    amounts
}

fn add(amounts: &mut Amounts, capacities: &[Capacity]) {
    for capacity in capacities {
        *amounts.entry(capacity.unit.clone()).or_default() += capacity.quantity;
    }
}
