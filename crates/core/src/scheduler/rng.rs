//! Random numbers that depend only on the seed and their purpose, so that neither event order nor machine can change
//! a history.

use std::time::Duration;

use crate::model::{JobId, TrainingJobName};

/// Purpose of a number; part of the draw, so that draws for different purposes are independent.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Ids of jobs.
    Id,
    /// Names of training jobs.
    TrainingJob,
    /// Time in SCHEDULED.
    Scheduled,
    /// Time in STARTING.
    Starting,
}

/// A seed.
#[derive(Clone, Copy, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// The number for this purpose, job and attempt.
    pub fn draw(self, purpose: Purpose, ticket: u64, attempt: u32) -> u64 {
        let word = mix(self.0 ^ mix(purpose as u64 + 1));
        mix(mix(word ^ ticket) ^ u64::from(attempt))
    }

    /// The id of the `ticket`th submission, in the form of a version 4 UUID.
    pub fn job_id(self, ticket: u64) -> JobId {
        let (high, low) = (self.draw(Purpose::Id, ticket, 0), self.draw(Purpose::Id, ticket, 1));
        let version = (high & !0xf000) | 0x4000;
        let variant = (low & !(0b11 << 62)) | (0b10 << 62);
        JobId::new(format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            version >> 32,
            (version >> 16) & 0xffff,
            version & 0xffff,
            variant >> 48,
            variant & 0xffff_ffff_ffff
        ))
    }

    /// `AWSBatch<job name><32 hex>` as Batch generates it, within SageMaker's 63 characters.
    pub fn training_job(self, name: &str, ticket: u64, attempt: u32) -> TrainingJobName {
        const ROOM: usize = 63 - "AWSBatch".len() - 32;
        let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(ROOM).collect();
        let high = self.draw(Purpose::TrainingJob, ticket, attempt);
        TrainingJobName::new(format!("AWSBatch{name}{high:016x}{:016x}", mix(high)))
    }

    /// A uniform duration from a range, in whole seconds above the minimum.
    pub fn delay(self, purpose: Purpose, range: (Duration, Duration), ticket: u64, attempt: u32) -> Duration {
        let seconds = range.1.saturating_sub(range.0).as_secs();
        range.0 + Duration::from_secs(self.draw(purpose, ticket, attempt) % (seconds + 1))
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every input bit affects every output bit.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_look_like_version_4_uuids_and_differ() {
        let (one, two) = (Rng(7).job_id(0), Rng(7).job_id(1));
        let parts: Vec<_> = one.as_str().split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&one.as_str()[14..15], "4");
        assert!("89ab".contains(&one.as_str()[19..20]));
        assert_ne!(one, two);
        assert_ne!(one, Rng(8).job_id(0));
    }

    #[test]
    fn training_job_names_fit_sagemaker() {
        let name = Rng(1).training_job("a_very/long name that nobody would ever want to type twice", 3, 1);
        assert_eq!(name.as_str().len(), 63);
        assert!(name.as_str().chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
    }

    #[test]
    fn delays_stay_in_their_range_and_none_is_none() {
        let range = (Duration::from_secs(20), Duration::from_secs(23));
        let drawn: std::collections::BTreeSet<_> =
            (0..100).map(|ticket| Rng(1).delay(Purpose::Starting, range, ticket, 1).as_secs()).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [20, 21, 22, 23]);
        assert_eq!(Rng(1).delay(Purpose::Starting, (Duration::ZERO, Duration::ZERO), 1, 1), Duration::ZERO);
    }
}
