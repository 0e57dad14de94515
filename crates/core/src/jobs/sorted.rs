//! Keys in an order that only what they stand for tells: eight bytes a key, where a tree of texts would take fifty.

/// Keys in one piece, at most: what an insertion moves.
const PIECE: usize = 512;

/// Keys in order, in pieces. Invariant: no piece is empty or has more than [`PIECE`] keys.
#[derive(Debug, Default)]
pub(super) struct Sorted(Vec<Vec<u64>>);

impl Sorted {
    /// Puts a key behind all those that come before it; one that is there stays where it is.
    pub(super) fn insert(&mut self, key: u64, comes_before: impl Fn(u64) -> bool) {
        let index = self.piece_of(&comes_before);
        // It may be the first of the next piece.
        let is_first_of_next = self.0.get(index + 1).and_then(|next| next.first()) == Some(&key);
        let Some(piece) = self.0.get_mut(index) else { return self.0.push(vec![key]) };
        let at = piece.partition_point(|other| comes_before(*other));
        if piece.get(at) == Some(&key) || (at == piece.len() && is_first_of_next) {
            return;
        }
        piece.insert(at, key);
        if piece.len() > PIECE {
            let upper = piece.split_off(PIECE / 2);
            self.0.insert(index + 1, upper);
        }
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, key: u64, comes_before: impl Fn(u64) -> bool) {
        let mut index = self.piece_of(&comes_before);
        let Some(mut piece) = self.0.get(index) else { return };
        let mut at = piece.partition_point(|other| comes_before(*other));
        if at == piece.len() {
            (index, at) = (index + 1, 0);
            let Some(next) = self.0.get(index) else { return };
            piece = next;
        }
        if piece.get(at) != Some(&key) {
            return;
        }
        if let Some(piece) = self.0.get_mut(index) {
            piece.remove(at);
        }
        self.tidy(index);
    }

    /// All keys from the first on that does not come before.
    pub(super) fn from<F: Fn(u64) -> bool>(&self, comes_before: F) -> impl Iterator<Item = u64> + use<'_, F> {
        let index = self.piece_of(&comes_before);
        let at = self.0.get(index).map_or(0, |piece| piece.partition_point(|other| comes_before(*other)));
        self.0.iter().skip(index).flatten().skip(at).copied()
    }

    /// The last piece that begins with a key that comes before, or else the first.
    fn piece_of(&self, comes_before: impl Fn(u64) -> bool) -> usize {
        let begins_before = |piece: &Vec<u64>| piece.first().is_some_and(|first| comes_before(*first));
        self.0.partition_point(begins_before).saturating_sub(1)
    }

    /// Lets no small pieces pile up where keys were taken out.
    fn tidy(&mut self, index: usize) {
        let len = |index: usize| self.0.get(index).map_or(usize::MAX, Vec::len);
        if len(index) == 0 {
            self.0.remove(index);
        } else if len(index).saturating_add(len(index + 1)) <= PIECE / 2 {
            let next = self.0.remove(index + 1);
            if let Some(piece) = self.0.get_mut(index) {
                piece.extend(next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_as_good_as_a_set(steps in prop::collection::vec((any::<bool>(), 0..3_000_u64), 0..4_000), from in 0..3_000_u64) {
            let (mut sorted, mut set) = (Sorted::default(), BTreeSet::new());
            for (comes, key) in steps {
                if comes {
                    sorted.insert(key, |other| other < key);
                    set.insert(key);
                } else {
                    sorted.remove(key, |other| other < key);
                    set.remove(&key);
                }
            }
            prop_assert!(sorted.0.iter().all(|piece| (1..=PIECE).contains(&piece.len())));
            prop_assert!(sorted.from(|key| key < from).eq(set.range(from..).copied()));
        }
    }
}
