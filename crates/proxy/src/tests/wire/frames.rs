//! Frames of HTTP/2 (RFC 9113, section 4) as bytes, right or wrong, and a client that writes and reads nothing else.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use updraft_base::Clock;

use super::super::{APP, DEADLINE, World};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Kinds.
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

// Flags.
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const PRIORITISED: u8 = 32;

// Errors (section 7).
pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const FLOW_CONTROL_ERROR: u32 = 3;
pub(super) const FRAME_SIZE_ERROR: u32 = 6;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;
pub(super) const COMPRESSION_ERROR: u32 = 9;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

/// What the server makes of what it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A head on this stream; the status if it is one that [`status`] knows, else 0.
    Answer(u32, u16),
    /// The stream is reset with this error.
    Reset(u32, u32),
    /// The connection is ended with this error.
    GoAway(u32),
    /// Nothing: a PING that was sent after it was answered first.
    Nothing,
    /// The connection is closed without a word.
    Closed,
}

/// A connection to the door.
pub(super) struct Peer {
    stream: TcpStream,
}

/// The bytes of a frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("the length has 24 bits").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// One field, as a literal that is not to be remembered (RFC 7541, 6.2.2).
pub(super) fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        let mut bytes = vec![u8::try_from(text.len().min(127)).expect("small")];
        // What does not fit into seven bits follows, seven at a time.
        let mut rest = text.len().checked_sub(127);
        while let Some(more) = rest {
            bytes.push((more & 0x7f) as u8 | if more > 0x7f { 0x80 } else { 0 });
            rest = (more > 0x7f).then_some(more >> 7);
        }
        [&bytes, text.as_bytes()].concat()
    };
    [&[0], &*text(name), &text(value)].concat()
}

/// A block of fields.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// The pseudo headers of a request to the service.
pub(super) fn head(method: &str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "http"), (":authority", APP), (":path", path)])
}

/// A whole GET to `path`.
pub(super) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", path))
}

/// The head of a POST to `path`, whose body follows.
pub(super) fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &head("POST", path))
}

/// One setting.
pub(super) fn setting(name: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

pub(super) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub(super) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

// === impl Frame ===

impl Frame {
    /// The number at `at` of the payload.
    pub(super) fn number(&self, at: usize) -> u32 {
        let bytes = self.payload.get(at..at + 4).expect("the payload is as long");
        u32::from_be_bytes(bytes.try_into().expect("four"))
    }
}

// === impl Peer ===

impl Peer {
    /// Connected, and nothing more.
    pub(super) async fn bare(world: &World) -> Self {
        Self { stream: TcpStream::connect(world.address).await.expect("it listens") }
    }

    /// Connected, settings exchanged.
    pub(super) async fn greeted(world: &World) -> Self {
        let mut peer = Self::bare(world).await;
        peer.write(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        let first = peer.next().await.expect("the server has settings");
        assert_eq!((first.kind, first.flags & ACK), (SETTINGS, 0));
        peer.write(&frame(SETTINGS, ACK, 0, &[])).await;
        peer
    }

    /// Writes; the server may have closed already, which is seen when it is read.
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next frame; nothing once the connection is closed.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        next(&mut self.stream).await
    }

    /// The next frame of `kind`.
    pub(super) async fn expect(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection is open");
            assert_ne!(frame.kind, GOAWAY, "{frame:?}");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Sends `bytes` and looks what comes of it.
    pub(super) async fn outcome(&mut self, bytes: &[u8]) -> Outcome {
        self.write(bytes).await;
        self.verdict().await
    }

    /// Sends `bytes`, from which nothing is to come.
    pub(super) async fn silence(&mut self, bytes: &[u8]) -> Outcome {
        const MARK: &[u8; 8] = b"the mark";
        self.write(&[bytes, &frame(PING, 0, 0, MARK)].concat()).await;
        self.verdict().await
    }

    /// Sends what `next` makes, a hundred at a time, until the server ends the connection, and reads beside: what is
    /// not read by the time it closes is lost.
    pub(super) async fn flood(&mut self, mut next_bytes: impl FnMut(u32) -> Vec<u8>) -> Outcome {
        const ROUNDS: u32 = 200;
        let (mut from, mut to) = self.stream.split();
        let sent = async {
            for round in 0..ROUNDS {
                let bytes: Vec<u8> = (0..100).flat_map(|number| next_bytes(round * 100 + number)).collect();
                if to.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let end = async {
            loop {
                match next(&mut from).await {
                    None => return Outcome::Closed,
                    Some(frame) if frame.kind == GOAWAY => return Outcome::GoAway(frame.number(4)),
                    Some(_) => {}
                }
            }
        };
        tokio::select! {
            end = end => end,
            () = sent => Outcome::Closed,
        }
    }

    async fn verdict(&mut self) -> Outcome {
        loop {
            let Some(frame) = self.next().await else { return Outcome::Closed };
            return match frame.kind {
                HEADERS => Outcome::Answer(frame.stream, status(&frame.payload)),
                RST_STREAM => Outcome::Reset(frame.stream, frame.number(0)),
                GOAWAY => Outcome::GoAway(frame.number(4)),
                PING if frame.flags & ACK != 0 => Outcome::Nothing,
                _ => continue,
            };
        }
    }
}

async fn next(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<Frame> {
    let read = async {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, rest @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(rest), payload })
    };
    Clock::system().timeout(DEADLINE, read).await.expect("the server answers or closes")
}

/// The status in a block that begins with it, if the table of HPACK has it, or it is one of two more.
fn status(block: &[u8]) -> u16 {
    const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // A change of the table's size may come first (RFC 7541, 6.3).
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap_or_default();
    // A literal of three digits in Huffman's code, as the server's library writes it.
    match block[start..] {
        [0x48 | 0x08, 0x83, 0x68, 0x0d, 0xff, ..] => return 405,
        [0x48 | 0x08, 0x83, 0x69, 0x90, 0xff, ..] => return 431,
        _ => {}
    }
    let first = block.get(start).copied().unwrap_or_default();
    let index = (first & 0x80 != 0).then(|| usize::from(first & 0x7f)).and_then(|index| index.checked_sub(8));
    index.and_then(|index| STATUSES.get(index)).copied().unwrap_or_default()
}
