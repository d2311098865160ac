//! What can go wrong with the network.

use std::{io, net::SocketAddr, path::PathBuf};

use super::{netlink::NetlinkError, subnet::Subnet};

/// Why the network could not do what it was told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetError {
    /// The kernel refused a request.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A socket, a thread or a namespace could not be had.
    #[error("cannot {operation}")]
    Host {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file, most often a kernel setting, could not be read or written.
    #[error("cannot {operation} '{}'", .path.display())]
    File {
        /// Read, write or remove.
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Every private range overlaps with a route or an address of the host.
    #[error("no private range of addresses is free on this host; configure one")]
    NoSubnet,
    /// The configured range overlaps with a route or an address of the host.
    #[error("the configured range {subnet} overlaps with {other}, which this host uses")]
    SubnetTaken {
        /// The configured range.
        subnet: Subnet,
        /// What is in the way.
        other: Subnet,
    },
    /// The network of a dead server, which instances live in, is not as that server left it.
    #[error("the network of the instances that live on is not there any more")]
    NotKept,
    /// As many instances as there are addresses.
    #[error("all addresses of {subnet} are in use")]
    AddressesUsedUp {
        /// The range.
        subnet: Subnet,
    },
    /// The tag cannot be part of a link's name.
    #[error("network tag must be 1 to 6 lowercase letters or digits, got '{tag}'")]
    Tag {
        /// The tag.
        tag: String,
    },
    /// The DNS forwarder has no place to listen.
    #[error("cannot answer dns queries on {address}")]
    Dns {
        /// Where it should listen.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The network was stopped.
    #[error("the network of instances has been stopped")]
    Stopped,
}

// === impl NetError ===

impl NetError {
    /// For `map_err`: the operation that failed.
    pub(super) fn host(operation: &'static str) -> impl Fn(rustix::io::Errno) -> Self {
        move |error| Self::Host { operation, source: error.into() }
    }

    /// For `map_err`: the same of the standard library's errors.
    pub(super) fn io(operation: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Host { operation, source }
    }

    /// For `map_err`: the file.
    pub(super) fn file(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { operation, path, source }
    }
}
