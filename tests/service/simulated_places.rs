//! `simulate --place`: several accounts and regions on one port, from the command line.

use crate::support;

use std::process::Stdio;

use serde_json::{Value, json};

use support::http;
use support::process::{listening, trainspotter};

const PLACES: [&str; 4] = ["--place", "111122223333/us-east-1", "--place", "444455556666/eu-west-1"];

#[tokio::test]
async fn several_accounts_and_regions_are_served_by_command() {
    let more = ["--refuse-roles-of", "444455556666", "--session-lasts", "15m", "--for", "30m"];
    let arguments = [&["simulate", "--listen", "127.0.0.1:0"][..], &PLACES, &more].concat();
    let (_simulator, endpoint) = listening(trainspotter(&arguments).stderr(Stdio::piped()).spawn().unwrap()).await;
    let get =
        async |path: &str| -> Value { http::get(format!("{endpoint}{path}")).await.unwrap().json().await.unwrap() };
    let shown = get("/_sim/accounts").await;
    let rows: Vec<_> = shown["accounts"].as_array().unwrap().iter().collect();
    let of = |row: &Value| (row["account"].clone(), row["region"].clone(), row["refuse"].clone());
    let expected = [
        (json!("111122223333"), json!("us-east-1"), json!(false)),
        (json!("444455556666"), json!("eu-west-1"), json!(true)),
    ];
    assert_eq!(rows.into_iter().map(of).collect::<Vec<_>>(), expected);
    let [one, other] = ["account=111122223333", "account=444455556666&region=eu-west-1"];
    let (one, other) = (get(&format!("/_sim/truth?{one}")).await, get(&format!("/_sim/truth?{other}")).await);
    assert!(!one["queues"].as_array().unwrap().is_empty() && one != other, "each has jobs of its own");
}

#[tokio::test]
async fn places_that_are_none_are_refused() {
    for (more, problem) in [
        (&["--place", "1/us-east-1"][..], "1"),
        (&["--place", "111122223333"], "ACCOUNT/REGION"),
        (&["--place", "111122223333/us-esat-1"], "us-esat-1"),
        (&["--place", "111122223333/us-east-1"], "is there twice"),
        (&["--refuse-roles-of", "777788889999"], "there is no account 777788889999"),
        (&["--session-lasts", "0s"], "at least 1s"),
    ] {
        let arguments = [&["simulate", "--listen", "127.0.0.1:0", "--for", "1s"][..], &PLACES, more].concat();
        let output = trainspotter(&arguments).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{more:?}: {said}");
        assert!(said.contains(problem), "{more:?}: {said}");
    }
    let alone = trainspotter(&["simulate", "--session-lasts", "15m"]).output().await.unwrap();
    assert_eq!(alone.status.code(), Some(64), "without places there are no roles of theirs");
}
