//! What an address is for: the registries of special addresses (RFC 6890 and those after it) as tables.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Somebody on the internet.
    Public,
    /// This machine itself.
    Loopback,
    /// A private network: RFC 1918, shared by a carrier (RFC 6598), unique local.
    Private,
    /// Whoever is on the same wire.
    LinkLocal,
    /// Where clouds hand machines their credentials.
    Metadata,
    /// No address, or "this network".
    Unspecified,
    /// Many at once.
    Multicast,
    /// All at once.
    Broadcast,
    /// For examples in texts.
    Documentation,
    /// Not given out, for tests of networks, or a tunnel that hides where it leads.
    Reserved,
}

use Kind::{
    Broadcast, Documentation, LinkLocal, Loopback, Metadata, Multicast, Private, Public, Reserved, Unspecified,
};

/// The first row that fits counts, so what is particular comes first.
const V4: &[(Ipv4Addr, u32, Kind)] = &[
    // AWS, Google, Azure, OpenStack and most others; credentials of ECS tasks and EKS pods.
    (Ipv4Addr::new(169, 254, 169, 254), 32, Metadata),
    (Ipv4Addr::new(169, 254, 170, 2), 32, Metadata),
    (Ipv4Addr::new(169, 254, 170, 23), 32, Metadata),
    // Scaleway; Azure's host, which is in public space; Alibaba's, which is in shared space; Oracle's old one.
    (Ipv4Addr::new(169, 254, 42, 42), 32, Metadata),
    (Ipv4Addr::new(168, 63, 129, 16), 32, Metadata),
    (Ipv4Addr::new(100, 100, 100, 200), 32, Metadata),
    (Ipv4Addr::new(192, 0, 0, 192), 32, Metadata),
    (Ipv4Addr::new(0, 0, 0, 0), 8, Unspecified),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Private),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, LinkLocal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Reserved),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Documentation),
    // Relays of 6to4, which nobody runs any more (RFC 7526).
    (Ipv4Addr::new(192, 88, 99, 0), 24, Reserved),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Private),
    // Benchmarks of networks (RFC 2544).
    (Ipv4Addr::new(198, 18, 0, 0), 15, Reserved),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Documentation),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Documentation),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Multicast),
    (Ipv4Addr::new(255, 255, 255, 255), 32, Broadcast),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Reserved),
    (Ipv4Addr::new(0, 0, 0, 0), 0, Public),
];

const V6: &[(Ipv6Addr, u32, Kind)] = &[
    // AWS and its pods, Google, Scaleway.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, Metadata),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23), 128, Metadata),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, Metadata),
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128, Metadata),
    (Ipv6Addr::LOCALHOST, 128, Loopback),
    (Ipv6Addr::UNSPECIFIED, 128, Unspecified),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Private),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, LinkLocal),
    // Site local, the predecessor of unique local (RFC 3879).
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Private),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Multicast),
    // Protocols: Teredo, which hides an IPv4 address, benchmarks, identifiers that are no places.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Reserved),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Documentation),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Documentation),
    // All that is given out to anybody (RFC 4291). What is elsewhere is discarded, translated or nothing.
    (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3, Public),
    (Ipv6Addr::UNSPECIFIED, 0, Reserved),
];

// === impl Kind ===

impl Kind {
    /// What `address` is for; of one that carries an IPv4 address, what that is for.
    pub fn of(address: IpAddr) -> Self {
        match plain(address) {
            IpAddr::V4(address) => {
                let fits = |network: Ipv4Addr, length| same_head(network.into(), address.into(), length);
                V4.iter().find(|row| fits(row.0, row.1)).map_or(Reserved, |row| row.2)
            }
            IpAddr::V6(address) => {
                let fits = |network: Ipv6Addr, length| same_head_long(network.into(), address.into(), length);
                V6.iter().find(|row| fits(row.0, row.1)).map_or(Reserved, |row| row.2)
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "a public address",
            Self::Loopback => "an address of the server itself",
            Self::Private => "an address of a private network",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "an address where clouds keep credentials",
            Self::Unspecified => "an unspecified address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "a broadcast address",
            Self::Documentation => "an address for documentation",
            Self::Reserved => "a reserved address",
        })
    }
}

/// The address that is meant: IPv4 in IPv6 (RFC 4291), in NAT64 (RFC 6052) and in 6to4 (RFC 3056) is IPv4.
pub(crate) fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(long) = address else { return address };
    let [a, b, c, d, e, f, g, h] = long.segments();
    let joined = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)).into();
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => joined(g, h),
        [0x2002, ..] => joined(b, c),
        _ => address,
    }
}

/// Does `network` of `length` bits hold `address`?
pub(crate) fn holds(network: IpAddr, length: u32, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => same_head(network.into(), address.into(), length),
        (IpAddr::V6(network), IpAddr::V6(address)) => same_head_long(network.into(), address.into(), length),
        _ => false,
    }
}

fn same_head(a: u32, b: u32, length: u32) -> bool {
    (a ^ b).checked_shr(32 - length).unwrap_or(0) == 0
}

fn same_head_long(a: u128, b: u128, length: u32) -> bool {
    (a ^ b).checked_shr(128 - length).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last of each network, what is beside it, and the forms that carry another address.
    const SPECIAL: &[(&str, Kind)] = &[
        ("1.1.1.1", Public),
        ("8.8.8.8", Public),
        ("9.255.255.255", Public),
        ("11.0.0.0", Public),
        ("100.63.255.255", Public),
        ("100.128.0.0", Public),
        ("126.255.255.255", Public),
        ("128.0.0.0", Public),
        ("168.63.129.15", Public),
        ("169.253.255.255", Public),
        ("172.15.255.255", Public),
        ("172.32.0.0", Public),
        ("192.0.1.0", Public),
        ("192.167.255.255", Public),
        ("192.169.0.0", Public),
        ("198.17.255.255", Public),
        ("198.20.0.0", Public),
        ("223.255.255.255", Public),
        ("2606:4700:4700::1111", Public),
        ("2a00:1450::1", Public),
        ("127.0.0.1", Loopback),
        ("127.255.255.254", Loopback),
        ("::1", Loopback),
        ("::ffff:127.0.0.1", Loopback),
        ("::ffff:7f00:1", Loopback),
        ("64:ff9b::127.0.0.1", Loopback),
        ("2002:7f00:1::", Loopback),
        ("2002:7f00:1:ffff::1", Loopback),
        ("10.0.0.0", Private),
        ("10.255.255.255", Private),
        ("172.16.0.1", Private),
        ("172.31.255.255", Private),
        ("192.168.1.5", Private),
        ("100.64.0.1", Private),
        ("100.127.255.255", Private),
        ("fc00::1", Private),
        ("fdff:ffff::1", Private),
        ("fec0::1", Private),
        ("::ffff:10.1.2.3", Private),
        ("64:ff9b::a01:203", Private),
        ("2002:c0a8:101::1", Private),
        ("169.254.0.1", LinkLocal),
        ("fe80::1", LinkLocal),
        ("febf::1", LinkLocal),
        ("169.254.169.254", Metadata),
        ("::ffff:169.254.169.254", Metadata),
        ("64:ff9b::169.254.169.254", Metadata),
        ("2002:a9fe:a9fe::1", Metadata),
        ("169.254.170.2", Metadata),
        ("168.63.129.16", Metadata),
        ("100.100.100.200", Metadata),
        ("192.0.0.192", Metadata),
        ("fd00:ec2::254", Metadata),
        ("fd00:ec2::23", Metadata),
        ("fd20:ce::254", Metadata),
        ("0.0.0.0", Unspecified),
        ("0.1.2.3", Unspecified),
        ("::", Unspecified),
        ("::ffff:0.0.0.0", Unspecified),
        ("224.0.0.1", Multicast),
        ("239.255.255.255", Multicast),
        ("ff02::1", Multicast),
        ("255.255.255.255", Broadcast),
        ("192.0.2.1", Documentation),
        ("198.51.100.7", Documentation),
        ("203.0.113.9", Documentation),
        ("2001:db8::1", Documentation),
        ("3fff:fff::1", Documentation),
        ("192.0.0.1", Reserved),
        ("192.88.99.1", Reserved),
        ("198.18.0.1", Reserved),
        ("198.19.255.255", Reserved),
        ("240.0.0.1", Reserved),
        ("255.255.255.254", Reserved),
        // IPv4-compatible, translated, local NAT64, discarded, Teredo, ORCHID, segments, unassigned.
        ("::127.0.0.1", Reserved),
        ("::ffff:0:127.0.0.1", Reserved),
        ("64:ff9b:1::7f00:1", Reserved),
        ("100::1", Reserved),
        ("2001:0:7f00:1::1", Reserved),
        ("2001:20::1", Reserved),
        ("5f00::1", Reserved),
        ("4000::1", Reserved),
        ("fe00::1", Reserved),
    ];

    #[test]
    fn every_special_address_is_known_for_what_it_is() {
        for &(text, kind) in SPECIAL {
            assert_eq!(Kind::of(text.parse().expect(text)), kind, "{text}");
        }
    }

    #[test]
    fn a_network_holds_its_first_and_its_last_address_and_none_beside() {
        let holds = |network: &str, length, address: &str| {
            holds(network.parse().expect(network), length, address.parse().expect(address))
        };
        assert!(holds("10.0.0.0", 8, "10.255.255.255") && !holds("10.0.0.0", 8, "11.0.0.0"));
        assert!(holds("10.0.0.1", 32, "10.0.0.1") && !holds("10.0.0.1", 32, "10.0.0.0"));
        assert!(holds("0.0.0.0", 0, "255.255.255.255") && !holds("0.0.0.0", 0, "::1"));
        assert!(holds("fd00::", 8, "fdff::1") && !holds("fd00::", 8, "fe00::"));
        assert!(holds("::", 0, "ffff::") && holds("::1", 128, "::1") && !holds("::1", 128, "::2"));
    }
}
