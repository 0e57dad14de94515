//! Work that a preempted job loses, by assumed checkpoint interval.

/// Assumed checkpoint intervals, with labels: a preempted job loses its work since the last checkpoint.
pub const CHECKPOINTS: [(&str, f64); 3] = [("10m", 600.0), ("30m", 1_800.0), ("1h", 3_600.0)];

/// GPU-seconds lost when an attempt is stopped after `ran` seconds, with a checkpoint every `interval` seconds.
pub(super) fn lost_since_checkpoint(ran: f64, interval: f64, gpus: f64) -> f64 {
    ran % interval * gpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_saves_what_was_done_before_it() {
        let lost = CHECKPOINTS.map(|(_, interval)| lost_since_checkpoint(4_000.0, interval, 8.0));
        assert_eq!(lost, [3_200.0, 3_200.0, 3_200.0]);
        assert_eq!(lost_since_checkpoint(2_000.0, 1_800.0, 2.0), 400.0);
        assert_eq!(lost_since_checkpoint(500.0, 600.0, 2.0), 1_000.0, "before the first one all is lost");
    }
}
