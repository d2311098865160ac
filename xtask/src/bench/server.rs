//! A server of a bench: the release binary, its own data directory, free ports, ended by its own id.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{Error, test};

/// How long anything here may take before the bench gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    program: PathBuf,
    data_dir: PathBuf,
    child: Child,
    /// Where API and services are.
    pub(crate) address: SocketAddr,
}

// === impl Server ===

impl Server {
    /// Builds the release binary and starts it with `idle_timeout`.
    pub(crate) fn start(root: &Path, idle_timeout: &str) -> Result<Self, Error> {
        test::command(Command::new("cargo").current_dir(root).args([
            "build",
            "--release",
            "--quiet",
            "--package",
            "updraft",
        ]))?;
        Self::spawn(root.join("target/release/updraft"), idle_timeout)
    }

    /// Starts a program that is there.
    pub(crate) fn spawn(program: PathBuf, idle_timeout: &str) -> Result<Self, Error> {
        let data_dir = std::env::temp_dir().join(format!("updraft-bench-{}", std::process::id()));
        let mut serve = Command::new(&program);
        serve.args(["serve", "--listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0", "--log", "warn"]);
        serve.args(["--idle-timeout", idle_timeout, "--data-dir"]).arg(&data_dir);
        let mut child = serve.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut address = None;
        for line in BufReader::new(stdout).lines() {
            if let Some(url) = line?.strip_prefix("API ") {
                address = url.trim().strip_prefix("http://").and_then(|rest| rest.parse().ok());
                break;
            }
        }
        let address = address.ok_or("the server ended before it told its address")?;
        Ok(Self { program, data_dir, child, address })
    }

    /// Runs a verb of the command line against it and returns its data.
    pub(crate) fn updraft(&self, arguments: &[&str]) -> Result<String, Error> {
        let mut client = Command::new(&self.program);
        client.arg("--endpoint").arg(format!("http://{}", self.address)).args(arguments);
        let output = client.output()?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout)?);
        }
        Err(format!("updraft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }

    /// A request on a connection of its own, sent; the answer is for the caller to read.
    pub(crate) fn send(&self, host: &str, path: &str) -> Result<TcpStream, Error> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        Ok(stream)
    }

    /// The whole answer to a request.
    pub(crate) fn get(&self, host: &str, path: &str) -> Result<String, Error> {
        let mut answer = String::new();
        self.send(host, path)?.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, so that it removes its containers; it is our own child, so the id cannot be another's.
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data_dir);
    }
}
