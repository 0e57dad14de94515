//! What many jobs have in common, kept once: jobs that ask for the same instances, have the same tags and the same terms.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::Capacity;
use crate::model::InstanceType;
use crate::scheduler::Terms;

/// Different values of one kind that are kept; what comes after is not shared.
const MOST: usize = 10_000;

type Tags = BTreeMap<String, String>;
/// A demand that can be compared: units and the bits of quantities.
type Key = Vec<(InstanceType, u64)>;

/// The values that are shared.
#[derive(Clone, Debug, Default)]
pub struct Interner {
    demands: BTreeMap<Key, Arc<[Capacity]>>,
    tags: BTreeSet<Arc<Tags>>,
    usual: Arc<Terms>,
}

impl Interner {
    /// A demand, shared.
    pub fn demand(&mut self, demand: Vec<Capacity>) -> Arc<[Capacity]> {
        let key: Key = demand.iter().map(|one| (one.unit.clone(), one.quantity.to_bits())).collect();
        if let Some(known) = self.demands.get(&key) {
            return Arc::clone(known);
        }
        let new: Arc<[Capacity]> = demand.into();
        if self.demands.len() < MOST {
            self.demands.insert(key, Arc::clone(&new));
        }
        new
    }

    /// Tags, shared.
    pub fn tags(&mut self, tags: Tags) -> Arc<Tags> {
        if let Some(known) = self.tags.get(&tags) {
            return Arc::clone(known);
        }
        let new = Arc::new(tags);
        if self.tags.len() < MOST {
            self.tags.insert(Arc::clone(&new));
        }
        new
    }

    /// Terms, shared if they are the usual ones.
    pub fn terms(&self, terms: Terms) -> Arc<Terms> {
        if terms == *self.usual { Arc::clone(&self.usual) } else { Arc::new(terms) }
    }
}
