//! Cases about the CPU: taken away, given back, limited.

use std::{io, time::Duration};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use updraft_model::instance::{Exit, InstanceId};

use super::{Bed, DEADLINE, GRACE, PORT, Stage};
use crate::EngineEvent;

/// An instance that writes a line each millisecond is taken for frozen when none has come for so long.
pub(super) const SILENCE: Duration = Duration::from_millis(150);

/// The lines stop, and go on where they were.
pub async fn a_frozen_instance_makes_no_progress_until_it_is_thawed(bed: &impl Bed) {
    let mut stage = Stage::new(bed);
    let id = stage.start("a", &["tick=1"]).await;
    let begun = stage.ticks(&id).await;
    if !stage.freeze(bed, &id) {
        return stage.end().await;
    }
    let mut last = begun;
    let asked = stage.clock.instant();
    while let Ok(tick) = stage.clock.clone().timeout(SILENCE, stage.ticks(&id)).await {
        assert!(stage.since(asked) < DEADLINE, "it goes on although it is frozen: tick {tick}");
        assert_eq!(tick, last + 1);
        last = tick;
    }
    // Twice is as good as once.
    stage.engine.freeze(&id).expect("it is there");
    stage.engine.thaw(&id).expect("it is there");
    assert_eq!(stage.ticks(&id).await, last + 1, "nothing was lost and nothing made up for");
    stage.engine.thaw(&id).expect("that it is thawed is no error");
    stage.ticks(&id).await;
    stage.end().await;
}

/// Connections are taken by the kernel, and what is sent waits.
pub async fn what_is_sent_to_a_frozen_instance_is_answered_after_the_thaw(bed: &impl Bed) {
    let stage = Stage::new(bed);
    let id = stage.start("a", &["serve"]).await;
    assert_eq!(stage.get(&id).await, "ok");
    let mut kept = stage.engine.connect(&id, PORT).await.expect("it listens");
    if !stage.freeze(bed, &id) {
        return stage.end().await;
    }
    let mut new = stage.engine.connect(&id, PORT).await.expect("the kernel takes it");
    for stream in [&mut kept, &mut new] {
        let request = b"GET / HTTP/1.1\r\nhost: contract\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.expect("the kernel takes it");
    }
    stage.engine.thaw(&id).expect("it is there");
    for stream in [&mut kept, &mut new] {
        let mut answer = String::new();
        let read = stage.clock.timeout(DEADLINE, stream.read_to_string(&mut answer)).await;
        read.expect("the answer comes").expect("the answer is text");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    stage.end().await;
}

/// It is asked to end and does, is killed and ends, and is ended with the engine.
pub async fn a_frozen_instance_ends_as_any_other(bed: &impl Bed) {
    let mut stage = Stage::new(bed);
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(stage.start(name, &["serve"]).await);
    }
    for id in &ids {
        assert_eq!(stage.get(id).await, "ok");
        if !stage.freeze(bed, id) {
            return stage.end().await;
        }
    }
    stage.engine.stop(&ids[0], GRACE).await;
    let refused = stage.engine.freeze(&ids[0]).map_err(|error| error.kind());
    assert_eq!(refused, Err(io::ErrorKind::NotFound), "what is being stopped is not frozen any more");
    assert_eq!(stage.until_exit(&ids[0]).await.1, Exit::Code(0));
    stage.engine.stop(&ids[1], Duration::ZERO).await;
    assert_eq!(stage.until_exit(&ids[1]).await.1, Exit::Signal(9));
    stage.end().await;
}

/// Neither before its start nor after its end.
pub async fn what_is_not_there_has_no_cpu_to_take_or_limit(bed: &impl Bed) {
    let mut stage = Stage::new(bed);
    let id = stage.start("a", &["exit=0"]).await;
    stage.until_exit(&id).await;
    for id in [id, InstanceId("unknown".to_owned())] {
        let kind = |done: io::Result<()>| done.map_err(|error| error.kind());
        let frozen = (kind(stage.engine.freeze(&id)), kind(stage.engine.thaw(&id)));
        let expected = if bed.can_freeze() { io::ErrorKind::NotFound } else { io::ErrorKind::Unsupported };
        assert_eq!(frozen, (Err(expected), Err(expected)), "{id}");
        let expected = if bed.can_limit_cpu() { io::ErrorKind::NotFound } else { io::ErrorKind::Unsupported };
        assert_eq!(kind(stage.engine.limit_cpu(&id, None, 1000)), Err(expected), "{id}");
    }
    stage.end().await;
}

/// More, less, and it goes on.
pub async fn the_cpu_of_an_instance_can_be_changed_while_it_runs(bed: &impl Bed) {
    let mut stage = Stage::new(bed);
    let id = stage.start("a", &["tick=1"]).await;
    for millis in [2000, 80, 1000] {
        match stage.engine.limit_cpu(&id, None, millis) {
            Err(error) if !bed.can_limit_cpu() => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
            limited => limited.expect("it is there"),
        }
        stage.ticks(&id).await;
    }
    stage.end().await;
}

/// Whom a killed server had frozen its successor does not know to be frozen: it would be for ever.
pub async fn a_successor_finds_awake_what_its_predecessor_had_frozen(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let id = stage.start("a", &["tick=1"]).await;
    let mut last = stage.ticks(&id).await;
    if !stage.freeze(bed, &id) {
        return stage.end().await;
    }
    while let Ok(tick) = stage.clock.clone().timeout(SILENCE, stage.ticks(&id)).await {
        last = tick;
    }
    let mut stage = stage.succeed(bed).await;
    if !bed.instances_outlive_their_engine() {
        return stage.end_empty().await;
    }
    // Lines that were not dealt with come again; this one has not been written yet.
    while stage.ticks(&id).await <= last {}
    assert!(stage.freeze(bed, &id));
    stage.engine.thaw(&id).expect("it is there");
    if bed.can_limit_cpu() {
        stage.engine.limit_cpu(&id, None, 500).expect("it is there");
    }
    stage.ticks(&id).await;
    stage.end().await;
}

// === impl Stage ===

impl Stage {
    /// Freezes; false where that cannot be, after it was said in the right way.
    pub(super) fn freeze(&self, bed: &impl Bed, id: &InstanceId) -> bool {
        match self.engine.freeze(id) {
            Err(error) if !bed.can_freeze() => {
                assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                false
            }
            frozen => {
                frozen.expect("it is there");
                true
            }
        }
    }

    /// The number of the next line that counts.
    async fn ticks(&mut self, wanted: &InstanceId) -> u64 {
        let deadline = self.clock.clone();
        let next = async {
            loop {
                match self.events.recv().await.expect("the engine is there") {
                    EngineEvent::Output { id, text, .. } if id == *wanted => {
                        let number = text.strip_prefix("tick ").and_then(|number| number.parse().ok());
                        return number.expect("it only ticks");
                    }
                    event => assert!(!matches!(event, EngineEvent::Exited { .. }), "{event:?}"),
                }
            }
        };
        deadline.timeout(DEADLINE, next).await.expect("it goes on in time")
    }
}
