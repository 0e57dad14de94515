//! The routes over real sockets, against a fixture: response shapes, documentation, refusals, headers, limits.

mod bad_requests;
mod connections;
mod fixture_busy;
mod fixture_jobs;
mod fixture_snapshot;
mod history;
mod hosts;
mod job_context;
mod mutated_requests;
mod openapi_schema;
mod page_scripts;
mod pages_in_browser;
mod response_headers;
mod response_shapes;
mod roles;
mod timeouts;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::web::Access;
use crate::web::CachedRecordings;
use crate::web::JobQuery;
use crate::web::Pages;
use crate::web::PastQuery;
use crate::web::Snapshot;
use crate::web::Token;
use crate::web::WatchedTarget;
use crate::web::router;
use crate::web::serve;
use trainspotter_clock::Clock;
use trainspotter_core::model::Place;

/// A server on its own port, stopped on drop.
struct Server {
    address: std::net::SocketAddr,
    snapshot: watch::Sender<Snapshot>,
    stop: CancellationToken,
}

/// A complete response.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

/// Pages of one target with these figures, and where to replace the figures.
fn pages(
    snapshot: Snapshot,
    jobs: mpsc::Sender<JobQuery>,
    history: mpsc::Sender<PastQuery>,
    access: Access,
) -> (watch::Sender<Snapshot>, Pages) {
    let (snapshot, receiver) = watch::channel(snapshot);
    let (operations, asked) = mpsc::channel(4);
    tokio::spawn(roles::operate(asked));
    let silences = watch::channel(fixture_snapshot::silences().into()).1;
    let place = Place::new("us-east-1", "us-east-1");
    let target = WatchedTarget { place, snapshot: receiver, jobs, history, operations, silences };
    let pages = Pages {
        targets: watch::channel([target].into()).1,
        access,
        clock: Clock::starting_at(fixture_snapshot::now(), 1.0),
        started_at: fixture_snapshot::now() - Duration::from_secs(3_600),
        tick_every: Duration::from_secs(30),
        metrics: |frames| format!("trainspotter_queues {}\n", frames[0].queues.len()),
        was_ready: Arc::default(),
        configuration: watch::channel(None).1,
        recordings: CachedRecordings::default(),
    };
    (snapshot, pages)
}

impl Server {
    /// Serves the fixture, including job queries.
    async fn start() -> Self {
        let (jobs, questions) = mpsc::channel(4);
        tokio::spawn(fixture_snapshot::answer(questions));
        Self::serving(fixture_snapshot::snapshot(), jobs).await
    }

    /// Serves a busy service with a history; `ann` may act.
    async fn lively() -> Self {
        let (jobs, questions) = mpsc::channel(4);
        tokio::spawn(fixture_snapshot::answer(questions));
        let (history, asked) = mpsc::channel(4);
        tokio::spawn(history::answer_with(asked, fixture_busy::frame));
        let access = Access::new([Token::new("ann", roles::OPERATE, true)]);
        Self::serving_all(fixture_busy::snapshot(), jobs, history, None, access).await
    }

    /// Serves the fixture with an external URL.
    async fn behind(external_url: &'static str) -> Self {
        let (jobs, questions) = mpsc::channel(4);
        tokio::spawn(fixture_snapshot::answer(questions));
        Self::serving_at(fixture_snapshot::snapshot(), jobs, Some(external_url)).await
    }

    async fn serving(snapshot: Snapshot, jobs: mpsc::Sender<JobQuery>) -> Self {
        Self::serving_at(snapshot, jobs, None).await
    }

    /// Serves the fixture with access control.
    async fn with_tokens(access: Access, external_url: Option<&'static str>) -> Self {
        let (jobs, questions) = mpsc::channel(4);
        tokio::spawn(fixture_snapshot::answer(questions));
        Self::serving_with(fixture_snapshot::snapshot(), jobs, external_url, access).await
    }

    async fn serving_at(snapshot: Snapshot, jobs: mpsc::Sender<JobQuery>, external_url: Option<&'static str>) -> Self {
        let (history, questions) = mpsc::channel(4);
        tokio::spawn(history::answer(questions));
        Self::serving_all(snapshot, jobs, history, external_url, Access::default()).await
    }

    async fn serving_with(
        snapshot: Snapshot,
        jobs: mpsc::Sender<JobQuery>,
        external_url: Option<&'static str>,
        access: Access,
    ) -> Self {
        let (history, questions) = mpsc::channel(4);
        tokio::spawn(history::answer(questions));
        Self::serving_all(snapshot, jobs, history, external_url, access).await
    }

    async fn serving_all(
        snapshot: Snapshot,
        jobs: mpsc::Sender<JobQuery>,
        history: mpsc::Sender<PastQuery>,
        external_url: Option<&'static str>,
        access: Access,
    ) -> Self {
        let (snapshot, pages) = pages(snapshot, jobs, history, access);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move { serve(listener, router(pages), external_url, stopped).await });
        Self { address, snapshot, stop }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    /// HTTP/1.0, so that the body ends when the server closes the connection.
    async fn send(&self, method: &str, path: &str, headers: &str) -> Answer {
        self.send_to("localhost", method, path, headers).await
    }

    async fn send_to(&self, host: &str, method: &str, path: &str, headers: &str) -> Answer {
        self.send_with(host, method, path, headers, "").await
    }

    /// Sends a request; with a body, its length is announced.
    async fn send_with(&self, host: &str, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let request = format!("{method} {path} HTTP/1.0\r\nhost: {host}\r\n{headers}{length}\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
        Answer { status: head[9..12].parse().unwrap(), head, body: bytes[end + 4..].to_vec() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        assert!(self.has("content-type: application/json"), "{}", self.head);
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Whether there is a header line with this prefix, in lower case.
    fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line.starts_with(header))
    }

    /// The code of an error, after checking its form.
    fn error_code(&self) -> String {
        let body = self.json();
        assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
        body["error"]["code"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
#[ignore = "serves a moving fixture at http://127.0.0.1:8799 for ten minutes, to look at the page"]
async fn look() {
    let (jobs, questions) = mpsc::channel(4);
    tokio::spawn(fixture_snapshot::answer(questions));
    let clock = Clock::starting_at(fixture_snapshot::now(), 120.0);
    let (snapshot, receiver) = watch::channel(fixture_snapshot::snapshot());
    let (history, questions) = mpsc::channel(4);
    tokio::spawn(history::answer(questions));
    let (operations, silences) = (mpsc::channel(1).0, watch::channel([].into()).1);
    let place = Place::new("us-east-1", "us-east-1");
    let target = WatchedTarget { place, snapshot: receiver, jobs, history, operations, silences };
    let pages = Pages {
        targets: watch::channel([target].into()).1,
        access: Access::default(),
        clock,
        started_at: fixture_snapshot::now() - Duration::from_secs(3_600),
        tick_every: Duration::from_secs(30),
        metrics: |_| String::new(),
        was_ready: Arc::default(),
        configuration: watch::channel(None).1,
        recordings: CachedRecordings::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:8799").await.unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let server = tokio::spawn(async move { serve(listener, router(pages), None, stopped).await });
    for _ in 0..1200 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        snapshot.send_replace(fixture_snapshot::snapshot_at(clock.now()));
    }
    stop.cancel();
    server.await.unwrap().unwrap();
}
