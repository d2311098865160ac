//! What may be reached, decided purely: [`allowed`] for one address, [`decide`] for all that a name leads to.

use std::{fmt, net::IpAddr, str::FromStr};

use crate::{
    kind::{self, Kind},
    origin::Origin,
};

/// The setting that widens a [`Policy`]; every refusal that it could change names it.
pub const SETTING: &str = "outbound-allow";

/// What may be reached beside public addresses. By default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Any of them is enough.
    pub allow: Vec<Allow>,
    /// Ports of this machine that are never reached, whatever is allowed: those of the server itself, where who comes from
    /// this machine may be taken for its owner.
    pub shut: Vec<u16>,
}

/// One thing that may be reached: `loopback`, `private`, `10.0.0.0/8`, `10.0.0.5:5000`, `registry.lan`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    what: What,
    /// `None` is any.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// This machine, by whichever of its addresses.
    Loopback,
    /// [`Kind::Private`].
    Private,
    /// An address and how many bits of it count.
    Network(IpAddr, u32),
    /// A host, in lower case, wherever in loopback or private networks its name leads.
    Name(String),
}

/// A text that is no [`Allow`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{text}' {rule}")]
pub struct NotAllow {
    text: String,
    rule: &'static str,
}

/// An address that somebody wants to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// The host as it was written; of an address, that.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// Where the host leads.
    pub address: IpAddr,
    /// Does this machine have that address?
    pub is_own: bool,
}

/// On which side of the line between the internet and our own networks somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// On the internet.
    Public,
    /// In a network that the policy names.
    Private,
    /// One name leads to both: trusted like the one, guarded like the other.
    Both,
}

/// Who answered, or will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub(crate) origin: Origin,
    pub(crate) side: Side,
}

/// Why something is not reached. Nothing has been sent.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The address is of a kind that is not reached unless the operator says so.
    #[error(
        "'{host}' {verb} {kind}, which is reached for users only if the server's setting {SETTING} names it, such as \
         by '{example}'"
    )]
    NotAllowed {
        /// The host.
        host: String,
        /// What its address is for.
        kind: Kind,
        /// `is` or `leads to`.
        verb: &'static str,
        /// What to write into the setting.
        example: String,
    },
    /// The address is of a kind that is never reached.
    #[error("'{host}' {verb} {kind}, which is never reached for users")]
    Never {
        /// The host.
        host: String,
        /// What its address is for.
        kind: Kind,
        /// `is` or `leads to`.
        verb: &'static str,
    },
    /// Somebody on the internet sent us into our own networks.
    #[error("{from} sent the server on to '{host}', which {verb} {kind}; nobody on the internet may do that")]
    Crossed {
        /// Who sent us.
        from: String,
        /// Where to.
        host: String,
        /// What its address is for.
        kind: Kind,
        /// `is` or `leads to`.
        verb: &'static str,
    },
    /// Somebody reached by https sent us on to http.
    #[error("{from} sent the server on to {to}, which is not reached by https")]
    Downgraded {
        /// Who sent us.
        from: String,
        /// Where to.
        to: String,
    },
    /// Plain http on the internet.
    #[error("{0} is on the internet and not reached by https")]
    InTheClear(String),
    /// Not the web.
    #[error("'{0}:' is neither https nor http")]
    Scheme(String),
    /// A user name in the URL would be sent as credentials.
    #[error("the URL for {0} has a user name in it")]
    UserInfo(String),
    /// Not a URL, or one without a host.
    #[error("'{0}' is not a URL")]
    NotUrl(String),
}

/// May `target` be reached? On which side it is, if it may.
///
/// # Errors
/// [`Refusal::NotAllowed`], [`Refusal::Never`].
pub fn allowed(target: &Target<'_>, policy: &Policy) -> Result<Side, Refusal> {
    let kind = target.kind();
    let host = target.host.to_owned();
    let is_allowed = policy.allow.iter().any(|allow| allow.covers(target, kind));
    match kind {
        Kind::Loopback if policy.shut.contains(&target.port) => Err(Refusal::Never { host, kind, verb: target.verb() }),
        Kind::Public => Ok(Side::Public),
        // Nobody in particular is there.
        Kind::Unspecified | Kind::Multicast | Kind::Broadcast => {
            Err(Refusal::Never { host, kind, verb: target.verb() })
        }
        _ if is_allowed => Ok(Side::Private),
        _ => Err(Refusal::NotAllowed { host, kind, verb: target.verb(), example: target.example(kind) }),
    }
}

/// May `origin` be asked, which leads to `found` (each with whether this machine has that address)? `sent_by` is who
/// told us to, if that was no user of ours. One address that may not be reached is enough to refuse all.
pub(crate) fn decide(
    origin: &Origin,
    found: &[(IpAddr, bool)],
    sent_by: Option<&Peer>,
    policy: &Policy,
) -> Result<Side, Refusal> {
    not_downgraded(origin, sent_by)?;
    let mut side = None;
    for &(address, is_own) in found {
        let target = Target { host: origin.bare_host(), port: origin.port, address, is_own };
        let kind = target.kind();
        // First: no setting changes this one.
        if let Some(peer) = sent_by.filter(|peer| peer.side != Side::Private && kind != Kind::Public) {
            let (from, host) = (peer.origin.to_string(), target.host.to_owned());
            return Err(Refusal::Crossed { from, host, kind, verb: target.verb() });
        }
        let here = allowed(&target, policy)?;
        side = Some(side.map_or(here, |before| if before == here { here } else { Side::Both }));
    }
    let side = side.unwrap_or(Side::Public);
    in_the_clear(origin, side)?;
    Ok(side)
}

/// As [`decide`], of a name that a proxy will look up: on the internet, as far as we know.
pub(crate) fn decide_unseen(origin: &Origin, sent_by: Option<&Peer>) -> Result<Side, Refusal> {
    not_downgraded(origin, sent_by)?;
    in_the_clear(origin, Side::Public)?;
    Ok(Side::Public)
}

fn not_downgraded(origin: &Origin, sent_by: Option<&Peer>) -> Result<(), Refusal> {
    match sent_by {
        Some(peer) if peer.origin.is_secure && !origin.is_secure => {
            Err(Refusal::Downgraded { from: peer.origin.to_string(), to: origin.to_string() })
        }
        _ => Ok(()),
    }
}

fn in_the_clear(origin: &Origin, side: Side) -> Result<(), Refusal> {
    if origin.is_secure || side == Side::Private { Ok(()) } else { Err(Refusal::InTheClear(origin.to_string())) }
}

// === impl Policy ===

impl Policy {
    /// Does it speak of the host `name` itself, at `port`?
    pub(crate) fn names(&self, name: &str, port: u16) -> bool {
        self.allow
            .iter()
            .any(|allow| allow.fits_port(port) && matches!(&allow.what, What::Name(known) if known == name))
    }
}

// === impl Target ===

impl Target<'_> {
    fn kind(&self) -> Kind {
        match Kind::of(self.address) {
            // What listens on all addresses of this machine is behind its firewall for others, and not for itself.
            Kind::Public | Kind::Private if self.is_own => Kind::Loopback,
            kind => kind,
        }
    }

    fn is_literal(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }

    fn verb(&self) -> &'static str {
        if self.is_literal() { "is" } else { "leads to" }
    }

    /// What would allow it and as little else as possible.
    fn example(&self, kind: Kind) -> String {
        let Self { host, port, address, .. } = self;
        match kind {
            // Where a name leads is not told to who cannot see it; and a name is not enough for these.
            Kind::Loopback | Kind::Private if !self.is_literal() => format!("{host}:{port}"),
            Kind::Loopback | Kind::Private if address.is_ipv6() => format!("[{host}]:{port}"),
            Kind::Loopback | Kind::Private => format!("{host}:{port}"),
            _ if self.is_literal() => (*host).to_owned(),
            _ => "its address".to_owned(),
        }
    }
}

// === impl Allow ===

impl Allow {
    /// This machine, by whichever of its addresses.
    pub fn loopback() -> Self {
        Self { what: What::Loopback, port: None }
    }

    /// Private networks.
    pub fn private() -> Self {
        Self { what: What::Private, port: None }
    }

    fn fits_port(&self, port: u16) -> bool {
        self.port.is_none_or(|only| only == port)
    }

    fn covers(&self, target: &Target<'_>, kind: Kind) -> bool {
        let fits = match &self.what {
            What::Loopback => kind == Kind::Loopback,
            What::Private => kind == Kind::Private,
            What::Name(name) => matches!(kind, Kind::Loopback | Kind::Private) && target.host == name,
            What::Network(network, length) => {
                let is_whole = *length == if network.is_ipv4() { 32 } else { 128 };
                // Somebody who allows a large network has not thought of the credentials in it.
                kind::holds(*network, *length, kind::plain(target.address)) && (is_whole || kind != Kind::Metadata)
            }
        };
        fits && self.fits_port(target.port)
    }
}

impl FromStr for Allow {
    type Err = NotAllow;

    fn from_str(text: &str) -> Result<Self, NotAllow> {
        let refuse = |rule| NotAllow { text: text.to_owned(), rule };
        let text = text.to_ascii_lowercase();
        match text.as_str() {
            "loopback" => return Ok(Self::loopback()),
            "private" => return Ok(Self::private()),
            _ => {}
        }
        if let Some((address, length)) = text.split_once('/') {
            return network(address, length).map(|what| Self { what, port: None }).map_err(refuse);
        }
        let is_bare = text.parse::<IpAddr>().is_ok();
        let (host, port) = match text.rsplit_once(':').filter(|_| !is_bare) {
            Some((host, port)) => {
                let port = port.parse().ok().filter(|&port: &u16| port > 0);
                (host, Some(port.ok_or_else(|| refuse("does not end in a port"))?))
            }
            None => (text.as_str(), None),
        };
        let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let what = match inside.unwrap_or(host).parse::<IpAddr>() {
            Ok(address) => {
                let address = kind::plain(address);
                What::Network(address, if address.is_ipv4() { 32 } else { 128 })
            }
            Err(_) if inside.is_none() && is_name(host) => What::Name(host.to_owned()),
            Err(_) => return Err(refuse("is neither a host name, an address nor a network")),
        };
        Ok(Self { what, port })
    }
}

fn network(address: &str, length: &str) -> Result<What, &'static str> {
    let address: IpAddr = address.parse().map_err(|_| "does not begin with an address")?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length: u32 = length.parse().ok().filter(|&length| length <= most).ok_or("does not end in a prefix length")?;
    let is_first = match address {
        IpAddr::V4(address) => u32::from(address).checked_shl(length).unwrap_or(0) == 0,
        IpAddr::V6(address) => u128::from(address).checked_shl(length).unwrap_or(0) == 0,
    };
    if is_first { Ok(What::Network(address, length)) } else { Err("is not the first address of that network") }
}

fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        let is_letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(is_letter)
    };
    // One that ends in a number is an address in another spelling, and never what a URL has for a name.
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= 253 && host.split('.').all(is_label) && !last.starts_with(|c: char| c.is_ascii_digit())
}

// === impl Peer ===

impl Peer {
    /// Was it reached by https?
    pub fn is_secure(&self) -> bool {
        self.origin.is_secure
    }

    /// On which side of the line it is.
    pub fn side(&self) -> Side {
        self.side
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin.fmt(f)
    }
}

#[cfg(test)]
mod tests;
