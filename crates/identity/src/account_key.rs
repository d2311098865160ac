//! Keys that somebody holds for a service account: made here and given away at once, or brought along as a certificate.
//!
//! What stays is the public half, in a certificate, as Google keeps it. A key file is the one that Google's libraries
//! and tools read; its `token_uri` leads here.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{TryRngCore, rngs::OsRng};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};
use x509_parser::parse_x509_certificate;

use updraft_model::iam::Account;

use crate::{
    Tokens,
    jwt::{self, seconds},
    key::{KeyError, PrivateKey, PublicKey, pem},
};

/// A key that was just made. Never printed: its `Debug` hides it.
pub struct MadeKey {
    /// What is kept of it.
    pub kept: KeptKey,
    /// The key file, in JSON; kept nowhere.
    pub file: String,
}

/// What is kept of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptKey {
    /// Its id, which follows from the key.
    pub id: String,
    /// The certificate that holds it, in PEM.
    pub certificate: String,
    /// From when on it may be used.
    pub valid_after: SystemTime,
    /// Until when; `None`: always.
    pub valid_before: Option<SystemTime>,
}

/// A key file, as its holder reads it. Never printed: its `Debug` hides the key.
pub struct KeyFile {
    email: String,
    id: String,
    token_uri: String,
    key: PrivateKey,
}

/// What a key is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want<'a> {
    /// An access token with these scopes, separated by spaces.
    Scope(&'a str),
    /// An ID token for this audience.
    Audience(&'a str),
}

/// What is wrong with a key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It is not JSON.
    #[error("it is not JSON")]
    NotJson,
    /// It is another kind of credentials.
    #[error("its type is '{0}', expected 'service_account'")]
    Type(String),
    /// A field that it must have is not there.
    #[error("it has no {0}")]
    Field(&'static str),
    /// Its key is none.
    #[error("its private_key is unfit: {0}")]
    Key(#[from] KeyError),
}

/// Makes a key for `account`. Takes tens of milliseconds of CPU: for a thread that may block.
///
/// # Errors
/// When the library cannot make one.
pub fn make(account: &Account, tokens: &Tokens, now: SystemTime) -> Result<MadeKey, KeyError> {
    let key = PrivateKey::generate()?;
    let id = key.public().id();
    let certificate = certificate(&key, &account.unique_id, now)?;
    let issuer = tokens.issuer();
    let mut file = json!({
        "type": "service_account",
        "project_id": account.project,
        "private_key_id": id,
        "private_key": key.to_pem()?,
        "client_email": account.email,
        "client_id": account.unique_id,
        // Some libraries want these three to be there; none asks them for anything.
        "auth_uri": format!("{issuer}/o/oauth2/auth"),
        "token_uri": tokens.token_uri(),
        "auth_provider_x509_cert_url": format!("{issuer}/oauth2/v3/certs"),
        "client_x509_cert_url": format!("{issuer}/service_accounts/v1/jwk/{}", account.email),
        // What clients compare with their own, and Google's is their default.
        "universe_domain": "googleapis.com",
    });
    file.sort_all_objects();
    let whole_second = UNIX_EPOCH + Duration::from_secs(seconds(now));
    let kept = KeptKey { id, certificate, valid_after: whole_second, valid_before: None };
    Ok(MadeKey { kept, file: format!("{file:#}\n") })
}

/// The public half of a key that somebody else made, out of an X.509 certificate in PEM.
///
/// # Errors
/// When it is no certificate of an RSA key of at least 2048 bits.
pub fn read(certificate: &str) -> Result<KeptKey, KeyError> {
    let public = PublicKey::from_certificate(certificate)?;
    let unfit = KeyError::Unfit("an X.509 certificate in PEM");
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| unfit.clone())?;
    let (_, parsed) = parse_x509_certificate(&der).map_err(|_| unfit)?;
    let time = |stamp: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(stamp).unwrap_or_default());
    let validity = parsed.validity();
    Ok(KeptKey {
        id: public.id(),
        // Written anew: what else was in the file is not kept.
        certificate: pem("CERTIFICATE", &der),
        valid_after: time(validity.not_before.timestamp()),
        valid_before: Some(time(validity.not_after.timestamp())),
    })
}

/// A certificate that the key signed itself, for its account's unique id, without an end.
fn certificate(key: &PrivateKey, unique_id: &str, now: SystemTime) -> Result<String, KeyError> {
    let failed = |_| KeyError::Failed("sign the certificate");
    let der = PrivatePkcs8KeyDer::from(key.to_pkcs8()?);
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_RSA_SHA256).map_err(failed)?;
    let mut serial = [0; 8];
    OsRng.try_fill_bytes(&mut serial).map_err(|_| KeyError::Failed("make a serial number"))?;
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, unique_id);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = (UNIX_EPOCH + Duration::from_secs(seconds(now))).into();
    params.not_after = date_time_ymd(9999, 12, 31);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params.self_signed(&pair).map_err(failed)?.pem())
}

// === impl KeyFile ===

impl KeyFile {
    /// Reads a key file.
    ///
    /// # Errors
    /// [`KeyFileError`] names the field, and never what is in it.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let file: Value = serde_json::from_str(text).map_err(|_| KeyFileError::NotJson)?;
        let field = |name: &'static str| {
            let text = file[name].as_str().filter(|text| !text.is_empty());
            text.ok_or(KeyFileError::Field(name))
        };
        let kind = field("type")?;
        if kind != "service_account" {
            return Err(KeyFileError::Type(kind.chars().take(40).collect()));
        }
        Ok(Self {
            email: field("client_email")?.to_owned(),
            id: field("private_key_id")?.to_owned(),
            token_uri: field("token_uri")?.to_owned(),
            key: PrivateKey::from_pem(field("private_key")?)?,
        })
    }

    /// Whose key it is.
    pub fn email(&self) -> &str {
        &self.email
    }

    /// What is shown to a token endpoint: valid for an hour from `now` (RFC 7523, section 3).
    ///
    /// # Errors
    /// When the library cannot sign.
    pub fn assertion(&self, want: Want<'_>, now: SystemTime) -> Result<String, KeyError> {
        let now = seconds(now);
        let (name, value) = match want {
            Want::Scope(scope) => ("scope", scope),
            Want::Audience(audience) => ("target_audience", audience),
        };
        let mut claims = serde_json::Map::new();
        claims.insert("iss".to_owned(), self.email.clone().into());
        claims.insert("aud".to_owned(), self.token_uri.clone().into());
        claims.insert("iat".to_owned(), now.into());
        claims.insert("exp".to_owned(), (now + 3600).into());
        claims.insert(name.to_owned(), value.into());
        jwt::sign((&self.id, &self.key), "JWT", &claims)
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("email", &self.email).field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for MadeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MadeKey").field("id", &self.kept.id).finish_non_exhaustive()
    }
}
