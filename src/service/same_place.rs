//! Detects two targets with the same account and region. With a role of the service's own account this is unknown
//! until AWS has returned the account id.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::config::Target;
use crate::service::StartError;
use trainspotter_core::model::Place;

/// What a target is compared with. Clones share the result.
#[derive(Clone, Debug)]
pub(super) struct SamePlace {
    own: Arc<Target>,
    /// The current targets.
    targets: watch::Receiver<Arc<[Target]>>,
    refusal: Arc<OnceLock<String>>,
}

impl SamePlace {
    pub(super) fn new(own: &Target, mut targets: watch::Receiver<Arc<[Target]>>) -> Self {
        targets.mark_changed();
        Self { own: Arc::new(own.clone()), targets, refusal: Arc::default() }
    }

    /// Whether another target has the same account and region, as far as the account is known. Includes targets
    /// added later.
    pub(super) fn is_refused(&mut self, account: Option<&str>) -> bool {
        if let Some(account) = account
            && self.targets.has_changed().unwrap_or(false)
        {
            self.compare(account);
        }
        self.refusal.get().is_some()
    }

    /// Refuses the target if another target has a role of the same account.
    fn compare(&mut self, account: &str) {
        let targets = Arc::clone(&self.targets.borrow_and_update());
        let Some(other) = twin(&self.own, account, &targets) else { return };
        let _ = self.refusal.set(format!(
            "account {account} and region {} are those of the target {}, too, whose role is of this account: list all queues in one of the two",
            self.own.region, other.name
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
    fn who_has_no_role_gives_way_to_a_role_of_its_own_account_and_to_nobody_else() {
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
        let mut of_own = SamePlace::new(&own, now.clone());
        assert!(!of_own.is_refused(None) && !of_own.is_refused(Some("111122223333")));
        targets.send_replace(all.into());
        assert!(!of_own.is_refused(None), "its account is not known yet");
        assert!(of_own.clone().is_refused(Some("111122223333")), "the other one came while it was watched");
        assert!(!SamePlace::new(&by_role, now.clone()).is_refused(Some("111122223333")));
        assert!(SamePlace::new(&own, now).is_refused(Some("111122223333")), "the other one was there first");
    }
}
