//! Newtypes for names, so that a queue is never passed as a share.
//!
//! All are cheap to clone: the text is reference-counted.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a name as the API spells it.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name as the API spells it.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The shared text, for label values without a copy.
            pub fn shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// The id of a Batch service job (`jobId`), not its name and not its ARN.
    JobId
}
name! {
    /// The name of a Batch job queue, not its ARN.
    QueueName
}
name! {
    /// The name of a quota share or a fair-share identifier: the unit of accounting within a queue.
    ShareName
}
name! {
    /// A SageMaker instance type such as `ml.p5.48xlarge`; in capacity limits also `NUM_INSTANCES`.
    InstanceType
}
name! {
    /// The name of the SageMaker training job that runs one attempt.
    TrainingJobName
}

impl InstanceType {
    /// The capacity unit of FIFO and fair-share environments: instances of any type.
    pub const ANY: &'static str = "NUM_INSTANCES";

    /// Whether this is the unit `NUM_INSTANCES` rather than a type.
    pub fn is_any(&self) -> bool {
        self.as_str() == Self::ANY
    }
}

/// A share of a queue; `None` is the share of the jobs without one.
pub type ShareKey = (QueueName, Option<ShareName>);
