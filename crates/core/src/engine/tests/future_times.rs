//! Times in the future: of a saved state, and of the start of the service.

use super::*;
use crate::engine::tests::lagging_lists::waits;

#[test]
fn a_watermark_of_the_future_is_not_believed() {
    let day = Duration::from_secs(86_400);
    let mut wrong = Engine::new(
        Vec::new(),
        cadence(Duration::from_secs(900), Duration::from_secs(30)),
        Saved::default(),
        second(0),
    );
    wrong.observe(vec![topology(), known(), dispatched(), polled(second(90) + day)]);
    let output = wrong.tick(second(95) + day);
    assert_eq!((waits(&output), output.counted_until > second(80_000)), (Some(1.0), true));

    let mut engine = super::engine(Saved { open_since: Some(output.open_since), ..saved(output) });
    let believed = engine.correct_future(second(120));
    assert!(believed.is_some_and(|believed| believed > second(80_000)), "{believed:?}");
    assert_eq!(engine.correct_future(second(121)), None);
    assert!(engine.questions(second(121)).since.unwrap() <= second(120));
    let ended = JobSeen {
        status: JobStatus::Succeeded,
        started_at: Some(second(80)),
        stopped_at: Some(second(110)),
        ..scheduled_at(70)
    };
    engine.observe(vec![topology(), known(), answer(125, vec![described(ended)]), answered(125)]);
    let output = engine.tick(second(160));
    assert_eq!((waits(&output), value(&output, "job.ended", "succeeded")), (Some(1.0), Some(1.0)));
    assert!(output.counted_until <= second(125));
}

#[test]
fn a_start_in_the_future_is_now() {
    let every = Duration::from_secs(30);
    let mut engine = Engine::new(Vec::new(), cadence(every * 30, every), Saved::default(), second(3_600));
    assert_eq!(engine.correct_future(second(20)), Some(just_before(3_600)));
    engine.observe(vec![topology(), known(), dispatched(), answered(90)]);
    assert_eq!(waits(&engine.tick(second(120))), Some(1.0));
}
