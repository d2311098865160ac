//! The OCI runtime that makes the sandboxes, where it is not our own launcher.

use std::{
    env, fs, io,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use updraft_base::Clock;
use updraft_engine::EngineError;

use super::config::LocalConfig;

/// An OCI runtime of this host that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Its program.
    pub path: PathBuf,
    /// What it calls itself, such as `runc version 1.1.5`.
    pub version: String,
}

/// Why something is no OCI runtime that can be run.
#[derive(Debug, thiserror::Error)]
pub enum UnusableRuntime {
    /// There is no such file.
    #[error("there is no '{}'{}", name.display(), if *searched { " in PATH" } else { "" })]
    Absent {
        /// As it was given.
        name: PathBuf,
        /// Was `PATH` searched for it?
        searched: bool,
    },
    /// It cannot be executed.
    #[error("'{}' cannot be executed", path.display())]
    Program {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not say what an OCI runtime says.
    #[error("'{} --version' does not answer as an OCI runtime does: {answer}", path.display())]
    Answer {
        /// The file.
        path: PathBuf,
        /// What it did instead.
        answer: String,
    },
}

/// How long a runtime has to say which version it is.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(2);
/// What of its answer is read, in bytes.
const ANSWER: usize = 4096;

/// The runtime that the configuration wants.
///
/// # Errors
/// [`EngineError::Host`] when it cannot be had, and when it does not go with the isolation.
pub(super) async fn of(config: &LocalConfig) -> Result<Option<Runtime>, EngineError> {
    let Some(name) = config.runtime.clone() else { return Ok(None) };
    let refused = |cause: String| EngineError::Host {
        operation: format!(
            "run containers by '{}'",
            config.runtime.as_deref().unwrap_or_else(|| Path::new("")).display()
        ),
        cause,
    };
    if config.isolation.is_shared() {
        return Err(refused(format!("a runtime makes whole sandboxes, and the isolation is '{}'", config.isolation)));
    }
    let found = tokio::task::spawn_blocking(move || Runtime::find(&name)).await;
    let found = found.map_err(|error| refused(error.to_string()))?;
    found.map(Some).map_err(|error| refused(super::engine::chain(&error)))
}

// === impl Runtime ===

impl Runtime {
    /// Finds the runtime that `name` means (a path, or a file of `PATH`) and asks it for its version. Blocks for some
    /// milliseconds.
    ///
    /// # Errors
    /// [`UnusableRuntime`].
    pub fn find(name: &Path) -> Result<Self, UnusableRuntime> {
        let searched = name.components().count() == 1 && name.file_name().is_some() && !name.is_absolute();
        let candidates = if searched {
            let dirs = env::var_os("PATH").unwrap_or_default();
            env::split_paths(&dirs).map(|dir| dir.join(name)).collect()
        } else {
            vec![name.to_owned()]
        };
        let absent = || UnusableRuntime::Absent { name: name.to_owned(), searched };
        let found = candidates.into_iter().find(|path| is_program(path) || !searched && path.exists());
        // The launcher has another working directory.
        let path = fs::canonicalize(found.ok_or_else(absent)?).map_err(|_| absent())?;
        let answer = ask(&path)?;
        match version_in(&answer, &path) {
            Some(version) => Ok(Self { path, version }),
            None => {
                let answer = answer.lines().next().unwrap_or_default().chars().take(100).collect::<String>();
                let answer =
                    if answer.is_empty() { "it says nothing".to_owned() } else { format!("it says '{answer}'") };
                Err(UnusableRuntime::Answer { path, answer })
            }
        }
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// What it prints when it is asked for its version.
fn ask(path: &Path) -> Result<String, UnusableRuntime> {
    let broken = |source| UnusableRuntime::Program { path: path.to_owned(), source };
    let mut command = Command::new(path);
    command.arg("--version").env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(broken)?;
    let clock = Clock::system();
    let deadline = clock.instant() + ANSWER_WITHIN;
    let status = loop {
        match child.try_wait().map_err(broken)? {
            Some(status) => break status,
            None if clock.instant() >= deadline => {
                // It may end by itself just now.
                let _ = child.kill();
                let _ = child.wait();
                let answer = format!("it does not end within {} s", ANSWER_WITHIN.as_secs());
                return Err(UnusableRuntime::Answer { path: path.to_owned(), answer });
            }
            None => thread::sleep(PAUSE),
        }
    };
    let mut answer = vec![0; ANSWER];
    let mut length = 0;
    if let Some(mut stdout) = child.stdout.take() {
        // What it left running may hold the pipe: no more is read than there is.
        rustix::fs::fcntl_setfl(&stdout, rustix::fs::OFlags::NONBLOCK).map_err(|errno| broken(errno.into()))?;
        length = stdout.read(&mut answer).unwrap_or(0);
    }
    if !status.success() {
        return Err(UnusableRuntime::Answer { path: path.to_owned(), answer: format!("it ends with {status}") });
    }
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// The version in an answer: the first line, if it is `NAME version …` of this very program, or if a line says which
/// version of the specification it follows (`spec: …`).
fn version_in(answer: &str, path: &Path) -> Option<String> {
    let first = answer.lines().next()?.trim();
    let name = path.file_stem()?.to_str()?;
    let named = first.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with("version"));
    let follows = answer.lines().any(|line| line.trim_start().starts_with("spec:"));
    (named || follows).then(|| first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_known_by_what_they_say() {
        let runc = "runc version 1.1.5+ds1\ncommit: x\nspec: 1.0.2-dev\ngo: go1.19.8\n";
        assert_eq!(version_in(runc, Path::new("/usr/bin/runc")).as_deref(), Some("runc version 1.1.5+ds1"));
        assert_eq!(version_in(runc, Path::new("/opt/docker-runc")).as_deref(), Some("runc version 1.1.5+ds1"));
        let youki = "youki version 0.3.3\n";
        assert_eq!(version_in(youki, Path::new("/usr/bin/youki")).as_deref(), Some("youki version 0.3.3"));
        for (other, path) in
            [("ls (GNU coreutils) 9.1\n", "/bin/ls"), ("GNU bash, version 5.2\n", "/bin/bash"), ("", "/x")]
        {
            assert_eq!(version_in(other, Path::new(path)), None);
        }
    }

    #[test]
    fn what_is_no_runtime_is_refused_with_what_it_is() {
        let say = |name: &str| {
            let mut text = String::new();
            if let Err(error) = Runtime::find(Path::new(name)) {
                text = error.to_string();
            }
            text
        };
        assert_eq!(say("/no/such/runtime"), "there is no '/no/such/runtime'");
        assert_eq!(say("no-such-runtime"), "there is no 'no-such-runtime' in PATH");
        assert!(say("/etc/passwd").contains("cannot be executed"), "{}", say("/etc/passwd"));
        assert!(say("/bin/ls").contains("does not answer as an OCI runtime does: it says 'ls"), "{}", say("/bin/ls"));
        assert!(say("false").contains("it ends with exit status: 1"), "{}", say("false"));
    }
}
