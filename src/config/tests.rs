//! What the file says becomes what the service runs on, or every reason why it cannot.

use super::*;

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
}

#[test]
fn a_priority_band_has_a_name_and_begins_at_a_priority_of_its_own() {
    let bands = |text: &str| load_with(&format!("targets: [{{ region: us-east-1 }}]\npriority_bands: {text}\n"));
    let names = bands("{ urgent: 1000, batch: 0 }").unwrap().priority_bands;
    assert_eq!(names.names().map(|name| &**name).collect::<Vec<_>>(), ["batch", "urgent", "other"]);
    for (text, message) in [
        ("{ other: 0 }", "not `other`"),
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
fn every_mistake_of_every_kind_is_told_at_once() {
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

    error: invalid type: string "five", expected f64
     --> trainspotter.yaml:3:38
      |
    3 | poll: { every: 1s, calls_per_second: five }
      |                                      ^^^^

    error: unknown field `namspace`, expected one of `namespace`, `every`, `region`, `role`, `endpoint`; did you mean `namespace`?
     --> trainspotter.yaml:4:26
      |
    4 | publish: { cloudwatch: { namspace: ML } }
      |                          ^^^^^^^^

    error: nothing is sent there: it is link-local, where metadata and credentials are served
     --> trainspotter.yaml:6:35
      |
    6 |   - { name: chat, webhook: { url: "http://169.254.170.2/v2" } }
      |                                   ^^^^^^^^^^^^^^^^^^^^^^^^^^

    error: another receiver is called `chat` already
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
fn a_secret_from_the_environment_reaches_the_config_and_nothing_else() {
    let text = "\
targets: [{ region: us-east-1 }]
receivers: [{ name: chat, webhook: { url: \"${CHAT_WEBHOOK_URL}\" } }]
";
    let config = load_with(text).unwrap();
    let Channel::Webhook { endpoint, .. } = &config.receivers[0].channel else { panic!("{config:?}") };
    assert_eq!(endpoint.url.expose(), "https://chat.example/hook?token=s3cret");
    assert!(!format!("{config:?}").contains("s3cret"));
    let broken = format!("{text}listen: x\n");
    assert!(!load_with(&broken).unwrap_err().to_string().contains("s3cret"));
    let unset = text.replace("CHAT_WEBHOOK_URL", "UNSET");
    assert!(load_with(&unset).unwrap_err().to_string().contains("the environment variable UNSET is not set"));
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
            let told = load_with(&text.replace("URL", &format!("http://{host}/v2"))).unwrap_err().to_string();
            assert!(told.contains("nothing is sent there: it is link-local"), "{host} in {text}: {told}");
        }
        load_with(&text.replace("URL", "https://elsewhere.example/v2")).unwrap();
    }
}

#[test]
fn a_header_that_cannot_be_sent_is_refused_without_its_value() {
    let headers = |headers: &str| {
        let receiver = format!("{{ name: a, webhook: {{ url: \"https://a.example/\", headers: {headers} }} }}");
        load_with(&format!("targets: [{{ region: us-east-1 }}]\nreceivers: [{receiver}]\n"))
    };
    for (text, says) in [
        ("{ \"a b\": s3cret-s3cret }", "not the name of a header"),
        ("{ Webhook-Id: s3cret-s3cret }", "set by the service itself"),
        ("{ Authorization: \"x\\n\" }", "characters that no header can"),
        ("{ Authorization: \"${UNSET}\" }", "UNSET is not set"),
    ] {
        let told = headers(text).unwrap_err().to_string();
        assert!(told.contains(says) && !told.contains("s3cret"), "{told}");
    }
    let config = headers("{ Authorization: \"Bearer ${CHAT_WEBHOOK_URL}\" }").unwrap();
    assert!(!format!("{config:?}").contains("Bearer"), "{config:?}");
}

#[test]
fn a_secret_written_into_the_file_is_not_shown_with_a_mistake() {
    let text = "\
targets: [{ region: us-east-1 }]
receivers:
  - { name: a, webhook: { url: \"http://127.0.0.1/hook/s3cret?token=s3cret\", secrets: whsec_s3cret } }
  - { name: b, webhook: { url: \"ftp://user:s3cret@chat.example/\", secrets: [whsec_s3cret] } }
  - { name: c, slack: { token: xoxb-s3cret, chanel: C1 } }
  - { name: d, pagerduty: { routing_key: s3cret-s3cret, url: \"http://169.254.170.2/v2\" }, mutes: [] }
";
    let told = load_with(text).unwrap_err().to_string();
    assert!(!told.contains("s3cret"), "{told}");
    assert!(told.contains("127.0.0.1") && told.contains("chat.example") && told.contains("169.254.170.2/v2"), "{told}");
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
    let told = load_with(text).unwrap_err().to_string();
    for mistake in [
        "must be at least 1m",
        "no receiver is called `b`; there are: a, c",
        "must be at least 5m",
        "from 1s to 24h",
        "`ada` is not the id of a Slack user",
        "this is the receiver itself",
        "name a label at least",
        "an alert's name is its label `alertname`",
    ] {
        assert!(told.contains(mistake), "{mistake}: {told}");
    }
}

#[test]
fn the_files_that_are_shipped_are_right_and_the_example_shows_every_key() {
    let read =
        |name: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap();
    for name in ["minimal.yaml", "trainspotter.example.yaml"] {
        let environment = |_: &str| Some("https://example.com/".to_owned());
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

/// Calls `with` for each property that a schema names.
fn keys(schema: &serde_json::Value, with: &mut impl FnMut(&str)) {
    for (name, member) in schema.as_object().into_iter().flatten() {
        if name == "properties" {
            member.as_object().into_iter().flatten().for_each(|(key, _)| with(key));
        }
        keys(member, with);
    }
    schema.as_array().into_iter().flatten().for_each(|item| keys(item, with));
}
