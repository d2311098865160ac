//! Projects as those who give roles, and service accounts with their keys.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::policy::PolicyCommand;

/// Verbs on projects.
#[derive(Debug, Clone, Subcommand)]
pub enum ProjectsCommand {
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    Policy(PolicyCommand),
}

/// Verbs of IAM.
#[derive(Debug, Clone, Subcommand)]
pub enum IamCommand {
    /// Create, list, describe, disable, enable and delete service accounts, and say who may use them.
    #[command(subcommand, visible_alias = "service-account")]
    ServiceAccounts(ServiceAccountsCommand),
}

/// Verbs on service accounts.
#[derive(Debug, Clone, Subcommand)]
pub enum ServiceAccountsCommand {
    /// Create a service account.
    Create(CreateAccountArgs),
    /// List the service accounts of the project.
    List,
    /// Show a service account.
    Describe(AccountArgs),
    /// Delete a service account with its keys. What was granted to it stays without effect.
    Delete(AccountArgs),
    /// Keep a service account from being used: its tokens end with their next use.
    Disable(AccountArgs),
    /// Let a service account be used again.
    Enable(AccountArgs),
    /// Create, list, disable, enable and delete keys of a service account.
    #[command(subcommand)]
    Keys(KeysCommand),
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    Policy(PolicyCommand),
}

/// Flags of `iam service-accounts create`.
#[derive(Debug, Clone, Args)]
pub struct CreateAccountArgs {
    /// What its address begins with.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What people call it.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub display_name: String,
    /// What it is for.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub description: String,
}

/// A service account.
#[derive(Debug, Clone, Args)]
pub struct AccountArgs {
    /// Its address.
    #[arg(value_name = "EMAIL")]
    pub email: String,
}

/// Verbs on keys of service accounts.
#[derive(Debug, Clone, Subcommand)]
pub enum KeysCommand {
    /// Create a key and write its file, for its owner alone. The server keeps no copy.
    Create {
        /// Where to; `-` is standard output. A file that is there is not touched.
        #[arg(value_name = "OUTPUT-FILE")]
        file: PathBuf,
        /// The service account.
        #[arg(long, value_name = "EMAIL")]
        iam_account: String,
    },
    /// List keys.
    List {
        /// The service account.
        #[arg(long, value_name = "EMAIL")]
        iam_account: String,
        /// Only keys that these manage.
        #[arg(long, value_enum, value_name = "WHO", default_value = "any")]
        managed_by: ManagedBy,
    },
    /// Delete a key.
    Delete(KeyArgs),
    /// Keep a key from being used.
    Disable(KeyArgs),
    /// Let a key be used again.
    Enable(KeyArgs),
}

/// A key.
#[derive(Debug, Clone, Args)]
pub struct KeyArgs {
    /// Its id.
    #[arg(value_name = "KEY-ID")]
    pub key: String,
    /// The service account.
    #[arg(long, value_name = "EMAIL")]
    pub iam_account: String,
}

/// Who manages a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ManagedBy {
    /// Who holds it.
    User,
    /// The server.
    System,
    /// Either.
    Any,
}
