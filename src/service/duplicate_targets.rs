//! Detects two targets with the same account and region, and a log of another account. With a role of the service's
//! own account, and where STS does not respond, this is unknown until AWS has returned the account id.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::config::Target;
use crate::service::StartError;
use crate::store;
use trainspotter_core::model::{Place, Timestamp};

/// What a target is compared with. Clones share the result.
#[derive(Clone, Debug)]
pub(super) struct DuplicateTargets {
    own: Arc<Target>,
    /// The current targets.
    targets: watch::Receiver<Arc<[Target]>>,
    refusal: Arc<OnceLock<String>>,
    /// Account that the restored state names.
    account: Option<Arc<str>>,
    /// Whether the state is in a log, which other services can reach.
    has_log: bool,
}

impl DuplicateTargets {
    pub(super) fn new(own: &Target, mut targets: watch::Receiver<Arc<[Target]>>) -> Self {
        targets.mark_changed();
        Self { own: Arc::new(own.clone()), targets, refusal: Arc::default(), account: None, has_log: false }
    }

    /// Compares with the account that the restored state names, too.
    #[must_use]
    pub(super) fn with_state_of(mut self, watermarks: &BTreeMap<String, Timestamp>, has_log: bool) -> Self {
        let latest = watermarks.iter().filter_map(|(name, at)| Some((at, store::marked_account(name)?))).max();
        (self.account, self.has_log) = (latest.map(|(_, account)| account.into()), has_log);
        self
    }

    /// The watermark that names the account in the state: the target's or, until that is known, the one before.
    pub(super) fn account_mark(&self, place: &Place, now: Timestamp) -> Option<(String, Timestamp)> {
        let account = place.account.as_ref().or(self.account.as_ref())?;
        Some((store::account_mark(account), now))
    }

    /// Whether another target has the same account and region, as far as the account is known. Includes targets
    /// added later. The same goes for a log of another account.
    pub(super) fn is_refused(&mut self, account: Option<&str>) -> bool {
        if let Some(account) = account
            && self.targets.has_changed().unwrap_or(false)
        {
            self.compare(account);
        }
        if let (Some(account), Some(of_log)) = (account, self.account.as_deref().filter(|_| self.has_log))
            && account != of_log
        {
            let _ = self.refusal.set(format!(
                "the log belongs to a service in account {of_log}, and this service is in account {account}: \
                 configure a separate prefix for each in `store.log`"
            ));
        }
        self.refusal.get().is_some()
    }

    /// Refuses the target if another target has a role of the same account.
    fn compare(&mut self, account: &str) {
        let targets = Arc::clone(&self.targets.borrow_and_update());
        let Some(other) = twin(&self.own, account, &targets) else { return };
        let _ = self.refusal.set(format!(
            "the target {} has the same account {account} and region {}, through its role: list all queues in one \
             of the two targets",
            other.name, self.own.region
        ));
    }

    /// Replaces the result of a target by the refusal, if it was refused.
    pub(super) fn or_refused(&self, ended: Result<(), StartError>) -> Result<(), StartError> {
        match self.refusal.get() {
            Some(refusal) => Err(StartError::new("watching", refusal.as_str())),
            None => ended,
        }
    }
}

/// The target with a role of this account, in the same region and at the same endpoint, unless the own target has
/// such a role itself.
fn twin<'a>(own: &Target, account: &str, targets: &'a [Target]) -> Option<&'a Target> {
    let is_of = |target: &Target| target.role.as_deref().and_then(Place::account_of) == Some(account);
    let is_same = |other: &&Target| {
        other.name != own.name && other.region == own.region && other.endpoint == own.endpoint && is_of(other)
    };
    targets.iter().find(is_same).filter(|_| !is_of(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_without_role_yields_only_to_a_role_of_its_own_account() {
        let target = |name: &str, region: &str, role: Option<&str>| Target {
            name: name.to_owned(),
            role: role.map(|account| format!("arn:aws:iam::{account}:role/Reader")),
            ..Target::new(region)
        };
        let own = target("own", "us-east-1", None);
        let by_role = target("by-role", "us-east-1", Some("111122223333"));
        let all = [
            own.clone(),
            target("region", "eu-west-1", Some("111122223333")),
            target("account", "us-east-1", Some("444455556666")),
            Target {
                endpoint: Some("http://127.0.0.1:1".to_owned()),
                ..target("endpoint", "us-east-1", Some("111122223333"))
            },
            by_role.clone(),
        ];
        assert_eq!(twin(&own, "111122223333", &all), Some(&by_role));
        assert_eq!(twin(&own, "111122223333", &all[..4]), None);
        assert_eq!(twin(&own, "777788889999", &all), None);
        assert_eq!(twin(&by_role, "111122223333", &all), None);

        let (targets, now) = watch::channel(Arc::from([own.clone()]));
        let marks =
            [(store::account_mark("111122223333"), Timestamp::default()), ("other".to_owned(), Timestamp::default())];
        let mut with_log = DuplicateTargets::new(&own, now.clone()).with_state_of(&marks.clone().into(), true);
        assert!(!with_log.is_refused(None) && !with_log.is_refused(Some("111122223333")));
        let mark = |place: &Place| with_log.account_mark(place, Timestamp::default());
        let unknown = Place::new("own", "us-east-1");
        assert_eq!(mark(&unknown), Some(marks[0].clone()), "the account before is kept until it is known");
        let known = Place { account: Some("444455556666".into()), ..unknown };
        assert_eq!(mark(&known).unwrap().0, store::account_mark("444455556666"));
        assert!(with_log.clone().is_refused(Some("444455556666")), "the log is of another account");
        let file = DuplicateTargets::new(&own, now.clone()).with_state_of(&marks.into(), false);
        assert!(!file.clone().is_refused(Some("444455556666")), "a file belongs to one service");
        let mut of_own = DuplicateTargets::new(&own, now.clone());
        assert!(!of_own.is_refused(None) && !of_own.is_refused(Some("111122223333")));
        targets.send_replace(all.into());
        assert!(!of_own.is_refused(None), "its account is not known yet");
        assert!(of_own.clone().is_refused(Some("111122223333")), "the other one came while it was watched");
        assert!(!DuplicateTargets::new(&by_role, now.clone()).is_refused(Some("111122223333")));
        assert!(DuplicateTargets::new(&own, now).is_refused(Some("111122223333")), "the other one was there first");
    }
}
