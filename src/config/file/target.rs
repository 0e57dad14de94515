//! `targets:` of the file: accounts and regions that are watched.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// An account and region whose queues are watched.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    /// Unique; shown in logs, pages and alerts, and part of the name of its state file. By default its region, behind the account of its
    /// role if it has one: 111122223333/us-east-1.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// AWS region, such as us-east-1.
    pub(crate) region: String,
    /// ARN of a role to assume first.
    #[serde(default)]
    pub(crate) role: Option<String>,
    /// The external id that the role's trust policy asks for.
    #[serde(default)]
    pub(crate) external_id: Option<String>,
    /// Another endpoint for every AWS service: the simulator, say.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
    /// Globs over queue names (* and ?); a queue is watched if any matches.
    #[serde(default = "all_queues")]
    pub(crate) queues: Vec<String>,
    /// URL of an SQS queue to which EventBridge sends the events of source aws.batch: changes are seen within a second. Off by default.
    #[serde(default)]
    pub(crate) events: Option<String>,
    /// Capacity that is paid for whether jobs use it or not: watches how much of it is idle.
    #[serde(default)]
    pub(crate) reserved: Reserved,
    /// By instance type, such as ml.p5.48xlarge, the code in Service Quotas of its limit for training job usage, such as L-0123ABCD: the
    /// account's limits are then compared with what the environments allow and training jobs outside of the queues use. Off by default.
    #[serde(default)]
    pub(crate) quotas: BTreeMap<String, String>,
    /// AWS calls per second, all operations together, of this target alone; what `poll` says by default.
    #[serde(default)]
    #[schemars(range(min = 0.1, max = 100.0))]
    pub(crate) calls_per_second: Option<f64>,
}

/// Capacity that is paid for whether jobs use it or not. Nothing is asked about it unless it is switched on.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Reserved {
    /// SageMaker training plans.
    pub(crate) training_plans: bool,
    /// Warm pools that training jobs have left.
    pub(crate) warm_pools: bool,
}

/// A list, and the form of one for whoever gives something else.
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
