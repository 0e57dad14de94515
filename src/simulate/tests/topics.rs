//! SNS, from Publish to an HTTP subscriber, and STS.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sns::error::ProvideErrorMetadata;
use aws_sdk_sns::types::MessageAttributeValue;
use axum::http::HeaderMap;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::simulate::tests::account::Account;
use crate::simulate::tests::account::client;

/// An HTTP subscriber on a free port: its URL, and what it is told.
async fn subscriber() -> (String, mpsc::Receiver<(HeaderMap, Value)>) {
    let (told, heard) = mpsc::channel(8);
    let hear = move |headers: HeaderMap, body: String| async move {
        told.send((headers, serde_json::from_str(&body).unwrap())).await.unwrap();
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/alerts", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/alerts", axum::routing::post(hear));
    tokio::spawn(async { axum::serve(listener, router).await });
    (url, heard)
}

#[tokio::test]
async fn a_message_reaches_its_http_subscriber() {
    let account = Account::open().await;
    let sns = client!(aws_sdk_sns, account);
    let (url, mut heard) = subscriber().await;
    let topic = sns.create_topic().name("alerts").send().await.unwrap().topic_arn.unwrap();
    sns.subscribe().topic_arn(&topic).protocol("http").endpoint(url).send().await.unwrap();
    let severity = MessageAttributeValue::builder().data_type("String").string_value("page").build().unwrap();
    let published = sns
        .publish()
        .topic_arn(&topic)
        .subject("Share <vision> waits")
        .message("{\"a\": \"1 & 2\"}")
        .message_attributes("severity", severity)
        .send()
        .await
        .unwrap();
    let (headers, body) = tokio::time::timeout(Duration::from_secs(10), heard.recv()).await.unwrap().unwrap();
    assert_eq!(headers["x-amz-sns-message-type"], "Notification");
    assert_eq!(body["Type"], "Notification");
    assert_eq!(body["MessageId"].as_str(), published.message_id());
    assert_eq!(body["Message"], "{\"a\": \"1 & 2\"}");
    assert_eq!(body["Subject"], "Share <vision> waits");
    assert_eq!(body["MessageAttributes"], json!({"severity": {"Type": "String", "Value": "page"}}));
    assert_eq!(account.sim("truth").await["published"]["sns_messages"], 1);
    assert_eq!(account.sim("truth/messages").await["messages"][0]["text"], body["Message"]);
}

#[tokio::test]
async fn publish_keeps_to_its_limits() {
    let account = Account::open().await;
    let sns = client!(aws_sdk_sns, account);
    let topic = sns.create_topic().name("alerts").send().await.unwrap().topic_arn.unwrap();
    let publish = || sns.publish().topic_arn(&topic).message("m");
    assert!(publish().subject("s".repeat(99)).message("m".repeat(256 * 1_024)).send().await.is_ok());
    let cases = [
        (publish().subject("s".repeat(100)), "InvalidParameter"),
        (publish().subject("two\nlines"), "InvalidParameter"),
        (publish().message("m".repeat(256 * 1_024 + 1)), "InvalidParameter"),
        (publish().message(""), "InvalidParameter"),
        (publish().message_deduplication_id("a"), "InvalidParameter"),
        (publish().topic_arn("arn:aws:sns:us-east-1:123456789012:nobody"), "NotFound"),
    ];
    for (refused, code) in cases {
        let error = refused.send().await.unwrap_err();
        assert_eq!(error.code(), Some(code), "{error:?}");
    }
    let error =
        sns.subscribe().topic_arn(&topic).protocol("http").endpoint("http://10.0.0.1/").send().await.unwrap_err();
    assert!(error.message().unwrap().contains("loopback"), "{error:?}");

    account.arrange(json!({"topic": {"name": "alerts", "status": 404, "count": 1}})).await;
    assert!(publish().send().await.unwrap_err().as_service_error().unwrap().is_not_found_exception());
    assert!(publish().send().await.is_ok());
}

#[tokio::test]
async fn a_fifo_topic_takes_a_message_once() {
    let account = Account::open().await;
    let sns = client!(aws_sdk_sns, account);
    let topic =
        sns.create_topic().name("alerts.fifo").attributes("FifoTopic", "true").send().await.unwrap().topic_arn.unwrap();
    let publish =
        |id: &str| sns.publish().topic_arn(&topic).message("m").message_group_id("g").message_deduplication_id(id);
    let first = publish("a").send().await.unwrap();
    let again = publish("a").send().await.unwrap();
    let other = publish("b").send().await.unwrap();
    assert_eq!(first.message_id(), again.message_id());
    assert_eq!(first.sequence_number(), again.sequence_number());
    assert_ne!(first.message_id(), other.message_id());
    assert_eq!(account.sim("truth").await["published"]["sns_messages"], 2);
    let no_group = sns.publish().topic_arn(&topic).message("m").message_deduplication_id("c");
    let no_id = sns.publish().topic_arn(&topic).message("m").message_group_id("g");
    for refused in [no_group, no_id] {
        assert_eq!(refused.send().await.unwrap_err().code(), Some("InvalidParameter"));
    }
}

/// The STS client is not a direct dependency: its two calls are made by hand.
#[tokio::test]
async fn any_role_can_be_assumed() {
    let account = Account::open().await;
    let call = async |members: &[(&str, &str)]| {
        let form: BTreeMap<_, _> = members.iter().copied().chain([("Version", "2011-06-15")]).collect();
        let body: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let response = reqwest::Client::new().post(&account.url).body(body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (status, body) = call(&[
        ("Action", "AssumeRole"),
        ("RoleArn", "arn:aws:iam::210987654321:role/reader"),
        ("RoleSessionName", "trainspotter"),
    ])
    .await;
    assert_eq!(status, 200);
    assert!(body.contains("arn:aws:sts::210987654321:assumed-role/reader/trainspotter"), "{body}");
    assert!(call(&[("Action", "GetCallerIdentity")]).await.1.contains("<Account>123456789012</Account>"));
    assert_eq!(call(&[("Action", "AssumeRole"), ("RoleArn", "me"), ("RoleSessionName", "x")]).await.0, 400);
}
