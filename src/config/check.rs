//! Converts the file to the checked configuration, and collects all errors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use url::Url;

use crate::config::aws_names::check_role;
use crate::config::file::{self, File};
use crate::config::forbidden_addresses;
use crate::config::placeholders::{self, Environment};
use crate::config::{Config, History, LogFormat, Poll};
use trainspotter_core::model::{
    InstanceType, MAX_PRICE, Prices, PriorityBands, SharesShown, accelerators_of, check_glob, check_name, format,
};
use trainspotter_core::yaml::{Document, Problem, Problems, canonical};

/// Maximum number of priority bands.
const MAX_BANDS: usize = 10;

/// Maximum poll interval.
pub(super) const MAX_POLL: Duration = Duration::from_secs(86_400);

/// Maximum utilisation interval: utilisation counts as current for this long.
const UTILISATION_AT_MOST: Duration = Duration::from_secs(900);

pub(super) fn check(
    document: &Document<File>,
    folder: &Path,
    environment: Environment<'_>,
) -> Result<Config, Problems> {
    let mut check =
        Check { document, environment, problems: Vec::new(), filled: BTreeSet::new(), unfilled: BTreeSet::new() };
    let file = &document.value;
    let (store, replication) = check.store(&file.store, folder);
    let has_log = replication.is_some();
    let config = Config {
        targets: check.targets(&file.targets),
        poll: check.poll(&file.poll),
        publish: check.publish(&file.publish),
        prices: check.prices(&file.prices),
        shares: check.shares(&file.shares),
        priority_bands: check.priority_bands(&file.priority_bands),
        forecast: check.forecast(&file.forecast),
        rules: check.rules(&file.rules, folder),
        receivers: check.receivers(&file.receivers, &file.inhibit),
        idle_inhibitions: if file.receivers.is_empty() { file.inhibit.len() } else { 0 },
        store,
        replication,
        history: check.history(&file.history, has_log),
        archive: check.archive(file.archive.as_ref(), folder),
        tags: check.tags(&file.tags),
        reports: Vec::new(),
        listen: check.listen(&file.listen),
        api: check.api(&file.api),
        external_url: check.external_url(file.external_url.as_deref()),
        log: match file.log {
            file::Log::Json => LogFormat::Json,
            file::Log::Pretty => LogFormat::Pretty,
        },
        traces: check.collector("traces", file.traces.as_deref()),
        logs: check.collector("logs", file.logs.as_deref()),
    };
    let reports = check.reports(&file.reports, &config.tags, &config.receivers);
    check.nothing_else_to_fill();
    document.conclude(check.problems)?;
    Ok(Config { reports, ..config })
}

/// Parses the listen address, ignoring the rest of the file.
pub(super) fn listen(
    document: &Document<file::Listening>,
    environment: Environment<'_>,
) -> Result<std::net::SocketAddr, Problems> {
    let found = placeholders::filled(&document.value.listen, environment).and_then(|listen| address(&listen));
    match found {
        Ok(address) => Ok(address),
        Err(message) => {
            document.conclude(vec![document.problem("listen", message.clone())])?;
            Err(Problems::with_file("listen", message))
        }
    }
}

fn address(listen: &str) -> Result<std::net::SocketAddr, String> {
    listen.parse().map_err(|_| format!("`{listen}` is not an address; write it like 127.0.0.1:9464"))
}

pub(super) struct Check<'a> {
    document: &'a Document<File>,
    pub(super) environment: Environment<'a>,
    problems: Vec<Problem>,
    /// Locations where `${NAME}` was filled in.
    filled: BTreeSet<String>,
    /// Locations where it could not be: the value is unknown, so it is not checked further.
    unfilled: BTreeSet<String>,
}

impl Check<'_> {
    pub(super) fn problem(&mut self, path: &str, message: impl Into<String>) {
        if !self.unfilled.contains(&canonical(path)) {
            self.problems.push(self.document.problem(path, message));
        }
    }

    /// Number of problems so far.
    pub(super) fn count(&self) -> usize {
        self.problems.len()
    }

    fn poll(&mut self, poll: &file::Poll) -> Poll {
        let least = [
            ("every", poll.every, 5),
            ("topology_every", poll.topology_every, 30),
            ("reconcile_every", poll.reconcile_every, 60),
            ("utilisation_every", poll.utilisation_every, 60),
        ];
        for (key, given, least) in least {
            self.at_least(&format!("poll.{key}"), given.0, Duration::from_secs(least));
            if given.0 > MAX_POLL {
                self.problem(&format!("poll.{key}"), "must be at most 24h");
            }
        }
        // Only explicit values are checked; defaults follow.
        let usual = file::Poll::default();
        for (key, given, usual) in [
            ("topology_every", poll.topology_every, usual.topology_every),
            ("reconcile_every", poll.reconcile_every, usual.reconcile_every),
        ] {
            if given.0 < poll.every.0 && given.0 != usual.0 {
                let every = humantime::format_duration(poll.every.0);
                self.problem(
                    &format!("poll.{key}"),
                    format!("is shorter than `every`; nothing is polled more often than every {every}"),
                );
            }
        }
        if poll.utilisation_every.0 > UTILISATION_AT_MOST {
            let message = "must be at most 15m: older utilisation data is not current";
            self.problem("poll.utilisation_every", message);
        }
        if !(0.1..=100.0).contains(&poll.calls_per_second) {
            self.problem("poll.calls_per_second", "must be between 0.1 and 100");
        }
        Poll {
            every: poll.every.0,
            topology_every: poll.topology_every.0,
            reconcile_every: poll.reconcile_every.0,
            utilisation_every: poll.utilisation_every.0,
            calls_per_second: poll.calls_per_second,
        }
    }

    fn shares(&mut self, shares: &file::Shares) -> SharesShown {
        if !(1..=10_000).contains(&shares.most) {
            self.problem("shares.most", "must be between 1 and 10000");
        }
        let show = self.filled_all("shares.show", &shares.show);
        self.distinct("shares.show", &show);
        for (index, glob) in show.iter().enumerate() {
            let why =
                if glob.is_empty() { Err("no share has an empty name".to_owned()) } else { check_glob("share", glob) };
            self.refuse(&format!("shares.show[{index}]"), why);
        }
        SharesShown { show, most: shares.most }
    }

    fn priority_bands(&mut self, bands: &BTreeMap<String, i32>) -> PriorityBands {
        if bands.len() > MAX_BANDS {
            self.problem(
                "priority_bands",
                format!("must be {MAX_BANDS} bands at most: each has series for every share"),
            );
        }
        let mut taken: BTreeMap<i32, &str> = BTreeMap::new();
        for (name, lowest) in bands {
            let path = format!("priority_bands[{name}]");
            if name.is_empty() || name == "other" {
                self.problem(&path, "must have a name other than `other`, which is used for all other jobs");
            }
            self.refuse(&path, check_name(name).map_err(|why| format!("this name {why}")));
            if !(0..=9_999).contains(lowest) {
                self.problem(&path, "must start at a priority from 0 to 9999");
            }
            if let Some(other) = taken.insert(*lowest, name) {
                self.problem(&path, format!("starts at the same priority as `{other}`"));
            }
        }
        PriorityBands::new(bands.iter().map(|(name, lowest)| (name.as_str(), *lowest)))
    }

    fn prices(&mut self, prices: &BTreeMap<String, f64>) -> Prices {
        for (instance_type, dollars) in prices {
            let path = format!("prices[{instance_type}]");
            if !(0.0..=MAX_PRICE).contains(dollars) {
                self.problem(&path, "is not a price; write dollars per hour like 98.32");
            } else if accelerators_of(&InstanceType::from(instance_type.as_str())).is_none() {
                let message = unknown_type(instance_type);
                self.problem(&path, message);
            }
        }
        prices.iter().map(|(instance_type, dollars)| (InstanceType::from(instance_type.as_str()), *dollars)).collect()
    }

    /// Endpoint for the service's own traces or logs.
    fn collector(&mut self, path: &str, url: Option<&str>) -> Option<String> {
        let url = self.filled(path, url?);
        self.origin(path, &url);
        Some(url)
    }

    /// Refuses user, path and query in a URL that would be ignored silently.
    pub(super) fn origin(&mut self, path: &str, text: &str) {
        let Some(url) = self.outgoing(path, text) else { return };
        if has_user(&url) || url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            self.problem(path, "must be an origin such as http://collector:4317, without user, path or query");
        }
    }

    /// Refuses placeholders in values where they are not supported.
    fn nothing_else_to_fill(&mut self) {
        for text in self.document.texts() {
            if placeholders::has_names(&text.text) && (text.is_key || !self.filled.contains(&text.path)) {
                self.problem(&text.path, "variables are not replaced here: write the value itself");
            }
        }
    }

    pub(super) fn refuse(&mut self, path: &str, checked: Result<(), String>) {
        if let Err(message) = checked {
            self.problem(path, message);
        }
    }

    fn history(&mut self, history: &file::History, has_log: bool) -> History {
        if has_log && history.keep.0.is_zero() {
            let message = "with `store.log`, followers serve the stored history: set a duration such as `7d`";
            self.problem("history.keep", message);
        }
        if !(1..=100_000).contains(&history.megabytes) {
            self.problem("history.megabytes", "must be between 1 and 100000");
        }
        History { keep: history.keep.0, at_most: u64::from(history.megabytes) * 1_000_000 }
    }

    fn listen(&mut self, listen: &str) -> std::net::SocketAddr {
        let listen = self.filled("listen", listen);
        address(&listen).unwrap_or_else(|message| {
            self.problem("listen", message);
            std::net::SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn external_url(&mut self, url: Option<&str>) -> Option<String> {
        let url = self.filled("external_url", url?);
        let url = self.http_url("external_url", &url)?;
        if has_user(&url) || url.query().is_some() || url.fragment().is_some() {
            self.problem(
                "external_url",
                "must have no user, query or fragment: links are built by appending to its path",
            );
        }
        Some(url.as_str().trim_end_matches('/').to_owned())
    }

    pub(super) fn at_least(&mut self, path: &str, given: Duration, least: Duration) {
        if given < least {
            self.problem(path, format!("must be at least {}", format::duration(least.as_secs_f64())));
        }
    }

    pub(super) fn at_most(&mut self, path: &str, given: Duration, most: Duration) {
        if given > most {
            self.problem(path, format!("must be at most {}", humantime::format_duration(most)));
        }
    }

    /// Refuses duplicates in a list: they have no effect and are probably mistakes.
    pub(super) fn distinct(&mut self, path: &str, list: &[String]) {
        for (index, text) in list.iter().enumerate() {
            if list.iter().take(index).any(|other| other == text) {
                self.problem(&format!("{path}[{index}]"), format!("`{text}` is given twice"));
            }
        }
    }

    pub(super) fn role(&mut self, path: &str, role: Option<&str>, region: Option<&str>) -> Option<String> {
        let role = self.filled(path, role?);
        self.refuse(path, check_role(&role, region.unwrap_or_default()));
        Some(role)
    }

    /// Checks an endpoint for AWS services.
    pub(super) fn endpoint_of_aws(&mut self, path: &str, endpoint: Option<&str>) -> Option<String> {
        let endpoint = self.filled(path, endpoint?);
        let url = self.outgoing(path, &endpoint);
        if url.is_some_and(|url| has_user(&url) || url.query().is_some() || url.fragment().is_some()) {
            self.problem(path, "must have no user, query or fragment: requests are built by appending to its path");
        }
        Some(endpoint)
    }

    /// Checks the URL of a called service: it may be on this machine, but not a credential endpoint.
    pub(super) fn outgoing(&mut self, path: &str, text: &str) -> Option<Url> {
        let url = self.http_url(path, text)?;
        if let Some(refusal) = forbidden_addresses::literal(&url).and_then(|ip| forbidden_addresses::refusal(ip, true))
        {
            self.problem(path, format!("requests to this address are refused: {refusal}"));
        }
        Some(url)
    }

    /// Parses an HTTP URL. The error does not contain it: it may be secret.
    pub(super) fn http_url(&mut self, path: &str, text: &str) -> Option<Url> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if url.is_none() {
            self.problem(path, "not an http:// or https:// URL");
        }
        url
    }

    /// Fills in `${NAME}` from the environment and `${file:/path}` from a file; failures are reported as problems.
    pub(super) fn filled(&mut self, path: &str, text: &str) -> String {
        self.filled.insert(canonical(path));
        placeholders::filled(text, self.environment).unwrap_or_else(|message| {
            self.problem(path, message);
            self.unfilled.insert(canonical(path));
            text.to_owned()
        })
    }

    pub(super) fn filled_all(&mut self, path: &str, texts: &[String]) -> Vec<String> {
        let one = |(index, text): (usize, &String)| self.filled(&format!("{path}[{index}]"), text);
        texts.iter().enumerate().map(one).collect()
    }
}

pub(super) fn unknown_type(instance_type: &str) -> String {
    let meant = format!("ml.{instance_type}");
    let is_meant = accelerators_of(&InstanceType::from(meant.as_str())).is_some();
    let hint = if is_meant { format!("; did you mean `{meant}`?") } else { String::new() };
    format!(
        "`{instance_type}` is not an instance type known to this build; instance types of training jobs begin with ml.{hint}"
    )
}

fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}
