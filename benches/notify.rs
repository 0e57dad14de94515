//! Latency of notifications from commit to ten receivers, and whether a failing receiver delays the others:
//! `cargo bench --bench notify`.
//!
//! A thousand alerts fire, a hundred per second, and every receiver gets each of them, through a state file on disk
//! and webhooks on the loopback interface. Four runs are compared: all receivers work, one returns 503 to every
//! request, one never responds, and one does not exist. Times are those of the nine receivers that always work.

#![expect(clippy::disallowed_methods, reason = "a measurement of real time")]

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use axum::Router;
use axum::extract::Path;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use trainspotter::config::Channel;
use trainspotter::config::Endpoint;
use trainspotter::config::Receiver;
use trainspotter::config::Secret;
use trainspotter::notify::Integration;
use trainspotter::notify::Notifiers;
use trainspotter::notify::Webhook;
use trainspotter::notify::outbox;
use trainspotter::notify::sample_alerts;
use trainspotter::store::Commit;
use trainspotter::store::StoreHandle;
use trainspotter_clock::Clock;
use trainspotter_core::rules::AlertId;
use trainspotter_core::rules::Transition;

type Error = Box<dyn std::error::Error + Send + Sync>;

const RECEIVERS: usize = 10;
const ALERTS: usize = 1_000;
const ALERTS_PER_TICK: usize = 100;
const TICK: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(120);

/// Behaviour of the tenth receiver.
const CASES: [(&str, Tenth); 4] = [
    ("takes everything", Tenth::Alive),
    ("answers 503", Tenth::Refuses),
    ("does not answer", Tenth::Hangs),
    ("is not there", Tenth::Absent),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Tenth {
    Alive,
    Refuses,
    Hangs,
    Absent,
}

/// Arrival times at the nine receivers, by notification id.
type Heard = Arc<Mutex<BTreeMap<String, Instant>>>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "| the tenth receiver | notified | p50, ms | p99, ms | longest, ms |\n|---|---:|---:|---:|---:|")?;
    for (name, tenth) in CASES {
        let mut waits = measure(tenth).await?;
        waits.sort();
        let at = |quantile: usize| {
            waits.get((waits.len() * quantile / 100).min(waits.len() - 1)).map_or(0, Duration::as_millis)
        };
        writeln!(out, "| {name} | {} | {} | {} | {} |", waits.len(), at(50), at(99), at(100))?;
    }
    Ok(())
}

/// Latency from commit to arrival, for each notification to the nine.
async fn measure(tenth: Tenth) -> Result<Vec<Duration>, Error> {
    let folder = tempfile::tempdir()?;
    let clock = Clock::real();
    let (store, _) = StoreHandle::open(&folder.path().join("state.db"), clock.now()).await?;
    let heard = Heard::default();
    let root = serve(tenth, Arc::clone(&heard)).await?;
    let absent = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let receivers: Vec<Receiver> =
        (0..RECEIVERS).map(|number| Receiver::new(format!("r{number}"), Channel::sns(String::new()))).collect();
    let integration = |(number, receiver): (usize, &Receiver)| -> Result<(Receiver, Integration), Error> {
        let gone = tenth == Tenth::Absent && number + 1 == RECEIVERS;
        let url = if gone { format!("http://{absent}/") } else { format!("{root}/{number}") };
        let endpoint = Endpoint { url: Secret::new(url), allow_loopback: true };
        Ok((receiver.clone(), Integration::Webhook(Webhook::new(&endpoint, &[])?)))
    };
    let integrations = receivers.iter().enumerate().map(integration).collect::<Result<_, _>>()?;
    let (notifiers, tasks) = Notifiers::new(integrations, None, &store, clock);
    let stop = CancellationToken::new();
    let tasks: Vec<_> = tasks.into_iter().map(|task| tokio::spawn(task.run(stop.clone()))).collect();

    let mut committed = BTreeMap::new();
    for tick in 0..ALERTS / ALERTS_PER_TICK {
        let began = Instant::now();
        let transitions: Vec<Transition> =
            (0..ALERTS_PER_TICK).map(|alert| transition(tick * ALERTS_PER_TICK + alert, clock)).collect();
        let rows = outbox::rows(&transitions, &receivers, clock.now());
        let ids: Vec<String> = rows.iter().filter(|row| row.receiver != "r9").map(|row| row.id.to_string()).collect();
        store.commit(Arc::new(Commit { at: clock.now(), outbox: rows, ..Commit::default() })).await?;
        notifiers.committed();
        committed.extend(ids.into_iter().map(|id| (id, Instant::now())));
        tokio::time::sleep(TICK.saturating_sub(began.elapsed())).await;
    }
    let all_heard = async {
        while heard.lock().is_ok_and(|heard| heard.len() < committed.len()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_heard).await?;
    tasks.into_iter().for_each(|task| task.abort());
    let heard = heard.lock().map_err(|_| "a receiver has panicked")?;
    Ok(committed.iter().filter_map(|(id, at)| Some(heard.get(id)?.duration_since(*at))).collect())
}

fn transition(alert: usize, clock: Clock) -> Transition {
    let mut transition = sample_alerts::test("anyone", clock.now()).transition;
    transition.alert.by.insert("share".to_owned(), format!("share-{alert}"));
    transition.alert.id = AlertId::of(&transition.alert.rule, &transition.alert.by);
    transition
}

/// Serves all existing receivers, each under its number.
async fn serve(tenth: Tenth, heard: Heard) -> Result<String, Error> {
    let take = async move |State(heard): State<Heard>, Path(number): Path<usize>, headers: HeaderMap| {
        if number + 1 < RECEIVERS {
            let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
            if let Ok(mut heard) = heard.lock() {
                heard.entry(id).or_insert_with(Instant::now);
            }
            return StatusCode::NO_CONTENT;
        }
        match tenth {
            Tenth::Refuses => StatusCode::SERVICE_UNAVAILABLE,
            Tenth::Hangs => std::future::pending().await,
            Tenth::Alive | Tenth::Absent => StatusCode::NO_CONTENT,
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let root = format!("http://{}", listener.local_addr()?);
    let app = Router::new().route("/{number}", post(take)).with_state(heard);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(root)
}
