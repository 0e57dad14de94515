//! A sorted set that takes little more memory than its items: a million jobs are in several of them.

use std::fmt;
use std::ops::{Bound, RangeBounds};

use crate::jobs::sorted_pieces::{Items, Pieces, Position};

/// A sorted set of small items.
#[derive(Clone)]
pub struct CompactSet<T> {
    pieces: Pieces<T, T>,
    len: usize,
}

impl<T> Default for CompactSet<T> {
    fn default() -> Self {
        Self { pieces: Pieces::default(), len: 0 }
    }
}

impl<T: fmt::Debug> fmt::Debug for CompactSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

impl<T: Ord + Clone> CompactSet<T> {
    /// Inserts an item, unless it is there.
    pub(super) fn insert(&mut self, item: T) {
        let position = self.at(&item);
        if self.pieces.get(position) != Some(&item) {
            self.pieces.insert(position, item, T::clone);
            self.len += 1;
        }
    }

    /// Removes an item.
    pub(super) fn remove(&mut self, item: &T) {
        let position = self.at(item);
        if self.pieces.get(position) == Some(item) {
            self.pieces.remove(position);
            self.len -= 1;
        }
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first item.
    pub fn first(&self) -> Option<&T> {
        self.pieces.get((0, 0))
    }

    /// All items, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + Clone {
        self.pieces.iter()
    }

    /// The items within bounds, in order.
    pub fn range(&self, bounds: impl RangeBounds<T>) -> impl DoubleEndedIterator<Item = &T> + Clone {
        let from = match bounds.start_bound() {
            Bound::Included(item) => self.at(item),
            Bound::Excluded(item) => self.after(item),
            Bound::Unbounded => (0, 0),
        };
        let to = match bounds.end_bound() {
            Bound::Included(item) => self.after(item),
            Bound::Excluded(item) => self.at(item),
            Bound::Unbounded => self.pieces.end(),
        };
        self.pieces.between(from, to)
    }

    /// Position of an item, or where it would be inserted.
    fn at(&self, item: &T) -> Position {
        self.pieces.position(|from| from <= item, |other| other < item)
    }

    fn after(&self, item: &T) -> Position {
        self.pieces.position(|from| from <= item, |other| other <= item)
    }
}

impl<'a, T> IntoIterator for &'a CompactSet<T> {
    type Item = &'a T;
    type IntoIter = Items<'a, T, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.pieces.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::jobs::sorted_pieces::PIECE;

    proptest! {
        #[test]
        fn it_is_as_good_as_a_set(
            steps in prop::collection::vec((0..3_u8, 0..700_u16), 0..3_000),
            bounds in prop::collection::vec((0..4_u8, 0..700_u16, 0..700_u16), 20),
        ) {
            let (mut compact, mut set) = (CompactSet::default(), BTreeSet::new());
            for (step, item) in steps {
                // More insertions than removals, so that there are many pieces.
                if step > 0 {
                    compact.insert(item);
                    set.insert(item);
                } else {
                    compact.remove(&item);
                    set.remove(&item);
                }
            }
            prop_assert_eq!(compact.len(), set.len());
            prop_assert_eq!(compact.first(), set.first());
            prop_assert!(compact.pieces.sizes().iter().all(|items| (1..=PIECE).contains(items)));
            prop_assert!(compact.iter().eq(&set) && compact.into_iter().rev().eq(set.iter().rev()));
            for (kind, one, other) in bounds {
                let (low, high) = (one.min(other), one.max(other) + 1);
                let range = match kind {
                    0 => (Bound::Included(low), Bound::Excluded(high)),
                    1 => (Bound::Excluded(low), Bound::Included(high)),
                    2 => (Bound::Unbounded, Bound::Excluded(high)),
                    _ => (Bound::Included(low), Bound::Unbounded),
                };
                prop_assert!(compact.range(range).eq(set.range(range)), "{range:?}");
                prop_assert!(compact.range(range).rev().eq(set.range(range).rev()), "{range:?} in reverse");
            }
        }
    }

    /// Lists are newest first, page by page, and arrivals come later: pieces stay full.
    #[test]
    fn items_that_come_in_order_fill_the_pieces() {
        let orders: [(&str, Vec<u32>); 3] = [
            ("oldest first", (0..10_000).collect()),
            ("newest first", (0..10_000).rev().collect()),
            ("newest first in each page", (0..1_000).flat_map(|page| (page * 10..page * 10 + 10).rev()).collect()),
        ];
        for (order, items) in orders {
            let mut compact = CompactSet::default();
            items.into_iter().for_each(|item| compact.insert(item));
            assert!(compact.iter().copied().eq(0..10_000), "{order}");
            assert!(compact.pieces.sizes().len() <= 10_000 / PIECE * 5 / 4, "{order}: {:?}", compact.pieces.sizes());
        }
    }
}
