//! A server of a test: the binary as a process of its own, its own data directory, free ports.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Mutex,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test gives up; generous, because it only ends what hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The binary under test.
pub(crate) const UPDRAFT: &str = env!("CARGO_BIN_EXE_updraft");

/// A running server.
pub(crate) struct Host {
    child: Mutex<std::process::Child>,
    data_dir: TempDir,
    /// `ADDRESS:PORT` of API and services.
    pub(crate) address: String,
    /// `ADDRESS:PORT` of the same over TLS; empty when it is off.
    pub(crate) tls: String,
    /// `ADDRESS:PORT` of the registry.
    pub(crate) registry: String,
}

/// What a command of the client said.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its exit code.
    pub(crate) code: i32,
    /// Its data.
    pub(crate) stdout: String,
    /// Its talk.
    pub(crate) stderr: String,
}

/// Can containers be run here? Says why not; then a test has nothing to show.
pub(crate) fn containers_run_here() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("containers need root");
    }
    root
}

/// Is `program` here? Says so if not.
pub(crate) fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !found {
        skip(&format!("{program} is not installed; `cargo xtask test` installs it"));
    }
    found
}

/// Says why a test shows nothing; on machines that have everything, that is a failure.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("UPDRAFT_TEST_NO_SKIP").is_none(), "nothing may be skipped here: {why}");
    eprintln!("skipped: {why}");
}

// === impl Host ===

impl Host {
    /// Starts a server with `flags`, and waits until it serves.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_in(TempDir::with_prefix("updraft-it-").expect("a temporary directory"), flags)
    }

    /// The same, in a data directory that may have been used before.
    pub(crate) fn start_in(data_dir: TempDir, flags: &[&str]) -> Self {
        Self::start_by(Command::new(UPDRAFT), data_dir, flags)
    }

    /// The same with variables. Flags say where it listens, or it is loopback.
    pub(crate) fn start_with(data_dir: TempDir, flags: &[&str], variables: &[(&str, String)]) -> Self {
        let mut serve = Command::new(UPDRAFT);
        serve.envs(variables.iter().map(|(name, value)| (name, value)));
        Self::start_by(serve, data_dir, flags)
    }

    /// The same by a command that runs the binary with the arguments it is given.
    pub(crate) fn start_by(mut serve: Command, data_dir: TempDir, flags: &[&str]) -> Self {
        serve.args(["serve", "--log", "warn"]);
        if !flags.contains(&"--listen") {
            serve.args(["--listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0"]);
        }
        serve.arg("--data-dir").arg(data_dir.path().join("data")).args(flags);
        let mut child = serve.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("piped");
        let (mut address, mut tls, mut registry) = (None, String::new(), None);
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(url) = line.strip_prefix("API ") {
                address = Some(url.trim_start_matches("http://").to_owned());
            } else if let Some(url) = line.strip_prefix("TLS ") {
                url.trim_start_matches("https://").clone_into(&mut tls);
            } else if let Some(name) = line.strip_prefix("Registry ") {
                registry = Some(name.to_owned());
                break;
            }
        }
        let (Some(address), Some(registry)) = (address, registry) else {
            panic!("the server ended early: {:?}", child.wait());
        };
        Self { child: Mutex::new(child), data_dir, address, tls, registry }
    }

    /// The data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.data_dir.path().join("data")
    }

    /// The server's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.lock().expect("not poisoned").id()
    }

    /// Runs a verb of the client.
    pub(crate) fn updraft(&self, arguments: &[&str]) -> Said {
        Self::updraft_at(&format!("http://{}", self.address), arguments)
    }

    /// The same against another endpoint than the usual one.
    pub(crate) fn updraft_at(endpoint: &str, arguments: &[&str]) -> Said {
        let mut client = Command::new(UPDRAFT);
        client.args(["--endpoint", endpoint]).args(arguments);
        said(client.stdin(Stdio::null()).output().expect("the binary starts"))
    }

    /// Runs a verb that must succeed; returns its data.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let said = self.updraft(arguments);
        assert_eq!(said.code, 0, "updraft {arguments:?}\n{}\n{}", said.stdout, said.stderr);
        said.stdout
    }

    /// What [`Host::ok`] does, for another thread.
    pub(crate) fn client(&self) -> impl Fn(&[&str]) + Send + 'static {
        let endpoint = format!("http://{}", self.address);
        move |arguments| {
            run(Command::new(UPDRAFT).args(["--endpoint", &endpoint]).args(arguments));
        }
    }

    /// Loads an archive's bytes as an image.
    pub(crate) fn load(&self, archive: &[u8]) {
        let file = self.data_dir.path().join(format!("image-{}.tar", rand_suffix(archive)));
        std::fs::write(&file, archive).expect("writable");
        self.ok(&["images", "load", file.to_str().expect("UTF-8")]);
    }

    /// The host name of a service or of one of its tags, from what describe says.
    pub(crate) fn host_of(&self, service: &str, tag: Option<&str>) -> String {
        let described = self.describe(service);
        let url = match tag {
            None => described["status"]["url"].as_str().map(str::to_owned),
            Some(tag) => described["status"]["traffic"]
                .as_array()
                .and_then(|targets| targets.iter().find(|target| target["tag"] == tag))
                .and_then(|target| target["url"].as_str().map(str::to_owned)),
        };
        let url = url.unwrap_or_else(|| panic!("no URL of {service} {tag:?} in {described:#}"));
        url.trim_start_matches("http://").split(['/', ':']).next().unwrap_or_default().to_owned()
    }

    /// `services describe --format json`.
    pub(crate) fn describe(&self, service: &str) -> Value {
        serde_json::from_str(&self.ok(&["services", "describe", service, "--format", "json"])).expect("JSON")
    }

    /// A GET on the service behind `host`.
    pub(crate) async fn get(&self, client: &reqwest::Client, host: &str, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address);
        let answer = client.get(url).header("host", host).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    /// Which process of a witness answers behind `host`.
    pub(crate) async fn process(&self, client: &reqwest::Client, host: &str) -> String {
        let (code, answer) = self.get(client, host, "/seen/it").await;
        assert_eq!(code, 200, "{answer}");
        answer.trim().strip_prefix("it ").expect("a witness answers").to_owned()
    }

    /// The value of the metric lines that begin with `prefix`, summed.
    pub(crate) async fn metric(&self, client: &reqwest::Client, prefix: &str) -> f64 {
        let text = client.get(format!("http://{}/metrics", self.address)).send().await.expect("an answer");
        let text = text.text().await.expect("a body");
        let values = text.lines().filter(|line| line.starts_with(prefix) && !line.starts_with('#'));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// SIGTERM; returns once the server has ended, with its exit code, and gives the data directory back.
    pub(crate) fn stop(self) -> (i32, TempDir) {
        self.signal(rustix::process::Signal::TERM);
        let status = self.wait();
        (status, self.into_data_dir())
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid().cast_signed()).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("our own child");
    }

    /// Returns once a server that was told to end has, with its exit code.
    pub(crate) fn ended(self) -> i32 {
        self.wait()
    }

    /// kill -9; returns once the server is gone and gives the data directory back.
    pub(crate) fn kill(self) -> TempDir {
        self.child.lock().expect("not poisoned").kill().expect("our own child");
        self.wait();
        self.into_data_dir()
    }

    /// SIGABRT; returns once the server is gone, says whether there is a core of it and gives the data directory back.
    pub(crate) fn abort(self) -> (bool, TempDir) {
        self.signal(rustix::process::Signal::ABORT);
        let status = self.child.lock().expect("not poisoned").wait().expect("our own child");
        (status.core_dumped(), self.into_data_dir())
    }

    fn wait(&self) -> i32 {
        self.child.lock().expect("not poisoned").wait().expect("our own child").code().unwrap_or(-1)
    }

    fn into_data_dir(mut self) -> TempDir {
        let empty = TempDir::new().expect("a temporary directory");
        std::mem::replace(&mut self.data_dir, empty)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A test that failed leaves no container: SIGTERM lets the server remove them.
        let Ok(child) = self.child.get_mut() else { return };
        if matches!(child.try_wait(), Ok(None)) {
            if let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            let _ = child.wait();
        }
    }
}

/// Runs a program of the machine that must succeed; returns its stdout.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = said(output);
    assert_eq!(said.code, 0, "{command:?}\n{}\n{}", said.stdout, said.stderr);
    said.stdout
}

/// Asks until `condition` holds, for at most [`PATIENCE`].
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    eventually_shown(what, async || if condition().await { Ok(()) } else { Err(String::new()) }).await;
}

/// As [`eventually`], for a condition that says what it saw instead.
pub(crate) async fn eventually_shown(what: &str, mut condition: impl AsyncFnMut() -> Result<(), String>) {
    let clock = updraft_base::Clock::system();
    let deadline = clock.instant() + PATIENCE;
    while let Err(seen) = condition().await {
        assert!(clock.instant() < deadline, "{what}: not within {PATIENCE:?}. {seen}");
        clock.sleep(Duration::from_millis(50)).await;
    }
}

/// A folder of this crate's tests.
pub(crate) fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/reality")
}

/// What a program said.
pub(crate) fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn rand_suffix(bytes: &[u8]) -> u64 {
    updraft_model::name::fnv1a(bytes)
}
