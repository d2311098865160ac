//! HTTP/1.1 as far as a bench needs it: requests without frills, answers with a length, connections that are kept.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use super::server::PATIENCE;
use crate::Error;

/// The longest head of an answer that is believed.
const HEAD_MAX: usize = 64 << 10;

/// A connection that is kept, with one request under way at most.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

/// What the head of an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its status.
    pub(crate) status: u16,
    /// Where it ends.
    pub(crate) end: usize,
    /// How long the body after it is.
    pub(crate) body: usize,
}

// === impl Connection ===

impl Connection {
    /// Connects.
    pub(crate) fn open(address: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Asks for a path.
    pub(crate) fn get(&mut self, host: &str, path: &str) -> Result<Answer, Error> {
        self.stream.write_all(&request(host, path))?;
        self.answer()
    }

    /// Sends a JSON object.
    pub(crate) fn post(&mut self, host: &str, path: &str, body: &serde_json::Value) -> Result<Answer, Error> {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all((head + &body).as_bytes())?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Answer, Error> {
        self.received.clear();
        let mut piece = [0; 16 << 10];
        loop {
            if let Some(head) = head(&self.received)? {
                let end = head.end + head.body;
                if self.received.len() >= end {
                    return Ok(Answer { status: head.status, body: self.received[head.end..end].to_vec() });
                }
            }
            match self.stream.read(&mut piece)? {
                0 => return Err("the connection ended before the answer did".into()),
                count => self.received.extend_from_slice(&piece[..count]),
            }
        }
    }
}

// === impl Answer ===

impl Answer {
    /// The body of one that went well.
    pub(crate) fn json(&self) -> Result<serde_json::Value, Error> {
        match self.status {
            200 => Ok(serde_json::from_slice(&self.body)?),
            status => Err(format!("the answer is {status}: {}", String::from_utf8_lossy(&self.body)).into()),
        }
    }
}

/// The bytes of a request without a body.
pub(crate) fn request(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: updraft-bench\r\nAccept: */*\r\n\r\n").into_bytes()
}

/// Reads a head; `None` if it has not arrived yet.
pub(crate) fn head(received: &[u8]) -> Result<Option<Head>, Error> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if received.len() > HEAD_MAX { Err("an answer whose head does not end".into()) } else { Ok(None) };
    };
    let text = std::str::from_utf8(&received[..end])?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    match (status, length) {
        (Some(status), Some(body)) => Ok(Some(Head { status, end: end + 4, body })),
        _ => Err(format!("an answer that a bench cannot read: {text:?}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_its_head_is_whole_and_tells_its_length() {
        let whole = b"HTTP/1.1 404 Not Found\r\ncontent-LENGTH: 3\r\n\r\nabc";
        assert_eq!(head(whole).expect("readable"), Some(Head { status: 404, end: 45, body: 3 }));
        assert_eq!(head(&whole[..40]).expect("readable"), None);
        assert!(head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(head(b"SSH-2.0\r\n\r\n").is_err());
    }
}
