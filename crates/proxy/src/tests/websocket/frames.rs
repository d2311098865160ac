//! Frames of WebSockets (RFC 6455, section 5), as far as an echo needs them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) is_final: bool,
    pub(super) opcode: u8,
    pub(super) payload: Vec<u8>,
}

/// Who sends; a client masks what it sends, and a server must not (5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// A connection after the handshake.
#[derive(Debug)]
pub(super) struct Socket<S> {
    pub(super) stream: S,
    pub(super) side: Side,
}

// === impl Frame ===

impl Frame {
    pub(super) fn whole(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { is_final: true, opcode, payload: payload.into() }
    }

    pub(super) fn part(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { is_final: false, opcode, payload: payload.into() }
    }

    pub(super) fn close(code: u16, reason: &str) -> Self {
        Self::whole(CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
    }

    fn encode(&self, side: Side) -> Vec<u8> {
        let masked = if side == Side::Client { MASKED } else { 0 };
        let mut bytes = vec![self.opcode | if self.is_final { FIN } else { 0 }];
        match self.payload.len() {
            length @ ..126 => bytes.push(masked | length as u8),
            length @ 126..0x1_0000 => {
                bytes.push(masked | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(masked | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        match side {
            Side::Client => {
                let key: [u8; 4] = rand::random();
                bytes.extend(key);
                bytes.extend(unmasked(&self.payload, key));
            }
            Side::Server => bytes.extend(&self.payload),
        }
        bytes
    }
}

// === impl Socket ===

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.stream.write_all(&frame.encode(self.side)).await?;
        self.stream.flush().await
    }

    /// The next frame, or nothing at the end of the connection.
    pub(super) async fn receive(&mut self) -> io::Result<Option<Frame>> {
        let mut first = [0];
        if self.stream.read(&mut first).await? == 0 {
            return Ok(None);
        }
        let second = self.stream.read_u8().await?;
        let length = match second & !MASKED {
            126 => u64::from(self.stream.read_u16().await?),
            127 => self.stream.read_u64().await?,
            length => u64::from(length),
        };
        let is_masked = second & MASKED != 0;
        if is_masked == (self.side == Side::Client) {
            return Err(io::Error::other("masked by the wrong side"));
        }
        let mut key = [0; 4];
        if is_masked {
            self.stream.read_exact(&mut key).await?;
        }
        let mut payload = Vec::new();
        (&mut self.stream).take(length).read_to_end(&mut payload).await?;
        if payload.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let payload = unmasked(&payload, key);
        Ok(Some(Frame { is_final: first[0] & FIN != 0, opcode: first[0] & 0x0f, payload }))
    }
}

fn unmasked(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
}
