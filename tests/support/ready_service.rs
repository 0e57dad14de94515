//! A service process after its first poll.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::mpsc::UnboundedReceiver;

use super::config_file::configured;
use super::http;
use super::process::{listening_and_telling, trainspotter};

/// A service over `endpoint` after its first poll, its address, and its log lines. `more` is added to its
/// configuration.
pub async fn ready_service(folder: &Path, endpoint: &str, more: &str) -> (Child, String, UnboundedReceiver<String>) {
    let config = configured(folder, endpoint, &format!("poll: {{ every: 5s }}\n{more}"));
    let mut service = trainspotter(&["run", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let (service, page, reported) = listening_and_telling(service.stderr(Stdio::piped()).spawn().unwrap()).await;
    let ready = async {
        while !http::get(format!("{page}/readyz")).await.is_ok_and(|answer| answer.status().is_success()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), ready).await.expect("the service is ready");
    (service, page, reported)
}
