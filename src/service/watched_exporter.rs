//! Exporters for the service's own traces and log records that log an outage of their receiver once and count what
//! is lost.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// Spans and log records lost since the last call of [`take_lost`].
static LOST: AtomicU64 = AtomicU64::new(0);

/// Returns and resets the number of spans and log records that a receiver did not accept, for `limit.hits`.
pub(super) fn take_lost() -> u64 {
    LOST.swap(0, Ordering::Relaxed)
}

/// An exporter whose failures are logged and counted.
#[derive(Debug)]
pub(super) struct Watched<E> {
    what: &'static str,
    exporter: E,
    is_failing: AtomicBool,
}

impl<E> Watched<E> {
    /// `what` is the name used in log messages.
    pub(super) fn new(what: &'static str, exporter: E) -> Self {
        Self { what, exporter, is_failing: AtomicBool::new(false) }
    }

    /// Records the result of an export of `count` items.
    fn note(&self, count: u64, result: &OTelSdkResult) {
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Err(error) => {
                LOST.fetch_add(count, Ordering::Relaxed);
                if !was_failing {
                    tracing::warn!(
                        what = self.what,
                        %error,
                        "cannot send the service's own telemetry; data of the outage are lost"
                    );
                }
            }
            Ok(()) if was_failing => {
                tracing::info!(what = self.what, "sending the service's own telemetry succeeds again")
            }
            Ok(()) => {}
        }
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        let count = batch.len() as u64;
        async move {
            let result = self.exporter.export(batch).await;
            self.note(count, &result);
            result
        }
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Watched<E> {
    fn export(&self, batch: LogBatch<'_>) -> impl Future<Output = OTelSdkResult> + Send {
        let count = batch.iter().count() as u64;
        async move {
            let result = self.exporter.export(batch).await;
            self.note(count, &result);
            result
        }
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;

    #[test]
    fn rejected_items_are_counted_and_an_outage_is_logged_once() {
        let watched = Watched::new("logs", ());
        let failed = Err(OTelSdkError::InternalFailure("away".to_owned()));
        watched.note(3, &failed);
        watched.note(4, &failed);
        assert!(watched.is_failing.load(Ordering::Relaxed));
        watched.note(5, &Ok(()));
        assert!(!watched.is_failing.load(Ordering::Relaxed));
        assert_eq!((take_lost(), take_lost()), (7, 0));
    }
}
