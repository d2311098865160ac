//! The server's end of the socket to the launcher, and the launcher's process.

use std::{
    fs, io,
    io::IoSlice,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    process::Stdio,
    time::Duration,
};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg, socketpair,
};
use tokio::{
    io::Interest,
    net::UnixStream,
    process::{Child, Command},
    sync::mpsc,
};
use updraft_base::Clock;

use super::config::LauncherCommand;
use crate::{
    protocol::{DESCRIPTORS, FrameError, Inbox, Report, Request, VERSION, encode},
    sandbox::isolation::Isolation,
    sys,
};

/// A frame on its way to the launcher.
#[derive(Debug)]
pub(super) struct Outgoing {
    frame: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// What is sent to a launcher that is alive. Dropping it asks the launcher to remove everything.
#[derive(Debug, Clone)]
pub(super) struct Link(mpsc::UnboundedSender<Outgoing>);

/// A launcher's process and socket, once it is ready.
#[derive(Debug)]
pub(super) struct Launcher {
    process: Child,
    socket: UnixStream,
    inbox: Inbox,
    queue: mpsc::UnboundedReceiver<Outgoing>,
}

/// What a launcher needs to know.
#[derive(Debug)]
pub(super) struct Orders<'a> {
    pub(super) command: &'a LauncherCommand,
    pub(super) tag: &'a str,
    pub(super) run_dir: &'a Path,
    pub(super) isolation: Isolation,
    pub(super) runtime: Option<&'a Path>,
    /// Held by the launcher as long as it lives.
    pub(super) lock: &'a fs::File,
    pub(super) clock: &'a Clock,
}

/// Why there is no launcher.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// The program cannot be executed, or the socket not be made.
    #[error("cannot start the launcher '{program}'")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The socket broke.
    #[error("the launcher ended")]
    Ended(#[source] io::Error),
    /// What came is not understood.
    #[error("the launcher sent what this version does not understand")]
    Frame(#[from] FrameError),
    /// It is another version.
    #[error("the launcher speaks version {0} of the protocol, this server {VERSION}")]
    Version(u32),
    /// It cannot work here.
    #[error("{0}")]
    Unable(String),
    /// It did not answer.
    #[error("the launcher does not answer")]
    Silent,
}

/// How long a launcher has to say that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(10);

// === impl Link ===

impl Link {
    /// Sends a request. False if the launcher is gone; that is noticed elsewhere.
    pub(super) fn send(&self, request: &Request, descriptors: Vec<OwnedFd>) -> Result<bool, FrameError> {
        let frame = encode(request)?;
        Ok(self.0.send(Outgoing { frame, descriptors }).is_ok())
    }
}

// === impl Launcher ===

impl Launcher {
    /// Starts a launcher and waits until it is ready.
    ///
    /// # Errors
    /// [`LinkError`]; nothing is left then but what the launcher removes by itself.
    pub(super) async fn spawn(orders: &Orders<'_>) -> Result<(Self, Link), LinkError> {
        let spawn = |source| LinkError::Spawn { program: orders.command.program.display().to_string(), source };
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|e| spawn(e.into()))?;
        let ours = std::os::unix::net::UnixStream::from(ours);
        ours.set_nonblocking(true).map_err(spawn)?;
        let socket = UnixStream::from_std(ours).map_err(spawn)?;
        let program = if orders.isolation.is_shared() {
            // It takes CAP_SYS_ADMIN to do better. A root directory without `/proc` does not show the file.
            fs::File::open(&orders.command.program).map_err(spawn)?.into()
        } else {
            // Never the host's file itself: a container can get hold of `/proc/self/exe` of what made it.
            sys::programs::read_only(&orders.command.program).map_err(spawn)?
        };
        let process = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
            .arg0(&orders.command.program)
            .args(&orders.command.args)
            // The server's environment may hold secrets; its containers' launcher needs none of it.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(orders.lock.try_clone().map_err(spawn)?))
            .spawn()
            .map_err(spawn)?;
        let (sender, queue) = mpsc::unbounded_channel();
        let mut launcher = Self { process, socket, inbox: Inbox::default(), queue };
        let ready = orders.clock.timeout(READY_WITHIN, launcher.greet(orders)).await;
        if let Err(error) = ready.unwrap_or(Err(LinkError::Silent)) {
            launcher.end(orders.clock).await;
            return Err(error);
        }
        Ok((launcher, Link(sender)))
    }

    /// The number of the process, while it lives.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    async fn greet(&mut self, orders: &Orders<'_>) -> Result<(), LinkError> {
        let hello = Request::Hello {
            version: VERSION,
            tag: orders.tag.to_owned(),
            run_dir: orders.run_dir.to_owned(),
            isolation: orders.isolation,
            runtime: orders.runtime.map(Path::to_owned),
        };
        let hello = Outgoing { frame: encode(&hello)?, descriptors: Vec::new() };
        write(&self.socket, hello).await.map_err(LinkError::Ended)?;
        loop {
            match read(&self.socket, &mut self.inbox).await? {
                Report::Hello { version } if version != VERSION => return Err(LinkError::Version(version)),
                Report::Unable { cause } => return Err(LinkError::Unable(cause)),
                Report::Open => return Ok(()),
                // A launcher of ours has nothing else to say before.
                _ => {}
            }
        }
    }

    /// Carries requests out and reports in until the launcher ends, or until the last [`Link`] has
    /// been dropped.
    pub(super) async fn serve(&mut self, mut report: impl FnMut(Report)) -> Result<(), LinkError> {
        let Self { socket, inbox, queue, .. } = self;
        let send = async {
            while let Some(outgoing) = queue.recv().await {
                write(socket, outgoing).await.map_err(LinkError::Ended)?;
            }
            Ok(())
        };
        let receive = async {
            loop {
                report(read(socket, inbox).await?);
            }
        };
        tokio::select! {
            sent = send => sent,
            received = receive => received,
        }
    }

    /// Closes the socket and waits for the end of the process, which removes everything before. One
    /// that does not end is killed; the kernel ends its containers with it.
    pub(super) async fn end(self, clock: &Clock) {
        const PATIENCE: Duration = Duration::from_secs(15);
        let Self { mut process, socket, .. } = self;
        drop(socket);
        if clock.timeout(PATIENCE, process.wait()).await.is_err() {
            tracing::warn!("the launcher does not end and is killed");
            let _ = process.kill().await;
        }
    }
}

/// Writes one frame; the descriptors ride with its first byte.
async fn write(socket: &UnixStream, outgoing: Outgoing) -> io::Result<()> {
    let Outgoing { frame, mut descriptors } = outgoing;
    let mut left = frame.as_slice();
    while !left.is_empty() {
        let sent = socket.async_io(Interest::WRITABLE, || send(socket, left, &descriptors)).await?;
        left = &left[sent..];
        descriptors.clear();
    }
    Ok(())
}

fn send(socket: &UnixStream, bytes: &[u8], descriptors: &[OwnedFd]) -> io::Result<usize> {
    let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags).map_err(Into::into)
}

/// Reads until a whole report is there.
async fn read(socket: &UnixStream, inbox: &mut Inbox) -> Result<Report, LinkError> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        if let Some(report) = inbox.next()? {
            return Ok(report);
        }
        socket.readable().await.map_err(LinkError::Ended)?;
        match socket.try_read(&mut buffer) {
            Ok(0) => return Err(LinkError::Ended(io::ErrorKind::UnexpectedEof.into())),
            Ok(length) => inbox.push(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(LinkError::Ended(error)),
        }
    }
}
