//! The admin token.

use std::{
    fmt,
    fs::{self, OpenOptions},
    hint::black_box,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rand::{TryRngCore, rngs::OsRng};

use crate::IdentityError;

/// Bytes of randomness in a token that we make.
const RANDOM_BYTES: usize = 32;
/// The fewest characters that a token of the operator's own choice may have.
pub(crate) const SHORTEST: usize = 16;

/// A secret that gives every right. Never printed: it has no `Display`, and its `Debug` hides it.
#[derive(Clone)]
pub(crate) struct Token(String);

/// Where the token of a data directory is.
pub fn token_path(data_dir: &Path) -> PathBuf {
    data_dir.join("token")
}

/// Removes the draft of a token that a crash left, with whatever mode.
///
/// # Errors
/// When it is there and cannot be removed.
pub(crate) fn sweep(data_dir: &Path) -> Result<(), IdentityError> {
    let path = token_path(data_dir).with_extension("new");
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(IdentityError::TokenFile { operation: "remove", path, source })
        }
        _ => Ok(()),
    }
}

/// The token of `data_dir`, for who may read it and asks to see it.
///
/// # Errors
/// When there is none or the file cannot be read, others can read it, or it holds no fit token.
pub fn read_token(data_dir: &Path) -> Result<String, IdentityError> {
    Token::read(data_dir).map(|token| token.0)
}

// === impl Token ===

impl Token {
    /// Reads the token of `data_dir`; makes one of 256 random bits when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or made, others can read it, or it holds no fit token.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, IdentityError> {
        let path = token_path(data_dir);
        let failed = |operation| {
            let path = path.clone();
            move |source| IdentityError::TokenFile { operation, path, source }
        };
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(&path).map_err(failed("write")).inspect(|_| {
                    tracing::info!(path = %path.display(), "made a new admin token");
                })
            }
            _ => Self::read(data_dir),
        }
    }

    /// Reads the token of `data_dir`.
    fn read(data_dir: &Path) -> Result<Self, IdentityError> {
        let path = token_path(data_dir);
        let failed = |operation| {
            let path = path.clone();
            move |source| IdentityError::TokenFile { operation, path, source }
        };
        let mode = fs::metadata(&path).map_err(failed("read"))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::TokenExposed { path, mode });
        }
        let text = fs::read_to_string(&path).map_err(failed("read"))?;
        let text = text.trim();
        if text.len() < SHORTEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(IdentityError::TokenUnfit { path });
        }
        Ok(Self(text.to_owned()))
    }

    /// Is this the token? Takes as long for a near miss as for a far one, so that nobody can find
    /// it character by character. Its length is no secret.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        let token = self.0.as_bytes();
        if token.len() != shown.len() {
            return false;
        }
        let difference = token.iter().zip(shown).fold(0, |difference, (a, b)| black_box(difference | (a ^ b)));
        difference == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Writes a new token beside its place and moves it there, so that a crash leaves no half of one.
fn make(path: &Path) -> io::Result<Token> {
    let mut random = [0; RANDOM_BYTES];
    OsRng.try_fill_bytes(&mut random).map_err(io::Error::other)?;
    let token = hex::encode(random);
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    // Clients are going to be given it: it must not be another one after a power cut.
    fs::File::open(path.parent().unwrap_or_else(|| Path::new("/")))?.sync_all()?;
    Ok(Token(token))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_missing_token_is_made_once_with_256_bits_for_its_owner_only() {
        let dir = TempDir::new().unwrap();
        let made = Token::open(dir.path()).unwrap();
        assert_eq!(hex::decode(&made.0).unwrap().len() * 8, 256);
        let path = token_path(dir.path());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Token::open(dir.path()).unwrap().is(made.0.as_bytes()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let other = TempDir::new().unwrap();
        assert!(!Token::open(other.path()).unwrap().is(made.0.as_bytes()));
    }

    #[test]
    fn what_a_crash_left_of_a_token_is_removed_whether_one_is_needed_or_not() {
        for mode in [crate::AuthMode::None, crate::AuthMode::Token] {
            let dir = TempDir::new().unwrap();
            let draft = token_path(dir.path()).with_extension("new");
            fs::write(&draft, "half").unwrap();
            crate::Authenticator::open(mode, dir.path()).unwrap();
            assert!(!draft.exists());
        }
    }

    #[test]
    fn a_token_others_can_read_is_refused_with_the_way_out() {
        let dir = TempDir::new().unwrap();
        let path = token_path(dir.path());
        fs::write(&path, "0123456789abcdef").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Token::open(dir.path()).unwrap_err();
        assert_eq!(error.to_string(), format!("the token file {} can be read by others (mode 644)", path.display()));
        assert!(error.hint().unwrap().contains("chmod 600"));
    }

    #[test]
    fn an_operators_own_token_counts_unless_it_is_unfit() {
        let dir = TempDir::new().unwrap();
        let path = token_path(dir.path());
        for (text, fit) in
            [("my-own-token-of-20-ch\n", true), ("short", false), ("", false), ("a b c d e f g h i j k", false)]
        {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let opened = Token::open(dir.path());
            assert_eq!(opened.is_ok_and(|token| token.is(text.trim().as_bytes())), fit, "{text:?}");
        }
    }

    #[test]
    fn a_token_never_shows_itself() {
        let dir = TempDir::new().unwrap();
        let token = Token::open(dir.path()).unwrap();
        assert_eq!(format!("{token:?}"), "Token(hidden)");
    }
}
