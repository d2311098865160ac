//! Which addresses may be listened on without a token.

use std::net::SocketAddr;

use crate::AuthMode;

/// Refused: everybody who reaches the address could do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("refusing to listen on {address} without authentication: whoever reaches it could run anything here")]
pub struct OpenBind {
    /// The address.
    pub address: SocketAddr,
}

/// May a server with this mode listen on `address`? With [`AuthMode::None`] only on loopback.
///
/// # Errors
/// [`OpenBind`] when not.
pub fn check_bind(mode: AuthMode, address: SocketAddr) -> Result<(), OpenBind> {
    match mode {
        // `::ffff:127.0.0.1` listens on the loopback of IPv4.
        AuthMode::None if !address.ip().to_canonical().is_loopback() => Err(OpenBind { address }),
        AuthMode::None | AuthMode::Token => Ok(()),
    }
}

// === impl OpenBind ===

impl OpenBind {
    /// What to do about it.
    pub fn hint(&self) -> String {
        format!("use '--auth token', or listen on 127.0.0.1:{}", self.address.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_token_only_loopback_may_be_listened_on() {
        for (address, loopback) in [
            ("127.0.0.1:8080", true),
            ("127.8.8.8:0", true),
            ("[::1]:8080", true),
            ("[::ffff:127.0.0.1]:8080", true),
            ("0.0.0.0:8080", false),
            ("[::]:8080", false),
            ("192.168.1.2:8080", false),
            ("[::ffff:192.168.1.2]:8080", false),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(check_bind(AuthMode::None, address).is_ok(), loopback, "{address}");
            assert!(check_bind(AuthMode::Token, address).is_ok(), "{address}");
        }
    }

    #[test]
    fn the_refusal_says_what_to_do() {
        let refused = check_bind(AuthMode::None, ([0, 0, 0, 0], 8080).into()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "refusing to listen on 0.0.0.0:8080 without authentication: whoever reaches it could run anything here"
        );
        assert_eq!(refused.hint(), "use '--auth token', or listen on 127.0.0.1:8080");
    }
}
