//! `cargo xtask gcloud --gcloud PATH`: the real gcloud against a real server.
//!
//! Every command that README promises is run as a user would type it; its exit code and the words that users and
//! scripts look for are compared with those against Google. gcloud itself is not part of this repository: the tests
//! replay its requests instead (`crates/updraft/tests/it/gcloud`).
//!
//! The server asks for a token. Most commands are its operator's, by variables; those of a service account find the
//! server by the configuration that `updraft gcloud setup --auth account` writes, and prove who they are by its key.

mod accounts;
mod commands;
mod jobs;
mod scheduler;
mod shown;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use crate::{
    Error,
    bench::{image, server::Server},
    test,
};
use shown::Shown;

/// Which commands of which gcloud to run.
#[derive(Debug)]
pub(crate) struct Choice {
    /// The program; or the directory of an SDK, whose `lib/gcloud.py` is then run.
    pub(crate) gcloud: PathBuf,
    /// Only the commands of the group of this name, or else those that have this in them; `None`: all.
    pub(crate) only: Option<String>,
    /// A server's program that is built already.
    pub(crate) updraft: Option<PathBuf>,
}

/// A command of gcloud and what it should do.
#[derive(Debug)]
struct Line {
    /// What is typed after `gcloud`, with words in braces: see [`filled`].
    words: &'static str,
    who: Who,
    exit: i32,
    /// What is printed, among other things, on either stream.
    says: &'static [&'static str],
    then: Then,
}

/// As whom a command is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Operator,
    /// The operator, who finds the server by gcloud's configuration, and so by TLS.
    Secured,
    /// The account that is active in gcloud's configuration.
    Account,
}

/// What holds afterwards.
#[derive(Debug)]
enum Then {
    /// Nothing is said of that.
    Unsaid,
    /// The service `demo` answers this to anybody.
    Answers(&'static str),
    /// The service `private` heeds the token that was printed in this way.
    Heeds(Shown),
}

/// Commands that belong together, in their order.
struct Group {
    name: &'static str,
    lines: &'static [Line],
}

const GROUPS: [Group; 4] = [
    Group { name: "run", lines: commands::COMMANDS },
    Group { name: "jobs", lines: jobs::COMMANDS },
    Group { name: "accounts", lines: accounts::COMMANDS },
    Group { name: "scheduler", lines: scheduler::COMMANDS },
];

const IMAGE: &str = "localhost/hello:latest";
/// The APIs that commands call, by the names of their prefixes and overrides.
const APIS: [&str; 8] = [
    "run",
    "serviceusage",
    "cloudresourcemanager",
    "iam",
    "iamcredentials",
    "logging",
    "secretmanager",
    "cloudscheduler",
];
/// The image of the program that tells what it was given.
const WITNESS: &str = "localhost/witness:latest";

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
    // By TLS, too: gcloud writes worker pools by gRPC, which its library does in no other way.
    let flags = ["--idle-timeout", "15m", "--auth", "token", "--tls-listen", "127.0.0.1:0"];
    let server = Server::spawn(program, &flags)?;
    load(&server, root, dir)?;
    for (name, text) in commands::MANIFESTS.iter().chain(&accounts::FILES).chain(&jobs::FILES) {
        fs::write(dir.join(name), text)?;
    }
    let config = dir.join("config").display().to_string();
    server.updraft(&["gcloud", "setup", "--auth", "account", "--config-dir", &config])?;
    let (mut failed, mut count) = (Vec::new(), 0);
    for (group, line) in GROUPS.iter().flat_map(|group| group.lines.iter().map(move |line| (group, line))) {
        if !choice.is_wanted(group, line) {
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

/// Puts the images into the server's registry.
fn load(server: &Server, root: &Path, dir: &Path) -> Result<(), Error> {
    let hello = fs::read(root.join("target/examples/x86_64-unknown-linux-gnu/release/hello"))?;
    put(server, (IMAGE, "hello"), &hello)?;
    let program = dir.join("witness");
    test::witness(root, &program)?;
    put(server, (WITNESS, "witness"), &fs::read(program)?)
}

fn put(server: &Server, (image, name): (&str, &str), program: &[u8]) -> Result<(), Error> {
    let files = [image::File { path: name, contents: program, mode: 0o755 }];
    let entrypoint = format!("/{name}");
    let process = image::Process { entrypoint: &[&entrypoint], ..image::Process::default() };
    server.load(&image::archive(image, &files, &process)?)
}

// === impl Choice ===

impl Choice {
    fn is_wanted(&self, group: &Group, line: &Line) -> bool {
        match self.only.as_deref() {
            None => true,
            // A name of a group may be in many commands.
            Some(only) if GROUPS.iter().any(|group| group.name == only) => group.name == only,
            Some(only) => line.words.contains(only),
        }
    }
}

// === impl Line ===

impl Line {
    /// Runs the command; says what was not as it should be.
    fn run(&self, choice: &Choice, server: &Server, dir: &Path) -> Result<Option<String>, Error> {
        let typed: Result<Vec<String>, Error> =
            words(self.words).iter().map(|word| filled(word, server, dir)).collect();
        // What comes through a pipe, where a command asks for it.
        let piped = fs::File::open(dir.join(accounts::PIPED))?;
        let output = command(&typed?, self.who, choice, (server, dir)).stdin(piped).output()?;
        let token = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let printed = [output.stdout, output.stderr].map(|bytes| plain(&String::from_utf8_lossy(&bytes))).concat();
        let exit = output.status.code().unwrap_or(-1);
        let mut wrong = Vec::new();
        if exit != self.exit {
            wrong.push(format!("  exit code {exit}, should be {}", self.exit));
        }
        let says = self.says.iter().map(|part| accounts::addressed(part));
        let missing = says.filter(|part| !printed.contains(part));
        wrong.extend(missing.map(|part| format!("  does not say: {part}")));
        wrong.extend(self.then.check(server, &token)?);
        if wrong.is_empty() {
            return Ok(None);
        }
        let shown: String = printed.lines().map(|line| format!("  | {line}\n")).collect();
        Ok(Some(format!("{}\n{shown}", wrong.join("\n"))))
    }
}

// === impl Then ===

impl Then {
    /// What is not so.
    fn check(&self, server: &Server, token: &str) -> Result<Option<String>, Error> {
        match self {
            Self::Unsaid => Ok(None),
            Self::Answers(part) => {
                let answer = server.get(&server.host_of("demo")?, "/")?;
                let wrong = || format!("  the service does not answer '{part}' but: {answer}");
                Ok((!answer.contains(part)).then(wrong))
            }
            Self::Heeds(shown) => shown.check(server, token),
        }
    }
}

/// A word with what stands for those in braces: `{dir}` a directory with the files, `{oldest}` the oldest revision of
/// the service `demo`, `{url}` the URL of the service `private`, `{execution}` the newest execution of the job
/// `demo-job`, `{key}` the id of the key in `key.json`; and those of
/// [`accounts::addressed`].
fn filled(word: &str, server: &Server, dir: &Path) -> Result<String, Error> {
    let mut filled = accounts::addressed(word).replace("{dir}", &dir.display().to_string());
    if filled.contains("{oldest}") {
        filled = filled.replace("{oldest}", &oldest(server)?);
    }
    if filled.contains("{url}") {
        filled = filled.replace("{url}", &server.url_of("private")?);
    }
    if filled.contains("{execution}") {
        filled = filled.replace("{execution}", &newest_execution(server)?);
    }
    if filled.contains("{key}") {
        let file: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("key.json"))?)?;
        filled = filled.replace("{key}", file["private_key_id"].as_str().ok_or("the key file has no id")?);
    }
    Ok(filled)
}

fn oldest(server: &Server) -> Result<String, Error> {
    let listed = server.updraft(&["revisions", "list", "--service", "demo", "--format", "json"])?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let last = listed.as_array().and_then(|all| all.last());
    let name = last.and_then(|revision| revision["metadata"]["name"].as_str());
    Ok(name.ok_or("there is no revision")?.to_owned())
}

fn newest_execution(server: &Server) -> Result<String, Error> {
    let described = server.updraft(&["jobs", "describe", "demo-job", "--format", "json"])?;
    let described: serde_json::Value = serde_json::from_str(&described)?;
    let name = described["status"]["latestCreatedExecution"]["name"].as_str();
    Ok(name.ok_or("the job was never executed")?.to_owned())
}

fn command(typed: &[String], who: Who, choice: &Choice, (server, dir): (&Server, &Path)) -> Command {
    let mut gcloud = match choice.gcloud.is_dir() {
        true => {
            let own = Path::new("target/python/bin/python");
            let mut python = Command::new(if own.exists() { own } else { Path::new("python3") });
            python.arg(choice.gcloud.join("lib/gcloud.py"));
            python
        }
        false => Command::new(&choice.gcloud),
    };
    gcloud.args(typed);
    for (name, value) in [
        ("CLOUDSDK_CORE_DISABLE_PROMPTS", "1"),
        ("CLOUDSDK_CORE_DISABLE_COLOR", "1"),
        ("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "true"),
        ("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "1"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("PYTHONWARNINGS", "ignore"),
        // Its own Python has no gRPC; that of the tests has.
        ("CLOUDSDK_PYTHON_SITEPACKAGES", "1"),
        ("NO_PROXY", "127.0.0.1"),
    ] {
        gcloud.env(name, value);
    }
    gcloud.env("CLOUDSDK_CONFIG", dir.join("config"));
    if who != Who::Operator {
        gcloud.env("CLOUDSDK_ACTIVE_CONFIG_NAME", "updraft");
    }
    if who != Who::Secured {
        // Where gcloud asks for tokens of another account it heeds no authority of ours.
        for api in APIS {
            let name = format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{}", api.to_uppercase());
            gcloud.env(name, format!("http://{}/{api}/", server.address));
        }
    }
    match who {
        Who::Account => return gcloud,
        Who::Secured => {
            gcloud.env("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", server.token_file());
            return gcloud;
        }
        Who::Operator => {}
    }
    for (name, value) in [
        ("CLOUDSDK_REGIONAL_ENDPOINT_MODE", "regional-preferred"),
        ("CLOUDSDK_REGIONAL_ENDPOINT_COMPATIBILITY", "supported"),
        ("CLOUDSDK_CORE_PROJECT", "demo-project"),
        ("CLOUDSDK_RUN_REGION", "us-central1"),
    ] {
        gcloud.env(name, value);
    }
    gcloud.env("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", server.token_file());
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
