//! A client's wish to stay with one instance.

use std::{fmt, str::FromStr};

/// What names an instance to its clients: a number by chance, that says nothing and cannot be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Affinity(u128);

/// A text that no instance is named by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 32 hexadecimal digits")]
pub struct NoAffinity;

// === impl Affinity ===

impl Affinity {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Affinity {
    type Err = NoAffinity;

    fn from_str(text: &str) -> Result<Self, NoAffinity> {
        let is_number = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(text, 16).ok().filter(|_| is_number).map(Self).ok_or(NoAffinity)
    }
}
