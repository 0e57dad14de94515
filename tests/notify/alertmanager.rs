//! A real Alertmanager takes our posts, shows the alert for as long as it fires, and ends it when we say so.
//!
//! The binary is `prometheus-alertmanager` on the path, or what `TRAINSPOTTER_ALERTMANAGER` names. Without one this is skipped,
//! with a message, unless `TRAINSPOTTER_PEERS` says that peers are required.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;
use trainspotter::config::Endpoint;
use trainspotter::config::Secret;
use trainspotter::notify::Alertmanager;
use trainspotter::notify::Courier;
use trainspotter::notify::Deliver as _;
use trainspotter::notify::message::Message;
use trainspotter::notify::sample;
use trainspotter_clock::Clock;
use trainspotter_core::rules::Ending;
use trainspotter_core::rules::TransitionKind;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_real_alertmanager_shows_the_alert_until_it_is_resolved() {
    let named = std::env::var("TRAINSPOTTER_ALERTMANAGER").unwrap_or_else(|_| "prometheus-alertmanager".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("alertmanager.yml");
    std::fs::write(&config, "route: { receiver: none }\nreceivers: [{ name: none }]\n").unwrap();
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let started = Command::new(&named)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", folder.path().display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--cluster.listen-address=")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let Ok(_alertmanager) = started else {
        assert!(std::env::var_os("TRAINSPOTTER_PEERS").is_none(), "{named} is required");
        eprintln!("skipped: no {named}");
        return;
    };
    let root = format!("http://{address}");
    until(&root, |alerts| alerts.is_empty()).await;
    let endpoint = Endpoint { url: Secret::new(root.clone()), allow_loopback: true };
    let courier = Courier::Alertmanager(Alertmanager::new(&endpoint).unwrap());

    let clock = Clock::real();
    let mut row = sample::test("existing", clock.now() - Duration::from_secs(5));
    let send = async |row: &_| courier.deliver(&Message::of(row, Some("https://spotter.example")), &clock).await;
    send(&row).await.unwrap();
    // Sent twice, as after a crash: one alert all the same.
    send(&row).await.unwrap();
    let alerts = until(&root, |alerts| !alerts.is_empty()).await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0]["labels"]["alertname"], "TestNotification");
    assert_eq!(alerts[0]["status"]["state"], "active");
    assert!(alerts[0]["generatorURL"].as_str().unwrap().starts_with("https://spotter.example/#alert-"));
    let ends_at: jiff::Timestamp = alerts[0]["endsAt"].as_str().unwrap().parse().unwrap();
    assert!(ends_at.as_millisecond() > clock.now().millis() + 300 * 86_400_000, "it would end by itself: {ends_at}");

    row.transition.kind = TransitionKind::Resolved(Ending::Recovered);
    row.transition.at = clock.now();
    send(&row).await.unwrap();
    until(&root, |alerts| alerts.is_empty()).await;
}

/// The alerts that it shows, once they are as wanted.
async fn until(root: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let http = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
    let waiting = async {
        loop {
            if let Ok(answer) = http.get(format!("{root}/api/v2/alerts")).send().await
                && let Ok(alerts) = answer.json::<Vec<Value>>().await
                && wanted(&alerts)
            {
                return alerts;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap()
}
