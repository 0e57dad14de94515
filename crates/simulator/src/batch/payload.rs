//! Reads the relevant parts of `serviceRequestPayload`, a `CreateTrainingJob` request. Batch passes it through
//! without validation, so errors show at dispatch: what SageMaker does not take is refused there in SageMaker's words.
//!
//! A real job's run time depends on its container; here it is the hyperparameter `simulated_seconds`, ten minutes by
//! default.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api_error::integer;
use crate::training_job_input;
use trainspotter_core::model::Capacity;
use trainspotter_core::model::InstanceType;
use trainspotter_core::model::ServiceEnvironment;
use trainspotter_core::scheduler::Job;
use trainspotter_core::scheduler::Plan;
use trainspotter_core::scheduler::PlannedOutcome;

/// SageMaker's default run time limit of a training job: one day.
pub(crate) const DEFAULT_MAX_RUNTIME_SECONDS: u32 = 86_400;
/// Status reason of a job ended by its stopping condition. AWS documents the status but not the text.
pub(crate) const MAX_RUNTIME_EXCEEDED: &str =
    "Received status from SageMaker: MaxRuntimeExceeded: Training job runtime exceeded MaxRuntimeInSeconds provided";

const DEFAULT_RUN: Duration = Duration::from_mins(10);

/// Plan, demand and tags of a job, from its payload.
#[derive(Debug)]
pub(crate) struct Read {
    pub plan: Plan,
    pub demand: Vec<Capacity>,
    pub tags: BTreeMap<String, String>,
}

/// Reads a payload. `environment` is the service environment of the job's queue.
pub(crate) fn read(text: &str, environment: Option<&ServiceEnvironment>) -> Read {
    let refused = |why: &str| {
        let reason = format!("Received status from SageMaker: ValidationException: {why}");
        Read { plan: Plan::Refused(reason), demand: Vec::new(), tags: BTreeMap::new() }
    };
    let tree: Value = match serde_json::from_str(text) {
        Ok(tree @ Value::Object(_)) => tree,
        Ok(_) => return refused("the request is no JSON object"),
        Err(error) => return refused(&format!("the request is no JSON: {error}")),
    };
    let tags = tags(&tree);
    if let Err(error) = training_job_input::check_present(&tree) {
        return Read { tags, ..refused(&error.message) };
    }
    let request = match CreateTrainingJob::deserialize(&tree) {
        Ok(request) => request,
        Err(error) => return Read { tags, ..refused(&error.to_string()) },
    };
    match request.demand(environment) {
        Ok(demand) => Read { plan: request.plan(), demand, tags },
        Err(why) => Read { tags, ..refused(why) },
    }
}

/// `ResourceConfig` of a job of the workload; `other_type` replaces its only type, if given.
pub(crate) fn resource_config(job: &Job, other_type: Option<&str>) -> Value {
    let count = |demand: &Capacity| integer(demand.quantity.ceil());
    match &*job.demand {
        [one] => json!({
            "InstanceType": other_type.unwrap_or(one.unit.as_str()),
            "InstanceCount": count(one),
            "VolumeSizeInGB": 30,
        }),
        many => {
            let group = |(demand, n): (&Capacity, usize)| {
                json!({
                    "InstanceType": demand.unit,
                    "InstanceCount": count(demand),
                    "InstanceGroupName": format!("group-{n}"),
                })
            };
            let groups: Vec<_> = many.iter().zip(1..).map(group).collect();
            json!({"InstanceGroups": groups, "VolumeSizeInGB": 30})
        }
    }
}

/// The SDK puts tags into the payload too.
fn tags(tree: &Value) -> BTreeMap<String, String> {
    let tag = |tag: &Value| Some((tag["Key"].as_str()?.to_owned(), tag["Value"].as_str()?.to_owned()));
    tree["Tags"].as_array().into_iter().flatten().filter_map(tag).collect()
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateTrainingJob {
    resource_config: ResourceConfig,
    #[serde(default)]
    hyper_parameters: BTreeMap<String, String>,
    stopping_condition: Option<StoppingCondition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoppingCondition {
    max_runtime_in_seconds: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ResourceConfig {
    instance_type: Option<String>,
    instance_count: Option<i32>,
    #[serde(default)]
    instance_groups: Vec<InstanceGroup>,
    #[serde(default)]
    instance_preferences: Vec<InstancePreference>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceGroup {
    instance_type: String,
    instance_count: i32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InstancePreference {
    instance_type: String,
    instance_count: Option<i32>,
}

impl CreateTrainingJob {
    fn demand(&self, environment: Option<&ServiceEnvironment>) -> Result<Vec<Capacity>, &'static str> {
        let resources = &self.resource_config;
        let amount = |instance_type: &str, count: i32| match count {
            1.. => Ok(Capacity::new(instance_type, f64::from(count))),
            _ => Err("ResourceConfig: InstanceCount must be at least 1"),
        };
        match (&resources.instance_type, &*resources.instance_groups, &*resources.instance_preferences) {
            (Some(instance_type), [], []) => {
                let count = resources.instance_count.ok_or("ResourceConfig: InstanceCount is required")?;
                Ok(vec![amount(instance_type, count)?])
            }
            (None, groups @ [_, ..], []) => {
                groups.iter().map(|group| amount(&group.instance_type, group.instance_count)).collect()
            }
            (None, [], preferences @ [first, ..]) => {
                // The first type that the environment counts.
                let counts = |preference: &&InstancePreference| {
                    environment.is_some_and(|environment| counts(environment, &preference.instance_type))
                };
                let chosen = preferences.iter().find(counts).unwrap_or(first);
                let count = chosen.instance_count.or(resources.instance_count);
                Ok(vec![amount(&chosen.instance_type, count.ok_or("InstancePreferences: InstanceCount is required")?)?])
            }
            _ => Err("ResourceConfig: exactly one of InstanceType, InstanceGroups and InstancePreferences is required"),
        }
    }

    fn plan(&self) -> Plan {
        let seconds =
            self.hyper_parameters.get("simulated_seconds").and_then(|text| text.trim_matches('"').parse().ok());
        let run = seconds.map_or(DEFAULT_RUN, Duration::from_secs);
        let longest = self.stopping_condition.as_ref().and_then(|condition| condition.max_runtime_in_seconds);
        let longest = Duration::from_secs(longest.unwrap_or(DEFAULT_MAX_RUNTIME_SECONDS).into());
        if run > longest {
            return Plan::Runs { duration: longest, outcome: PlannedOutcome::Fails(MAX_RUNTIME_EXCEEDED.to_owned()) };
        }
        Plan::Runs { duration: run, outcome: PlannedOutcome::Succeeds }
    }
}

fn counts(environment: &ServiceEnvironment, instance_type: &str) -> bool {
    let wanted = InstanceType::from(instance_type);
    environment.limits.iter().any(|limit| limit.unit == wanted || limit.unit.as_str() == InstanceType::ANY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(unit: &str) -> ServiceEnvironment {
        ServiceEnvironment { name: "e".to_owned(), enabled: true, limits: vec![Capacity::new(unit, 8.0)] }
    }

    #[test]
    fn resources_come_in_three_forms() {
        let check = |resources: Value, expected: &[(&str, f64)]| {
            let read = read(&json!({"ResourceConfig": resources}).to_string(), Some(&environment("ml.p5.48xlarge")));
            let demand: Vec<_> = read.demand.iter().map(|one| (one.unit.as_str(), one.quantity)).collect();
            assert_eq!(demand, expected, "{resources}");
            assert!(matches!(read.plan, Plan::Runs { .. }), "{resources}: {:?}", read.plan);
        };
        check(json!({"InstanceType": "ml.g5.xlarge", "InstanceCount": 3}), &[("ml.g5.xlarge", 3.0)]);
        let groups = json!([
            {"InstanceType": "ml.p5.48xlarge", "InstanceCount": 1, "InstanceGroupName": "a"},
            {"InstanceType": "ml.c5.xlarge", "InstanceCount": 2, "InstanceGroupName": "b"},
        ]);
        check(json!({"InstanceGroups": groups}), &[("ml.p5.48xlarge", 1.0), ("ml.c5.xlarge", 2.0)]);
        let preferences = json!([
            {"InstanceType": "ml.p6-b200.48xlarge", "InstanceCount": 1},
            {"InstanceType": "ml.p5.48xlarge", "InstanceCount": 2},
        ]);
        check(json!({"InstancePreferences": preferences}), &[("ml.p5.48xlarge", 2.0)]);
        let preferences = json!([{"InstanceType": "ml.p4d.24xlarge"}, {"InstanceType": "ml.p4de.24xlarge"}]);
        check(json!({"InstancePreferences": preferences, "InstanceCount": 4}), &[("ml.p4d.24xlarge", 4.0)]);
    }

    #[test]
    fn what_sagemaker_cannot_use_is_refused_by_it_and_not_by_batch() {
        for payload in [
            "not JSON",
            "[]",
            "{}",
            r#"{"ResourceConfig": {}}"#,
            r#"{"ResourceConfig": {"InstanceType": "ml.g5.xlarge"}}"#,
            r#"{"ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 0}}"#,
            r#"{"ResourceConfig": {"InstanceType": "ml.p9.48xlarge", "InstanceCount": 1}}"#,
            r#"{"ResourceConfig": {"InstanceType": "ml.P5.48xlarge", "InstanceCount": 1}}"#,
            r#"{"ResourceConfig": {"InstanceType": "p5.48xlarge", "InstanceCount": 1}}"#,
            r#"{"ResourceConfig": {"InstanceType": "NUM_INSTANCES", "InstanceCount": 1}}"#,
            r#"{"ResourceConfig": {"InstanceGroups": [
                {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "InstanceGroupName": "a"},
                {"InstanceType": "ml.g5.huge", "InstanceCount": 1, "InstanceGroupName": "b"}]}}"#,
            r#"{"ResourceConfig": {"InstancePreferences": [{"InstanceType": "ml.g5", "InstanceCount": 1}]}}"#,
            r#"{"ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "KeepAlivePeriodInSeconds": 21601}}"#,
            r#"{"ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1}, "StoppingCondition": {"MaxRuntimeInSeconds": 0}}"#,
            r#"{"ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1}, "OutputDataConfig": {}}"#,
            r#"{"ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1e308}}"#,
            r#"{"ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1}, "HyperParameters": {"epochs": 3}}"#,
        ] {
            let Plan::Refused(reason) = read(payload, None).plan else { panic!("{payload} was taken") };
            assert!(reason.starts_with("Received status from SageMaker: ValidationException: "), "{reason}");
        }
    }

    #[test]
    fn the_stopping_condition_ends_a_job_that_runs_longer() {
        let plan = |seconds: &str, condition: Value| {
            let resources = json!({"InstanceType": "ml.g5.xlarge", "InstanceCount": 1});
            let hyper_parameters = json!({"simulated_seconds": seconds});
            let payload = json!({"ResourceConfig": resources, "HyperParameters": hyper_parameters, "StoppingCondition": condition});
            read(&payload.to_string(), None).plan
        };
        let stopped = |seconds| Plan::Runs {
            duration: Duration::from_secs(seconds),
            outcome: PlannedOutcome::Fails(MAX_RUNTIME_EXCEEDED.to_owned()),
        };
        let runs = |seconds| Plan::Runs { duration: Duration::from_secs(seconds), outcome: PlannedOutcome::Succeeds };
        assert_eq!(plan("100", json!({"MaxRuntimeInSeconds": 60})), stopped(60));
        assert_eq!(plan("60", json!({"MaxRuntimeInSeconds": 60})), runs(60));
        assert_eq!(plan("90000", json!({})), stopped(86_400), "a day by default");
    }
}
