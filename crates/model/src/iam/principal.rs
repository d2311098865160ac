//! Who makes a call.

use std::fmt;

/// Who makes a call. Every call of every API carries one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Anybody on this machine, with `--auth none`: the owner of everything.
    Local,
    /// The holder of the admin token, with `--auth token`: the owner of everything.
    AdminToken,
    /// A part of the platform acting for itself, such as `control`.
    System(&'static str),
    /// A service account, shown by a token of its own.
    ServiceAccount(Account),
    /// A person, vouched for by an identity provider.
    User(User),
    /// Nobody in particular: no credentials were shown.
    Anonymous,
}

/// A service account that calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Account {
    /// Its address, by which policies name it.
    pub email: String,
    /// Its number, which no later account of the same address has.
    pub unique_id: String,
    /// The id of its project.
    pub project: String,
}

/// A person who calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct User {
    /// The address, verified by the issuer.
    pub email: String,
    /// Who vouches for it: the issuer of the token.
    pub issuer: String,
    /// The groups that the issuer's claim names, as policies name them after `group:`.
    pub groups: Vec<String>,
    /// The domain that the issuer says it hosts this account for (`hd`). The part of the address after the `@` proves
    /// nothing of the kind.
    pub domain: Option<String>,
}

// === impl Principal ===

impl Principal {
    /// The e-mail that `creator` and `lastModifier` show.
    pub fn email(&self) -> String {
        match self {
            Self::Local => "local@updraft.local".to_owned(),
            Self::AdminToken => "admin@updraft.local".to_owned(),
            Self::System(part) => format!("{part}@system.updraft.local"),
            Self::ServiceAccount(account) => account.email.clone(),
            Self::User(user) => user.email.clone(),
            Self::Anonymous => "anonymous".to_owned(),
        }
    }

    /// Does it own the machine, so that no policy is asked? Who can reach the loopback port of a server without
    /// authentication, or holds its admin token, could take everything in other ways as well.
    pub fn is_owner_of_everything(&self) -> bool {
        match self {
            Self::Local | Self::AdminToken | Self::System(_) => true,
            Self::ServiceAccount(_) | Self::User(_) | Self::Anonymous => false,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.email())
    }
}
