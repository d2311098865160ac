//! A server of a bench: the release binary, its own data directory, free ports, ended by its own id.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use super::cold_start::clock::now;
use crate::{Error, test};

/// How long anything here may take before the bench gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How often metrics are looked at: the server answers a caller a hundred times in a second, and not for long.
const LOOK: Duration = Duration::from_millis(20);

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    program: PathBuf,
    data_dir: PathBuf,
    /// How it was started.
    serve: Command,
    child: Child,
    /// Where API and services are.
    pub(crate) address: SocketAddr,
}

// === impl Server ===

impl Server {
    /// Builds the release binary.
    pub(crate) fn build(root: &Path) -> Result<PathBuf, Error> {
        let mut build = Command::new("cargo");
        test::command(build.current_dir(root).args(["build", "--release", "--quiet", "--package", "updraft"]))?;
        Ok(root.join("target/release/updraft"))
    }

    /// Starts a program that is there, with these further arguments.
    pub(crate) fn spawn(program: PathBuf, arguments: &[&str]) -> Result<Self, Error> {
        Self::spawn_with(program, arguments, &[])
    }

    /// The same with these variables in its environment.
    pub(crate) fn spawn_with(program: PathBuf, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Self, Error> {
        let data_dir = data_dir();
        let mut serve = Command::new(&program);
        serve.args(["serve", "--listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0", "--log", "warn"]);
        // Not as a flag: `arguments` may say otherwise.
        serve.env("UPDRAFT_TLS_LISTEN", "off").args(arguments).arg("--data-dir").arg(&data_dir);
        serve.envs(variables.iter().copied());
        Self::listen(serve, program, data_dir)
    }

    /// Builds and starts the server whose instances are plain processes of the host. `cli` is used to talk to it.
    pub(crate) fn bare(root: &Path, cli: &Path, idle_timeout: &str) -> Result<Self, Error> {
        let mut build = Command::new("cargo");
        build.current_dir(root).args(["build", "--release", "--quiet", "--package", "updraft-testkit"]);
        test::command(build.args(["--features", "bare", "--example", "bare"]))?;
        let data_dir = data_dir();
        let mut serve = Command::new(root.join("target/release/examples/bare"));
        serve.arg(&data_dir).arg(idle_timeout).stdin(Stdio::piped());
        Self::listen(serve, cli.to_owned(), data_dir)
    }

    fn listen(mut serve: Command, program: PathBuf, data_dir: PathBuf) -> Result<Self, Error> {
        let (child, address) = start(&mut serve)?;
        Ok(Self { program, data_dir, serve, child, address })
    }

    /// Ends it, and starts it again with the data that it has; says how long it took until it told its address.
    pub(crate) fn restart(&mut self) -> Result<Duration, Error> {
        self.end();
        let begun = now();
        (self.child, self.address) = start(&mut self.serve)?;
        Ok(begun.elapsed())
    }

    fn end(&mut self) {
        // One of them ends when this closes.
        drop(self.child.stdin.take());
        // SIGTERM, so that it removes its containers; it is our own child, so the id cannot be another's.
        if let Ok(None) = self.child.try_wait() {
            let id = self.child.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &id]).status();
            let _ = self.child.wait();
        }
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A service's URL.
    pub(crate) fn url_of(&self, service: &str) -> Result<String, Error> {
        let described = self.updraft(&["services", "describe", service, "--format", "json"])?;
        let described: serde_json::Value = serde_json::from_str(&described)?;
        Ok(described["status"]["url"].as_str().ok_or("the service has no URL")?.to_owned())
    }

    /// The host of a service's URL.
    pub(crate) fn host_of(&self, service: &str) -> Result<String, Error> {
        let url = self.url_of(service)?;
        Ok(url.trim_start_matches("http://").split(['/', ':']).next().unwrap_or_default().to_owned())
    }

    /// A metric that has no labels.
    pub(crate) fn metric(&self, name: &str) -> Result<f64, Error> {
        let metrics = self.get("localhost", "/metrics")?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        let head = metrics.lines().next().unwrap_or_default();
        value.ok_or_else(|| format!("there is no metric '{name}' in an answer that begins with '{head}'").into())
    }

    /// Waits until no instance is counted.
    pub(crate) fn until_zero(&self) -> Result<(), Error> {
        let deadline = now() + PATIENCE;
        loop {
            let metrics = self.get("localhost", "/metrics")?;
            let mut counts = metrics.lines().filter(|line| line.starts_with("updraft_instances{")).peekable();
            // An answer without counts is a refusal, not zero.
            if counts.peek().is_some() && counts.all(|line| line.ends_with(" 0")) {
                return Ok(());
            }
            if now() > deadline {
                return Err("the instances did not go to zero".into());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Runs a verb of the command line against it and returns its data.
    pub(crate) fn updraft(&self, arguments: &[&str]) -> Result<String, Error> {
        let mut client = Command::new(&self.program);
        client.arg("--endpoint").arg(format!("http://{}", self.address)).args(arguments);
        // Only a server that asks for a token has one; that of another server would be refused.
        client.env_remove("UPDRAFT_TOKEN").env_remove("UPDRAFT_TOKEN_FILE");
        if self.token_file().exists() {
            client.env("UPDRAFT_TOKEN_FILE", self.token_file());
        }
        let output = client.output()?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout)?);
        }
        Err(format!("updraft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }

    /// Puts an image, as `docker save` would write it, into its registry.
    pub(crate) fn load(&self, image: &[u8]) -> Result<(), Error> {
        let archive = self.data_dir.with_extension("tar");
        fs::write(&archive, image)?;
        let loaded = self.updraft(&["images", "load", &archive.display().to_string()]);
        fs::remove_file(&archive)?;
        loaded.map(drop)
    }

    /// Where the token of its operator is, if it asks for one.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.data_dir.join("token")
    }

    /// A request on a connection of its own, sent; the answer is for the caller to read.
    pub(crate) fn send(&self, host: &str, path: &str) -> Result<TcpStream, Error> {
        self.send_with(host, path, "")
    }

    /// The same with further headers, each with its line end.
    fn send_with(&self, host: &str, path: &str, headers: &str) -> Result<TcpStream, Error> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n")?;
        Ok(stream)
    }

    /// The whole answer to a request.
    pub(crate) fn get(&self, host: &str, path: &str) -> Result<String, Error> {
        let mut answer = String::new();
        self.send(host, path)?.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// The same for who shows this token.
    pub(crate) fn get_as(&self, token: &str, host: &str, path: &str) -> Result<String, Error> {
        let mut answer = String::new();
        let shown = format!("Authorization: Bearer {token}\r\n");
        self.send_with(host, path, &shown)?.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        let _ = fs::remove_dir_all(&self.data_dir);
    }
}

/// Starts a server, and reads its address from what it says. One that does not tell it is ended.
fn start(serve: &mut Command) -> Result<(Child, SocketAddr), Error> {
    let mut child = serve.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().ok_or("no stdout")?;
    let lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let told = lines.filter_map(|line| line.strip_prefix("API ").map(str::to_owned)).next();
    match told.and_then(|url| url.trim().strip_prefix("http://")?.parse().ok()) {
        Some(address) => Ok((child, address)),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            Err("the server ended before it told its address".into())
        }
    }
}

/// A new one for each server of this process.
fn data_dir() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("updraft-bench-{}-{number}", std::process::id()))
}
