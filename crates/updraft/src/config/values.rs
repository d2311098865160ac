//! From text to typed values, with errors that name setting, value and origin.

use std::{net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use tracing_subscriber::EnvFilter;
use updraft_engine_local::{Isolation, Predecessor, UnknownIsolation};
use updraft_identity::{AuthMode, KeySource, UnknownKeySource};
use updraft_model::name;
use updraft_proxy::{ReservedPaths, ServerTiming};

use super::{ConfigError, LogFormat, Origin, Resolved};

/// Resolved settings, by key.
pub(super) struct Values<'a>(&'a [Resolved]);

/// Each has an address, and a host's subnet for them has some thousands.
const MOST_SANDBOXES: usize = 1000;

// === impl Values ===

impl<'a> Values<'a> {
    pub(super) fn new(resolved: &'a [Resolved]) -> Self {
        Self(resolved)
    }

    pub(super) fn text(&self, key: &str) -> &'a str {
        self.find(key).map_or("", |resolved| resolved.value.as_str())
    }

    pub(super) fn parsed<T: FromStr>(&self, key: &str, rule: &str) -> Result<T, ConfigError> {
        self.text(key).parse().map_err(|_| self.refuse(key, rule))
    }

    pub(super) fn predecessor(&self) -> Result<Predecessor, ConfigError> {
        match self.text("fresh") {
            "true" => Ok(Predecessor::End),
            "false" => Ok(Predecessor::Adopt),
            _ => Err(self.refuse("fresh", "must be 'true' or 'false'")),
        }
    }

    pub(super) fn duration(&self, key: &str) -> Result<Duration, ConfigError> {
        duration(self.text(key)).ok_or_else(|| self.refuse(key, "must be a number with ms, s, m, h or d, such as 90s"))
    }

    /// `None` is `never`.
    pub(super) fn freeze_after(&self) -> Result<Option<Duration>, ConfigError> {
        const KEY: &str = "freeze-after";
        match self.text(KEY) {
            "never" => Ok(None),
            "0" => Ok(Some(Duration::ZERO)),
            text => match duration(text) {
                Some(after) => Ok(Some(after)),
                None => Err(self.refuse(KEY, "must be 'never', '0' or a number with ms, s, m, h or d, such as 10s")),
            },
        }
    }

    pub(super) fn server_timing(&self) -> Result<ServerTiming, ConfigError> {
        match self.text("server-timing") {
            "shown" => Ok(ServerTiming::Shown),
            "hidden" => Ok(ServerTiming::Hidden),
            _ => Err(self.refuse("server-timing", "must be 'shown' or 'hidden'")),
        }
    }

    pub(super) fn reserved_paths(&self) -> Result<ReservedPaths, ConfigError> {
        match self.text("reserved-paths") {
            "refused" => Ok(ReservedPaths::Refused),
            "passed-on" => Ok(ReservedPaths::PassedOn),
            _ => Err(self.refuse("reserved-paths", "must be 'refused' or 'passed-on'")),
        }
    }

    pub(super) fn sandboxes(&self) -> Result<usize, ConfigError> {
        const KEY: &str = "sandboxes";
        let number = self.text(KEY).parse().ok().filter(|&number| number <= MOST_SANDBOXES);
        number.ok_or_else(|| self.refuse(KEY, &format!("must be a whole number from 0 to {MOST_SANDBOXES}")))
    }

    pub(super) fn size(&self, key: &str, at_least: u64) -> Result<u64, ConfigError> {
        let size = updraft_model::quantity::memory_bytes(self.text(key)).filter(|&size| size >= at_least);
        size.ok_or_else(|| self.refuse(key, &format!("must be a size of at least {at_least} bytes, such as 64Mi")))
    }

    pub(super) fn registry_names(&self) -> Result<Vec<String>, ConfigError> {
        const KEY: &str = "registry-names";
        let parts = self.text(KEY).split(',').map(str::trim).filter(|part| !part.is_empty());
        let name = |part: &str| {
            let part = part.to_ascii_lowercase();
            let (host, port) = part.rsplit_once(':').unwrap_or((&part, "1"));
            let fits = host.split('.').all(name::is_label) && port.parse::<u16>().is_ok_and(|port| port > 0);
            fits.then_some(part).ok_or_else(|| self.refuse(KEY, "must be names such as images.example.com:5000"))
        };
        parts.map(name).collect()
    }

    pub(super) fn addresses(&self, key: &str) -> Result<Vec<IpAddr>, ConfigError> {
        let parts = self.text(key).split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| part.parse().map_err(|_| self.refuse(key, "must be IP addresses separated by commas")))
            .collect()
    }

    pub(super) fn auth(&self) -> Result<AuthMode, ConfigError> {
        match self.text("auth") {
            "none" => Ok(AuthMode::None),
            "token" => Ok(AuthMode::Token),
            _ => Err(self.refuse("auth", "must be 'none' or 'token'")),
        }
    }

    /// A URL that paths can be put behind: it is compared character by character, so it has one form only.
    pub(super) fn issuer(&self) -> Result<Option<String>, ConfigError> {
        const KEY: &str = "issuer";
        let text = self.text(KEY).trim_end_matches('/');
        if text.is_empty() {
            return Ok(None);
        }
        let uri: Option<http::Uri> = text.parse().ok();
        let fits = uri.is_some_and(|uri| {
            let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
            matches!(uri.scheme_str(), Some("http" | "https"))
                && !authority.is_empty()
                && !authority.contains('@')
                && uri.query().is_none()
        });
        if fits && !text.contains('#') {
            return Ok(Some(text.to_owned()));
        }
        Err(self.refuse(KEY, "must be a URL such as https://run.example.com, without user, query and fragment"))
    }

    pub(super) fn installation_key(&self) -> Result<KeySource, ConfigError> {
        const KEY: &str = "installation-key";
        match self.text(KEY) {
            "" => Ok(KeySource::default_of(&self.data_dir()?)),
            text => text.parse().map_err(|error: UnknownKeySource| self.refuse(KEY, &error.to_string())),
        }
    }

    pub(super) fn isolation(&self) -> Result<Isolation, ConfigError> {
        let unknown = |error: UnknownIsolation| self.refuse("isolation", &error.to_string());
        self.text("isolation").parse().map_err(unknown)
    }

    /// A runtime makes whole sandboxes: it does not go with a weaker isolation.
    pub(super) fn runtime(&self) -> Result<Option<PathBuf>, ConfigError> {
        let given = self.text("runtime");
        let isolation = self.isolation()?;
        if given.is_empty() {
            return Ok(None);
        }
        if isolation.is_shared() {
            let rule = format!("goes with isolation 'namespaces' only, and the isolation is '{isolation}'");
            return Err(self.refuse("runtime", &rule));
        }
        Ok(Some(PathBuf::from(given)))
    }

    pub(super) fn log_format(&self) -> Result<LogFormat, ConfigError> {
        match self.text("log-format") {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(self.refuse("log-format", "must be 'text' or 'json'")),
        }
    }

    pub(super) fn domain(&self) -> Result<String, ConfigError> {
        let domain = self.text("domain").to_ascii_lowercase();
        if !domain.is_empty() && domain.len() <= 190 && domain.split('.').all(name::is_label) {
            return Ok(domain);
        }
        Err(self.refuse("domain", "must be a DNS name, such as run.localhost"))
    }

    pub(super) fn project(&self) -> Result<String, ConfigError> {
        let project = self.text("project");
        name::check_project_id("project", project).map_err(|violation| self.refuse("project", &violation.rule))?;
        Ok(project.to_owned())
    }

    pub(super) fn region(&self) -> Result<String, ConfigError> {
        let region = self.text("region");
        if name::is_label(region) {
            return Ok(region.to_owned());
        }
        Err(self.refuse("region", "must be lowercase letters, digits and hyphens, such as us-central1"))
    }

    pub(super) fn data_dir(&self) -> Result<PathBuf, ConfigError> {
        let given = self.text("data-dir");
        if self.find("data-dir").is_some_and(|found| found.value.is_empty() && found.origin != Origin::Default) {
            return Err(self.refuse("data-dir", "must not be empty; without the setting the default counts"));
        }
        if !given.is_empty() {
            return std::path::absolute(given).map_err(|error| self.refuse("data-dir", &error.to_string()));
        }
        if rustix::process::geteuid().is_root() {
            return Ok(PathBuf::from("/var/lib/updraft"));
        }
        let home =
            std::env::var_os("HOME").ok_or_else(|| self.refuse("data-dir", "is needed where $HOME is not set"))?;
        Ok(PathBuf::from(home).join(".local/share/updraft"))
    }

    /// A file that was named has to be there and to be read; one where Docker keeps its own may be anything.
    pub(super) fn credentials(&self) -> Result<Option<PathBuf>, ConfigError> {
        const KEY: &str = "registry-credentials";
        let given = self.text(KEY);
        if !given.is_empty() {
            let text = std::fs::read(given).map_err(|error| self.refuse(KEY, &format!("cannot be read: {error}")))?;
            serde_json::from_slice::<serde_json::Map<_, _>>(&text).map_err(|error| {
                // Where it is wrong, and none of what is there: it holds passwords.
                let (line, column) = (error.line(), error.column());
                self.refuse(
                    KEY,
                    &format!("must hold a JSON object, as Docker writes it (line {line}, column {column})"),
                )
            })?;
            return Ok(Some(PathBuf::from(given)));
        }
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker"));
        let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home);
        Ok(folder.map(|folder| folder.join("config.json")).filter(|file| file.is_file()))
    }

    pub(super) fn log(&self) -> Result<String, ConfigError> {
        let filter = self.text("log");
        let rule = "must be a level, or a list such as 'info,updraft_fleet=debug'";
        EnvFilter::try_new(filter).map(|_| filter.to_owned()).map_err(|_| self.refuse("log", rule))
    }

    fn find(&self, key: &str) -> Option<&'a Resolved> {
        self.0.iter().find(|resolved| resolved.key == key)
    }

    pub(super) fn refuse(&self, key: &str, rule: &str) -> ConfigError {
        let (value, origin) = (self.text(key).to_owned(), self.origin(key));
        ConfigError::Value { key: key.to_owned(), value, origin, rule: rule.to_owned() }
    }

    pub(super) fn origin(&self, key: &str) -> Origin {
        self.find(key).map_or(Origin::Default, |resolved| resolved.origin.clone())
    }
}

/// `500ms`, `90s`, `15m`, `1h`, `30d`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    number.checked_mul(unit).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layer, combine};

    fn config(flags: &[(&'static str, &str)]) -> Result<Config, ConfigError> {
        let flags = flags.iter().map(|(key, value)| (*key, ((*value).to_owned(), None))).collect();
        Config::from_resolved(&combine(&[Layer(flags)]))
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = config(&[("data-dir", "/tmp/x")]).expect("valid");
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.idle_timeout, Duration::from_secs(900));
        assert_eq!(config.freeze_after, Some(Duration::from_secs(10)));
        assert!(config.dns.is_empty() && config.registry_names.is_empty());
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        assert_eq!((config.log_retention, config.log_max_size), (days(30), 64 << 20));
        assert_eq!((config.audit_retention, config.audit_max_size), (days(400), 64 << 20));
        assert_eq!(config.isolation, Isolation::Namespaces, "a weaker sandbox has to be asked for");
    }

    #[test]
    fn a_runtime_makes_whole_sandboxes_or_none() {
        let runtime = config(&[("runtime", "runc")]).expect("well formed").runtime;
        assert_eq!(runtime, Some(PathBuf::from("runc")));
        assert_eq!(config(&[]).expect("well formed").runtime, None);
        let refused = config(&[("runtime", "runc"), ("isolation", "chroot")]).expect_err("not together").to_string();
        assert!(refused.contains("goes with isolation 'namespaces' only, and the isolation is 'chroot'"), "{refused}");
    }

    #[test]
    fn a_bad_value_is_named_with_its_setting_rule_and_origin() {
        for (key, value) in [
            ("listen", "8080"),
            ("auth", "maybe"),
            ("installation-key", "vault:x"),
            ("domain", "Not A Domain"),
            ("project", "x"),
            ("region", "us_central1"),
            ("idle-timeout", "15"),
            ("freeze-after", "10"),
            ("freeze-after", "off"),
            ("server-timing", "true"),
            ("reserved-paths", "kept"),
            ("sandboxes", "1001"),
            ("isolation", "docker"),
            ("fresh", "yes"),
            ("dns", "one.one.one.one"),
            ("log-format", "xml"),
            ("log-retention", "a month"),
            ("log-max-size", "1Ki"),
            ("audit-retention", "a year"),
            ("audit-max-size", "1Ki"),
            ("registry-names", "http://images.example.com"),
            ("log", "a=b=c"),
            ("registry-credentials", "/nonexistent/config.json"),
            ("registry-credentials", "/proc/self/comm"),
        ] {
            let error = config(&[("data-dir", "/tmp/x"), (key, value)]).expect_err(key).to_string();
            assert!(error.contains(key) && error.contains("(flag)"), "{error}");
        }
    }

    #[test]
    fn the_installation_key_is_in_the_data_directory_unless_somebody_says_otherwise() {
        let source = |flags: &[(&'static str, &str)]| config(flags).expect("valid").installation_key.to_string();
        assert_eq!(source(&[("data-dir", "/d")]), "the file /d/keys/installation.key");
        let named = [("data-dir", "/d"), ("installation-key", "credential:updraft")];
        assert_eq!(source(&named), "the systemd credential updraft");
    }

    #[test]
    fn an_empty_data_directory_is_not_the_default_one() {
        let error = config(&[("data-dir", "")]).expect_err("nobody means the default by it").to_string();
        assert!(error.contains("data-dir = '' (flag): must not be empty"), "{error}");
    }

    #[test]
    fn credentials_that_are_no_json_are_refused_without_a_word_of_what_they_hold() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let path = file.path().to_str().expect("UTF-8");
        let read = |text: &str| {
            std::fs::write(path, text).expect("writable");
            config(&[("data-dir", "/tmp/x"), ("registry-credentials", path)])
        };
        for text in ["", "[]", "hunter2", "{\"auths\": hunter2}"] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains("JSON") && !error.contains("hunter2"), "{error}");
        }
        let config = read("{\"auths\": {}}").expect("Docker's");
        assert_eq!(config.registry_credentials.as_deref(), Some(file.path()));
    }

    #[test]
    fn an_instance_is_frozen_after_a_while_at_once_or_never() {
        let after = |value| config(&[("data-dir", "/tmp/x"), ("freeze-after", value)]).expect(value).freeze_after;
        assert_eq!(after("250ms"), Some(Duration::from_millis(250)));
        assert_eq!((after("0"), after("0s")), (Some(Duration::ZERO), Some(Duration::ZERO)));
        assert_eq!(after("never"), None);
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("2h"), Some(Duration::from_secs(7200)));
        for bad in ["", "s", "5", "5 s", "-5s", "5w", "99999999999999999999s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
