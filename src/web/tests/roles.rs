//! Authorization: every route with every kind of token, requests from other sites, and what acting requires beside
//! a token.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::notify::outbox::{OutboxRow, RowState};
use crate::notify::sample_alerts;
use crate::web::page::SCRIPTED_PAGES;
use crate::web::tests::{Answer, Server, fixture_snapshot};
use crate::web::{Access, NotificationPage, Operation, Refusal, TestResult, Token, openapi_document};
use trainspotter_core::rules::TransitionKind;

const READ: &str = "read-token-of-bo-0001";
pub(super) const OPERATE: &str = "operate-token-of-ann-1";
const WRONG: &str = "a-token-of-nobody-0001";

/// Pretends to perform everything: id 1 is expired, id 9 does not exist.
pub(super) async fn operate(mut asked: mpsc::Receiver<Operation>) {
    while let Some(operation) = asked.recv().await {
        match operation {
            Operation::ListSilences { reply } => drop(reply.send(Ok(fixture_snapshot::silences()))),
            Operation::AddSilence { silence, reply, .. } => drop(reply.send(Ok(silence))),
            Operation::EndSilence { id, author, reply } => drop(reply.send(match id {
                2 => Ok(crate::notify::silence::Silence {
                    author,
                    ends_at: fixture_snapshot::now(),
                    ..fixture_snapshot::silences()[1].clone()
                }),
                1 => Err(Refusal::Conflict("silence 1 has ended".to_owned())),
                _ => Err(Refusal::NotFound("there is no such silence".to_owned())),
            })),
            Operation::ListOutbox { filter, reply } => {
                let notifications = filter.alert.iter().flat_map(|_| sent()).map(Into::into).collect();
                drop(reply.send(Ok(NotificationPage { notifications, next: None })));
            }
            Operation::ChangeOutbox { ids, reply, .. } => drop(reply.send(Ok(ids.len()))),
            Operation::Test { test, author, reply } => {
                let receiver = test.receiver.unwrap_or_default();
                let (sample, answer) = ("firing".to_owned(), format!("for {author}"));
                let result = TestResult { receiver, sample, delivered: true, answer, after_seconds: 0.0 };
                drop(reply.send(Ok(vec![result])));
            }
        }
    }
}

/// Notifications of an alert: one receiver accepted it, another does not respond.
fn sent() -> [OutboxRow; 2] {
    let to = |receiver: &str| OutboxRow {
        receiver: receiver.to_owned(),
        created_at: fixture_snapshot::ago(7_200),
        attempts: 1,
        ..sample_alerts::row(TransitionKind::Fired)
    };
    let stuck = OutboxRow {
        attempts: 9,
        next_attempt_at: fixture_snapshot::now() + std::time::Duration::from_secs(120),
        last_error: Some("503 Service Unavailable".to_owned()),
        ..to("oncall")
    };
    [OutboxRow { state: RowState::Delivered { at: fixture_snapshot::ago(7_198) }, ..to("slack") }, stuck]
}

fn access(tokens: &[Known<'_>]) -> Access {
    Access::new(tokens.iter().map(|(name, token, may_operate)| Token::new(name, token, *may_operate)))
}

/// Every documented route: method, an existing path, a valid body, and whether it acts.
pub(super) fn routes() -> Vec<(String, String, &'static str, bool)> {
    let document: Value = serde_json::from_str(openapi_document()).unwrap();
    let mut found = Vec::new();
    for (template, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let method = method.to_ascii_uppercase();
            let id = if template.contains("/silences/") { "2" } else { "job-nightly" };
            let path = if template.starts_with("/api/v1/alerts/{id}") {
                template.replace("{id}", fixture_snapshot::snapshot().alerts[1].id.as_str())
            } else {
                template.replace("{id}", id)
            };
            let (path, body) = match path.as_str() {
                "/api/v1/histories" => (format!("{path}?metrics=queue.wait"), ""),
                "/api/v1/history" => (format!("{path}?metric=queue.wait"), ""),
                "/api/v1/when" => (format!("{path}?queue=research&type=ml.p5.48xlarge"), ""),
                "/api/v1/what-if" => (format!("{path}?set=queue.research.capacity%3D%2B4"), ""),
                "/api/v1/silences" => (path, r#"{"matchers":["queue=a"],"duration_seconds":60,"comment":"c"}"#),
                "/api/v1/outbox/drop" => (path, r#"{"ids":["0a"]}"#),
                "/api/v1/notifications/test" => (path, r#"{"receiver":"oncall"}"#),
                _ => (path, "{}"),
            };
            let acts = !["GET", "HEAD"].contains(&method.as_str());
            found.push((method, path, if acts { body } else { "" }, acts));
        }
    }
    assert!(found.len() >= 27 && found.iter().filter(|(.., acts)| *acts).count() >= 5, "{found:?}");
    found
}

/// Every page, as a route.
pub(super) fn pages() -> Vec<(String, String, &'static str, bool)> {
    let scripted = SCRIPTED_PAGES.map(|(path, ..)| path);
    let paths = scripted.iter().chain(&["/runbooks", "/runbooks/LongWait"]);
    let fill =
        |path: &str| ["{id}", "{queue}", "{share}"].iter().fold(path.to_owned(), |path, name| path.replace(name, "a"));
    paths.map(|path| ("GET".to_owned(), fill(path), "", false)).collect()
}

async fn asked(server: &Server, route: &(String, String, &'static str, bool), token: Option<&str>) -> Answer {
    let (method, path, body, _) = route;
    let token = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
    let headers = format!("{token}content-type: application/json\r\n");
    server.send_with("localhost", method, path, &headers, body).await
}

/// A token by its role, and the status of each kind of route with it.
type Row = (Option<&'static str>, [u16; 3]);

/// A configured token: name, text, and whether it may operate.
type Known<'a> = (&'a str, &'a str, bool);

#[tokio::test]
async fn every_route_answers_only_permitted_callers() {
    let (reader, operator) = (("bo", READ, false), ("ann", OPERATE, true));
    // Status of probes, reads and acts: without a token, with a reading, an operating and a wrong one.
    let table: [(&[Known<'_>], [Row; 4]); 4] = [
        (
            &[],
            [
                (None, [200, 200, 403]),
                (Some(READ), [200, 200, 403]),
                (Some(OPERATE), [200, 200, 403]),
                (Some(WRONG), [200, 200, 403]),
            ],
        ),
        (
            &[reader],
            [
                (None, [200, 401, 401]),
                (Some(READ), [200, 200, 403]),
                (Some(OPERATE), [200, 401, 401]),
                (Some(WRONG), [200, 401, 401]),
            ],
        ),
        (
            &[operator],
            [
                (None, [200, 200, 401]),
                (Some(READ), [200, 401, 401]),
                (Some(OPERATE), [200, 200, 200]),
                (Some(WRONG), [200, 401, 401]),
            ],
        ),
        (
            &[reader, operator],
            [
                (None, [200, 401, 401]),
                (Some(READ), [200, 200, 403]),
                (Some(OPERATE), [200, 200, 200]),
                (Some(WRONG), [200, 401, 401]),
            ],
        ),
    ];
    let mut pages = pages();
    pages.extend(routes());
    for (tokens, rows) in table {
        for (token, [probes, reads, acts]) in rows {
            for route in &pages {
                // A separate server each, so that wrong tokens do not use up the address's budget.
                let server = Server::with_tokens(access(tokens), None).await;
                let answer = asked(&server, route, token).await;
                let expected = match (route.1.as_str(), route.3) {
                    ("/healthz" | "/readyz", _) => probes,
                    (_, false) => reads,
                    (_, true) => acts,
                };
                let status = if answer.status == 201 { 200 } else { answer.status };
                assert_eq!(status, expected, "{tokens:?} {token:?} {route:?}: {}", answer.text());
                let sent = String::from_utf8_lossy(&answer.body).into_owned() + &answer.head;
                assert!(![READ, OPERATE, WRONG].iter().any(|token| sent.contains(token)), "a token is shown: {sent}");
                assert_eq!(answer.has("www-authenticate: bearer"), [401, 403].contains(&status), "{}", answer.head);
                assert!(!answer.has("set-cookie"), "{}", answer.head);
                if status != 200 {
                    assert!(!answer.error_code().is_empty());
                }
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_has_advice() {
    let server = Server::start().await;
    let answer = asked(&server, &routes().into_iter().find(|route| route.3).unwrap(), None).await;
    assert_eq!(answer.error_code(), "may_not_act");
    assert!(answer.text().contains("may: operate") && answer.text().contains("tokens: ["), "{}", answer.text());
    let server = Server::with_tokens(access(&[("bo", READ, false)]), None).await;
    let wrong = server.send("GET", "/api/v1/queues", "authorization: Bearer nothing\r\n").await;
    assert!(
        wrong.error_code() == "wrong_token"
            && wrong.has("www-authenticate: bearer realm=\"trainspotter\", error=\"invalid_token\"")
    );
    let none = server.get("/metrics").await;
    assert!(none.error_code() == "token_needed" && none.text().contains("Authorization: Bearer"), "{}", none.text());
    for never in ["?access_token=", "?token="] {
        assert_eq!(server.get(&format!("/api/v1/queues{never}{READ}")).await.status, 401, "a token in an address");
    }
    let basic = server.send("GET", "/api/v1/queues", "authorization: Basic Ym86cmVhZA==\r\n").await;
    assert_eq!(basic.status, 401);
    let twice = format!("authorization: Bearer {READ}\r\nauthorization: Bearer {READ}\r\n");
    assert_eq!(server.send("GET", "/api/v1/queues", &twice).await.status, 400);
    assert_eq!(server.send("GET", "/api/v1/queues", &format!("AUTHORIZATION: bearer {READ}\r\n")).await.status, 200);
    assert_eq!(server.get("/nothing").await.status, 401, "nor is it said what is there");
}

#[tokio::test]
async fn wrong_tokens_of_an_address_have_a_budget() {
    let server = Server::with_tokens(access(&[("bo", READ, false)]), None).await;
    let ask =
        async |token: &str| server.send("GET", "/api/v1/queues", &format!("authorization: Bearer {token}\r\n")).await;
    let mut statuses = BTreeMap::<u16, u32>::new();
    for number in 0..60 {
        *statuses.entry(ask(&format!("{WRONG}{number}")).await.status).or_default() += 1;
    }
    assert!(statuses[&401] >= 20 && statuses[&429] >= 20, "{statuses:?}");
    let refused = ask(READ).await;
    assert_eq!((refused.status, &*refused.error_code()), (429, "too_many_attempts"), "nor is the right one looked at");
    assert!(refused.has("retry-after: "), "{}", refused.head);
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(server.get("/api/v1/queues").await.status, 401, "who sends none has guessed at none");
}

#[tokio::test]
async fn a_page_of_another_site_does_nothing_for_anybody() {
    let server = Server::with_tokens(access(&[("ann", OPERATE, true)]), Some("https://ops.example.com/spot")).await;
    let act = async |host: &str, more: &str| {
        let headers = format!("authorization: Bearer {OPERATE}\r\ncontent-type: application/json\r\n{more}");
        server.send_with(host, "POST", "/api/v1/silences/2/end", &headers, "{}").await
    };
    for more in [
        "",
        "origin: http://localhost:9464\r\n",
        "origin: http://LOCALHOST:9464\r\nsec-fetch-site: same-origin\r\n",
        "origin: https://ops.example.com\r\n",
        "sec-fetch-site: none\r\n",
    ] {
        assert_eq!(act("localhost:9464", more).await.status, 200, "{more}");
    }
    for more in [
        "origin: http://evil.example\r\n",
        "origin: http://localhost:3000\r\n",
        "origin: https://localhost:9464.evil.example\r\n",
        "origin: null\r\n",
        "origin: \r\n",
        "origin: http://localhost:9464\r\norigin: http://evil.example\r\n",
        "sec-fetch-site: cross-site\r\n",
        "sec-fetch-site: same-site\r\n",
    ] {
        let answer = act("localhost:9464", more).await;
        assert_eq!((answer.status, &*answer.error_code()), (403, "forbidden_origin"), "{more}");
        if more.starts_with("origin") {
            let read = server.send_to("localhost:9464", "GET", "/api/v1/queues", more).await;
            assert_eq!(read.status, 403, "nor reads: {more}");
        }
    }
    assert_eq!(act("evil.example", "origin: http://evil.example\r\n").await.error_code(), "forbidden_host");
    for (method, path, body, _) in pages().into_iter().chain(routes()) {
        let headers = format!(
            "authorization: Bearer {OPERATE}\r\ncontent-type: application/json\r\norigin: http://evil.example\r\n"
        );
        let answer = server.send_with("localhost:9464", &method, &path, &headers, body).await;
        assert_eq!((answer.status, &*answer.error_code()), (403, "forbidden_origin"), "{method} {path}");
    }
    assert_eq!(act("ops.example.com", "origin: https://ops.example.com\r\n").await.status, 200);
    let preflight = "origin: http://evil.example\r\naccess-control-request-method: POST\r\n";
    let answer = server.send_to("localhost", "OPTIONS", "/api/v1/silences", preflight).await;
    assert!(answer.status == 403 && !answer.has("access-control"), "{}", answer.head);
}

/// Invalid acting requests: path, body, status, and part of the message.
const MISTAKES: &[(&str, &str, u16, &str)] = &[
    ("silences", "{", 400, "not JSON"),
    ("silences", "[]", 422, "must be a JSON object"),
    ("silences", "{}", 422, "missing field `matchers`"),
    ("silences", r#"{"matchers":[],"duration_seconds":60,"comment":"c"}"#, 422, "at least one is required"),
    ("silences", r#"{"matchers":["a=b"],"duration_seconds":60,"comment":" "}"#, 422, "comment: a reason of"),
    ("silences", r#"{"matchers":["a=b"],"comment":"c"}"#, 422, "either duration_seconds or ends_at"),
    (
        "silences",
        r#"{"matchers":["a=b"],"duration_seconds":60,"ends_at":"2026-03-01T13:00:00Z","comment":"c"}"#,
        422,
        "either",
    ),
    ("silences", r#"{"matchers":["a=b"],"duration_seconds":-1,"comment":"c"}"#, 422, "above 0"),
    ("silences", r#"{"matchers":["a=b"],"duration_seconds":0,"comment":"c"}"#, 422, "must be in the future"),
    ("silences", r#"{"matchers":["a=b"],"duration_seconds":1e300,"comment":"c"}"#, 422, "366 days"),
    (
        "silences",
        r#"{"matchers":["a=b"],"ends_at":"2026-03-01T11:00:00Z","comment":"c"}"#,
        422,
        "must be in the future",
    ),
    ("silences", r#"{"matchers":["a=b"],"ends_at":"tomorrow","comment":"c"}"#, 422, "ends_at: "),
    ("silences", r#"{"matchers":["a"],"duration_seconds":60,"comment":"c"}"#, 422, "matchers: "),
    (
        "silences",
        r#"{"matchers":["a=b"],"duration_seconds":60,"comment":"c","author":"bo"}"#,
        422,
        "unknown field `author`",
    ),
    ("silences/9/end", "{}", 404, "no such silence"),
    ("silences/1/end", "", 409, "has ended"),
    ("silences/x/end", "{}", 404, "whole numbers"),
    ("outbox/drop", "{}", 422, "are required"),
    ("outbox/drop", r#"{"ids":[""]}"#, 422, "beginnings of ids"),
    ("outbox/retry", r#"{"ids":"0a"}"#, 422, "ids: "),
    ("notifications/test", "{}", 422, "either receiver or rule"),
    ("notifications/test", r#"{"receiver":"a","rule":"b"}"#, 422, "either receiver or rule"),
    ("notifications/test", r#"{"receiver":"a","labels":{"queue":"b"}}"#, 422, "go with rule"),
];

#[tokio::test]
async fn an_act_is_json_and_makes_sense() {
    let server = Server::with_tokens(access(&[("ann", OPERATE, true)]), None).await;
    let post = async |path: &str, kind: &str, body: &str| {
        let headers = format!("authorization: Bearer {OPERATE}\r\n{kind}");
        server.send_with("localhost", "POST", path, &headers, body).await
    };
    let json = "content-type: application/json; charset=utf-8\r\n";
    for kind in [
        "",
        "content-type: text/plain\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        "content-type: application/jsonp\r\n",
    ] {
        let answer = post("/api/v1/outbox/retry", kind, "{}").await;
        assert_eq!((answer.status, &*answer.error_code()), (415, "not_json"), "{kind}");
    }
    for (path, body, status, says) in MISTAKES.iter().copied() {
        let answer = post(&format!("/api/v1/{path}"), json, body).await;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text());
        assert!(answer.text().replace("\\\"", "\"").contains(says), "{path} {body}: {}", answer.text());
    }
    let large = format!("{{\"comment\":\"{}\"}}", "x".repeat(20_000));
    assert_eq!(post("/api/v1/silences", json, &large).await.status, 413);
    let added = post(
        "/api/v1/silences",
        json,
        r#"{"matchers":["queue=prod-*,severity!=page"],"duration_seconds":7200,"comment":"c"}"#,
    )
    .await;
    assert_eq!(added.status, 201);
    let mut added = added.json();
    let times = ["starts_at", "ends_at"].map(|key| added[key].take());
    let [from, to] = times.map(|time| serde_json::from_value::<trainspotter_core::model::Timestamp>(time).unwrap());
    assert_eq!(to.seconds_since(from), 7_200.0);
    let matchers = ["queue=prod-*", "severity!=page"];
    let expected = json!({ "id": 0, "state": "active", "matchers": matchers, "starts_at": null, "ends_at": null, "author": "ann", "comment": "c" });
    assert_eq!(added, expected);
    let tested = post("/api/v1/notifications/test", json, r#"{"receiver":"oncall"}"#).await.json();
    assert_eq!(tested[0]["answer"], "for ann", "the author is the name of the token");
}

#[tokio::test]
async fn silences_are_listed_and_shown_with_their_alerts() {
    let server = Server::start().await;
    let listed = server.get("/api/v1/silences?state=active").await.json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &json!(2)));
    assert_eq!(server.get("/api/v1/silences?state=over").await.json()[0]["state"], "over");
    for wrong in [
        "silences?state=soon",
        "silences?sate=over",
        "outbox?state=lost",
        "outbox?limit=0",
        "outbox?x=1",
        "outbox?after=x",
        "outbox?id=1&id=2",
    ] {
        assert_eq!(server.get(&format!("/api/v1/{wrong}")).await.status, 400, "{wrong}");
    }
    let alerts = server.get("/api/v1/alerts").await.json();
    let of_share =
        |share: &str| alerts.as_array().unwrap().iter().find(|alert| alert["labels"]["share"] == share).unwrap();
    let silence = json!({ "id": 2, "ends_at": "2026-03-01T13:00:00Z", "author": "ann", "comment": "maintenance" });
    assert_eq!(
        (&of_share("audio")["silences"], &of_share("audio")["silenced_until"]),
        (&json!([silence]), &json!("2026-03-01T13:00:00Z"))
    );
    assert_eq!(
        (&of_share("language")["silences"], &of_share("language")["silenced_until"]),
        (&json!([]), &Value::Null)
    );
}

#[tokio::test]
async fn a_browser_is_asked_for_a_token_where_a_page_needs_one() {
    let server = Server::with_tokens(access(&[("bo", READ, false)]), None).await;
    for (path, root) in [("/", ""), ("/runbooks/LongWait", "../"), ("/nothing/at/all", "../../")] {
        let answer = server.send("GET", path, "accept: text/html,*/*\r\n").await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.has("content-type: text/html") && answer.has("www-authenticate: bearer"), "{}", answer.head);
        assert!(answer.text().contains(&format!("src=\"{root}assets/sign_in.js\"")), "{}", answer.text());
    }
    for path in ["/assets/sign_in.js", "/assets/token.js", "/assets/page.css", "/favicon.svg"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    for path in ["/api/v1/queues", "/metrics"] {
        let answer = server.send("GET", path, "accept: text/html\r\n").await;
        assert_eq!((answer.status, &*answer.error_code()), (401, "token_needed"), "{path}");
    }
    for script in ["token", "sign_in"] {
        let text = server.get(&format!("/assets/{script}.js")).await.text().to_owned();
        for forbidden in ["innerHTML", "outerHTML", "document.write", "eval(", "http", "cookie", "localStorage"] {
            assert!(!text.contains(forbidden), "{script}.js uses {forbidden}");
        }
    }
}
