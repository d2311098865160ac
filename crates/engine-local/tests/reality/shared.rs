//! Without namespaces: what is kept apart all the same, and that nothing outlives its end.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use updraft_engine::{Engine as _, EngineEvent};
use updraft_engine_local::Isolation;
use updraft_model::instance::{Exit, InstanceId};

use crate::{
    bed::{Bed, is_root},
    image::{Entry, Image},
};

/// Both isolations that share the host's network and processes.
const SHARED: [Isolation; 2] = [Isolation::Chroot, Isolation::None];

mod contract_of_chroot {
    use super::{Bed, Image, Isolation};

    async fn bed() -> Option<Bed> {
        Bed::under(Isolation::Chroot, Image::plain()).await
    }

    updraft_engine::contract_suite!(bed);
}

mod contract_of_none {
    use super::{Bed, Image, Isolation};

    async fn bed() -> Option<Bed> {
        Bed::under(Isolation::None, Image::plain()).await
    }

    updraft_engine::contract_suite!(bed);
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !matches!(stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next()), None | Some("Z" | "X"))
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).expect("a number"), Signal::KILL).expect("it is alive");
}

fn parent(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is alive");
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    rest.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()).expect("a number")
}

fn launcher(data_dir: &Path) -> u32 {
    fs::read_to_string(data_dir.join("run/launcher.lock")).expect("it is noted").trim().parse().expect("a number")
}

fn roots(data_dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(data_dir.join("run/roots")).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The next numbers that this instance prints.
async fn numbers(bed: &mut Bed, wanted: &InstanceId, count: usize) -> Vec<u32> {
    let mut seen = Vec::new();
    while seen.len() < count {
        if let EngineEvent::Output { id, text, .. } = bed.event().await
            && id == *wanted
        {
            seen.push(text.parse().unwrap_or_else(|_| panic!("no number: {text}")));
        }
    }
    seen
}

/// An instance of a program and two daemons of it, with their numbers; the program's is the first.
async fn family(bed: &mut Bed) -> (InstanceId, Vec<u32>) {
    let id = bed.start(&bed.spec(&["pid", "daemon", "daemon", "ignore-term", "sleep"])).await;
    let pids = numbers(bed, &id, 3).await;
    assert!(pids.iter().all(|&pid| is_alive(pid)), "{pids:?}");
    (id, pids)
}

#[tokio::test]
async fn daemons_end_with_the_first_process_and_are_not_waited_for() {
    for isolation in SHARED {
        let Some(mut bed) = Bed::under(isolation, Image::plain()).await else { return };
        let seen = bed.run(&["daemon", "daemon", "forks=3", "exit=7"]).await;
        assert_eq!(seen.exit, Exit::Code(7), "{isolation}");
        let pids: Vec<u32> = seen.out.iter().map(|pid| pid.parse().expect("a number")).collect();
        assert_eq!(pids.len(), 2, "{isolation}");
        assert!(!pids.iter().any(|&pid| is_alive(pid)), "{isolation}: told to be over and alive");
        assert_eq!(roots(&bed.data_dir), Vec::<PathBuf>::new());
        bed.end().await;
    }
}

#[tokio::test]
async fn a_kill_ends_every_descendant_also_when_the_keeper_has_been_killed() {
    for isolation in SHARED {
        let Some(mut bed) = Bed::under(isolation, Image::plain()).await else { return };
        let (id, pids) = family(&mut bed).await;
        bed.engine.stop(&id, std::time::Duration::ZERO).await;
        assert_eq!(bed.until_exit(&id).await.exit, Exit::Signal(9));
        assert!(!pids.iter().any(|&pid| is_alive(pid)), "{isolation}");

        let (id, pids) = family(&mut bed).await;
        kill(parent(pids[0]));
        assert_eq!(bed.until_exit(&id).await.exit, Exit::Signal(9));
        assert!(!pids.iter().any(|&pid| is_alive(pid)), "{isolation}: left by a killed keeper");
        assert_eq!(bed.run(&["exit=3"]).await.exit, Exit::Code(3), "the next is none the worse");
        bed.end().await;
    }
}

#[tokio::test]
async fn nothing_outlives_a_killed_launcher_and_the_next_one_works() {
    for isolation in SHARED {
        let Some(mut bed) = Bed::under(isolation, Image::plain()).await else { return };
        let (id, pids) = family(&mut bed).await;
        let before = launcher(&bed.data_dir);
        kill(before);
        assert_eq!(bed.until_exit(&id).await.exit, Exit::Lost);
        assert!(!pids.iter().any(|&pid| is_alive(pid)), "{isolation}");
        let dir = bed.data_dir.clone();
        bed.until("another launcher works", || launcher(&dir) != before).await;
        assert_eq!(bed.run(&["exit=7"]).await.exit, Exit::Code(7));
        assert_eq!(roots(&bed.data_dir), Vec::<PathBuf>::new());
        bed.end().await;
    }
}

/// Set for the process that is to be killed: where it shall keep its data, and the isolation.
const VICTIM: &str = "UPDRAFT_TEST_SHARED_VICTIM";

/// Not a test of its own: the server that the next test kills.
#[tokio::test]
async fn victim() {
    let Ok(order) = std::env::var(VICTIM) else { return };
    let (isolation, dir) = order.split_once(':').expect("isolation and directory");
    let isolation = isolation.parse().expect("an isolation");
    let mut bed = Bed::at_under(Path::new(dir), isolation, &Image::plain()).await;
    let (_, pids) = family(&mut bed).await;
    let noted = Path::new(dir).join("pids");
    fs::write(noted.with_extension("new"), json!(pids).to_string()).expect("a directory of the test");
    fs::rename(noted.with_extension("new"), noted).expect("a directory of the test");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn nothing_outlives_a_killed_server_for_long_whoever_is_killed_with_it() {
    if !is_root() {
        return;
    }
    for (isolation, whom) in
        SHARED.into_iter().flat_map(|one| ["server", "launcher", "keepers"].map(|whom| (one, whom)))
    {
        let dir = tempfile::tempdir().expect("a place for the test");
        let mut victim = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "shared::victim", "--nocapture"])
            .env(VICTIM, format!("{isolation}:{}", dir.path().display()))
            .stdout(Stdio::null())
            .spawn()
            .expect("this program runs");
        let probe = Bed::new().await.expect("root");
        let noted = dir.path().join("pids");
        probe.until("the victim has an instance", || noted.exists()).await;
        let pids: Vec<u32> = serde_json::from_str(&fs::read_to_string(&noted).expect("noted")).expect("numbers");
        let (keeper, launcher) = (parent(pids[0]), launcher(dir.path()));
        victim.kill().expect("it is alive");
        if whom != "server" {
            let _ = kill_process(Pid::from_raw(launcher.cast_signed()).expect("a number"), Signal::KILL);
        }
        if whom == "keepers" {
            // It may be over already, and its charges with it.
            let _ = kill_process(Pid::from_raw(keeper.cast_signed()).expect("a number"), Signal::KILL);
        } else {
            let gone = || !pids.iter().any(|&pid| is_alive(pid));
            probe.until("everything has ended without another start", gone).await;
        }
        victim.wait().expect("it is ours");
        let mut next = Bed::at_under(dir.path(), isolation, &Image::plain()).await;
        assert!(!pids.iter().any(|&pid| is_alive(pid)), "{isolation}, killed: {whom}");
        assert_eq!(roots(dir.path()), Vec::<PathBuf>::new(), "{isolation}, killed: {whom}");
        assert_eq!(next.run(&["exit=3"]).await.exit, Exit::Code(3), "{isolation}, killed: {whom}");
        next.end().await;
        probe.end().await;
    }
}

#[tokio::test]
async fn an_instance_changes_neither_the_image_nor_another_instance() {
    for user in ["", "app"] {
        let own = vec![Entry::Directory("own", 0o777), Entry::File("own/shared", 0o666, b"text\n".to_vec())];
        let image = Image::plain().layer(own).with("User", json!(user));
        let Some(mut bed) = Bed::under(Isolation::Chroot, image).await else { return };
        let (first, second) = (bed.start(&bed.spec(&["serve"])).await, bed.start(&bed.spec(&["serve"])).await);
        let change = bed.run(&["write=/own/shared", "write=/own/new", "cat=/own/shared"]).await.out;
        assert_eq!(change, ["/own/shared: ok", "/own/new: ok", "x"], "{user}");
        assert_eq!(bed.run(&["cat=/own/shared", "ls=/own"]).await.out, ["text", "shared"], "{user}");
        for id in [&first, &second] {
            let own = bed.data_dir.join("run/roots").join(&id.0).join("own");
            assert_eq!(fs::read_to_string(own.join("shared")).expect("there"), "text\n", "{user}");
            assert!(!own.join("new").exists(), "{user}");
        }
        bed.end().await;
    }
}

#[tokio::test]
async fn a_root_of_its_own_has_what_can_be_had_without_mounts() {
    let Some(mut bed) = Bed::under(Isolation::Chroot, Image::plain()).await else { return };
    let steps = ["ls=/", "mode=/dev/null", "write=/dev/null", "stdout-file", "mode=/tmp", "cwd", "cat=/etc/hostname"];
    let seen = bed.run(&steps).await.out;
    let want = ["dev etc probe proc sys tmp", "20666 0:0", "/dev/null: ok", "ok", "41777 0:0", "/", "localhost"];
    assert_eq!(seen, want);
    let seen = bed.run(&["cat=/proc/meminfo", "print=", "env=PORT", "env=UPDRAFT_INSTANCE"]).await.out;
    assert!(seen[0].starts_with("MemTotal:") && seen[0].ends_with(" 131072 kB"), "{seen:?}");
    assert!(!seen.contains(&"PORT=8080".to_owned()), "every instance has a port of its own: {seen:?}");
    bed.end().await;
}

#[tokio::test]
async fn what_can_be_given_up_without_namespaces_is_given_up() {
    for isolation in SHARED {
        let Some(mut bed) = Bed::under(isolation, Image::plain().with("User", json!("app"))).await else { return };
        // chroot, ptrace, shmget.
        let seen = bed.run(&["syscall=161", "syscall=101", "syscall=29", "syscall=272", "write=/root-only"]).await.out;
        assert_eq!(seen[..4], ["1", "1", "1", "1"], "{isolation}");
        assert!(seen[4].contains("errno"), "{isolation}: {seen:?}");
        bed.end().await;
    }
    // There is a `/proc` to look at oneself.
    let Some(mut bed) = Bed::under(Isolation::None, Image::plain().with("User", json!("app"))).await else { return };
    let seen = bed.run(&["status=Uid", "status=CapEff", "status=NoNewPrivs", "status=Seccomp"]).await.out;
    assert_eq!(seen, ["Uid: 1000 1000 1000 1000", "CapEff: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2"]);
    bed.end().await;
}

#[tokio::test]
async fn without_a_root_of_its_own_a_program_starts_in_its_copy_of_the_image() {
    let image =
        Image::plain().layer(vec![Entry::File("data", 0o644, b"mine\n".to_vec())]).with("WorkingDir", json!("/made"));
    let Some(mut bed) = Bed::under(Isolation::None, image).await else { return };
    let seen = bed.run(&["cwd", "cat=../data"]).await.out;
    assert!(seen[0].ends_with("/made") && seen[0].contains("/run/roots/"), "{seen:?}");
    assert_eq!(seen[1], "mine");
    bed.end().await;
}

#[tokio::test]
async fn without_a_root_of_its_own_only_static_programs_are_taken_and_the_reason_is_told() {
    let script = Entry::File("script", 0o755, b"#!/bin/sh\n".to_vec());
    let Some(bed) = Bed::under(Isolation::None, Image::plain().layer(vec![script])).await else { return };
    let mut spec = bed.spec(&[]);
    spec.ingress.command = vec!["/script".to_owned()];
    let refused = bed.engine.prepare(&spec).await.expect_err("it is a script").to_string();
    assert!(refused.contains("only static programs run") && refused.contains("a script for '/bin/sh'"), "{refused}");
    bed.end().await;
}
