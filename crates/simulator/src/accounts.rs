//! Several accounts and Regions behind one endpoint: identifies the caller and the simulation of each request.
//!
//! Both follow from the request's signature: its access key belongs to an account (that of the role for keys from
//! `AssumeRole`, the first account for any other key), and its scope names the Region. Requests signed for a Region
//! that the account does not have here are rejected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Simulation;
use crate::api_error::ApiError;
use crate::signature;
use trainspotter_core::model::Timestamp;
use trainspotter_core::yaml::HumanDuration;

/// Maximum number of sessions; the oldest are dropped first.
const MAX_SESSIONS: usize = 10_000;

/// Simulated accounts and Regions. Clones share their state.
#[derive(Clone, Debug)]
pub struct Accounts {
    places: Arc<[Simulation]>,
    roles: Arc<Mutex<Roles>>,
}

/// Role rules and sessions.
#[derive(Debug, Default)]
struct Roles {
    /// Rules by account.
    rules: BTreeMap<String, Rule>,
    /// Sessions by access key.
    sessions: BTreeMap<String, Session>,
    given: u64,
}

/// How an account handles `AssumeRole`.
#[derive(Clone, Debug, Default)]
struct Rule {
    refuses: bool,
    external_id: Option<String>,
    lasts: Option<HumanDuration>,
}

#[derive(Clone, Debug)]
struct Session {
    account: String,
    number: u64,
    /// Expiry of its credentials.
    ends_at: Timestamp,
}

/// A request to `/_sim/accounts`; only given members change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    account: String,
    /// Whether to reject all `AssumeRole` calls.
    refuse: Option<bool>,
    /// Required external id; an empty text for none.
    external_id: Option<String>,
    /// Lifetime of credentials, whatever the request asks for. At least 1s.
    session_lasts: Option<HumanDuration>,
    /// Expires all sessions of its roles now.
    #[serde(default)]
    expire: bool,
}

impl From<Simulation> for Accounts {
    fn from(simulation: Simulation) -> Self {
        Self { places: [simulation].into(), roles: Arc::default() }
    }
}

impl Accounts {
    /// Creates a set of accounts and Regions. Callers with their own credentials belong to the first one's account.
    ///
    /// # Errors
    /// The list is empty, or two entries are the same.
    pub fn new(places: Vec<Simulation>) -> Result<Self, String> {
        let mut seen = BTreeSet::new();
        for place in &places {
            if !seen.insert((place.account(), place.region())) {
                return Err(format!("{} {} is there twice", place.account(), place.region()));
            }
        }
        if places.is_empty() {
            return Err("there is no account".to_owned());
        }
        Ok(Self { places: places.into(), roles: Arc::default() })
    }

    /// Returns these accounts with a fixed lifetime of role sessions, whatever a request asks for.
    #[must_use]
    pub fn with_sessions_of(self, lasts: std::time::Duration) -> Self {
        for place in self.places.iter() {
            self.roles().rules.entry(place.account().to_owned()).or_default().lasts = Some(HumanDuration(lasts));
        }
        self
    }

    /// Returns these accounts with all `AssumeRole` calls for this account rejected.
    ///
    /// # Errors
    /// The account does not exist.
    pub fn refusing(self, account: &str) -> Result<Self, String> {
        if self.at(Some(account), None).is_none() {
            return Err(format!("there is no account {account}"));
        }
        self.roles().rules.entry(account.to_owned()).or_default().refuses = true;
        Ok(self)
    }

    /// Locks the roles. A world may be locked before, never while this lock is held.
    fn roles(&self) -> MutexGuard<'_, Roles> {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first simulation.
    pub(super) fn first(&self) -> Option<&Simulation> {
        self.places.first()
    }

    /// The simulation with this account and Region; if one is not given, the first match.
    pub(super) fn at(&self, account: Option<&str>, region: Option<&str>) -> Option<&Simulation> {
        let fits = |place: &&Simulation| {
            account.is_none_or(|account| place.account() == account)
                && region.is_none_or(|region| place.region() == region)
        };
        self.places.iter().find(fits)
    }

    /// The simulation that a request is for; without a signature, the first one. A single simulation accepts any
    /// Region.
    pub(super) fn of_request(&self, headers: &HeaderMap, is_sts: bool) -> Result<(&Simulation, String), ApiError> {
        let first = self.first().ok_or_else(|| ApiError::new(500, "InternalFailure", "there is no account"))?;
        let own = || first.account().to_owned();
        let Some(signed) = signature::signer(headers) else { return Ok((first, own())) };
        // Not as the scrutinee of a match: the lock would be held while `now` waits for the world's, and `assume` is
        // called with that one held.
        let session =
            self.roles().sessions.get(signed.access_key).map(|session| (session.account.clone(), session.ends_at));
        let account = match session {
            Some((_, ends_at)) if ends_at <= first.now() => {
                return Err(ApiError::new(
                    403,
                    "ExpiredToken",
                    "The security token included in the request is expired",
                ));
            }
            Some((account, _)) => account,
            None => own(),
        };
        if self.places.len() == 1 && account == first.account() {
            return Ok((first, account));
        }
        let found = self.at(Some(&account), Some(signed.region));
        // `GetCallerIdentity` works in any Region.
        let found = found.or_else(|| self.at(Some(&account), None).or(Some(first)).filter(|_| is_sts));
        let wrong = || {
            let message = format!("Credential should be scoped to a valid region, not '{}'.", signed.region);
            ApiError::new(403, "InvalidSignatureException", message)
        };
        found.map(|place| (place, account)).ok_or_else(wrong)
    }

    /// Issues credentials for a role: the access key, and their expiry.
    pub(super) fn assume(
        &self,
        role: &str,
        account: &str,
        external_id: Option<&str>,
        now: Timestamp,
        lasts: std::time::Duration,
    ) -> Result<(String, Timestamp), ApiError> {
        let denied = || {
            let caller = self.first().map(Simulation::account).unwrap_or_default();
            let message = format!(
                "User: arn:aws:iam::{caller}:user/simulated is not authorized to perform: sts:AssumeRole on resource: {role}"
            );
            ApiError::new(403, "AccessDenied", message)
        };
        let is_alone = self.places.len() == 1;
        // A single simulation accepts any account.
        if !is_alone && self.at(Some(account), None).is_none() {
            return Err(denied());
        }
        let mut roles = self.roles();
        let rule = roles.rules.get(account).cloned().unwrap_or_default();
        if rule.refuses || rule.external_id.is_some() && rule.external_id.as_deref() != external_id {
            return Err(denied());
        }
        let ends_at = now + rule.lasts.map_or(lasts, |lasts| lasts.0);
        roles.given += 1;
        let (number, key) = (roles.given, format!("ASIASIMULATED{:07}", roles.given));
        let account = if is_alone { self.first().map(Simulation::account).unwrap_or_default() } else { account };
        roles.sessions.insert(key.clone(), Session { account: account.to_owned(), number, ends_at });
        if roles.sessions.len() > MAX_SESSIONS {
            let oldest = roles.sessions.iter().min_by_key(|(_, session)| session.number).map(|(key, _)| key.clone());
            oldest.map(|key| roles.sessions.remove(&key));
        }
        Ok((key, ends_at))
    }

    /// The accounts and their sessions.
    pub(super) fn shown(&self) -> Value {
        let roles = self.roles();
        let row = |place: &Simulation| {
            let rule = roles.rules.get(place.account()).cloned().unwrap_or_default();
            let sessions = roles.sessions.values().filter(|session| session.account == place.account()).count();
            json!({
                "account": place.account(), "region": place.region(), "refuse": rule.refuses,
                "external_id": rule.external_id, "sessions": sessions,
            })
        };
        json!({"accounts": self.places.iter().map(row).collect::<Vec<_>>(), "sessions_given": roles.given})
    }

    /// Changes the rules of an account.
    ///
    /// # Errors
    /// The account does not exist, or the session lifetime is too short.
    pub(super) fn change(&self, change: Change) -> Result<Value, ApiError> {
        let Change { account, refuse, external_id, session_lasts, expire } = change;
        let Some(place) = self.at(Some(&account), None) else {
            return Err(ApiError::bad("BadRequest", format!("there is no account {account}")));
        };
        if session_lasts.is_some_and(|lasts| lasts.0.as_secs() == 0) {
            return Err(ApiError::bad("BadRequest", "session_lasts: must be at least 1s"));
        }
        {
            let now = place.now();
            let mut roles = self.roles();
            let rule = roles.rules.entry(account.clone()).or_default();
            rule.refuses = refuse.unwrap_or(rule.refuses);
            rule.lasts = session_lasts.or(rule.lasts);
            if let Some(external_id) = external_id {
                rule.external_id = Some(external_id).filter(|id| !id.is_empty());
            }
            if expire {
                let of_it = roles.sessions.values_mut().filter(|session| session.account == account);
                of_it.for_each(|session| session.ends_at = session.ends_at.min(now));
            }
        }
        Ok(self.shown())
    }
}
