//! The shipped CloudWatch dashboard with the metrics that the simulator publishes as AWS: every widget of those rows
//! has data.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::Simulation;
use crate::cbor;
use crate::cloudwatch;
use crate::tests::fixture::BEGAN;
use crate::tests::fixture::SEED;
use crate::workload::Synthetic;
use trainspotter_clock::Clock;
use trainspotter_core::model::JobStatus;

const DAY: Duration = Duration::from_hours(24);

#[test]
fn every_widget_over_the_metrics_of_batch_shows_data() {
    let workload = Synthetic { attempts: 3, ..Synthetic::default() }.workload(SEED, BEGAN);
    let simulation = Simulation::new(workload, SEED, Clock::starting_at(BEGAN + DAY, 1.0));
    let mut world = simulation.world();
    let waiting = world.scheduler.jobs().find(|job| job.status == JobStatus::Running).unwrap().id.clone();
    world.scheduler.terminate(&waiting, "enough");
    drop(world);
    let mut world = simulation.world();

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dashboards/cloudwatch/trainspotter.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let mut expressions = 0;
    for widget in dashboard["widgets"].as_array().unwrap() {
        let rows =
            widget["properties"]["metrics"].as_array().into_iter().flatten().flat_map(|row| row.as_array().unwrap());
        let searches = rows.filter_map(|row| row["expression"].as_str()).filter(|search| search.contains("AWS/Batch"));
        for search in searches {
            expressions += 1;
            let input = json!({
                "MetricDataQueries": [{"Id": "e1", "Expression": search}],
                "StartTime": BEGAN.secs_f64(),
                "EndTime": (BEGAN + DAY + DAY).secs_f64(),
            });
            let request = cloudwatch::Request::Tree(cbor::output(&input).unwrap());
            let answer = cloudwatch::answer(&mut world, "GetMetricData", request).unwrap();
            let answer: Value = answer.deserialized().unwrap();
            let results = answer["MetricDataResults"].as_array().unwrap();
            let shows = results.iter().any(|series| !series["Values"].as_array().unwrap().is_empty());
            // Service jobs are terminated, never cancelled.
            assert_eq!(shows, !search.contains("JobsCancelled"), "{}: {search}", widget["properties"]["title"]);
        }
    }
    assert!(expressions > 0, "the dashboard has no row of AWS's own metrics");
}
