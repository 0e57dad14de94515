//! `notify`: tests receivers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cli::format_api_values::text;
use crate::cli::remote::Client;
use crate::cli::state_file_or_api::{LocalOrRemote, LocalOrRemoteArguments};
use crate::cli::table::plain;
use crate::cli::{Failure, load_config, print, print_json, say};
use crate::config::Channel;
use crate::notify::sample_alerts::Sample;
use crate::service;
use trainspotter_clock::Clock;
use trainspotter_core::model::format;

/// Test receivers.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:
  trainspotter notify test oncall --config trainspotter.yaml
  trainspotter notify test --rule LongWait --url http://127.0.0.1:9464")]
pub(super) enum Command {
    /// Send sample notifications and show the results: to one receiver (a firing alert and its resolve by default), or
    /// with --url and --rule to all receivers of a rule.
    #[command(after_help = "Examples:
  trainspotter notify test oncall --url http://127.0.0.1:9464
  trainspotter notify test --rule LongWait --label queue=prod-a --url http://127.0.0.1:9464
  trainspotter notify test oncall --config trainspotter.yaml
  trainspotter notify test chat --kind all --config trainspotter.yaml")]
    Test {
        /// Name of the receiver in the configuration.
        #[arg(required_unless_present = "rule", conflicts_with = "rule")]
        receiver: Option<String>,
        /// Samples to send; repeatable.
        #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Firing, Kind::Resolved], conflicts_with = "rule")]
        kind: Vec<Kind>,
        /// Send a sample alert of this rule to the receivers it would reach; only with --url.
        #[arg(long, value_name = "NAME")]
        rule: Option<String>,
        /// A label of the sample alert, such as queue=prod-a; repeatable.
        #[arg(long, value_name = "LABEL=VALUE", value_parser = label, requires = "rule")]
        label: Vec<(String, String)>,
        #[command(flatten)]
        service: LocalOrRemoteArguments,
    },
}

/// What a test sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// A firing alert.
    Firing,
    /// The resolve of the same alert.
    Resolved,
    /// An alert about a single job with an owner, and its resolve.
    Job,
    /// Several alerts of one queue in one message.
    Group,
    /// Several alerts of all severities in one message, some of them resolved.
    Digest,
    /// All of the above.
    All,
}

impl Kind {
    fn samples(self) -> Vec<Sample> {
        match self {
            Self::Firing => vec![Sample::Firing],
            Self::Resolved => vec![Sample::Resolved],
            Self::Job => vec![Sample::Job],
            Self::Group => vec![Sample::Group],
            Self::Digest => vec![Sample::Digest],
            Self::All => Sample::ALL.to_vec(),
        }
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (label, value) =
        text.split_once('=').filter(|(label, _)| !label.is_empty()).ok_or("write it like queue=prod-a")?;
    Ok((label.to_owned(), value.to_owned()))
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    let Command::Test { receiver, kind, rule, label, service } = command;
    let json = service.json;
    let samples: Vec<Sample> = kind.into_iter().flat_map(Kind::samples).collect();
    match (service.choose()?, receiver, rule) {
        (LocalOrRemote::Config(config), Some(receiver), _) => test_here(&config, &receiver, samples, json).await,
        (LocalOrRemote::Config(_), None, _) => Err(Failure::usage("--rule requires a running service: use --url URL")),
        (LocalOrRemote::Service(client), Some(receiver), _) => {
            let kinds: Vec<&str> = samples.iter().map(|sample| sample.as_str()).collect();
            test_over_api(&client, &json!({ "receiver": receiver, "kinds": kinds }), json).await
        }
        (LocalOrRemote::Service(client), None, rule) => {
            let labels: BTreeMap<String, String> = label.into_iter().collect();
            test_over_api(&client, &json!({ "rule": rule, "labels": labels }), json).await
        }
    }
}

async fn test_over_api(client: &Client, body: &Value, json: bool) -> Result<(), Failure> {
    let results = client.post(&["notifications", "test"], body).await?;
    let Some(results) = results.as_array() else {
        return Err(client.is_something_else("the response has no test results"));
    };
    if json {
        print_json(&json!(results))?;
    }
    let mut failed = Vec::new();
    for result in results {
        let [receiver, sample, answer] = ["receiver", "sample", "answer"].map(|key| text(result, key));
        let after =
            result["after_seconds"].as_f64().filter(|seconds| *seconds > 0.0).map_or_else(String::new, |seconds| {
                format!(" (a real alert would be sent after {})", format::duration(seconds))
            });
        if result["delivered"] == true && !json {
            print(format_args!("{receiver}: {sample}: delivered: {}{after}", plain(&answer)))?;
        } else if result["delivered"] != true {
            failed.push(format!("{receiver}: {sample}: not delivered: {}", plain(&answer)));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::failed(failed.join("\n"))) }
}

async fn test_here(config: &str, name: &str, mut samples: Vec<Sample>, json: bool) -> Result<(), Failure> {
    let config = load_config::load_config(config).await?;
    let Some(receiver) = config.receivers.iter().find(|receiver| receiver.name == name) else {
        let known: Vec<&str> = config.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Failure::usage(format!("there is no receiver {name}; known receivers: {known}")));
    };
    if matches!(receiver.channel, Channel::PagerDuty { .. }) && samples.iter().any(|sample| sample.group().is_some()) {
        samples.retain(|sample| sample.group().is_none());
        say(format_args!("{name}: group and digest are not supported for PagerDuty, which has one incident per alert"));
    }
    let answers = match service::test_receiver(&config, receiver, &samples, Clock::real()).await {
        Ok(answers) => answers,
        Err(reason) => {
            if json {
                // If there are several samples, the reason names the failed one.
                let row = json!({ "receiver": name, "sample": null, "delivered": false, "answer": reason.to_string() });
                print_json(&json!([row]))?;
            }
            return Err(Failure::failed(format!("{name}: not delivered: {reason}")));
        }
    };
    if json {
        let row = |(sample, answer): &(Sample, String)| json!({ "receiver": name, "sample": sample.as_str(), "delivered": true, "answer": answer });
        return print_json(&answers.iter().map(row).collect::<Value>());
    }
    for (sample, response) in answers {
        print(format_args!("{name}: {}: delivered: {response}", sample.as_str()))?;
    }
    Ok(())
}
