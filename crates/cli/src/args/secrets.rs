//! Secrets and their versions. A value is never a word of the command line, which others on the machine can see.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::policy::PolicyCommand;
use crate::values::{List, Pairs};

/// Flags of `secrets`.
#[derive(Debug, Clone, Args)]
pub struct SecretsArgs {
    /// Of this region, instead of none.
    #[arg(long, global = true, value_name = "LOCATION")]
    pub location: Option<String>,
    #[expect(missing_docs, reason = "a doc comment on a subcommand would become its help")]
    #[command(subcommand)]
    pub command: SecretsCommand,
}

/// Verbs on secrets.
#[derive(Debug, Clone, Subcommand)]
pub enum SecretsCommand {
    /// Create a secret, with a first version if a file with its value is given.
    Create(Box<CreateSecretArgs>),
    /// List secrets.
    List(ListSecretsArgs),
    /// Show a secret, without its values.
    Describe {
        /// The secret.
        secret: String,
    },
    /// Delete a secret with all its versions.
    Delete {
        /// The secret.
        secret: String,
        /// Only if this is its current etag.
        #[arg(long, value_name = "ETAG")]
        etag: Option<String>,
    },
    /// Add, list, read, disable, enable and destroy versions of a secret.
    #[command(subcommand)]
    Versions(VersionsCommand),
    /// Make a new installation key and put it on every value, while the server runs.
    RotateKey,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    Policy(PolicyCommand),
}

/// Flags of `secrets create`.
#[derive(Debug, Clone, Args)]
pub struct CreateSecretArgs {
    /// The secret.
    #[arg(value_name = "SECRET")]
    pub secret: String,
    /// A file with the value of the first version; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub data_file: Option<PathBuf>,
    /// Where values are to be. Here it is only kept.
    #[arg(long, value_enum, value_name = "POLICY", default_value = "automatic")]
    pub replication_policy: ReplicationPolicy,
    /// The locations of a user-managed policy.
    #[arg(long, value_name = "LOCATION,…", required_if_eq("replication_policy", "user-managed"))]
    pub locations: Option<List>,
    /// With these labels.
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub labels: Vec<Pairs>,
    /// With these annotations.
    #[arg(long = "set-annotations", value_name = "KEY=VALUE,…")]
    pub annotations: Vec<Pairs>,
    /// It goes by itself after this time, such as 86400s.
    #[arg(long, value_name = "DURATION", conflicts_with = "expire_time")]
    pub ttl: Option<String>,
    /// It goes by itself at this time, such as 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub expire_time: Option<String>,
    /// How long a version that is destroyed is only disabled, such as 86400s.
    #[arg(long, value_name = "DURATION")]
    pub version_destroy_ttl: Option<String>,
}

/// Where values are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReplicationPolicy {
    /// Anywhere.
    Automatic,
    /// At the locations that are named.
    UserManaged,
}

/// Flags of lists.
#[derive(Debug, Clone, Args)]
pub struct ListSecretsArgs {
    /// Only those that this filter means, such as 'labels.env=prod' or 'state=ENABLED'.
    #[arg(long, value_name = "FILTER", default_value = "")]
    pub filter: String,
}

/// Verbs on versions.
#[derive(Debug, Clone, Subcommand)]
pub enum VersionsCommand {
    /// Add a version.
    Add {
        /// The secret.
        secret: String,
        /// A file with the value; `-` is standard input.
        #[arg(long, value_name = "FILE")]
        data_file: PathBuf,
    },
    /// List versions, without their values.
    List {
        /// The secret.
        secret: String,
        #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
        #[command(flatten)]
        list: ListSecretsArgs,
    },
    /// Print the value of a version, byte by byte.
    Access {
        /// The version: a number, an alias or 'latest'.
        version: String,
        /// The secret.
        #[arg(long, value_name = "SECRET")]
        secret: String,
        /// Into this file, for its owner alone, instead of standard output.
        #[arg(long, value_name = "FILE")]
        out_file: Option<PathBuf>,
    },
    /// Show a version, without its value.
    Describe(VersionArgs),
    /// Keep the value from being read.
    Disable(VersionArgs),
    /// Let the value be read again.
    Enable(VersionArgs),
    /// Destroy the value, for ever.
    Destroy(VersionArgs),
}

/// A version.
#[derive(Debug, Clone, Args)]
pub struct VersionArgs {
    /// The version's number.
    #[arg(value_name = "VERSION")]
    pub version: String,
    /// The secret.
    #[arg(long, value_name = "SECRET")]
    pub secret: String,
    /// Only if this is its current etag.
    #[arg(long, value_name = "ETAG")]
    pub etag: Option<String>,
}
