//! The settings of the way out: what the server may reach when it fetches something for a user.

use std::env;

use updraft_identity::AuthMode;
use updraft_outbound::{Allow, Config, NotAllow, Policy, Proxy, SETTING, roots};

use super::{ConfigError, Origin, values::Values};

const PROXY: &str = "outbound-proxy";
const CA: &str = "outbound-ca";

// === impl Values ===

impl Values<'_> {
    pub(super) fn outbound(&self) -> Result<Config, ConfigError> {
        Ok(Config {
            policy: self.policy()?,
            proxy: self.proxy(|name| env::var(name).ok())?,
            roots: self.roots()?,
            ..Config::default()
        })
    }

    /// Without authentication whoever calls is on this machine and reaches what it reaches by themselves, so nothing is
    /// kept from them; with it they may be anywhere, and an image name must not be their way in.
    fn policy(&self) -> Result<Policy, ConfigError> {
        if !self.is_given(SETTING) {
            let allow = match self.auth()? {
                AuthMode::None => vec![Allow::loopback(), Allow::private()],
                AuthMode::Token => Vec::new(),
            };
            return Ok(Policy { allow, ..Policy::default() });
        }
        let parts = self.text(SETTING).split(',').map(str::trim).filter(|part| !part.is_empty());
        let refuse = |error: NotAllow| {
            let rule = "must be names, addresses, networks, 'loopback' or 'private', separated by commas";
            self.refuse(SETTING, &format!("{rule}; {error}"))
        };
        let allow = parts.map(|part| part.parse().map_err(refuse)).collect::<Result<_, _>>()?;
        Ok(Policy { allow, ..Policy::default() })
    }

    fn proxy(&self, lookup: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>, ConfigError> {
        let first = |names: &[&str]| names.iter().find_map(|name| lookup(name).filter(|value| !value.is_empty()));
        match self.text(PROXY) {
            "" => Ok(None),
            "environment" => {
                let direct = first(&["NO_PROXY", "no_proxy"]).unwrap_or_default();
                let Some(url) = first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]) else {
                    return Ok(None);
                };
                let proxy = Proxy::new(&url, &direct);
                let rule = "finds in $HTTPS_PROXY or $ALL_PROXY what is no URL of an HTTP proxy";
                proxy.map(Some).ok_or_else(|| self.refuse(PROXY, rule))
            }
            // Settings are shown, by 'config show' for one; so the refusal must not show the password either.
            text if text.contains('@') => Err(ConfigError::Value {
                key: PROXY.to_owned(),
                value: "…".to_owned(),
                origin: self.origin(PROXY),
                rule: "must not hold a password: put the URL into $HTTPS_PROXY, and 'environment' here".to_owned(),
            }),
            text => {
                let rule = "must be 'environment' or the URL of an HTTP proxy, such as http://proxy.lan:3128";
                Proxy::new(text, "").map(Some).ok_or_else(|| self.refuse(PROXY, rule))
            }
        }
    }

    fn roots(&self) -> Result<Vec<updraft_outbound::Certificate>, ConfigError> {
        let file = self.text(CA);
        if file.is_empty() {
            return Ok(Vec::new());
        }
        let pem = std::fs::read(file).map_err(|error| self.refuse(CA, &format!("cannot be read: {error}")))?;
        roots(&pem).map_err(|cause| self.refuse(CA, &format!("must hold certificates in PEM: {cause}")))
    }

    fn is_given(&self, key: &str) -> bool {
        self.origin(key) != Origin::Default
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layer, combine};

    fn settings(flags: &[(&'static str, &str)]) -> Vec<crate::config::Resolved> {
        let flags = flags.iter().map(|(key, value)| (*key, ((*value).to_owned(), None))).collect();
        combine(&[Layer(flags)])
    }

    fn allowed(flags: &[(&'static str, &str)]) -> Result<Vec<Allow>, String> {
        let outbound = Values::new(&settings(flags)).outbound();
        outbound.map(|config| config.policy.allow).map_err(|error| error.to_string())
    }

    #[test]
    fn who_is_on_this_machine_anyway_may_reach_it_and_others_may_not() {
        let open = vec![Allow::loopback(), Allow::private()];
        assert_eq!(allowed(&[]), Ok(open.clone()));
        assert_eq!(allowed(&[("auth", "token")]), Ok(Vec::new()));
        assert_eq!(allowed(&[(SETTING, "")]), Ok(Vec::new()), "an empty setting is one");
        assert_eq!(
            allowed(&[("auth", "token"), (SETTING, "private, Loopback,")]),
            Ok(open.into_iter().rev().collect())
        );
        let named = allowed(&[(SETTING, "10.0.0.0/8,registry.lan:5000")]).expect("well formed");
        assert_eq!(named, ["10.0.0.0/8", "registry.lan:5000"].map(|text| text.parse::<Allow>().expect(text)));
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_rule() {
        for (key, value, word) in [
            (SETTING, "10.0.0.1/8", "'10.0.0.1/8' is not the first address"),
            (SETTING, "a.lan,https://b.lan", "https://b.lan"),
            (PROXY, "socks5://proxy.lan", "HTTP proxy"),
            (CA, "/nonexistent/ca.pem", "cannot be read"),
            (CA, "/proc/self/comm", "certificates in PEM"),
        ] {
            let error = allowed(&[(key, value)]).expect_err(value);
            assert!(error.contains(key) && error.contains(word), "{error}");
        }
        let error = allowed(&[(PROXY, "http://me:hunter2@proxy.lan")]).expect_err("a password");
        assert!(error.contains("$HTTPS_PROXY") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_environment_names_a_proxy_only_to_who_asks_it() {
        let lookup = |name: &str| (name == "HTTPS_PROXY").then(|| "http://me:hunter2@proxy.lan:3128".to_owned());
        let (silent, asking) = (settings(&[]), settings(&[(PROXY, "environment")]));
        assert!(Values::new(&silent).proxy(lookup).expect("well formed").is_none());
        let proxy = Values::new(&asking).proxy(lookup).expect("well formed").expect("one");
        let shown = format!("{proxy:?}");
        assert!(shown.contains("proxy.lan") && !shown.contains("hunter2"), "{shown}");
        assert!(Values::new(&asking).proxy(|_| None).expect("well formed").is_none());
        let socks = |name: &str| (name == "ALL_PROXY").then(|| "socks5://me:hunter2@proxy.lan".to_owned());
        let error = Values::new(&asking).proxy(socks).expect_err("not HTTP").to_string();
        assert!(error.contains("$ALL_PROXY") && !error.contains("hunter2"), "{error}");
    }
}
