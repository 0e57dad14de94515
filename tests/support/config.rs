//! Configuration of a service in a test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use trainspotter::config::{Config, History, LogFormat, Poll, Publish, Target};
use trainspotter_core::model::PriorityBands;
use trainspotter_core::model::SharesShown;

/// Watches every queue at `endpoint`, without receivers.
pub fn watching(endpoint: SocketAddr, every: Duration, store: PathBuf) -> Config {
    Config {
        targets: vec![Target { endpoint: Some(format!("http://{endpoint}")), ..Target::new("us-east-1") }],
        poll: Poll {
            every,
            topology_every: Duration::from_secs(300),
            reconcile_every: Duration::from_secs(900),
            utilisation_every: Duration::from_secs(60),
            calls_per_second: 50.0,
        },
        publish: Publish { cloudwatch: None, otlp: Vec::new() },
        prices: [].into(),
        shares: SharesShown::default(),
        priority_bands: PriorityBands::default(),
        forecast: 0.0,
        rules: Vec::new(),
        receivers: Vec::new(),
        idle_inhibitions: 0,
        store,
        replication: None,
        history: History { keep: Duration::from_secs(86_400), at_most: 100_000_000 },
        archive: None,
        tags: Vec::new(),
        reports: Vec::new(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        api: Vec::new(),
        external_url: None,
        log: LogFormat::Pretty,
        traces: None,
        logs: None,
    }
}
