//! The settings of an issuer that knows people.

use updraft_identity::{
    AuthMode,
    oidc::{ClaimMapping, EmailTrust, OidcSettings},
};

use super::{ConfigError, Origin, values::Values};

const ISSUER: &str = "oidc-issuer";
const AUDIENCE: &str = "oidc-audience";
const CLAIMS: &str = "oidc-claims";
const DOMAINS: &str = "oidc-domains";
const EMAILS: &str = "oidc-emails";

// === impl Values ===

impl Values<'_> {
    pub(super) fn oidc(&self) -> Result<Option<OidcSettings>, ConfigError> {
        let issuer = self.text(ISSUER);
        if issuer.is_empty() {
            let is_said = |key: &&&str| self.origin(key) != Origin::Default && !self.text(key).is_empty();
            return match [AUDIENCE, CLAIMS, DOMAINS, EMAILS].iter().find(is_said) {
                Some(key) => Err(self.refuse(key, "means nothing without 'oidc-issuer'")),
                None => Ok(None),
            };
        }
        if self.auth()? == AuthMode::None {
            return Err(self.refuse(ISSUER, "means nothing with auth = none, where nobody is asked: say auth = token"));
        }
        let audiences = self.list(AUDIENCE);
        if audiences.is_empty() {
            let rule = "must name whom the issuer's tokens are for, such as the client id of this installation there";
            return Err(self.refuse(AUDIENCE, rule));
        }
        let trust = match self.text(EMAILS) {
            "verified" => EmailTrust::Verified,
            "as-told" => EmailTrust::AsTold,
            _ => return Err(self.refuse(EMAILS, "must be 'verified' or 'as-told'")),
        };
        let (issuer, claims, domains) = (self.url(ISSUER)?, self.claims()?, self.list(DOMAINS));
        Ok(Some(OidcSettings { issuer, audiences, claims, trust, domains }))
    }

    /// Over TLS, or from this machine: whoever can change what comes could be anybody.
    fn url(&self, key: &str) -> Result<String, ConfigError> {
        let text = self.text(key);
        let uri: Option<http::Uri> = text.parse().ok();
        let fits = uri.is_some_and(|uri| {
            let host = uri.host().unwrap_or_default();
            let is_here = host == "localhost" || host.ends_with(".localhost") || host == "127.0.0.1" || host == "[::1]";
            let is_safe = uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && is_here);
            is_safe && !host.is_empty() && uri.query().is_none() && !text.contains(['@', '#'])
        });
        let rule = "must be a URL such as https://accounts.example.com, as the issuer's tokens have it in 'iss'; http only for this machine";
        if fits { Ok(text.to_owned()) } else { Err(self.refuse(key, rule)) }
    }

    fn claims(&self) -> Result<ClaimMapping, ConfigError> {
        let mut claims = ClaimMapping::default();
        for part in self.list(CLAIMS) {
            let place = part.split_once('=').filter(|(_, claim)| !claim.is_empty());
            let place = place.and_then(|(name, claim)| match name {
                "email" => Some((&mut claims.email, claim)),
                "groups" => Some((&mut claims.groups, claim)),
                "domain" => Some((&mut claims.hosted_domain, claim)),
                _ => None,
            });
            match place {
                Some((place, claim)) => claim.clone_into(place),
                None => {
                    let rule = format!("must be pairs such as 'email=upn, groups=roles, domain=tenant', got '{part}'");
                    return Err(self.refuse(CLAIMS, &rule));
                }
            }
        }
        Ok(claims)
    }

    fn list(&self, key: &str) -> Vec<String> {
        self.text(key).split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layer, combine};

    fn read(flags: &[(&'static str, &str)]) -> Result<Option<OidcSettings>, String> {
        let flags =
            [("auth", "token")].iter().chain(flags).map(|(key, value)| (*key, ((*value).to_owned(), None))).collect();
        Values::new(&combine(&[Layer(flags)])).oidc().map_err(|error| error.to_string())
    }

    #[test]
    fn an_issuer_has_a_url_and_audiences_and_says_what_its_claims_are() {
        assert_eq!(read(&[]), Ok(None));
        let all = [
            (ISSUER, "https://login.example.com/tenant"),
            (AUDIENCE, "updraft, other"),
            (CLAIMS, "email=upn,domain=tenant"),
            (DOMAINS, "example.com"),
            (EMAILS, "as-told"),
        ];
        let read = read(&all).expect("well formed").expect("an issuer");
        assert_eq!((read.issuer.as_str(), read.audiences.len()), ("https://login.example.com/tenant", 2));
        let claims = &read.claims;
        assert_eq!((&*claims.email, &*claims.groups, &*claims.hosted_domain), ("upn", "groups", "tenant"));
        assert_eq!((read.domains, read.trust), (vec!["example.com".to_owned()], EmailTrust::AsTold));
    }

    #[test]
    fn what_cannot_be_an_issuer_is_named_with_its_rule() {
        let issuer = (ISSUER, "https://login.example.com");
        for (flags, word) in [
            (&[(AUDIENCE, "updraft")][..], "means nothing without 'oidc-issuer'"),
            (&[(EMAILS, "verified")], "means nothing without 'oidc-issuer'"),
            (&[issuer, (AUDIENCE, "a"), ("auth", "none")], "say auth = token"),
            (&[issuer], "oidc-audience"),
            (&[(ISSUER, "http://login.example.com"), (AUDIENCE, "a")], "http only for this machine"),
            (&[(ISSUER, "login.example.com"), (AUDIENCE, "a")], "must be a URL"),
            (&[(ISSUER, "https://me@login.example.com"), (AUDIENCE, "a")], "must be a URL"),
            (&[issuer, (AUDIENCE, "a"), (CLAIMS, "name=x")], "got 'name=x'"),
            (&[issuer, (AUDIENCE, "a"), (CLAIMS, "email=")], "got 'email='"),
            (&[issuer, (AUDIENCE, "a"), (EMAILS, "any")], "'as-told'"),
        ] {
            let error = read(flags).expect_err(word);
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
