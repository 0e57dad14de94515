//! The command line: parses arguments and runs commands. The only module that prints.

mod alerts;
mod check;
mod config_text;
mod config_watch;
mod cost;
mod demo;
mod explain;
mod format_api_values;
mod healthcheck;
mod jobs;
mod load_config;
mod notify;
mod outbox;
mod queues;
mod remote;
mod remote_simulator_clock;
mod report;
mod rules;
mod run;
mod schema;
mod silence;
mod simulate;
mod state_file_or_api;
mod table;
mod top;
mod unknown_names;
mod what_if;
mod when;

use std::ffi::OsString;
use std::fmt;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::Value;
use tokio::net::TcpListener;

use trainspotter_core::model::readable;

/// Exit code for unusable arguments or configurations, as in BSD's sysexits.
const USAGE: u8 = 64;

/// Observability and alerting for AWS Batch job queues that feed SageMaker Training jobs.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
#[command(after_help = "Examples:
  trainspotter demo                          try it without an AWS account
  trainspotter check --config FILE           report every error in a configuration
  trainspotter cost --config FILE            estimate the monthly cost
  trainspotter run --config FILE             run the service
  trainspotter top                           live view of a running service
  trainspotter explain JOB                   why a job waits
  trainspotter report --from 7d --by share   GPU use, cost and waste
  trainspotter when --queue Q --type TYPE    when a job would start
  trainspotter what-if --config FILE --set KEY=VALUE   replay the past with a change

Commands that query a running service take --url, or the environment variables TRAINSPOTTER_URL and TRAINSPOTTER_TOKEN.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Demo(demo::Arguments),
    Simulate(simulate::Arguments),
    Check(check::Arguments),
    Cost(cost::Arguments),
    Jobs(jobs::Arguments),
    Queues(queues::Arguments),
    Alerts(alerts::Arguments),
    Top(top::Arguments),
    Explain(explain::Arguments),
    Report(Box<report::Arguments>),
    When(when::Arguments),
    WhatIf(what_if::Arguments),
    #[command(subcommand)]
    Rules(rules::Command),
    #[command(subcommand)]
    Notify(notify::Command),
    #[command(subcommand)]
    Outbox(outbox::Command),
    #[command(subcommand)]
    Silence(silence::Command),
    Schema(schema::Arguments),
    Healthcheck(healthcheck::Arguments),
}

/// Why a command failed; determines the exit code.
#[derive(Debug)]
enum Failure {
    /// The command line or a file it names is invalid: exit code 64.
    Usage(String),
    /// The command failed: exit code 1.
    Failed(String),
    /// The named object does not exist, or no longer does: exit code 1.
    NotFound(String),
    /// Stdout was closed, as by `head`: exit code 0.
    StdoutClosed,
}

impl Failure {
    /// The error message.
    fn text(&self) -> &str {
        match self {
            Self::Usage(text) | Self::Failed(text) | Self::NotFound(text) => text,
            Self::StdoutClosed => "stdout was closed",
        }
    }

    fn usage(cause: impl fmt::Display) -> Self {
        Self::Usage(cause.to_string())
    }

    fn failed(cause: impl fmt::Display) -> Self {
        Self::Failed(cause.to_string())
    }

    /// Turns "not found" into a usage error, for names that do not expire: jobs are forgotten in time, queues and
    /// shares are not.
    fn if_not_found_usage(self) -> Self {
        match self {
            Self::NotFound(text) => Self::Usage(text),
            Self::Usage(_) | Self::Failed(_) | Self::StdoutClosed => self,
        }
    }
}

/// Runs the command given by the arguments (program name first). Returns 0 on success, 1 on failure, 64 for a usage
/// or configuration error.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(answer) => {
            // Help and version are printed to stdout and are not failures.
            let code = if answer.use_stderr() { USAGE } else { 0 };
            return if answer.print().is_ok() { ExitCode::from(code) } else { ExitCode::FAILURE };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::failed(format!("cannot start the async runtime: {error}"))),
    };
    let result = runtime.block_on(dispatch(arguments.command));
    runtime.shutdown_background();
    result.map_or_else(|failure| report(&failure), |()| ExitCode::SUCCESS)
}

async fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(arguments) => run::run(arguments).await,
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Simulate(arguments) => simulate::run(arguments).await,
        Command::Check(arguments) => check::run(&arguments).await,
        Command::Cost(arguments) => cost::run(&arguments).await,
        Command::Jobs(arguments) => jobs::run(&arguments).await,
        Command::Queues(arguments) => queues::run(&arguments).await,
        Command::Alerts(arguments) => alerts::run(&arguments).await,
        Command::Top(arguments) => top::run(&arguments).await,
        Command::Explain(arguments) => explain::run(&arguments).await,
        Command::Report(arguments) => report::run(&arguments).await,
        Command::When(arguments) => when::run(&arguments).await,
        Command::WhatIf(arguments) => what_if::run(&arguments).await,
        Command::Rules(command) => rules::run(&command).await,
        Command::Notify(command) => notify::run(command).await,
        Command::Outbox(command) => outbox::run(command).await,
        Command::Silence(command) => silence::run(command).await,
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments).await,
    }
}

fn report(failure: &Failure) -> ExitCode {
    let (message, code) = match failure {
        Failure::Usage(message) => (message, ExitCode::from(USAGE)),
        Failure::Failed(message) | Failure::NotFound(message) => (message, ExitCode::FAILURE),
        Failure::StdoutClosed => return ExitCode::SUCCESS,
    };
    say(format_args!("{message}"));
    code
}

/// Prints the result of a command to stdout, one or several lines. Foreign names cannot control the terminal.
fn print(line: fmt::Arguments<'_>) -> Result<(), Failure> {
    print_exactly(&readable(&line.to_string()))
}

/// Prints JSON to stdout, with foreign names escaped so that they cannot control the terminal.
fn print_json(value: &Value) -> Result<(), Failure> {
    print_exactly(&escaped(&format!("{value:#}")))
}

/// Prints machine-readable text to stdout unchanged.
fn print_exactly(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::StdoutClosed),
        written => written.map_err(|error| Failure::failed(format!("cannot write: {error}"))),
    }
}

/// Escapes every terminal control character as `\u`. They occur in JSON strings only, where the escape is
/// equivalent.
fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for (letter, shown) in json.chars().zip(readable(json).chars()) {
        if letter == shown { escaped.push(letter) } else { escaped.push_str(&format!("\\u{:04x}", u32::from(letter))) }
    }
    escaped
}

/// Prints a progress line to stderr. Ignores a closed stderr.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{}", readable(&line.to_string()));
}

/// Opens a port and prints its URL on a separate line, as every listening command does.
async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).await.map_err(|error| Failure::failed(cannot_listen(address, &error)))?;
    let address = listener.local_addr().map_err(|error| Failure::failed(cannot_listen(address, &error)))?;
    say(format_args!("listening on http://{address}"));
    Ok(listener)
}

/// Error text for a port that cannot be opened, with advice.
fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> String {
    let port = address.port();
    let hints = [
        (ErrorKind::AddrInUse, format!("port {port} is in use; ")),
        (ErrorKind::PermissionDenied, format!("this user may not listen on port {port}; ")),
        (ErrorKind::AddrNotAvailable, format!("{} is not an address of this machine; ", address.ip())),
    ];
    let hint = hints.into_iter().find(|(kind, _)| *kind == error.kind()).map_or(String::new(), |(_, hint)| hint);
    format!("cannot listen on {address}: {error}\n{hint}choose another one with --listen ADDR:PORT")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Commands without `--json`: they serve, print a schema, or export to another system's format.
    const OTHERS: [&str; 5] = ["run", "demo", "simulate", "schema", "export"];

    #[test]
    fn every_command_that_answers_can_answer_in_json() {
        fn look(command: &clap::Command, path: &str, missing: &mut Vec<String>) -> u32 {
            let path = format!("{path} {}", command.get_name());
            if command.has_subcommands() {
                return command.get_subcommands().map(|inner| look(inner, &path, missing)).sum();
            }
            if !OTHERS.contains(&command.get_name())
                && command.get_arguments().all(|argument| argument.get_id() != "json")
            {
                missing.push(path);
            }
            1
        }
        let mut missing = Vec::new();
        let looked_at = look(&Arguments::command(), "", &mut missing);
        assert!(missing.is_empty() && looked_at > 20, "{missing:?} of {looked_at}");
    }

    #[test]
    fn json_has_the_same_values_and_no_control_characters() {
        let value = serde_json::json!({ "name": "a\u{1b}[2J\u{9b}\u{7f}\u{202e}b\n日本", "more": ["\u{2028}"] });
        let written = escaped(&format!("{value:#}"));
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), value);
        assert_eq!(readable(&written), written);
    }

    #[test]
    fn a_port_in_use_is_reported_with_advice() {
        let message = cannot_listen("127.0.0.1:80".parse().unwrap(), &ErrorKind::AddrInUse.into());
        assert!(message.contains("port 80 is in use") && message.contains("--listen ADDR:PORT"), "{message}");
    }
}
