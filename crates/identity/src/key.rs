//! Keys of signatures: RSA of 2048 bits for what we sign; what others sign with may be longer, or on the curve P-256.
//!
//! JWS needs two algorithms of RFC 7518 here: RS256, which every client of Google's signs and verifies, and ES256,
//! which issuers elsewhere may use. All of it is aws-lc-rs; no other algorithm is compiled into a decision, so none can
//! be asked for by a header.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaPublicKeyComponents,
        UnparsedPublicKey,
    },
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::{
    parse_x509_certificate, prelude::FromDer, public_key::PublicKey as Parsed, x509::SubjectPublicKeyInfo,
};

/// Bytes of a key's id: as many as Google's have.
const ID_BYTES: usize = 20;
/// Bytes of a point on P-256 that is not compressed, and its first byte.
const POINT: (usize, u8) = (65, 4);

/// An algorithm of RFC 7518.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

/// A key that signs. Never printed: its `Debug` hides it.
pub struct PrivateKey {
    pair: KeyPair,
    public: PublicKey,
}

/// A key that verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA.
    Rsa {
        /// The modulus, big-endian, without leading zeros.
        n: Vec<u8>,
        /// The exponent, the same way.
        e: Vec<u8>,
    },
    /// A point on P-256, not compressed.
    P256(Vec<u8>),
}

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The library refuses to make one, or to sign.
    #[error("cannot {0}")]
    Failed(&'static str),
    /// What was given is no key of the form that was asked for.
    #[error("not {0}")]
    Unfit(&'static str),
    /// It is shorter than 2048 bits.
    #[error("an RSA key of {0} bits, and the fewest are 2048")]
    Short(usize),
}

// === impl Algorithm ===

impl Algorithm {
    /// Its name in a header (RFC 7518, section 3.1).
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

// === impl PrivateKey ===

impl PrivateKey {
    /// A new key of 2048 bits. Takes tens of milliseconds of CPU: not for a task that others wait for.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Failed("make an RSA key"))?;
        Self::of(pair)
    }

    /// The key of a PKCS #8 document (RFC 5958), of at least 2048 bits.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair = KeyPair::from_pkcs8(der).map_err(|_| KeyError::Unfit("an RSA key in PKCS #8"))?;
        Self::of(pair)
    }

    /// The same, in PEM (RFC 7468).
    ///
    /// # Errors
    /// When it is none.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| KeyError::Unfit("a private key in PEM (PKCS #8)"))?;
        Self::from_pkcs8(der.secret_pkcs8_der())
    }

    fn of(pair: KeyPair) -> Result<Self, KeyError> {
        let spki: PublicKeyX509Der<'_> =
            pair.public_key().as_der().map_err(|_| KeyError::Failed("write the public key"))?;
        let public = PublicKey::from_spki(spki.as_ref())?;
        Ok(Self { pair, public })
    }

    /// The key as PKCS #8.
    ///
    /// # Errors
    /// When the library cannot write it.
    pub fn to_pkcs8(&self) -> Result<Vec<u8>, KeyError> {
        let der: Pkcs8V1Der<'_> = self.pair.as_der().map_err(|_| KeyError::Failed("write the private key"))?;
        Ok(der.as_ref().to_vec())
    }

    /// The key in PEM.
    ///
    /// # Errors
    /// As [`PrivateKey::to_pkcs8`].
    pub fn to_pem(&self) -> Result<String, KeyError> {
        Ok(pem("PRIVATE KEY", &self.to_pkcs8()?))
    }

    /// Its other half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs with [`Algorithm::Rs256`].
    ///
    /// # Errors
    /// When the library cannot.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| KeyError::Failed("sign"))?;
        Ok(signature)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}

// === impl PublicKey ===

impl PublicKey {
    /// The RSA key of a `SubjectPublicKeyInfo` (RFC 5280, section 4.1), of at least 2048 bits.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::Unfit("a public key"))?;
        Self::of(&info)
    }

    /// The RSA key of a certificate in PEM, of at least 2048 bits; the certificate's own signature and dates do not
    /// count here.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_certificate(pem: &str) -> Result<Self, KeyError> {
        let unfit = KeyError::Unfit("an X.509 certificate in PEM");
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| unfit.clone())?;
        let (_, certificate) = parse_x509_certificate(&der).map_err(|_| unfit)?;
        Self::of(certificate.public_key())
    }

    fn of(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, KeyError> {
        match info.parsed() {
            Ok(Parsed::RSA(key)) => Self::rsa(key.modulus, key.exponent),
            _ => Err(KeyError::Unfit("a public key of RSA")),
        }
    }

    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let trimmed = |bytes: &[u8]| bytes.iter().copied().skip_while(|&byte| byte == 0).collect::<Vec<_>>();
        let (n, e) = (trimmed(n), trimmed(e));
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        match bits {
            2048.. => Ok(Self::Rsa { n, e }),
            _ => Err(KeyError::Short(bits)),
        }
    }

    /// The key of a JWK (RFC 7517; RFC 7518, section 6): RSA or P-256.
    ///
    /// # Errors
    /// When it is of another kind, or not whole.
    pub fn from_jwk(jwk: &Value) -> Result<Self, KeyError> {
        let bytes = |name: &str| {
            jwk[name].as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).filter(|bytes| !bytes.is_empty())
        };
        match (jwk["kty"].as_str(), jwk["crv"].as_str()) {
            (Some("RSA"), _) => match (bytes("n"), bytes("e")) {
                (Some(n), Some(e)) => Self::rsa(&n, &e),
                _ => Err(KeyError::Unfit("a whole RSA key")),
            },
            (Some("EC"), Some("P-256")) => match (bytes("x"), bytes("y")) {
                (Some(x), Some(y)) if 1 + x.len() + y.len() == POINT.0 => {
                    Ok(Self::P256([&[POINT.1][..], &x, &y].concat()))
                }
                _ => Err(KeyError::Unfit("a whole key on P-256")),
            },
            _ => Err(KeyError::Unfit("a key of RSA or on P-256")),
        }
    }

    /// The key as a JWK for signatures, under this id.
    pub fn to_jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let alg = self.algorithm().name();
        match self {
            Self::Rsa { n, e } => {
                json!({"kty": "RSA", "use": "sig", "alg": alg, "kid": kid, "n": text(n), "e": text(e)})
            }
            Self::P256(point) => {
                let (x, y) = point[1..].split_at(point.len() / 2);
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": alg, "kid": kid, "x": text(x), "y": text(y)})
            }
        }
    }

    /// The one algorithm that this key is for.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
        }
    }

    /// Is `signature` of `message` and this key, with this key's algorithm?
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
        };
        verified.is_ok()
    }

    /// What the key is called where nobody named it: 40 hexadecimal digits that follow from it.
    pub fn id(&self) -> String {
        let digest = match self {
            Self::Rsa { n, e } => Sha256::new().chain_update(n).chain_update(e),
            Self::P256(point) => Sha256::new().chain_update(point),
        };
        hex::encode(&digest.finalize()[..ID_BYTES])
    }

    /// An RSA key in PEM, as a `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// For a key of another kind.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let Self::Rsa { n, e } = self else { return Err(KeyError::Unfit("a public key of RSA")) };
        let components = RsaPublicKeyComponents { n, e };
        let der: PublicKeyX509Der<'_> = components.as_der().map_err(|_| KeyError::Failed("write the public key"))?;
        Ok(pem("PUBLIC KEY", der.as_ref()))
    }
}

/// A document in PEM (RFC 7468, section 2).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_each_of_its_forms() {
        let key = PrivateKey::generate().unwrap();
        let again = PrivateKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(again.public(), key.public());
        let jwk = key.public().to_jwk("k");
        assert_eq!(PublicKey::from_jwk(&jwk).unwrap(), *key.public());
        assert_eq!(
            (&jwk["kty"], &jwk["alg"], &jwk["kid"], &jwk["e"]),
            (&json!("RSA"), &json!("RS256"), &json!("k"), &json!("AQAB"))
        );
        assert!(key.public().to_pem().unwrap().starts_with("-----BEGIN PUBLIC KEY-----\n"));
        assert_eq!(key.public().id().len(), 40);
        let signature = key.sign(b"text").unwrap();
        assert!(again.public().verifies(b"text", &signature));
        assert!(!again.public().verifies(b"texT", &signature));
        assert!(!again.public().verifies(b"text", &signature[1..]));
        assert_eq!(format!("{key:?}"), "PrivateKey(hidden)");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for jwk in [
            json!({"kty": "oct", "k": "AAAA"}),
            json!({"kty": "RSA", "n": "AQAB"}),
            json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
            json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}),
            json!({"kty": "EC", "crv": "secp256k1", "x": "AAAA", "y": "AAAA"}),
            json!(null),
        ] {
            assert!(PublicKey::from_jwk(&jwk).is_err(), "{jwk}");
        }
        assert!(PrivateKey::from_pem("no key").is_err() && PublicKey::from_certificate("no certificate").is_err());
        let short = PublicKey::from_jwk(&json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xff; 128]), "e": "AQAB"}));
        assert_eq!(short.unwrap_err(), KeyError::Short(1024));
    }
}
