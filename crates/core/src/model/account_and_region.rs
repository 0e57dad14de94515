//! Account and region of figures and alerts.

use std::sync::Arc;

/// Labels that the place adds to every figure and alert.
pub const PLACE_LABELS: [&str; 2] = ["account", "region"];

/// A target's account and region. Without a target, as in rule tests, nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Name of the target; empty without one.
    pub target: Arc<str>,
    /// AWS account; `None` until AWS has returned it.
    pub account: Option<Arc<str>>,
    /// The AWS region.
    pub region: Option<Arc<str>>,
}

impl Place {
    /// A target whose account is not known yet.
    pub fn new(target: &str, region: &str) -> Self {
        Self { target: target.into(), account: None, region: Some(region.into()) }
    }

    /// Value of a place label, if known.
    pub fn get(&self, label: &str) -> Option<&Arc<str>> {
        match label {
            "account" => self.account.as_ref(),
            "region" => self.region.as_ref(),
            _ => None,
        }
    }

    /// The known labels.
    pub fn labels(&self) -> impl Iterator<Item = (&'static str, &Arc<str>)> {
        PLACE_LABELS.into_iter().filter_map(|label| Some((label, self.get(label)?)))
    }

    /// Whether this label is unknown now but may become known.
    pub fn lacks(&self, label: &str) -> bool {
        !self.target.is_empty() && PLACE_LABELS.contains(&label) && self.get(label).is_none()
    }

    /// The account in a resource's ARN.
    pub fn account_of(arn: &str) -> Option<&str> {
        let is_account = |part: &&str| part.len() == 12 && part.bytes().all(|byte| byte.is_ascii_digit());
        arn.split(':').nth(4).filter(is_account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_names_the_account_and_nothing_else_does() {
        let account = Place::account_of("arn:aws:batch:us-east-1:111122223333:job-queue/prod");
        assert_eq!(account, Some("111122223333"));
        for odd in [
            "",
            "prod",
            "arn:aws:batch:us-east-1::job-queue/prod",
            "arn:aws:batch:us-east-1:12:x",
            "a:b:c:d:aaaabbbbcccc:e",
        ] {
            assert_eq!(Place::account_of(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_label_that_is_not_known_yet_is_not_absent() {
        let place = Place::new("research", "eu-west-1");
        assert!(place.lacks("account") && !place.lacks("region") && !place.lacks("queue"));
        assert!(!Place::default().lacks("account"), "without a target nothing is to come");
        assert_eq!(
            place.labels().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>(),
            ["region=eu-west-1"]
        );
    }
}
