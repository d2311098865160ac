//! Our own authority: a key and a certificate in `DATA/tls`, and what they sign.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{TryRngCore, rngs::OsRng};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use sha2::{Digest, Sha256};
use x509_parser::parse_x509_certificate;

use super::TlsError;
use crate::durable;

/// The file of the certificate; public.
pub(super) const CERTIFICATE: &str = "ca.pem";
/// The file of the key, for its owner only.
const KEY: &str = "ca.key";

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long the authority is valid. Trusting it is work, so it is long.
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(3650);
/// The certificate of the authority is signed anew, with the same key and name, when it has less than this to live:
/// clients that trust the old one go on, and have a year to take the new one.
const AUTHORITY_REST: Duration = DAY.saturating_mul(365);
/// How long what it signs is valid.
const LEAF_LIFE: Duration = DAY.saturating_mul(90);
/// When what it signs is signed anew.
const LEAF_RENEWAL: Duration = DAY.saturating_mul(60);
/// Clocks of clients may be behind ours by so much.
const CLOCK_SKEW: Duration = DAY;

/// A key and a certificate that sign others.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// A certificate that was signed here, with its key.
pub(super) struct Leaf {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    /// When to sign another one.
    pub(super) renewal: SystemTime,
}

// === impl Authority ===

impl Authority {
    /// The authority in `dir`. What is missing is made: first the key, then the certificate of that key, so that a
    /// crash in between loses nothing.
    ///
    /// # Errors
    /// When a file cannot be read, made or used, or others can read the key.
    pub(super) fn open(dir: &Path, now: SystemTime) -> Result<Self, TlsError> {
        durable::private_dir(dir).map_err(failed("make", dir))?;
        let key = open_key(&dir.join(KEY))?;
        let path = dir.join(CERTIFICATE);
        let stored = match fs::read_to_string(&path) {
            Ok(pem) => Some(pem),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let pem = match stored {
            Some(pem) if rest(&path, &pem, &key, now)? >= AUTHORITY_REST => pem,
            _ => {
                let pem = signed_by_itself(&key, now)?;
                write(&path, pem.as_bytes(), 0o644)?;
                tracing::info!(path = %path.display(), "signed the certificate of this server's own authority");
                pem
            }
        };
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(unfit(&path))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(unfit(&path))?;
        Ok(Self { issuer, certificate, pem })
    }

    /// The certificate, for those who are to trust it.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a certificate of a new key for `names`.
    ///
    /// # Errors
    /// [`TlsError::Sign`] when a name cannot be in a certificate.
    pub(super) fn sign(&self, names: &[String], now: SystemTime) -> Result<Leaf, TlsError> {
        let key = KeyPair::generate().map_err(unsigned)?;
        let mut params = CertificateParams::new(names).map_err(unsigned)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Updraft");
        params.serial_number = Some(serial()?);
        params.not_before = later(now, Duration::ZERO).into();
        params.not_before -= CLOCK_SKEW;
        params.not_after = later(now, LEAF_LIFE).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&key, &self.issuer).map_err(unsigned)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| TlsError::Sign(error.to_owned()))?;
        Ok(Leaf { chain: vec![signed.der().clone(), self.certificate.clone()], key, renewal: later(now, LEAF_RENEWAL) })
    }
}

/// Reads the key, or makes one.
fn open_key(path: &Path) -> Result<KeyPair, TlsError> {
    let mode = match fs::metadata(path) {
        Ok(found) => found.permissions().mode() & 0o777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate().map_err(unsigned)?;
            write(path, key.serialize_pem().as_bytes(), 0o600)?;
            return Ok(key);
        }
        Err(error) => return Err(failed("read", path)(error)),
    };
    if mode & 0o077 != 0 {
        return Err(TlsError::Exposed { path: path.to_owned(), mode });
    }
    let pem = fs::read_to_string(path).map_err(failed("read", path))?;
    KeyPair::from_pem(&pem).map_err(unfit(path))
}

fn signed_by_itself(key: &KeyPair, now: SystemTime) -> Result<String, TlsError> {
    let mut params = CertificateParams::default();
    // Two servers of one user have two authorities: the names must differ, or clients mix them up.
    let print = hex::encode(&Sha256::digest(key.public_key_raw())[..4]);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Updraft");
    params.distinguished_name.push(DnType::CommonName, format!("Updraft local authority {print}"));
    params.serial_number = Some(serial()?);
    params.not_before = later(now, Duration::ZERO).into();
    params.not_before -= CLOCK_SKEW;
    params.not_after = later(now, AUTHORITY_LIFE).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params.self_signed(key).map_err(unsigned)?.pem())
}

/// How long the certificate in `pem` still lives.
fn rest(path: &Path, pem: &str, key: &KeyPair, now: SystemTime) -> Result<Duration, TlsError> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(unfit(path))?;
    let (_, certificate) = parse_x509_certificate(&der).map_err(unfit(path))?;
    if certificate.public_key().subject_public_key.data != key.public_key_raw() {
        let rule = format!("it is not of the key in {KEY}");
        return Err(TlsError::Unfit { path: path.to_owned(), rule });
    }
    let end = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default();
    Ok((UNIX_EPOCH + Duration::from_secs(end)).duration_since(now).unwrap_or_default())
}

/// 127 random bits, never zero: a serial is positive, and unique even for two certificates of one key.
fn serial() -> Result<SerialNumber, TlsError> {
    let mut random = [0; 16];
    OsRng.try_fill_bytes(&mut random).map_err(|error| TlsError::Sign(error.to_string()))?;
    random[0] = random[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&random))
}

/// Certificates count seconds; before 1970 they cannot be told.
fn later(now: SystemTime, by: Duration) -> SystemTime {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default() + by;
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), TlsError> {
    durable::write(path, content, mode).map_err(failed("write", path))
}

pub(super) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File { operation, path, source }
}

pub(super) fn unfit<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> TlsError {
    let path: PathBuf = path.to_owned();
    move |error| TlsError::Unfit { path, rule: error.to_string() }
}

fn unsigned(error: rcgen::Error) -> TlsError {
    TlsError::Sign(error.to_string())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn at(days: u32) -> SystemTime {
        UNIX_EPOCH + DAY * (20_000 + days)
    }

    #[test]
    fn the_authority_is_made_once_and_its_key_is_its_owners() {
        let dir = TempDir::new().unwrap();
        let home = dir.path().join("tls");
        let made = Authority::open(&home, at(0)).unwrap().pem().to_owned();
        assert_eq!(Authority::open(&home, at(1)).unwrap().pem(), made);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&home), mode(&home.join(KEY))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&home).unwrap().count(), 2, "no drafts are left");
    }

    #[test]
    fn a_start_that_was_killed_after_the_key_goes_on_with_it() {
        let dir = TempDir::new().unwrap();
        Authority::open(dir.path(), at(0)).unwrap();
        let key = fs::read(dir.path().join(KEY)).unwrap();
        fs::remove_file(dir.path().join(CERTIFICATE)).unwrap();
        Authority::open(dir.path(), at(0)).unwrap();
        assert_eq!(fs::read(dir.path().join(KEY)).unwrap(), key);
    }

    #[test]
    fn the_authority_is_signed_anew_a_year_before_its_end_with_the_same_key_and_name() {
        let dir = TempDir::new().unwrap();
        let first = Authority::open(dir.path(), at(0)).unwrap();
        let second = Authority::open(dir.path(), at(3650 - 366)).unwrap();
        assert_eq!(first.pem(), second.pem());
        let third = Authority::open(dir.path(), at(3650 - 364)).unwrap();
        assert_ne!(second.pem(), third.pem());
        let of = |authority: &Authority| {
            let (_, read) = parse_x509_certificate(&authority.certificate).unwrap();
            (read.subject().to_string(), read.public_key().raw.to_vec(), read.raw_serial().to_vec())
        };
        let (second, third) = (of(&second), of(&third));
        assert_eq!((&second.0, &second.1), (&third.0, &third.1));
        assert_ne!(second.2, third.2, "browsers refuse a serial that was there before");
    }

    #[test]
    fn what_others_can_read_or_does_not_fit_is_refused_with_the_way_out() {
        let dir = TempDir::new().unwrap();
        Authority::open(dir.path(), at(0)).unwrap();
        let other = TempDir::new().unwrap();
        Authority::open(other.path(), at(0)).unwrap();
        fs::copy(other.path().join(CERTIFICATE), dir.path().join(CERTIFICATE)).unwrap();
        let error = Authority::open(dir.path(), at(0)).err().unwrap();
        assert!(error.to_string().contains("not of the key"), "{error}");
        assert!(error.hint().unwrap().contains("remove"));
        fs::set_permissions(dir.path().join(KEY), fs::Permissions::from_mode(0o640)).unwrap();
        let error = Authority::open(dir.path(), at(0)).err().unwrap();
        assert!(error.to_string().contains("mode 640") && error.hint().unwrap().contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_leaf_is_for_its_names_and_for_servers_and_is_renewed_in_time() {
        let dir = TempDir::new().unwrap();
        let authority = Authority::open(dir.path(), at(0)).unwrap();
        let names = ["localhost", "*.run.localhost", "::1"].map(str::to_owned);
        let leaf = authority.sign(&names, at(0)).unwrap();
        assert_eq!(leaf.renewal, at(60));
        let (_, read) = parse_x509_certificate(&leaf.chain[0]).unwrap();
        let text = format!("{:?}", read.subject_alternative_name().unwrap().unwrap().value.general_names);
        assert!(text.contains("localhost") && text.contains("*.run.localhost") && text.contains("IPAddress"), "{text}");
        assert!(!read.is_ca() && read.extended_key_usage().unwrap().unwrap().value.server_auth);
        let end = read.validity().not_after.timestamp();
        assert_eq!(end, 86_400 * (20_000 + 90));
    }
}
