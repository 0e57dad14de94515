//! Fault injection, from a scenario file or by `POST /_sim/faults`. `README.md` has the list.
//!
//! A request adds to the existing faults; `DELETE` removes all. Times are the simulated clock's, and randomness comes
//! from the seed: the same calls in the same order meet the same faults.

mod distorted_answers;
mod syntax;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use serde_json::json;

use crate::api_error::ApiError;
use trainspotter_core::model::JobId;
use trainspotter_core::model::Timestamp;
use trainspotter_core::yaml::HumanDuration;

pub use syntax::Arrangement;

use distorted_answers::Disguise;
use syntax::ANY;
use syntax::CallFault;
use syntax::Kind;
use syntax::Shift;
use syntax::Vanish;

/// Active and future faults.
#[derive(Debug)]
pub(super) struct Faults {
    /// Current time, set before each request.
    pub now: Timestamp,
    random: ChaCha8Rng,
    arranged: Vec<ActiveFault>,
    vanishing: Vec<Vanishing>,
    unknown_status: Option<Disguise>,
    unknown_instance_type: Option<Disguise>,
    /// By topic: HTTP status, and remaining count.
    topic: BTreeMap<String, (u16, u64)>,
    /// Frozen snapshots, by request.
    snapshots: BTreeMap<String, Value>,
}

/// A fault with its time window.
#[derive(Clone, Debug)]
struct ActiveFault {
    kind: Kind,
    operation: String,
    page: Option<u32>,
    /// How often it still applies; `None` means unlimited.
    left: Option<u64>,
    from: Timestamp,
    until: Option<Timestamp>,
    probability: f64,
    by: Shift,
}

/// Hidden jobs.
#[derive(Clone, Debug)]
struct Vanishing {
    job: String,
    most: Option<u64>,
    from: Timestamp,
    until: Option<Timestamp>,
    hidden: BTreeSet<JobId>,
}

/// Service-specific errors.
#[derive(Clone, Debug)]
pub(super) struct Refusals {
    /// For throttling.
    pub throttled: ApiError,
    /// For expired temporary credentials.
    pub expired: ApiError,
    /// For denied access.
    pub denied: ApiError,
}

/// Effects of faults on one call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CallEffects {
    /// Error returned in place of the response.
    pub refusal: Option<ApiError>,
    /// Delay of the response, in simulated time.
    pub late: Duration,
    /// Damage to the body.
    pub damage: Option<Damage>,
}

/// Damage to a response body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// The connection closes before the body.
    Cut,
    /// Half of the body is sent.
    Truncated,
    /// Other content is sent.
    Malformed,
}

impl Faults {
    /// No faults.
    pub fn new(seed: u64) -> Self {
        Self {
            now: Timestamp::default(),
            random: ChaCha8Rng::seed_from_u64(seed),
            arranged: Vec::new(),
            vanishing: Vec::new(),
            unknown_status: None,
            unknown_instance_type: None,
            topic: BTreeMap::new(),
            snapshots: BTreeMap::new(),
        }
    }

    /// Removes all faults.
    pub fn clear(&mut self) {
        *self = Self { now: self.now, random: self.random.clone(), ..Self::new(0) };
    }

    /// Adds faults; their times count from now.
    pub fn arrange(&mut self, arrangement: Arrangement) {
        let now = self.now;
        for (kind, call_faults) in arrangement.call_faults() {
            self.arranged.extend(call_faults.0.iter().map(|fault| ActiveFault::new(kind, fault, now)));
        }
        let vanishing = |vanish: Vanish| {
            let (from, until) = window(vanish.after, vanish.r#for, now);
            Vanishing { job: vanish.job, most: vanish.count, from, until, hidden: BTreeSet::new() }
        };
        self.vanishing.extend(arrangement.vanish.0.into_iter().map(vanishing));
        if let Some(value) = arrangement.unknown_status {
            self.unknown_status = Some(Disguise::new(value));
        }
        if let Some(value) = arrangement.unknown_instance_type {
            self.unknown_instance_type = Some(Disguise::new(value));
        }
        for topic in arrangement.topic.0 {
            self.topic.insert(topic.name, (topic.status, topic.count));
        }
    }

    /// Effects on a call; `words` are the service's errors.
    pub fn effects_on(&mut self, operation: &str, words: Refusals) -> CallEffects {
        let mut due = |kind| self.due(kind, operation, None);
        let late = due(Kind::Slow).map_or(Duration::ZERO, Shift::duration);
        let refusals = [
            (Kind::ExpiredCredentials, words.expired),
            (Kind::AccessDenied, words.denied),
            (Kind::Throttle, words.throttled),
            (Kind::ServerError, broken()),
        ];
        let refusal = refusals.into_iter().find_map(|(kind, error)| due(kind).map(|_| error));
        let damages =
            [(Kind::Cut, Damage::Cut), (Kind::Truncated, Damage::Truncated), (Kind::Malformed, Damage::Malformed)];
        let damage = damages.into_iter().find_map(|(kind, damage)| due(kind).map(|_| damage));
        CallEffects { refusal, late, damage }
    }

    /// How far AWS's clock is ahead at `now`, in milliseconds.
    pub fn skew_millis(&self, now: Timestamp) -> i64 {
        let lasting = self.arranged.iter().filter(|arranged| arranged.kind == Kind::ClockSkew && arranged.covers(now));
        lasting.map(|arranged| arranged.by.0).sum()
    }

    /// How far job lists lag at `now`.
    pub fn list_lag(&self, now: Timestamp) -> Duration {
        let lasting = self.arranged.iter().filter(|arranged| arranged.kind == Kind::ListLag && arranged.covers(now));
        lasting.map(|arranged| arranged.by.duration()).sum()
    }

    /// Fails a page of a list, if requested.
    pub fn fail_page(&mut self, operation: &str, page: u32) -> Result<(), ApiError> {
        self.due(Kind::FailPage, operation, Some(page)).map_or(Ok(()), |_| Err(broken()))
    }

    /// Fails a publication to a topic, if requested.
    pub fn fail_topic(&mut self, name: &str) -> Result<(), ApiError> {
        let Some((status, left)) = self.topic.get_mut(name).filter(|(_, left)| *left > 0) else { return Ok(()) };
        *left -= 1;
        Err(match *status {
            404 => ApiError::new(404, "NotFound", "Topic does not exist"),
            status => ApiError::new(status, "InternalError", "the simulator was asked to fail this topic"),
        })
    }

    /// The active faults as JSON.
    pub fn described(&self) -> Value {
        let described = |arranged: &ActiveFault| {
            json!({
                "fault": arranged.kind.as_str(),
                "operation": arranged.operation,
                "page": arranged.page,
                "left": arranged.left,
                "from": arranged.from,
                "until": arranged.until,
                "probability": arranged.probability,
                "by_seconds": arranged.by.0 as f64 / 1_000.0,
            })
        };
        let vanishing = |vanishing: &Vanishing| json!({"job": vanishing.job, "from": vanishing.from, "until": vanishing.until, "hidden": vanishing.hidden});
        json!({
            "arranged": self.arranged.iter().map(described).collect::<Vec<_>>(),
            "vanish": self.vanishing.iter().map(vanishing).collect::<Vec<_>>(),
            "unknown_status": self.unknown_status.as_ref().map(|disguise| &disguise.value),
            "unknown_instance_type": self.unknown_instance_type.as_ref().map(|disguise| &disguise.value),
            "topic": self.topic,
        })
    }

    /// Uses up the first fault of a kind that applies to a call, and returns its `by`.
    fn due(&mut self, kind: Kind, operation: &str, page: Option<u32>) -> Option<Shift> {
        let now = self.now;
        self.arranged.retain(|arranged| !arranged.is_over(now));
        let random = &mut self.random;
        let struck = self.arranged.iter_mut().find(|arranged| {
            arranged.kind == kind
                && (arranged.operation == operation || arranged.operation == ANY)
                && arranged.page == page
                && arranged.covers(now)
                && (arranged.probability >= 1.0 || random.random::<f64>() < arranged.probability)
        })?;
        struck.left = struck.left.map(|left| left - 1);
        Some(struck.by)
    }
}

impl ActiveFault {
    fn new(kind: Kind, fault: &CallFault, now: Timestamp) -> Self {
        let (from, until) = window(fault.after, fault.r#for, now);
        let once = (kind == Kind::FailPage && until.is_none()).then_some(1);
        Self {
            kind,
            operation: fault.operation.clone(),
            page: fault.page,
            left: fault.count.or(once),
            from,
            until,
            probability: fault.probability.unwrap_or(1.0),
            by: fault.by.unwrap_or(Shift(0)),
        }
    }

    fn covers(&self, now: Timestamp) -> bool {
        now >= self.from && !self.is_over(now)
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.left == Some(0) || self.until.is_some_and(|until| now >= until)
    }
}

fn window(
    after: Option<HumanDuration>,
    lasts: Option<HumanDuration>,
    now: Timestamp,
) -> (Timestamp, Option<Timestamp>) {
    let from = now + after.map_or(Duration::ZERO, |after| after.0);
    (from, lasts.map(|lasts| from + lasts.0))
}

fn broken() -> ApiError {
    ApiError::new(500, "ServerException", "the simulator was asked to fail")
}
