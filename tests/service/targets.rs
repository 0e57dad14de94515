//! Several accounts and regions in one service: each matches its own truth, and a failing one delays no other.

mod figures_per_target;

use crate::support;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trainspotter::config::{Channel, Config, Endpoint, Receiver, Secret, Target};
use trainspotter::service::Service;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::{Rule, parse_rules};
use trainspotter_simulator::{Accounts, Simulation, serve_accounts, trace};

use support::config::watching;
use support::hook::hook;
use support::http;
use support::service::{PATIENCE, POLL_EVERY, rules};

const OWN: &str = "123456789012";
const OTHER: &str = "210987654321";
const EXTERNAL_ID: &str = "trainspotter-7";

/// Account, region, and number of jobs.
const PLACES: [(&str, &str, usize); 3] = [(OWN, "us-east-1", 9), (OTHER, "us-east-1", 14), (OTHER, "eu-west-1", 23)];

/// Simulated seconds per real second.
const SPEED: f64 = 600.0;

struct Cloud {
    endpoint: SocketAddr,
    clock: Clock,
    since: Timestamp,
    folder: tempfile::TempDir,
    stop: CancellationToken,
}

impl Cloud {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::fast(SPEED);
        let since = clock.now();
        let place = |(seed, (account, region, count)): (u64, (&str, &str, usize))| {
            let file = folder.path().join(format!("{seed}.csv"));
            let mut jobs = "job_id,share,num_gpu,submit_s,duration_s\n".to_owned();
            for job in 0..count {
                writeln!(jobs, "{account}-{job},share,8,{},600", job * 30).unwrap();
            }
            std::fs::write(&file, jobs).unwrap();
            Simulation::new(trace::load(&file, clock.now()).unwrap(), seed, clock).at(account, region)
        };
        let accounts = Accounts::new((1..).zip(PLACES).map(place).collect()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve_accounts(listener, accounts, stop.clone()));
        let cloud = Self { endpoint, clock, since, folder, stop };
        cloud.change(json!({ "account": OTHER, "external_id": EXTERNAL_ID })).await;
        cloud
    }

    fn targets(&self) -> Vec<Target> {
        let target = |(account, region, _): (&str, &str, usize)| {
            let role = (account != OWN).then(|| format!("arn:aws:iam::{account}:role/Reader"));
            Target {
                name: trainspotter::config::usual_name(region, role.as_deref()),
                external_id: role.is_some().then(|| EXTERNAL_ID.to_owned()),
                role,
                endpoint: Some(format!("http://{}", self.endpoint)),
                ..Target::new(region)
            }
        };
        PLACES.into_iter().map(target).collect()
    }

    fn config(&self, targets: Vec<Target>) -> Config {
        let store = self.folder.path().join("state.db");
        Config { targets, ..watching(self.endpoint, POLL_EVERY, store) }
    }

    async fn change(&self, change: Value) {
        let url = format!("http://{}/_sim/accounts", self.endpoint);
        let answer = http::client().post(url).json(&change).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    async fn truth(&self, account: &str, region: &str) -> Value {
        let url = format!("http://{}/_sim/truth?account={account}&region={region}", self.endpoint);
        http::get(url).await.unwrap().json().await.unwrap()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Running {
    page: SocketAddr,
    stop: CancellationToken,
    service: JoinHandle<()>,
}

impl Running {
    async fn start(config: Config, cloud: &Cloud) -> Self {
        let (_, no_changes) = mpsc::channel(1);
        Self::start_with(config, rules(), no_changes, cloud).await
    }

    async fn start_with(config: Config, rules: Vec<Rule>, changes: mpsc::Receiver<Vec<Target>>, cloud: &Cloud) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let service = Service { config, rules, clock: cloud.clock, since: cloud.since, listener };
        let running = service.run_with_target_updates(changes, stop.clone());
        Self { page, stop, service: tokio::spawn(async { running.await.unwrap() }) }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = http::get(format!("http://{}{path}", self.page)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn api(&self, path: &str) -> Value {
        let (status, text) = self.get(path).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {status} {error} in {text}"))
    }

    async fn until<F: Future<Output = bool>>(&self, what: &str, is_so: impl Fn() -> F) {
        let waiting = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!(
                "not within {PATIENCE:?}: {what}\n{}\n{}",
                self.get("/readyz").await.1,
                self.get("/api/v1/health").await.1
            );
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.service).await.expect("the service stops").unwrap();
    }
}

fn files(folder: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".db")).collect();
    names.sort();
    names
}

/// Waits until a file is deleted, such as SQLite's write-ahead log after its database is closed.
async fn until_gone(file: &Path) {
    let gone = async {
        while file.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the file is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sick_target_is_named_and_delays_no_other() {
    let cloud = Cloud::start().await;
    let running = Running::start(cloud.config(cloud.targets()), &cloud).await;
    running.until("it is ready", || async { running.get("/readyz").await.0 == 200 }).await;
    // Sessions that expire early are renewed, without a failed poll.
    cloud.change(json!({ "account": OTHER, "expire": true })).await;
    let polled = cloud.clock.now() + POLL_EVERY * 4;
    cloud.clock.sleep_until(polled).await;
    let text = running.get("/metrics").await.1;
    let failures = text.lines().filter(|line| line.starts_with("trainspotter_source_failures_total"));
    for line in failures.filter(|line| line.contains("\"jobs\"") || line.contains("\"topology\"")) {
        assert!(line.ends_with(" 0"), "{line}");
    }

    cloud.change(json!({ "account": OTHER, "refuse": true, "expire": true })).await;
    running
        .until("the role that is refused raises an alert for each of its regions", || async {
            let alerts = running.api("/api/v1/alerts").await;
            let fires = |region: &str| {
                alerts.as_array().unwrap().iter().any(|alert| {
                    alert["rule"] == "TargetNotAnswering"
                        && alert["state"] == "firing"
                        && alert["account"] == OTHER
                        && alert["region"] == region
                })
            };
            fires("us-east-1") && fires("eu-west-1")
        })
        .await;
    let (status, text) = running.get("/readyz").await;
    assert_eq!(status, 200, "the rest is ready: {text}");
    assert!(text.contains("210987654321/eu-west-1: ") && text.contains("AccessDenied"), "{text}");
    assert!(!text.contains("\"us-east-1: "), "{text}");
    let health = running.api("/api/v1/health").await;
    let of = |name: &str| {
        health["targets"].as_array().unwrap().iter().find(|target| target["target"] == name).unwrap().clone()
    };
    assert_eq!(
        (of("us-east-1")["status"].clone(), of("210987654321/us-east-1")["status"].clone()),
        (json!("ok"), json!("degraded"))
    );
    assert_eq!(of("us-east-1")["account"], OWN);
    running
        .until("the own account is polled as before", || async {
            let health = running.api("/api/v1/health").await;
            let mut jobs = health["sources"].as_array().unwrap().iter().filter(|row| row["source"] == "jobs");
            let own = jobs.find(|row| row["target"] == "us-east-1").unwrap();
            own["age_seconds"].as_f64().unwrap() < 3.0 * POLL_EVERY.as_secs_f64()
        })
        .await;
    let alerts = running.api(&format!("/api/v1/alerts?account={OWN}")).await;
    assert!(alerts.as_array().unwrap().iter().all(|alert| alert["rule"] != "TargetNotAnswering"), "{alerts}");

    cloud.change(json!({ "account": OTHER, "refuse": false })).await;
    running
        .until("it recovers", || async {
            let health = running.api("/api/v1/health").await;
            health["targets"].as_array().unwrap().iter().all(|target| target["problems"].as_array().unwrap().is_empty())
        })
        .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_target_leaves_the_first_what_it_had() {
    let cloud = Cloud::start().await;
    let [first, second, _] = cloud.targets().try_into().unwrap();
    let running = Running::start(cloud.config(vec![first.clone()]), &cloud).await;
    let (_, _, count) = PLACES[0];
    let ended = |running: &Running| {
        let queues = format!("http://{}/api/v1/waits?account={OWN}", running.page);
        async move { http::get(queues).await.unwrap().json::<Value>().await.unwrap()[0]["count"].as_u64() }
    };
    running.until("all have started", || async { ended(&running).await == Some(count as u64) }).await;
    running.stop().await;
    assert_eq!(files(cloud.folder.path()), ["state.db"]);
    let running = Running::start(cloud.config(vec![second, first]), &cloud).await;
    running
        .until("both are ready", || async {
            running.get("/readyz").await.0 == 200 && running.api("/api/v1/queues").await.as_array().unwrap().len() == 2
        })
        .await;
    assert_eq!(ended(&running).await, Some(count as u64), "what it has counted before");
    assert_eq!(files(cloud.folder.path()), ["state.210987654321+us-east-1.db", "state.db"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_come_and_go_while_the_service_runs_and_alerts_go_with_theirs() {
    let cloud = Cloud::start().await;
    let hook = hook().await;
    let endpoint = Endpoint { url: Secret::new(&hook.url), allow_loopback: true };
    let channel = Channel::Webhook { endpoint, keys: Vec::new(), headers: Default::default() };
    let [first, second, third] = cloud.targets().try_into().unwrap();
    let config =
        Config { receivers: vec![Receiver::new("hook", channel)], ..cloud.config(vec![first.clone(), second.clone()]) };
    let always = "rules: [
        { alert: Watched, metric: ledger.jobs, above: -1, annotations: { summary: always } },
        { alert: Other, metric: ledger.jobs, where: { account: '210987654321', region: us-east-1 }, above: -1, annotations: { summary: there } },
        { alert: Named, metric: ledger.jobs, by: [account, region], above: -1, annotations: { summary: '{{ region }}' } }]";
    let (changes, changed) = mpsc::channel(1);
    let running = Running::start_with(config, parse_rules("r.yaml", always).unwrap(), changed, &cloud).await;
    let of = |reported: &[(String, Value, String)], status: &str, rule: &str| -> Vec<(String, String)> {
        let alerts = reported.iter().filter(|(is, alert, _)| is == status && alert["labels"]["alertname"] == rule);
        let text = |alert: &Value, label: &str| alert["labels"][label].as_str().unwrap_or_default().to_owned();
        let mut places: Vec<_> = alerts.map(|(_, alert, _)| (text(alert, "account"), text(alert, "region"))).collect();
        places.sort();
        places.dedup();
        places
    };
    let place = |account: &str, region: &str| (account.to_owned(), region.to_owned());
    let both = [place(OWN, "us-east-1"), place(OTHER, "us-east-1")];
    let fired = hook
        .until(|reported| {
            of(reported, "firing", "Watched") == both
                && of(reported, "firing", "Named") == both
                && !of(reported, "firing", "Other").is_empty()
        })
        .await;
    assert_eq!(of(&fired, "firing", "Other"), [place(OTHER, "us-east-1")], "what selects an account is about no other");
    let ids: std::collections::BTreeSet<&str> = fired
        .iter()
        .filter(|(_, alert, _)| alert["labels"]["alertname"] == "Watched")
        .map(|(_, alert, _)| alert["fingerprint"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 2, "alerts of two targets are two");

    changes.send(vec![first.clone(), third]).await.unwrap();
    let ended = hook
        .until(|reported| {
            of(reported, "resolved", "Watched").len() == 1 && of(reported, "firing", "Watched").len() == 3
        })
        .await;
    assert_eq!(of(&ended, "resolved", "Watched"), [place(OTHER, "us-east-1")]);
    running
        .until("the new one is shown and the old one is not", || async {
            let queues = running.api("/api/v1/queues").await;
            let regions: Vec<_> =
                queues.as_array().unwrap().iter().map(|row| (row["account"].clone(), row["region"].clone())).collect();
            regions == [(json!(OTHER), json!("eu-west-1")), (json!(OWN), json!("us-east-1"))]
        })
        .await;
    let text = running.get("/metrics").await.1;
    assert!(!text.lines().any(|line| line.contains(OTHER) && line.contains("us-east-1")), "{text}");
    assert_eq!(running.get("/readyz").await.0, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_of_a_target_that_is_gone_after_a_restart_end_once() {
    let cloud = Cloud::start().await;
    let hook = hook().await;
    let endpoint = Endpoint { url: Secret::new(&hook.url), allow_loopback: true };
    let channel = Channel::Webhook { endpoint, keys: Vec::new(), headers: Default::default() };
    let [first, second, third] = cloud.targets().try_into().unwrap();
    let config = |targets: Vec<Target>| Config {
        receivers: vec![Receiver::new("hook", channel.clone())],
        ..cloud.config(targets)
    };
    let always = "rules: [{ alert: Watched, metric: ledger.jobs, above: -1, annotations: { summary: always } }]";
    let start = async |targets: Vec<Target>| {
        let (changes, following) = mpsc::channel(1);
        let rules = parse_rules("r.yaml", always).unwrap();
        (Running::start_with(config(targets), rules, following, &cloud).await, changes)
    };
    let of = |reported: &[(String, Value, String)], status: &str, account: &str| {
        let is = |alert: &Value| {
            let labels = &alert["labels"];
            labels["alertname"] == "Watched" && labels["account"] == account && labels["region"] == "us-east-1"
        };
        reported.iter().filter(|(reported, alert, _)| reported == status && is(alert)).count()
    };
    let file = cloud.folder.path().join(format!("state.{}.db", second.name.replace('/', "+")));
    let journal = file.with_extension("db-wal");
    let (running, _changes) = start(vec![first.clone(), second]).await;
    hook.until(|reported| of(reported, "firing", OWN) == 1 && of(reported, "firing", OTHER) == 1).await;
    running.stop().await;
    for its_file_comes_later in [true, false] {
        let aside = cloud.folder.path().join("aside");
        if its_file_comes_later {
            until_gone(&journal).await;
            std::fs::rename(&file, &aside).unwrap();
        }
        let (running, changes) = start(vec![first.clone()]).await;
        if its_file_comes_later {
            running.until("it is ready", || async { running.get("/readyz").await.0 == 200 }).await;
            std::fs::rename(&aside, &file).unwrap();
            // It is searched again whenever targets change.
            changes.send(vec![first.clone(), third.clone()]).await.unwrap();
        }
        hook.until(|reported| of(reported, "resolved", OTHER) == 1).await;
        running.until("it is ready", || async { running.get("/readyz").await.0 == 200 }).await;
        running.stop().await;
    }
    let reported = hook.until(|_| true).await;
    assert_eq!((of(&reported, "resolved", OTHER), of(&reported, "resolved", OWN)), (1, 0), "{reported:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_the_own_account_is_no_second_target_of_the_same_region() {
    let cloud = Cloud::start().await;
    let [first, ..] = <[Target; 3]>::try_from(cloud.targets()).unwrap();
    let role = Some(format!("arn:aws:iam::{OWN}:role/Reader"));
    let by_role = Target { name: "by-role".to_owned(), role, ..first.clone() };
    for comes_later in [false, true] {
        let (changes, following) = mpsc::channel(1);
        let both = vec![first.clone(), by_role.clone()];
        let from = if comes_later { vec![first.clone()] } else { both.clone() };
        let running = Running::start_with(cloud.config(from), rules(), following, &cloud).await;
        if comes_later {
            running.until("the first one is ready", || async { running.get("/readyz").await.0 == 200 }).await;
            changes.send(both).await.unwrap();
        }
        running
            .until("the one without a role is refused and the other one is ready", || async {
                let (status, text) = running.get("/readyz").await;
                status == 200
                    && text.contains("us-east-1: ")
                    && text.contains("the target by-role has the same account")
            })
            .await;
        running
            .until("one series is left", || async {
                let text = running.get("/metrics").await.1;
                text.lines().filter(|line| line.starts_with("trainspotter_ledger_jobs{")).count() == 1
            })
            .await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_signed_for_a_region_that_is_not_there_is_refused() {
    let cloud = Cloud::start().await;
    let endpoint = Some(format!("http://{}", cloud.endpoint));
    for (region, is_there) in [("us-east-1", true), ("eu-west-1", false), ("ap-south-1", false)] {
        let target = Target { endpoint: endpoint.clone(), ..Target::new(region) };
        let clients = trainspotter::aws::connect(&target, 50.0, cloud.clock).await.unwrap();
        let answer = clients.batch.describe_job_queues().send().await;
        assert_eq!(answer.is_ok(), is_there, "{region}: {answer:?}");
        let refusal = format!("{answer:?}");
        assert!(is_there || refusal.contains("InvalidSignatureException") && refusal.contains(region), "{refusal}");
    }
}
