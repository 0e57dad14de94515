//! Rules and a configuration in a bucket: read at start, followed while the service runs, and never in effect while
//! invalid.

use crate::support;

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use trainspotter_clock::Clock;
use trainspotter_simulator as simulator;
use trainspotter_simulator::{Simulation, trace};

use support::http;
use support::process::{listening, trainspotter};

const PATIENCE: Duration = Duration::from_secs(300);

const CONFIG: &str = "s3://settings/config/trainspotter.yaml";

const ANYBODY: &str =
    "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00";

/// A bucket of moto, and the AWS that the service watches.
struct World {
    s3: String,
    endpoint: String,
    folder: tempfile::TempDir,
    _stop: CancellationToken,
}

impl World {
    async fn start(s3: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jobs.csv");
        std::fs::write(&file, "job_id,share,num_gpu,submit_s,duration_s\na,team,8,0,100000\n").unwrap();
        let clock = Clock::real();
        let simulation = Simulation::new(trace::load(&file, clock.now()).unwrap(), 7, clock);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(simulator::serve(listener, simulation, stop.clone()));
        Self { s3, endpoint, folder, _stop: stop }
    }

    async fn put(&self, name: &str, text: impl Into<String>) {
        // moto checks no signature, but requires credentials.
        let put = http::client().put(format!("{}/{name}", self.s3)).header("authorization", ANYBODY).body(text.into());
        put.send().await.unwrap().error_for_status().unwrap();
    }

    fn config(&self, regions: &[&str], poll: &str) -> String {
        let targets: Vec<Value> =
            regions.iter().map(|region| json!({ "region": region, "endpoint": self.endpoint })).collect();
        json!({
            "targets": targets,
            "poll": { "every": poll, "calls_per_second": 50.0 },
            "rules": [{ "from": "s3://settings/rules", "endpoint": self.s3 }],
            "listen": "127.0.0.1:0",
            "log": "pretty",
            "store": self.folder.path().join("state.db"),
        })
        .to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = trainspotter(arguments);
        command.env("AWS_ENDPOINT_URL_S3", &self.s3).env("AWS_REGION", "us-east-1");
        command
    }

    async fn refused(&self) -> String {
        let Output { status, stderr, .. } = self.command(&["run", "--config", CONFIG]).output().await.unwrap();
        let text = String::from_utf8_lossy(&stderr).into_owned();
        assert_eq!(status.code(), Some(64), "{text}");
        text
    }
}

fn rules(name: &str) -> String {
    format!(
        "rules: [{{ alert: {name}, metric: queue.jobs, by: [queue], above: -1, no_data: ok, annotations: {{ summary: x }} }}]\n"
    )
}

async fn until(page: &str, path: &str, what: &str, is_so: impl Fn(&Value) -> bool) {
    let mut last = Value::Null;
    let waiting = async {
        loop {
            if let Ok(answer) = http::get(format!("{page}{path}")).await {
                last = answer.json().await.unwrap_or_default();
                if is_so(&last) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(found.is_ok(), "not in time: {what}: {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_configuration_in_a_bucket_are_followed_and_mistakes_change_nothing() {
    let Some(python) = support::python::python().await else { return };
    let (_moto, s3) = support::moto::moto(&python).await;
    let world = World::start(s3).await;
    assert!(world.refused().await.contains("the bucket settings does not exist: create it, or correct `--config`"));
    world.put("settings", "").await;
    assert!(world.refused().await.contains("there is no object s3://settings/config/trainspotter.yaml"));
    world.put("settings/config/trainspotter.yaml", world.config(&["us-east-1"], "5s")).await;
    let no_rules = world.refused().await;
    assert!(no_rules.contains("s3://settings/rules contains no rule files"), "{no_rules}");
    assert!(no_rules.contains("config/trainspotter.yaml:1:"), "with its place: {no_rules}");
    world.put("settings/rules/a.yaml", rules("First")).await;
    world.put("settings/rules/a.test.yaml", "no rules").await;

    let mut service = world.command(&["run", "--config", CONFIG]);
    let (_service, page) = listening(service.stderr(Stdio::piped()).spawn().unwrap()).await;
    let fires = |name: &'static str| move |alerts: &Value| alerts.to_string().contains(&format!("\"{name}\""));
    until(&page, "/api/v1/alerts", "the first rule", fires("First")).await;

    // All settings that can change at runtime take effect without a restart.
    world.put("settings/rules/a.yaml", rules("Second")).await;
    world.put("settings/config/trainspotter.yaml", world.config(&["us-east-1", "eu-west-1"], "5s")).await;
    until(&page, "/api/v1/alerts", "the second rule", fires("Second")).await;
    let two = |health: &Value| health["targets"].as_array().is_some_and(|targets| targets.len() == 2);
    until(&page, "/api/v1/health", "two targets", two).await;

    // Errors are reported, and the previous settings stay in effect.
    world.put("settings/rules/a.yaml", "rules: [{ alertt: Third }]\n").await;
    world.put("settings/config/trainspotter.yaml", "targets: [{ regoin: us-east-1 }]\n").await;
    let named = |probe: &Value| {
        let problems = probe["problems"].to_string();
        problems.contains("configuration: it has errors")
            && problems.contains("config/trainspotter.yaml:1:")
            && problems.contains("rule files: they have errors")
            && problems.contains("s3://settings/rules/a.yaml:1:")
    };
    until(&page, "/readyz", "both mistakes", named).await;
    // A task that starts has nothing to go on with.
    let refused = world.refused().await;
    assert!(refused.contains("config/trainspotter.yaml:1:") && refused.contains("regoin"), "{refused}");
    until(&page, "/api/v1/health", "still two targets", two).await;
    until(&page, "/api/v1/alerts", "still the second rule", fires("Second")).await;

    // Settings that need a restart are reported, and corrected errors are not any more.
    world.put("settings/rules/a.yaml", rules("Second")).await;
    world.put("settings/config/trainspotter.yaml", world.config(&["us-east-1", "eu-west-1"], "6s")).await;
    let restart = |probe: &Value| {
        let problems = probe["problems"].to_string();
        problems.contains("take effect after a restart") && !problems.contains(" errors")
    };
    until(&page, "/readyz", "that a restart is needed", restart).await;
}
