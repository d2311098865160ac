//! Attempts at tasks: what is otherwise than with instances of revisions.

use std::collections::{BTreeMap, BTreeSet};

use updraft_engine::{Engine as _, EngineEvent};
use updraft_model::{
    instance::{Exit, InstanceId, InstanceSpec},
    name::Parent,
};

use crate::{bed::Bed, limits::written};

/// Where a process sees the addresses of its namespace.
const ADDRESSES: &str = "cat=/proc/net/fib_trie";
/// How often one attempt comes after the other: the network of the first is back a moment after its end is told.
const ATTEMPTS: u32 = 10;

fn attempt(bed: &Bed, (execution, number): (&str, u32), steps: &[&str]) -> InstanceSpec {
    let task = Parent::new("demo-project", "us-central1").job("batch").execution(execution).task(0);
    InstanceSpec { owner: task.attempt(number).into(), ..bed.spec(steps) }
}

#[tokio::test]
async fn a_task_may_use_as_much_cpu_as_what_serves_and_weighs_a_sixteenth_of_it() {
    let Some(bed) = Bed::new().await else { return };
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let (file, serving, batch) = if unified { ("cpu.weight", "100", "6") } else { ("cpu.shares", "1024", "64") };
    let id = bed.start(&bed.spec(&["sleep"])).await;
    assert_eq!(written(&bed, &id, "cpu", file), serving);
    let id = bed.start(&attempt(&bed, ("batch-a", 0), &["sleep"])).await;
    assert_eq!(written(&bed, &id, "cpu", file), batch);
    bed.engine.limit_cpu(&id, None, 2000).expect("it is there");
    assert_eq!(written(&bed, &id, "cpu", file), if unified { "12" } else { "128" }, "with twice the CPU twice that");
    bed.end().await;
}

#[tokio::test]
async fn attempts_of_one_execution_have_one_network_after_the_other_and_share_none_with_another() {
    let Some(mut bed) = Bed::new().await else { return };
    let mut seen = [BTreeSet::new(), BTreeSet::new()];
    for number in 0..ATTEMPTS {
        for (execution, seen) in ["batch-a", "batch-b"].into_iter().zip(&mut seen) {
            let spec = attempt(&bed, (execution, number), &[ADDRESSES, "exit=0"]);
            let outcome = bed.run_spec(&spec).await;
            assert_eq!(outcome.exit, Exit::Code(0));
            seen.insert(outcome.out);
        }
    }
    let [a, b] = &seen;
    assert!(a.len() < ATTEMPTS as usize && b.len() < ATTEMPTS as usize, "no network was had twice");
    assert!(a.is_disjoint(b), "{:?}", a.intersection(b));
    bed.end().await;
}

#[tokio::test]
async fn two_attempts_at_a_time_never_have_the_same_network() {
    let Some(mut bed) = Bed::new().await else { return };
    bed.run_spec(&attempt(&bed, ("batch-a", 0), &["exit=0"])).await;
    for number in 1..5 {
        bed.start(&attempt(&bed, ("batch-a", number), &[ADDRESSES, "wait=300", "exit=0"])).await;
    }
    let (mut told, mut ended) = (BTreeMap::<InstanceId, String>::new(), 0);
    while ended < 4 {
        match bed.event().await {
            EngineEvent::Output { id, text, .. } => told.entry(id).or_default().push_str(&text),
            EngineEvent::Exited { .. } => ended += 1,
            _ => {}
        }
    }
    let addresses: BTreeSet<String> = told.into_values().collect();
    assert_eq!(addresses.len(), 4, "an address is had by one");
    bed.end().await;
}
