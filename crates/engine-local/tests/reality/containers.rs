//! Several containers in an instance, and their volumes, as the kernel has them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use updraft_engine::{Engine as _, EngineError, EngineEvent, containers_suite};
use updraft_engine_local::Isolation;
use updraft_model::instance::{Exit, InstanceSpec, Mount, VolumeSpec};

use crate::{
    bed::Bed,
    crashes::launcher,
    image::{Entry, Image},
};

const MIB: u64 = 1 << 20;
const ENOSPC: i32 = 28;

async fn stocked() -> Option<Bed> {
    Bed::stocked(2).await
}

containers_suite!(stocked);

/// An instance whose sidecar does these steps, and mounts the volume `v` where the other one does.
pub(crate) fn pair(bed: &Bed, ingress: &[&str], sidecar: &[&str], size_bytes: u64) -> InstanceSpec {
    let mut spec = bed.spec(ingress);
    spec.sidecars = vec![bed.container("side", sidecar)];
    spec.volumes = vec![VolumeSpec::in_memory("v", size_bytes)];
    let mounts = vec![Mount { volume: "v".to_owned(), path: "/data/shared".to_owned() }];
    spec.ingress.mounts.clone_from(&mounts);
    spec.sidecars[0].mounts = mounts;
    spec
}

/// What each container wrote until the end, the one that takes the traffic as `-`.
pub(crate) async fn lines(bed: &mut Bed, spec: &InstanceSpec) -> Vec<String> {
    let id = bed.start(spec).await;
    let mut lines = Vec::new();
    loop {
        match bed.event().await {
            EngineEvent::Output { id: of, sidecar, text, .. } if of == id => {
                lines.push(format!("{}: {text}", sidecar.as_deref().unwrap_or("-")));
            }
            EngineEvent::Exited { id: of, .. } if of == id => return lines,
            _ => {}
        }
    }
}

#[tokio::test]
async fn containers_share_the_network_and_nothing_else_that_has_a_namespace() {
    let Some(mut bed) = Bed::new().await else { return };
    let look = ["inode=/proc/self/ns/net", "inode=/proc/self/ns/ipc", "inode=/proc/self/ns/pid", "pid"];
    let mut spec = pair(&bed, &look, &look, MIB);
    spec.ingress.args.push("sleep".to_owned());
    spec.sidecars[0].args.push("sleep".to_owned());
    let id = bed.start(&spec).await;
    let (mut of_ingress, mut of_side) = (Vec::new(), Vec::new());
    while of_ingress.len() < 4 || of_side.len() < 4 {
        if let EngineEvent::Output { sidecar, text, .. } = bed.event().await {
            if sidecar.is_some() { of_side.push(text) } else { of_ingress.push(text) }
        }
    }
    assert_eq!(of_ingress[0], of_side[0], "network");
    assert_ne!(of_ingress[1], of_side[1], "IPC");
    assert_ne!(of_ingress[2], of_side[2], "processes");
    assert_eq!((of_ingress[3].as_str(), of_side[3].as_str()), ("1", "1"));
    bed.engine.stop(&id, std::time::Duration::ZERO).await;
    bed.until_exit(&id).await;
    bed.end().await;
}

#[tokio::test]
async fn every_container_is_in_the_hosts_file_of_each() {
    let Some(mut bed) = Bed::new().await else { return };
    let spec = pair(&bed, &["cat=/etc/hosts", "exit=0"], &["sleep"], MIB);
    let seen = lines(&mut bed, &spec).await;
    assert_eq!(seen[0], "-: 127.0.0.1\tlocalhost reality-1 side");
    bed.end().await;
}

#[tokio::test]
async fn a_volume_belongs_to_everybody_holds_what_it_may_and_counts_for_who_writes() {
    let Some(mut bed) = Bed::new().await else { return };
    let fills = ["mode=/data/shared", "fill=/data/shared/big:40", "fill=/data/shared/more:40", "exit=0"];
    let spec = pair(&bed, &fills, &["sleep"], 64 * MIB);
    let seen = lines(&mut bed, &spec).await;
    assert_eq!(seen, ["-: 41777 0:0".to_owned(), format!("-: /data/shared/more: errno {ENOSPC}")]);
    // More than its memory does not fit, though the volume has room: the writer pays, and not who mounts it as well.
    let mut spec = pair(&bed, &["sleep"], &["fill=/data/shared/big:200", "exit=0"], 512 * MIB);
    spec.ingress.limits.memory_bytes = 1024 * MIB;
    let id = bed.start(&spec).await;
    let exit = loop {
        if let EngineEvent::Exited { sidecar, exit, id: of, .. } = bed.event().await
            && of == id
        {
            break (sidecar, exit);
        }
    };
    assert!(
        matches!(&exit, (Some(side), Exit::OutOfMemory { limit, .. }) if side == "side" && *limit == 128 * MIB),
        "{exit:?}"
    );
    bed.end().await;
}

#[tokio::test]
async fn another_user_can_write_to_a_volume_and_only_to_files_of_its_own() {
    let user = Image::plain().with("User", json!("app"));
    let Some(mut bed) = Bed::with(user).await else { return };
    let steps = ["write=/data/shared/mine", "mode=/data/shared/mine", "write=/elsewhere", "exit=0"];
    let spec = pair(&bed, &steps, &["sleep"], MIB);
    let seen = lines(&mut bed, &spec).await;
    assert_eq!(seen, ["-: /data/shared/mine: ok", "-: 100644 1000:1001", "-: /elsewhere: errno 13"]);
    bed.end().await;
}

#[tokio::test]
async fn what_an_image_has_where_a_volume_is_mounted_is_hidden_and_a_file_there_is_refused() {
    let layer = vec![
        Entry::Directory("data", 0o755),
        Entry::Directory("data/shared", 0o755),
        Entry::File("data/shared/old", 0o644, b"old".to_vec()),
        Entry::Link("link", "/proc/1/fd"),
    ];
    let Some(mut bed) = Bed::with(Image::plain().layer(layer)).await else { return };
    let spec = pair(&bed, &["ls=/data/shared", "exit=0"], &["sleep"], MIB);
    assert_eq!(lines(&mut bed, &spec).await, ["-: "]);
    for (path, why) in [("/probe", "Not a directory"), ("/probe/x", "Not a directory")] {
        let mut spec = pair(&bed, &["exit=0"], &["sleep"], MIB);
        spec.ingress.mounts[0].path = path.to_owned();
        let exit = bed.run_spec(&spec).await.exit;
        let told = exit.to_string();
        assert!(told.contains(&format!("cannot mount a volume at '{path}'")) && told.contains(why), "{told}");
    }
    bed.end().await;
}

#[tokio::test]
async fn each_container_has_control_groups_of_its_own_and_the_use_is_the_sum() {
    let Some(mut bed) = Bed::stocked(1).await else { return };
    let mut spec = pair(&bed, &["allocate=20", "print=a", "sleep"], &["allocate=30", "print=b", "sleep"], MIB);
    spec.sidecars[0].limits.pids = 23;
    let id = bed.start(&spec).await;
    let mut told = 0;
    while told < 2 {
        told += usize::from(matches!(bed.event().await, EngineEvent::Output { .. }));
    }
    let usage = bed.engine.usage(&id).await.expect("it is there");
    assert!(usage.memory_bytes >= 50 * MIB, "{usage:?}");
    let parent = PathBuf::from(format!("/sys/fs/cgroup/pids/updraft-{}", bed.tag()));
    let limit = |dir: &PathBuf| fs::read_to_string(dir.join("pids.max")).map(|text| text.trim().to_owned());
    let leaf = parent.join(format!("{id}.side"));
    assert_eq!(limit(&leaf).ok().as_deref(), Some("23"), "{}", leaf.display());
    bed.engine.stop(&id, std::time::Duration::ZERO).await;
    bed.until_exit(&id).await;
    assert!(!leaf.exists(), "gone with its instance");
    bed.end().await;
}

#[tokio::test]
async fn a_killed_launcher_takes_all_containers_along_and_one_end_is_told() {
    let Some(mut bed) = Bed::stocked(1).await else { return };
    let mut spec = pair(&bed, &["serve"], &["sleep"], MIB);
    spec.sidecars.push(bed.container("late", &["sleep"]));
    spec.sidecars[1].depends_on = vec!["side".to_owned()];
    let id = bed.start(&spec).await;
    let launcher = launcher(&bed.data_dir);
    kill_process(launcher, Signal::KILL).expect("it is alive");
    let mut exits = Vec::new();
    while exits.is_empty() {
        if let EngineEvent::Exited { id: of, exit, .. } = bed.event().await
            && of == id
        {
            exits.push(exit);
        }
    }
    assert_eq!(exits, [Exit::Lost]);
    bed.until("another launcher makes a sandbox", || bed.engine.spare_sandboxes() == 1).await;
    let quick = pair(&bed, &["exit=0"], &["sleep"], MIB);
    assert_eq!(bed.run_spec(&quick).await.exit, Exit::Code(0));
    bed.end().await;
}

#[tokio::test]
async fn a_frozen_container_that_is_killed_takes_the_others_along() {
    let Some(mut bed) = Bed::new().await else { return };
    let spec = pair(&bed, &["ignore-term", "serve"], &["sleep"], MIB);
    let id = bed.start(&spec).await;
    bed.get(&id, "/").await;
    let group = PathBuf::from(format!("/sys/fs/cgroup/pids/updraft-{}/{id}.side/cgroup.procs", bed.tag()));
    let text = fs::read_to_string(&group).expect("the sidecar's control group");
    let pid = text.lines().next().and_then(|line| Pid::from_raw(line.parse().ok()?)).expect("its process");
    // What version 1 has frozen cannot be killed: there this is the end of two that run.
    if Path::new("/sys/fs/cgroup/unified").exists() {
        bed.engine.freeze(&id).expect("it is there");
    }
    kill_process(pid, Signal::KILL).expect("it is alive");
    let ended = loop {
        if let EngineEvent::Exited { id: of, sidecar, exit, .. } = bed.event().await
            && of == id
        {
            break (sidecar, exit);
        }
    };
    assert_eq!(ended, (Some("side".to_owned()), Exit::Signal(9)));
    bed.end().await;
}

#[tokio::test]
async fn without_namespaces_several_containers_and_volumes_are_refused_at_the_deploy() {
    let Some(bed) = Bed::under(Isolation::Chroot, Image::plain()).await else { return };
    let several = pair(&bed, &["sleep"], &["sleep"], MIB);
    let mut volume = several.clone();
    volume.sidecars.clear();
    let mut sidecar = several.clone();
    sidecar.volumes.clear();
    for (spec, what) in [(several, "volumes"), (volume, "volumes"), (sidecar, "several containers")] {
        let refused = bed.engine.prepare(&spec).await;
        let told = refused.as_ref().map_err(ToString::to_string);
        assert!(matches!(refused, Err(EngineError::Unsupported { .. })), "{told:?}");
        assert!(told.is_err_and(|told| told.contains(what) && told.contains("isolation 'chroot'")));
    }
    bed.end().await;
}
