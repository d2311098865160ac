//! What a sandbox looks like: decisions as plain data, tested as text. Nothing here touches the host.

pub(crate) mod bundle;
pub(crate) mod capabilities;
pub(crate) mod cgroups;
pub(crate) mod devices;
pub(crate) mod entrypoint;
pub(crate) mod isolation;
pub(crate) mod mounts;
pub(crate) mod process;
pub(crate) mod seccomp;
pub(crate) mod step;
pub(crate) mod user;
pub(crate) mod users;
