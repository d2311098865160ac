//! Layouts and plans as text.

use super::*;

const V1_HOST: &str = "\
30 24 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu
31 24 0:27 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
32 24 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 24 0:29 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
34 24 0:30 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
35 24 0:31 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
36 24 0:32 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
const SYSTEMD_V1_HOST: &str = "\
30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
32 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";
const V2_HOST: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
const LIMITS: Limits = Limits { cpu_millis: 1500, memory_bytes: 1 << 29, pids: 1024, priority: Priority::Serving };

#[test]
fn a_hybrid_host_is_used_through_version_1() {
    let layout = Layout::parse(V1_HOST, "");
    assert_eq!((layout.version(), layout.missing.len(), layout.hierarchies.len(), layout.common.len()), (1, 0, 3, 1));
    assert_eq!(layout.parents("ab12")[1], Path::new("/sys/fs/cgroup/memory/updraft-ab12"));
}

#[test]
fn controllers_that_share_a_hierarchy_share_a_directory_and_gaps_are_named() {
    let layout = Layout::parse(SYSTEMD_V1_HOST, "");
    assert_eq!(layout.hierarchies.len(), 2);
    assert_eq!(layout.hierarchies[0].controllers, ["cpu", "cpuacct"]);
    assert_eq!(layout.missing, ["pids", "devices"]);
    assert_eq!(layout.plan("t", "i").directories.len(), 2);
}

#[test]
fn version_1_plan_as_text() {
    let layout = Layout::parse(V1_HOST, "");
    let text = format!("{}{}", layout.plan("ab12", "i1"), layout.allowance("ab12", "i1", LIMITS));
    assert_eq!(
        text,
        "\
make /sys/fs/cgroup/cpu/updraft-ab12/i1
make /sys/fs/cgroup/memory/updraft-ab12/i1
make /sys/fs/cgroup/pids/updraft-ab12/i1
make /sys/fs/cgroup/unified/updraft-ab12/i1
join /sys/fs/cgroup/cpu/updraft-ab12/i1
join /sys/fs/cgroup/memory/updraft-ab12/i1
join /sys/fs/cgroup/pids/updraft-ab12/i1
born inside /sys/fs/cgroup/unified/updraft-ab12/i1
join /sys/fs/cgroup/devices/updraft-ab12
limit /sys/fs/cgroup/cpu/updraft-ab12/i1/cpu.cfs_period_us = 100000
limit /sys/fs/cgroup/cpu/updraft-ab12/i1/cpu.cfs_quota_us = 150000
limit /sys/fs/cgroup/memory/updraft-ab12/i1/memory.limit_in_bytes = 536870912
limit /sys/fs/cgroup/pids/updraft-ab12/i1/pids.max = 1024
wish /sys/fs/cgroup/cpu/updraft-ab12/i1/cpu.shares = 1536
wish /sys/fs/cgroup/memory/updraft-ab12/i1/memory.memsw.limit_in_bytes = 536870912
"
    );
}

#[test]
fn cpu_time_is_counted_by_version_2_where_there_is_one_and_by_an_oci_runtimes_own_group() {
    let cpu = |layout: &Layout| layout.plan("t", "i").cpu.map(|(file, unit)| (file.display().to_string(), unit));
    let hybrid = Layout::parse(V1_HOST, "");
    assert_eq!(cpu(&hybrid), Some(("/sys/fs/cgroup/unified/updraft-t/i/cpu.stat".to_owned(), CpuUnit::UsageUsec)));
    let own = |mount: &str| Some((format!("/sys/fs/cgroup/{mount}/updraft-t/i/cpuacct.usage"), CpuUnit::Nanoseconds));
    assert_eq!(cpu(&hybrid.with_all_of(V1_HOST)), own("cpuacct"));
    assert_eq!(cpu(&Layout::parse(SYSTEMD_V1_HOST, "")), own("cpu,cpuacct"));
    let mut unusable = Layout::parse(V1_HOST, "");
    unusable.freezers.clear();
    assert_eq!(cpu(&unusable.counted()), own("cpuacct"), "version 2 is mounted and cannot be used");
    let shared = V1_HOST.replace("rw,cpuacct", "rw,cpuacct,cpuset");
    assert_eq!(cpu(&Layout::parse(&shared, "").with_all_of(&shared)), own("cpuacct"));
    let without: String =
        V1_HOST.lines().filter(|line| !line.contains("cpuacct")).map(|line| format!("{line}\n")).collect();
    let mut without = Layout::parse(&without, "");
    assert!(without.clone().counted().missing.is_empty());
    without.freezers.clear();
    assert_eq!(without.counted().missing, [ACCOUNTING]);
    let alone = V1_HOST.lines().filter(|line| !line.contains("cgroup2")).collect::<Vec<_>>().join("\n");
    assert_eq!(cpu(&Layout::parse(&alone, "")), own("cpuacct"));
}

#[test]
fn the_devices_of_all_instances_are_said_once() {
    let restriction = Layout::parse(V1_HOST, "").restriction("ab12");
    let text: Vec<String> = restriction.iter().map(|(file, text)| format!("{} = {text}", file.display())).collect();
    let allowed = ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:2", "136:*"];
    assert_eq!(text[0], "/sys/fs/cgroup/devices/updraft-ab12/devices.deny = a");
    let wanted = allowed.map(|device| format!("/sys/fs/cgroup/devices/updraft-ab12/devices.allow = c {device} rwm"));
    assert_eq!(text[1..], wanted);
    assert!(Layout::parse(V2_HOST, "cpu memory pids").restriction("ab12").is_empty(), "a program is asked there");
}

#[test]
fn version_2_plan_as_text() {
    let layout = Layout::parse(V2_HOST, "cpuset cpu io memory pids\n");
    assert_eq!((layout.version(), layout.missing.len()), (2, 0));
    let delegation: Vec<String> =
        layout.delegation("ab12").iter().map(|(file, text)| format!("{} = {text}", file.display())).collect();
    assert_eq!(
        delegation,
        [
            "/sys/fs/cgroup/cgroup.subtree_control = +cpu +memory +pids",
            "/sys/fs/cgroup/updraft-ab12/cgroup.subtree_control = +cpu +memory +pids"
        ]
    );
    assert_eq!(
        format!("{}{}", layout.plan("ab12", "i1"), layout.allowance("ab12", "i1", LIMITS)),
        "\
make /sys/fs/cgroup/updraft-ab12/i1
born inside /sys/fs/cgroup/updraft-ab12/i1
limit /sys/fs/cgroup/updraft-ab12/i1/cpu.max = 150000 100000
limit /sys/fs/cgroup/updraft-ab12/i1/memory.max = 536870912
limit /sys/fs/cgroup/updraft-ab12/i1/pids.max = 1024
wish /sys/fs/cgroup/updraft-ab12/i1/cpu.weight = 150
wish /sys/fs/cgroup/updraft-ab12/i1/memory.swap.max = 0
wish /sys/fs/cgroup/updraft-ab12/i1/memory.oom.group = 1
"
    );
    assert_eq!(Layout::parse(V2_HOST, "cpu").missing, ["memory", "pids"]);
    assert_eq!(layout.asks_about_devices("ab12").as_deref(), Some(Path::new("/sys/fs/cgroup/updraft-ab12")));
    assert_eq!(Layout::parse(V1_HOST, "").asks_about_devices("ab12"), None, "the controller has a list");
}

#[test]
fn tiny_shares_of_a_cpu_stay_within_what_the_kernel_takes() {
    let of = |cpu_millis| cpu_of(Limits { cpu_millis, ..LIMITS });
    assert_eq!((of(1).quota_us, of(1).shares), (1000, 2));
    assert_eq!((of(80).quota_us, of(80).shares), (8000, 81));
}

#[test]
fn counters_are_found_by_their_whole_name() {
    let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
    assert_eq!(counter(text, "oom_kill"), Some(3));
    assert_eq!(counter(text, "oom"), None);
}

/// The freezer of the instance `i` of the engine `t`, and all of its directories.
fn freezer(mountinfo: &str) -> (Option<Freezer>, Vec<String>) {
    let plan = Layout::parse(mountinfo, "cpu memory pids").plan("t", "i");
    (plan.freezer, plan.directories.iter().map(|dir| dir.display().to_string()).collect())
}

#[test]
fn the_unified_hierarchy_freezes_also_where_version_1_limits() {
    let found = Freezer { file: "/sys/fs/cgroup/unified/updraft-t/i/cgroup.freeze".into(), freeze: "1", thaw: "0" };
    let with_both = format!("{V1_HOST}37 24 0:33 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n");
    for host in [V1_HOST, &with_both] {
        let (freezer, directories) = freezer(host);
        assert_eq!(freezer.as_ref(), Some(&found));
        assert_eq!(directories.len(), 4);
        assert_eq!(directories.last().map(String::as_str), Some("/sys/fs/cgroup/unified/updraft-t/i"));
    }
    // That it freezes does not make it one whose controllers are used.
    assert!(Layout::parse(V1_HOST, "").delegation("t").is_empty());
}

#[test]
fn the_freezer_of_version_1_is_used_where_there_is_nothing_else() {
    let alone = "37 24 0:33 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n";
    let (found, directories) = freezer(&format!("{SYSTEMD_V1_HOST}{alone}"));
    let file = "/sys/fs/cgroup/freezer/updraft-t/i/freezer.state".into();
    assert_eq!(found, Some(Freezer { file, freeze: "FROZEN", thaw: "THAWED" }));
    assert_eq!(directories.len(), 3);
    // Mounted together with what is there anyway, it needs no directory of its own.
    let together = SYSTEMD_V1_HOST.replace("rw,memory", "rw,memory,freezer");
    let (found, directories) = freezer(&together);
    assert!(found.is_some_and(|found| found.file.starts_with("/sys/fs/cgroup/memory/updraft-t/i")));
    assert_eq!(directories.len(), 2);
}

#[test]
fn without_a_freezer_nothing_is_missing() {
    let (found, directories) = freezer(SYSTEMD_V1_HOST);
    assert_eq!((found, directories.len()), (None, 2));
}

#[test]
fn version_2_freezes_where_it_limits() {
    let (found, directories) = freezer(V2_HOST);
    assert_eq!(found.map(|found| found.file), Some("/sys/fs/cgroup/updraft-t/i/cgroup.freeze".into()));
    assert_eq!(directories, ["/sys/fs/cgroup/updraft-t/i"]);
}

#[test]
fn the_cpu_alone_is_written_as_it_is_with_all_limits() {
    for host in [V1_HOST, V2_HOST] {
        let layout = Layout::parse(host, "cpu memory pids");
        let cpu = layout.cpu(("t", "i"), (LIMITS.cpu_millis, LIMITS.priority)).expect("there");
        let all = layout.allowance("t", "i", LIMITS);
        let is_cpu = |(file, _): &&(PathBuf, String)| file.to_string_lossy().contains("/cpu.");
        assert_eq!(cpu.settings, all.settings.iter().filter(is_cpu).cloned().collect::<Vec<_>>());
        assert_eq!(cpu.wishes, all.wishes.iter().filter(is_cpu).cloned().collect::<Vec<_>>());
        assert!(!cpu.settings.is_empty());
    }
    assert_eq!(Layout::default().cpu(("t", "i"), (1000, Priority::Serving)), None);
}

#[test]
fn a_task_may_use_as_much_cpu_as_what_serves_and_weighs_a_sixteenth_of_it() {
    let of = |host, cpu_millis, priority| {
        let layout = Layout::parse(host, "cpu memory pids");
        layout.cpu(("t", "i"), (cpu_millis, priority)).expect("there").to_string()
    };
    let v1 = "/sys/fs/cgroup/cpu/updraft-t/i/cpu";
    let whole = |shares| {
        format!("limit {v1}.cfs_period_us = 100000\nlimit {v1}.cfs_quota_us = 100000\nwish {v1}.shares = {shares}\n")
    };
    assert_eq!(of(V1_HOST, 1000, Priority::Serving), whole(1024));
    assert_eq!(of(V1_HOST, 1000, Priority::Batch), whole(64));
    let v2 = "/sys/fs/cgroup/updraft-t/i/cpu";
    let whole = |weight| format!("limit {v2}.max = 100000 100000\nwish {v2}.weight = {weight}\n");
    assert_eq!(of(V2_HOST, 1000, Priority::Serving), whole(100));
    assert_eq!(of(V2_HOST, 1000, Priority::Batch), whole(6));
    assert!(of(V1_HOST, 10, Priority::Batch).ends_with("shares = 2\n"), "as little as the kernel takes");
    assert!(of(V2_HOST, 10, Priority::Batch).ends_with("weight = 1\n"));
}

#[test]
fn what_was_limited_ahead_is_only_changed_where_it_was_wrong() {
    let layout = Layout::parse(V1_HOST, "");
    let change = |to| layout.change(("ab12", "i1"), LIMITS, to).to_string();
    assert_eq!(change(LIMITS), "");
    assert_eq!(
        change(Limits { cpu_millis: 2000, ..LIMITS }),
        "\
limit /sys/fs/cgroup/cpu/updraft-ab12/i1/cpu.cfs_quota_us = 200000
wish /sys/fs/cgroup/cpu/updraft-ab12/i1/cpu.shares = 2048
"
    );
}

#[test]
fn memory_grows_from_the_outer_limit_inwards_and_shrinks_the_other_way_round() {
    let layout = Layout::parse(V1_HOST, "");
    let change = |from, to| {
        let limits = |memory_bytes| Limits { memory_bytes, ..LIMITS };
        layout.change(("t", "i"), limits(from), limits(to)).to_string()
    };
    let dir = "/sys/fs/cgroup/memory/updraft-t/i";
    assert_eq!(
        change(1000, 2000),
        format!("first {dir}/memory.memsw.limit_in_bytes = 2000\nlimit {dir}/memory.limit_in_bytes = 2000\n")
    );
    assert_eq!(
        change(2000, 1000),
        format!("limit {dir}/memory.limit_in_bytes = 1000\nwish {dir}/memory.memsw.limit_in_bytes = 1000\n")
    );
}
