//! Training jobs outside the queues, end to end: metric, finding and live check against a simulated account.

use crate::support;

use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use trainspotter::service::Service;
use trainspotter_clock::Clock;
use trainspotter_simulator::{self as simulator, Simulation, scenario, trace};

use support::config::watching;
use support::http;
use support::process::trainspotter;
use support::service::{PATIENCE, POLL_EVERY};

const UNIT: &str = "ml.p5.48xlarge";

/// Two jobs in one environment.
const JOBS: &str = "job_id,share,num_gpu,instance_type,submit_s,duration_s\na,x,8,ml.p5.48xlarge,0,360000\nb,x,8,ml.p5.48xlarge,0,360000\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_outside_of_the_queues_is_a_figure_and_counts_against_the_limit_of_the_account() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.csv");
    std::fs::write(&path, JOBS).unwrap();
    let clock = Clock::fast(600.0);
    let world = format!("outside: [{{ instance_type: {UNIT}, instances: 3 }}, {{ instance_type: ml.m5.large }}]");
    let world = scenario::parse("world.yaml", &world).unwrap();
    let simulation = Simulation::new(trace::load(&path, clock.now()).unwrap(), 1, clock).with(&world);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap();
    tokio::spawn(simulator::serve(listener, simulation, CancellationToken::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let page = listener.local_addr().unwrap();
    let mut config = watching(endpoint, POLL_EVERY, folder.path().join("state.db"));
    config.targets[0].quotas.insert(UNIT.to_owned(), "L-0123ABCD".to_owned());
    let service = Service { config, rules: Vec::new(), clock, since: clock.now(), listener };
    tokio::spawn(async { service.run(CancellationToken::new()).await.unwrap() });

    until(page, "the jobs of the scenario", &[(UNIT, 3.0), ("ml.m5.large", 1.0)]).await;
    let request = json!({
        "TrainingJobName": "by-hand", "RoleArn": "arn:aws:iam::123456789012:role/any",
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
        "ResourceConfig": {"InstanceType": UNIT, "InstanceCount": 20, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 360_000}, "HyperParameters": {"simulated_seconds": "360000"},
    });
    sagemaker(endpoint, "CreateTrainingJob", &request).await;
    until(page, "one that was made by hand", &[(UNIT, 23.0)]).await;
    let setup = get(page, "/api/v1/setup").await;
    let outside = "and training jobs outside of the watched queues use 23.";
    assert!(setup.contains("account_quota") && setup.contains(outside), "{setup}");

    let text = format!(
        "targets: [{{ region: us-east-1, endpoint: \"http://{endpoint}\", quotas: {{ {UNIT}: L-0123ABCD }} }}]\nrules: []\n"
    );
    let file = folder.path().join("live.yaml");
    std::fs::write(&file, text).unwrap();
    let check = trainspotter(&["check", "--live", "--config", file.to_str().unwrap()]).output();
    let Output { stdout, stderr, .. } = check.await.unwrap();
    let reported = String::from_utf8(stdout).unwrap();
    assert!(
        reported.contains("finding") && reported.contains(outside),
        "{reported} {}",
        String::from_utf8_lossy(&stderr)
    );

    sagemaker(endpoint, "StopTrainingJob", &json!({"TrainingJobName": "by-hand"})).await;
    until(page, "it has ended", &[(UNIT, 3.0)]).await;
}

async fn get(page: SocketAddr, path: &str) -> String {
    http::get(format!("http://{page}{path}")).await.unwrap().text().await.unwrap()
}

async fn sagemaker(endpoint: SocketAddr, operation: &str, request: &Value) {
    let post = http::client().post(format!("http://{endpoint}/")).body(request.to_string());
    let post = post.header("x-amz-target", format!("SageMaker.{operation}"));
    let answer = post.header("content-type", "application/x-amz-json-1.1").send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

/// Waits until the metric has these values.
async fn until(page: SocketAddr, what: &str, expected: &[(&str, f64)]) {
    let looking = async {
        loop {
            let metrics = crate::support::without_place_labels::without_place(&get(page, "/metrics").await);
            let is_so = expected.iter().all(|(unit, value)| {
                let series = format!("trainspotter_account_outside_instances{{instance_type=\"{unit}\"");
                let value = format!(" {value}");
                metrics.lines().any(|line| line.starts_with(&series) && line.ends_with(&value))
            });
            if is_so {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, looking).await.is_err() {
        panic!("not within {PATIENCE:?}: {what}\n{}", get(page, "/metrics").await);
    }
}
