//! nftables: tables, chains and rules as netlink messages (linux/netfilter/nf_tables.h).
//!
//! Rules are written as a list of conditions and a verdict; a batch takes effect as a whole or not
//! at all.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{
    netlink::{Batch, NetlinkError, Request, Socket, attributes, string},
    subnet::Subnet,
};

/// Changes to one table, for IPv4 and IPv6 together (`inet`).
#[derive(Debug)]
pub(super) struct Changes<'a> {
    table: &'a str,
    batch: Batch,
}

/// Where the kernel enters a chain.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hook {
    /// Packets that come in, before anything is known about them.
    Arrival,
    /// Packets that come in, when their destination may be rewritten.
    DestinationNat,
    /// Packets for the host itself.
    Input,
    /// Packets that pass through the host.
    Forward,
    /// Packets that leave, when their source may be rewritten.
    SourceNat,
}

/// A condition of a rule.
#[derive(Debug, Clone, Copy)]
pub(super) enum Match<'a> {
    /// Came in through a link whose name begins like this.
    InPrefix(&'a str),
    /// Goes out through a link whose name begins like this.
    OutPrefix(&'a str),
    /// Goes out through any other link.
    NotOutPrefix(&'a str),
    /// Came in through this link.
    In(&'a str),
    /// Came in through any other link.
    NotIn(&'a str),
    /// Goes out through this link.
    Out(&'a str),
    /// Is not IPv4.
    NotIpv4,
    /// IPv4 from one of these addresses.
    Source(Subnet),
    /// IPv4 to one of these addresses.
    Destination(Subnet),
    /// IPv4 from an address of this set.
    SourceIn(&'a str),
    /// From an address that leads, if anywhere, through another link than it came in through.
    Misplaced,
    /// Belongs to a connection that exists, or is an error message about one.
    Established,
    /// Is an ICMP echo request.
    Ping,
    /// To this UDP port.
    Udp(u16),
    /// To this TCP port.
    Tcp(u16),
}

/// What happens to a packet that meets all conditions.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict<'a> {
    /// No more rules of this chain; other tables may still drop it.
    Accept,
    /// It is gone.
    Drop,
    /// Another chain decides.
    Goto(&'a str),
    /// Its source becomes an address of the link it leaves through.
    Masquerade,
    /// It goes to this address and port instead.
    Redirect(SocketAddrV4),
}

/// A chain of somebody that drops what no rule of it accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DroppingChain {
    pub(super) table: String,
    pub(super) chain: String,
}

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LENGTH: u16 = 5;
const SET_ID: u16 = 10;
const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;

/// What `nft` calls `ipv4_addr`; the kernel only keeps it.
const TYPE_IPV4: u32 = 7;
const FIB_LINK: u32 = 1;
/// `NFTA_FIB_F_SADDR` and `NFTA_FIB_F_IIF`.
const FIB_SOURCE_THROUGH_LINK: u32 = 1 << 0 | 1 << 3;
const NAT_DESTINATION: u32 = 1;
const REGISTER_VERDICT: u32 = 0;
const REGISTER: u32 = 1;
const SECOND_REGISTER: u32 = 2;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const BASE_NETWORK: u32 = 1;
const BASE_TRANSPORT: u32 = 2;
const CT_STATE: u32 = 0;
/// `NF_CT_STATE_BIT` of established and of related.
const CT_KNOWN: u32 = 1 << 1 | 1 << 2;
const VERDICT_GOTO: u32 = -4i32 as u32;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
const RANDOM_PORT: u32 = 1 << 4;
const HOOK_FORWARD: u32 = 2;
const POLICY_DROP: u32 = 0;
/// Names of links are compared with their NULs up to this length (`IFNAMSIZ`).
const NAME_SIZE: usize = 16;

// === impl Changes ===

impl<'a> Changes<'a> {
    /// Begins changes to `table`.
    pub(super) fn to(table: &'a str) -> Self {
        let mut batch = Batch::default();
        batch.plain("begin", BATCH_BEGIN, 0, &family(libc::AF_UNSPEC, SUBSYSTEM));
        Self { table, batch }
    }

    /// Makes the table, empty; one of this name that is there is replaced, and packets never meet neither.
    pub(super) fn table_anew(&mut self) {
        let table = self.table;
        // To delete what is not there would be an error.
        for flags in [libc::NLM_F_CREATE, libc::NLM_F_CREATE | libc::NLM_F_EXCL] {
            let operation = format!("create nftables table {table}");
            self.request(operation, libc::NFT_MSG_NEWTABLE, flags).text(TABLE_NAME, table);
            if flags == libc::NLM_F_CREATE {
                self.table_delete();
            }
        }
    }

    /// Removes the table with everything in it.
    pub(super) fn table_delete(&mut self) {
        let table = self.table;
        let operation = format!("delete nftables table {table}");
        self.request(operation, libc::NFT_MSG_DELTABLE, 0).text(TABLE_NAME, table);
    }

    /// Makes a chain that only other chains lead to.
    pub(super) fn chain(&mut self, name: &str) {
        let table = self.table;
        self.request(format!("create nftables chain {name}"), libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE)
            .text(CHAIN_TABLE, table)
            .text(CHAIN_NAME, name);
    }

    /// Makes a chain that the kernel enters at `hook`; what no rule decides is accepted.
    pub(super) fn base_chain(&mut self, name: &str, hook: Hook) {
        let (number, priority, kind) = match hook {
            // Before connections are tracked.
            Hook::Arrival => (0, -300i32 as u32, "filter"),
            Hook::DestinationNat => (0, -100i32 as u32, "nat"),
            Hook::Input => (1, 0, "filter"),
            Hook::Forward => (HOOK_FORWARD, 0, "filter"),
            Hook::SourceNat => (4, 100, "nat"),
        };
        let table = self.table;
        self.request(format!("create nftables chain {name}"), libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE)
            .text(CHAIN_TABLE, table)
            .text(CHAIN_NAME, name)
            .nest(CHAIN_HOOK, |hook| hook.number_be(HOOK_NUMBER, number).number_be(HOOK_PRIORITY, priority))
            .text(CHAIN_TYPE, kind);
    }

    /// Makes a set of IPv4 addresses; `number` is its own in these changes.
    pub(super) fn set(&mut self, name: &str, number: u32) {
        let table = self.table;
        self.request(format!("create nftables set {name}"), libc::NFT_MSG_NEWSET, libc::NLM_F_CREATE)
            .text(SET_TABLE, table)
            .text(SET_NAME, name)
            .number_be(SET_KEY_TYPE, TYPE_IPV4)
            .number_be(SET_KEY_LENGTH, 4)
            .number_be(SET_ID, number);
    }

    /// Puts addresses into a set; one that is there already is no error.
    pub(super) fn elements_add(&mut self, set: &str, addresses: &[Ipv4Addr]) {
        // A list may have 64 KiB, and each message is acknowledged.
        for some in addresses.chunks(1000) {
            self.elements(set, some, (libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE));
        }
    }

    /// Takes an address out of a set; one that is not there is an error.
    pub(super) fn element_delete(&mut self, set: &str, address: Ipv4Addr) {
        self.elements(set, &[address], (libc::NFT_MSG_DELSETELEM, 0));
    }

    fn elements(&mut self, set: &str, addresses: &[Ipv4Addr], (message, flags): (libc::c_int, libc::c_int)) {
        let table = self.table;
        self.request(format!("change nftables set {set}"), message, flags)
            .text(ELEMENTS_TABLE, table)
            .text(ELEMENTS_SET, set)
            .nest(ELEMENTS, |elements| {
                addresses.iter().fold(elements, |elements, address| {
                    elements.nest(LIST_ELEMENT, |element| {
                        element.nest(ELEMENT_KEY, |key| key.attribute(DATA_VALUE, &address.octets()))
                    })
                })
            });
    }

    /// Removes every rule of a chain.
    pub(super) fn chain_flush(&mut self, name: &str) {
        let table = self.table;
        self.request(format!("flush nftables chain {name}"), libc::NFT_MSG_DELRULE, 0)
            .text(RULE_TABLE, table)
            .text(RULE_CHAIN, name);
    }

    /// Appends a rule to a chain.
    pub(super) fn rule(&mut self, chain: &str, conditions: &[Match<'_>], verdict: Verdict<'_>) {
        let table = self.table;
        let operation = format!("add a rule to nftables chain {chain}");
        self.request(operation, libc::NFT_MSG_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND)
            .text(RULE_TABLE, table)
            .text(RULE_CHAIN, chain)
            .nest(RULE_EXPRESSIONS, |rule| {
                let rule = conditions.iter().fold(rule, |rule, condition| condition.write(rule));
                verdict.write(rule)
            });
    }

    /// Makes the changes, all or none.
    pub(super) fn apply(mut self, socket: &mut Socket) -> Result<(), NetlinkError> {
        self.batch.plain("end", BATCH_END, 0, &family(libc::AF_UNSPEC, SUBSYSTEM));
        socket.execute(self.batch)
    }

    fn request(&mut self, operation: String, message: libc::c_int, flags: libc::c_int) -> Request<'_> {
        self.batch.request(operation, SUBSYSTEM << 8 | message as u16, flags, &family(libc::NFPROTO_INET, 0))
    }
}

/// `struct nfgenmsg`: family, version, resource in network byte order.
fn family(family: libc::c_int, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family as u8, 0, high, low]
}

// === impl Match ===

impl Match<'_> {
    fn write<'r>(&self, rule: Request<'r>) -> Request<'r> {
        match *self {
            Self::InPrefix(prefix) => compare(meta(rule, META_IIFNAME), EQUAL, prefix.as_bytes()),
            Self::OutPrefix(prefix) => compare(meta(rule, META_OIFNAME), EQUAL, prefix.as_bytes()),
            Self::NotOutPrefix(prefix) => compare(meta(rule, META_OIFNAME), NOT_EQUAL, prefix.as_bytes()),
            Self::In(name) => compare(meta(rule, META_IIFNAME), EQUAL, &whole(name)),
            Self::NotIn(name) => compare(meta(rule, META_IIFNAME), NOT_EQUAL, &whole(name)),
            Self::Out(name) => compare(meta(rule, META_OIFNAME), EQUAL, &whole(name)),
            Self::NotIpv4 => compare(meta(rule, META_NFPROTO), NOT_EQUAL, &[libc::NFPROTO_IPV4 as u8]),
            // Offsets of the addresses in an IPv4 header.
            Self::Source(subnet) => address(rule, 12, subnet),
            Self::Destination(subnet) => address(rule, 16, subnet),
            Self::SourceIn(set) => {
                let rule = payload(ipv4(rule), BASE_NETWORK, 12, 4);
                expression(rule, "lookup", |data| data.text(1, set).number_be(2, REGISTER))
            }
            Self::Misplaced => {
                let rule = expression(rule, "fib", |data| {
                    data.number_be(1, REGISTER).number_be(2, FIB_LINK).number_be(3, FIB_SOURCE_THROUGH_LINK)
                });
                compare(rule, EQUAL, &[0; 4])
            }
            Self::Established => {
                let rule = expression(rule, "ct", |data| data.number_be(1, REGISTER).number_be(2, CT_STATE));
                compare(mask(rule, &CT_KNOWN.to_ne_bytes()), NOT_EQUAL, &[0; 4])
            }
            Self::Ping => {
                let rule = compare(meta(ipv4(rule), META_L4PROTO), EQUAL, &[libc::IPPROTO_ICMP as u8]);
                compare(payload(rule, BASE_TRANSPORT, 0, 1), EQUAL, &[8])
            }
            Self::Udp(port) => destination_port(rule, libc::IPPROTO_UDP, port),
            Self::Tcp(port) => destination_port(rule, libc::IPPROTO_TCP, port),
        }
    }
}

fn whole(name: &str) -> [u8; NAME_SIZE] {
    let mut bytes = [0; NAME_SIZE];
    // Names of links are shorter than the array; a longer text can match none.
    let length = name.len().min(NAME_SIZE);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

fn ipv4(rule: Request<'_>) -> Request<'_> {
    compare(meta(rule, META_NFPROTO), EQUAL, &[libc::NFPROTO_IPV4 as u8])
}

fn address(rule: Request<'_>, offset: u32, subnet: Subnet) -> Request<'_> {
    let rule = payload(ipv4(rule), BASE_NETWORK, offset, 4);
    compare(mask(rule, &subnet.mask().to_be_bytes()), EQUAL, &subnet.base().octets())
}

fn destination_port(rule: Request<'_>, protocol: libc::c_int, port: u16) -> Request<'_> {
    let rule = compare(meta(rule, META_L4PROTO), EQUAL, &[protocol as u8]);
    compare(payload(rule, BASE_TRANSPORT, 2, 2), EQUAL, &port.to_be_bytes())
}

// === expressions ===

fn expression<'r>(rule: Request<'r>, name: &str, fill: impl FnOnce(Request<'r>) -> Request<'r>) -> Request<'r> {
    rule.nest(LIST_ELEMENT, |element| element.text(EXPRESSION_NAME, name).nest(EXPRESSION_DATA, fill))
}

fn meta(rule: Request<'_>, key: u32) -> Request<'_> {
    expression(rule, "meta", |data| data.number_be(1, REGISTER).number_be(2, key))
}

fn payload(rule: Request<'_>, base: u32, offset: u32, length: u32) -> Request<'_> {
    expression(rule, "payload", |data| {
        data.number_be(1, REGISTER).number_be(2, base).number_be(3, offset).number_be(4, length)
    })
}

fn compare<'r>(rule: Request<'r>, operator: u32, value: &[u8]) -> Request<'r> {
    expression(rule, "cmp", |data| {
        data.number_be(1, REGISTER).number_be(2, operator).nest(3, |data| data.attribute(DATA_VALUE, value))
    })
}

/// Puts a value into a register.
fn load<'r>(rule: Request<'r>, register: u32, value: &[u8]) -> Request<'r> {
    expression(rule, "immediate", |data| data.number_be(1, register).nest(2, |data| data.attribute(DATA_VALUE, value)))
}

fn mask<'r>(rule: Request<'r>, bits: &[u8; 4]) -> Request<'r> {
    expression(rule, "bitwise", |data| {
        data.number_be(1, REGISTER)
            .number_be(2, REGISTER)
            .number_be(3, 4)
            .nest(4, |mask| mask.attribute(DATA_VALUE, bits))
            .nest(5, |xor| xor.attribute(DATA_VALUE, &[0; 4]))
    })
}

// === impl Verdict ===

impl Verdict<'_> {
    fn write<'r>(&self, rule: Request<'r>) -> Request<'r> {
        let immediate = |rule, code, chain: Option<&str>| {
            expression(rule, "immediate", |data| {
                data.number_be(1, REGISTER_VERDICT).nest(2, |data| {
                    data.nest(DATA_VERDICT, |verdict| {
                        let verdict = verdict.number_be(VERDICT_CODE, code);
                        match chain {
                            Some(chain) => verdict.text(VERDICT_CHAIN, chain),
                            None => verdict,
                        }
                    })
                })
            })
        };
        match *self {
            Self::Accept => immediate(rule, libc::NF_ACCEPT as u32, None),
            Self::Drop => immediate(rule, libc::NF_DROP as u32, None),
            Self::Goto(chain) => immediate(rule, VERDICT_GOTO, Some(chain)),
            // Instances choose their ports without knowing of each other. Ports that are kept can
            // clash when two connect to the same place at the same moment; the kernel then drops a packet.
            Self::Redirect(target) => {
                let rule = load(rule, REGISTER, &target.ip().octets());
                let rule = load(rule, SECOND_REGISTER, &target.port().to_be_bytes());
                expression(rule, "nat", |data| {
                    data.number_be(1, NAT_DESTINATION)
                        .number_be(2, libc::NFPROTO_IPV4 as u32)
                        .number_be(3, REGISTER)
                        .number_be(5, SECOND_REGISTER)
                })
            }
            Self::Masquerade => expression(rule, "masq", |data| data.number_be(1, RANDOM_PORT)),
        }
    }
}

// === reading ===

/// Chains of anybody that see forwarded IPv4 packets and drop them by default.
pub(super) fn forward_droppers(socket: &mut Socket) -> Result<Vec<DroppingChain>, NetlinkError> {
    let replies = socket.dump(|| {
        let mut batch = Batch::default();
        let kind = SUBSYSTEM << 8 | libc::NFT_MSG_GETCHAIN as u16;
        batch.plain("list nftables chains", kind, libc::NLM_F_DUMP, &family(libc::AF_UNSPEC, 0));
        batch
    })?;
    Ok(replies.iter().filter_map(|reply| forward_dropper(&reply.body)).collect())
}

fn forward_dropper(body: &[u8]) -> Option<DroppingChain> {
    let family = i32::from(*body.first()?);
    let (mut table, mut chain, mut forward, mut drops) = (String::new(), String::new(), false, false);
    for (kind, payload) in attributes(body.get(4..)?) {
        match kind {
            CHAIN_TABLE => table = string(payload),
            CHAIN_NAME => chain = string(payload),
            CHAIN_POLICY => drops = number_be(payload) == Some(POLICY_DROP),
            CHAIN_HOOK => {
                let number = attributes(payload).find(|(kind, _)| *kind == HOOK_NUMBER);
                forward = number.and_then(|(_, bytes)| number_be(bytes)) == Some(HOOK_FORWARD);
            }
            _ => {}
        }
    }
    let concerns_ipv4 = family == libc::NFPROTO_INET || family == libc::NFPROTO_IPV4;
    (concerns_ipv4 && forward && drops).then_some(DroppingChain { table, chain })
}

fn number_be(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// The names of all tables.
pub(super) fn tables(socket: &mut Socket) -> Result<Vec<String>, NetlinkError> {
    let replies = socket.dump(|| {
        let mut batch = Batch::default();
        let kind = SUBSYSTEM << 8 | libc::NFT_MSG_GETTABLE as u16;
        batch.plain("list nftables tables", kind, libc::NLM_F_DUMP, &family(libc::AF_UNSPEC, 0));
        batch
    })?;
    let name =
        |body: &[u8]| attributes(body.get(4..)?).find(|(kind, _)| *kind == TABLE_NAME).map(|(_, bytes)| string(bytes));
    Ok(replies.iter().filter_map(|reply| name(&reply.body)).collect())
}
