//! Configuration: a TOML file, then `UPDRAFT_*`, then flags; the later wins.
//!
//! Every setting is one row of [`SETTINGS`]. A layer is a map from keys to text; [`combine`] is the only
//! place that knows which layer wins, and it keeps where each value came from for `config show`.

mod layers;
mod oidc;
mod outbound;
mod tls;
mod values;

pub use layers::{Layer, Origin, Resolved, combine, environment, file};

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use updraft_engine_local::{Isolation, Predecessor};
use updraft_identity::{AuthMode, KeySource, oidc::OidcSettings};
use updraft_proxy::{ReservedPaths, ServerTiming};

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key in the file, and the name of its flag.
    pub key: &'static str,
    /// Its variable.
    pub variable: &'static str,
    /// What it is when nobody says.
    pub default: &'static str,
    /// What it means.
    pub help: &'static str,
}

/// Every setting there is.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "data-dir",
        variable: "UPDRAFT_DATA_DIR",
        default: "",
        help: "Where everything is kept [default: /var/lib/updraft as root, else ~/.local/share/updraft]",
    },
    Setting {
        key: "listen",
        variable: "UPDRAFT_LISTEN",
        default: "127.0.0.1:8080",
        help: "Address of the API and of all services; port 0 takes a free one and prints it",
    },
    Setting {
        key: "registry-listen",
        variable: "UPDRAFT_REGISTRY_LISTEN",
        default: "127.0.0.1:5000",
        help: "Address of the image registry",
    },
    Setting {
        key: "tls-listen",
        variable: "UPDRAFT_TLS_LISTEN",
        default: "",
        help: "Address of the same over TLS; 'off' for none [default: port 8443 beside 'listen'; a free port if it is taken]",
    },
    Setting {
        key: "tls-names",
        variable: "UPDRAFT_TLS_NAMES",
        default: "",
        help: "What else the server is called: names and addresses for its own certificate, separated by commas",
    },
    Setting {
        key: "tls-cert",
        variable: "UPDRAFT_TLS_CERT",
        default: "",
        help: "A certificate chain in PEM to show instead of one of our own",
    },
    Setting { key: "tls-key", variable: "UPDRAFT_TLS_KEY", default: "", help: "The key of 'tls-cert', in PEM" },
    Setting {
        key: "url-scheme",
        variable: "UPDRAFT_URL_SCHEME",
        default: "http",
        help: "How URLs of services are written: 'http' with the port of 'listen', or 'https' with that of 'tls-listen'",
    },
    Setting {
        key: "auth",
        variable: "UPDRAFT_AUTH",
        default: "none",
        help: "Who may use the API: 'none' (anybody on this machine; loopback only) or 'token' (DATA/token)",
    },
    Setting {
        key: "issuer",
        variable: "UPDRAFT_ISSUER",
        default: "",
        help: "Under which URL others reach the API: it stands in every token and key file [default: that of 'listen', or of 'tls-listen' with 'url-scheme = https']",
    },
    Setting {
        key: "oidc-issuer",
        variable: "UPDRAFT_OIDC_ISSUER",
        default: "",
        help: "An issuer of OpenID Connect that knows people: its ID tokens are taken with auth 'token', and at private services; see docs/auth.md",
    },
    Setting {
        key: "oidc-audience",
        variable: "UPDRAFT_OIDC_AUDIENCE",
        default: "",
        help: "Whom its tokens must be for, such as the client id of this installation there; several separated by commas",
    },
    Setting {
        key: "oidc-claims",
        variable: "UPDRAFT_OIDC_CLAIMS",
        default: "",
        help: "Which claims tell what, such as 'email=upn, groups=roles, domain=tenant' [default: email, groups and hd]",
    },
    Setting {
        key: "oidc-domains",
        variable: "UPDRAFT_OIDC_DOMAINS",
        default: "",
        help: "Only people whose account the issuer hosts for one of these domains [default: everybody it knows]",
    },
    Setting {
        key: "oidc-emails",
        variable: "UPDRAFT_OIDC_EMAILS",
        default: "verified",
        help: "Which addresses are believed: those that the issuer says it 'verified', or all 'as-told'",
    },
    Setting {
        key: "installation-key",
        variable: "UPDRAFT_INSTALLATION_KEY",
        default: "",
        help: "Where the key is that secrets are sealed with: 'file:/PATH', 'env:NAME' or 'credential:NAME' (systemd); see docs/secrets.md [default: file:DATA/keys/installation.key]",
    },
    Setting {
        key: "domain",
        variable: "UPDRAFT_DOMAIN",
        default: "run.localhost",
        help: "Services get hosts below this domain",
    },
    Setting {
        key: "project",
        variable: "UPDRAFT_PROJECT",
        default: "demo-project",
        help: "The project when a client names none",
    },
    Setting {
        key: "region",
        variable: "UPDRAFT_REGION",
        default: "us-central1",
        help: "The region when a client names none",
    },
    Setting {
        key: "idle-timeout",
        variable: "UPDRAFT_IDLE_TIMEOUT",
        default: "15m",
        help: "How long an instance without requests is kept, such as 30s, 15m, 1h",
    },
    Setting {
        key: "freeze-after",
        variable: "UPDRAFT_FREEZE_AFTER",
        default: "10s",
        help: "How long an instance without requests keeps its CPU, such as 500ms, 10s; '0' for no longer than its requests, or 'never' for always; see docs/idle.md",
    },
    Setting {
        key: "server-timing",
        variable: "UPDRAFT_SERVER_TIMING",
        default: "hidden",
        help: "Are clients of services told where the time until the first byte went, by Server-Timing: 'shown' or 'hidden'",
    },
    Setting {
        key: "reserved-paths",
        variable: "UPDRAFT_RESERVED_PATHS",
        default: "refused",
        help: "What becomes of requests to /eventlog, /healthz and /_ah/, which Cloud Run keeps for itself: 'refused' or 'passed-on'",
    },
    Setting {
        key: "isolation",
        variable: "UPDRAFT_ISOLATION",
        default: "namespaces",
        help: "How far instances are kept apart: 'namespaces', 'chroot', or 'none' for static programs; see docs/isolation.md",
    },
    Setting {
        key: "fresh",
        variable: "UPDRAFT_FRESH",
        default: "false",
        help: "End the containers of a server that was killed, rather than go on with them: 'true' or 'false'",
    },
    Setting {
        key: "runtime",
        variable: "UPDRAFT_RUNTIME",
        default: "",
        help: "An OCI runtime that makes the containers, such as 'runc', or its path; see docs/runtime.md [default: Updraft's own sandbox]",
    },
    Setting {
        key: "sandboxes",
        variable: "UPDRAFT_SANDBOXES",
        default: "4",
        help: "How many sandboxes are made before they are needed, 0 to 1000; each takes about 1 MB of memory",
    },
    Setting {
        key: "dns",
        variable: "UPDRAFT_DNS",
        default: "",
        help: "Name servers of the containers, separated by commas [default: those of this machine]",
    },
    Setting {
        key: "registry-credentials",
        variable: "UPDRAFT_REGISTRY_CREDENTIALS",
        default: "",
        help: "Docker's credential file for pulls [default: $DOCKER_CONFIG/config.json or ~/.docker/config.json]",
    },
    Setting {
        key: "registry-names",
        variable: "UPDRAFT_REGISTRY_NAMES",
        default: "",
        help: "Names under which others reach the image registry, such as 'images.example.com:5000', separated by commas",
    },
    Setting {
        key: "outbound-allow",
        variable: "UPDRAFT_OUTBOUND_ALLOW",
        default: "",
        help: "What the server may reach, beside public addresses, when it fetches something for a user, such as 'registry.lan, 10.0.0.0/8'; see docs/outbound.md [default: 'loopback, private' with auth 'none', else nothing]",
    },
    Setting {
        key: "outbound-proxy",
        variable: "UPDRAFT_OUTBOUND_PROXY",
        default: "",
        help: "An HTTP proxy for that, such as 'http://proxy.lan:3128', or 'environment' for $HTTPS_PROXY and $NO_PROXY",
    },
    Setting {
        key: "outbound-ca",
        variable: "UPDRAFT_OUTBOUND_CA",
        default: "",
        help: "Certificates in PEM of authorities to trust there, beside those that this machine trusts",
    },
    Setting {
        key: "log-retention",
        variable: "UPDRAFT_LOG_RETENTION",
        default: "30d",
        help: "How long what containers write is kept, such as 12h, 30d",
    },
    Setting {
        key: "log-max-size",
        variable: "UPDRAFT_LOG_MAX_SIZE",
        default: "64Mi",
        help: "What the log of one service may take on disk, at least 1Mi; the oldest entries make room",
    },
    Setting {
        key: "audit-retention",
        variable: "UPDRAFT_AUDIT_RETENTION",
        default: "400d",
        help: "How long the audit log is kept, such as 30d, 400d",
    },
    Setting {
        key: "audit-max-size",
        variable: "UPDRAFT_AUDIT_MAX_SIZE",
        default: "64Mi",
        help: "What each part of a project's audit log (docs/audit.md) may take on disk, at least 1Mi",
    },
    Setting {
        key: "log",
        variable: "UPDRAFT_LOG",
        default: "info",
        help: "What the server says on stderr: error, warn, info, debug, or per module like 'info,updraft_fleet=debug'",
    },
    Setting {
        key: "log-format",
        variable: "UPDRAFT_LOG_FORMAT",
        default: "text",
        help: "How it says it: 'text' or 'json'",
    },
];

/// Less would be rotated all the time.
const LOG_MIN_SIZE: u64 = 1 << 20;

/// The configuration, typed.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Address of the API and of all services.
    pub listen: SocketAddr,
    /// Address of the registry.
    pub registry_listen: SocketAddr,
    /// TLS, unless it is off.
    pub tls: Option<TlsSettings>,
    /// How URLs of services are written.
    pub url_scheme: UrlScheme,
    /// Who may use the API.
    pub auth: AuthMode,
    /// Under which URL others reach the API, without a slash at its end; `None`: that of the address.
    pub issuer: Option<String>,
    /// Who is trusted about who people are.
    pub oidc: Option<OidcSettings>,
    /// Where the key is that values of secrets are sealed with.
    pub installation_key: KeySource,
    /// The domain of services' hosts.
    pub domain: String,
    /// The default project.
    pub project: String,
    /// The default region.
    pub region: String,
    /// How long an idle instance is kept.
    pub idle_timeout: Duration,
    /// How long an idle instance keeps its CPU; `None`: always.
    pub freeze_after: Option<Duration>,
    /// Are clients told where the time of their requests went?
    pub server_timing: ServerTiming,
    /// What becomes of requests to the paths that Cloud Run reserves.
    pub reserved_paths: ReservedPaths,
    /// How far instances are kept apart.
    pub isolation: Isolation,
    /// What becomes of the containers of a server that was killed.
    pub predecessor: Predecessor,
    /// The OCI runtime that makes the containers, if it is not us.
    pub runtime: Option<PathBuf>,
    /// How many sandboxes are made before they are needed.
    pub sandboxes: usize,
    /// Name servers of the containers; empty means the host's.
    pub dns: Vec<IpAddr>,
    /// Docker's credential file.
    pub registry_credentials: Option<PathBuf>,
    /// Names of the registry, `host` or `host:port`, besides its addresses.
    pub registry_names: Vec<String>,
    /// What is reached, and how, when something is fetched for a user.
    pub outbound: updraft_outbound::Config,
    /// How long the output of containers is kept.
    pub log_retention: Duration,
    /// What one service's may take on disk, in bytes.
    pub log_max_size: u64,
    /// How long audit logs are kept.
    pub audit_retention: Duration,
    /// What each part of one may take on disk, in bytes.
    pub audit_max_size: u64,
    /// The filter of the server's own log.
    pub log: String,
    /// Its form.
    pub log_format: LogFormat,
}

/// TLS, as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// What to do when another process listens there.
    pub if_taken: IfTaken,
    /// What else the server is called.
    pub names: Vec<String>,
    /// The operator's certificate chain and key, if they are to be shown.
    pub files: Option<(PathBuf, PathBuf)>,
}

/// What to do about a port that another process listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfTaken {
    /// Not start: somebody relies on it.
    Fail,
    /// Take a free one.
    AnotherPort,
}

/// How URLs of services are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlScheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

/// The form of the server's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// A setting whose value cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The value breaks the rule of its setting.
    #[error("{key} = '{value}' ({origin}): {rule}")]
    Value {
        /// The setting.
        key: String,
        /// The value.
        value: String,
        /// Where it came from.
        origin: Origin,
        /// The rule.
        rule: String,
    },
    /// There is no such setting.
    #[error("unknown setting '{key}' in {file}; known are: {known}")]
    Unknown {
        /// What was written.
        key: String,
        /// Where.
        file: String,
        /// What there is.
        known: String,
    },
    /// The file cannot be read.
    #[error("configuration file {file}: {cause}")]
    File {
        /// Which.
        file: String,
        /// Why.
        cause: String,
    },
}

// === impl Config ===

impl Config {
    /// The configuration that `resolved` spells.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for the first value that breaks its setting's rule.
    pub fn from_resolved(resolved: &[Resolved]) -> Result<Self, ConfigError> {
        let values = values::Values::new(resolved);
        Ok(Self {
            data_dir: values.data_dir()?,
            listen: values.parsed("listen", "must be ADDRESS:PORT")?,
            registry_listen: values.parsed("registry-listen", "must be ADDRESS:PORT")?,
            tls: values.tls()?,
            url_scheme: values.url_scheme()?,
            auth: values.auth()?,
            issuer: values.issuer()?,
            oidc: values.oidc()?,
            installation_key: values.installation_key()?,
            domain: values.domain()?,
            project: values.project()?,
            region: values.region()?,
            idle_timeout: values.duration("idle-timeout")?,
            freeze_after: values.freeze_after()?,
            server_timing: values.server_timing()?,
            reserved_paths: values.reserved_paths()?,
            isolation: values.isolation()?,
            predecessor: values.predecessor()?,
            runtime: values.runtime()?,
            sandboxes: values.sandboxes()?,
            dns: values.addresses("dns")?,
            registry_credentials: values.credentials()?,
            registry_names: values.registry_names()?,
            outbound: values.outbound()?,
            log_retention: values.duration("log-retention")?,
            log_max_size: values.size("log-max-size", LOG_MIN_SIZE)?,
            audit_retention: values.duration("audit-retention")?,
            audit_max_size: values.size("audit-max-size", LOG_MIN_SIZE)?,
            log: values.log()?,
            log_format: values.log_format()?,
        })
    }
}
