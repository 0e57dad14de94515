//! A receiver with scripted responses.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use trainspotter::config::Secret;

use super::service::within;

/// Part of every webhook's URL, and of nothing else.
pub(super) const TOKEN: &str = "t0psecret";

/// An HTTP receiver that follows a script, then accepts everything.
pub(super) struct Hook {
    pub(super) address: SocketAddr,
    pub(super) calls: mpsc::UnboundedReceiver<Call>,
    pub(super) server: JoinHandle<()>,
}

#[derive(Clone, Debug)]
pub(super) enum Answer {
    Status(u16),
    RetryAfter(u16, u64),
    Redirect(String),
    /// The connection closes in the middle of the response's head.
    Cut,
    Hang,
}

pub(super) struct Call {
    pub(super) id: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    pub(super) at: Instant,
}

impl Call {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// A label of the first alert.
    pub(super) fn alert(&self, label: &str) -> &str {
        self.body["alerts"][0]["labels"][label].as_str().unwrap()
    }

    pub(super) fn status(&self) -> &str {
        self.body["status"].as_str().unwrap()
    }
}

#[derive(Clone)]
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    calls: mpsc::UnboundedSender<Call>,
}

impl Hook {
    pub(super) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), answers)
    }

    pub(super) fn start_on(listener: TcpListener, answers: impl IntoIterator<Item = Answer>) -> Self {
        let address = listener.local_addr().unwrap();
        let (sender, calls) = mpsc::unbounded_channel();
        let script = Script { answers: Arc::new(Mutex::new(answers.into_iter().collect())), calls: sender };
        let app = Router::new().fallback(take).with_state(script);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, calls, server }
    }

    pub(super) fn url(&self) -> Secret {
        Secret::new(format!("http://{}/{TOKEN}?token={TOKEN}", self.address))
    }

    pub(super) async fn next(&mut self) -> Call {
        within(self.calls.recv()).await.unwrap()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(script): State<Script>, headers: HeaderMap, body: Bytes) -> Response {
    let id = headers["webhook-id"].to_str().unwrap().to_owned();
    let body = serde_json::from_slice(&body).unwrap();
    script.calls.send(Call { id, headers, body, at: Instant::now() }).ok();
    let answer = script.answers.lock().unwrap().pop_front();
    let status = |code| StatusCode::from_u16(code).unwrap();
    match answer {
        None => StatusCode::OK.into_response(),
        Some(Answer::Status(code)) => status(code).into_response(),
        Some(Answer::RetryAfter(code, seconds)) => {
            (status(code), [("retry-after", seconds.to_string())]).into_response()
        }
        Some(Answer::Redirect(to)) => (StatusCode::TEMPORARY_REDIRECT, [("location", to)]).into_response(),
        // Unwinding the handler closes its connection; this way it skips the slow backtrace.
        Some(Answer::Cut) => std::panic::resume_unwind(Box::new("cut")),
        Some(Answer::Hang) => std::future::pending().await,
    }
}
