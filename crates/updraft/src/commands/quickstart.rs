//! `updraft quickstart`: the whole line once, on this machine, with where the time went.
//!
//! It is a client like any other: every step is a verb of the command line, shown as it would be typed.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, Parser as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use updraft_base::Clock;
use updraft_cli::{Console, Exit, Terminal};
use updraft_engine_local::{Isolation, isolations};
use updraft_model::RevisionName;

use super::{
    Arguments, Verb, fail, print, serve,
    signals::{Hangup, Signals},
};
use crate::{
    HELLO,
    config::{Config, ConfigError, Layer, LogFormat, combine},
    image::{File, Process, archive},
    server::{EngineChoice, Options, Server, StartError, local_engine},
};

/// The example's service, and the name of its image.
const SERVICE: &str = "hello";
const IMAGE: &str = "localhost/hello:latest";
/// Instances without requests go after so long: a few seconds show that they do.
const IDLE: &str = "2s";
/// The file that says that a folder was made by a tour.
const MARK: &str = "QUICKSTART";
/// Warm requests; their median is shown.
const WARM: usize = 50;
/// How long a step may take before something must be wrong.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(super) struct QuickstartArgs {
    /// End after the last step instead of staying until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// Where to keep the data meanwhile: a folder that does not exist or is empty. It is removed at the end.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How far instances are kept apart: 'namespaces', 'chroot', or 'none' [default: the strongest that this machine allows].
    #[arg(long, value_name = "ISOLATION")]
    isolation: Option<String>,
}

/// The folder holds something, or is somebody else's.
#[derive(Debug, thiserror::Error)]
#[error("{} is not an empty folder of yours; the tour removes its folder at the end", .0.display())]
struct Occupied(PathBuf);

/// What went wrong; it ends the tour.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A request, measured.
struct Measured {
    body: String,
    to_first_byte: Duration,
    sent: Instant,
    first_byte: Instant,
}

/// Runs the tour, in `project` and `region` if some were typed.
pub(super) async fn run(flags: QuickstartArgs, place: Layer) -> ExitCode {
    match tour(&flags, place).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error.as_ref()),
    }
}

fn failed(error: &(dyn std::error::Error + Send + Sync + 'static)) -> ExitCode {
    if let Some(error) = error.downcast_ref::<StartError>() {
        return serve::not_started(error);
    }
    let hint = if error.is::<Occupied>() {
        "--data-dir must name a directory that is empty or not there"
    } else if error.is::<ConfigError>() {
        "`updraft quickstart --help` lists the flags"
    } else {
        return fail(error, Some("`updraft doctor` tells what this machine lacks"));
    };
    fail(error, Some(hint));
    Exit::Usage.into()
}

async fn tour(flags: &QuickstartArgs, place: Layer) -> Result<(), Failure> {
    serve::log_to_stderr("warn", LogFormat::Text).map_err(|error| error.to_string())?;
    let mut signals = Signals::catch(Hangup::Ends)?;
    let data_dir = &match &flags.data_dir {
        Some(given) => std::path::absolute(given)?,
        None => default_dir()?,
    };
    let mut config = config(data_dir, flags.isolation.as_deref(), place)?;
    claim(data_dir)?;
    let fallback = match flags.isolation {
        Some(_) => None,
        None => fall_back(&mut config)?,
    };
    let (isolation, auth) = (config.isolation, config.auth);
    let engine = EngineChoice::Local(local_engine(&config));
    serve::keep_memory();
    let server = Server::start(Options { config, engine, clock: Clock::system() }).await?;
    match fallback {
        Some(cause) => warn(isolation, &cause),
        None => serve::warn_of(isolation, auth),
    }
    let told = tokio::select! {
        told = tell(&server, data_dir, isolation) => told,
        _ = signals.next() => Err("interrupted".into()),
    };
    if told.is_ok() && !flags.once {
        print("Ctrl-C ends it and removes everything.");
        signals.next().await;
    }
    server.stop().await;
    std::fs::remove_dir_all(data_dir)?;
    told.inspect(|()| print("\nStopped; containers, network and data are removed."))
}

async fn tell(server: &Server, data_dir: &Path, isolation: Isolation) -> Result<(), Failure> {
    let clock = Clock::system();
    print(format!("Updraft serves on http://{} (images on {}).\n", server.address, server.registry));
    let archive_file = data_dir.join("hello.tar");
    std::fs::write(&archive_file, hello_image()?)?;
    // Left by a tour that was killed.
    let _ = client(server, &["services", "delete", SERVICE, "--quiet"], silent()).await;

    let loading = clock.instant();
    shown(server, &["images", "load", &archive_file.display().to_string()]).await?;
    let loading = loading.elapsed();
    let deploying = clock.instant();
    shown(server, &["deploy", SERVICE, "--image", IMAGE, "--allow-unauthenticated"]).await?;
    let deploying = deploying.elapsed();

    let (revision, host) = described(server).await?;
    print(format!("Image loaded in {}, deployed and checked in {}.", ms(loading), ms(deploying)));
    print("Waiting until the instance of the check is retired …");
    until_zero(server, &clock).await?;
    let cold = get(server.address, &host, &clock).await?;
    let timing = server.fleet.timing(&revision).ok_or("the fleet tells no start")?;
    let sandbox = timing.started.saturating_duration_since(timing.asked);
    let app = timing.ready.saturating_duration_since(timing.started);
    let before = timing.asked.saturating_duration_since(cold.sent);
    let after = cold.first_byte.saturating_duration_since(timing.ready);
    print(format!("\nFrom zero: {:?}\n", cold.body.trim_end()));
    print(format!("  {:<8} {:>10}   unpacked when it was deployed: no part of this", "image", "–"));
    for (part, time, note) in [
        ("sandbox", sandbox, made_of(isolation)),
        ("app", app, "until it listened"),
        ("proxy", before + after, "connection, route, queue, and the request itself"),
        ("total", cold.to_first_byte, "client → first byte"),
    ] {
        print(format!("  {part:<8} {:>10}   {note}", ms(time)));
    }
    let mut warm = Vec::with_capacity(WARM);
    for _ in 0..WARM {
        warm.push(get(server.address, &host, &clock).await?.to_first_byte);
    }
    warm.sort();
    print(format!("  {:<8} {:>10}   median of {WARM}, each on a new connection\n", "warm", ms(warm[WARM / 2])));
    let port = server.address.port();
    print(format!("Try it:\n  curl http://{host}:{port}/\n  curl -H 'Host: {host}' http://{}/", server.address));
    print(format!("  updraft --endpoint http://{} services describe {SERVICE}\n", server.address));
    Ok(())
}

/// The best isolation that this host has: a tour is to show something. What is in the way of the best one, if that
/// is not it.
fn fall_back(config: &mut Config) -> Result<Option<String>, Failure> {
    let possible = isolations(&config.data_dir);
    let best = possible.iter().find(|one| one.outcome.is_ok()).ok_or_else(|| {
        let causes =
            possible.iter().filter_map(|one| Some(format!("{}: {}", one.isolation, one.outcome.clone().err()?)));
        format!("no isolation is possible here ({})", causes.collect::<Vec<_>>().join("; "))
    })?;
    config.isolation = best.isolation;
    Ok(possible.iter().find_map(|one| one.outcome.clone().err()).filter(|_| best.isolation != Isolation::default()))
}

/// What takes the time before the program runs.
fn made_of(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Namespaces => "namespaces, root, limits, network, exec",
        Isolation::Chroot => "copy of the image, root, limits, port, exec",
        Isolation::None => "copy of the image, limits, port, exec",
    }
}

/// A block that nobody overlooks, on stderr and between the steps.
#[expect(clippy::print_stderr, reason = "talk of a command")]
fn warn(isolation: Isolation, cause: &str) {
    let line = "=".repeat(78);
    let missing = match isolation {
        Isolation::Chroot => "Each instance has only a root directory of its own.",
        Isolation::None | Isolation::Namespaces => {
            "Instances run with the files of this machine, static programs only."
        }
    };
    eprintln!(
        "{line}\n\
         WARNING: this host does not allow namespaces. Isolation is '{isolation}' instead.\n\n\
         Why:      {cause}.\n\
         Missing:  {missing}\n          \
         They see this machine's network and processes, and each other's.\n          \
         Limits of CPU and of processes hold only where control groups can be\n          \
         written; memory is watched. Run nothing here that you do not trust.\n\
         Differs:  every instance gets a PORT of its own. An image that ignores PORT\n          \
         can have one instance.\n\
         Instead:  run it as root of a machine, or in a privileged container\n          \
         (docker run --privileged). `updraft doctor` tells more,\n          \
         docs/isolation.md everything.\n\
         {line}\n"
    );
}

fn config(data_dir: &Path, isolation: Option<&str>, place: Layer) -> Result<Config, Failure> {
    let text = |value: &str| (value.to_owned(), None);
    let settings = [
        ("data-dir", text(&data_dir.display().to_string())),
        ("listen", text("127.0.0.1:0")),
        ("registry-listen", text("127.0.0.1:0")),
        ("idle-timeout", text(IDLE)),
    ];
    let typed = isolation.map(|isolation| ("isolation", text(isolation)));
    let settings = settings.into_iter().chain(typed).collect();
    Ok(Config::from_resolved(&combine(&[Layer(settings), place]))?)
}

/// Always the same, so that a tour finds and removes what a killed one left on the machine; and not below a folder that
/// others may write to, who could have put something there first.
fn default_dir() -> Result<PathBuf, Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/updraft-quickstart"));
    }
    let home = std::env::var_os("HOME").ok_or("$HOME is not set; --data-dir says where the data may go")?;
    Ok(PathBuf::from(home).join(".local/share/updraft-quickstart"))
}

/// Makes the folder ours, and private. What is removed at the end is only what a tour made: the mark says so.
fn claim(data_dir: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
    let mark = data_dir.join(MARK);
    match std::fs::symlink_metadata(data_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
        }
        Err(error) => return Err(error.into()),
        Ok(found) => {
            let ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw();
            let is_free = ours && (mark.is_file() || std::fs::read_dir(data_dir)?.next().is_none());
            if !is_free {
                return Err(Occupied(data_dir.to_owned()).into());
            }
            std::fs::set_permissions(data_dir, std::fs::Permissions::from_mode(0o700))?;
        }
    }
    Ok(std::fs::write(mark, "made by `updraft quickstart`, and removed by it\n")?)
}

fn hello_image() -> io::Result<Vec<u8>> {
    let files = [File { path: "hello", contents: HELLO, mode: 0o755 }];
    archive(IMAGE, &files, &Process { entrypoint: &["/hello"], ..Process::default() })
}

/// Carries out a verb of the command line, shown as it would be typed.
async fn shown(server: &Server, words: &[&str]) -> Result<(), Failure> {
    print(format!("$ updraft {}", words.join(" ")));
    client(server, words, Console::stdio()).await
}

async fn client(server: &Server, words: &[&str], console: Console<'_>) -> Result<(), Failure> {
    let endpoint = format!("http://{}", server.address);
    let line = ["updraft", "--endpoint", &endpoint].into_iter().chain(words.iter().copied());
    let arguments = Arguments::try_parse_from(line)?;
    let Verb::Client(command) = arguments.verb else { return Err("not a verb of the client".into()) };
    match updraft_cli::run(command, arguments.globals, console, Clock::system()).await {
        Exit::Done => Ok(()),
        exit => Err(format!("`updraft {}` ended with {exit:?}", words.join(" ")).into()),
    }
}

fn silent() -> Console<'static> {
    Console::new(io::sink(), io::sink(), io::empty(), Terminal::Plain)
}

/// The ready revision of the example and the host of its URL.
async fn described(server: &Server) -> Result<(RevisionName, String), Failure> {
    let mut data = Vec::new();
    let console = Console::new(&mut data, io::sink(), io::empty(), Terminal::Plain);
    client(server, &["services", "describe", SERVICE, "--format", "json"], console).await?;
    let service: serde_json::Value = serde_json::from_slice(&data)?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned).ok_or("the service tells no revision");
    let revision = text(&service["status"]["latestReadyRevisionName"])?;
    let url = text(&service["status"]["url"])?;
    let host = url.trim_start_matches("http://").split([':', '/']).next().unwrap_or_default().to_owned();
    let name = server.default_parent().service(SERVICE).revision(revision);
    Ok((name, host))
}

async fn until_zero(server: &Server, clock: &Clock) -> Result<(), Failure> {
    let deadline = clock.instant() + PATIENCE;
    while server.fleet.live_instances() > 0 {
        if clock.instant() > deadline {
            return Err("the instance was not retired".into());
        }
        clock.sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A request on a connection of its own, from before the connection to the first byte of the answer.
async fn get(address: SocketAddr, host: &str, clock: &Clock) -> Result<Measured, Failure> {
    let sent = clock.instant();
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![stream.read_u8().await?];
    let first_byte = clock.instant();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("the service answered {}", head.lines().next().unwrap_or_default()).into());
    }
    Ok(Measured { body: body.to_owned(), to_first_byte: first_byte - sent, sent, first_byte })
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_something_in_it_is_never_claimed() {
        let outer = tempfile::TempDir::new().expect("a temporary directory");
        let precious = outer.path().join("precious");
        std::fs::create_dir(&precious).expect("writable");
        std::fs::write(precious.join("file"), "mine").expect("writable");
        assert!(claim(&precious).is_err());
        assert!(claim(&precious.join("file")).is_err(), "a file is no folder");
        std::os::unix::fs::symlink(&precious, outer.path().join("link")).expect("writable");
        assert!(claim(&outer.path().join("link")).is_err(), "a link may lead anywhere");
    }

    #[test]
    fn a_new_an_empty_and_an_earlier_folder_are_claimed() {
        let outer = tempfile::TempDir::new().expect("a temporary directory");
        let (new, empty) = (outer.path().join("a/b"), outer.path().join("empty"));
        std::fs::create_dir(&empty).expect("writable");
        for folder in [&new, &empty, &new] {
            claim(folder).expect("free");
            std::fs::write(folder.join("left"), "by a tour that was killed").expect("writable");
        }
    }
}
