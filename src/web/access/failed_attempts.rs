//! Rate limit on wrong tokens per address. Beyond it, tokens from the address are ignored for a while, which bounds
//! guessing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Burst of wrong tokens per address.
pub(super) const MAX_AT_ONCE: u32 = 20;

/// After the burst, one per this interval.
const EVERY: Duration = Duration::from_secs(1);

/// Addresses tracked; all others share one budget.
const MAX_ADDRESSES: usize = 1_000;

/// Wrong tokens by address.
#[derive(Debug, Default)]
pub(super) struct FailedAttempts {
    /// When the budget of an address is full again.
    forgiven_at: Mutex<BTreeMap<IpAddr, Instant>>,
    wrong: AtomicU64,
    too_many: AtomicU64,
}

impl FailedAttempts {
    /// Whether an address may send a token; otherwise, the seconds to wait.
    pub(super) fn may_try(&self, peer: IpAddr) -> Result<(), u64> {
        let now = Instant::now();
        let forgiven_at = self.lock();
        let Some(at) = forgiven_at.get(&key(&forgiven_at, peer)) else { return Ok(()) };
        let left = at.saturating_duration_since(now);
        let over = left.saturating_sub(EVERY * (MAX_AT_ONCE - 1));
        if over.is_zero() {
            return Ok(());
        }
        self.too_many.fetch_add(1, Ordering::Relaxed);
        Err(over.as_secs() + 1)
    }

    /// Records a wrong token.
    pub(super) fn failed(&self, peer: IpAddr) {
        let now = Instant::now();
        self.wrong.fetch_add(1, Ordering::Relaxed);
        let mut forgiven_at = self.lock();
        if forgiven_at.len() >= MAX_ADDRESSES {
            forgiven_at.retain(|_, at| *at > now);
        }
        let key = key(&forgiven_at, peer);
        let at = forgiven_at.entry(key).or_insert(now);
        *at = (*at).max(now) + EVERY;
    }

    /// Refused requests since the last call, by cause.
    pub(super) fn take_counts(&self) -> [(&'static str, u64); 2] {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        [("wrong_token", take(&self.wrong)), ("too_many", take(&self.too_many))]
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Instant>> {
        self.forgiven_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tracked key of an address: for IPv6 the network, since one machine may have all of its addresses.
fn key(known: &BTreeMap<IpAddr, Instant>, peer: IpAddr) -> IpAddr {
    let key = match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    };
    let is_full = known.len() >= MAX_ADDRESSES && !known.contains_key(&key);
    if is_full { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { key }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_a_budget_that_time_gives_back() {
        let (attempts, peer) = (FailedAttempts::default(), address("10.0.0.1"));
        for _ in 0..MAX_AT_ONCE {
            assert_eq!(attempts.may_try(peer), Ok(()));
            attempts.failed(peer);
        }
        assert_eq!(attempts.may_try(peer), Err(2));
        assert_eq!(attempts.may_try(address("10.0.0.2")), Ok(()), "another address");
        assert_eq!(attempts.may_try(address("::ffff:10.0.0.1")), Err(2), "the same");
        tokio::time::advance(EVERY).await;
        assert_eq!(attempts.may_try(peer), Ok(()));
        attempts.failed(peer);
        assert_eq!(attempts.may_try(peer), Err(2));
        assert_eq!(attempts.take_counts(), [("wrong_token", 21), ("too_many", 3)]);
        assert_eq!(attempts.take_counts(), [("wrong_token", 0), ("too_many", 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_is_one_address_and_many_addresses_share_what_is_left() {
        let attempts = FailedAttempts::default();
        for number in 0..MAX_AT_ONCE {
            attempts.failed(address(&format!("2001:db8:0:1::{number}")));
        }
        assert!(attempts.may_try(address("2001:db8:0:1:ffff::1")).is_err());
        assert!(attempts.may_try(address("2001:db8:0:2::1")).is_ok());
        for number in 0..u32::try_from(MAX_ADDRESSES).unwrap() + MAX_AT_ONCE {
            attempts.failed(IpAddr::V4(number.into()));
        }
        assert!(attempts.lock().len() <= MAX_ADDRESSES + 1, "{}", attempts.lock().len());
        assert!(attempts.may_try(address("192.0.2.1")).is_err(), "those beyond share one budget");
        tokio::time::advance(EVERY * 60).await;
        assert!(attempts.may_try(address("192.0.2.1")).is_ok());
    }
}
