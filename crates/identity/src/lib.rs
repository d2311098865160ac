//! Who calls: the [`Principal`](updraft_model::iam::Principal) of a request, from its headers.
//!
//! [`Authenticator`] is the entry. What the principal may do is decided elsewhere. [`Tls`] is how the server shows
//! who *it* is. [`Sealing`] keeps values of secrets unreadable for who has only the data.

mod authenticator;
mod bind;
mod durable;
mod error;
mod origin;
mod sealing;
mod tls;
mod token;

pub use authenticator::{AuthMode, Authenticator, UnknownAuthMode};
pub use bind::{OpenBind, check_bind};
pub use error::IdentityError;
pub use sealing::{KeySource, Sealing, SealingError, UnknownKeySource};
pub use tls::{Certificate, Tls, TlsError, names as certificate_names};
pub use token::{read_token, token_path};
