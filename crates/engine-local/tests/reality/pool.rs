//! Sandboxes that are made before they are needed.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
    time::Duration,
};

use futures::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use updraft_engine::Engine as _;
use updraft_model::instance::{Exit, Limits};

use crate::bed::Bed;

async fn bed() -> Option<Bed> {
    Bed::stocked(2).await
}

updraft_engine::contract_suite!(bed);

/// The control groups of sandboxes that wait, or were made ahead and run something.
fn shells(bed: &Bed) -> Vec<PathBuf> {
    let parent = PathBuf::from(format!("/sys/fs/cgroup/pids/updraft-{}", bed.tag()));
    let unified = PathBuf::from(format!("/sys/fs/cgroup/updraft-{}", bed.tag()));
    let children = [parent, unified].into_iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
    let named = children.filter(|child| child.file_name().to_string_lossy().starts_with("shell."));
    named.map(|child| child.path()).collect()
}

fn process(group: &std::path::Path) -> Pid {
    let text = fs::read_to_string(group.join("cgroup.procs")).expect("it is there");
    Pid::from_raw(text.lines().next().expect("a process").parse().expect("a number")).expect("a process")
}

#[tokio::test]
async fn a_start_takes_a_sandbox_that_waits_and_another_is_made() {
    let Some(mut bed) = Bed::stocked(2).await else { return };
    let id = bed.start(&bed.spec(&["sleep"])).await;
    let timing = bed.engine.last_start(&id).expect("it runs");
    assert_eq!(timing.network, Duration::ZERO, "its network was there: {timing:?}");
    bed.until("the pool is full again", || bed.engine.spare_sandboxes() == 2).await;
    assert_eq!(shells(&bed).len(), 3, "two that wait and one in use");
    bed.engine.stop(&id, Duration::ZERO).await;
    bed.until_exit(&id).await;
    assert_eq!(shells(&bed).len(), 2, "it is used once");
    bed.end().await;
}

#[tokio::test]
async fn who_listens_is_known_without_connecting() {
    let Some(bed) = Bed::stocked(1).await else { return };
    let (asleep, up) = (bed.start(&bed.spec(&["sleep"])).await, bed.start(&bed.spec(&["serve"])).await);
    bed.until("it listens", || bed.engine.listens(&up, 8080) == Some(true)).await;
    assert_eq!(bed.engine.listens(&up, 8081), Some(false));
    assert_eq!(bed.engine.listens(&asleep, 8080), Some(false));
    bed.end().await;
}

#[tokio::test]
async fn every_process_is_held_to_the_list_of_devices_that_all_instances_share() {
    let Some(bed) = Bed::stocked(1).await else { return };
    let group = PathBuf::from(format!("/sys/fs/cgroup/devices/updraft-{}", bed.tag()));
    if !group.exists() {
        // Version 2 has a program instead, which has its own test.
        return bed.end().await;
    }
    let _used = bed.start(&bed.spec(&["sleep"])).await;
    bed.until("the pool is full again", || bed.engine.spare_sandboxes() == 1).await;
    let held = fs::read_to_string(group.join("cgroup.procs")).expect("it is there");
    for process in shells(&bed).iter().map(|group| process(group)) {
        let number = process.as_raw_nonzero().to_string();
        assert!(held.lines().any(|one| one == number), "{number} is not among {held:?}");
    }
    let list = fs::read_to_string(group.join("devices.list")).expect("it is there");
    let mut allowed: Vec<&str> = list.lines().collect();
    allowed.sort_unstable();
    let devices = ["136:*", "1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:2"];
    assert_eq!(allowed, devices.map(|device| format!("c {device} rwm")));
    bed.end().await;
}

#[tokio::test]
async fn more_starts_than_sandboxes_make_their_own() {
    let Some(mut bed) = Bed::stocked(2).await else { return };
    let spec = bed.spec(&["exit=5"]);
    let ids = join_all((0..8).map(|_| bed.start(&spec))).await;
    let mut exits = Vec::new();
    while exits.len() < ids.len() {
        if let updraft_engine::EngineEvent::Exited { exit, .. } = bed.event().await {
            exits.push(exit);
        }
    }
    assert_eq!(exits, vec![Exit::Code(5); 8]);
    bed.end().await;
}

#[tokio::test]
async fn an_instance_has_its_own_limits_although_its_sandbox_was_there_before() {
    let Some(mut bed) = Bed::stocked(1).await else { return };
    let mut spec = bed.spec(&["sleep"]);
    spec.ingress.limits = Limits { cpu_millis: 500, memory_bytes: 48 << 20, pids: 17 };
    let id = bed.start(&spec).await;
    let group = shells(&bed)
        .into_iter()
        .find(|group| fs::read_to_string(group.join("pids.max")).is_ok_and(|text| text.trim() == "17"));
    assert!(group.is_some(), "{:?}", shells(&bed));
    bed.engine.stop(&id, Duration::ZERO).await;
    bed.until_exit(&id).await;
    bed.end().await;
}

#[tokio::test]
async fn a_sandbox_that_dies_while_it_waits_is_replaced() {
    let Some(mut bed) = Bed::stocked(1).await else { return };
    let group = shells(&bed).pop().expect("one waits");
    kill_process(process(&group), Signal::KILL).expect("it is alive");
    bed.until("it is gone", || !group.exists()).await;
    bed.until("another waits", || bed.engine.spare_sandboxes() == 1 && !shells(&bed).is_empty()).await;
    assert_eq!(bed.run(&["exit=3"]).await.exit, Exit::Code(3));
    bed.end().await;
}

#[tokio::test]
async fn a_sandbox_that_waits_holds_nothing_of_an_instance_before_it() {
    let Some(mut bed) = Bed::stocked(1).await else { return };
    // Written in two parts, so that the test's own memory has it in one piece only where the instance's spec has it.
    let secret = ["of-nobody-", "elses-business-7391"].concat();
    let mut spec = bed.spec(&["exit=0"]);
    spec.ingress.env.push(("SECRET".to_owned(), secret.clone()));
    for _ in 0..3 {
        assert_eq!(bed.run_spec(&spec).await.exit, Exit::Code(0));
    }
    bed.until("another waits", || bed.engine.spare_sandboxes() == 1).await;
    let process = process(&shells(&bed).pop().expect("one waits"));
    let memory = memory(process.as_raw_nonzero().get());
    assert!(memory.len() > 64 << 10, "its memory can be read");
    assert!(!memory.windows(secret.len()).any(|window| window == secret.as_bytes()), "the secret is in its memory");
    bed.end().await;
}

/// All memory of a process that can be read.
fn memory(pid: i32) -> Vec<u8> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it is alive");
    let mut file = fs::File::open(format!("/proc/{pid}/mem")).expect("we are root");
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw-p ") || line.contains(" rw-s ")) {
        let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
        let number = |text| u64::from_str_radix(text, 16).expect("hexadecimal");
        let mut piece = vec![0; usize::try_from(number(to) - number(from)).expect("short")];
        let read = file.seek(SeekFrom::Start(number(from))).and_then(|_| file.read_exact(&mut piece));
        if read.is_ok() {
            all.extend(piece);
        }
    }
    all
}
