//! Credentials of a client.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Verbs about credentials.
#[derive(Debug, Clone, Subcommand)]
pub enum AuthCommand {
    /// Keep credentials for the endpoint: the key file of a service account, or the token that --token, --token-file or
    /// UPDRAFT_TOKEN gives. Later commands to the same endpoint use them.
    Login(LoginArgs),
    /// Forget the credentials that are kept for the endpoint.
    Logout,
    /// Print an ID token of a service account, for services that only members may call.
    PrintIdentityToken(IdentityTokenArgs),
}

/// Flags of `auth login`.
#[derive(Debug, Clone, Args)]
pub struct LoginArgs {
    /// The key file of a service account, as `serviceAccounts.keys.create` gives it.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

/// Flags of `auth print-identity-token`.
#[derive(Debug, Clone, Args)]
pub struct IdentityTokenArgs {
    /// Whom the token is for, such as the URL of a service.
    #[arg(long, value_name = "AUDIENCE", required = true)]
    pub audiences: String,
    /// Act as this service account, which takes the right to; otherwise the key file of the login is used.
    #[arg(long, value_name = "EMAIL")]
    pub impersonate_service_account: Option<String>,
}
