//! The configuration of an image: what to run, and as whom.

use serde::Deserialize;

use crate::{
    digest::Digest,
    error::ImageError,
    manifest::{HOST_ARCHITECTURE, HOST_OS},
};

/// What an image says about how it wants to be run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// `ENTRYPOINT`, in exec form.
    pub entrypoint: Vec<String>,
    /// `CMD`: the arguments, or the command when there is no entrypoint.
    pub cmd: Vec<String>,
    /// `ENV`, in order; a name may occur twice, then the later wins.
    pub env: Vec<(String, String)>,
    /// `USER`: `user`, `uid`, `user:group`, … as written; empty means root.
    pub user: String,
    /// `WORKDIR`; empty means `/`.
    pub working_dir: String,
    /// `EXPOSE`.
    pub exposed_ports: Vec<ExposedPort>,
    /// `STOPSIGNAL`, as written: `SIGINT`, `2`.
    pub stop_signal: Option<String>,
    /// The architecture, in Go's words; empty when the image does not say.
    pub architecture: String,
    /// The operating system, in Go's words; empty when the image does not say.
    pub os: String,
}

/// A port that an image says it listens on. Cloud Run does not look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedPort {
    /// The number.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// A configuration file with what the platform itself needs of it.
#[derive(Debug, Clone)]
pub(crate) struct ConfigFile {
    pub(crate) config: ImageConfig,
    /// The digests of the uncompressed layers, lowest first.
    pub(crate) diff_ids: Vec<Digest>,
    /// When the image was made, RFC 3339, as written.
    pub(crate) created: Option<String>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    created: Option<String>,
    config: Option<RawConfig>,
    rootfs: Option<RawRootfs>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawConfig {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    exposed_ports: Option<serde_json::Map<String, serde_json::Value>>,
    stop_signal: Option<String>,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

// === impl ConfigFile ===

impl ConfigFile {
    pub(crate) fn parse(image: &str, bytes: &[u8]) -> Result<Self, ImageError> {
        let raw: Raw = serde_json::from_slice(bytes)
            .map_err(|error| ImageError::unfit(image, format!("its configuration cannot be read: {error}")))?;
        let config = raw.config.unwrap_or_default();
        let text = |value: Option<String>| value.filter(|value| !value.is_empty());
        Ok(Self {
            config: ImageConfig {
                entrypoint: config.entrypoint.unwrap_or_default(),
                cmd: config.cmd.unwrap_or_default(),
                env: config.env.unwrap_or_default().iter().filter_map(|line| variable(line)).collect(),
                user: config.user.unwrap_or_default(),
                working_dir: config.working_dir.unwrap_or_default(),
                exposed_ports: config
                    .exposed_ports
                    .iter()
                    .flat_map(|ports| ports.keys())
                    .filter_map(|p| port(p))
                    .collect(),
                stop_signal: text(config.stop_signal),
                architecture: raw.architecture,
                os: raw.os,
            },
            diff_ids: raw.rootfs.and_then(|rootfs| rootfs.diff_ids).unwrap_or_default(),
            created: text(raw.created),
        })
    }

    /// Refuses an image for another platform. One that does not say is taken at its silence.
    pub(crate) fn check_platform(&self, image: &str) -> Result<(), ImageError> {
        let ImageConfig { os, architecture, .. } = &self.config;
        let fits = |said: &str, host: &str| said.is_empty() || said == host;
        if fits(os, HOST_OS) && fits(architecture, HOST_ARCHITECTURE) {
            return Ok(());
        }
        let cause = format!("image is for {os}/{architecture}; this host runs {HOST_OS}/{HOST_ARCHITECTURE}");
        Err(ImageError::other_platform(image, cause))
    }
}

fn variable(line: &str) -> Option<(String, String)> {
    // A line without '=' is a name without a value; an empty name cannot be set.
    let (name, value) = line.split_once('=').unwrap_or((line, ""));
    (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

fn port(text: &str) -> Option<ExposedPort> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some(ExposedPort { port: port.parse().ok()?, protocol: protocol.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_field_by_field() {
        let text = br#"{"architecture":"amd64","os":"linux","created":"2026-01-02T03:04:05Z","config":{
            "Entrypoint":["/app"],"Cmd":["--port","80"],"Env":["A=1","B=x=y","C","=z"],"User":"65532:65532",
            "WorkingDir":"/srv","ExposedPorts":{"8080/tcp":{},"53/udp":{},"x":{}},"StopSignal":"SIGINT"},
            "rootfs":{"type":"layers","diff_ids":[]}}"#;
        let file = ConfigFile::parse("i", text).expect("valid");
        let config = file.config;
        assert_eq!(
            (config.entrypoint, config.cmd),
            (vec!["/app".to_owned()], vec!["--port".to_owned(), "80".to_owned()])
        );
        let env: Vec<(&str, &str)> = config.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(env, [("A", "1"), ("B", "x=y"), ("C", "")]);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("65532:65532", "/srv"));
        assert_eq!(config.exposed_ports.len(), 2);
        assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
    }

    #[test]
    fn null_fields_are_empty_fields() {
        let text = br#"{"architecture":"amd64","os":"linux","config":{"Entrypoint":null,"Cmd":null,"Env":null}}"#;
        let file = ConfigFile::parse("i", text).expect("valid");
        assert_eq!(file.config.env, []);
    }

    #[test]
    fn another_architecture_is_named_in_a_sentence() {
        let file = ConfigFile::parse("i", br#"{"architecture":"s390x","os":"linux"}"#).expect("valid");
        let error = file.check_platform("i").expect_err("another platform").to_string();
        assert!(error.contains("image is for linux/s390x; this host runs linux/"), "{error}");
    }
}
