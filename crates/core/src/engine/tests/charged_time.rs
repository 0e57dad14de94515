//! For which time between two ticks GPU time is charged.

use super::*;
use crate::model::{Capacity, ServiceEnvironment};

#[test]
fn time_between_rare_polls_is_charged_and_a_gap_beyond_them_or_a_restart_is_not() {
    let every = Duration::from_secs(1_800);
    let run = |state: Saved| {
        let mut engine = Engine::new(Vec::new(), cadence(every, every), state, second(0));
        let limits = vec![Capacity::new("ml.p5.48xlarge", 1.0)];
        let environment = ServiceEnvironment { name: "gpus".to_owned(), enabled: true, limits };
        let queues = vec![Queue::new("prod", Policy::Fifo, Some(environment))];
        engine.observe(vec![Observation::Topology { at: second(0), queues }, known(), answered(0)]);
        engine
    };
    let unallocated = |output: &Output| value(output, "gpu.time", "unallocated");
    let charged = |seconds: i64| {
        let mut engine = run(Saved::default());
        engine.tick(second(10));
        unallocated(&engine.tick(second(10 + seconds)))
    };
    assert_eq!(charged(60), Some(8.0 * 60.0));
    assert_eq!(charged(1_800), Some(8.0 * 1_800.0), "an interval");
    assert_eq!(charged(3_600), Some(8.0 * 3_600.0), "one poll was late");
    assert_eq!(charged(3_601), Some(0.0), "nobody looked");
    let restarted = |seconds: i64| {
        let state = Saved { ticked_at: Some(second(10)), ..saved(run(Saved::default()).tick(second(10))) };
        unallocated(&run(state).tick(second(10 + seconds)))
    };
    assert_eq!(restarted(600), Some(8.0 * 600.0));
    assert_eq!(restarted(3_000), Some(0.0), "it was down");
}
