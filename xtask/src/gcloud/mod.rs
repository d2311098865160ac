//! `cargo xtask gcloud --gcloud PATH`: the real gcloud against a real server.
//!
//! Every command that README promises is run as a user would type it; its exit code and the words that users and
//! scripts look for are compared with those against Google. gcloud itself is not part of this repository: the tests
//! replay its requests instead (`crates/updraft/tests/it/gcloud`).

mod commands;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    Error,
    bench::{image, server::Server},
    test,
};
use commands::COMMANDS;

/// Which commands of which gcloud to run.
#[derive(Debug)]
pub(crate) struct Choice {
    /// The program; or the directory of an SDK, whose `lib/gcloud.py` is then run.
    pub(crate) gcloud: PathBuf,
    /// Only commands that have this in them, and those that prepare something.
    pub(crate) only: Option<String>,
    /// A server's program that is built already.
    pub(crate) updraft: Option<PathBuf>,
}

/// A command of gcloud and what it should do.
#[derive(Debug)]
struct Line {
    /// What is typed after `gcloud`. `{dir}` is a directory with the manifests, `{oldest}` the oldest revision of
    /// the service `demo`.
    words: &'static str,
    exit: i32,
    /// What is printed, among other things, on either stream.
    says: &'static [&'static str],
    /// What a call of the service `demo` answers afterwards, if anything is said of that.
    then: Option<&'static str>,
}

const IMAGE: &str = "localhost/hello:latest";

/// Runs the commands in order and says which did not do what they should.
pub(crate) fn run(root: &Path, choice: &Choice) -> Result<(), Error> {
    let dir = std::env::temp_dir().join(format!("updraft-gcloud-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let outcome = run_in(root, choice, &dir);
    fs::remove_dir_all(&dir)?;
    outcome
}

fn run_in(root: &Path, choice: &Choice, dir: &Path) -> Result<(), Error> {
    let program = match &choice.updraft {
        Some(program) => program.clone(),
        None => {
            test::command(Command::new("cargo").current_dir(root).args(["build", "--quiet", "--package", "updraft"]))?;
            root.join("target/debug/updraft")
        }
    };
    test::example(root)?;
    let server = Server::spawn(program, &["--idle-timeout", "15m"])?;
    load(&server, root, dir)?;
    for (name, text) in commands::MANIFESTS {
        fs::write(dir.join(name), text)?;
    }
    let (mut failed, mut count) = (Vec::new(), 0);
    for line in COMMANDS {
        let is_wanted = choice.only.as_ref().is_none_or(|only| line.words.contains(only.as_str()));
        if !is_wanted {
            continue;
        }
        count += 1;
        #[expect(clippy::disallowed_methods, reason = "tells a person how long the command took")]
        let started = Instant::now();
        let wrong = line.run(choice, &server, dir)?;
        let took = started.elapsed();
        match wrong {
            None => println!("ok      {took:>6.1?}  gcloud {}", line.words),
            Some(wrong) => {
                println!("FAILED  {took:>6.1?}  gcloud {}\n{wrong}", line.words);
                failed.push(line.words);
            }
        }
    }
    println!("{} of {count} commands as against Google", count - failed.len());
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join("; ")).into()) }
}

/// Puts the example's image into the server's registry.
fn load(server: &Server, root: &Path, dir: &Path) -> Result<(), Error> {
    let hello = fs::read(root.join("target/examples/x86_64-unknown-linux-gnu/release/hello"))?;
    let files = [image::File { path: "hello", contents: &hello, mode: 0o755 }];
    let process = image::Process { entrypoint: &["/hello"], ..image::Process::default() };
    let archive = dir.join("hello.tar");
    fs::write(&archive, image::archive(IMAGE, &files, &process)?)?;
    server.updraft(&["images", "load", &archive.display().to_string()]).map(drop)
}

// === impl Line ===

impl Line {
    /// Runs the command; says what was not as it should be.
    fn run(&self, choice: &Choice, server: &Server, dir: &Path) -> Result<Option<String>, Error> {
        let typed = match self.words.contains("{oldest}") {
            true => self.words.replace("{oldest}", &oldest(server)?),
            false => self.words.to_owned(),
        };
        let output = command(&typed, choice, (server, dir)).stdin(Stdio::null()).output()?;
        let printed = [output.stdout, output.stderr].map(|bytes| plain(&String::from_utf8_lossy(&bytes))).concat();
        let exit = output.status.code().unwrap_or(-1);
        let mut wrong = Vec::new();
        if exit != self.exit {
            wrong.push(format!("  exit code {exit}, should be {}", self.exit));
        }
        let missing = self.says.iter().filter(|part| !printed.contains(**part));
        wrong.extend(missing.map(|part| format!("  does not say: {part}")));
        if let Some(then) = self.then {
            let described = server.updraft(&["services", "describe", "demo", "--format", "json"])?;
            let described: serde_json::Value = serde_json::from_str(&described)?;
            let url = described["status"]["url"].as_str().unwrap_or_default();
            let host = url.trim_start_matches("http://").split(['/', ':']).next().unwrap_or_default();
            let answer = server.get(host, "/")?;
            if !answer.contains(then) {
                wrong.push(format!("  the service does not answer '{then}' but: {answer}"));
            }
        }
        if wrong.is_empty() {
            return Ok(None);
        }
        let shown: String = printed.lines().map(|line| format!("  | {line}\n")).collect();
        Ok(Some(format!("{}\n{shown}", wrong.join("\n"))))
    }
}

fn oldest(server: &Server) -> Result<String, Error> {
    let listed = server.updraft(&["revisions", "list", "--service", "demo", "--format", "json"])?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let last = listed.as_array().and_then(|all| all.last());
    let name = last.and_then(|revision| revision["metadata"]["name"].as_str());
    Ok(name.ok_or("there is no revision")?.to_owned())
}

fn command(typed: &str, choice: &Choice, (server, dir): (&Server, &Path)) -> Command {
    let mut gcloud = match choice.gcloud.is_dir() {
        true => {
            let mut python = Command::new("python3");
            python.arg(choice.gcloud.join("lib/gcloud.py"));
            python
        }
        false => Command::new(&choice.gcloud),
    };
    let place = dir.display().to_string();
    gcloud.args(words(typed).into_iter().map(|word| word.replace("{dir}", &place)));
    for api in ["run", "serviceusage", "cloudresourcemanager", "iam", "logging"] {
        let name = format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{}", api.to_uppercase());
        gcloud.env(name, format!("http://{}/{api}/", server.address));
    }
    for (name, value) in [
        ("CLOUDSDK_REGIONAL_ENDPOINT_MODE", "regional-preferred"),
        ("CLOUDSDK_REGIONAL_ENDPOINT_COMPATIBILITY", "supported"),
        ("CLOUDSDK_AUTH_ACCESS_TOKEN", "local"),
        ("CLOUDSDK_CORE_PROJECT", "demo-project"),
        ("CLOUDSDK_RUN_REGION", "us-central1"),
        ("CLOUDSDK_CORE_DISABLE_PROMPTS", "1"),
        ("CLOUDSDK_CORE_DISABLE_COLOR", "1"),
        ("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "true"),
        ("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "1"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("PYTHONWARNINGS", "ignore"),
        ("NO_PROXY", "127.0.0.1"),
    ] {
        gcloud.env(name, value);
    }
    gcloud.env("CLOUDSDK_CONFIG", dir.join("config"));
    gcloud
}

/// The words of a line, as a shell cuts it; a word in single quotes is one.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        match index % 2 {
            1 => words.push(part.to_owned()),
            _ => words.extend(part.split_whitespace().map(str::to_owned)),
        }
    }
    words
}

/// Without the codes that make a terminal print in colour.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_as_a_shell_cuts_it() {
        assert_eq!(
            words("run deploy x --description 'a demo' -q"),
            ["run", "deploy", "x", "--description", "a demo", "-q"]
        );
    }

    #[test]
    fn colours_are_left_out() {
        assert_eq!(plain("[\u{1b}[1mdemo\u{1b}[m] is \u{1b}[32;1mup"), "[demo] is up");
    }
}
