//! From headers to a principal.

use std::{
    borrow::Cow,
    fmt,
    path::Path,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};
use serde_json::Value;
use updraft_model::{Error, ErrorKind, iam::Principal};

use crate::{
    IdentityError, Issuer, TokenError, Tokens,
    jwt::{Claims, Unverified},
    origin,
    token::Token,
};

/// Google's sentences for callers without, and with wrong, credentials.
const MISSING: &str = "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.";
const WRONG: &str = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.";
/// Its sentence for a token that was made for something else.
const NARROW: &str = "Request had insufficient authentication scopes.";

/// How callers prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthMode {
    /// Not at all: whoever reaches the server is its operator. Only on loopback, see
    /// [`check_bind`](crate::check_bind).
    None,
    /// By the token in the data directory, or by an access token of this installation.
    Token,
}

/// Where a request came in. An extension of every request that the front door hands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Entrance {
    /// From this machine, or the network.
    #[default]
    Outside,
    /// From an instance of this server: whatever it says of its host, it is not the operator.
    Inside,
}

/// What a service account's token has to be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Purpose {
    /// Whatever the API does: the scope that stands for all of it.
    #[default]
    Platform,
    /// Tokens and signatures of another account. gcloud and Google's libraries get a token of IAM's scope alone for that,
    /// so that who takes it on the way can do little else with it.
    Impersonation,
}

/// Who was let in, and for how long.
#[derive(Debug, Clone)]
pub struct Authenticated {
    tokens: Option<Tokens>,
    who: Principal,
    /// When the token that they showed ends; `None` when what they showed has no end.
    ends: Option<SystemTime>,
}

/// The word is none of [`AuthMode`]'s.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown authentication mode '{0}', expected 'none' or 'token'")]
pub struct UnknownAuthMode(pub String);

/// Tells who calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Authenticator {
    means: Arc<Means>,
    tokens: Option<Tokens>,
    /// Who is trusted about who people are.
    issuer: Option<Arc<Issuer>>,
}

#[derive(Debug)]
enum Means {
    None,
    Token(Token),
}

// === impl AuthMode ===

impl FromStr for AuthMode {
    type Err = UnknownAuthMode;

    fn from_str(word: &str) -> Result<Self, UnknownAuthMode> {
        match word {
            "none" => Ok(Self::None),
            "token" => Ok(Self::Token),
            other => Err(UnknownAuthMode(other.to_owned())),
        }
    }
}

impl fmt::Display for AuthMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Token => "token",
        })
    }
}

// === impl Authenticated ===

impl Authenticated {
    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.who
    }

    /// May they still be let in at this time? Not when the token that they showed has ended: whatever was taken from its
    /// holder elsewhere since then shows in no other way. And not when the account was disabled or deleted.
    ///
    /// # Errors
    /// As [`Authenticator::authenticate`].
    pub fn check(&self, now: SystemTime) -> Result<(), Error> {
        if self.ends.is_some_and(|ends| ends <= now) {
            return Err(Error::new(ErrorKind::Unauthenticated, "The token that this call was made with has ended."));
        }
        let (Principal::ServiceAccount(account), Some(tokens)) = (&self.who, &self.tokens) else { return Ok(()) };
        tokens.stands(account).map_err(refused)
    }
}

// === impl Authenticator ===

impl Authenticator {
    /// With [`AuthMode::Token`], reads the token of `data_dir`, a directory that is there, or makes
    /// one.
    ///
    /// # Errors
    /// When the token cannot be read or made, is unfit, or others can read it.
    pub fn open(mode: AuthMode, data_dir: &Path) -> Result<Self, IdentityError> {
        crate::token::sweep(data_dir)?;
        let means = match mode {
            AuthMode::None => Means::None,
            AuthMode::Token => Means::Token(Token::open(data_dir)?),
        };
        Ok(Self { means: Arc::new(means), tokens: None, issuer: None })
    }

    /// The same, which takes access tokens of this installation, too. Without a token to ask for, nobody is asked for
    /// those either.
    #[must_use]
    pub fn with_tokens(self, tokens: Tokens) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    /// The same, which takes ID tokens of an issuer elsewhere, too.
    #[must_use]
    pub fn with_issuer(self, issuer: Arc<Issuer>) -> Self {
        Self { issuer: Some(issuer), ..self }
    }

    /// The mode it was opened with.
    pub fn mode(&self) -> AuthMode {
        match *self.means {
            Means::None => AuthMode::None,
            Means::Token(_) => AuthMode::Token,
        }
    }

    /// Does this value of `Authorization` hold the token? Never, when there is none.
    pub fn is_token(&self, shown: &HeaderValue) -> bool {
        match &*self.means {
            Means::None => false,
            Means::Token(token) => credential(shown.as_bytes()).is_some_and(|credential| token.is(&credential)),
        }
    }

    /// Who sent a request with these headers. Whoever serves HTTP/2 puts `:authority` into `Host`.
    ///
    /// # Errors
    /// `PermissionDenied` for a page of another site, or under a name that is not of this machine,
    /// when no token is asked for; `Unauthenticated`
    /// when a token is asked for and none, or a wrong one, was shown.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, Error> {
        match &*self.means {
            Means::None if origin::is_foreign(headers) => Err(Error::new(
                ErrorKind::PermissionDenied,
                "requests from web pages of other origins are refused while the server asks for no token",
            )),
            Means::None if !origin::is_called_locally(headers) => Err(Error::new(
                ErrorKind::PermissionDenied,
                "while the server asks for no token it answers only to 127.0.0.1, [::1], localhost and names below localhost",
            )),
            Means::None => Ok(Principal::Local),
            Means::Token(token) => self.by_credential(headers, Some(token), Purpose::Platform),
        }
    }

    /// The same of a request that came in there, for this purpose. Code in an instance is nobody without credentials, also
    /// where others need none: it shows the access token that the metadata server gave it.
    ///
    /// # Errors
    /// As [`Authenticator::authenticate`].
    pub fn authenticate_at(
        &self,
        entrance: Entrance,
        headers: &HeaderMap,
        purpose: Purpose,
    ) -> Result<Principal, Error> {
        match (entrance, &*self.means) {
            (Entrance::Outside, Means::None) => self.authenticate(headers),
            (Entrance::Inside, Means::None) => self.by_credential(headers, None, purpose),
            (_, Means::Token(token)) => self.by_credential(headers, Some(token), purpose),
        }
    }

    /// Might the API take what this value of `Authorization` holds, as a person's or as a service account's? Then whoever
    /// gets it whole can act as them. What it says of itself decides, since nothing of it is proved, and it is read as
    /// the API reads it. The token of the data directory is another matter: [`Authenticator::is_token`].
    pub fn is_for_the_api(&self, shown: &HeaderValue) -> bool {
        let Some(credential) = credential(shown.as_bytes()) else { return false };
        let Ok(token) = std::str::from_utf8(&credential) else { return false };
        let Ok(token) = Unverified::parse(token) else { return false };
        let Ok(claims) = token.unproved() else { return false };
        self.issuer.as_ref().is_some_and(|issuer| issuer.is_claimed_by(&claims))
            || self.tokens.as_ref().is_some_and(|tokens| tokens.is_claimed_by(&token, &claims))
    }

    /// What decides for how long `who`, who was let in by these headers, stays let in: for what goes on after the call.
    pub fn authenticated(&self, who: &Principal, headers: &HeaderMap) -> Authenticated {
        let is_by_token = matches!(who, Principal::ServiceAccount(_) | Principal::User(_));
        let shown = headers.get(header::AUTHORIZATION).filter(|_| is_by_token);
        let credential = shown.and_then(|shown| credential(shown.as_bytes()));
        // Its signature was checked when they were let in.
        let claims = credential.and_then(|credential| claimed(std::str::from_utf8(&credential).ok()?));
        let seconds = claims.and_then(|claims| claims.0.get("exp").and_then(Value::as_f64));
        let ends = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let ends = ends.and_then(|since| UNIX_EPOCH.checked_add(since));
        Authenticated { tokens: self.tokens.clone(), who: who.clone(), ends }
    }

    fn by_credential(&self, headers: &HeaderMap, token: Option<&Token>, purpose: Purpose) -> Result<Principal, Error> {
        let mut all = headers.get_all(header::AUTHORIZATION).iter();
        let Some(shown) = all.next() else {
            return Err(Error::new(ErrorKind::Unauthenticated, MISSING));
        };
        // Of two, a part of the system before this one may have checked the other.
        match credential(shown.as_bytes()) {
            Some(_) if all.next().is_some() => Err(wrong()),
            Some(credential) if token.is_some_and(|token| token.is(&credential)) => Ok(Principal::AdminToken),
            Some(credential) => self.by_access_token(&credential, purpose),
            None => Err(wrong()),
        }
    }

    /// Whose ID token this is, for a service that `accepts` some audiences; `expected` is the one that a refusal names.
    ///
    /// # Errors
    /// [`TokenError`] says which rule it breaks.
    pub fn identify(
        &self,
        token: &str,
        accepts: impl Fn(&str) -> bool,
        expected: &str,
    ) -> Result<Principal, TokenError> {
        // A person's token is for this installation, whichever of its services is called.
        if let Some(issuer) = self.issuer_of(token) {
            return issuer.verify(token).map(|verified| verified.who);
        }
        let tokens = self.tokens.as_ref().ok_or(TokenError::Malformed("no token of this server's is known"))?;
        tokens.verify_id_for(token, accepts, expected).map(|verified| verified.who)
    }

    /// The issuer elsewhere, if the token says that it is of it.
    fn issuer_of(&self, token: &str) -> Option<&Issuer> {
        let issuer = self.issuer.as_deref()?;
        (claimed_issuer(token)? == issuer.url()).then_some(issuer)
    }

    fn by_access_token(&self, shown: &[u8], purpose: Purpose) -> Result<Principal, Error> {
        // What does not look like one of ours gets Google's sentence alone.
        let looks_like_one = |text: &&str| text.bytes().filter(|&byte| byte == b'.').count() == 2;
        let shown = std::str::from_utf8(shown).ok().filter(looks_like_one);
        let (Some(tokens), Some(shown)) = (&self.tokens, shown) else { return Err(wrong()) };
        if let Some(issuer) = self.issuer_of(shown) {
            return issuer.verify(shown).map(|verified| verified.who).map_err(refused);
        }
        let verified = tokens.verify_bearer(shown).map_err(refused)?;
        if !verified.is_for(purpose) {
            return Err(Error::new(ErrorKind::PermissionDenied, NARROW));
        }
        Ok(verified.who)
    }
}

/// By whom a token says that it is; nothing of it is proved.
fn claimed_issuer(token: &str) -> Option<String> {
    Some(claimed(token)?.text("iss").ok()?.to_owned())
}

/// What a token says, of which nothing is proved.
fn claimed(token: &str) -> Option<Claims> {
    Unverified::parse(token).ok()?.unproved().ok()
}

fn refused(cause: TokenError) -> Error {
    Error::new(ErrorKind::Unauthenticated, format!("{WRONG} ({cause}.)"))
}

fn wrong() -> Error {
    Error::new(ErrorKind::Unauthenticated, WRONG)
}

/// The secret of `Bearer SECRET` or of `Basic base64(anybody:SECRET)`, which is what registry
/// clients send.
fn credential(authorization: &[u8]) -> Option<Cow<'_, [u8]>> {
    let space = authorization.iter().position(|&byte| byte == b' ')?;
    let (scheme, rest) = authorization.split_at(space);
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(rest.into());
    }
    if scheme.eq_ignore_ascii_case(b"basic") {
        let pair = STANDARD.decode(rest).ok()?;
        let colon = pair.iter().position(|&byte| byte == b':')?;
        return Some(pair[colon + 1..].to_vec().into());
    }
    None
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::token_path;

    fn with_token() -> (Authenticator, String, TempDir) {
        let dir = TempDir::new().unwrap();
        let authenticator = Authenticator::open(AuthMode::Token, dir.path()).unwrap();
        let token = std::fs::read_to_string(token_path(dir.path())).unwrap().trim().to_owned();
        (authenticator, token, dir)
    }

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn without_a_token_everybody_is_the_local_operator_whatever_bearer_they_show() {
        let dir = TempDir::new().unwrap();
        let open = Authenticator::open(AuthMode::None, dir.path()).unwrap();
        assert_eq!(open.authenticate(&HeaderMap::new()).unwrap(), Principal::Local);
        let any = headers(header::AUTHORIZATION, "Bearer whatever");
        assert_eq!(open.authenticate(&any).unwrap(), Principal::Local);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no token is made");
    }

    #[test]
    fn without_a_token_pages_of_other_sites_are_refused() {
        let dir = TempDir::new().unwrap();
        let open = Authenticator::open(AuthMode::None, dir.path()).unwrap();
        let error = open.authenticate(&headers(header::ORIGIN, "https://example.com")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert_eq!(open.authenticate(&headers(header::ORIGIN, "http://localhost:3000")).unwrap(), Principal::Local);
    }

    #[test]
    fn the_token_is_taken_as_bearer_and_as_basic_password() {
        let (authenticator, token, _dir) = with_token();
        for value in [
            format!("Bearer {token}"),
            format!("bearer   {token}"),
            format!("Basic {}", STANDARD.encode(format!("anybody:{token}"))),
            format!("Basic {}", STANDARD.encode(format!(":{token}"))),
        ] {
            let principal = authenticator.authenticate(&headers(header::AUTHORIZATION, &value)).unwrap();
            assert_eq!(principal, Principal::AdminToken, "{value}");
        }
    }

    #[test]
    fn a_missing_and_a_wrong_token_are_told_apart() {
        let (authenticator, token, _dir) = with_token();
        let missing = authenticator.authenticate(&HeaderMap::new()).unwrap_err();
        assert_eq!((missing.kind(), missing.message()), (ErrorKind::Unauthenticated, MISSING));
        for value in [
            "Bearer wrong".to_owned(),
            // One character off, of the same length: hex has no 'x'.
            format!("Bearer {}x", &token[..token.len() - 1]),
            format!("Bearer {token}0"),
            "Bearer ".to_owned(),
            "Bearer".to_owned(),
            token.clone(),
            format!("Token {token}"),
            "Basic !!!".to_owned(),
            format!("Basic {}", STANDARD.encode(&token)),
            format!("Basic {}", STANDARD.encode(format!("{token}:"))),
        ] {
            let wrong = authenticator.authenticate(&headers(header::AUTHORIZATION, &value)).unwrap_err();
            assert_eq!((wrong.kind(), wrong.message()), (ErrorKind::Unauthenticated, WRONG), "{value}");
        }
    }

    #[test]
    fn of_two_credentials_none_counts() {
        let (authenticator, token, _dir) = with_token();
        let mut headers = headers(header::AUTHORIZATION, &format!("Bearer {token}"));
        headers.append(header::AUTHORIZATION, "Bearer other".parse().unwrap());
        assert_eq!(authenticator.authenticate(&headers).unwrap_err().message(), WRONG);
    }

    #[test]
    fn code_in_an_instance_is_never_the_operator_whatever_host_it_names() {
        let dir = TempDir::new().unwrap();
        let open = Authenticator::open(AuthMode::None, dir.path()).unwrap();
        for host in ["localhost", "127.0.0.1:8080", "updraft.internal:8080", "[::1]"] {
            let error =
                open.authenticate_at(Entrance::Inside, &headers(header::HOST, host), Purpose::Platform).unwrap_err();
            assert_eq!((error.kind(), error.message()), (ErrorKind::Unauthenticated, MISSING), "{host}");
        }
        let any = headers(header::AUTHORIZATION, "Bearer whatever");
        assert_eq!(open.authenticate_at(Entrance::Inside, &any, Purpose::Platform).unwrap_err().message(), WRONG);
        assert_eq!(open.authenticate_at(Entrance::Outside, &any, Purpose::Platform).unwrap(), Principal::Local);
        let (closed, token, _dir) = with_token();
        let shown = headers(header::AUTHORIZATION, &format!("Bearer {token}"));
        assert_eq!(closed.authenticate_at(Entrance::Inside, &shown, Purpose::Platform).unwrap(), Principal::AdminToken);
        assert_eq!(
            closed.authenticate_at(Entrance::Inside, &HeaderMap::new(), Purpose::Platform).unwrap_err().message(),
            MISSING
        );
    }

    #[test]
    fn no_error_or_debug_text_holds_the_token() {
        let (authenticator, token, _dir) = with_token();
        let nearly = format!("Bearer {token}x");
        let error = authenticator.authenticate(&headers(header::AUTHORIZATION, &nearly)).unwrap_err();
        assert!(!format!("{error:?} {error} {authenticator:?}").contains(&token));
    }

    #[test]
    fn modes_are_words() {
        for mode in [AuthMode::None, AuthMode::Token] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert_eq!(
            "oidc".parse::<AuthMode>().unwrap_err().to_string(),
            "unknown authentication mode 'oidc', expected 'none' or 'token'"
        );
    }
}
