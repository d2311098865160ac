//! The settings of TLS, which depend on each other.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use updraft_model::name::is_label;

use super::{ConfigError, IfTaken, TlsSettings, UrlScheme, values::Values};

/// Where TLS is served when nobody says.
const PORT: u16 = 8443;

// === impl Values ===

impl Values<'_> {
    pub(super) fn tls(&self) -> Result<Option<TlsSettings>, ConfigError> {
        let (listen, if_taken) = match self.text("tls-listen") {
            "off" => return Ok(None),
            "" => self.beside_the_clear()?,
            _ => (self.parsed("tls-listen", "must be ADDRESS:PORT or 'off'")?, IfTaken::Fail),
        };
        let files = match (self.text("tls-cert"), self.text("tls-key")) {
            ("", "") => None,
            ("", _) => return Err(self.refuse("tls-key", "needs 'tls-cert' beside it")),
            (_, "") => return Err(self.refuse("tls-cert", "needs 'tls-key' beside it")),
            (chain, key) => Some((PathBuf::from(chain), PathBuf::from(key))),
        };
        Ok(Some(TlsSettings { listen, if_taken, names: self.names()?, files }))
    }

    /// Where TLS is when nobody says: who can reach one port can reach the other.
    fn beside_the_clear(&self) -> Result<(SocketAddr, IfTaken), ConfigError> {
        let clear: SocketAddr = self.parsed("listen", "must be ADDRESS:PORT")?;
        // Who takes a free port for the API does not expect a fixed one beside it.
        let port = if clear.port() == 0 { 0 } else { PORT };
        // URLs that name the port must not change with every start.
        let if_taken = match self.url_scheme()? {
            UrlScheme::Http => IfTaken::AnotherPort,
            UrlScheme::Https => IfTaken::Fail,
        };
        Ok(((clear.ip(), port).into(), if_taken))
    }

    pub(super) fn url_scheme(&self) -> Result<UrlScheme, ConfigError> {
        match self.text("url-scheme") {
            "http" => Ok(UrlScheme::Http),
            "https" if self.text("tls-listen") == "off" => {
                Err(self.refuse("url-scheme", "cannot be 'https' while 'tls-listen' is 'off'"))
            }
            "https" => Ok(UrlScheme::Https),
            _ => Err(self.refuse("url-scheme", "must be 'http' or 'https'")),
        }
    }

    fn names(&self) -> Result<Vec<String>, ConfigError> {
        let names = self.text("tls-names").split(',').map(|name| name.trim().to_ascii_lowercase());
        let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
        if names.iter().all(|name| is_name(name)) {
            return Ok(names);
        }
        Err(self.refuse("tls-names", "must be DNS names, such as api.example.com or *.example.com, or IP addresses"))
    }
}

fn is_name(name: &str) -> bool {
    let host = name.strip_prefix("*.").unwrap_or(name);
    name.parse::<IpAddr>().is_ok() || (host.len() <= 253 && host.split('.').all(is_label))
}

#[cfg(test)]
mod tests {
    use super::IfTaken;
    use crate::config::{Config, Layer, combine};

    fn config(flags: &[(&'static str, &str)]) -> Result<Config, String> {
        let flags = [("data-dir", "/tmp/x")].iter().chain(flags);
        let flags = flags.map(|(key, value)| (*key, ((*value).to_owned(), None))).collect();
        Config::from_resolved(&combine(&[Layer(flags)])).map_err(|error| error.to_string())
    }

    #[test]
    fn tls_is_on_beside_the_clear_port_unless_it_is_switched_off() {
        let tls = |flags: &[(&'static str, &str)]| config(flags).expect("valid").tls;
        for (flags, listen, if_taken) in [
            (&[][..], "127.0.0.1:8443", IfTaken::AnotherPort),
            (&[("listen", "[::1]:80")], "[::1]:8443", IfTaken::AnotherPort),
            (&[("listen", "127.0.0.1:0")], "127.0.0.1:0", IfTaken::AnotherPort),
            (&[("listen", "127.0.0.1:0"), ("tls-listen", "127.0.0.1:1")], "127.0.0.1:1", IfTaken::Fail),
            (&[("url-scheme", "https")], "127.0.0.1:8443", IfTaken::Fail),
        ] {
            let found = tls(flags).expect("on");
            assert_eq!((found.listen.to_string().as_str(), found.if_taken), (listen, if_taken), "{flags:?}");
        }
        assert_eq!(tls(&[("tls-listen", "off")]), None);
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused_by_name() {
        for (flags, key) in [
            (&[("tls-cert", "/c.pem")][..], "tls-cert"),
            (&[("tls-key", "/k.pem")], "tls-key"),
            (&[("tls-listen", "8443")], "tls-listen"),
            (&[("tls-names", "a.test,b_c")], "tls-names"),
            (&[("url-scheme", "gopher")], "url-scheme"),
            (&[("url-scheme", "https"), ("tls-listen", "off")], "url-scheme"),
        ] {
            let error = config(flags).expect_err(key);
            assert!(error.contains(key), "{error}");
        }
        let named = config(&[("tls-names", "*.Cloud.test, 192.0.2.1,::1")]).expect("valid");
        assert_eq!(named.tls.expect("on").names, ["*.cloud.test", "192.0.2.1", "::1"]);
    }
}
