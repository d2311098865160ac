//! What happens when somebody dies who should not.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use updraft_engine::{Engine as _, EngineEvent};
use updraft_model::instance::{Exit, InstanceId, Secrets};

use crate::{
    bed::{Bed, is_root},
    image::Image,
};

/// The launcher of the engine with this data directory, as the engine noted it.
pub(crate) fn launcher(data_dir: &Path) -> Pid {
    let text = std::fs::read_to_string(data_dir.join("run/launcher.lock")).expect("it is noted");
    Pid::from_raw(text.trim().parse().expect("a number")).expect("a process")
}

#[tokio::test]
async fn a_lost_launcher_takes_its_instances_with_it_and_is_replaced() {
    let Some(mut bed) = Bed::new().await else { return };
    let frozen = bed.start(&bed.spec(&["forks=3", "serve"])).await;
    bed.get(&frozen, "/").await;
    bed.engine.freeze(&frozen).expect("it is there");
    let ids = [bed.start(&bed.spec(&["serve"])).await, bed.start(&bed.spec(&["ignore-term", "sleep"])).await, frozen];
    let before = launcher(&bed.data_dir);
    kill_process(before, Signal::KILL).expect("it is alive");
    let mut lost = Vec::new();
    while lost.len() < ids.len() {
        if let EngineEvent::Exited { id, exit, .. } = bed.event().await {
            assert_eq!(exit, Exit::Lost);
            lost.push(id);
        }
    }
    assert!(bed.engine.list().await.is_empty());
    let dir = bed.data_dir.clone();
    bed.until("another launcher works", || launcher(&dir) != before).await;
    assert_eq!(bed.run(&["exit=7"]).await.exit, Exit::Code(7));
    bed.end().await;
}

/// Set for the process that is to be killed: where it shall keep its data.
const VICTIM: &str = "UPDRAFT_TEST_VICTIM";

/// Not a test of its own: the server that the tests below kill.
#[tokio::test]
async fn victim() {
    let Ok(dir) = std::env::var(VICTIM) else { return };
    let bed = Bed::at(Path::new(&dir), &Image::plain()).await;
    let serving = bed.start(&bed.spec(&["serve"])).await;
    bed.start(&bed.spec(&["ignore-term", "forks=3", "sleep"])).await;
    let frozen = bed.start(&bed.spec(&["forks=3", "serve"])).await;
    bed.get(&frozen, "/").await;
    bed.engine.freeze(&frozen).expect("it is there");
    let noted = format!("{} {serving} {frozen}", bed.tag());
    std::fs::write(Path::new(&dir).join("tag"), noted).expect("a directory of the test");
    std::future::pending::<()>().await;
}

/// A server of its own process that has been killed, perhaps with its launcher.
struct Killed {
    tag: String,
    serving: InstanceId,
    frozen: InstanceId,
}

async fn kill_a_server(dir: &Path, probe: &Bed, whom: &str) -> Killed {
    let mut victim = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "crashes::victim", "--nocapture"])
        .env(VICTIM, dir)
        .stdout(Stdio::null())
        .spawn()
        .expect("this program runs");
    let noted = || std::fs::read_to_string(dir.join("tag")).unwrap_or_default();
    probe.until("the victim has instances", || noted().split(' ').nth(2).is_some_and(|id| id.len() == 8)).await;
    let launcher = launcher(dir);
    victim.kill().expect("it is alive");
    if whom == "both" {
        // It may have ended by itself.
        let _ = kill_process(launcher, Signal::KILL);
    }
    victim.wait().expect("it is ours");
    let noted = noted();
    let [tag, serving, frozen] = noted.split(' ').collect::<Vec<_>>().try_into().expect("just seen");
    let id = |text: &str| InstanceId(text.to_owned());
    Killed { tag: tag.to_owned(), serving: id(serving), frozen: id(frozen) }
}

/// How many control groups of instances an engine has, those of sandboxes that wait left out.
fn groups(tag: &str) -> usize {
    let groups = std::fs::read_dir(format!("/sys/fs/cgroup/memory/updraft-{tag}"));
    let names = groups.into_iter().flatten().flatten().filter(|one| one.path().is_dir()).map(|one| one.file_name());
    names.filter(|name| !name.to_string_lossy().starts_with("shell.")).count()
}

#[tokio::test]
async fn a_killed_server_is_followed_by_one_that_goes_on_with_its_instances() {
    let Some(probe) = Bed::new().await else { return };
    let dir = tempfile::tempdir().expect("a place for the test");
    let killed = kill_a_server(dir.path(), &probe, "the server").await;
    let before = launcher(dir.path());
    let mut next = Bed::at(dir.path(), &Image::plain()).await;
    assert_eq!((next.tag(), launcher(dir.path())), (killed.tag, before));
    assert_eq!(next.engine.adopted().await.len(), 3);
    assert!(next.get(&killed.serving, "/").await.ends_with("ok"));
    assert!(next.get(&killed.frozen, "/").await.ends_with("ok"), "it would be frozen for ever");
    assert_eq!(next.run(&["exit=3"]).await.exit, Exit::Code(3));
    next.end().await;
    probe.end().await;
}

#[tokio::test]
async fn a_server_killed_with_its_launcher_leaves_nothing_that_the_next_does_not_remove() {
    let Some(probe) = Bed::new().await else { return };
    let dir = tempfile::tempdir().expect("a place for the test");
    let killed = kill_a_server(dir.path(), &probe, "both").await;
    let mut next = Bed::at(dir.path(), &Image::plain()).await;
    assert_eq!(next.tag(), killed.tag);
    assert_eq!((next.engine.adopted().await, groups(&killed.tag)), (Vec::new(), 0));
    assert_eq!(next.run(&["exit=3"]).await.exit, Exit::Code(3));
    next.end().await;
    probe.end().await;
}

#[tokio::test]
async fn two_engines_live_side_by_side_and_one_ends_alone() {
    let (Some(mut first), Some(second)) = (Bed::new().await, Bed::new().await) else { return };
    assert_ne!(first.tag(), second.tag());
    let left = first.start(&first.spec(&["serve"])).await;
    second.start(&second.spec(&["serve"])).await;
    second.end().await;
    assert_eq!(first.engine.list().await, [left]);
    assert!(!first.traces().is_empty());
    assert_eq!(first.run(&["exit=0"]).await.exit, Exit::Code(0));
    first.end().await;
}

#[tokio::test]
async fn an_engine_that_was_shut_down_starts_again_on_the_same_directory() {
    let dir = tempfile::tempdir().expect("a place for the test");
    if !is_root() {
        return;
    }
    let mut bed = Bed::at(dir.path(), &Image::plain()).await;
    assert_eq!(bed.run(&["exit=0"]).await.exit, Exit::Code(0));
    bed.engine.shutdown(std::time::Duration::ZERO).await;
    bed.restart().await;
    assert_eq!(bed.run(&["exit=1"]).await.exit, Exit::Code(1));
    bed.end().await;
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_leaves_nothing() {
    let Some(mut bed) = Bed::new().await else { return };
    let spec = bed.spec(&["exit=0"]);
    bed.engine.prepare(&spec).await.expect("the image can be prepared");
    for n in 0..20 {
        let id = InstanceId(format!("dropped{n}"));
        let secrets = Secrets::default();
        let start = bed.engine.start(&id, &spec, &secrets);
        let _ = bed.clock.timeout(std::time::Duration::from_micros(n * 200), start).await;
    }
    let engine = bed.engine.clone();
    let deadline = bed.clock.instant() + crate::bed::DEADLINE;
    while !engine.list().await.is_empty() {
        assert!(bed.clock.instant() < deadline, "{:?}", engine.list().await);
        let clock = bed.clock.clone();
        let _ = clock.timeout(std::time::Duration::from_millis(20), bed.event()).await;
    }
    bed.end().await;
}
