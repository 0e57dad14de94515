//! A webhook that records its messages.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;

/// Timeout of each wait, in real time.
const PATIENCE: Duration = Duration::from_secs(300);

/// Recorded messages: status, alert, notification id.
pub type Received = Vec<(String, Value, String)>;

/// A recording webhook.
pub struct Hook {
    pub url: String,
    reported: Arc<Mutex<Received>>,
}

pub async fn hook() -> Hook {
    let reported: Arc<Mutex<Received>> = Arc::default();
    let remember = {
        let reported = Arc::clone(&reported);
        move |headers: HeaderMap, Json(body): Json<Value>| async move {
            let id = headers["webhook-id"].to_str().unwrap().to_owned();
            for alert in body["alerts"].as_array().unwrap() {
                let status = alert["status"].as_str().unwrap().to_owned();
                reported.lock().unwrap().push((status, alert.clone(), id.clone()));
            }
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/", post(remember));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Hook { url, reported }
}

impl Hook {
    /// Waits until the messages match, and returns them.
    pub async fn until(&self, enough: impl Fn(&Received) -> bool) -> Received {
        let waiting = async {
            loop {
                let reported = self.reported.lock().unwrap().clone();
                if enough(&reported) {
                    return reported;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the webhook gets enough")
    }
}
