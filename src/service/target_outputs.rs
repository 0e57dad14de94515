//! Notifiers and sinks of one target.

use std::sync::Arc;

use crate::aws;
use crate::config::Target;
use crate::notify::{Integration, Notifier, Notifiers};
use crate::publish::{CloudWatchAccess, Origin, Publisher};
use crate::service::StartError;
use crate::service::shared_by_targets::Shared;
use crate::store::StoreHandle;
use trainspotter_core::model::Timestamp;

/// Creates one notifier per receiver, for the outbox of one target.
pub(super) fn notifiers(
    shared: &Shared,
    store: &StoreHandle,
) -> (Notifiers, Vec<Notifier<StoreHandle, Arc<Integration>>>) {
    Notifiers::new(shared.receivers.to_vec(), shared.config.external_url.as_deref(), store, shared.clock)
}

/// Creates all sinks, for the figures of one target.
pub(super) async fn publisher(shared: &Shared, target: &Target, began: Timestamp) -> Result<Publisher, StartError> {
    let Shared { config, calls, clock, .. } = shared;
    let mut cloudwatch = CloudWatchAccess {
        places: Arc::clone(&shared.places),
        targets: Arc::clone(&shared.target_count),
        ..CloudWatchAccess::default()
    };
    if let Some(sink) = &config.publish.cloudwatch {
        let failed = |error| StartError::new("preparing the CloudWatch sink", error);
        if sink.metrics.are_classic() {
            cloudwatch.classic = Some(aws::cloudwatch(config, sink, calls, *clock).await.map_err(failed)?);
        }
        if sink.metrics.are_otlp() {
            cloudwatch.otlp = Some(aws::cloudwatch_otlp(config, sink, *clock).await.map_err(failed)?);
        }
    }
    let origin = Origin { began, region: Some(target.region.clone()), account: None };
    Publisher::new(&config.publish, cloudwatch, &origin, *clock)
        .map_err(|error| StartError::new("preparing the sinks", error))
}
