//! Counts how often built-in limits are hit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How often built-in limits were hit. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Limits(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Limits {
    /// Counts one hit.
    pub(crate) fn hit(&self, limit: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(limit).or_default() += 1;
    }

    /// Returns and resets the counts.
    pub fn drain(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
