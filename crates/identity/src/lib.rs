//! Who calls: the [`Principal`](updraft_model::iam::Principal) of a request, from its headers.
//!
//! [`Authenticator`] is the entry. What the principal may do is decided elsewhere.

mod authenticator;
mod bind;
mod error;
mod origin;
mod token;

pub use authenticator::{AuthMode, Authenticator, UnknownAuthMode};
pub use bind::{OpenBind, check_bind};
pub use error::IdentityError;
pub use token::{read_token, token_path};
