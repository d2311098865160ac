//! Memory, CPU, processes.

use updraft_model::instance::Exit;

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
    let usage = updraft_engine::Engine::usage(&*bed.engine, &id).await.expect("it is there");
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
