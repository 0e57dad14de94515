//! What goes wrong on request: `POST /_sim/faults`.
//!
//! A request adds to what is already arranged; `DELETE` takes everything back. Members, all optional:
//!
//! ```json
//! {
//!   "throttle":     {"operation": "ListServiceJobs", "count": 50},
//!   "server_error": {"operation": "*", "count": 3},
//!   "fail_page":    {"operation": "ListServiceJobs", "page": 2, "count": 1},
//!   "unknown_status": "HIBERNATING",
//!   "unknown_instance_type": "ml.p9.48xlarge",
//!   "topic":        {"name": "alerts", "status": 404, "count": 10}
//! }
//! ```
//!
//! `operation` is a name or `*`. `unknown_status` and `unknown_instance_type` befall the first job that is shown after
//! the request, for as long as it lasts.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::model::JobId;
use crate::simulate::reply::ApiError;

/// Any operation.
const ANY: &str = "*";

/// A request to `/_sim/faults`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Arrangement {
    throttle: Option<Times>,
    server_error: Option<Times>,
    fail_page: Option<PageFault>,
    unknown_status: Option<String>,
    unknown_instance_type: Option<String>,
    topic: Option<TopicFault>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Times {
    operation: String,
    count: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageFault {
    operation: String,
    page: u32,
    #[serde(default = "once")]
    count: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicFault {
    name: String,
    status: u16,
    count: u64,
}

fn once() -> u64 {
    1
}

/// What is arranged and not used up.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Faults {
    throttle: BTreeMap<String, u64>,
    server_error: BTreeMap<String, u64>,
    /// By operation and page.
    fail_page: BTreeMap<String, BTreeMap<u32, u64>>,
    unknown_status: Option<Disguise>,
    unknown_instance_type: Option<Disguise>,
    /// By topic: the status, and how often.
    topic: BTreeMap<String, (u16, u64)>,
}

/// A value that one job shows instead of its own.
#[derive(Clone, Debug, Serialize)]
struct Disguise {
    value: String,
    job: Option<JobId>,
}

impl Faults {
    /// Adds what was asked for.
    pub fn arrange(&mut self, arrangement: Arrangement) {
        if let Some(Times { operation, count }) = arrangement.throttle {
            *self.throttle.entry(operation).or_default() += count;
        }
        if let Some(Times { operation, count }) = arrangement.server_error {
            *self.server_error.entry(operation).or_default() += count;
        }
        if let Some(PageFault { operation, page, count }) = arrangement.fail_page {
            *self.fail_page.entry(operation).or_default().entry(page).or_default() += count;
        }
        if let Some(value) = arrangement.unknown_status {
            self.unknown_status = Some(Disguise { value, job: None });
        }
        if let Some(value) = arrangement.unknown_instance_type {
            self.unknown_instance_type = Some(Disguise { value, job: None });
        }
        if let Some(TopicFault { name, status, count }) = arrangement.topic {
            self.topic.insert(name, (status, count));
        }
    }

    /// What a call is answered with instead, if anything. `throttled` is the service's own error for it.
    pub fn strike(&mut self, operation: &str, throttled: ApiError) -> Result<(), ApiError> {
        if use_up(&mut self.throttle, operation) {
            return Err(throttled);
        }
        if use_up(&mut self.server_error, operation) {
            return Err(broken());
        }
        Ok(())
    }

    /// Fails a page of a list, if that was asked for.
    pub fn fail_page(&mut self, operation: &str, page: u32) -> Result<(), ApiError> {
        let Some(left) = self.fail_page.get_mut(operation).and_then(|pages| pages.get_mut(&page)) else {
            return Ok(());
        };
        if *left == 0 {
            return Ok(());
        }
        *left -= 1;
        Err(broken())
    }

    /// Fails a publication to a topic, if that was asked for.
    pub fn fail_topic(&mut self, name: &str) -> Result<(), ApiError> {
        let Some((status, left)) = self.topic.get_mut(name).filter(|(_, left)| *left > 0) else { return Ok(()) };
        *left -= 1;
        Err(match *status {
            404 => ApiError::new(404, "NotFound", "Topic does not exist"),
            status => ApiError::new(status, "InternalFailure", "the simulator was asked to fail this topic"),
        })
    }

    /// Changes what is shown of a job, if this is the one.
    pub fn disguise(&mut self, job: &JobId, shown: &mut Value) {
        if let Some(status) = Disguise::of(&mut self.unknown_status, job) {
            shown["status"] = json!(status);
        }
        if let Some(unit) = self.unknown_instance_type_of(job)
            && let Some(usage) = shown.pointer_mut("/capacityUsage/0")
        {
            usage["capacityUnit"] = json!(unit);
        }
    }

    /// The instance type that a job is to show instead of its own.
    pub fn unknown_instance_type_of(&mut self, job: &JobId) -> Option<String> {
        Disguise::of(&mut self.unknown_instance_type, job)
    }
}

impl Disguise {
    /// The value, if it befalls this job: the first one asked about.
    fn of(disguise: &mut Option<Self>, job: &JobId) -> Option<String> {
        let disguise = disguise.as_mut()?;
        let befallen = disguise.job.get_or_insert_with(|| job.clone());
        (befallen == job).then(|| disguise.value.clone())
    }
}

fn use_up(left: &mut BTreeMap<String, u64>, operation: &str) -> bool {
    for name in [operation, ANY] {
        if let Some(left) = left.get_mut(name).filter(|left| **left > 0) {
            *left -= 1;
            return true;
        }
    }
    false
}

fn broken() -> ApiError {
    ApiError::new(500, "ServerException", "the simulator was asked to fail")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arranged(arrangement: Value) -> Faults {
        let mut faults = Faults::default();
        faults.arrange(serde_json::from_value(arrangement).unwrap());
        faults
    }

    #[test]
    fn faults_are_used_up() {
        let mut faults = arranged(json!({
            "throttle": {"operation": "A", "count": 1},
            "server_error": {"operation": "*", "count": 1},
            "fail_page": {"operation": "A", "page": 2},
        }));
        let throttled = || ApiError::new(429, "TooManyRequestsException", "slow down");
        let mut strike = |operation| faults.strike(operation, throttled()).map_err(|error| error.status);
        assert_eq!(strike("A"), Err(429));
        assert_eq!(strike("B"), Err(500));
        assert_eq!(strike("A"), Ok(()));
        assert_eq!(faults.fail_page("A", 1), Ok(()));
        assert!(faults.fail_page("A", 2).is_err());
        assert_eq!(faults.fail_page("A", 2), Ok(()));
    }

    #[test]
    fn a_disguise_befalls_one_job() {
        let mut faults = arranged(json!({"unknown_status": "HIBERNATING", "unknown_instance_type": "ml.p9"}));
        let job = || json!({"status": "RUNNING", "capacityUsage": [{"capacityUnit": "ml.g5.xlarge"}]});
        let (mut first, mut second) = (job(), job());
        faults.disguise(&"a".into(), &mut first);
        faults.disguise(&"b".into(), &mut second);
        assert_eq!(first, json!({"status": "HIBERNATING", "capacityUsage": [{"capacityUnit": "ml.p9"}]}));
        assert_eq!(second, job());
    }

    #[test]
    fn a_misspelt_fault_is_refused() {
        assert!(serde_json::from_value::<Arrangement>(json!({"trottle": {}})).is_err());
    }
}
