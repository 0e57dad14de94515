//! Interns values that many jobs share: demands, tags and terms.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::Capacity;
use crate::model::InstanceType;
use crate::scheduler::Terms;

/// Maximum distinct values of one kind; further values are not shared.
const MAX_VALUES: usize = 10_000;

type Tags = BTreeMap<String, String>;
/// A demand as a comparable key: units and the bits of quantities.
type Key = Vec<(InstanceType, u64)>;

/// The shared values.
#[derive(Clone, Debug, Default)]
pub struct Interner {
    demands: BTreeMap<Key, Arc<[Capacity]>>,
    tags: BTreeSet<Arc<Tags>>,
    usual: Arc<Terms>,
}

impl Interner {
    /// A shared demand.
    pub fn demand(&mut self, demand: Vec<Capacity>) -> Arc<[Capacity]> {
        let key: Key = demand.iter().map(|one| (one.unit.clone(), one.quantity.to_bits())).collect();
        if let Some(known) = self.demands.get(&key) {
            return Arc::clone(known);
        }
        let new: Arc<[Capacity]> = demand.into();
        if self.demands.len() < MAX_VALUES {
            self.demands.insert(key, Arc::clone(&new));
        }
        new
    }

    /// Shared tags.
    pub fn tags(&mut self, tags: Tags) -> Arc<Tags> {
        if let Some(known) = self.tags.get(&tags) {
            return Arc::clone(known);
        }
        let new = Arc::new(tags);
        if self.tags.len() < MAX_VALUES {
            self.tags.insert(Arc::clone(&new));
        }
        new
    }

    /// Shared terms, if they are the defaults.
    pub fn terms(&self, terms: Terms) -> Arc<Terms> {
        if terms == *self.usual { Arc::clone(&self.usual) } else { Arc::new(terms) }
    }
}
