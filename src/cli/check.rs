//! `check`: tells every mistake in a configuration and its rules, or what was understood.

use crate::cli::{Failure, inputs, print};
use crate::config::{Channel, Config};
use crate::evaluate::Rule;

/// Check a configuration and the rules it names, without connecting to anything.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  trainspotter check --config config/trainspotter.example.yaml")]
pub(super) struct Arguments {
    /// The configuration file, or env:NAME for an environment variable with its text.
    #[arg(long, value_name = "FILE")]
    config: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = inputs::load_config(&arguments.config);
    let rules = match &config {
        Ok(config) => inputs::load_rules(&config.rules),
        Err(_) => Ok(Vec::new()),
    };
    let (config, rules) = (config?, rules?);
    summary(&config, &rules)?;
    print(format_args!("{}: fine", arguments.config))
}

fn summary(config: &Config, rules: &[Rule]) -> Result<(), Failure> {
    for target in &config.targets {
        let role = target.role.as_ref().map_or(String::new(), |role| format!(" as {role}"));
        print(format_args!("target    {}{role}: queues {}", target.region, target.queues.join(", ")))?;
    }
    let every = humantime::format_duration(config.poll.every);
    print(format_args!("poll      every {every}, at most {} calls per second", config.poll.calls_per_second))?;
    print(format_args!("sinks     http://{}/metrics{}", config.listen, other_sinks(config)))?;
    print(format_args!("rules     {}", rules.len()))?;
    for receiver in &config.receivers {
        let kind = match &receiver.channel {
            Channel::Sns { topic } => format!("SNS topic {topic}"),
            Channel::Webhook { keys, .. } if keys.is_empty() => "webhook".to_owned(),
            Channel::Webhook { .. } => "signed webhook".to_owned(),
            Channel::SlackWebhook { .. } => "Slack webhook".to_owned(),
            Channel::SlackApp { channel, .. } => format!("Slack channel {channel}"),
            Channel::PagerDuty { .. } => "PagerDuty".to_owned(),
            Channel::Alertmanager { .. } => "Alertmanager".to_owned(),
        };
        print(format_args!("receiver  {}: {kind}", receiver.name))?;
    }
    if !rules.is_empty() && config.receivers.is_empty() {
        print(format_args!("note      there are rules, but no receiver: alerts will only show on the page"))?;
    }
    Ok(())
}

fn other_sinks(config: &Config) -> String {
    let cloudwatch = config.publish.cloudwatch.iter().map(|sink| format!(", CloudWatch namespace {}", sink.namespace));
    let otlp = config.publish.otlp.iter().map(|sink| format!(", OTLP at {}", sink.endpoint));
    cloudwatch.chain(otlp).collect()
}
