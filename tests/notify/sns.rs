//! Publishing to SNS with the real client, against an endpoint that speaks its protocol.

use crate::support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use aws_sdk_sns::config::BehaviorVersion;
use aws_sdk_sns::config::Credentials;
use aws_sdk_sns::config::Region;
use aws_sdk_sns::config::retry::RetryConfig;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::process::Command;
use trainspotter::config::Channel;
use trainspotter::config::Receiver;
use trainspotter::notify::Deliver as _;
use trainspotter::notify::Failure;
use trainspotter::notify::Integration;
use trainspotter::notify::RetryClass;
use trainspotter::notify::Sns;
use trainspotter::notify::message::Message;
use trainspotter::notify::outbox;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;
use trainspotter_core::rules::Transition;
use trainspotter_core::rules::TransitionKind;

use support::alerts::firing;
use support::moto::{moto, script};
use support::python::python;
use support::reserved_address::ReservedAddress;

const STANDARD: &str = "arn:aws:sns:us-east-1:123456789012:alerts";
const FIFO: &str = "arn:aws:sns:us-east-1:123456789012:alerts.fifo";

type Form = BTreeMap<String, String>;

#[tokio::test]
async fn a_standard_topic_gets_subject_text_and_attributes() {
    let message = message("research");
    let endpoint = Endpoint::start(200, "").await;
    endpoint.deliver(STANDARD, &message).await.unwrap();
    let form = endpoint.form();
    assert_eq!(form["Action"], "Publish");
    assert_eq!(form["TopicArn"], STANDARD);
    assert_eq!(form["Subject"], "[FIRING] Waits: queue prod-a, share research");
    assert_eq!(form["MessageStructure"], "json");
    let texts: Form = serde_json::from_str(&form["Message"]).unwrap();
    assert_eq!(texts["default"], message.text);
    assert_eq!(
        attributes(&form),
        [("queue", "prod-a"), ("rule", "Waits"), ("severity", "page"), ("share", "research"), ("state", "firing")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    );
    assert!(!form.contains_key("MessageGroupId") && !form.contains_key("MessageDeduplicationId"));
}

#[tokio::test]
async fn a_fifo_topic_gets_one_group_per_alert_and_the_notifications_id() {
    let message = message("research");
    let endpoint = Endpoint::start(200, "").await;
    endpoint.deliver(FIFO, &message).await.unwrap();
    let form = endpoint.form();
    assert_eq!(form["MessageGroupId"], message.transition.alert.id.as_str());
    assert_eq!(form["MessageDeduplicationId"], message.id.as_str());
}

/// Messages that SQS subscribers receive, through moto: the body, attributes for filter policies, and on a FIFO topic
/// each notification once, however often it is sent.
#[tokio::test]
async fn subscribers_find_each_notification_in_their_queues() {
    let Some(python) = python().await else { return };
    let (_moto, endpoint) = moto(&python).await;
    let ask = async |action: &str| -> serde_json::Value {
        let output = Command::new(&python).arg(script("sns_to_sqs")).args([action, &endpoint]).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let topics = ask("setup").await;
    let (first, second) = (message("research"), message("vision"));
    for topic in [&topics["standard"], &topics["fifo"]] {
        deliver(&endpoint, topic.as_str().unwrap(), &first).await.unwrap();
    }
    // Sent again because the response was lost: the same id.
    for message in [&first, &second] {
        deliver(&endpoint, topics["fifo"].as_str().unwrap(), message).await.unwrap();
    }
    let arrived = ask("read").await;
    let standard = &arrived["standard"][0];
    // Queues get the machine-readable body; email gets the text.
    let share = |one: &serde_json::Value| {
        let body: serde_json::Value = serde_json::from_str(one["body"].as_str().unwrap()).unwrap();
        body["alerts"][0]["labels"]["share"].as_str().unwrap().to_owned()
    };
    assert_eq!(share(standard), "research");
    let attributes = serde_json::json!({
        "queue": "prod-a", "rule": "Waits", "severity": "page", "share": "research", "state": "firing",
    });
    assert_eq!(standard["attributes"], attributes);
    let fifo = arrived["fifo"].as_array().unwrap();
    assert_eq!(fifo.iter().map(share).collect::<Vec<_>>(), ["research", "vision"], "each once, in order");
    assert_eq!(fifo[0]["deduplication"], first.id.as_str());
    assert_ne!(fifo[0]["group"], fifo[1]["group"], "alerts do not wait for each other");
}

#[tokio::test]
async fn text_too_long_for_sns_is_cut_and_marked() {
    let mut message = message("research");
    message.text = "x".repeat(1_000_000);
    let endpoint = Endpoint::start(200, "").await;
    endpoint.deliver(STANDARD, &message).await.unwrap();
    let form = endpoint.form();
    assert!(form["Message"].len() <= 256 * 1_024 && form["Message"].len() > 255 * 1_024);
    assert_eq!(attributes(&form)["truncated"], "true");
}

#[tokio::test]
async fn an_error_is_retried_or_parked_by_its_code() {
    let retry = RetryClass::Retry { after: None };
    for (status, code, remedy) in [
        (429, "Throttled", retry),
        (400, "ThrottlingException", retry),
        (400, "KMSThrottling", retry),
        (500, "InternalError", retry),
        (503, "ServiceUnavailable", retry),
        (403, "ExpiredToken", retry),
        (404, "NotFound", RetryClass::Park),
        (403, "AuthorizationError", RetryClass::Park),
        (400, "InvalidParameter", RetryClass::SetAside),
        (400, "KMSAccessDenied", RetryClass::Park),
    ] {
        let endpoint = Endpoint::start(status, code).await;
        let failure = endpoint.deliver(STANDARD, &message("research")).await.unwrap_err();
        assert_eq!(failure.remedy, remedy, "{failure:?}");
        assert_eq!(failure.reason, format!("SNS responded with {code}: because"));
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_tried_again() {
    let reserved = ReservedAddress::reserve();
    let failure = deliver(&format!("http://{}", reserved.address), STANDARD, &message("research")).await.unwrap_err();
    assert_eq!(failure.remedy, RetryClass::Retry { after: None });
    assert!(failure.reason.starts_with("cannot reach SNS: "), "{failure:?}");
}

/// A fake SNS that always returns the same response.
struct Endpoint {
    url: String,
    asked: Arc<Mutex<Vec<Form>>>,
}

impl Endpoint {
    /// Status 200 is a success, any other is the error `code`.
    async fn start(status: u16, code: &'static str) -> Self {
        let asked = Arc::<Mutex<Vec<Form>>>::default();
        let answer = move |State(asked): State<Arc<Mutex<Vec<Form>>>>, body: String| async move {
            asked.lock().unwrap().push(form_urlencoded::parse(body.as_bytes()).into_owned().collect());
            answer(status, code)
        };
        let app = Router::new().fallback(answer).with_state(Arc::clone(&asked));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, asked }
    }

    async fn deliver(&self, topic: &str, message: &Message) -> Result<(), Failure> {
        deliver(&self.url, topic, message).await
    }

    fn form(&self) -> Form {
        let asked = self.asked.lock().unwrap();
        assert_eq!(asked.len(), 1);
        asked[0].clone()
    }
}

async fn deliver(url: &str, topic: &str, message: &Message) -> Result<(), Failure> {
    let config = aws_sdk_sns::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
        .endpoint_url(url)
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let integration = Integration::Sns(Sns::new(topic, aws_sdk_sns::Client::from_conf(config)));
    integration.deliver(message, &Clock::real()).await.map(|_| ())
}

fn answer(status: u16, code: &str) -> Response {
    let xmlns = "http://sns.amazonaws.com/doc/2010-03-31/";
    let body = if status == 200 {
        format!(
            r#"<PublishResponse xmlns="{xmlns}"><PublishResult><MessageId>m</MessageId></PublishResult></PublishResponse>"#
        )
    } else {
        format!(
            r#"<ErrorResponse xmlns="{xmlns}"><Error><Type>Sender</Type><Code>{code}</Code><Message>because</Message></Error><RequestId>r</RequestId></ErrorResponse>"#
        )
    };
    (StatusCode::from_u16(status).unwrap(), [("content-type", "text/xml")], body).into_response()
}

fn attributes(form: &Form) -> Form {
    let entry = |number: u32, part: &str| form.get(&format!("MessageAttributes.entry.{number}.{part}")).cloned();
    let attribute = |number| {
        let name = entry(number, "Name")?;
        assert_eq!(entry(number, "Value.DataType")?, "String");
        Some((name, entry(number, "Value.StringValue")?))
    };
    (1..).map_while(attribute).collect()
}

fn message(share: &str) -> Message {
    let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let by = text(&[("queue", "prod-a"), ("share", share)]);
    let at = Timestamp::from_millis(1_700_000_000_000);
    let mut labels = by.clone();
    labels.extend(text(&[("alertname", "Waits"), ("severity", "page")]));
    let alert = Alert { labels, annotations: text(&[("summary", "it waits")]), ..firing("Waits", by, at) };
    let receiver = Receiver::new("oncall", Channel::sns(STANDARD));
    let rows = outbox::rows(&[Transition { alert, kind: TransitionKind::Fired, at }], &[receiver], at);
    Message::of(&rows[0], None)
}
