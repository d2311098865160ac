//! An engine that is killed, and the one that comes after it.

use std::time::Duration;

use updraft_engine::{Engine as _, EngineEvent};
use updraft_engine_local::{Isolation, Predecessor};
use updraft_model::instance::Exit;

use crate::bed::{Bed, traces};

/// What an instance of the pool's or of the direct way leaves nothing of, and neither does its successor.
#[tokio::test]
async fn a_successor_that_adopts_nothing_ends_everything_first() {
    let Some(mut bed) = Bed::stocked(2).await else { return };
    let id = bed.start(&bed.spec(&["ignore-term", "forks=3", "serve"])).await;
    bed.succeed_as(|config| config.predecessor = Predecessor::End).await;
    assert_eq!((bed.engine.adopted().await, bed.engine.list().await), (Vec::new(), Vec::new()));
    assert!(bed.engine.connect(&id, 8080).await.is_err());
    assert_eq!(bed.run(&["exit=4"]).await.exit, Exit::Code(4));
    bed.end().await;
}

/// Who made sandboxes by other rules is not to go on with it.
#[tokio::test]
async fn a_launcher_of_another_build_isolation_or_runtime_is_ended_with_its_instances() {
    for other in ["build", "isolation", "runtime"] {
        let Some(mut bed) = Bed::new().await else { return };
        bed.start(&bed.spec(&["serve"])).await;
        let copy = bed.data_dir.join("launcher");
        std::fs::copy(env!("CARGO_BIN_EXE_updraft-launcher"), &copy).expect("a copy");
        bed.succeed_as(|config| match other {
            "build" => config.launcher.program = copy,
            "isolation" => config.isolation = Isolation::Chroot,
            _ => config.runtime = Some("runc".into()),
        })
        .await;
        assert!(bed.engine.adopted().await.is_empty(), "{other}");
        bed.end().await;
    }
}

#[tokio::test]
async fn a_launcher_that_nobody_comes_for_in_time_ends_everything_by_itself() {
    let Some(mut bed) = Bed::new().await else { return };
    bed.succeed_as(|config| config.orphaned = Duration::from_secs(1)).await;
    bed.start(&bed.spec(&["ignore-term", "serve"])).await;
    let (tag, dir) = (bed.tag(), bed.data_dir.clone());
    bed.kill().await;
    let group = |found: &String| found.starts_with("/sys/fs/cgroup");
    bed.until("no control group is left", || !traces(&tag, &dir).iter().any(group)).await;
    bed.until("the socket is gone", || !dir.join("run/launcher.sock").exists()).await;
    assert!(!dir.join("run/launcher.waits").exists());
    bed.restart().await;
    assert!(bed.engine.adopted().await.is_empty());
    bed.end().await;
}

/// Without anything to keep there is nothing to wait for.
#[tokio::test]
async fn a_launcher_without_instances_ends_with_its_server() {
    let Some(mut bed) = Bed::stocked(2).await else { return };
    let (tag, dir) = (bed.tag(), bed.data_dir.clone());
    bed.kill().await;
    let group = |found: &String| found.starts_with("/sys/fs/cgroup");
    bed.until("no control group is left", || !traces(&tag, &dir).iter().any(group)).await;
    bed.restart().await;
    bed.end().await;
}

/// More than the window holds: the instance waits for the next server, and every line comes, in order.
#[tokio::test]
async fn no_line_is_lost_however_much_is_written_while_there_is_no_server() {
    const LINES: usize = 30_000;
    let Some(mut bed) = Bed::new().await else { return };
    let id = bed.start(&bed.spec(&[&format!("count={LINES}"), "exit=7"])).await;
    let mut next = 0;
    for round in 0..4 {
        // Some lines are taken by each; those in its hands when it is killed come again.
        while next < LINES / 4 * round {
            next = after(next, &id.0, bed.event().await);
        }
        bed.succeed().await;
        assert_eq!(bed.engine.adopted().await.len(), 1, "round {round}");
    }
    loop {
        match bed.event().await {
            EngineEvent::Exited { exit, .. } => {
                assert_eq!((exit, next), (Exit::Code(7), LINES));
                break;
            }
            event => next = after(next, &id.0, event),
        }
    }
    bed.end().await;
}

/// The number of the line that is to come next: the one after this, unless this one comes again.
fn after(next: usize, wanted: &str, event: EngineEvent) -> usize {
    let EngineEvent::Output { id, text, .. } = event else { panic!("{event:?}") };
    assert_eq!(id.0, wanted);
    let number: usize = text.parse().expect("a number");
    assert!(number <= next, "{number} came, and {next} did not");
    next.max(number + 1)
}

/// A server that is killed while it takes over is followed by one that does so again.
#[tokio::test]
async fn servers_that_are_killed_one_after_the_other_lose_nothing() {
    let Some(mut bed) = Bed::stocked(2).await else { return };
    let ids = [bed.start(&bed.spec(&["serve"])).await, bed.start(&bed.spec(&["serve"])).await];
    for _ in 0..5 {
        bed.succeed().await;
    }
    let mut adopted: Vec<_> = bed.engine.adopted().await.into_iter().map(|one| one.id).collect();
    adopted.sort();
    assert_eq!(adopted, ids);
    for id in &ids {
        assert!(bed.get(id, "/").await.ends_with("ok"));
    }
    // Its sandboxes have names of their own, also beside those that were used.
    bed.until("sandboxes are made", || bed.engine.spare_sandboxes() == 2).await;
    let another = bed.start(&bed.spec(&["serve"])).await;
    assert!(bed.get(&another, "/").await.ends_with("ok"));
    bed.end().await;
}
