//! Configurations that cannot be used: exit code 2, which the unit of systemd does not restart; and what may be better
//! the next time, which it does.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use super::host::{Said, UPDRAFT, containers_run_here, said};

/// Runs a verb that is to end by itself; one that serves instead is ended after a while, with code 124.
fn run(words: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = Command::new("timeout");
    command.args(["--signal=TERM", "90", UPDRAFT]).args(words).envs(variables.iter().copied());
    said(command.stdin(Stdio::null()).output().expect("timeout is part of coreutils"))
}

/// `serve` on free ports, without containers.
fn serve(data_dir: &Path, flags: &[&str]) -> Said {
    let data_dir = data_dir.to_str().expect("UTF-8");
    let mut words = vec!["serve", "--isolation", "none", "--data-dir", data_dir];
    if !flags.contains(&"--listen") {
        words.extend(["--listen", "127.0.0.1:0"]);
    }
    words.extend(["--registry-listen", "127.0.0.1:0"]);
    words.extend(flags);
    run(&words, &[])
}

fn assert_refused(said: &Said, code: i32, why: &str) {
    assert_eq!(said.code, code, "{why}: {said:?}");
    assert!(said.stderr.contains("error: ") && said.stderr.contains(why), "{why}: {said:?}");
    assert!(!said.stdout.contains("API "), "it serves nothing: {said:?}");
}

fn with_token(text: &str, mode: u32) -> TempDir {
    let dir = TempDir::with_prefix("updraft-it-").expect("a temporary directory");
    let path = dir.path().join("token");
    fs::write(&path, text).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
    dir
}

#[test]
fn a_configuration_that_cannot_be_used_ends_with_2() {
    let dir = TempDir::with_prefix("updraft-it-").expect("a temporary directory");
    let data = dir.path().join("data");
    assert_refused(&serve(&data, &["--listen", "0.0.0.0:0"]), 2, "without authentication");
    assert_refused(&serve(&data, &["--log", "a=b=c"]), 2, "log = 'a=b=c' (flag)");
    assert_refused(&serve(&data, &["--registry-credentials", "/nonexistent"]), 2, "registry-credentials");
    assert_refused(&serve(Path::new(""), &[]), 2, "data-dir = '' (flag): must not be empty");
    assert!(!data.exists(), "nothing was made");

    let file = dir.path().join("updraft.toml");
    fs::write(&file, "listen = ").expect("writable");
    assert_refused(&serve(&data, &["--config", file.to_str().expect("UTF-8")]), 2, "updraft.toml");
    assert_refused(&serve(&file, &[]), 2, "updraft.toml is not a directory");
    assert_refused(&serve(&file.join("below"), &[]), 2, "updraft.toml is not a directory");

    let (short, loose) = (with_token("short", 0o600), with_token("0123456789abcdef", 0o644));
    assert_refused(&serve(short.path(), &["--auth", "token"]), 2, "does not hold one line of at least 16");
    let said = serve(loose.path(), &["--auth", "token"]);
    assert_refused(&said, 2, "can be read by others (mode 644)");
    assert!(said.stderr.contains("hint: ") && said.stderr.contains("chmod 600"), "{said:?}");
    assert_refused(&serve(&data, &["--auth", "token", "--token", "abc"]), 2, "has no use for '--token'");
}

#[test]
fn a_read_only_data_directory_ends_with_2() {
    if !containers_run_here() {
        return;
    }
    let dir = TempDir::with_prefix("updraft-it-").expect("a temporary directory");
    mount("tmpfs", dir.path(), "tmpfs", MountFlags::RDONLY, c"size=64k").expect("root may mount");
    let (there, below) = (serve(dir.path(), &[]), serve(&dir.path().join("data"), &[]));
    unmount(dir.path(), UnmountFlags::DETACH).expect("ours");
    for said in [there, below] {
        assert_refused(&said, 2, "Read-only file system");
    }
}

#[test]
fn a_port_that_is_taken_ends_with_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let dir = TempDir::with_prefix("updraft-it-").expect("a temporary directory");
    assert_refused(&serve(&dir.path().join("data"), &["--listen", &address]), 1, "cannot listen on");
}

#[test]
fn config_show_fails_where_serve_would_and_still_shows() {
    for (name, value, why) in [
        ("UPDRAFT_LISTEN", "bogus", "listen = 'bogus' ($UPDRAFT_LISTEN): must be ADDRESS:PORT"),
        ("UPDRAFT_LISTEN", "0.0.0.0:8080", "without authentication"),
        ("UPDRAFT_LOG", "a=b=c", "log = 'a=b=c'"),
        ("UPDRAFT_DATA_DIR", "/proc/self/comm", "/proc/self/comm is not a directory"),
    ] {
        let said = run(&["config", "show"], &[(name, value)]);
        assert_refused(&said, 2, why);
        assert!(said.stdout.contains(&format!("\"{value}\"")), "{said:?}");
    }
    assert_eq!(run(&["config", "show", "--data-dir", "/tmp/updraft-of-nobody"], &[]).code, 0);
}

#[test]
fn a_data_directory_that_is_not_there_is_not_called_clean() {
    if !containers_run_here() {
        return;
    }
    let said = run(&["doctor", "--leaks", "--data-dir", "/nonexistent"], &[]);
    assert_refused(&said, 2, "there is no data directory /nonexistent");
    assert!(!said.stdout.contains("Nothing was left behind"), "{said:?}");
}

#[test]
fn quickstart_says_what_its_directory_must_be_and_takes_an_isolation() {
    let dir = TempDir::with_prefix("updraft-it-").expect("a temporary directory");
    fs::write(dir.path().join("precious"), "mine").expect("writable");
    let path = dir.path().to_str().expect("UTF-8");
    let said = run(&["quickstart", "--once", "--data-dir", path], &[]);
    assert_refused(&said, 2, "hint: --data-dir must name a directory that is empty or not there");
    assert!(!said.stderr.contains("updraft doctor"), "{said:?}");
    let said = run(&["quickstart", "--once", "--data-dir", path, "--isolation", "docker"], &[]);
    assert_refused(&said, 2, "isolation = 'docker' (flag)");
    assert!(dir.path().join("precious").exists());

    if !containers_run_here() {
        return;
    }
    let fresh = dir.path().join("fresh");
    let path = fresh.to_str().expect("UTF-8");
    let said = run(&["quickstart", "--once", "--data-dir", path, "--isolation", "chroot"], &[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("copy of the image, root, limits"), "{said:?}");
    assert!(said.stderr.contains("instances are not kept apart"), "{said:?}");
    assert!(!fresh.exists(), "its data is removed");
}
