//! How far instances are kept apart.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How far instances are kept apart from the host and from each other. `docs/isolation.md` has the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Isolation {
    /// The whole sandbox: namespaces, an overlay as the root, control groups, a network of its own.
    #[default]
    Namespaces,
    /// A root directory of its own, and nothing else of its own. Needs root.
    Chroot,
    /// The host's root directory: for static programs.
    None,
}

/// The word is not one of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 'namespaces', 'chroot' or 'none'")]
pub struct UnknownIsolation;

// === impl Isolation ===

impl Isolation {
    /// The strongest first.
    pub const ALL: [Self; 3] = [Self::Namespaces, Self::Chroot, Self::None];

    /// As it is written in settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Chroot => "chroot",
            Self::None => "none",
        }
    }

    /// Do instances share the host's network and its processes?
    pub fn is_shared(self) -> bool {
        self != Self::Namespaces
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Isolation {
    type Err = UnknownIsolation;

    fn from_str(text: &str) -> Result<Self, UnknownIsolation> {
        Self::ALL.into_iter().find(|one| one.word() == text).ok_or(UnknownIsolation)
    }
}
