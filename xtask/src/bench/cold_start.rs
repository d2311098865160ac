//! From zero to the first byte: a static server in our sandbox, through the proxy; the same program by bare exec;
//! and the same in runc.
//!
//! Every start is a first one: ours begins with no instance (told by the metrics), the peers begin with no process.
//! The rounds are taken in turn, so that a slow moment of the machine hits all of them.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    Options, image,
    machine::Machine,
    report::{Report, Row},
    server::{PATIENCE, Server},
};
use crate::{Error, test};

const HOST: &str = "cold";
const IMAGE: &str = "localhost/cold:latest";
/// A server counts as gone once no instance is counted; asked this often.
const POLL: Duration = Duration::from_millis(20);

/// Runs the bench.
pub(crate) fn run(root: &Path, options: &Options) -> Result<Report, Error> {
    let rounds = if options.quick { 10 } else { 40 };
    let machine = Machine::here();
    let hello = hello(root)?;
    let peer = Runc::install(&hello)?;
    let server = Server::start(root, "100ms")?;
    let host = deploy(&server, &hello)?;

    let (mut ours, mut warm, mut bare, mut runc) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        wait_for_zero(&server)?;
        ours.push(first_byte(|| server.send(&host, "/"))?);
        warm.push(first_byte(|| server.send(&host, "/"))?);
        bare.push(bare_exec(&hello)?);
        runc.push(peer.start(round)?);
    }
    let rows = vec![
        Row::of("updraft, from zero, through the proxy", ours)?,
        Row::of("updraft, warm, new connection", warm)?,
        Row::of("bare exec, no isolation", bare)?,
        Row::of("runc run, host network, plus connect", runc)?,
    ];
    let ratios = [
        ("cold_over_bare_exec".to_owned(), rows[0].p50_ms / rows[2].p50_ms),
        ("runc_over_cold".to_owned(), rows[3].p50_ms / rows[0].p50_ms),
    ];
    Ok(Report { machine, rows, ratios: ratios.into() })
}

/// The static example, built once.
fn hello(root: &Path) -> Result<PathBuf, Error> {
    test::example(root)?;
    Ok(root.join("target/examples/x86_64-unknown-linux-gnu/release/hello"))
}

fn deploy(server: &Server, hello: &Path) -> Result<String, Error> {
    let program = fs::read(hello)?;
    let files = [image::File { path: "hello", contents: &program, mode: 0o755 }];
    let process = image::Process { entrypoint: &["/hello"], ..image::Process::default() };
    let archive = std::env::temp_dir().join(format!("updraft-bench-{}.tar", std::process::id()));
    fs::write(&archive, image::archive(IMAGE, &files, &process)?)?;
    let loaded = server.updraft(&["images", "load", &archive.display().to_string()]);
    fs::remove_file(&archive)?;
    loaded?;
    server.updraft(&["deploy", HOST, "--image", IMAGE, "--allow-unauthenticated", "--quiet"])?;
    let described = server.updraft(&["services", "describe", HOST, "--format", "json"])?;
    let described: serde_json::Value = serde_json::from_str(&described)?;
    let url = described["status"]["url"].as_str().ok_or("the service has no URL")?;
    let host = url.trim_start_matches("http://").split(['/', ':']).next().unwrap_or_default();
    Ok(host.to_owned())
}

fn wait_for_zero(server: &Server) -> Result<(), Error> {
    let deadline = now() + PATIENCE;
    loop {
        let metrics = server.get("localhost", "/metrics")?;
        let mut counts = metrics.lines().filter(|line| line.starts_with("updraft_instances{"));
        if counts.all(|line| line.ends_with(" 0")) {
            return Ok(());
        }
        if now() > deadline {
            return Err("the instances did not go to zero".into());
        }
        std::thread::sleep(POLL);
    }
}

/// From before the connection to the first byte of the answer.
fn first_byte(send: impl FnOnce() -> Result<TcpStream, Error>) -> Result<Duration, Error> {
    let started = now();
    let mut stream = send()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let taken = started.elapsed();
    if &head != b"HTTP/1.1 200" {
        return Err(format!("the answer begins with {:?}", String::from_utf8_lossy(&head)).into());
    }
    Ok(taken)
}

/// Connects as soon as somebody listens, and asks.
fn ask(port: u16) -> Result<TcpStream, Error> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let deadline = now() + PATIENCE;
    loop {
        match TcpStream::connect(address) {
            Ok(mut stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                write!(stream, "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && now() < deadline => {
                std::thread::sleep(Duration::from_micros(100));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn bare_exec(hello: &Path) -> Result<Duration, Error> {
    let port = free_port()?;
    let mut child: Option<Child> = None;
    let taken = first_byte(|| {
        child = Some(Command::new(hello).env("PORT", port.to_string()).stdout(Stdio::null()).spawn()?);
        ask(port)
    });
    if let Some(mut child) = child {
        child.kill()?;
        child.wait()?;
    }
    taken
}

/// runc with a bundle of its own.
struct Runc {
    bundle: PathBuf,
}

impl Runc {
    fn install(hello: &Path) -> Result<Self, Error> {
        if test::which("runc").is_none() {
            let mut install = Command::new("apt-get");
            test::command(install.args(["install", "-y", "-qq", "--no-install-recommends", "runc"]))?;
        }
        let bundle = std::env::temp_dir().join(format!("updraft-bench-runc-{}", std::process::id()));
        fs::create_dir_all(bundle.join("rootfs"))?;
        fs::copy(hello, bundle.join("rootfs/hello"))?;
        Ok(Self { bundle })
    }

    fn start(&self, round: usize) -> Result<Duration, Error> {
        let port = free_port()?;
        let id = format!("updraft-bench-{}-{round}", std::process::id());
        test::command(Command::new("runc").arg("spec").arg("--bundle").arg(&self.bundle))?;
        let config = self.bundle.join("config.json");
        let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&config)?)?;
        spec["process"]["args"] = json!(["/hello"]);
        spec["process"]["terminal"] = json!(false);
        spec["process"]["env"] = json!([format!("PORT={port}")]);
        // With a network of its own the peer would need a bridge first; so this favours it.
        if let Some(namespaces) = spec["linux"]["namespaces"].as_array_mut() {
            namespaces.retain(|namespace| namespace["type"] != "network");
        }
        fs::write(&config, serde_json::to_vec(&spec)?)?;
        let taken = first_byte(|| {
            let mut run = Command::new("runc");
            run.args(["run", "--detach", "--bundle"]).arg(&self.bundle).arg(&id);
            test::command(run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
            ask(port)
        });
        test::command(Command::new("runc").args(["delete", "--force", &id]))?;
        fs::remove_file(&config)?;
        taken
    }
}

impl Drop for Runc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.bundle);
    }
}

fn free_port() -> Result<u16, Error> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[expect(clippy::disallowed_methods, reason = "a bench lives in real time")]
fn now() -> Instant {
    Instant::now()
}
