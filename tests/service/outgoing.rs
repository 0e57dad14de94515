//! Outbound traffic: through one proxy or through none, and to topics of any region and account.

use crate::support;

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use support::process::{listening, trainspotter};

const PATIENCE: Duration = Duration::from_secs(300);

/// Recorded lines.
#[derive(Clone, Default)]
struct Noted(Arc<Mutex<Vec<String>>>);

impl Noted {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    async fn until(&self, wanted: &str) {
        let waiting = async {
            while !self.lines().iter().any(|line| line.contains(wanted)) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(came.is_ok(), "{wanted} is not among {:?}", self.lines());
    }
}

/// A proxy that records the first line of each request and responds itself; it makes no tunnels.
async fn proxy() -> (String, Noted) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, noted) = (listener.local_addr().unwrap(), Noted::default());
    let asked = noted.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut bytes = vec![0; 65_536];
                let read = stream.read(&mut bytes).await.unwrap_or(0);
                let line = String::from_utf8_lossy(&bytes[..read]).lines().next().unwrap_or_default().to_owned();
                let status = if line.starts_with("CONNECT") { "502 Bad Gateway" } else { "200 OK" };
                asked.note(line);
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (format!("http://{address}"), noted)
}

/// A server that records path and `Authorization` of each request, and responds like SNS, or like STS with the role's
/// name as the access key.
async fn recorder() -> (String, Noted) {
    let noted = Noted::default();
    let asked = noted.clone();
    let take = async move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let authorization = headers.get("authorization").map_or("", |value| value.to_str().unwrap_or_default());
        asked.note(format!("{uri} {authorization}"));
        let body = String::from_utf8_lossy(&body);
        match body.contains("Action=AssumeRole").then(|| body.split_once("role%2F")).flatten() {
            Some((_, role)) => assumed(role.split('&').next().unwrap_or_default()),
            None => "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishResult>\
                     <MessageId>m</MessageId></PublishResult></PublishResponse>"
                .to_owned(),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let root = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(take)).await.unwrap() });
    (root, noted)
}

fn assumed(role: &str) -> String {
    format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
         <AccessKeyId>{role}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>\
         <Expiration>2126-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
    )
}

#[tokio::test]
async fn one_proxy_rule_holds_for_aws_receivers_and_collectors() {
    let ((proxy, proxied), (here, direct)) = (proxy().await, recorder().await);
    let mut simulator = trainspotter(&["simulate", "--for", "120s", "--listen", "127.0.0.1:0"]);
    let (_simulator, endpoint) = listening(simulator.stderr(Stdio::piped()).spawn().unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("trainspotter.yaml");
    let text = format!(
        "targets: [{{ region: us-east-1, endpoint: \"{endpoint}\", events: \"http://sqs.example.invalid/111122223333/q\" }}]
poll: {{ every: 5s }}
publish:
  otlp:
    - {{ endpoint: \"http://collector.example.invalid/v1/metrics\" }}
    - {{ endpoint: \"http://grpc.example.invalid:4317\", protocol: grpc }}
    - {{ endpoint: \"{here}/v1/metrics\", headers: {{ authorization: of-this-machine }} }}
rules: [rules.yaml]
receivers: [{{ name: hook, webhook: {{ url: \"http://hooks.example.invalid/hook\" }} }}]
"
    );
    std::fs::write(&config, text).unwrap();
    let rules =
        "rules: [{ alert: Polls, metric: poll.interval, above: 0s, no_data: ok, annotations: { summary: polls } }]\n";
    std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();
    let mut service = trainspotter(&["run", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let service =
        service.env("HTTP_PROXY", &proxy).env("HTTPS_PROXY", &proxy).env_remove("NO_PROXY").env_remove("no_proxy");
    let (_service, _) = listening(service.stderr(Stdio::piped()).spawn().unwrap()).await;
    for wanted in [
        "http://sqs.example.invalid/",
        "http://collector.example.invalid/v1/metrics",
        "CONNECT grpc.example.invalid:4317",
        "http://hooks.example.invalid/hook",
    ] {
        proxied.until(wanted).await;
    }
    direct.until("/v1/metrics of-this-machine").await;
    let lines = proxied.lines();
    assert!(
        !lines.iter().any(|line| line.contains("127.0.0.1")),
        "this machine is called through the proxy: {lines:?}"
    );
}

#[tokio::test]
async fn a_topic_is_published_to_in_its_own_region_and_not_as_the_target() {
    let ((target, asked), (sns, published)) = (recorder().await, recorder().await);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("trainspotter.yaml");
    let text = format!(
        "targets: [{{ region: us-east-1, endpoint: \"{target}\", role: \"arn:aws:iam::333333333333:role/Watched\" }}]
poll: {{ calls_per_second: 0.1 }}
receivers: [{{ name: far, sns: {{ topic: \"arn:aws:sns:eu-west-1:222222222222:alerts\", endpoint: \"{sns}\" }} }}]
"
    );
    std::fs::write(&config, text).unwrap();
    let mut test = trainspotter(&["notify", "test", "far", "--kind", "all", "--config", config.to_str().unwrap()]);
    let output = test.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = published.lines();
    assert!(lines.len() >= 5 && lines.iter().all(|line| line.contains("/eu-west-1/sns/aws4_request")), "{lines:?}");
    assert_eq!(asked.lines(), [""; 0], "neither a role of the target's nor its endpoint has to do with it");
}

#[tokio::test]
async fn metrics_go_to_cloudwatch_in_its_own_region_and_as_its_own_role() {
    let (endpoint, asked) = recorder().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("trainspotter.yaml");
    let text = format!(
        "targets: [{{ region: us-east-1, endpoint: \"{endpoint}\", role: \"arn:aws:iam::333333333333:role/Watched\" }}]
poll: {{ every: 5s }}
publish: {{ cloudwatch: {{ metrics: both, every: 10s, region: eu-west-1, role: \"arn:aws:iam::222222222222:role/Publisher\" }} }}
"
    );
    std::fs::write(&config, text).unwrap();
    let mut service = trainspotter(&["run", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let (_service, _) = listening(service.stderr(Stdio::piped()).spawn().unwrap()).await;
    let sent = ["/v1/metrics ", "/operation/PutMetricData "];
    for wanted in sent.into_iter().chain(["Credential=Watched/"]) {
        asked.until(wanted).await;
    }
    for line in asked.lines() {
        let is_sent = sent.iter().any(|path| line.contains(path));
        assert_eq!(line.contains("Credential=Publisher/"), is_sent, "{line}");
        assert_eq!(line.contains("/eu-west-1/monitoring/aws4_request"), is_sent, "{line}");
    }
}
