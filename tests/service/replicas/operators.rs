//! What an operator does while replicas follow and take over: only the leader changes anything, and what it changed
//! lasts.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{PATIENCE, Replica, World};
use crate::support::http;

const TOKEN: &str = "a-token-that-may-operate";

async fn replica(world: &World, name: &str) -> Replica {
    let operate = |settings: &mut Value| {
        settings["api"] = json!({ "tokens": [{ "name": "ann", "token": TOKEN, "may": "operate" }] });
    };
    world.replica_with(name, operate, &[]).await
}

/// Sends a request that changes something. Returns status and body.
async fn post(replica: &Replica, path: &str, body: Value) -> (u16, Value) {
    let request = http::client().post(format!("{}{path}", replica.page)).bearer_auth(TOKEN).json(&body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn silences(replica: &Replica) -> Value {
    http::get(format!("{}/api/v1/silences", replica.page)).await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_refers_to_the_leader_and_what_the_leader_changed_lasts() {
    let world = World::start().await;
    let mut first = replica(&world, "first").await;
    first.leads().await;
    let second = replica(&world, "second").await;
    second.follows().await;
    let silence = json!({ "matchers": ["alertname=Runs"], "duration_seconds": 3_600, "comment": "maintenance" });
    let is_referred = async |path: &str, body: Value| {
        let (status, said) = post(&second, path, body).await;
        assert_eq!((status, &said["error"]["code"]), (503, &json!("unavailable")), "{path}: {said}");
        let message = said["error"]["message"].as_str().unwrap();
        assert!(message.contains("repeat the request at the leader"), "{path}: {message}");
    };
    is_referred("/api/v1/silences", silence.clone()).await;
    is_referred("/api/v1/outbox/retry", json!({})).await;
    assert_eq!(silences(&first).await, json!([]));
    let (status, added) = post(&first, "/api/v1/silences", silence.clone()).await;
    assert!((200..300).contains(&status), "{status}: {added}");
    let end = format!("/api/v1/silences/{}/end", added["id"]);
    until_listed(&second, 1).await;
    is_referred(&end, json!({})).await;

    // A kill right after the response.
    let (status, other) = post(&first, "/api/v1/silences", silence).await;
    assert!((200..300).contains(&status), "{status}: {other}");
    first.process.kill().await.unwrap();
    second.leads().await;
    until_listed(&second, 2).await;
    assert!(silences(&second).await.as_array().unwrap().iter().all(|silence| silence["author"] == "ann"));
    let (status, ended) = post(&second, &end, json!({})).await;
    assert!((200..300).contains(&status), "{status}: {ended}");
}

/// Waits until a replica lists so many silences.
async fn until_listed(replica: &Replica, count: usize) {
    let waiting = async {
        while silences(replica).await.as_array().unwrap().len() != count {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "not {count} silences: {}", silences(replica).await);
}
