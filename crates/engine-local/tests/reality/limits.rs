//! Memory, CPU, processes.

use std::time::Duration;

use updraft_engine::Engine as _;
use updraft_model::instance::{Exit, InstanceId};

use crate::bed::Bed;

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn files_in_the_writable_root_count_against_the_memory() {
    let Some(mut bed) = Bed::new().await else { return };
    let spec = bed.spec(&["fill=/big:100", "allocate=60", "exit=0"]);
    let exit = bed.run_spec(&spec).await.exit;
    assert!(matches!(exit, Exit::OutOfMemory { limit, used } if limit == 128 * MIB && used >= 120 * MIB), "{exit:?}");
    assert_eq!(bed.run(&["fill=/big:60", "exit=0"]).await.exit, Exit::Code(0));
    bed.end().await;
}

#[tokio::test]
async fn processes_are_limited_and_all_end_with_the_first() {
    let Some(mut bed) = Bed::new().await else { return };
    let mut spec = bed.spec(&["forks=100", "exit=5"]);
    spec.ingress.limits.pids = 10;
    let seen = bed.run_spec(&spec).await;
    assert_eq!(
        (seen.out.as_slice(), seen.exit),
        (&["fork: 11".to_owned()][..], Exit::OutOfProcesses { limit: 10, status: 5 })
    );
    bed.end().await;
}

#[tokio::test]
async fn cpu_is_limited_and_counted() {
    let Some(mut bed) = Bed::new().await else { return };
    let mut spec = bed.spec(&["burn=1000", "print=burnt", "sleep"]);
    spec.ingress.limits.cpu_millis = 200;
    let id = bed.start(&spec).await;
    while !matches!(bed.event().await, updraft_engine::EngineEvent::Output { text, .. } if text == "burnt") {}
    let usage = bed.engine.usage(&id).await.expect("it is there");
    // A fifth of a second, and as much again for what is counted late.
    assert!((50..=400).contains(&usage.cpu.as_millis()), "{usage:?}");
    assert!(usage.memory_bytes > 0 && usage.memory_peak_bytes >= usage.memory_bytes, "{usage:?}");
    bed.end().await;
}

#[tokio::test]
async fn a_container_sees_its_own_limits_in_its_control_groups() {
    let Some(mut bed) = Bed::new().await else { return };
    let seen = bed.run(&["cat=/sys/fs/cgroup/memory/memory.limit_in_bytes", "cat=/sys/fs/cgroup/memory.max"]).await.out;
    assert!(seen.contains(&(128 * MIB).to_string()), "{seen:?}");
    bed.end().await;
}

/// What is written in a file of the instance's control groups, as the host sees it.
pub(crate) fn written(bed: &Bed, id: &InstanceId, controller: &str, file: &str) -> String {
    let group = format!("updraft-{}/{}/{file}", bed.tag(), id.0);
    let paths = [format!("/sys/fs/cgroup/{controller}/{group}"), format!("/sys/fs/cgroup/{group}")];
    let found = paths.iter().find_map(|path| std::fs::read_to_string(path).ok());
    found.unwrap_or_else(|| panic!("none of {paths:?}")).trim().to_owned()
}

/// Quota and period of its CPU, in microseconds.
fn quota(bed: &Bed, id: &InstanceId) -> (u64, u64) {
    let text = if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        written(bed, id, "cpu", "cpu.max")
    } else {
        let one = |file| written(bed, id, "cpu", file);
        format!("{} {}", one("cpu.cfs_quota_us"), one("cpu.cfs_period_us"))
    };
    let (quota, period) = text.split_once(' ').expect("two numbers");
    (quota.parse().expect("a number"), period.parse().expect("a number"))
}

fn memory(bed: &Bed, id: &InstanceId) -> u64 {
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let file = if unified { "memory.max" } else { "memory.limit_in_bytes" };
    written(bed, id, "memory", file).parse().expect("a number")
}

#[tokio::test]
async fn cpu_and_memory_are_exactly_what_was_given() {
    let Some(bed) = Bed::new().await else { return };
    let given = [(80, 128), (500, 512), (1000, 512), (2000, 1024), (4000, 2048)];
    for (cpu_millis, mib) in given {
        let mut spec = bed.spec(&["sleep"]);
        (spec.ingress.limits.cpu_millis, spec.ingress.limits.memory_bytes) = (cpu_millis, mib * MIB);
        let id = bed.start(&spec).await;
        assert_eq!(quota(&bed, &id), (u64::from(cpu_millis) * 100, 100_000));
        assert_eq!(memory(&bed, &id), mib * MIB);
    }
    bed.end().await;
}

#[tokio::test]
async fn cpu_is_what_it_was_changed_to() {
    let Some(bed) = Bed::new().await else { return };
    let id = bed.start(&bed.spec(&["sleep"])).await;
    for millis in [2000, 8000, 80, 1000] {
        bed.engine.limit_cpu(&id, None, millis).expect("it is there");
        assert_eq!(quota(&bed, &id), (u64::from(millis) * 100, 100_000));
    }
    bed.end().await;
}

/// By the kernel's own count of periods: how much else this machine does makes no difference. In a period in which it
/// is stopped it has used up its quota, but for what is handed out in slices of 5 ms and given back; in any other it
/// has used less. What a tick is late for is made up for later, so the sums count and not the single period.
#[tokio::test]
async fn a_busy_loop_at_half_a_cpu_gets_half_of_it() {
    const QUOTA: Duration = Duration::from_millis(50);
    let Some(bed) = Bed::new().await else { return };
    let mut spec = bed.spec(&["burn=60000"]);
    spec.ingress.limits.cpu_millis = 500;
    let id = bed.start(&spec).await;
    let count = |key: &str| -> u32 {
        let text = written(&bed, &id, "cpu", "cpu.stat");
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        line.expect("it is counted").parse().expect("a number")
    };
    bed.until("it was stopped often enough", || count("nr_throttled") >= 10).await;
    // Read in this order: what happens in between makes the bounds wider.
    let throttled = count("nr_throttled");
    let used = bed.engine.usage(&id).await.expect("it is there").cpu;
    let periods = count("nr_periods");
    assert!(used >= QUOTA * throttled * 8 / 10, "{used:?} in {throttled} periods that were used up");
    assert!(used <= QUOTA * (periods + 2) * 11 / 10, "{used:?} in {periods} periods");
    bed.end().await;
}
