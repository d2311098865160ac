//! What an escape would reach: made by the test, outside of any sandbox, and looked at afterwards.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The host as the instances should not find it.
pub(crate) struct Host {
    file: PathBuf,
    listener: TcpListener,
    datagrams: UdpSocket,
    socket: UnixListener,
    name: String,
    process: Child,
    settings: Vec<(&'static str, String)>,
}

/// Settings of the machine that must be the same afterwards.
const SETTINGS: [&str; 7] = [
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/domainname",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/vm/swappiness",
    "/proc/sys/net/core/somaxconn",
    "/proc/swaps",
];

// === impl Host ===

impl Host {
    /// Something of each kind, with a file in `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        let file = dir.join("of-the-host");
        fs::write(&file, "secret").expect("a directory of the test");
        let (listener, datagrams) = ports();
        let name = format!("updraft-test-{}-{}", std::process::id(), datagrams.local_addr().expect("bound").port());
        let socket = SocketAddr::from_abstract_name(&name).and_then(|address| UnixListener::bind_addr(&address));
        let socket = socket.expect("the name is ours");
        listener.set_nonblocking(true).expect("ours");
        datagrams.set_nonblocking(true).expect("ours");
        socket.set_nonblocking(true).expect("ours");
        let settings = SETTINGS.map(|path| (path, fs::read_to_string(path).unwrap_or_default())).into();
        Self { file, listener, datagrams, socket, name, process: bystander(), settings }
    }

    /// Where the attempts find what they look for.
    pub(crate) fn told(&self) -> Vec<(String, String)> {
        let pair = |name: &str, value: String| (name.to_owned(), value);
        vec![
            pair("HOST_FILE", self.file.display().to_string()),
            pair("HOST_PORT", self.listener.local_addr().expect("bound").port().to_string()),
            pair("HOST_ADDRESSES", address()),
            pair("HOST_ABSTRACT", self.name.clone()),
            pair("HOST_PID", self.process.id().to_string()),
        ]
    }

    /// What has happened to the host; empty when nothing has.
    pub(crate) fn harm(mut self) -> Vec<String> {
        let mut harm = Vec::new();
        if self.listener.accept().is_ok() {
            harm.push("somebody came to the host's port".to_owned());
        }
        if self.datagrams.recv(&mut [0; 16]).is_ok() {
            harm.push("a datagram came to the host's port".to_owned());
        }
        if self.socket.accept().is_ok() {
            harm.push("somebody came to the host's abstract socket".to_owned());
        }
        if !matches!(self.process.try_wait(), Ok(None)) {
            harm.push("the host's process has ended".to_owned());
        }
        for (path, before) in &self.settings {
            if fs::read_to_string(path).unwrap_or_default() != *before {
                harm.push(format!("{path} has changed"));
            }
        }
        if fs::read_to_string(&self.file).ok().as_deref() != Some("secret") {
            harm.push("the host's file has changed".to_owned());
        }
        harm
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The same port twice: TCP and UDP, on all addresses of the host.
fn ports() -> (TcpListener, UdpSocket) {
    let both = || {
        let listener = TcpListener::bind("0.0.0.0:0").ok()?;
        let datagrams = UdpSocket::bind(listener.local_addr().ok()?).ok()?;
        Some((listener, datagrams))
    };
    (0..100).find_map(|_| both()).expect("a free port")
}

/// A process whose number none of an instance's can have.
fn bystander() -> Child {
    const HIGH: u32 = 2000;
    loop {
        let process = Command::new("sleep").arg("600").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut process = process.expect("every host has it");
        if process.id() > HIGH {
            return process;
        }
        process.kill().and_then(|()| process.wait()).expect("it is ours");
    }
}

/// The host's own address towards others, if it has one. Nothing is sent.
fn address() -> String {
    let asked = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    asked.map(|own| own.ip().to_string()).unwrap_or_default()
}
