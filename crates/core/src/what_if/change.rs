//! Changes to the setup of queues, such as `queue.research.share.speech.quota=8`.

use std::fmt;
use std::time::Duration;

use crate::model::{Capacity, InstanceType, Policy, QueueName, QuotaShare, ShareName, Sharing, WeightedShare};
use crate::what_if::past::Past;

/// Supported keys, for messages.
pub const KEYS: &str = "queue.Q.capacity, queue.Q.capacity.TYPE, queue.Q.policy, queue.Q.share.S.quota, queue.Q.share.S.quota.TYPE, \
                        queue.Q.share.S.borrow_limit, queue.Q.share.S.sharing, queue.Q.share.S.weight, queue.Q.share.S.priority and \
                        queue.Q.share.S.in_share_preemption";

/// Maximum value of a limit.
const MAX_LIMIT: f64 = 1_000_000.0;

/// Maximum borrow limit of a share, in percent of its quota.
const MAX_BORROW_LIMIT: u32 = 1_000_000;

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The change as written.
    pub text: String,
    queue: QueueName,
    what: What,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Capacity(Option<InstanceType>, Amount),
    Policy(Kind),
    Share(ShareName, OfShare),
}

#[derive(Clone, Debug, PartialEq)]
enum OfShare {
    Quota(Option<InstanceType>, Amount),
    BorrowLimit(Option<u32>),
    Sharing(Kept),
    Weight(f64),
    Priority(i32),
    InSharePreemption(bool),
}

/// An absolute value, or a relative one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    Exactly(f64),
    More(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fifo,
    FairShare,
    QuotaShares,
}

/// A sharing strategy without its borrow limit, which is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Reserve,
    Lend,
    LendAndBorrow,
}

/// Why a change cannot be applied, with the existing alternatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeError(String);

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ChangeError {}

impl Amount {
    fn of(self, before: f64) -> Result<f64, String> {
        let after = match self {
            Self::Exactly(amount) => amount,
            Self::More(more) => before + more,
        };
        if after < 0.0 {
            return Err(format!("there are {before}, and the number of instances must not be negative"));
        }
        if after > MAX_LIMIT {
            return Err(format!("{after} exceeds {MAX_LIMIT}, the maximum of a limit"));
        }
        Ok(after)
    }
}

/// Parses a change, `KEY=VALUE`. A quota or capacity with a sign is relative to the current value.
///
/// # Errors
/// The text is not a valid change; the message explains the syntax.
pub fn parse(text: &str) -> Result<Change, ChangeError> {
    let wrong = |why: String| ChangeError(format!("{text:?}: {why}"));
    let Some((key, value)) = text.split_once('=') else {
        return Err(wrong("a change is KEY=VALUE, such as queue.research.share.speech.quota=8".to_owned()));
    };
    let (key, value) = (key.trim(), value.trim());
    let unknown = || wrong(format!("unknown key {key:?}; known keys: {KEYS}"));
    let rest = inside(key, "queue").ok_or_else(unknown)?;
    let (queue, rest) = rest.split_once('.').ok_or_else(unknown)?;
    let what = match inside(rest, "share").map(|rest| rest.split_once('.')) {
        Some(Some((share, rest))) => {
            What::Share(ShareName::new(share), of_share(rest, value).ok_or_else(unknown)?.map_err(wrong)?)
        }
        Some(None) => return Err(unknown()),
        None => of_queue(rest, value).ok_or_else(unknown)?.map_err(wrong)?,
    };
    Ok(Change { text: format!("{key}={value}"), queue: QueueName::new(queue), what })
}

/// The rest of a key after its first part, if that is `part`.
fn inside<'a>(key: &'a str, part: &str) -> Option<&'a str> {
    key.split_once('.').filter(|(first, _)| *first == part).map(|(_, rest)| rest)
}

/// `None` if the key does not exist.
fn of_queue(key: &str, value: &str) -> Option<Result<What, String>> {
    Some(match key.split_once('.').map_or((key, None), |(key, rest)| (key, Some(rest))) {
        ("capacity", unit) => amount(value).map(|amount| What::Capacity(unit.map(InstanceType::from), amount)),
        ("policy", None) => match value {
            "fifo" => Ok(What::Policy(Kind::Fifo)),
            "fair-share" => Ok(What::Policy(Kind::FairShare)),
            "quota-shares" => Ok(What::Policy(Kind::QuotaShares)),
            _ => Err(format!("unknown policy {value:?}; known policies: fifo, fair-share and quota-shares")),
        },
        _ => return None,
    })
}

fn of_share(key: &str, value: &str) -> Option<Result<OfShare, String>> {
    Some(match key.split_once('.').map_or((key, None), |(key, rest)| (key, Some(rest))) {
        ("quota", unit) => amount(value).map(|amount| OfShare::Quota(unit.map(InstanceType::from), amount)),
        ("borrow_limit", None) if matches!(value, "none" | "-1") => Ok(OfShare::BorrowLimit(None)),
        ("borrow_limit", None) => match value.strip_suffix('%').unwrap_or(value).parse() {
            Ok(percent) if percent <= MAX_BORROW_LIMIT => Ok(OfShare::BorrowLimit(Some(percent))),
            _ => Err(format!(
                "{value:?} is not a borrow limit: a whole number of percent of the quota from 0 to \
                 {MAX_BORROW_LIMIT}, or none"
            )),
        },
        ("sharing", None) => match value {
            "reserve" => Ok(OfShare::Sharing(Kept::Reserve)),
            "lend" => Ok(OfShare::Sharing(Kept::Lend)),
            "lend-and-borrow" => Ok(OfShare::Sharing(Kept::LendAndBorrow)),
            _ => Err(format!("unknown strategy {value:?}; known strategies: reserve, lend and lend-and-borrow")),
        },
        ("weight", None) => match value.parse::<f64>() {
            Ok(weight) if WeightedShare::is_weight(weight) => Ok(OfShare::Weight(weight)),
            _ => Err(format!("{value:?} is not a weight: a number from 0.0001 to 999.9999, where less gets more")),
        },
        ("priority", None) => match value.parse::<i32>() {
            Ok(priority) if (0..=9_999).contains(&priority) => Ok(OfShare::Priority(priority)),
            _ => Err(format!("{value:?} is not a priority: a whole number from 0 to 9999")),
        },
        ("in_share_preemption", None) => match value {
            "true" => Ok(OfShare::InSharePreemption(true)),
            "false" => Ok(OfShare::InSharePreemption(false)),
            _ => Err(format!("{value:?} is neither true nor false")),
        },
        _ => return None,
    })
}

fn amount(value: &str) -> Result<Amount, String> {
    let number = value.parse::<f64>().ok().filter(|number| number.abs() <= MAX_LIMIT && number.fract() == 0.0);
    match number {
        Some(more) if value.starts_with(['+', '-']) => Ok(Amount::More(more)),
        Some(number) => Ok(Amount::Exactly(number)),
        None => Err(format!("{value:?} is not a number of instances: a whole number up to {MAX_LIMIT}, or +N or -N")),
    }
}

/// Applies changes to the queues of a past, in order.
///
/// # Errors
/// A change refers to something that does not exist.
pub fn with_changes(past: &Past, changes: &[Change]) -> Result<Past, ChangeError> {
    let mut changed = past.clone();
    for change in changes {
        change.apply(&mut changed).map_err(|why| ChangeError(format!("{}: {why}", change.text)))?;
    }
    Ok(changed)
}

impl Change {
    fn apply(&self, past: &mut Past) -> Result<(), String> {
        let names = || {
            let names: Vec<&str> = past.setup.queues.iter().map(|queue| queue.name.as_str()).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        let Some(index) = past.setup.queues.iter().position(|queue| queue.name == self.queue) else {
            return Err(format!("there is no queue {:?}; known queues: {}", self.queue.as_str(), names()));
        };
        match &self.what {
            What::Capacity(unit, amount) => {
                unit.as_ref().map_or(Ok(()), |unit| past.knows(&self.queue, unit))?;
                let environment = past.setup.queues.get(index).map(|queue| queue.environment.clone());
                let found = past.setup.environments.iter_mut().find(|one| Some(&one.name) == environment.as_ref());
                let environment = found.ok_or("its environment is unknown")?;
                set_limit(&mut environment.limits, unit.as_ref(), *amount, "its environment")
            }
            What::Policy(kind) => {
                let policy = policy(*kind, past, index);
                if let Some(queue) = past.setup.queues.get_mut(index) {
                    queue.policy = policy;
                }
                Ok(())
            }
            What::Share(share, what) => self.apply_to_share(share, what, past, index),
        }
    }

    fn apply_to_share(&self, share: &ShareName, what: &OfShare, past: &mut Past, index: usize) -> Result<(), String> {
        let known = past.shares(&self.queue);
        if !known.contains(share) {
            let names: Vec<&str> = known.iter().map(ShareName::as_str).collect();
            let there_are = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(format!("queue {} has no share {:?}; known shares: {there_are}", self.queue, share.as_str()));
        }
        if let OfShare::Priority(priority) = what {
            let of_share =
                |job: &&mut crate::what_if::PastJob| job.queue == self.queue && job.share.as_ref() == Some(share);
            past.jobs.iter_mut().filter(of_share).for_each(|job| job.priority = *priority);
            return Ok(());
        }
        if let OfShare::Quota(Some(unit), _) = what {
            past.knows(&self.queue, unit)?;
        }
        let Some(queue) = past.setup.queues.get_mut(index) else { return Ok(()) };
        match (&mut queue.policy, what) {
            (Policy::FairShare { shares, .. }, OfShare::Weight(weight)) => {
                shares.retain(|one| one.share != *share);
                shares.push(WeightedShare { share: share.clone(), weight: *weight });
                Ok(())
            }
            (Policy::QuotaShares(shares), what) => match shares.iter_mut().find(|one| one.name == *share) {
                Some(quota) => of_quota(quota, what),
                None => Err(format!("share {share} has no quota")),
            },
            (policy, _) => Err(format!(
                "queue {} is {}, which does not have this setting; change queue.{}.policy first",
                self.queue,
                policy.as_str(),
                self.queue
            )),
        }
    }
}

fn of_quota(share: &mut QuotaShare, what: &OfShare) -> Result<(), String> {
    match what {
        OfShare::Quota(unit, amount) => set_limit(&mut share.limits, unit.as_ref(), *amount, "the share"),
        OfShare::BorrowLimit(limit) => match &mut share.sharing {
            Sharing::LendAndBorrow { borrow_limit } => {
                *borrow_limit = *limit;
                Ok(())
            }
            Sharing::Reserve | Sharing::Lend | Sharing::Unknown => {
                Err(format!("share {} may not borrow; set its sharing to lend-and-borrow first", share.name))
            }
        },
        OfShare::Sharing(kept) => {
            let borrow_limit = match share.sharing {
                Sharing::LendAndBorrow { borrow_limit } => borrow_limit,
                Sharing::Reserve | Sharing::Lend | Sharing::Unknown => None,
            };
            share.sharing = match kept {
                Kept::Reserve => Sharing::Reserve,
                Kept::Lend => Sharing::Lend,
                Kept::LendAndBorrow => Sharing::LendAndBorrow { borrow_limit },
            };
            Ok(())
        }
        OfShare::InSharePreemption(preempts) => {
            share.in_share_preemption = *preempts;
            Ok(())
        }
        OfShare::Weight(_) => Err("quota shares have no weights; only fair-share queues do".to_owned()),
        OfShare::Priority(_) => Ok(()),
    }
}

/// Sets the limit of a type, or the only existing limit.
fn set_limit(
    limits: &mut Vec<Capacity>,
    unit: Option<&InstanceType>,
    amount: Amount,
    whose: &str,
) -> Result<(), String> {
    let unit = match (unit, limits.as_slice()) {
        (Some(unit), _) => unit.clone(),
        (None, [only]) => only.unit.clone(),
        (None, all) => {
            let types: Vec<&str> = all.iter().map(|limit| limit.unit.as_str()).collect();
            return Err(format!("{whose} has limits of several types: specify one of {}", types.join(", ")));
        }
    };
    match limits.iter_mut().find(|limit| limit.unit == unit) {
        Some(limit) => limit.quantity = amount.of(limit.quantity)?,
        None => limits.push(Capacity { quantity: amount.of(0.0)?, unit }),
    }
    Ok(())
}

/// A policy of another kind. Quotas are set to each share's average demand, as a fraction of the capacity.
fn policy(kind: Kind, past: &Past, index: usize) -> Policy {
    let Some(queue) = past.setup.queues.get(index) else { return Policy::Fifo };
    match (kind, &queue.policy) {
        (Kind::FairShare, policy @ Policy::FairShare { .. }) | (Kind::QuotaShares, policy @ Policy::QuotaShares(_)) => {
            policy.clone()
        }
        (Kind::Fifo, _) => Policy::Fifo,
        (Kind::FairShare, _) => Policy::FairShare { shares: Vec::new(), decay: Duration::ZERO, reservation: 0 },
        (Kind::QuotaShares, _) => {
            let demand = past.mean_demand(&queue.name);
            let whole: f64 = demand.values().sum::<f64>().max(f64::MIN_POSITIVE);
            let environment = past.setup.environments.iter().find(|one| one.name == queue.environment);
            let limits = environment.map_or(&[][..], |environment| &environment.limits);
            let quota = |(share, mean): (Option<ShareName>, f64)| QuotaShare {
                name: share.unwrap_or_else(|| ShareName::new("")),
                enabled: true,
                limits: limits
                    .iter()
                    .map(|limit| Capacity { quantity: (limit.quantity * mean / whole).round(), ..limit.clone() })
                    .collect(),
                sharing: Sharing::LendAndBorrow { borrow_limit: None },
                in_share_preemption: false,
            };
            Policy::QuotaShares(demand.into_iter().map(quota).collect())
        }
    }
}

#[cfg(test)]
mod tests;
