//! Pointing gcloud and the client libraries at a server.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Verbs about gcloud.
#[derive(Debug, Clone, Subcommand)]
pub enum GcloudCommand {
    /// Write a gcloud configuration named `updraft`, and say how to switch to it and back.
    Setup(SetupArgs),
}

/// Flags of `gcloud setup`.
#[derive(Debug, Clone, Args)]
pub struct SetupArgs {
    /// gcloud's configuration directory [default: $CLOUDSDK_CONFIG, else ~/.config/gcloud].
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// How gcloud proves who it is [default: account, if that is a key file that 'updraft auth login' keeps; else token].
    #[arg(long, value_enum, value_name = "AUTH")]
    pub auth: Option<SetupAuth>,
}

/// How gcloud proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SetupAuth {
    /// As this command does: by its token, which is put into a file, or not at all.
    Token,
    /// By the account that gcloud has active, such as a service account by its key file.
    Account,
}

/// Flags of `env`.
#[derive(Debug, Clone, Args)]
pub struct ExportsArgs {
    /// For which shell.
    #[arg(long, value_enum, value_name = "SHELL", default_value = "bash")]
    pub shell: ExportShell,
    /// Where the server's certificate authority and token are kept for those who read them from files
    /// [default: $XDG_CONFIG_HOME/updraft, else ~/.config/updraft].
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
}

/// A shell that can take variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportShell {
    /// bash, zsh and every other sh.
    Bash,
    /// fish.
    Fish,
}
