//! Faults in what AWS shows of jobs and queues: disguised values, vanished jobs, frozen snapshots.
//!
//! They modify finished responses, so that the operations themselves stay correct.

use serde_json::Value;
use serde_json::json;

use crate::api_error::ApiError;
use crate::faults::Faults;
use crate::faults::syntax::Kind;
use trainspotter_core::model::JobId;

const SNAPSHOT: &str = "GetJobQueueSnapshot";

impl Faults {
    /// Modifies or rejects a response of Batch, as requested.
    pub fn show(&mut self, operation: &str, input: &Value, answer: Value) -> Result<Value, ApiError> {
        match operation {
            "ListServiceJobs" => Ok(self.show_list(answer)),
            "DescribeServiceJob" if self.hides(&answer) => {
                let asked = input["jobId"].as_str().unwrap_or_default();
                Err(ApiError::bad("ClientException", format!("Service job {asked} does not exist.")))
            }
            SNAPSHOT => Ok(self.show_snapshot(input, answer)),
            _ => Ok(answer),
        }
    }

    fn show_list(&mut self, mut answer: Value) -> Value {
        if let Some(jobs) = answer.get_mut("jobSummaryList").and_then(Value::as_array_mut)
            && !self.vanishing.is_empty()
        {
            jobs.retain(|job| !self.hides(job));
        }
        answer
    }

    /// Whether a described or listed job has vanished.
    fn hides(&mut self, shown: &Value) -> bool {
        let now = self.now;
        let (Some(id), name) = (shown["jobId"].as_str(), shown["jobName"].as_str().unwrap_or_default()) else {
            return false;
        };
        self.vanishing.retain(|vanishing| vanishing.until.is_none_or(|until| now < until));
        let id = JobId::from(id);
        self.vanishing.iter_mut().any(|vanishing| {
            if now < vanishing.from || !(matches(&vanishing.job, id.as_str()) || matches(&vanishing.job, name)) {
                return false;
            }
            if vanishing.hidden.contains(&id) {
                return true;
            }
            let room = vanishing.most.is_none_or(|most| (vanishing.hidden.len() as u64) < most);
            room && vanishing.hidden.insert(id.clone())
        })
    }

    /// While snapshots are frozen, each request repeats its first response.
    fn show_snapshot(&mut self, input: &Value, answer: Value) -> Value {
        if self.due(Kind::StaleSnapshot, SNAPSHOT, None).is_none() {
            self.snapshots.clear();
            return answer;
        }
        self.snapshots.entry(input.to_string()).or_insert(answer).clone()
    }

    /// Disguises a job, if it is the chosen one.
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

    /// The instance type to show for the job, if disguised.
    pub fn unknown_instance_type_of(&mut self, job: &JobId) -> Option<String> {
        Disguise::of(&mut self.unknown_instance_type, job)
    }
}

/// A false value shown for one job.
#[derive(Clone, Debug)]
pub(super) struct Disguise {
    pub value: String,
    pub job: Option<JobId>,
}

impl Disguise {
    /// Applies to the first job that is shown.
    pub fn new(value: String) -> Self {
        Self { value, job: None }
    }

    /// The value, if it applies to this job: the first one queried.
    fn of(disguise: &mut Option<Self>, job: &JobId) -> Option<String> {
        let disguise = disguise.as_mut()?;
        let befallen = disguise.job.get_or_insert_with(|| job.clone());
        (befallen == job).then(|| disguise.value.clone())
    }
}

/// Whether a name matches a pattern with an optional trailing `*`.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |opening| name.starts_with(opening))
}
