//! Who is at the other end of a connection, and how the connection begins.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use updraft_identity::Entrance;

/// What a connection of HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client, as its connection shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) scheme: Scheme,
    /// Where it came in.
    pub(crate) entrance: Entrance,
}

/// In a request that comes of an errand: on behalf of which project. No client can say this.
#[derive(Debug, Clone)]
pub(crate) struct OnBehalfOf(pub(crate) Arc<str>);

/// How a client speaks to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

/// A stream of which the first bytes have been read already.
#[derive(Debug)]
pub(crate) struct Begun<S> {
    first: Vec<u8>,
    /// So many of them have been given out again.
    given: usize,
    stream: S,
}

// === impl Scheme ===

impl Scheme {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

// === impl Begun ===

/// Waits until a connection has shown which protocol it speaks. The library would wait for ever:
/// its time limits begin with the first byte of HTTP/1.1 and the last of HTTP/2's preface.
pub(crate) async fn begin<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<Begun<S>> {
    let mut first = Vec::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        if (&mut stream).take((PREFACE.len() - first.len()) as u64).read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Begun { first, given: 0, stream })
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let rest = self.first.len() - self.given;
        if rest == 0 {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = rest.min(buffer.remaining());
        let (given, end) = (self.given, self.given + count);
        buffer.put_slice(&self.first[given..end]);
        self.given = end;
        if end == self.first.len() {
            // Connections live long; these bytes do not have to.
            (self.first, self.given) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn what_was_read_ahead_comes_first_also_into_small_buffers() {
        for text in ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nframes", "PRI * HTTP/1.1"] {
            let mut begun = begin(text.as_bytes()).await.expect("it has begun");
            let mut small = [0; 3];
            begun.read_exact(&mut small).await.expect("there is more");
            let mut read = small.to_vec();
            begun.read_to_end(&mut read).await.expect("memory does not fail");
            assert_eq!(String::from_utf8_lossy(&read), text);
        }
        assert!(begin(&b""[..]).await.is_err() && begin(&PREFACE[..5]).await.is_err());
    }
}
