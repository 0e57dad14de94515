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

use crate::tests::fixture::Account;
use crate::tests::fixture::client;

/// An HTTP subscriber on a free port: its URL, and the messages it receives.
async fn subscriber() -> (String, mpsc::Receiver<(HeaderMap, Value)>) {
    let (reported, heard) = mpsc::channel(8);
    let hear = move |headers: HeaderMap, body: String| async move {
        reported.send((headers, serde_json::from_str(&body).unwrap())).await.unwrap();
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
    let (headers, body) = tokio::time::timeout(Duration::from_secs(300), heard.recv()).await.unwrap().unwrap();
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

#[tokio::test]
async fn topics_and_subscriptions_come_and_go() {
    let account = Account::open().await;
    let sns = client!(aws_sdk_sns, account);
    let topic = sns.create_topic().name("alerts").send().await.unwrap().topic_arn.unwrap();
    let sqs = "arn:aws:sqs:us-east-1:123456789012:inbox";
    let subscribe = || sns.subscribe().topic_arn(&topic).protocol("sqs").endpoint(sqs).send();
    let subscription = subscribe().await.unwrap().subscription_arn.unwrap();
    assert_eq!(subscribe().await.unwrap().subscription_arn.as_ref(), Some(&subscription), "the same again");
    let attributes = sns.get_topic_attributes().topic_arn(&topic).send().await.unwrap().attributes.unwrap();
    assert_eq!(attributes["SubscriptionsConfirmed"], "1");
    let listed = sns.list_subscriptions_by_topic().topic_arn(&topic).send().await.unwrap();
    assert_eq!(listed.subscriptions()[0].endpoint(), Some(sqs));
    assert_eq!(sns.list_subscriptions().send().await.unwrap().subscriptions().len(), 1);
    let set = |name: &str| sns.set_subscription_attributes().subscription_arn(&subscription).attribute_name(name);
    set("RawMessageDelivery").attribute_value("true").send().await.unwrap();
    assert_eq!(set("Colour").send().await.unwrap_err().code(), Some("InvalidParameter"));
    let shown = sns.get_subscription_attributes().subscription_arn(&subscription).send().await.unwrap();
    assert_eq!(shown.attributes().unwrap()["RawMessageDelivery"], "true");
    sns.unsubscribe().subscription_arn(&subscription).send().await.unwrap();
    let error = sns.get_subscription_attributes().subscription_arn(&subscription).send().await.unwrap_err();
    assert!(error.as_service_error().unwrap().is_not_found_exception());

    sns.set_topic_attributes()
        .topic_arn(&topic)
        .attribute_name("MaximumMessageSize")
        .attribute_value("2048")
        .send()
        .await
        .unwrap();
    let long = sns.publish().topic_arn(&topic).message("m".repeat(2_049)).send().await.unwrap_err();
    assert_eq!(long.code(), Some("InvalidParameter"));
    assert_eq!(sns.list_topics().send().await.unwrap().topics().len(), 1);
    sns.delete_topic().topic_arn(&topic).send().await.unwrap();
    assert_eq!(sns.list_topics().send().await.unwrap().topics().len(), 0);
}

#[tokio::test]
async fn a_batch_fails_message_by_message() {
    use aws_sdk_sns::types::PublishBatchRequestEntry;
    let account = Account::open().await;
    let sns = client!(aws_sdk_sns, account);
    let topic = sns.create_topic().name("alerts").send().await.unwrap().topic_arn.unwrap();
    let entry = |id: &str, message: &str| PublishBatchRequestEntry::builder().id(id).message(message).build().unwrap();
    let publish =
        |entries: Vec<_>| sns.publish_batch().topic_arn(&topic).set_publish_batch_request_entries(Some(entries)).send();
    let structured = PublishBatchRequestEntry::builder().id("c").message("{}").message_structure("json");
    let answer = publish(vec![entry("a", "1"), entry("b", ""), structured.build().unwrap()]).await.unwrap();
    assert_eq!(answer.successful().iter().map(|one| one.id().unwrap()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(
        answer.failed().iter().map(|one| (one.id(), one.sender_fault())).collect::<Vec<_>>(),
        [("b", true), ("c", true)]
    );
    assert_eq!(account.sim("truth").await["published"]["sns_messages"], 1);
    let many = (0..11).map(|n| entry(&n.to_string(), "m")).collect();
    let cases = [
        (many, "TooManyEntriesInBatchRequest"),
        (Vec::new(), "EmptyBatchRequest"),
        (vec![entry("a", "1"), entry("a", "2")], "BatchEntryIdsNotDistinct"),
        (vec![entry("a b", "1")], "InvalidBatchEntryId"),
        (vec![entry("a", &"m".repeat(200_000)), entry("b", &"m".repeat(100_000))], "BatchRequestTooLong"),
    ];
    for (entries, code) in cases {
        assert_eq!(publish(entries).await.unwrap_err().code(), Some(code));
    }
}

/// The STS client is not a direct dependency, so these calls are built by hand.
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
    assert_eq!(call(&[("Action", "AssumeRole"), ("RoleArn", "me"), ("RoleSessionName", "xyz")]).await.0, 400);
}
