//! What the binary itself does: serve, quickstart, doctor, config, completion. Every other verb is a client's.

mod auth;
mod config;
mod doctor;
mod flags;
mod install;
mod leaks;
mod quickstart;
mod restore;
mod serve;
mod signals;

use std::{
    future::Future,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, parser::ValueSource};
use updraft_base::Clock;
use updraft_cli::{Console, EXIT_CODES, Exit, Format, Globals, Shell};

use self::restore::RestoreArgs;
use crate::{
    config::{Config, ConfigError, Layer, Resolved, SETTINGS, combine, environment, file},
    server::check_config,
};

/// The word that makes this program a launcher.
pub const LAUNCHER: &str = "__launcher";

#[derive(Debug, Parser)]
#[command(
    name = "updraft",
    version,
    about = "A serverless container platform: give it an image, get a URL",
    after_help = EXIT_CODES,
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the platform: the API, the services' front door and the image registry.
    Serve(ServeArgs),
    /// See it work: serve, deploy a small example, call it from zero, show where the time went.
    Quickstart(quickstart::QuickstartArgs),
    /// What this machine offers and lacks to run containers, and what to do.
    Doctor(doctor::DoctorArgs),
    /// Set this machine up to run the platform as a service.
    Install(install::InstallArgs),
    /// Take the service away again; configuration and data stay.
    Uninstall(install::UninstallArgs),
    /// Fill an empty data directory from a file that `updraft backup` wrote.
    Restore(restore::RestoreArgs),
    /// Credentials: keep them for a server, and print tokens.
    #[command(subcommand)]
    Auth(AuthCommand),
    /// The configuration of `serve`.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script: `source <(updraft completion bash)`.
    Completion {
        /// For which shell.
        shell: Shell,
    },
    #[command(flatten)]
    Client(updraft_cli::Command),
}

#[derive(Debug, Subcommand)]
enum AuthCommand {
    /// Print a token for `--token`, `docker login --password-stdin` and the like: of the credentials that are kept for the
    /// endpoint, or else the one in the data directory of a server on this machine.
    PrintAccessToken(Box<ServeArgs>),
    #[command(flatten)]
    Client(updraft_cli::AuthCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every setting, its value and where it came from; fails when `serve` would refuse them.
    Show(ServeArgs),
}

/// The settings as flags. `--project` and `--region` are flags of every verb.
#[derive(Debug, Clone, Default, Args)]
struct ServeArgs {
    /// A TOML file of settings; variables and flags win over it.
    #[arg(long, env = "UPDRAFT_CONFIG", value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// Where everything is kept [default: /var/lib/updraft as root, else ~/.local/share/updraft].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Address of the API and of all services; port 0 takes a free one and prints it [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Address of the image registry [default: 127.0.0.1:5000].
    #[arg(long, value_name = "ADDR:PORT")]
    registry_listen: Option<String>,
    /// Address of API and services over TLS, or 'off' [default: port 8443 beside --listen; a free port if it is taken].
    #[arg(long, value_name = "ADDR:PORT")]
    tls_listen: Option<String>,
    /// What else the server is called: names and addresses for its own certificate, separated by commas.
    #[arg(long, value_name = "NAMES")]
    tls_names: Option<String>,
    /// A certificate chain in PEM to show instead of one of our own.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// The key of --tls-cert, in PEM.
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// How URLs of services are written: 'http' or 'https' [default: http].
    #[arg(long, value_name = "SCHEME")]
    url_scheme: Option<String>,
    /// Who may use the API: 'none' (anybody on this machine; loopback only) or 'token' [default: none].
    #[arg(long, value_name = "MODE")]
    auth: Option<String>,
    /// Under which URL others reach the API, for tokens and key files [default: that of --listen].
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// An issuer of OpenID Connect that knows people, whose ID tokens are taken [default: none].
    #[arg(long, value_name = "URL")]
    oidc_issuer: Option<String>,
    /// Whom its tokens must be for; several separated by commas.
    #[arg(long, value_name = "AUDIENCE")]
    oidc_audience: Option<String>,
    /// Which of its claims tell what, such as 'email=upn, groups=roles, domain=tenant' [default: email, groups and hd].
    #[arg(long, value_name = "CLAIMS")]
    oidc_claims: Option<String>,
    /// Only people whose account it hosts for one of these domains [default: everybody it knows].
    #[arg(long, value_name = "DOMAINS")]
    oidc_domains: Option<String>,
    /// Which addresses are believed: 'verified' ones, or all 'as-told' [default: verified].
    #[arg(long, value_name = "WHICH")]
    oidc_emails: Option<String>,
    /// Where the key is that secrets are sealed with: file:/PATH, env:NAME or credential:NAME
    /// [default: file:DATA/keys/installation.key].
    #[arg(long, value_name = "SOURCE")]
    installation_key: Option<String>,
    /// Services get hosts below this domain [default: run.localhost].
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// How long an instance without requests is kept, such as 30s, 15m, 1h [default: 15m].
    #[arg(long, value_name = "DURATION")]
    idle_timeout: Option<String>,
    /// How long an instance without requests keeps its CPU, such as 500ms, 10s; '0' or 'never' [default: 10s].
    #[arg(long, value_name = "DURATION")]
    freeze_after: Option<String>,
    /// Are clients of services told where the time until the first byte went: 'shown' or 'hidden' [default: hidden].
    #[arg(long, value_name = "WHETHER")]
    server_timing: Option<String>,
    /// What becomes of requests to paths that Cloud Run reserves: 'refused' or 'passed-on' [default: refused].
    #[arg(long, value_name = "WHAT")]
    reserved_paths: Option<String>,
    /// How far instances are kept apart: 'namespaces', 'chroot', or 'none' for static programs [default: namespaces].
    #[arg(long, value_name = "ISOLATION")]
    isolation: Option<String>,
    /// End the containers of a server that was killed, rather than go on with them.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    fresh: Option<String>,
    /// An OCI runtime that makes the containers, such as 'runc', or its path [default: Updraft's own sandbox].
    #[arg(long, value_name = "RUNTIME")]
    runtime: Option<String>,
    /// How many sandboxes are made before they are needed [default: 4].
    #[arg(long, value_name = "NUMBER")]
    sandboxes: Option<String>,
    /// Name servers of the containers, separated by commas [default: those of this machine].
    #[arg(long, value_name = "ADDRESSES")]
    dns: Option<String>,
    /// Docker's credential file for pulls [default: ~/.docker/config.json].
    #[arg(long, value_name = "FILE")]
    registry_credentials: Option<String>,
    /// Names under which others reach the image registry, separated by commas [default: its addresses].
    #[arg(long, value_name = "NAMES")]
    registry_names: Option<String>,
    /// What may be reached, beside public addresses, for users [default: 'loopback, private' with --auth none].
    #[arg(long, value_name = "HOSTS")]
    outbound_allow: Option<String>,
    /// An HTTP proxy for what is fetched for users, or 'environment' for $HTTPS_PROXY.
    #[arg(long, value_name = "URL")]
    outbound_proxy: Option<String>,
    /// Certificates of authorities to trust there, in PEM.
    #[arg(long, value_name = "FILE")]
    outbound_ca: Option<String>,
    /// How long what containers write is kept, such as 12h, 30d [default: 30d].
    #[arg(long, value_name = "DURATION")]
    log_retention: Option<String>,
    /// What the log of one service may take on disk [default: 64Mi].
    #[arg(long, value_name = "SIZE")]
    log_max_size: Option<String>,
    /// How long the audit log is kept, such as 30d, 400d [default: 400d].
    #[arg(long, value_name = "DURATION")]
    audit_retention: Option<String>,
    /// What each part of a project's audit log may take on disk [default: 64Mi].
    #[arg(long, value_name = "SIZE")]
    audit_max_size: Option<String>,
    /// What the server says on stderr: error, warn, info, debug, or per module [default: info].
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How it says it: 'text' or 'json' [default: text].
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

/// Parses the command line and carries it out.
pub fn main() -> ExitCode {
    let matches = flags::hide(Arguments::command()).get_matches();
    if let Err(code) = flags::check(&matches) {
        return code;
    }
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match arguments.verb {
        Verb::Serve(flags) => with_config(&flags, &matches, |config| block_on(serve::run(config))),
        Verb::Quickstart(flags) => block_on(quickstart::run(flags, ServeArgs::default().layer(&matches))),
        Verb::Doctor(flags) if flags.leaks => with_config(&flags.serving(), &matches, |config| {
            block_on(leaks::run(&config.data_dir, flags.scope(), arguments.globals.format))
        }),
        Verb::Doctor(flags) => with_config(&flags.serving(), &matches, |config| {
            doctor::run(config.runtime.as_deref(), arguments.globals.format)
        }),
        Verb::Install(flags) => install::run(&flags),
        Verb::Uninstall(flags) => install::undo(&flags),
        Verb::Restore(flags) => {
            let RestoreArgs { file, settings } = flags;
            with_config(&settings, &matches, |config| restore::run(&file, &config.data_dir))
        }
        Verb::Auth(AuthCommand::PrintAccessToken(flags)) => {
            // Who names a data directory means the one in it.
            let is_named = flags.config.is_some() || flags.data_dir.is_some();
            let kept = match is_named {
                true => None,
                false => block_on_some(updraft_cli::print_kept_token(&arguments.globals)),
            };
            kept.unwrap_or_else(|| with_config(&flags, &matches, |config| auth::print_token(&config)))
        }
        Verb::Auth(AuthCommand::Client(command)) => block_on(async move {
            updraft_cli::auth(command, arguments.globals, Console::stdio(), Clock::system()).await.into()
        }),
        Verb::Config(ConfigCommand::Show(flags)) => show(&flags, &matches, arguments.globals.format),
        Verb::Completion { shell } => {
            let mut script = Vec::new();
            updraft_cli::completion(&mut flags::hide(Arguments::command()), shell, &mut script);
            // A reader that has seen enough closes the pipe: nothing went wrong.
            let _ = io::stdout().write_all(&script);
            ExitCode::SUCCESS
        }
        Verb::Client(command) => block_on(async move {
            updraft_cli::run(command, arguments.globals, Console::stdio(), Clock::system()).await.into()
        }),
    }
}

fn with_config(flags: &ServeArgs, matches: &ArgMatches, run: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match resolve(flags, matches).and_then(|resolved| Config::from_resolved(&resolved)) {
        Ok(config) => run(config),
        Err(error) => misconfigured(&error),
    }
}

/// Prints the settings; fails like `serve` where `serve` would refuse them.
fn show(flags: &ServeArgs, matches: &ArgMatches, format: Option<Format>) -> ExitCode {
    let resolved = match resolve(flags, matches) {
        Ok(resolved) => resolved,
        Err(error) => return misconfigured(&error),
    };
    config::show(&resolved, format);
    match Config::from_resolved(&resolved) {
        Ok(config) => match check_config(&config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => serve::not_started(&error),
        },
        // Where each value came from has just been said.
        Err(error) => {
            fail(&error, None);
            Exit::Usage.into()
        }
    }
}

fn misconfigured(error: &ConfigError) -> ExitCode {
    fail(error, Some("`updraft config show` prints every setting and where it came from"));
    Exit::Usage.into()
}

/// The layers of this process, combined.
fn resolve(flags: &ServeArgs, matches: &ArgMatches) -> Result<Vec<Resolved>, ConfigError> {
    let mut layers = Vec::new();
    if let Some(path) = &flags.config {
        let read = std::fs::read_to_string(path);
        let broken =
            |error: io::Error| ConfigError::File { file: path.display().to_string(), cause: error.to_string() };
        layers.push(file(path, &read.map_err(broken)?)?);
    }
    layers.push(environment(|name| std::env::var(name).ok()));
    layers.push(flags.layer(matches));
    Ok(combine(&layers))
}

// === impl ServeArgs ===

impl ServeArgs {
    fn layer(&self, matches: &ArgMatches) -> Layer {
        let globals = ["project", "region"].map(|name| (name, typed(matches, name)));
        let own = [
            ("data-dir", self.data_dir.clone()),
            ("listen", self.listen.clone()),
            ("registry-listen", self.registry_listen.clone()),
            ("tls-listen", self.tls_listen.clone()),
            ("tls-names", self.tls_names.clone()),
            ("tls-cert", self.tls_cert.clone()),
            ("tls-key", self.tls_key.clone()),
            ("url-scheme", self.url_scheme.clone()),
            ("auth", self.auth.clone()),
            ("issuer", self.issuer.clone()),
            ("oidc-issuer", self.oidc_issuer.clone()),
            ("oidc-audience", self.oidc_audience.clone()),
            ("oidc-claims", self.oidc_claims.clone()),
            ("oidc-domains", self.oidc_domains.clone()),
            ("oidc-emails", self.oidc_emails.clone()),
            ("installation-key", self.installation_key.clone()),
            ("domain", self.domain.clone()),
            ("idle-timeout", self.idle_timeout.clone()),
            ("freeze-after", self.freeze_after.clone()),
            ("server-timing", self.server_timing.clone()),
            ("reserved-paths", self.reserved_paths.clone()),
            ("isolation", self.isolation.clone()),
            ("fresh", self.fresh.clone()),
            ("runtime", self.runtime.clone()),
            ("sandboxes", self.sandboxes.clone()),
            ("dns", self.dns.clone()),
            ("registry-credentials", self.registry_credentials.clone()),
            ("registry-names", self.registry_names.clone()),
            ("outbound-allow", self.outbound_allow.clone()),
            ("outbound-proxy", self.outbound_proxy.clone()),
            ("outbound-ca", self.outbound_ca.clone()),
            ("log-retention", self.log_retention.clone()),
            ("log-max-size", self.log_max_size.clone()),
            ("audit-retention", self.audit_retention.clone()),
            ("audit-max-size", self.audit_max_size.clone()),
            ("log", self.log.clone()),
            ("log-format", self.log_format.clone()),
        ];
        debug_assert_eq!(own.len() + globals.len(), SETTINGS.len(), "every setting has its flag");
        let all = own.into_iter().chain(globals);
        Layer(all.filter_map(|(key, value)| Some((key, (value?, None)))).collect())
    }
}

/// What was typed for a global flag, wherever on the command line it stands.
fn typed(matches: &ArgMatches, name: &str) -> Option<String> {
    let mut level = Some(matches);
    while let Some(matches) = level {
        if matches.try_contains_id(name).unwrap_or(false)
            && matches.value_source(name) == Some(ValueSource::CommandLine)
        {
            return matches.get_one::<String>(name).cloned();
        }
        level = matches.subcommand().map(|(_, inner)| inner);
    }
    None
}

/// Data of a command: one line on stdout. When the reader is gone, as in `updraft doctor | head -1` or after a script
/// has read the address of a server, the work goes on.
fn print(line: impl std::fmt::Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Talk of a command: one line on stderr.
#[expect(clippy::print_stderr, reason = "talk of a command")]
fn note(line: &str) {
    eprintln!("{line}");
}

/// Says what went wrong, and what to do.
#[expect(clippy::print_stderr, reason = "talk of a command")]
fn fail(error: &dyn std::error::Error, hint: Option<&str>) -> ExitCode {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  caused by: {error}");
        cause = error.source();
    }
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::FAILURE
}

/// The same, for work that may find that it is not its own.
fn block_on_some(work: impl Future<Output = Option<Exit>>) -> Option<ExitCode> {
    let mut is_done = false;
    let code = block_on(async {
        let exit = work.await;
        is_done = exit.is_some();
        exit.map_or(ExitCode::SUCCESS, ExitCode::from)
    });
    is_done.then_some(code)
}

fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => fail(&error, None),
    }
}
