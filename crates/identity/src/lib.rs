//! Who calls: the [`Principal`](updraft_model::iam::Principal) of a request, from its headers.
//!
//! [`Authenticator`] is the entry. What the principal may do is decided elsewhere. [`Tokens`] makes and checks the tokens
//! of this installation, [`Issuer`] and [`oidc`] check those of issuers elsewhere, [`account_key`] makes keys that service
//! accounts prove themselves with. [`Tls`] is how the server shows who *it* is. [`Sealing`] keeps values of secrets
//! unreadable for who has only the data.

pub mod account_key;
mod authenticator;
mod bind;
mod durable;
mod error;
mod issuer;
mod jwt;
pub mod key;
pub mod oidc;
mod origin;
mod sealing;
mod tls;
mod token;
mod tokens;

pub use authenticator::{AuthMode, Authenticated, Authenticator, Entrance, Purpose, UnknownAuthMode};
pub use bind::{OpenBind, check_bind};
pub use error::IdentityError;
pub use issuer::Issuer;
pub use jwt::{CLOCK_SKEW, TOKEN_MAX, TokenError};
pub use sealing::{KeySource, Sealing, SealingError, UnknownKeySource};
pub use tls::{Certificate, Tls, TlsError, names as certificate_names};
pub use token::{read_token, token_path};
pub use tokens::{
    API_HOSTS, Asserter, Assertion, CLOUD_PLATFORM, EmailClaim, GOOGLE_AUDIENCES, KEYS_MAX_AGE, LIFETIME, LIFETIME_MAX,
    Minted, PartyClaim, Signed, SystemKey, Tokens, Verified,
};
