//! The thin layer over the kernel: does what it is told, decides nothing.

pub(crate) mod cgroups;
pub(crate) mod devices;
pub(crate) mod landlock;
pub(crate) mod locks;
pub(crate) mod mounts;
pub(crate) mod paths;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod removal;
pub(crate) mod secrets;
pub(crate) mod succession;
pub(crate) mod tree;
pub(crate) mod users;
pub(crate) mod volumes;
