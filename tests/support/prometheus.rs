//! A Prometheus server for one test, and its command-line tool.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Child;

use crate::support::ports;

/// Timeout of the server's start, in wall time.
const PATIENCE: Duration = Duration::from_secs(300);

/// A server that is killed with the test.
pub struct Server {
    client: reqwest::Client,
    origin: String,
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts it with this configuration; remote write to `/api/v1/write` is enabled.
    pub async fn start(config: &str) -> Self {
        Self::start_with(config, &[]).await
    }

    /// As [`Self::start`], with more options.
    pub async fn start_with(config: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let port = ports::for_program();
        let process = tokio::process::Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--web.enable-remote-write-receiver")
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let client = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
        let server = Self { client, origin: format!("http://127.0.0.1:{port}"), _process: process, _folder: folder };
        tokio::time::timeout(PATIENCE, server.ready()).await.expect("Prometheus starts");
        server
    }

    async fn ready(&self) {
        let url = format!("{}/-/ready", self.origin);
        while !self.client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Result of a query now, or at this many seconds since 1970.
    pub async fn ask(&self, query: &str, at: Option<f64>) -> Value {
        let mut parameters = form_urlencoded::Serializer::new(String::new());
        parameters.append_pair("query", query);
        if let Some(at) = at {
            parameters.append_pair("time", &at.to_string());
        }
        let url = format!("{}/api/v1/query?{}", self.origin, parameters.finish());
        self.client.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// The series of a query with their values now, or at this many seconds since 1970.
    pub async fn values(&self, query: &str, at: Option<f64>) -> Vec<(Value, f64)> {
        let answer = self.ask(query, at).await;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().unwrap().iter();
        let value = |series: &Value| series["value"][1].as_str().unwrap().parse::<f64>().unwrap();
        series.map(|series| (series["metric"].clone(), value(series))).filter(|(_, value)| !value.is_nan()).collect()
    }

    /// Sends a remote-write body; returns the server's error if it is rejected.
    pub async fn write(&self, body: Vec<u8>) -> Result<(), String> {
        let request = self.client.post(format!("{}/api/v1/write", self.origin));
        let request = request.header("content-encoding", "snappy").header("content-type", "application/x-protobuf");
        let answer = request.header("x-prometheus-remote-write-version", "0.1.0").body(body).send().await.unwrap();
        if answer.status().is_success() { Ok(()) } else { Err(answer.text().await.unwrap()) }
    }
}

/// Whether a tool is installed; prints a message if not.
pub fn is_installed(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: no {tool}; Debian's package prometheus has it");
    }
    found
}
