//! Control of time and events: `POST /_sim/control`. `README.md` lists the commands.
//!
//! Simulated time follows the simulation's clock at the same pace until a command changes it. Others that share the
//! clock, such as the demo's service, do not see the change: these commands are for a simulator that runs alone, and
//! for tests.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::World;
use crate::api_error::ApiError;
use crate::faults::Arrangement;
use crate::gpu::Shape;
use crate::scenario::OutageText;
use trainspotter_clock::Clock;
use trainspotter_core::model::Capacity;
use trainspotter_core::model::JobId;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::ShareName;
use trainspotter_core::model::Timestamp;
use trainspotter_core::scheduler::Plan;
use trainspotter_core::scheduler::PlannedOutcome;
use trainspotter_core::scheduler::RetryStrategy;
use trainspotter_core::scheduler::Submission;
use trainspotter_core::scheduler::Terms;
use trainspotter_core::yaml::HumanDuration;

/// Maximum simulated seconds per real second.
const MAX_SPEED: f64 = 100_000.0;
/// GPU utilisation of submitted jobs.
const UTILISATION: f64 = 0.8;
/// Maximum jobs per command.
const MAX_JOBS: u32 = 100_000;

/// Mapping from the clock to simulated time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// A time of the clock, and the simulated time at it.
    since: Timestamp,
    shown: Timestamp,
    /// Simulated seconds per second of the clock.
    rate: f64,
    paused: bool,
}

impl Pace {
    /// The clock's own pace.
    pub fn of_clock(now: Timestamp) -> Self {
        Self { since: now, shown: now, rate: 1.0, paused: false }
    }

    /// Simulated time at the clock's time `clock`.
    pub fn at(self, clock: Timestamp) -> Timestamp {
        if self.paused { self.shown } else { self.shown + clock.since(self.since).mul_f64(self.rate) }
    }

    /// The same mapping anchored at `clock`, to be modified.
    fn from(self, clock: Timestamp) -> Self {
        Self { since: clock, shown: self.at(clock), ..self }
    }
}

/// A request to `/_sim/control`: its members are applied in this order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Command {
    /// Stops time (true) or resumes it (false).
    pause: Option<bool>,
    /// Simulated seconds per real second.
    speed: Option<f64>,
    /// Adds faults, like `/_sim/faults`.
    faults: Option<Arrangement>,
    /// Changes the GPU utilisation shape of jobs.
    shape: Option<Reshape>,
    /// Removes all instances of a type for a while.
    outage: Option<OutageText>,
    /// Submits jobs.
    submit: Option<Submit>,
    /// Ends a job.
    terminate: Option<Terminate>,
    /// Advances simulated time at once.
    advance: Option<HumanDuration>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reshape {
    job: JobId,
    shape: Shape,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Submit {
    queue: QueueName,
    share: Option<ShareName>,
    #[serde(default = "name")]
    name: String,
    instance_type: String,
    #[serde(default = "one")]
    instances: u32,
    #[serde(default)]
    priority: i32,
    /// Run time.
    lasts: HumanDuration,
    /// Status reason, if it is to fail.
    fails: Option<String>,
    /// Status reason, if SageMaker is to reject it at dispatch.
    refused: Option<String>,
    shape: Option<Shape>,
    /// Maximum attempts.
    #[serde(default = "one")]
    attempts: u32,
    /// Number of such jobs.
    #[serde(default = "one")]
    jobs: u32,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Terminate {
    job: JobId,
    reason: Option<String>,
}

fn name() -> String {
    "injected".to_owned()
}

fn one() -> u32 {
    1
}

/// The current pace and time.
pub(super) fn state(world: &World, clock: Clock) -> Value {
    json!({
        "now": world.now,
        "paused": world.pace.paused,
        "speed": speed(world, clock),
        "next_event": world.scheduler.next_event(),
    })
}

/// Simulated seconds per real second.
pub(super) fn speed(world: &World, clock: Clock) -> f64 {
    clock.speed() * world.pace.rate
}

/// Applies a command, and returns the current pace and the ids of submitted jobs.
///
/// # Errors
/// 400 if a member is invalid; the members before it are applied.
pub(super) fn perform(world: &mut World, command: Command, clock: Clock) -> Result<Value, ApiError> {
    let clock_now = clock.now();
    let mut pace = world.pace.from(clock_now);
    pace.paused = command.pause.unwrap_or(pace.paused);
    if let Some(speed) = command.speed {
        if !(speed > 0.0 && speed <= MAX_SPEED) {
            return Err(refused(format!("speed {speed}: it must be between 0 and {MAX_SPEED}; `pause` stops time")));
        }
        pace.rate = speed / clock.speed();
    }
    world.pace = pace;
    if let Some(faults) = command.faults {
        arrange(world, faults)?;
    }
    if let Some(Reshape { job, shape }) = command.shape {
        known(world, &job)?;
        world.gpus.reshape(job, shape);
    }
    if let Some(outage) = command.outage {
        let outage = outage.outage(world.now);
        world.scheduler.add_outage(outage);
    }
    let submitted = command.submit.map_or(Ok(Vec::new()), |submit| submit_jobs(world, submit))?;
    if let Some(Terminate { job, reason }) = command.terminate {
        known(world, &job)?;
        world.scheduler.terminate(&job, reason.as_deref().unwrap_or("terminated on request"));
    }
    if let Some(span) = command.advance {
        world.pace.shown = world.pace.shown + span.0;
    }
    world.catch_up(clock_now);
    let mut answer = state(world, clock);
    answer["submitted"] = json!(submitted);
    Ok(answer)
}

/// Adds faults.
///
/// # Errors
/// 400 with all errors.
pub(super) fn arrange(world: &mut World, faults: Arrangement) -> Result<(), ApiError> {
    let findings: Vec<_> = faults.findings().into_iter().map(|(path, what)| format!("{path}: {what}")).collect();
    if !findings.is_empty() {
        return Err(refused(findings.join("; ")));
    }
    world.faults.arrange(faults);
    Ok(())
}

fn submit_jobs(world: &mut World, submit: Submit) -> Result<Vec<JobId>, ApiError> {
    if submit.jobs > MAX_JOBS {
        return Err(refused(format!("{} jobs: at most {MAX_JOBS} at once", submit.jobs)));
    }
    let outcome = submit.fails.map_or(PlannedOutcome::Succeeds, PlannedOutcome::Fails);
    let submission = Submission {
        at: world.now,
        name: submit.name,
        queue: submit.queue,
        share: submit.share,
        priority: submit.priority,
        demand: vec![Capacity::new(submit.instance_type, f64::from(submit.instances))],
        tags: submit.tags,
        plan: submit.refused.map_or(Plan::Runs { duration: submit.lasts.0, outcome }, Plan::Refused),
        terms: Terms {
            retry: RetryStrategy { attempts: submit.attempts.max(1), ..RetryStrategy::default() },
            ..Terms::default()
        },
        utilisation: UTILISATION,
    };
    let mut ids = Vec::new();
    for _ in 0..submit.jobs {
        let id = world.scheduler.submit(submission.clone()).map_err(|refusal| refused(refusal.to_string()))?;
        if let Some(shape) = submit.shape {
            world.gpus.reshape(id.clone(), shape);
        }
        ids.push(id);
    }
    world.scheduler.advance(world.now);
    Ok(ids)
}

fn known(world: &World, job: &JobId) -> Result<(), ApiError> {
    world.scheduler.job(job).map(|_| ()).ok_or_else(|| refused(format!("no job {job}")))
}

fn refused(message: impl Into<String>) -> ApiError {
    ApiError::bad("BadRequest", message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_keeps_its_place_when_its_pace_changes() {
        let at = Timestamp::from_millis;
        let mut pace = Pace::of_clock(at(1_000));
        assert_eq!(pace.at(at(3_000)), at(3_000));
        pace = Pace { rate: 10.0, ..pace.from(at(3_000)) };
        assert_eq!(pace.at(at(4_000)), at(13_000));
        pace = Pace { paused: true, ..pace.from(at(4_000)) };
        assert_eq!(pace.at(at(9_000)), at(13_000));
        pace.shown = pace.shown + Duration::from_secs(60);
        pace = Pace { paused: false, rate: 1.0, ..pace.from(at(9_000)) };
        assert_eq!(pace.at(at(10_000)), at(74_000));
    }
}
