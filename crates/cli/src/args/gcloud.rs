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
