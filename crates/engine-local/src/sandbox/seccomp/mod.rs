//! The system call filter of a container: what it may ask of the kernel, and the program that says so.
//!
//! At least as strict as Docker's default profile with the capabilities that we leave
//! (`sandbox::capabilities`).

mod names;
mod profile;
mod program;
mod rules;

pub(crate) use profile::profile;
pub(crate) use program::{Instruction, assemble};
pub(crate) use rules::rules;

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes through.
    Allow,
    /// It fails with this error number.
    Refuse(u16),
    /// It goes through if none of these bits is set in its first argument, else it fails with `EPERM`.
    UnlessBits(u32),
    /// It goes through if its first argument is one of these values, else it fails with `EPERM`.
    OnlyValues(&'static [u32]),
    /// `socket`: only these families, and never the netlink protocol of the audit system.
    Families(&'static [u32]),
}

/// Consecutive system call numbers with the same verdict, from `first` up to the next rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The first number.
    pub(crate) first: u32,
    /// What happens.
    pub(crate) verdict: Verdict,
}
