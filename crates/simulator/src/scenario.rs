//! A file that describes a simulation: its jobs, GPUs, quirks and faults. YAML, with a caret under every error.
//! `README.md` has an example.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::faults::Arrangement;
use crate::gpu;
use crate::gpu::Gpus;
use crate::gpu::Shape;
use crate::quirks::Quirks;
use crate::sagemaker::direct_training_jobs::DirectJob;
use crate::workload::Synthetic;
use trainspotter_core::model::InstanceType;
use trainspotter_core::model::Timestamp;
use trainspotter_core::scheduler::Outage;
use trainspotter_core::scheduler::Setup;
use trainspotter_core::yaml;
use trainspotter_core::yaml::HumanDuration;
use trainspotter_core::yaml::Problems;

/// A simulation. Absent members take the values of the command line, or the defaults.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Seed of everything random.
    pub seed: Option<u64>,
    /// Simulated seconds per real second, 0.01 to 100000.
    #[schemars(range(min = 0.01, max = 100_000))]
    pub speed: Option<f64>,
    /// Take the jobs from this trace (CSV), a path relative to this file. Excludes `workload`.
    pub trace: Option<PathBuf>,
    /// Generate the jobs.
    pub workload: Option<Synthetic>,
    /// Periods in which the provider has no instances of a type.
    pub outages: Vec<OutageText>,
    /// Training jobs outside any queue.
    pub outside: Vec<OutsideJob>,
    /// GPU usage of jobs.
    pub gpu: GpuUse,
    /// Behaviours that AWS leaves undocumented.
    pub quirks: BTreeMap<String, String>,
    /// Faults; their times count from the beginning.
    pub faults: Arrangement,
}

/// GPU usage of jobs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GpuUse {
    /// Delay until a minute's data point can be read; 60s by default.
    pub delay: Option<HumanDuration>,
    /// Fraction of jobs with each shape, 0 to 1; the rest is busy.
    pub shapes: BTreeMap<Shape, f64>,
}

/// A period without instances of a type: dispatched jobs find none, and wait again.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutageText {
    /// Instance type.
    pub instance_type: String,
    /// Start, relative to the beginning.
    #[serde(default)]
    pub after: Option<HumanDuration>,
    /// Duration; forever by default.
    #[serde(default)]
    pub r#for: Option<HumanDuration>,
}

/// A training job created through SageMaker's own API: it belongs to no queue, but counts against the account's
/// limits.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutsideJob {
    /// Instance type.
    pub instance_type: String,
    /// Number of instances; 1 by default.
    #[serde(default)]
    pub instances: Option<u32>,
    /// Start, relative to the beginning.
    #[serde(default)]
    pub after: Option<HumanDuration>,
    /// Run time; 28 days by default, SageMaker's maximum.
    #[serde(default)]
    pub r#for: Option<HumanDuration>,
}

impl OutsideJob {
    /// The SageMaker job with its name, with times relative to `now`.
    pub(super) fn direct(&self, number: u32, now: Timestamp) -> (String, DirectJob) {
        let from = self.after.map_or(now, |after| now + after.0);
        let to = self.r#for.map(|lasts| from + lasts.0);
        let instances = self.instances.unwrap_or(1);
        (format!("outside-{number}"), DirectJob::of_scenario(&self.instance_type, instances, from, to))
    }
}

impl OutageText {
    /// The scheduler's outage, with times relative to `now`.
    pub(super) fn outage(&self, now: Timestamp) -> Outage {
        let from = self.after.map_or(now, |after| now + after.0);
        let unit = InstanceType::from(self.instance_type.as_str());
        Outage { unit, from, to: self.r#for.map(|lasts| from + lasts.0) }
    }
}

impl Scenario {
    /// The setup with the quirks of this scenario.
    pub fn applied_to(&self, setup: Setup) -> Setup {
        Setup { quirks: self.quirks().scheduler, ..setup }
    }

    /// The switches of this scenario.
    pub(super) fn quirks(&self) -> Quirks {
        let mut quirks = Quirks::default();
        for (name, value) in &self.quirks {
            // Validated when the scenario or the command line was parsed.
            let _ = quirks.set(name, value);
        }
        quirks
    }
}

impl GpuUse {
    /// The GPU settings for the simulation.
    pub fn gpus(&self) -> Gpus {
        Gpus::new(self.delay.map_or(gpu::DELAY, |delay| delay.0), self.shapes.clone())
    }
}

/// Parses a scenario. `file` is the name shown in errors.
///
/// # Errors
/// Every error in the text.
pub fn parse(file: &str, text: &str) -> Result<Scenario, Problems> {
    let document = yaml::read::<Scenario>(file, text)?;
    let mut found = Vec::new();
    let mut problem = |path: &str, message: &str| found.push(document.problem(path, message));
    let scenario = &document.value;
    if scenario.speed.is_some_and(|speed| !(0.01..=100_000.0).contains(&speed)) {
        problem("speed", "must be between 0.01 and 100000");
    }
    if scenario.trace.is_some() && scenario.workload.is_some() {
        problem("trace", "the jobs come from a trace or from a workload, not from both");
    }
    let parts = &scenario.gpu.shapes;
    if parts.values().any(|part| !(0.0..=1.0).contains(part)) || parts.values().sum::<f64>() > 1.0 {
        problem("gpu.shapes", "parts lie between 0 and 1, and all of them together do not exceed 1");
    }
    for (name, value) in &scenario.quirks {
        if let Err(message) = Quirks::default().set(name, value) {
            problem(&format!("quirks.{name}"), &message);
        }
    }
    for (path, message) in scenario.workload.iter().flat_map(Synthetic::findings) {
        problem(&format!("workload.{path}"), &message);
    }
    for (path, message) in scenario.faults.findings() {
        problem(&format!("faults.{path}"), &message);
    }
    document.conclude(found)?;
    Ok(document.value)
}

/// The JSON Schema of a scenario, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Scenario).to_value()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use trainspotter_core::scheduler::AfterRequeue;

    const WHOLE: &str = "
seed: 7
speed: 600
workload: {length: 7d, load: 1.2, rhythm: calendar, sweeps: 30%, failures: 0.1}
outages: [{instance_type: ml.p5.48xlarge, after: 6h, for: 40m}]
outside: [{instance_type: ml.p5.48xlarge, instances: 2, for: 6h}, {instance_type: ml.m5.large}]
gpu: {delay: 3m, shapes: {idle: 0.1, dead_host: 0.02}}
quirks: {after_requeue: kept, snapshot_age: 2m}
faults:
  throttle: {operation: ListServiceJobs, after: 10m, for: 5m, probability: 0.5}
  slow:
    - {operation: DescribeServiceJob, by: 20s, count: 3}
    - {by: 2s, after: 1h, for: 1h}
  clock_skew: {by: -2m}
  vanish: {job: train-*, count: 2, after: 2h}
";

    #[test]
    fn a_whole_world_fits_in_a_file() {
        let scenario = parse("world.yaml", &WHOLE.replace("30%", "0.3")).unwrap();
        assert_eq!((scenario.seed, scenario.speed), (Some(7), Some(600.0)));
        assert_eq!(scenario.outside.len(), 2);
        assert_eq!(scenario.gpu.shapes[&Shape::DeadHost], 0.02);
        assert_eq!(scenario.applied_to(Setup::default()).quirks.after_requeue, AfterRequeue::Kept);
        assert_eq!(scenario.quirks().snapshot_age, Duration::from_secs(120));
        assert!(parse("empty.yaml", "").is_ok());
    }

    #[test]
    fn the_documents_example_is_right_and_names_every_fault() {
        let document = include_str!("../README.md");
        let example = document.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let scenario = parse("README.md", example).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!((scenario.outages.len(), scenario.gpu.shapes.len()), (1, 4));
        let members = &schema()["$defs"]["Arrangement"]["properties"];
        for member in members.as_object().unwrap().keys() {
            assert!(document.contains(&format!("`{member}`")), "{member} is not in README.md");
        }
    }

    #[test]
    fn every_mistake_is_shown_where_it_stands() {
        let cases = [
            ("speeed: 600", 1, "did you mean `speed`?"),
            ("speed: 1e9", 1, "between 0.01 and 100000"),
            ("trace: a.csv\nworkload: {}", 1, "not from both"),
            ("outside:\n  - {instances: 2}", 2, "`instance_type`"),
            ("gpu:\n  shapes: {idle: 0.7, bursty: 0.7}", 2, "do not exceed 1"),
            ("gpu:\n  shapes: {lazy: 0.7}", 2, "unknown variant `lazy`"),
            ("faults:\n  throttle:\n    - {operation: A}\n    - {operaton: A}", 4, "did you mean `operation`?"),
            ("faults:\n  slow: {operation: A}", 2, "say `by` how much"),
            ("faults:\n  slow:\n  - {by: 1s}\n  - {by: 1s, page: 3}", 4, "has no effect on slow"),
            ("faults:\n  cut: {for: soon}", 2, "not a duration"),
            ("quirks:\n  after_requeue: gone", 2, "is cleared or kept"),
            ("workload:\n  failures: 2", 2, "a fraction from 0 to 1"),
        ];
        for (text, line, message) in cases {
            let problems = parse("world.yaml", text).unwrap_err();
            let found: Vec<_> = problems.iter().collect();
            assert!(
                matches!(found.as_slice(), [(at, _, what)] if *at == line && what.contains(message)),
                "{text}\n{found:?}"
            );
        }
    }
}
