//! What a container can see and do.

use updraft_model::instance::Exit;

use crate::{bed::Bed, image::Image};

#[tokio::test]
async fn a_container_is_alone_with_its_own_process_numbers_and_mounts() {
    let Some(mut bed) = Bed::new().await else { return };
    let seen = bed
        .run(&[
            "status=Pid",
            "status=PPid",
            "status=NoNewPrivs",
            "status=Seccomp",
            "cat=/proc/self/cgroup",
            "cat=/proc/mounts",
        ])
        .await;
    assert_eq!(seen.exit, Exit::Code(0), "{seen:?}");
    assert_eq!(seen.out[..4], ["Pid: 1", "PPid: 0", "NoNewPrivs: 1", "Seccomp: 2"]);
    for line in &seen.out[4..] {
        assert!(!line.contains("updraft-") && !line.contains("/stage"), "the host shows through: {line}");
    }
    for controller in ["memory", "cpu", "pids"] {
        let line = seen.out.iter().find(|line| line.contains(&format!(":{controller}:")));
        assert!(line.is_none_or(|line| line.ends_with(":/")), "{line:?}");
    }
    bed.end().await;
}

#[tokio::test]
async fn root_keeps_no_more_than_the_listed_capabilities() {
    let Some(mut bed) = Bed::new().await else { return };
    let seen = bed.run(&["status=CapBnd", "status=CapEff", "status=CapInh", "status=CapAmb"]).await.out;
    let (kept, none) = ("00000000800405fb", "0000000000000000");
    assert_eq!(
        seen,
        [format!("CapBnd: {kept}"), format!("CapEff: {kept}"), format!("CapInh: {none}"), format!("CapAmb: {none}")]
    );
    bed.end().await;
}

/// The first of the users of the host that an instance's are, and how many.
fn map(out: &[String]) -> (u32, u32) {
    let fields: Vec<u32> = out[0].split_whitespace().map(|field| field.parse().expect("a number")).collect();
    assert_eq!((out.len(), fields[0]), (1, 0), "{out:?}");
    (fields[1], fields[2])
}

#[tokio::test]
async fn root_of_an_instance_is_nobody_on_the_host_and_another_nobody_each_time() {
    let Some(mut bed) = Bed::stocked(1).await else { return };
    let (users, count) = map(&bed.run(&["cat=/proc/self/uid_map"]).await.out);
    assert!(users > 1_000_000_000 && count == 65_536, "{users} {count}");
    let (groups, _) = map(&bed.run(&["cat=/proc/self/gid_map"]).await.out);
    assert_ne!(groups, users);
    // And it is root to itself: of its files, of what the host provides, and of ports.
    let steps = [
        "status=Uid",
        "mode=/etc/hosts",
        "mode=/probe",
        "mode=/",
        "mode=/dev/null",
        "write=/etc/hosts",
        "listen=0.0.0.0:80",
    ];
    let seen = bed.run(&steps).await;
    let want = ["Uid: 0 0 0 0", "100644 0:0", "100755 0:0", "40755 0:0", "20666 0:0", "/etc/hosts: ok"];
    assert_eq!((seen.out, seen.exit), (want.map(str::to_owned).to_vec(), Exit::Code(0)));
    bed.end().await;
}

#[tokio::test]
async fn a_user_that_an_instance_cannot_have_is_refused_by_its_number() {
    let Some(mut bed) = Bed::with(Image::plain().with("User", serde_json::json!("70000"))).await else { return };
    let exit = bed.run(&["status=Uid"]).await.exit;
    assert!(matches!(&exit, Exit::NotStarted { cause } if cause.to_string().contains("70000")), "{exit:?}");
    bed.end().await;
}

/// An overlay in the place of the data directory, as in a container: its files cannot be shown with other users.
struct Overlay(tempfile::TempDir);

impl Overlay {
    fn mount() -> Self {
        let dir = tempfile::tempdir().expect("a place for the test");
        let at = |name: &str| dir.path().join(name);
        for name in ["lower", "upper", "work", "data"] {
            std::fs::create_dir(at(name)).expect("a directory of the test");
        }
        let (lower, upper, work) = (at("lower"), at("upper"), at("work"));
        let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        let options = std::ffi::CString::new(options).expect("no zero");
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("overlay", at("data"), "overlay", flags, options.as_c_str()).expect("we are root");
        Self(dir)
    }

    fn data(&self) -> std::path::PathBuf {
        self.0.path().join("data")
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.data(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn where_images_cannot_be_shown_with_other_users_instances_have_the_hosts() {
    if !crate::bed::is_root() {
        return;
    }
    let overlay = Overlay::mount();
    let mut bed = Bed::at(&overlay.data(), &Image::plain().with("User", serde_json::json!("app"))).await;
    assert_eq!(map(&bed.run(&["cat=/proc/self/uid_map"]).await.out), (0, u32::MAX));
    let seen = bed.run(&["status=Uid", "status=CapBnd", "mode=/tmp", "stdout-file"]).await.out;
    assert_eq!(seen, ["Uid: 1000 1000 1000 1000", "CapBnd: 00000000800405fb", "41777 0:0", "ok"]);
    bed.end().await;
}

#[tokio::test]
async fn the_kernels_settings_and_secrets_are_out_of_reach() {
    let Some(mut bed) = Bed::new().await else { return };
    let seen = bed
        .run(&[
            "write=/proc/sys/kernel/core_pattern",
            "write=/sys/kernel/notify",
            "write=/dev/new",
            "write=/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "cat=/proc/keys",
            "cat=/proc/timer_list",
            "ls=/sys/firmware",
            "write=/file-of-my-own",
            "write=/dev/null",
            "write=/dev/shm/mine",
        ])
        .await
        .out;
    assert_eq!(
        seen,
        [
            "/proc/sys/kernel/core_pattern: errno 30",
            "/sys/kernel/notify: errno 30",
            "/dev/new: errno 30",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes: errno 30",
            "",
            "/file-of-my-own: ok",
            "/dev/null: ok",
            "/dev/shm/mine: ok",
        ]
    );
    bed.end().await;
}

#[tokio::test]
async fn system_calls_that_reach_beyond_the_sandbox_are_refused() {
    let Some(mut bed) = Bed::new().await else { return };
    const EPERM: &str = "1";
    const ENOSYS: &str = "38";
    const EAFNOSUPPORT: &str = "97";
    let newuser = format!("syscall={},{}", libc::SYS_unshare, 0x1000_0000);
    let clone_newns = format!("syscall={},{}", libc::SYS_clone, 0x2_0011);
    let call = |number: i64| format!("syscall={number}");
    let socket =
        |family: i64, kind: i64, protocol: i64| format!("syscall={},{family},{kind},{protocol}", libc::SYS_socket);
    let cases = [
        (newuser, EPERM),
        (clone_newns, EPERM),
        (call(libc::SYS_clone3), ENOSYS),
        (call(libc::SYS_mount), EPERM),
        (call(libc::SYS_bpf), EPERM),
        (call(libc::SYS_keyctl), EPERM),
        (call(libc::SYS_io_uring_setup), EPERM),
        (call(libc::SYS_perf_event_open), EPERM),
        (call(libc::SYS_setns), EPERM),
        (call(libc::SYS_userfaultfd), EPERM),
        (call(4000), ENOSYS),
        (socket(40, 1, 0), EAFNOSUPPORT),
        (socket(17, 3, 0), EAFNOSUPPORT),
        (socket(16, 3, 9), EPERM),
        (socket(2, 3, 1), EPERM),
        (socket(2, 1, 0), "0"),
        (format!("syscall={},{}", libc::SYS_personality, 0x4_0000), EPERM),
    ];
    let steps: Vec<&str> = cases.iter().map(|(step, _)| step.as_str()).collect();
    let seen = bed.run(&steps).await.out;
    let want: Vec<&str> = cases.iter().map(|&(_, want)| want).collect();
    assert_eq!(seen, want, "{steps:?}");
    bed.end().await;
}

#[tokio::test]
async fn devices_cannot_be_made_or_opened() {
    let Some(mut bed) = Bed::new().await else { return };
    let seen = bed.run(&["ls=/dev"]).await.out;
    assert_eq!(seen, ["fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"]);
    bed.end().await;
}

#[tokio::test]
async fn a_neighbours_writes_and_processes_are_invisible() {
    let Some(mut bed) = Bed::new().await else { return };
    let first = bed.start(&bed.spec(&["write=/mine", "write=/dev/shm/mine", "print=written", "sleep"])).await;
    while !matches!(bed.event().await, updraft_engine::EngineEvent::Output { text, .. } if text == "written") {}
    let seen = bed.run(&["mode=/mine", "ls=/dev/shm", "ls=/tmp"]).await.out;
    assert_eq!(seen, ["/mine: No such file or directory (os error 2)", "", ""]);
    updraft_engine::Engine::stop(&*bed.engine, &first, std::time::Duration::ZERO).await;
    bed.end().await;
}

#[tokio::test]
async fn only_the_standard_streams_are_open_and_signals_are_as_new() {
    let Some(mut bed) = Bed::with(Image::plain()).await else { return };
    // The fourth is the directory being listed.
    let seen = bed.run(&["ls=/proc/self/fd", "status=SigIgn", "status=SigBlk", "status=Umask"]).await.out;
    // The standard library of the program itself ignores SIGPIPE.
    assert_eq!(seen, ["0 1 2 3", "SigIgn: 0000000000001000", "SigBlk: 0000000000000000", "Umask: 0022"]);
    bed.end().await;
}

#[tokio::test]
async fn names_and_addresses_come_from_files_that_the_host_provides() {
    let Some(mut bed) = Bed::new().await else { return };
    let seen = bed.run(&["cat=/etc/hosts", "cat=/etc/resolv.conf", "ls=/sys/class/net"]).await.out;
    assert_eq!(seen[0], "127.0.0.1\tlocalhost reality-1");
    assert!(seen.iter().any(|line| line.starts_with("nameserver ")), "{seen:?}");
    assert_eq!(seen.last().map(String::as_str), Some("eth0 lo"));
    bed.end().await;
}
