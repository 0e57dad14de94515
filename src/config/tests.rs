//! A configuration is either accepted, or every error is reported.

mod archive_and_reports;
mod rule_locations;
mod secrets;

use super::*;
use crate::mutated_inputs::try_mutated;

fn load_with(text: &str) -> Result<Config, Problems> {
    let environment =
        |name: &str| (name == "CHAT_WEBHOOK_URL").then(|| "https://chat.example/hook?token=s3cret".to_owned());
    load("trainspotter.yaml", text, Path::new("/etc/trainspotter"), &environment)
}

#[test]
fn the_least_file_names_a_region() {
    let config = load_with("targets: [{ region: us-east-1 }]\n").unwrap();
    assert_eq!(config.targets[0].queues, ["*"]);
    assert_eq!(config.poll.every, Duration::from_secs(30));
    assert_eq!(config.store, Path::new("/etc/trainspotter/trainspotter.db"));
    assert!(config.listen.ip().is_loopback());
}

#[test]
fn a_price_is_of_a_known_type_and_a_number() {
    let prices = |text: &str| load_with(&format!("targets: [{{ region: us-east-1 }}]\nprices:\n  {text}\n"));
    assert_eq!(prices("ml.p5.48xlarge: 98.32").unwrap().prices["ml.p5.48xlarge"], 98.32);
    for (text, message) in [("p5.48xlarge: 98.32", "begin with ml."), ("ml.p5.48xlarge: -1", "is not a price")] {
        let problems = prices(text).unwrap_err();
        let found: Vec<_> = problems.iter().collect();
        assert!(matches!(found.as_slice(), [(3, _, what)] if what.contains(message)), "{found:?}");
    }
    // The error shows the key; anything unlike an instance type may be a secret and is masked.
    for key in ["p5.48xlarge", "ml.p5.48xlagre", "trn1n.32xlarge", "p6e-gb200.36xlarge"] {
        assert!(prices(&format!("{key}: 3")).unwrap_err().to_string().contains(&format!(" {key}: 3")), "{key}");
    }
    let problems = prices("hunter2hunter2hunter2.secret: 3").unwrap_err().to_string();
    assert!(!problems.contains("hunter2"), "{problems}");
}

#[test]
fn a_priority_band_has_a_name_and_begins_at_a_priority_of_its_own() {
    let bands = |text: &str| load_with(&format!("targets: [{{ region: us-east-1 }}]\npriority_bands: {text}\n"));
    let names = bands("{ urgent: 1000, batch: 0 }").unwrap().priority_bands;
    assert_eq!(names.names().map(|name| &**name).collect::<Vec<_>>(), ["batch", "urgent", "other"]);
    for (text, message) in [
        ("{ other: 0 }", "other than `other`"),
        ("{ batch: -1 }", "from 0 to 9999"),
        ("{ batch: 5, bulk: 5 }", "the same priority as `batch`"),
        ("{ a: 0, b: 1, c: 2, d: 3, e: 4, f: 5, g: 6, h: 7, i: 8, j: 9, k: 10 }", "10 bands at most"),
    ] {
        let problems = bands(text).unwrap_err();
        let found: Vec<_> = problems.iter().collect();
        assert!(matches!(found.as_slice(), [(2, _, what)] if what.contains(message)), "{found:?}");
    }
}

#[test]
fn every_mistake_of_every_kind_is_reported_at_once() {
    let text = "\
targets:
  - region: virginia
poll: { every: 1s, calls_per_second: five }
publish: { cloudwatch: { namspace: ML } }
receivers:
  - { name: chat, webhook: { url: \"http://169.254.170.2/v2\" } }
  - { name: chat, sns: { topic: alerts } }
listen: everywhere
";
    insta::assert_snapshot!(load_with(text).unwrap_err(), @r#"
    error: `virginia` is not a region; write it like us-east-1
     --> trainspotter.yaml:2:13
      |
    2 |   - region: virginia
      |             ^^^^^^^^

    error: must be at least 5s
     --> trainspotter.yaml:3:16
      |
    3 | poll: { every: 1s, calls_per_second: five }
      |                ^^

    error: invalid type: a string, expected a number
     --> trainspotter.yaml:3:38
      |
    3 | poll: { every: 1s, calls_per_second: five }
      |                                      ^^^^

    error: unknown field `namspace`, expected one of `namespace`, `metrics`, `every`, `region`, `role`, `endpoint`, `account_and_region`, `budget`, `histograms`, `repeat_unchanged`; did you mean `namespace`?
     --> trainspotter.yaml:4:26
      |
    4 | publish: { cloudwatch: { namspace: ** } }
      |                          ^^^^^^^^

    error: requests to this address are refused: it is link-local, where metadata and credentials are served
     --> trainspotter.yaml:6:35
      |
    6 |   - { name: chat, webhook: { url: "http://169.254.170.2/v2" } }
      |                                   ^^^^^^^^^^^^^^^^^^^^^^^^^^

    error: another receiver is already named `chat`
     --> trainspotter.yaml:7:13
      |
    7 |   - { name: chat, sns: { topic: alerts } }
      |             ^^^^

    error: not the ARN of a topic; write it like arn:aws:sns:us-east-1:111122223333:name
     --> trainspotter.yaml:7:33
      |
    7 |   - { name: chat, sns: { topic: alerts } }
      |                                 ^^^^^^

    error: `everywhere` is not an address; write it like 127.0.0.1:9464
     --> trainspotter.yaml:8:9
      |
    8 | listen: everywhere
      |         ^^^^^^^^^^

    8 problems in trainspotter.yaml
    "#);
}

#[test]
fn nothing_that_is_called_may_be_where_credentials_are_served() {
    let target = "targets: [{ region: us-east-1 }]\n";
    let keys = [
        "targets: [{ region: us-east-1, endpoint: \"URL\" }]\n".to_owned(),
        "targets: [{ region: us-east-1, events: \"URL\" }]\n".to_owned(),
        format!("{target}publish: {{ otlp: [{{ endpoint: \"URL\" }}] }}\n"),
        format!("{target}publish: {{ otlp: [{{ endpoint: \"URL\", protocol: grpc }}] }}\n"),
        format!("{target}publish: {{ cloudwatch: {{ endpoint: \"URL\" }} }}\n"),
        format!("{target}traces: \"URL\"\n"),
        format!("{target}logs: \"URL\"\n"),
        format!("{target}receivers: [{{ name: a, webhook: {{ url: \"URL\" }} }}]\n"),
        format!("{target}receivers: [{{ name: a, slack: {{ url: \"URL\" }} }}]\n"),
        format!("{target}receivers: [{{ name: a, pagerduty: {{ url: \"URL\", routing_key: k }} }}]\n"),
        format!("{target}receivers: [{{ name: a, alertmanager: {{ url: \"URL\" }} }}]\n"),
        format!(
            "{target}receivers: [{{ name: a, sns: {{ topic: \"arn:aws:sns:us-east-1:111122223333:t\", endpoint: \"URL\" }} }}]\n"
        ),
    ];
    for text in keys {
        for host in [
            "169.254.169.254",
            "169.254.170.2",
            "[fd00:ec2::254]",
            "[::ffff:169.254.169.254]",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
        ] {
            let reported = load_with(&text.replace("URL", &format!("http://{host}/v2"))).unwrap_err().to_string();
            assert!(
                reported.contains("requests to this address are refused: it is link-local"),
                "{host} in {text}: {reported}"
            );
        }
        // An origin has no path, and a queue URL has its own form.
        let elsewhere = match &text {
            text if text.contains("events") => "https://sqs.us-east-1.amazonaws.com/111122223333/events",
            text if text.contains("otlp") && !text.contains("grpc") => "https://elsewhere.example/v2",
            text if text.contains("endpoint") || text.contains("traces") || text.contains("logs") => {
                "https://elsewhere.example"
            }
            _ => "https://elsewhere.example/v2",
        };
        load_with(&text.replace("URL", elsewhere)).unwrap();
    }
}

#[test]
fn what_means_nothing_is_refused_where_it_is_written() {
    let check = |text: &str, line: usize, why: &str| {
        let problems = load_with(text).map(|_| ()).unwrap_err();
        let found: Vec<_> = problems.iter().collect();
        assert!(found.iter().any(|(at, _, reported)| *at == line && reported.contains(why)), "{text}{found:?}");
    };
    let target = "targets: [{ region: us-east-1 }]\n";
    let more = |text: &str| format!("{target}{text}\n");
    check("targets: { region: us-east-1 }\n", 1, "expected a list, `targets: [{ region: us-east-1 }]`");
    check("targets: []\n", 1, "no targets; at least one");
    check("targets:\n", 1, "`targets` has no value");
    for (target, why) in [
        ("region: us-esat-1", "did you mean `us-east-1`?"),
        ("region: '${UNSET}'", "UNSET is not set"),
        ("region: us-east-1, role: 'arn:aws:iam::1234:role/x'", "`1234` is not an account"),
        ("region: us-east-1, queues: [prod/*]", "matches no queue"),
        ("region: us-east-1, queues: ['arn:aws:batch:us-east-1:111122223333:job-queue/a']", "matches no queue"),
        ("region: us-east-1, events: 'https://sqs.eu-west-1.amazonaws.com/111122223333/e'", "in eu-west-1"),
        ("region: us-east-1, endpoint: 'http://user:key@127.0.0.1:4566'", "no user, query or fragment"),
        ("region: us-east-1, quotas: { p5.48xlarge: L-0123ABCD }", "begin with ml."),
        ("region: us-east-1, events:", "`events` has no value"),
    ] {
        check(&format!("targets: [{{ {target} }}]\n"), 1, why);
    }
    for (text, why) in [
        ("poll: { every: 30M }", "`M` means months"),
        ("poll: { topology_every: 30d }", "at most 24h"),
        ("history: { keep: 1M }", "`M` means months"),
        ("prices: { ml.p5.48xlarge: 1e9 }", "is not a price"),
        ("shares: { show: ['a|b'] }", "no label value contains `|`"),
        ("publish: { cloudwatch: { namespace: 'ML!' } }", "is not allowed in a namespace"),
        ("publish: { cloudwatch: { metrics: prometheus } }", "`otlp`"),
        ("publish: { otlp: [{ endpoint: 'http://c:4318' }] }", "with http the complete URL is required"),
        ("publish: { otlp: [{ endpoint: 'http://c:4317/v1/metrics', protocol: grpc }] }", "must be an origin"),
        ("publish: { otlp: [{ endpoint: '${UNSET}' }] }", "UNSET is not set"),
        ("publish: { otlp: [{ endpoint: 'http://c/v1/metrics', headers: { authorization: $KEY } }] }", "write ${KEY}"),
        ("publish: { otlp: [{ endpoint: 'http://c/v1/metrics', headers: { 'my header': x } }] }", "name of a header"),
        ("external_url: 'https://ops.example/?a=b'", "no user, query or fragment"),
        ("external_url: '${UNSET}'", "UNSET is not set"),
        ("store: state/", "a file path is required"),
        ("store: ':memory:'", "no state would be stored there"),
        ("store: 'file:state.db?mode=ro'", "no state would be stored there"),
        ("store: s3://bucket/state.db", "no state would be stored there"),
        ("publish: { cloudwatch: }", "`cloudwatch` has no value"),
        ("external_url:", "`external_url` has no value"),
        ("priority_bands: { \"a\\nb\": 1 }", "this name contains U+000A"),
        ("receivers: [{ name: \"a\\u202Eb\", pagerduty: { routing_key: k } }]", "this name contains U+202E"),
        ("receivers: [{ name: a, pagerduty: { routing_key: k }, escalate: }]", "`escalate` has no value"),
        ("receivers: [{ name: a, webhook: { url: 'https://hooks.slack.com/services/T/B/x' } }]", "write `slack:"),
        ("receivers: [{ name: a, webhook: { url: 'https://events.pagerduty.com/v2/enqueue' } }]", "write `pagerduty:"),
        ("receivers: [{ name: a, alertmanager: { url: 'http://a:9093/api/v2/alerts' } }]", "base URL"),
        ("receivers: [{ name: a, alertmanager: { url: 'http://a:9093/#/alerts' } }]", "base URL"),
        ("receivers: [{ name: a, slack: { token: Bearer xoxb-1, channel: C1 } }]", "the token only"),
        ("rules: [a, a]", "given twice"),
        ("shares: { show: [a, b, a] }", "`a` is given twice"),
        ("poll: { every: 2m, topology_every: 1m }", "shorter than `every`"),
        ("poll: { every: 10m, reconcile_every: 5m }", "shorter than `every`"),
        (
            "publish: { otlp: [{ endpoint: 'http://c:4318/v1/metrics' }, { endpoint: 'http://c:4318/v1/metrics' }] }",
            "sent twice",
        ),
        ("receivers: [{ name: a, pagerduty: { routing_key: k }, repeat_interval: 31d }]", "must be at most 30d"),
        ("receivers: [{ name: a, pagerduty: { routing_key: k }, give_up_after: 60d }]", "must be at most 30d"),
        (
            "receivers: [{ name: a, pagerduty: { routing_key: k } }, { name: b, pagerduty: { routing_key: l }, escalate: { after: 31d, to: a } }]",
            "must be at most 30d",
        ),
        (
            "receivers: [{ name: a, webhook: { url: 'https://example.com/' }, group: { by: [queue, queue], wait: 1m } }]",
            "`queue` is given twice",
        ),
        (
            "inhibit: [{ when: { alertname: A }, mute: { alertname: B }, same: [queue, queue] }]",
            "`queue` is given twice",
        ),
        (
            "receivers: [{ name: a, webhook: { url: 'https://example.com/', secrets: [whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz, whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz] } }]",
            "duplicate secret",
        ),
        (
            "receivers: [{ name: a, pagerduty: { routing_key: k, url: 'https://events.eu.pagerduty.com' } }]",
            "the complete URL is required",
        ),
        ("receivers: [{ name: a, slack: { url: 'https://hooks.slack.com/triggers/T/1/x' } }]", "incoming webhook"),
        ("receivers: [{ name: a, slack: { url: 'https://hooks.slack.com/' } }]", "incoming webhook"),
        ("receivers: [{ name: a, slack: { token: xoxp-1, channel: C1 } }]", "a user's; use a bot token"),
        ("receivers: [{ name: a, slack: { token: xapp-1, channel: C1 } }]", "for an app's sockets"),
        ("receivers: [{ name: a, slack: { token: t, channel: 'https://x.slack.com/archives/C1' } }]", "not a channel"),
        ("receivers: [{ name: a, slack: { token: t, channel: '#' } }]", "not a channel"),
        ("prices: { ml.p99.large: 3 }", "`ml.p99.large` is not an instance type"),
        ("prices: { p5.48xlarge: 3 }", "did you mean `ml."),
        ("priority_bands: { '${BAND}': 1 }", "variables are not replaced here"),
        (
            "receivers: [{ name: '${NAME}', sns: { topic: 'arn:aws:sns:us-east-1:111122223333:a' } }]",
            "variables are not replaced here",
        ),
        ("receivers: [{ name: a, sns: { topic: 'arn:aws:sns:us-east-1:1234:a' } }]", "`1234` is not an account"),
        ("receivers: [{ name: a, sns: { topic: '${UNSET}' } }]", "UNSET is not set"),
        ("receivers: [{ name: a, pagerduty: { routing_key: $PAGERDUTY_KEY } }]", "write ${PAGERDUTY_KEY}"),
        ("receivers: [{ name: a, slack: { token: t, channel: '' } }]", "must not be empty"),
        (
            "receivers: [{ name: a, pagerduty: { routing_key: k }, match: { severity: 'page|critical' } }]",
            "severity=~\"page|critical\"",
        ),
        ("receivers: [{ name: a, pagerduty: { routing_key: k }, match: { severity: [page] } }]", "one glob"),
        (
            "receivers: [{ name: a, pagerduty: { routing_key: k }, match: ['severity=~\"(\"'] }]",
            "not a regular expression",
        ),
        ("inhibit: [{ when: { alertname: '=A' }, mute: { alertname: B } }]", "not an operator here"),
    ] {
        check(&more(text), 2, why);
    }
}

#[test]
fn a_health_check_needs_no_more_than_the_address() {
    let listen = |text: &str| listen_of("t.yaml", text, &|name| (name == "PORT").then(|| "8080".to_owned()));
    assert_eq!(listen("listen: 0.0.0.0:8080\nreceivers: [{ nme: x }]\n").unwrap().port(), 8080);
    assert_eq!(listen("listen: '127.0.0.1:${PORT}'\n").unwrap().port(), 8080);
    assert_eq!(listen("targets: []\n").unwrap().port(), 9464);
    assert!(listen("listen: here\n").unwrap_err().to_string().contains("is not an address"));
}

#[test]
fn what_looks_odd_and_is_right_is_taken() {
    for text in [
        "poll: { every: 10m }",
        "publish: { otlp: [{ endpoint: 'http://c:4318/v1/metrics' }, { endpoint: 'http://c:4318/v1/metrics', headers: { X-Scope-OrgID: b } }] }",
        "receivers: [{ name: a, slack: { token: xoxb-1, channel: '#ops' } }, { name: b, slack: { token: xoxe.xoxb-1, channel: ops } }]",
        "receivers: [{ name: a, pagerduty: { routing_key: k }, repeat_interval: 30d }]",
    ] {
        load_with(&format!("targets: [{{ region: us-east-1 }}]\n{text}\n"))
            .unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn an_external_url_keeps_its_path() {
    let config =
        load_with("targets: [{ region: us-east-1 }]\nexternal_url: https://ops.example.com/trainspotter/\n").unwrap();
    assert_eq!(config.external_url.as_deref(), Some("https://ops.example.com/trainspotter"));
}

#[test]
fn routing_that_cannot_be_meant_is_refused_where_it_is_written() {
    let text = "\
targets: [{ region: us-east-1 }]
receivers:
  - { name: a, sns: { topic: \"arn:aws:sns:us-east-1:111122223333:a\" }, escalate: { after: 5s, to: b }, repeat_interval: 1m, group: { wait: 2d } }
  - { name: c, slack: { token: t, channel: C1, owners: { ada: ada } }, escalate: { after: 30m, to: c } }
inhibit: [{ when: {}, mute: { alert: X } }]
";
    let reported = load_with(text).unwrap_err().to_string();
    for mistake in [
        "must be at least 1m",
        "there is no receiver `b`; known receivers: a, c",
        "must be at least 5m",
        "from 1s to 24h",
        "`ada` is not the id of a Slack user",
        "this is the receiver itself",
        "at least one label is required",
        "an alert's name is its label `alertname`",
    ] {
        assert!(reported.contains(mistake), "{mistake}: {reported}");
    }
}

#[test]
fn a_mutated_configuration_is_accepted_or_every_error_has_a_place() {
    let example = include_bytes!("../../config/trainspotter.example.yaml");
    let minimal = include_bytes!("../../config/minimal.yaml");
    let environment = |_: &str| Some("https://example.com/".to_owned());
    let tally = try_mutated("configurations", &[example, minimal], 500, |input| {
        let Ok(text) = str::from_utf8(input) else { return false };
        match load("trainspotter.yaml", text, Path::new("/etc/trainspotter"), &environment) {
            Ok(_) => true,
            Err(problems) => {
                let lines = text.lines().count() + 1;
                assert!(problems.iter().next().is_some(), "refused without an error");
                assert!(problems.iter().all(|(line, _, what)| line <= lines && !what.is_empty()), "{problems}");
                false
            }
        }
    });
    assert!(0 < tally.accepted && tally.accepted < tally.inputs || tally.inputs < 100, "{tally:?}");
}

#[test]
fn the_files_that_are_shipped_are_right_and_the_example_shows_every_key() {
    let read =
        |name: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap();
    for name in ["minimal.yaml", "trainspotter.example.yaml"] {
        let environment = |name: &str| match name {
            "READ_TOKEN" | "OPERATE_TOKEN" => Some(format!("0123456789-{name}").replace('_', "-")),
            name if name.starts_with("OTEL_") => None,
            _ => Some("https://example.com/".to_owned()),
        };
        load(name, &read(name), Path::new("config"), &environment).unwrap_or_else(|problems| panic!("{problems}"));
    }
    let example = read("trainspotter.example.yaml");
    let mut missing = Vec::new();
    keys(&schema(), &mut |key| {
        if !example.contains(&format!("{key}:")) {
            missing.push(key.to_owned());
        }
    });
    assert!(missing.is_empty(), "the example does not show {missing:?}");
}

/// Calls `with` for each property in a schema.
fn keys(schema: &serde_json::Value, with: &mut impl FnMut(&str)) {
    for (name, member) in schema.as_object().into_iter().flatten() {
        if name == "properties" {
            member.as_object().into_iter().flatten().for_each(|(key, _)| with(key));
        }
        keys(member, with);
    }
    schema.as_array().into_iter().flatten().for_each(|item| keys(item, with));
}

#[test]
fn a_store_is_a_file_or_a_file_and_a_log() {
    let store = |text: &str| load_with(&format!("targets: [{{ region: us-east-1 }}]\nstore: {text}\n"));
    for text in ["state.db", "{ file: state.db }"] {
        let config = store(text).unwrap();
        assert_eq!((config.store, config.replication), (PathBuf::from("/etc/trainspotter/state.db"), None));
    }
    let replication = |text: &str| store(text).unwrap().replication.unwrap();
    let bucket = replication("{ file: state.db, log: \"s3://my-bucket/a/b/\", region: eu-west-1, lease: 1m }");
    let place = ObjectPlace::Bucket { bucket: "my-bucket".to_owned(), prefix: "a/b".to_owned() };
    assert_eq!(
        (bucket.log, bucket.lease, bucket.region.as_deref()),
        (place, Duration::from_secs(60), Some("eu-west-1"))
    );
    let folder = replication("{ log: \"file:///var/lib/log\" }");
    assert_eq!((folder.log, folder.lease), (ObjectPlace::Folder("/var/lib/log".into()), Duration::from_secs(45)));
    for (text, message) in [
        ("s3://bucket/prefix", "A log is configured in addition to the file"),
        ("{ file: \"\" }", "a file path is required"),
        ("{ log: bucket }", "not a location for a log"),
        ("{ log: \"s3://B/prefix\" }", "not a bucket name"),
        ("{ log: \"s3:///prefix\" }", "not a bucket name"),
        ("{ log: \"s3://bucket/a//b\" }", "empty part"),
        ("{ log: \"s3://bucket/a b\" }", "the prefix has"),
        ("{ log: \"https://bucket/a\" }", "a log cannot be stored at `https:`"),
        ("{ log: \"file:///\" }", "path of a folder"),
        ("{ log: \"s3://bucket/a\", lease: 1s }", "between 3s and 10m"),
        ("{ log: \"s3://bucket/a\", region: virginia }", "virginia"),
        ("{ log: \"s3://bucket/a\", role: me }", "me"),
        ("{ log: \"file:///a/b\", region: eu-west-1 }", "does not apply to a folder"),
        ("{ file: a.db, lease: 1m }", "without `store.log`"),
        ("{ fil: a.db }", "fil"),
        ("[a.db]", "the path of a file"),
    ] {
        let problems = store(text).unwrap_err();
        let found: Vec<_> = problems.iter().collect();
        assert!(found.iter().any(|(line, _, what)| *line == 2 && what.contains(message)), "{text}: {found:?}");
    }
}
