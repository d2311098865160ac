//! Containers that an OCI runtime makes: the same contract, the same facts, and nothing left.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use updraft_base::{Clock, Tasks};
use updraft_engine::{Engine as _, EngineEvent};
use updraft_engine_local::{Isolation, LocalConfig, LocalEngine, Runtime};
use updraft_model::instance::{Exit, InstanceId, Mount, VolumeSpec};
use updraft_oci::{ImageStore, ImageStoreConfig};

use crate::{
    bed::{BY_RUNC, Bed, is_root, traces},
    image::{Entry, Image},
    processes::{is_refused, odd_programs},
};

async fn bed() -> Option<Bed> {
    with(Image::plain()).await
}

/// `None` without root or without runc, after saying so.
#[expect(clippy::print_stderr, reason = "a skip that nobody sees is a test that nobody runs")]
async fn with(image: Image) -> Option<Bed> {
    if let Err(error) = Runtime::find(Path::new("runc")) {
        eprintln!("skipped: {error}");
        return None;
    }
    Bed::of(BY_RUNC, image).await
}

updraft_engine::contract_suite!(bed);
updraft_engine::containers_suite!(bed);

/// The control groups of an engine or of one instance, in all hierarchies.
fn groups(tag: &str, id: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let paths = hierarchies.map(|one| one.path().join(format!("updraft-{tag}")).join(id));
    paths.chain([PathBuf::from(format!("/sys/fs/cgroup/updraft-{tag}/{id}"))]).filter(|path| path.exists()).collect()
}

fn members(group: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    !matches!(stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next()), None | Some("Z" | "X"))
}

fn parent(pid: Pid) -> Pid {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).expect("it is alive");
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let parent = rest.split_whitespace().nth(1).and_then(|parent| parent.parse().ok());
    Pid::from_raw(parent.expect("a number")).expect("a process")
}

fn launcher(data_dir: &Path) -> Pid {
    let text = fs::read_to_string(data_dir.join("run/launcher.lock")).expect("it is noted");
    Pid::from_raw(text.trim().parse().expect("a number")).expect("a process")
}

/// An instance with children, and all of its processes.
async fn family(bed: &mut Bed) -> (InstanceId, Vec<Pid>) {
    let id = bed.start(&bed.spec(&["forks=3", "ignore-term", "print=there", "sleep"])).await;
    while !matches!(bed.event().await, EngineEvent::Output { text, .. } if text == "there") {}
    let pids = members(groups(&bed.tag(), &id.0).first().expect("it has control groups"));
    assert_eq!(pids.len(), 4, "the program and its children: {pids:?}");
    (id, pids)
}

#[tokio::test]
async fn what_runs_and_as_whom_is_as_in_our_own_sandbox() {
    let image = Image::plain().with("User", json!("app")).with("WorkingDir", json!("/made/for/it"));
    let Some(mut bed) = with(image).await else { return };
    let seen = bed
        .run(&[
            "env=K_SERVICE",
            "env=HOME",
            "cwd",
            "status=Pid",
            "status=Uid",
            "status=Gid",
            "status=Groups",
            "status=CapEff",
            "status=CapBnd",
            "status=NoNewPrivs",
            "status=Seccomp",
            "status=Umask",
            "status=SigIgn",
            "cat=/proc/self/oom_score_adj",
            "cat=/etc/hostname",
            "ls=/sys/class/net",
            "ls=/proc/self/fd",
            "stdout-file",
            "write=/tmp/mine",
        ])
        .await
        .out;
    let want = [
        "K_SERVICE=reality",
        "HOME=/home/app",
        "/made/for/it",
        "Pid: 1",
        "Uid: 1000 1000 1000 1000",
        "Gid: 1001 1001 1001 1001",
        "Groups: 44",
        "CapEff: 0000000000000000",
        "CapBnd: 00000000800405fb",
        "NoNewPrivs: 1",
        "Seccomp: 2",
        "Umask: 0022",
        // The standard library of the program itself ignores SIGPIPE.
        "SigIgn: 0000000000001000",
        "500",
        "localhost",
        "eth0 lo",
        "0 1 2 3",
        "ok",
        "/tmp/mine: ok",
    ];
    assert_eq!(seen, want);
    bed.end().await;
}

/// docs/runtime.md says why.
#[tokio::test]
async fn users_are_the_hosts_and_terminals_are_as_many_as_in_our_own_sandbox() {
    let Some(mut bed) = with(Image::plain()).await else { return };
    let seen = bed.run(&["cat=/proc/self/uid_map", "cat=/proc/self/mounts"]).await.out;
    let fields = |line: &String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(fields(&seen[0]), ["0", "0", "4294967295"], "{seen:?}");
    let mounts: Vec<String> = seen[1..].iter().flat_map(fields).collect();
    assert!(mounts.iter().any(|options| options.contains("ptmxmode=666") && options.contains("max=256")), "{mounts:?}");
    bed.end().await;
}

#[tokio::test]
async fn why_a_program_cannot_be_executed_is_told_as_precisely() {
    let (mut files, said) = odd_programs();
    files.push(Entry::File("secret", 0o700, fs::read("/bin/busybox").unwrap_or_default()));
    let Some(mut bed) = with(Image::plain().layer(files).with("User", json!("app"))).await else { return };
    for odd in said.into_iter().chain([("/secret", "ermission denied")]) {
        is_refused(&mut bed, odd).await;
    }
    bed.end().await;
}

/// CVE-2024-21626: runtimes have left a directory of the host open when they entered the working directory.
#[tokio::test]
async fn a_working_directory_below_proc_never_reaches_the_runtime() {
    let Some(mut bed) = with(Image::plain().layer(vec![Entry::Link("door", "/proc/self/fd")])).await else { return };
    for door in ["/proc/self/fd/7", "/door/8", "/proc/self/cwd", "/dev/fd/3", "/sys/new"] {
        let mut spec = bed.spec(&["cwd"]);
        spec.ingress.working_dir = Some(door.to_owned());
        let exit = bed.run_spec(&spec).await.exit;
        let refused = matches!(&exit, Exit::NotStarted { cause } if cause.to_string().contains("cannot enter the working directory"));
        assert!(refused, "{door}: {exit:?}");
    }
    bed.end().await;
}

#[tokio::test]
async fn a_volume_is_mounted_in_the_container_wherever_links_of_the_image_lead() {
    let Some(mut bed) = with(Image::plain().layer(vec![
        Entry::Link("out", "/../../etc"),
        Entry::Link("up", "../../.."),
        Entry::Link("nested", "/data"),
        Entry::Link("processes", "/proc"),
        Entry::Link("devices", "/dev"),
    ]))
    .await
    else {
        return;
    };
    let name = format!("updraft-{}", bed.tag());
    let own = format!("/etc/{name}");
    let mut spec = bed.spec(&[&format!("mode={own}"), &format!("write=/out/{name}/x"), "exit=0"]);
    spec.volumes = vec![VolumeSpec::in_memory("v", 1 << 20)];
    spec.ingress.mounts = vec![Mount { volume: "v".to_owned(), path: format!("/out/{name}") }];
    assert_eq!(bed.run_spec(&spec).await.out, ["41777 0:0".to_owned(), format!("/out/{name}/x: ok")]);
    assert!(!Path::new(&own).exists(), "made on the host");
    for path in ["/probe/v", "/up", "/nested/x"] {
        spec.ingress.mounts[0].path = path.to_owned();
        spec.ingress.mounts.truncate(1);
        spec.ingress.mounts.insert(0, Mount { volume: "v".to_owned(), path: "/data".to_owned() });
        let told = bed.run_spec(&spec).await.exit.to_string();
        assert!(told.contains(&format!("cannot mount a volume at '{path}'")), "{told}");
        spec.ingress.mounts.remove(0);
    }
    // There the runtime puts its own above it.
    for path in ["/processes", "/devices"] {
        let mut spec = bed.spec(&["status=Pid", "mode=/dev/null"]);
        spec.volumes = vec![VolumeSpec::in_memory("v", 1 << 20)];
        spec.ingress.mounts = vec![Mount { volume: "v".to_owned(), path: path.to_owned() }];
        assert_eq!(bed.run_spec(&spec).await.out, ["Pid: 1", "20666 0:0"], "{path}");
    }
    bed.end().await;
}

#[tokio::test]
async fn system_calls_are_refused_as_in_our_own_sandbox() {
    let Some(mut bed) = bed().await else { return };
    let call = |number: i64, arguments: &str| format!("syscall={number}{arguments}");
    let cases = [
        (call(libc::SYS_unshare, ",268435456"), "1"),
        (call(libc::SYS_clone, ",131089"), "1"),
        (call(libc::SYS_clone3, ""), "38"),
        (call(libc::SYS_mount, ""), "1"),
        (call(libc::SYS_bpf, ""), "1"),
        (call(libc::SYS_keyctl, ""), "1"),
        (call(libc::SYS_io_uring_setup, ""), "1"),
        (call(libc::SYS_setns, ""), "1"),
        (call(libc::SYS_userfaultfd, ""), "1"),
        (call(4000, ""), "38"),
        (call(libc::SYS_socket, ",40,1,0"), "97"),
        (call(libc::SYS_socket, ",17,3,0"), "97"),
        (call(libc::SYS_socket, ",16,3,9"), "1"),
        (call(libc::SYS_socket, ",2,1,0"), "0"),
        (call(libc::SYS_socket, ",16,3,0"), "0"),
        (call(libc::SYS_personality, ",262144"), "1"),
        (call(libc::SYS_personality, ",4294967295"), "0"),
    ];
    let steps: Vec<&str> = cases.iter().map(|(step, _)| step.as_str()).collect();
    let seen = bed.run(&steps).await.out;
    assert_eq!(seen, cases.iter().map(|&(_, want)| want).collect::<Vec<_>>(), "{steps:?}");
    let seen = bed.run(&["write=/proc/sys/kernel/core_pattern", "write=/dev/new", "cat=/proc/keys"]).await.out;
    assert_eq!(seen, ["/proc/sys/kernel/core_pattern: errno 30", "/dev/new: errno 30"]);
    bed.end().await;
}

#[tokio::test]
async fn the_limits_are_the_instances_and_so_are_the_verdicts() {
    let Some(mut bed) = bed().await else { return };
    let mut spec = bed.spec(&["forks=100", "exit=5"]);
    spec.ingress.limits.pids = 30;
    let seen = bed.run_spec(&spec).await;
    assert_eq!((seen.out, seen.exit), (vec!["fork: 11".to_owned()], Exit::OutOfProcesses { limit: 30, status: 5 }));
    let exit = bed.run(&["fill=/big:100", "allocate=60", "exit=0"]).await.exit;
    assert!(matches!(exit, Exit::OutOfMemory { limit, used } if limit == 128 << 20 && used >= 120 << 20), "{exit:?}");
    let mut spec = bed.spec(&["burn=1000", "print=burnt", "sleep"]);
    spec.ingress.limits.cpu_millis = 200;
    let id = bed.start(&spec).await;
    while !matches!(bed.event().await, EngineEvent::Output { text, .. } if text == "burnt") {}
    let usage = bed.engine.usage(&id).await.expect("it is there");
    // A fifth of a second, as much again for what is counted late, and the runtime's own.
    assert!((50..=500).contains(&usage.cpu.as_millis()), "{usage:?}");
    bed.end().await;
}

#[tokio::test]
async fn signals_and_codes_are_told_apart() {
    let Some(mut bed) = bed().await else { return };
    assert_eq!(bed.run(&["exit=137"]).await.exit, Exit::Code(137));
    let (id, pids) = family(&mut bed).await;
    kill_process(pids[0], Signal::KILL).expect("it is alive");
    assert_eq!(bed.until_exit(&id).await.exit, Exit::Signal(9));
    bed.end().await;
}

#[tokio::test]
async fn the_end_of_one_container_leaves_nothing_of_it_and_all_of_the_next() {
    let Some(mut bed) = bed().await else { return };
    let other = bed.start(&bed.spec(&["serve"])).await;
    let (id, pids) = family(&mut bed).await;
    let (tag, keeper) = (bed.tag(), parent(pids[0]));
    bed.engine.stop(&id, Duration::ZERO).await;
    assert_eq!(bed.until_exit(&id).await.exit, Exit::Signal(9));
    assert!(!pids.iter().any(|&pid| is_alive(pid)), "told to be over and alive");
    assert_eq!(groups(&tag, &id.0), Vec::<PathBuf>::new());
    bed.until("its keeper has ended", || !is_alive(keeper)).await;

    let (id, pids) = family(&mut bed).await;
    kill_process(parent(pids[0]), Signal::KILL).expect("it is alive");
    assert_eq!(bed.until_exit(&id).await.exit, Exit::Signal(9));
    assert!(!pids.iter().any(|&pid| is_alive(pid)), "left by a killed keeper");
    assert_eq!(groups(&tag, &id.0), Vec::<PathBuf>::new());
    assert!(bed.get(&other, "/").await.ends_with("ok"), "the neighbour is none the worse");
    bed.end().await;
    assert_eq!(groups(&tag, ""), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_server_without_a_runtime_ends_the_containers_of_one_with() {
    let Some(mut bed) = bed().await else { return };
    let (id, pids) = family(&mut bed).await;
    let tag = bed.tag();
    bed.succeed_as(|config| config.runtime = None).await;
    assert_eq!((bed.engine.adopted().await, bed.engine.list().await), (Vec::new(), Vec::new()));
    assert!(!pids.iter().any(|&pid| is_alive(pid)), "they would be nobody's");
    assert_eq!(groups(&tag, &id.0), Vec::<PathBuf>::new());
    assert_eq!(bed.run(&["exit=3"]).await.exit, Exit::Code(3));
    bed.end().await;
}

#[tokio::test]
async fn nothing_outlives_a_killed_launcher_and_the_next_one_works() {
    let Some(mut bed) = bed().await else { return };
    let (id, pids) = family(&mut bed).await;
    let before = launcher(&bed.data_dir);
    kill_process(before, Signal::KILL).expect("it is alive");
    assert_eq!(bed.until_exit(&id).await.exit, Exit::Lost);
    assert!(!pids.iter().any(|&pid| is_alive(pid)), "left by a killed launcher");
    let dir = bed.data_dir.clone();
    bed.until("another launcher works", || launcher(&dir) != before).await;
    assert_eq!(bed.run(&["exit=7"]).await.exit, Exit::Code(7));
    let tag = bed.tag();
    bed.end().await;
    assert_eq!(groups(&tag, ""), Vec::<PathBuf>::new());
}

/// Set for the process that is to be killed: where it shall keep its data.
const VICTIM: &str = "UPDRAFT_TEST_RUNTIME_VICTIM";

/// Not a test of its own: the server that the next test kills.
#[tokio::test]
async fn victim() {
    let Ok(dir) = std::env::var(VICTIM) else { return };
    let mut bed = Bed::at_of(Path::new(&dir), BY_RUNC, &Image::plain()).await;
    let (_, pids) = family(&mut bed).await;
    let pids: Vec<i32> = pids.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    fs::write(Path::new(&dir).join("new"), json!([bed.tag(), pids]).to_string()).expect("a directory of the test");
    fs::rename(Path::new(&dir).join("new"), Path::new(&dir).join("noted")).expect("a directory of the test");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn what_a_killed_server_its_launcher_and_keepers_left_is_removed_by_one_without_a_runtime() {
    let Some(probe) = bed().await else { return };
    let dir = tempfile::tempdir().expect("a place for the test");
    let mut victim = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "runtime::victim", "--nocapture"])
        .env(VICTIM, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("this program runs");
    let noted = dir.path().join("noted");
    probe.until("the victim has an instance", || noted.exists()).await;
    let text = fs::read_to_string(&noted).expect("just seen");
    let (tag, pids): (String, Vec<i32>) = serde_json::from_str(&text).expect("what it wrote");
    let pids: Vec<Pid> = pids.into_iter().filter_map(Pid::from_raw).collect();
    let keeper = parent(pids[0]);
    for one in [keeper, launcher(dir.path())] {
        kill_process(one, Signal::KILL).expect("it is alive");
    }
    victim.kill().expect("it is alive");
    victim.wait().expect("it is ours");
    let mut next = Bed::at(dir.path(), &Image::plain()).await;
    assert_eq!(next.tag(), tag);
    assert!(!pids.iter().any(|&pid| is_alive(pid)));
    // The new engine's own are in the hierarchies that it uses.
    for group in groups(&tag, "") {
        let instances = fs::read_dir(&group).into_iter().flatten().flatten().filter(|one| one.path().is_dir());
        let left = instances.filter(|one| !one.file_name().to_string_lossy().starts_with("shell.")).count();
        assert_eq!(left, 0, "{}", group.display());
    }
    assert_eq!(next.run(&["exit=3"]).await.exit, Exit::Code(3));
    next.end().await;
    probe.end().await;
    assert_eq!(groups(&tag, ""), Vec::<PathBuf>::new());
    assert_eq!(traces(&tag, dir.path()), Vec::<String>::new());
}

#[tokio::test]
async fn an_engine_with_a_runtime_that_is_none_or_with_no_sandboxes_does_not_start() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a place for the test");
    let images = ImageStoreConfig::new(dir.path().join("images"));
    let images = ImageStore::open(images, Clock::system()).expect("a new store");
    for (runtime, isolation, want) in [
        ("/no/such/runtime", Isolation::Namespaces, "there is no '/no/such/runtime'"),
        ("/bin/ls", Isolation::Namespaces, "does not answer as an OCI runtime does"),
        ("runc", Isolation::Chroot, "the isolation is 'chroot'"),
    ] {
        let config = LocalConfig { runtime: Some(runtime.into()), isolation, ..LocalConfig::new(dir.path()) };
        let started = LocalEngine::start(config, images.clone(), &Tasks::new(), Clock::system()).await;
        let refused = started.map(drop).expect_err("it is none").to_string();
        assert!(refused.contains(want), "{refused}");
        assert!(!dir.path().join("run").exists(), "nothing was made");
    }
}
