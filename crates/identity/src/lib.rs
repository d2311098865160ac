//! Who calls: the [`Principal`](updraft_model::iam::Principal) of a request, from its headers.
//!
//! [`Authenticator`] is the entry. What the principal may do is decided elsewhere. [`Tls`] is how the server shows
//! who *it* is.

mod authenticator;
mod bind;
mod error;
mod origin;
mod tls;
mod token;

pub use authenticator::{AuthMode, Authenticator, UnknownAuthMode};
pub use bind::{OpenBind, check_bind};
pub use error::IdentityError;
pub use tls::{Certificate, Tls, TlsError, names as certificate_names};
pub use token::{read_token, token_path};
