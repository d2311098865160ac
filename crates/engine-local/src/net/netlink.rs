//! Netlink: requests out, acknowledgements and dumps in. Blocking, small, without a noun of its own.
//!
//! A socket belongs for ever to the network namespace of the thread that opened it, which is how the
//! rest of this module configures a namespace without staying in it.

use std::io;

use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
};

/// Which part of the kernel a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subsystem {
    /// Links, addresses, routes, neighbours.
    Route,
    /// nftables.
    Netfilter,
    /// Sockets.
    Diagnosis,
}

/// A connection to one subsystem in one network namespace.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

/// Requests that go out in one system call, in order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    requests: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    at: usize,
    operation: String,
    acknowledged: bool,
}

/// A request that is being written; every method appends and keeps the lengths right.
#[derive(Debug)]
pub(super) struct Request<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
}

/// One message of a dump.
#[derive(Debug)]
pub(super) struct Reply {
    /// Everything after the netlink header.
    pub(super) body: Vec<u8>,
}

/// A request that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{operation}{}", .detail.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
pub(crate) struct NetlinkError {
    /// What was asked for.
    pub(crate) operation: String,
    /// The kernel's own words, when it had any.
    pub(crate) detail: Option<String>,
    /// The error number.
    #[source]
    pub(crate) source: io::Error,
}

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
const NESTED: u16 = 1 << 15;
/// The dump changed under the reader (`NLM_F_DUMP_INTR`).
const INTERRUPTED: u16 = 0x10;
/// The error message carries attributes (`NLM_F_ACK_TLVS`), and does not repeat the request (`NLM_F_CAPPED`).
const ACK_TLVS: u16 = 0x200;
const CAPPED: u16 = 0x100;
/// The kernel's words in those attributes (`NLMSGERR_ATTR_MSG`).
const ERROR_TEXT: u16 = 1;
/// The kernel never writes more than 32 KiB of a dump at once.
const DUMP_BUFFER: usize = 64 << 10;
/// An acknowledgement is two headers and a sentence.
const ACKNOWLEDGEMENT_BUFFER: usize = 4 << 10;
/// Room for one message about one thing.
const ANSWER_BUFFER: usize = 1 << 10;
/// How often a dump that changed under the reader is started over.
const DUMP_ATTEMPTS: usize = 8;

// === impl Socket ===

impl Socket {
    /// Opens a socket in the network namespace of the calling thread.
    pub(super) fn open(subsystem: Subsystem) -> io::Result<Self> {
        let protocol = match subsystem {
            Subsystem::Route => None,
            Subsystem::Netfilter => Some(rustix::net::netlink::NETFILTER),
            Subsystem::Diagnosis => Some(rustix::net::netlink::SOCK_DIAG),
        };
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        set_netlink_option(&fd, libc::NETLINK_EXT_ACK)?;
        set_netlink_option(&fd, libc::NETLINK_CAP_ACK)?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends the batch and waits for all of its acknowledgements. The first refusal is the answer;
    /// requests after a refused one are still carried out (but for nftables, whose batches are atomic).
    pub(super) fn execute(&mut self, batch: Batch) -> Result<(), NetlinkError> {
        let mut missing = batch.requests.iter().filter(|request| request.acknowledged).count();
        let first = self.send(&batch)?;
        let mut refusal = None;
        let mut buffer = [0; ACKNOWLEDGEMENT_BUFFER];
        // The kernel works while we send, so every answer is there already: an empty queue is an end.
        while missing > 0 {
            let length = match rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) if refusal.is_some() => break,
                Err(error) => return Err(batch.failure(0, None, error.into())),
            };
            for message in messages(&buffer[..length]) {
                if message.kind != libc::NLMSG_ERROR as u16 {
                    continue;
                }
                let index = message.sequence.wrapping_sub(first) as usize;
                let (error, detail) = message.error();
                missing = missing.saturating_sub(1);
                if let Some(error) = error
                    && refusal.is_none()
                {
                    refusal = Some(batch.failure(index, detail, error));
                }
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Sends one request whose answer is one short message, and returns that.
    pub(super) fn ask(&mut self, batch: Batch) -> Result<Reply, NetlinkError> {
        let sequence = self.send(&batch)?;
        let mut buffer = [0; ANSWER_BUFFER];
        loop {
            // As above: the answer is there already.
            let length = match rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(batch.failure(0, None, error.into())),
            };
            let Some(message) = messages(&buffer[..length]).find(|message| message.sequence == sequence) else {
                continue;
            };
            return match i32::from(message.kind) {
                libc::NLMSG_ERROR => {
                    let (error, detail) = message.error();
                    Err(batch.failure(0, detail, error.unwrap_or_else(|| io::ErrorKind::InvalidData.into())))
                }
                _ => Ok(Reply { body: message.body.to_vec() }),
            };
        }
    }

    /// Sends one request for a list, or for one thing with an acknowledgement, and returns its messages.
    pub(super) fn dump(&mut self, request: impl Fn() -> Batch) -> Result<Vec<Reply>, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(replies) = self.dump_once(request())? {
                return Ok(replies);
            }
        }
        Err(request().failure(0, None, io::ErrorKind::Interrupted.into()))
    }

    /// `None` when the list changed meanwhile.
    fn dump_once(&mut self, batch: Batch) -> Result<Option<Vec<Reply>>, NetlinkError> {
        let sequence = self.send(&batch)?;
        let mut buffer = vec![0; DUMP_BUFFER];
        let (mut replies, mut interrupted) = (Vec::new(), false);
        loop {
            let length = match rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(batch.failure(0, None, error.into())),
            };
            for message in messages(&buffer[..length]).filter(|message| message.sequence == sequence) {
                interrupted |= message.flags & INTERRUPTED != 0;
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return Ok((!interrupted).then_some(replies)),
                    libc::NLMSG_ERROR => {
                        return match message.error() {
                            (Some(error), detail) => Err(batch.failure(0, detail, error)),
                            (None, _) => Ok(Some(replies)),
                        };
                    }
                    _ => replies.push(Reply { body: message.body.to_vec() }),
                }
            }
        }
    }

    /// Numbers the requests and sends them; returns the first number.
    fn send(&mut self, batch: &Batch) -> Result<u32, NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = batch.bytes.clone();
        for request in &batch.requests {
            self.sequence = self.sequence.wrapping_add(1);
            bytes[request.at + 8..request.at + 12].copy_from_slice(&self.sequence.to_ne_bytes());
        }
        match rustix::net::send(&self.fd, &bytes, SendFlags::empty()) {
            Ok(_) => Ok(first),
            Err(error) => Err(batch.failure(0, None, error.into())),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[expect(unsafe_code, reason = "rustix has no netlink options")]
fn set_netlink_option(fd: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and pointer and length describe the integer above, which
    // outlives the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            std::ptr::from_ref(&on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

// === impl Batch ===

impl Batch {
    /// Begins a request that is to be acknowledged. `header` is the fixed part after the netlink
    /// header (`struct ifinfomsg` and the like); `operation` names it in errors.
    pub(super) fn request(
        &mut self,
        operation: impl Into<String>,
        kind: u16,
        flags: libc::c_int,
        header: &[u8],
    ) -> Request<'_> {
        self.begin(operation.into(), kind, flags | libc::NLM_F_ACK, header)
    }

    /// Begins a request whose answer is a list, or one that gets none.
    pub(super) fn plain(&mut self, operation: &str, kind: u16, flags: libc::c_int, header: &[u8]) -> Request<'_> {
        self.begin(operation.to_owned(), kind, flags, header)
    }

    fn begin(&mut self, operation: String, kind: u16, flags: libc::c_int, header: &[u8]) -> Request<'_> {
        let start = self.bytes.len();
        let acknowledged = flags & libc::NLM_F_ACK != 0;
        self.requests.push(Pending { at: start, operation, acknowledged });
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(header);
        Request { bytes: &mut self.bytes, start }.sized()
    }

    fn failure(&self, index: usize, detail: Option<String>, source: io::Error) -> NetlinkError {
        let operation = self.requests.get(index).map_or("netlink", |request| &request.operation).to_owned();
        NetlinkError { operation, detail, source }
    }
}

// === impl Request ===

impl Request<'_> {
    /// Appends an attribute.
    pub(super) fn attribute(self, kind: u16, payload: &[u8]) -> Self {
        let length = (4 + payload.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        self.sized()
    }

    /// Appends a number in the byte order of the machine, as rtnetlink has it.
    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Appends a number in network byte order, as nftables has it.
    pub(super) fn number_be(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends a text with its NUL.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Appends an attribute that holds what `fill` appends.
    pub(super) fn nest(self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let at = self.bytes.len();
        let inner = self.attribute(kind | NESTED, &[]);
        let outer = fill(inner);
        let length = (outer.bytes.len() - at) as u16;
        outer.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        outer
    }

    /// Appends bytes that are no attribute (`struct ifinfomsg` inside `VETH_INFO_PEER`).
    pub(super) fn raw(self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self.sized()
    }

    /// Pads to four bytes and writes the length into the header.
    fn sized(self) -> Self {
        while !(self.bytes.len() - self.start).is_multiple_of(4) {
            self.bytes.push(0);
        }
        let length = (self.bytes.len() - self.start) as u32;
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
        self
    }
}

// === impl NetlinkError ===

impl NetlinkError {
    /// What was to be made is there already.
    pub(super) fn is_taken(&self) -> bool {
        self.source.raw_os_error() == Some(libc::EEXIST)
    }

    /// What was to be changed or removed is not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
    }
}

// === reading ===

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Message<'_> {
    /// Of an error message: the error, if it is not an acknowledgement, and the kernel's words.
    fn error(&self) -> (Option<io::Error>, Option<String>) {
        let code = self.body.first_chunk().map_or(-libc::EBADMSG, |bytes| i32::from_ne_bytes(*bytes));
        if code == 0 {
            return (None, None);
        }
        let mut text = None;
        if self.flags & ACK_TLVS != 0 {
            let echoed = if self.flags & CAPPED != 0 { HEADER } else { number(self.body, 4).unwrap_or(0) as usize };
            let tail = self.body.get(4 + echoed.next_multiple_of(4)..).unwrap_or_default();
            text = attributes(tail).find(|(kind, _)| *kind == ERROR_TEXT).map(|(_, bytes)| string(bytes));
        }
        (Some(io::Error::from_raw_os_error(-code)), text)
    }
}

fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = number(bytes, 0)? as usize;
        let message = bytes.get(..length).filter(|message| message.len() >= HEADER)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: short(message, 4)?,
            flags: short(message, 6)?,
            sequence: number(message, 8)?,
            body: &message[HEADER..],
        })
    })
}

/// The attributes in `bytes`: kind, without flags, and payload.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(short(bytes, 0)?);
        let kind = short(bytes, 2)? & 0x3fff;
        let payload = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    })
}

/// The 32-bit number at `at`, in the byte order of the machine.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// The 16-bit number at `at`, in the byte order of the machine.
pub(super) fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// A text up to its NUL.
pub(super) fn string(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_attributes_come_back_as_written() {
        let mut batch = Batch::default();
        batch.request("test", 16, 0, &[7; 4]).number(1, 5).nest(2, |inner| inner.text(3, "ab")).number(4, 6);
        let message = messages(&batch.bytes).next().expect("one message");
        assert_eq!((message.kind, message.body.len()), (16, 4 + 8 + 12 + 8));
        let found: Vec<_> = attributes(&message.body[4..]).collect();
        assert_eq!(found.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [1, 2, 4]);
        let inner: Vec<_> = attributes(found[1].1).map(|(kind, bytes)| (kind, string(bytes))).collect();
        assert_eq!(inner, [(3, "ab".to_owned())]);
    }

    #[test]
    fn torn_input_ends_the_list_instead_of_panicking() {
        let mut batch = Batch::default();
        batch.request("test", 16, 0, &[]).number(1, 5);
        for cut in 0..batch.bytes.len() {
            assert_eq!(messages(&batch.bytes[..cut]).count(), 0, "cut at {cut}");
        }
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
    }

    #[test]
    fn a_refusal_names_the_request_and_the_error() {
        let mut socket = Socket::open(Subsystem::Route).expect("netlink sockets need no privilege");
        let mut batch = Batch::default();
        // An unknown message type.
        batch.request("ask for nonsense", 0x7ff0, 0, &[0; 16]);
        let error = socket.execute(batch).expect_err("refused");
        assert!(error.to_string().starts_with("ask for nonsense"), "{error}");
        assert_ne!(error.source.raw_os_error(), None);
    }
}
