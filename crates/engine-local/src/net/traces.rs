//! What of a network is on the host, whoever made it. Reads only.

use std::path::Path;

use rustix::fd::BorrowedFd;

use super::{
    NetError,
    forwarding::Forwarding,
    link, link_prefix,
    netlink::{Socket, Subsystem},
    nft,
};

/// A link that may be one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TracedLink {
    /// Its name.
    pub(crate) name: String,
    /// Its number.
    pub(crate) index: u32,
    /// The namespace of the cable's other end, by its number here.
    pub(crate) peer: Option<i32>,
}

/// Reads the network of the calling thread's namespace.
#[derive(Debug)]
pub(crate) struct Reader {
    route: Socket,
    nft: Socket,
}

// === impl Reader ===

impl Reader {
    /// # Errors
    /// [`NetError`] when the kernel gives no sockets.
    pub(crate) fn open() -> Result<Self, NetError> {
        let open = |subsystem| Socket::open(subsystem).map_err(NetError::io("open a netlink socket"));
        Ok(Self { route: open(Subsystem::Route)?, nft: open(Subsystem::Netfilter)? })
    }

    /// Every link.
    ///
    /// # Errors
    /// [`NetError`], the kernel's.
    pub(crate) fn links(&mut self) -> Result<Vec<TracedLink>, NetError> {
        let links = link::links(&mut self.route)?;
        Ok(links.into_iter().map(|link| TracedLink { name: link.name, index: link.index, peer: link.peer }).collect())
    }

    /// The names of the nftables tables.
    ///
    /// # Errors
    /// [`NetError`], the kernel's; without the rights to ask, or without nftables.
    pub(crate) fn tables(&mut self) -> Result<Vec<String>, NetError> {
        Ok(nft::tables(&mut self.nft)?)
    }

    /// The number of a network namespace here, by which links speak of it; `None` when it has none.
    pub(crate) fn number(&mut self, namespace: BorrowedFd<'_>) -> Option<i32> {
        link::namespace_number(&mut self.route, namespace).ok().flatten()
    }
}

/// Links that forward because the engine with this tag switched that on, by its own record.
pub(crate) fn forwarding(run_dir: &Path, tag: &str) -> Vec<String> {
    Forwarding::recorded(run_dir, tag)
}

/// The tag in the name of a link, and whether the link is the gateway's (the others are cables of instances).
pub(crate) fn tag_of_link(name: &str) -> Option<(&str, Role)> {
    let (tag, rest) = name.strip_prefix("ud")?.split_once('-')?;
    debug_assert!(name.starts_with(&link_prefix(tag)), "the form is link_prefix's");
    let role = if matches!(rest, "gw" | "gp") { Role::Gateway } else { Role::Cable };
    Some((tag, role))
}

/// What a link of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Carries the gateway's address.
    Gateway,
    /// Leads to an instance.
    Cable,
}
