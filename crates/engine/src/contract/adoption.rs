//! Cases about an engine that is killed, and the one that comes after it.

use updraft_model::instance::{Exit, InstanceId, Secrets};

use super::{Bed, GRACE, PORT, Stage};
use crate::{EngineEvent, SpecDigest};

/// Only what was there before it began, not what it starts.
pub async fn a_new_engine_has_adopted_nothing(bed: &mut impl Bed) {
    let stage = Stage::new(bed);
    stage.start("a", &["sleep"]).await;
    assert_eq!(stage.engine.adopted().await, []);
    stage.end().await;
}

/// The same process answers, and everything can be done with it that could be before.
pub async fn a_successor_goes_on_with_what_its_predecessor_had_started(bed: &mut impl Bed) {
    let stage = Stage::new(bed);
    let (id, spec) = (stage.start("a", &["serve"]).await, stage.spec(&["serve"]));
    stage.get(&id).await;
    let used = stage.engine.usage(&id).await.expect("it is there");
    let mut stage = stage.succeed(bed).await;
    if !bed.instances_outlive_their_engine() {
        return stage.end_empty().await;
    }
    let adopted = stage.engine.adopted().await;
    let told: Vec<_> = adopted.iter().map(|one| (&one.id, &one.owner, one.spec, one.port)).collect();
    assert_eq!(told, [(&id, &spec.owner, SpecDigest::of(&spec), PORT)]);
    assert_eq!(stage.engine.list().await, std::slice::from_ref(&id));
    assert_eq!(stage.get(&id).await, "ok");
    assert!(stage.engine.usage(&id).await.is_some_and(|now| now.cpu >= used.cpu));
    assert!(stage.engine.inspect(&id).await.is_some());
    let again = stage.engine.start(&id, &spec, &Secrets::default()).await;
    assert!(again.is_err(), "its name is taken");
    let other = stage.start("b", &["serve"]).await;
    assert_eq!(stage.get(&other).await, "ok");
    stage.engine.stop(&id, GRACE).await;
    assert_eq!(stage.until_exit(&id).await.1, Exit::Code(0));
    assert_eq!(stage.engine.list().await, [other]);
    stage.end().await;
}

/// A line and an exit that nobody has dealt with come again; those that somebody has do not.
pub async fn a_successor_is_told_what_was_not_dealt_with_and_nothing_else(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let done = stage.start("a", &["exit=0"]).await;
    stage.until_exit(&done).await;
    let open = stage.start("b", &["print=one", "eprint=two", "exit=7"]).await;
    let mut unsettled = Vec::new();
    // As whoever is killed with them in its hands.
    while !matches!(unsettled.last(), Some(EngineEvent::Exited { .. })) {
        unsettled.push(stage.event().await);
    }
    let living = stage.start("c", &["print=before", "wait=500", "print=after", "exit=5"]).await;
    let Some(EngineEvent::Exited { time: first_told, .. }) = unsettled.last().cloned() else {
        unreachable!("see above")
    };
    let Stage { engine, events, .. } = stage;
    drop(engine);
    bed.successor().await;
    drop((unsettled, events));
    let mut stage = Stage::new(bed);
    if !bed.instances_outlive_their_engine() {
        return stage.end_empty().await;
    }
    let mut adopted: Vec<_> = stage.engine.adopted().await.into_iter().map(|one| one.id).collect();
    adopted.sort();
    assert_eq!(adopted, [open.clone(), living.clone()], "not {done}");
    // Both end by themselves, in any order.
    let mut told: Vec<(InstanceId, String)> = Vec::new();
    while told.iter().filter(|(_, text)| text.starts_with("exit ")).count() < 2 {
        match stage.event().await {
            EngineEvent::Output { id, text, .. } => told.push((id, text)),
            EngineEvent::Exited { id, exit, time, .. } => {
                assert!(
                    id != open || time == first_told,
                    "it ended at {first_told:?}, and not when it is told: {time:?}"
                );
                told.push((id, format!("exit {exit:?}")));
            }
            EngineEvent::Alone { .. } | EngineEvent::Crowded { .. } => {}
        }
    }
    let of = |wanted: &InstanceId| -> Vec<&str> {
        told.iter().filter(|(id, _)| id == wanted).map(|(_, text)| text.as_str()).collect()
    };
    assert_eq!(of(&open).len(), 3, "{told:?}");
    assert!(["one", "two", "exit Code(7)"].iter().all(|text| of(&open).contains(text)), "{told:?}");
    assert_eq!(of(&living), ["before", "after", "exit Code(5)"]);
    assert!(of(&done).is_empty(), "{told:?}");
    stage.end().await;
}
