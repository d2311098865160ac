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
