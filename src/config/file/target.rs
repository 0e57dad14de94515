//! `targets:` in the file: watched accounts and regions.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// An account and region to watch.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    /// Unique; shown in logs, pages and alerts, and part of the name of its state file. By default its region,
    /// prefixed by the account of its role if it has one: 111122223333/us-east-1.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// AWS region, such as us-east-1.
    pub(crate) region: String,
    /// ARN of a role to assume.
    #[serde(default)]
    pub(crate) role: Option<String>,
    /// External id required by the role's trust policy.
    #[serde(default)]
    pub(crate) external_id: Option<String>,
    /// Overrides the endpoint of all AWS services, for example with a simulator's.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
    /// Queue name globs (* and ?); a queue is watched if any matches.
    #[serde(default = "all_queues")]
    pub(crate) queues: Vec<String>,
    /// URL of an SQS queue to which EventBridge sends events of source aws.batch: changes are then seen within a
    /// second. Off by default.
    #[serde(default)]
    pub(crate) events: Option<String>,
    /// Reserved capacity: watches how much of it is idle.
    #[serde(default)]
    pub(crate) reserved: Reserved,
    /// By instance type, such as ml.p5.48xlarge, the Service Quotas code of its limit for training job usage, such
    /// as L-0123ABCD: the account's limits are then compared with what the environments allow and what training
    /// jobs outside the queues use. Off by default.
    #[serde(default)]
    pub(crate) quotas: BTreeMap<String, String>,
    /// AWS calls per second over all operations, for this target; by default from `poll`.
    #[serde(default)]
    #[schemars(range(min = 0.1, max = 100.0))]
    pub(crate) calls_per_second: Option<f64>,
}

/// Capacity that is paid for whether or not jobs use it. Not queried unless enabled.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Reserved {
    /// SageMaker training plans.
    pub(crate) training_plans: bool,
    /// Warm pools left by training jobs.
    pub(crate) warm_pools: bool,
}

/// Parses a list; the error for anything else shows its form.
pub(crate) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Target>, D::Error> {
    struct List;

    impl<'de> Visitor<'de> for List {
        type Value = Vec<Target>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list, `targets: [{ region: us-east-1 }]` or a line `- region: us-east-1` below it")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Target>, A::Error> {
            let mut targets = Vec::new();
            while let Some(target) = list.next_element()? {
                targets.push(target);
            }
            Ok(targets)
        }

        fn visit_unit<E: Error>(self) -> Result<Vec<Target>, E> {
            Ok(Vec::new())
        }
    }

    deserializer.deserialize_any(List)
}

fn all_queues() -> Vec<String> {
    vec!["*".to_owned()]
}
