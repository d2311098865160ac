//! The load of the bench `proxy`: a fixed number of connections, each with one request under way, all in one thread.
//!
//! Made by hand rather than with a client's library, so that it takes as little as it can of a machine that it shares
//! with what it measures. What it takes itself shows in the rows that go to the backend directly.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::event::{Timespec, epoll};

use super::{cold_start::clock::now, http, interrupt, server::PATIENCE};
use crate::Error;

/// Events that are taken at once.
const EVENTS: usize = 256;
/// The most that is read at once; an answer of the backend is a tenth of it.
const PIECE: usize = 4 << 10;

/// Clients that ask for one thing again and again.
pub(super) struct Clients {
    request: Vec<u8>,
    clients: Vec<Client>,
    poll: OwnedFd,
}

/// A connection.
struct Client {
    stream: TcpStream,
    sent: Instant,
    /// What has come of an answer that came in pieces.
    received: Vec<u8>,
}

/// What came of a time of load.
#[derive(Debug, Default)]
pub(super) struct Spell {
    /// Of each request, from before it was sent until its answer was whole. Sorted.
    pub(super) taken: Vec<Duration>,
    /// How long it lasted.
    pub(super) time: Duration,
}

// === impl Clients ===

impl Clients {
    /// Opens the connections.
    pub(super) fn connect(address: SocketAddr, host: &str, count: usize) -> Result<Self, Error> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut clients = Vec::new();
        for number in 0..count {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(&poll, &stream, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
            clients.push(Client { stream, sent: now(), received: Vec::new() });
        }
        Ok(Self { request: http::request(host, "/"), clients, poll })
    }

    /// Asks until the time is over, and then waits for the answers that are due. `at_end` is done at the end of the
    /// time, before that wait. The time goes on until there is an answer: a peer that is slow is no failure of the bench.
    pub(super) fn run<T>(&mut self, time: Duration, at_end: impl FnOnce() -> T) -> Result<(Spell, T), Error> {
        let mut spell = Spell::default();
        let begun = now();
        self.clients.iter_mut().try_for_each(|client| client.send(&self.request))?;
        while begun.elapsed() < time || (spell.taken.is_empty() && begun.elapsed() < time + PATIENCE) {
            interrupt::check()?;
            self.round(|client, request, taken| {
                spell.taken.push(taken);
                client.send(request)
            })?;
        }
        spell.time = begun.elapsed();
        let noted = at_end();
        let mut due = self.clients.len();
        while due > 0 {
            if begun.elapsed() > time + PATIENCE {
                return Err(format!("{due} of {} requests have no answer", self.clients.len()).into());
            }
            interrupt::check()?;
            self.round(|_, _, _| {
                due -= 1;
                Ok(())
            })?;
        }
        spell.taken.sort_unstable();
        Ok((spell, noted))
    }

    /// Waits for answers, and does with each client that has one what is wanted.
    fn round(
        &mut self,
        mut answered: impl FnMut(&mut Client, &[u8], Duration) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut events = Vec::with_capacity(EVENTS);
        let patience = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&patience)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        for event in events {
            let client = &mut self.clients[usize::try_from(event.data.u64())?];
            if client.receive()? {
                let taken = client.sent.elapsed();
                answered(client, &self.request, taken)?;
            }
        }
        Ok(())
    }
}

// === impl Client ===

impl Client {
    fn send(&mut self, request: &[u8]) -> Result<(), Error> {
        self.sent = now();
        // Its buffer is empty: nothing else is under way.
        Ok(self.stream.write_all(request)?)
    }

    /// Reads what is there; says whether the answer is whole.
    fn receive(&mut self) -> Result<bool, Error> {
        let mut piece = [0; PIECE];
        let count = match self.stream.read(&mut piece) {
            Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if self.received.is_empty() && is_whole(&piece[..count])? {
            return Ok(true);
        }
        self.received.extend_from_slice(&piece[..count]);
        let is_whole = is_whole(&self.received)?;
        if is_whole {
            self.received.clear();
        }
        Ok(is_whole)
    }
}

/// Is the answer whole, and what is expected of every one?
fn is_whole(received: &[u8]) -> Result<bool, Error> {
    match http::head(received)? {
        None => Ok(false),
        Some(head) if head.status != 200 => Err(format!("an answer was {}", head.status).into()),
        Some(head) => Ok(received.len() >= head.end + head.body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_last_byte_and_none_but_200_is_taken() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert!(is_whole(whole).expect("readable"));
        assert!(!is_whole(&whole[..whole.len() - 1]).expect("readable"));
        assert!(is_whole(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n").is_err());
    }
}
