//! GPU utilisation as SageMaker reports it: 0 to 100 times the GPUs of a host, one data point per minute, only while
//! the container runs, and delayed. Computed on request, so that it needs no memory.

use crate::World;
use crate::batch_training_jobs;
use crate::cloudwatch::Dimension;
use crate::cloudwatch::Metric;
use crate::cloudwatch::period_statistics::MINUTE_MILLIS;
use crate::cloudwatch::period_statistics::Summary;
use crate::gpu;
use trainspotter_core::model::Timestamp;
use trainspotter_core::scheduler::Phase;

/// SageMaker's namespace for training jobs.
pub(super) const NAMESPACE: &str = "/aws/sagemaker/TrainingJobs";
/// Supported metrics of that namespace: GPU utilisation, and GPU memory utilisation.
const COMPUTE: &str = "GPUUtilization";
const MEMORY: &str = "GPUMemoryUtilization";
const DIMENSION: &str = "Host";
/// The unit that SageMaker reports, although values exceed 100.
pub(super) const UNIT: &str = "Percent";

/// Complete minutes of a host's metric that begin in `from..to`, oldest first; `None` for other metrics.
pub(super) fn minutes(
    world: &mut World,
    metric: &Metric,
    from: Timestamp,
    to: Timestamp,
) -> Option<Vec<(i64, Summary)>> {
    if metric.namespace != NAMESPACE {
        return None;
    }
    let [Dimension { name, value: host }] = metric.dimensions.as_slice() else { return Some(Vec::new()) };
    if ![COMPUTE, MEMORY].contains(&metric.metric_name.as_str()) || name != DIMENSION {
        return Some(Vec::new());
    }
    Some(of_host(world, &metric.metric_name, host, from, to).unwrap_or_default())
}

/// Metrics of all hosts that are running now.
pub(super) fn metrics(world: &World) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for job in world.scheduler.jobs().filter(|job| job.running_since().is_some()) {
        let Some(training_job) = &job.training_job else { continue };
        for host in (1..=gpu::hosts(job)).filter(|host| gpu::gpus_of_host(&job.demand, *host).is_some()) {
            metrics.extend([COMPUTE, MEMORY].map(|name| Metric {
                namespace: NAMESPACE.to_owned(),
                metric_name: name.to_owned(),
                dimensions: vec![Dimension {
                    name: DIMENSION.to_owned(),
                    value: format!("{training_job}/algo-{host}"),
                }],
            }));
        }
    }
    metrics.sort();
    metrics
}

fn of_host(world: &mut World, metric: &str, host: &str, from: Timestamp, to: Timestamp) -> Option<Vec<(i64, Summary)>> {
    let (name, number) = host.split_once("/algo-")?;
    let number: u32 = number.parse().ok()?;
    let visible_until = world.now - world.gpus.delay;
    let id = batch_training_jobs::find(world, name)?.job.id.clone();
    let shape = gpu::shape_of(world, world.scheduler.job(&id)?);
    let run = batch_training_jobs::find(world, name)?;
    let job = run.job;
    let gpus = f64::from(gpu::gpus_of_host(&job.demand, number)?);
    let span = run.spans().find(|span| span.phase == Phase::Running)?;
    let from = from.max(span.from).millis();
    let to = to.min(span.to.unwrap_or(visible_until)).min(visible_until).millis();
    // A minute has data if the container ran throughout.
    let first = -(-from).div_euclid(MINUTE_MILLIS);
    let end = to.div_euclid(MINUTE_MILLIS);
    let point = |minute| {
        let used = gpu::use_of(job, shape, number, minute);
        let fraction = if metric == COMPUTE { used.compute } else { used.memory };
        (minute, Summary::of([(fraction * 100.0 * gpus, 1.0)]))
    };
    Some((first..end).map(point).collect())
}
