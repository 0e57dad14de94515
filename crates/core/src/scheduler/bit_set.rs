//! A set of small integers that stays fast at a million members: one bit per number, and above each 64 bits one bit
//! that tells whether any of them is set. Adding and removing take a few steps at any size; the next member is found
//! by climbing to a set bit and descending again.

use std::ops::Range;

/// Up to 64^4 numbers, the top level is one word; beyond that it is scanned word by word.
const LEVELS: usize = 4;
const WORD: usize = 64;

/// A set of numbers from 0 on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BitSet {
    levels: [Vec<u64>; LEVELS],
    members: usize,
}

impl BitSet {
    /// Adds a number.
    pub fn insert(&mut self, number: usize) {
        self.members += usize::from(!self.contains(number));
        let mut place = number;
        for level in &mut self.levels {
            let word = place / WORD;
            if level.len() <= word {
                level.resize(word + 1, 0);
            }
            level[word] |= 1 << (place % WORD);
            place = word;
        }
    }

    /// Removes a number, if present.
    pub fn remove(&mut self, number: usize) {
        self.members -= usize::from(self.contains(number));
        let mut place = number;
        for level in &mut self.levels {
            let Some(word) = level.get_mut(place / WORD) else { return };
            *word &= !(1 << (place % WORD));
            if *word != 0 {
                return;
            }
            place /= WORD;
        }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.members
    }

    /// The members within `range`, in order.
    pub fn within(&self, range: Range<usize>) -> Members<'_> {
        Members { set: self, range }
    }

    fn contains(&self, number: usize) -> bool {
        self.levels[0].get(number / WORD).is_some_and(|word| word & (1 << (number % WORD)) != 0)
    }

    /// The smallest member not below `from`.
    fn first_from(&self, from: usize) -> Option<usize> {
        let mut place = from;
        for (height, level) in self.levels.iter().enumerate() {
            let (word, bit) = (place / WORD, place % WORD);
            let rest = level.get(word)? & (u64::MAX << bit);
            if rest != 0 {
                return Some(self.descend(height, word * WORD + lowest(rest), lowest));
            }
            place = word + 1;
        }
        let top = self.levels.last()?;
        let word = (place..top.len()).find(|word| top[*word] != 0)?;
        Some(self.descend(LEVELS - 1, word * WORD + lowest(top[word]), lowest))
    }

    /// The largest member below `before`.
    fn last_before(&self, before: usize) -> Option<usize> {
        let mut place = before.min(self.levels[0].len() * WORD);
        for (height, level) in self.levels.iter().enumerate() {
            let last = place.checked_sub(1)?;
            let (word, bit) = (last / WORD, last % WORD);
            let rest = level.get(word)? & (u64::MAX >> (WORD - 1 - bit));
            if rest != 0 {
                return Some(self.descend(height, word * WORD + highest(rest), highest));
            }
            place = word;
        }
        let top = self.levels.last()?;
        let word = (0..place).rfind(|word| top[*word] != 0)?;
        Some(self.descend(LEVELS - 1, word * WORD + highest(top[word]), highest))
    }

    /// Descends from a set bit at some level to the member chosen by `choose`.
    fn descend(&self, height: usize, place: usize, choose: fn(u64) -> usize) -> usize {
        self.levels[..height].iter().rev().fold(place, |place, level| place * WORD + choose(level[place]))
    }
}

/// The members of a set within a range.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    set: &'a BitSet,
    range: Range<usize>,
}

impl Iterator for Members<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let found = self.set.first_from(self.range.start).filter(|found| *found < self.range.end)?;
        self.range.start = found + 1;
        Some(found)
    }
}

impl DoubleEndedIterator for Members<'_> {
    fn next_back(&mut self) -> Option<usize> {
        let found = self.set.last_before(self.range.end).filter(|found| *found >= self.range.start)?;
        self.range.end = found;
        Some(found)
    }
}

fn lowest(word: u64) -> usize {
    word.trailing_zeros() as usize
}

fn highest(word: u64) -> usize {
    WORD - 1 - word.leading_zeros() as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(changes in prop::collection::vec((any::<bool>(), prop_oneof![0_usize..200, 0_usize..300_000, 16_777_000_usize..16_778_000]), 0..80), from in 0_usize..300_000) {
            let (mut bits, mut model) = (BitSet::default(), BTreeSet::new());
            for (add, number) in changes {
                if add {
                    bits.insert(number);
                    model.insert(number);
                } else {
                    bits.remove(number);
                    model.remove(&number);
                }
            }
            prop_assert_eq!(bits.len(), model.len());
            for range in [0..usize::MAX, from..from + 1000, 0..from, from..usize::MAX, from..from] {
                let expected: Vec<_> = model.range(range.clone()).copied().collect();
                prop_assert_eq!(bits.within(range.clone()).collect::<Vec<_>>(), expected.clone());
                let backwards: Vec<_> = expected.into_iter().rev().collect();
                prop_assert_eq!(bits.within(range).rev().collect::<Vec<_>>(), backwards);
            }
        }
    }
}
