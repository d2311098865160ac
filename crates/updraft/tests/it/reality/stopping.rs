//! The end of a server that is in use.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixDatagram,
    process::Command,
    thread,
    time::Duration,
};

use tempfile::TempDir;

use super::{
    host::{Host, UPDRAFT, containers_run_here, eventually, have, run},
    images,
    traces::Traces,
};

fn deployed(host: &Host, service: &str) -> String {
    host.load(&images::witness(service));
    let image = format!("localhost/{service}:latest");
    host.ok(&["deploy", service, "--image", &image, "--allow-unauthenticated", "--concurrency", "4", "--quiet"]);
    host.host_of(service, None)
}

/// Sends a request's head and the beginning of its body.
fn begin(host: &Host, head: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(&host.address).expect("it listens");
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("sent");
    stream
}

fn read(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that is cut has no more to say.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The next bytes of a connection must be these.
fn expect(stream: &mut TcpStream, text: &str) {
    let mut next = vec![0; text.len()];
    stream.read_exact(&mut next).expect("an answer");
    assert_eq!(String::from_utf8_lossy(&next), text);
}

/// Waits until the container is busy with a request beside the one that asks.
async fn in_flight(host: &Host, client: &reqwest::Client, name: &str) {
    eventually("it is in flight", || async {
        host.get(client, name, "/peak").await.1.parse::<u32>().is_ok_and(|peak| peak >= 2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_is_finished_what_does_not_end_is_cut_and_nothing_is_left() {
    if !containers_run_here() {
        return;
    }
    let folder = TempDir::new().expect("a directory");
    let manager = UnixDatagram::bind(folder.path().join("notify")).expect("free");
    let heard = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let notify = [("NOTIFY_SOCKET", folder.path().join("notify").display().to_string())];
    let host = Host::start_with(TempDir::with_prefix("updraft-it-").expect("a directory"), &[], &notify);
    let traces = Traces::of(&host);
    assert!(heard().starts_with("READY=1\nSTATUS=Serving on http://127.0.0.1:"));
    let name = deployed(&host, "app");

    let (body, client) = (vec![b'x'; 1 << 20], reqwest::Client::new());
    let (first, second) = body.split_at(body.len() / 2);
    let length = body.len();
    let head = format!("POST / HTTP/1.1\r\nHost: {name}\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n");
    let mut upload = begin(&host, &format!("{head}Connection: close\r\n\r\n"), b"");
    expect(&mut upload, "HTTP/1.1 100 Continue\r\n\r\n");
    upload.write_all(first).expect("sent");
    let rest = format!("HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    let get = |path: &str| begin(&host, &format!("GET {path} {rest}"), b"");
    let slow = get("/slow/4000");
    let mut stream = get("/stream");
    expect(&mut stream, "HTTP/1.1 200 OK\r\n");
    in_flight(&host, &client, &name).await;

    host.signal(rustix::process::Signal::HUP);
    assert_eq!(host.get(&client, &name, "/").await.0, 200, "SIGHUP ends nothing");
    host.signal(rustix::process::Signal::TERM);
    assert!(heard().starts_with("STOPPING=1"));
    eventually("nobody is accepted any more", || async { TcpStream::connect(&host.address).is_err() }).await;
    upload.write_all(second).expect("who has begun may go on");
    let answers = [upload, slow].map(|stream| thread::spawn(|| read(stream)));
    for answer in answers {
        let answer = answer.join().expect("read");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let streamed = read(stream);
    assert!(streamed.contains("\r\n1\r\n.\r\n") && !streamed.ends_with("0\r\n\r\n"), "it was cut, and shows it");
    assert_eq!(host.ended(), 0);
    assert_eq!(traces.left(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_hastens_the_end_and_still_leaves_nothing() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    let traces = Traces::of(&host);
    let name = deployed(&host, "app");
    let client = reqwest::Client::new();
    let slow = begin(&host, &format!("GET /slow/250000 HTTP/1.1\r\nHost: {name}\r\n\r\n"), b"");
    in_flight(&host, &client, &name).await;
    let clock = updraft_base::Clock::system();
    let begun = clock.instant();
    host.signal(rustix::process::Signal::TERM);
    eventually("nobody is accepted any more", || async { TcpStream::connect(&host.address).is_err() }).await;
    host.signal(rustix::process::Signal::INT);
    assert_eq!(host.ended(), 0);
    // The request has ten seconds otherwise, and its container, which does not heed SIGTERM, ten more.
    assert!(clock.instant() - begun < Duration::from_secs(19), "it was not hastened");
    assert_eq!(traces.left(), Vec::<String>::new());
    drop(slow);
}

#[test]
fn a_server_that_crashes_leaves_no_core_wherever_it_was_started() {
    let folder = TempDir::new().expect("a directory");
    let mut serve = Command::new("sh");
    serve.args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\"", UPDRAFT]).current_dir(folder.path());
    let host =
        Host::start_by(serve, TempDir::with_prefix("updraft-it-").expect("a directory"), &["--isolation", "none"]);
    let limits = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let core = |limits: &str| {
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).expect("Linux has it");
        line.split_whitespace().skip(4).take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", host.pid())).expect("it runs");
    let launchers = children.split_whitespace().map(|pid| pid.parse::<u32>().expect("a number"));
    for pid in launchers.chain([host.pid()]) {
        assert_eq!(core(&limits(pid)), ["1", "1"], "of {pid}");
    }
    let (is_dumped, data_dir) = host.abort();
    assert!(!is_dumped);
    let left = std::fs::read_dir(folder.path()).expect("readable").map(|file| file.expect("readable").file_name());
    assert_eq!(left.collect::<Vec<_>>(), Vec::<std::ffi::OsString>::new());
    // The next one ends what the launcher of this one kept.
    assert_eq!(Host::start_in(data_dir, &["--isolation", "none"]).stop().0, 0);
}

#[test]
fn the_unit_that_is_installed_is_one_that_systemd_takes() {
    let root = TempDir::new().expect("a directory");
    let install = |verb: &str| {
        let mut install = Command::new(UPDRAFT);
        run(install.args([verb, "--systemd", "--root"]).arg(root.path()))
    };
    let first = install("install");
    assert!(first.lines().all(|line| !line.starts_with("keep")), "{first}");
    let config = root.path().join("etc/updraft/updraft.toml");
    std::fs::write(&config, "listen = \"127.0.0.1:1\"\n").expect("writable");
    let second = install("install");
    assert!(second.lines().all(|line| line.starts_with("keep")), "{second}");
    assert_eq!(std::fs::read_to_string(&config).expect("there"), "listen = \"127.0.0.1:1\"\n");

    let unit = root.path().join("etc/systemd/system/updraft.service");
    let text = std::fs::read_to_string(&unit).expect("written");
    if have("systemd-analyze") {
        // The program is not where the unit will find it: this machine is not the one it is for.
        let program = root.path().join("usr/local/bin/updraft").display().to_string();
        let here = root.path().join("updraft.service");
        std::fs::write(&here, text.replace("/usr/local/bin/updraft", &program)).expect("writable");
        let verify = Command::new("systemd-analyze").arg("verify").arg(&here).output().expect("it starts");
        let told = String::from_utf8_lossy(&verify.stderr);
        let about_us: Vec<_> = told.lines().filter(|line| line.contains("updraft")).collect();
        assert!(verify.status.success() && about_us.is_empty(), "{told}");
    }
    install("uninstall");
    assert!(!unit.exists() && config.exists());
}

#[test]
fn what_the_unit_takes_away_keeps_no_container_from_running() {
    if !containers_run_here() || !have("setpriv") {
        return;
    }
    let unit = run(Command::new(UPDRAFT).args(["install", "--systemd", "--print"]));
    let lost = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=~")).expect("a list");
    let lost: Vec<String> = lost.split(' ').map(|name| name.to_lowercase().replace("cap_", "-")).collect();
    assert!(unit.contains("\nNoNewPrivileges=yes\n") && unit.contains("\nUMask=0077\n") && lost.len() > 10, "{unit}");
    let folder = TempDir::new().expect("a directory");
    let mut sheet = Command::new("sh");
    sheet.args([
        "-c",
        "umask 077; exec setpriv --no-new-privs --bounding-set \"$1\" \"$2\" quickstart --once --data-dir \"$3\"",
    ]);
    let told = run(sheet.args(["sh", &lost.join(","), UPDRAFT]).arg(folder.path().join("data")));
    assert!(told.contains("From zero: \"Hello from hello-00001-"), "{told}");
}
