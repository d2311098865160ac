//! `updraft serve`.

use std::{io::IsTerminal as _, process::ExitCode};

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tracing_subscriber::EnvFilter;
use updraft_base::{Clock, Shutdown};
use updraft_cli::Exit;
use updraft_engine_local::Isolation;
use updraft_identity::AuthMode;
use updraft_oci::ImageError;
use updraft_store::StoreError;

use super::{
    fail, print,
    signals::{Hangup, Signals},
};
use crate::{
    config::{Config, LogFormat},
    server::{EngineChoice, Options, Server, StartError, local_engine},
    systemd::Notifier,
};

/// Serves until SIGTERM or SIGINT, then drains and removes everything. A second signal ends requests and containers at
/// once, a third everything.
pub(super) async fn run(config: Config) -> ExitCode {
    if let Err(error) = log_to_stderr(&config.log, config.log_format) {
        return fail(error.as_ref(), None);
    }
    raise_open_files();
    keep_memory();
    let hangup = if std::io::stdin().is_terminal() { Hangup::Ends } else { Hangup::Reloads };
    let mut signals = match Signals::catch(hangup) {
        Ok(signals) => signals,
        Err(error) => return fail(&error, None),
    };
    let notifier = Notifier::from_environment(|name| std::env::var(name).ok());
    let clock = Clock::system();
    tokio::select! {
        code = serve(config, &mut signals, &notifier) => code,
        () = notifier.keep_alive(&clock) => ExitCode::FAILURE,
    }
}

/// As many open files as the server may have: a shell gives 1024, and an open stream takes two. Nothing here passes a
/// descriptor to `select`, which is what that small number is for; instances have a limit of their own.
fn raise_open_files() {
    let most = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
        tracing::warn!(%error, "the limit of open files stays as it was");
    }
}

/// Sees to it that no crash leaves the server's memory on a disk or with another program: values of secrets are in it, and
/// every key. A core of one byte is too small for a file, and the only one for which the kernel does not start what
/// `core_pattern` names; with a limit of 0 it does. The launcher, and what of it holds values on their way into a container, inherits
/// that. That the server
/// is not to be dumped holds whatever the limits are, and keeps other processes of its user from looking into it.
pub(super) fn keep_memory() {
    let core = Some(1);
    let is_none_yet = getrlimit(Resource::Core).maximum == Some(0);
    // Who has no right to more than nothing has no file at least.
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: core, maximum: core })
        && !is_none_yet
    {
        tracing::warn!(%error, "a crash may leave the server's memory in a file");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "other processes of the same user may look into the server's memory");
    }
}

async fn serve(config: Config, signals: &mut Signals, notifier: &Notifier) -> ExitCode {
    let (isolation, auth) = (config.isolation, config.auth);
    let engine = EngineChoice::Local(local_engine(&config));
    let started = tokio::select! {
        started = Server::start(Options { config, engine, clock: Clock::system() }) => started,
        _ = signals.next() => return ExitCode::FAILURE,
    };
    let server = match started {
        Ok(server) => server,
        Err(error) => return not_started(&error),
    };
    warn_of(isolation, auth);
    print(format_args!("API http://{}", server.address));
    if let Some(tls) = server.tls {
        print(format_args!("TLS https://{tls}"));
    }
    print(format_args!("Registry {}", server.registry));
    tracing::info!(api = %server.address, tls = server.tls.map(tracing::field::display), registry = %server.registry, "serving");
    notifier.ready(&format!("http://{}", server.address));
    let failed = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "draining; a second signal ends requests and containers at once");
            false
        }
        () = server.failed() => {
            tracing::error!("an essential task failed; stopping");
            true
        }
    };
    notifier.stopping();
    let hurry = Shutdown::default();
    let mut stopping = std::pin::pin!(server.stop_unless_hurried(hurry.clone()));
    loop {
        tokio::select! {
            () = &mut stopping => break,
            signal = signals.next() => {
                if hurry.is_asked() {
                    tracing::warn!(signal, "ended at once; the next start removes what is left");
                    return ExitCode::FAILURE;
                }
                tracing::warn!(signal, "not waiting any more; a third signal ends without removing anything");
                hurry.ask();
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Says so when instances are not kept apart.
pub(super) fn warn_of(isolation: Isolation, auth: AuthMode) {
    if let Some(warning) = warning(isolation, auth) {
        tracing::warn!(%isolation, %auth, "{warning}");
    }
}

/// What to say of instances of this isolation. Those that share the host's network come to the server as everybody on this
/// machine does, so that nothing tells them from its operator.
fn warning(isolation: Isolation, auth: AuthMode) -> Option<&'static str> {
    match (isolation, auth) {
        (Isolation::Namespaces, _) => None,
        (Isolation::Chroot | Isolation::None, AuthMode::Token) => {
            Some("instances are not kept apart from this machine and from each other: docs/isolation.md")
        }
        (Isolation::Chroot | Isolation::None, AuthMode::None) => Some(
            "instances are not kept apart from this machine and from each other, and each of them may do everything that \
             the API can: they have this machine's network, on which nobody is asked for a token. Run only code that you \
             trust, or set auth = \"token\": docs/isolation.md",
        ),
    }
}

/// Sends the server's own log to stderr.
pub(super) fn log_to_stderr(filter: &str, format: LogFormat) -> Result<(), Box<dyn std::error::Error>> {
    let filter = EnvFilter::try_new(filter)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            log.with_ansi(ansi).try_init().map_err(|error| error.to_string())?;
        }
        LogFormat::Json => log.json().try_init().map_err(|error| error.to_string())?,
    }
    Ok(())
}

fn isolation_hint(wanted: Isolation, instead: &[Isolation]) -> String {
    let root = if rustix::process::geteuid().is_root() { "" } else { "start the server as root; " };
    match instead.iter().find(|one| **one != wanted) {
        Some(other) => format!(
            "{root}`--isolation {other}` works here, and keeps instances less apart (docs/isolation.md); `updraft doctor` \
             tells what this machine lacks"
        ),
        None => format!("{root}`updraft doctor` tells what this machine lacks"),
    }
}

/// Says why a server did not start. With the exit code that tells whoever restarts it whether that is of any use.
pub(super) fn not_started(error: &StartError) -> ExitCode {
    let code = fail(error, hint(error).as_deref());
    if error.is_unusable() { Exit::Usage.into() } else { code }
}

/// What to do about a server that could not start.
fn hint(error: &StartError) -> Option<String> {
    match error {
        StartError::Listen { address, .. } => Some(format!(
            "is another server on port {}? --listen, --tls-listen and --registry-listen choose others; port 0 takes a free one",
            address.port()
        )),
        StartError::Isolation { wanted, instead, .. } => Some(isolation_hint(*wanted, instead)),
        StartError::Engine(_) => Some("`updraft doctor` tells what this machine lacks".to_owned()),
        StartError::Runtime(_) => Some(
            "give --runtime the name or the path of runc or of a runtime with its command line, or leave it out for \
             Updraft's own sandbox (docs/runtime.md)"
                .to_owned(),
        ),
        StartError::Bind(open) => Some(open.hint()),
        StartError::Tls(error) => error.hint(),
        StartError::DataDir { .. } => Some("choose another directory with --data-dir".to_owned()),
        StartError::Identity(error) => error.hint(),
        StartError::Sealing(error) => error.hint(),
        StartError::Store(StoreError::TooNew { .. }) | StartError::Images(ImageError::TooNew { .. }) => Some(
            "start the version of Updraft that wrote it, or a later one; or choose another directory with --data-dir. \
             Nothing was changed"
                .to_owned(),
        ),
        StartError::Store(StoreError::Locked { .. }) => Some(
            "of a data directory one server runs at a time: stop the other, or choose another --data-dir".to_owned(),
        ),
        StartError::Store(StoreError::Full { .. }) => Some("make room on the disk of the data directory".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_shares_the_hosts_network_with_a_server_that_asks_for_no_token_is_told_to_be_its_operator() {
        let is_operator =
            |isolation, auth| warning(isolation, auth).map(|warning| warning.contains("may do everything"));
        for shared in [Isolation::Chroot, Isolation::None] {
            assert!(shared.is_shared());
            assert_eq!(is_operator(shared, AuthMode::None), Some(true));
            assert_eq!(is_operator(shared, AuthMode::Token), Some(false));
        }
        assert_eq!(is_operator(Isolation::Namespaces, AuthMode::None), None);
    }
}
