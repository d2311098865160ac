//! Addresses: the range that instances get theirs from, and who has which.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    net::Ipv4Addr,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use super::NetError;

/// A range of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Subnet {
    base: Ipv4Addr,
    length: u8,
}

/// The addresses of a subnet: the first is the gateway's, the rest are lent out. What comes back
/// goes to the end of the queue, so an address rests as long as the others last: late packets and
/// connection tracking entries of its last owner do not find the next one.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    subnet: Subnet,
    state: Arc<Mutex<Lending>>,
}

#[derive(Debug, Default)]
struct Lending {
    /// Hosts from here up have never been lent.
    fresh: u32,
    returned: VecDeque<Ipv4Addr>,
    /// On loan since before there was this pool, or returned since: never fresh.
    known: BTreeSet<Ipv4Addr>,
}

/// One address on loan; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Lease {
    address: Ipv4Addr,
    state: Arc<Mutex<Lending>>,
}

// === impl Subnet ===

impl Subnet {
    /// The subnet of `length` bits that `address` is in.
    pub(crate) fn of(address: Ipv4Addr, length: u8) -> Self {
        let length = length.min(32);
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        Self { base: Ipv4Addr::from_bits(address.to_bits() & mask), length }
    }

    /// The first address.
    pub(crate) fn base(self) -> Ipv4Addr {
        self.base
    }

    /// How many leading bits are fixed.
    pub(crate) fn length(self) -> u8 {
        self.length
    }

    /// The bits that are fixed.
    pub(super) fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0)
    }

    /// The address that the host has in it.
    pub(crate) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.to_bits() + 1)
    }

    /// Is `address` in it?
    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask() == self.base.to_bits()
    }

    /// Do they share an address?
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }

    /// What is tried when nothing is configured: the /16 of 10.64.0.0/10, which is away from what
    /// homes, offices and clouds number first, then those of 172.16.0.0/12, then /20 of both.
    pub(super) fn candidates() -> impl Iterator<Item = Self> {
        let large = (64..128).map(|n| Ipv4Addr::new(10, n, 0, 0));
        let large = large.chain((16..32).map(|n| Ipv4Addr::new(172, n, 0, 0)));
        let small = large.clone().flat_map(|base| (0..16).map(move |n| Ipv4Addr::from_bits(base.to_bits() | n << 12)));
        large.map(|base| Self { base, length: 16 }).chain(small.map(|base| Self { base, length: 20 }))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.length)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("must have the form 10.64.0.0/16, got '{text}'");
        let (base, length) = text.split_once('/').ok_or_else(malformed)?;
        let base: Ipv4Addr = base.parse().map_err(|_| malformed())?;
        let length: u8 = length.parse().map_err(|_| malformed())?;
        if !(8..=28).contains(&length) || Self::of(base, length).base != base {
            return Err(format!("must be a network of 8 to 28 bits without host bits, got '{text}'"));
        }
        Ok(Self { base, length })
    }
}

// === impl Pool ===

impl Pool {
    pub(super) fn new(subnet: Subnet) -> Self {
        Self { subnet, state: Arc::new(Mutex::new(Lending { fresh: 2, ..Lending::default() })) }
    }

    /// The address that has rested longest.
    pub(super) fn lend(&self) -> Result<Lease, NetError> {
        let hosts = u32::MAX.checked_shr(u32::from(self.subnet.length)).unwrap_or(0);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The last address of the subnet is its broadcast address.
        while state.fresh < hosts {
            let address = Ipv4Addr::from_bits(self.subnet.base.to_bits() + state.fresh);
            state.fresh += 1;
            if !state.known.contains(&address) {
                return Ok(Lease { address, state: self.state.clone() });
            }
        }
        let address = state.returned.pop_front().ok_or(NetError::AddressesUsedUp { subnet: self.subnet })?;
        Ok(Lease { address, state: self.state.clone() })
    }

    /// An address that somebody has already.
    pub(super) fn keep(&self, address: Ipv4Addr) -> Lease {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).known.insert(address);
        Lease { address, state: self.state.clone() }
    }
}

// === impl Lease ===

impl Lease {
    pub(super) fn address(&self) -> Ipv4Addr {
        self.address
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).returned.push_back(self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().expect("well formed")
    }

    #[test]
    fn subnets_parse_only_without_host_bits() {
        assert_eq!(subnet("10.64.0.0/16").to_string(), "10.64.0.0/16");
        for bad in ["10.64.0.1/16", "10.64.0.0", "10.64.0.0/33", "10.64.0.0/4", "x/16"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn overlap_is_seen_from_both_sides() {
        assert!(subnet("10.64.0.0/16").overlaps(subnet("10.0.0.0/8")));
        assert!(subnet("10.0.0.0/8").overlaps(subnet("10.64.0.0/16")));
        assert!(!subnet("10.64.0.0/16").overlaps(subnet("10.65.0.0/16")));
    }

    #[test]
    fn candidates_are_private_and_the_large_ones_come_first() {
        let all: Vec<Subnet> = Subnet::candidates().collect();
        assert_eq!(all[0].to_string(), "10.64.0.0/16");
        assert!(all.iter().all(|candidate| candidate.base.is_private()));
        assert_eq!(all.iter().filter(|candidate| candidate.length == 16).count(), 80);
    }

    #[test]
    fn an_address_that_is_kept_is_not_lent_to_another_until_it_comes_back() {
        let pool = Pool::new(subnet("10.64.0.0/28"));
        let kept = pool.keep(Ipv4Addr::new(10, 64, 0, 4));
        let leases: Vec<Lease> = (0..12).map(|_| pool.lend().expect("free")).collect();
        let lent: Vec<u8> = leases.iter().map(|lease| lease.address().octets()[3]).collect();
        assert_eq!(lent, [2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
        assert!(pool.lend().is_err());
        drop(kept);
        assert_eq!(pool.lend().expect("back").address(), Ipv4Addr::new(10, 64, 0, 4));
    }

    #[test]
    fn the_address_that_has_rested_longest_is_lent_next() {
        let pool = Pool::new(subnet("10.64.0.0/28"));
        let mut leases: Vec<Lease> = (0..13).map(|_| pool.lend().expect("free")).collect();
        assert_eq!(leases[0].address(), Ipv4Addr::new(10, 64, 0, 2));
        assert_eq!(leases[12].address(), Ipv4Addr::new(10, 64, 0, 14));
        assert!(matches!(pool.lend(), Err(NetError::AddressesUsedUp { .. })));
        drop(leases.remove(5));
        drop(leases.remove(1));
        assert_eq!(pool.lend().expect("free").address(), Ipv4Addr::new(10, 64, 0, 7));
    }
}
