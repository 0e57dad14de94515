//! Secrets reach the config, and no message.

use super::*;

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
fn a_header_that_cannot_be_sent_is_refused_without_its_value() {
    let headers = |headers: &str| {
        let receiver = format!("{{ name: a, webhook: {{ url: \"https://a.example/\", headers: {headers} }} }}");
        load_with(&format!("targets: [{{ region: us-east-1 }}]\nreceivers: [{receiver}]\n"))
    };
    for (text, says) in [
        ("{ \"a b\": s3cret-s3cret }", "not the name of a header"),
        ("{ Webhook-Id: s3cret-s3cret }", "set by the service itself"),
        ("{ Authorization: \"x\\n\" }", "not allowed in a header"),
        ("{ Authorization: \"${UNSET}\" }", "UNSET is not set"),
    ] {
        let reported = headers(text).unwrap_err().to_string();
        assert!(reported.contains(says) && !reported.contains("s3cret"), "{reported}");
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
    let reported = load_with(text).unwrap_err().to_string();
    assert!(!reported.contains("s3cret"), "{reported}");
    assert!(
        reported.contains("127.0.0.1") && reported.contains("chat.example") && reported.contains("169.254.170.2/v2"),
        "{reported}"
    );
}

/// No excerpt or message shows a secret, wherever it is.
#[test]
fn a_secret_is_not_shown_wherever_it_was_put() {
    let target = "targets: [{ region: us-east-1 }]\n";
    for text in [
        "publish: { otlp: [{ endpoint: 'https://user:s3cret@otlp.example/v1/metrics?key=s3cret', protocol: grpc }] }\n",
        "publish: { otlp: [{ endpoint: 'ftp://otlp.example/s3cret' }] }\n",
        "publish: { otlp: [{ endpoint: 's3cret' }] }\n",
        "publish: { otlp: [{ endpont: 'https://otlp.example/s3cret' }] }\n",
        "publish: { otlp: [{ endpoint: 'https://otlp.example/v1/metrics', headers: { region: s3cret, log: 7 } }] }\n",
        "traces: https://user:s3cret@otlp.example/?key=s3cret\n",
        "logs: https://user:s3cret@otlp.example/?key=s3cret\n",
        "external_url: https://ops.example/?key=s3cret\n",
        "receivers: [{ name: a, webhook: { urll: 'https://chat.example/s3cret' } }]\n",
        "receivers: [{ name: a, webhook: { 'https://chat.example/s3cret' } }]\n",
        "receivers: [{ name: a, slack: xoxb-s3cret }]\n",
        "receivers: [{ name: a, slack: { tokn: xoxb-s3cret, channel: C1 } }]\n",
        "receivers: [{ name: a, slack: { token: [xoxb-s3cret], channel: C1 } }]\n",
        "receivers: [{ name: a, slack: { token: { xoxb-s3cret: }, channel: C1 } }]\n",
        "receivers: [{ name: a, pagerduty: { routing_key: s3cret, url: 7 } }]\n",
        "receivers: [{ name: a, pagerduty: { routingkey: s3cret } }] # s3cret\n",
        "receivers: [{ name: a, pagerduty: { routing_key: $s3cret } }]\n",
        "receivers:\n  - name: a\n    pagerduty: { routing_key: |\n      s3cret\n",
        "receivers: [{ name: a, webhook: { url: https://chat.example/s3cret, s3cret: s3cret, s3cret: 1 } }]\n",
        "receivers:\n  - name: a\n   webhook: { url: https://chat.example/s3cret }\n",
        "receivers: [{ name: a, webhook: { url: \"https://chat.example/s3cret } }]\n",
        "receivers: [{ name: a, webhook: { url: &s3cret https://chat.example/s3cret } }]\n",
        "token: s3cret\nlisten: [\n",
    ] {
        let reported = load_with(&format!("{target}{text}")).map(|_| ()).unwrap_err().to_string();
        let shown = reported.replace("`$s3cret`", "").replace("${s3cret}", "").replace("$$s3cret", "");
        assert!(!shown.contains("s3cret"), "{text}{reported}");
    }
}
