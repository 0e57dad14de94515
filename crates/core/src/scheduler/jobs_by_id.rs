//! Lookup of jobs by id. An id is 122 random bits in UUID form, so the bits serve as key and as hash.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::hash::Hasher;

use crate::model::JobId;

/// Job numbers by id.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    numbers: HashMap<u128, usize, BuildHasherDefault<Random>>,
}

impl Ids {
    /// Adds a job.
    pub fn insert(&mut self, id: &JobId, number: usize) {
        if let Some(key) = key(id) {
            self.numbers.insert(key, number);
        }
    }

    /// Number of a job.
    pub fn get(&self, id: &JobId) -> Option<usize> {
        self.numbers.get(&key(id)?).copied()
    }
}

/// The bits of an id; `None` if it does not have the form of generated ids.
fn key(id: &JobId) -> Option<u128> {
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
    let text = id.as_str().as_bytes();
    if text.len() != 36 {
        return None;
    }
    text.iter().enumerate().try_fold(0, |key, (place, byte)| match (HYPHENS.contains(&place), byte) {
        (true, b'-') => Some(key),
        (false, b'0'..=b'9') => Some(key << 4 | u128::from(byte - b'0')),
        (false, b'a'..=b'f') => Some(key << 4 | u128::from(byte - b'a' + 10)),
        (true | false, _) => None,
    })
}

/// Hasher that passes on already random bits.
#[derive(Clone, Debug, Default)]
struct Random(u64);

impl Hasher for Random {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, key: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "half of the bits are enough")]
        let half = (key ^ (key >> 64)) as u64;
        self.0 = half;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::rng::Rng;

    #[test]
    fn jobs_are_found_by_their_own_ids_only() {
        let mut ids = Ids::default();
        for number in 0..1_000 {
            ids.insert(&Rng(7).job_id(number), usize::try_from(number).unwrap());
        }
        for number in 0..1_000 {
            assert_eq!(ids.get(&Rng(7).job_id(number)), Some(usize::try_from(number).unwrap()));
        }
        let known = Rng(7).job_id(3);
        let shouted = JobId::from(known.as_str().to_uppercase());
        let cut = JobId::from(&known.as_str()[1..]);
        let moved = JobId::from(known.as_str().replacen('-', "0", 1));
        for unknown in [Rng(8).job_id(3), shouted, cut, moved, "".into()] {
            assert_eq!(ids.get(&unknown), None, "{unknown}");
        }
    }
}
