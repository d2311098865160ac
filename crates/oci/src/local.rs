//! Which registry names mean this machine.

use std::net::{SocketAddr, UdpSocket};

/// Is `registry` an address of this machine with `port`? Asked of the kernel each time: addresses come and go.
pub(crate) fn is_own_address(registry: &str, port: u16) -> bool {
    let Ok(address) = registry.parse::<SocketAddr>() else { return false };
    let ip = address.ip();
    // These can be listened on and belong to nobody.
    let is_nobodys = ip.is_unspecified() || ip.is_multicast() || ip.to_string() == "255.255.255.255";
    // Nothing is sent: only one's own addresses can be sent from.
    address.port() == port && !is_nobodys && UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_with_that_port_are_its_own() {
        for (registry, own) in [
            ("127.0.0.1:5000", true),
            ("127.9.9.9:5000", true),
            ("127.0.0.1:5001", false),
            ("0.0.0.0:5000", false),
            ("224.0.0.1:5000", false),
            ("255.255.255.255:5000", false),
            // Reserved for documentation (RFC 5737).
            ("192.0.2.1:5000", false),
            ("docker.io", false),
            ("example.com:5000", false),
        ] {
            assert_eq!(is_own_address(registry, 5000), own, "{registry}");
        }
    }
}
