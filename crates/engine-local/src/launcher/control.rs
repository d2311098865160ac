//! The launcher's end of the socket to the server: never blocks, keeps what cannot be sent yet.
//!
//! What is kept is bounded by the windows of the containers (`protocol::WINDOW`) and one exit each, and goes with the
//! connection: whatever has to be told to the next server is kept elsewhere.

use std::{
    collections::VecDeque,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, Shutdown, recvmsg, send, shutdown},
};

use crate::protocol::{DESCRIPTORS, FrameError, Inbox, Report, Request, encode};

/// The socket with what is on its way.
#[derive(Debug)]
pub(crate) struct Control {
    socket: OwnedFd,
    inbox: Inbox,
    descriptors: VecDeque<OwnedFd>,
    out: VecDeque<u8>,
    /// Has the server greeted? Before it has, nothing is for its ears: it is told everything in order afterwards.
    greeted: bool,
    /// Nothing that is sent arrives any more.
    deaf: bool,
    closed: bool,
}

/// Of how many frames the descriptors may arrive at once: the kernel ends a read where the next ones begin.
const FEW: usize = 4;

// === impl Control ===

impl Control {
    /// Takes the socket over.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            inbox: Inbox::default(),
            descriptors: VecDeque::new(),
            out: VecDeque::new(),
            greeted: false,
            deaf: false,
            closed: false,
        }
    }

    /// For polling.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The server has greeted.
    pub(crate) fn greeted(&mut self) {
        self.greeted = true;
    }

    /// There is nothing more to be said to this server.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.out.clear();
        let _ = shutdown(&self.socket, Shutdown::Both);
    }

    /// Has the server gone, and has all been read that it had sent?
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Does something wait to be sent?
    pub(crate) fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Reads what is there, up to what one turn may take.
    pub(crate) fn receive(&mut self) -> io::Result<()> {
        // Small: what is written to here is copied again after each fork.
        let mut bytes = [0u8; 8 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FEW * DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            // A server that was killed did not read all that it had been sent.
            Err(Errno::CONNRESET | Errno::PIPE) => {
                self.closed = true;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if received.bytes == 0 {
            self.closed = true;
        }
        self.inbox.push(&bytes[..received.bytes]);
        Ok(())
    }

    /// The next whole request.
    pub(crate) fn next(&mut self) -> Result<Option<Request>, FrameError> {
        self.inbox.next()
    }

    /// The descriptor that came along with a request.
    pub(crate) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    /// Sends a report, now or as soon as the server takes it.
    pub(crate) fn report(&mut self, report: &Report) {
        if self.closed || self.deaf || !self.greeted {
            return;
        }
        // Our own reports are far below the limit of a frame.
        if let Ok(frame) = encode(report) {
            self.out.extend(frame);
            self.flush();
        }
    }

    /// Sends what waits, as far as the server takes it.
    pub(crate) fn flush(&mut self) {
        while !self.out.is_empty() && !self.closed {
            let (first, _) = self.out.as_slices();
            match send(&self.socket, first, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                // What it had said before is still to be read.
                Err(_) => {
                    self.deaf = true;
                    self.out.clear();
                }
            }
        }
    }
}
