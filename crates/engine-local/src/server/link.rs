//! The server's end of the socket to the launcher, and the launcher's process.

use std::{
    fs, io,
    io::IoSlice,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, connect, sendmsg,
        socket_with, socketpair, sockopt,
    },
    process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
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
    sandbox::{isolation::Isolation, users::Identities},
    sys::{self, succession},
};

/// A frame on its way to the launcher.
#[derive(Debug)]
pub(super) struct Outgoing {
    frame: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// What is sent to a launcher that is alive. Dropping it ends the connection: after a [`Request::Farewell`] the
/// launcher removes everything, without one it waits for the next server.
#[derive(Debug, Clone)]
pub(super) struct Link(mpsc::UnboundedSender<Outgoing>);

/// A launcher's process and socket, once it is ready.
#[derive(Debug)]
pub(super) struct Launcher {
    process: Process,
    socket: UnixStream,
    inbox: Inbox,
    queue: mpsc::UnboundedReceiver<Outgoing>,
}

/// Its process: our own child, or a predecessor's.
#[derive(Debug)]
enum Process {
    Child(Box<Child>),
    Found(u32, Arc<OwnedFd>),
}

/// What a launcher needs to know.
#[derive(Debug)]
pub(super) struct Orders<'a> {
    pub(super) command: &'a LauncherCommand,
    pub(super) tag: &'a str,
    pub(super) run_dir: &'a Path,
    pub(super) isolation: Isolation,
    pub(super) identities: Identities,
    pub(super) runtime: Option<&'a Path>,
    /// How long it keeps instances without a server.
    pub(super) orphaned: Duration,
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
    /// Another launcher is alive.
    #[error("the launcher's lock is taken")]
    Lock(#[source] io::Error),
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
    /// There is none that waits for a server.
    #[error("no launcher waits for a server")]
    NotThere(#[source] io::Error),
    /// Whoever answers is not our own.
    #[error("what answers is of another user")]
    Stranger,
    /// It is of another build, which may make its sandboxes otherwise.
    #[error("it executes another program than this server")]
    OtherBuild,
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
    /// Starts a launcher, which holds `lock` as long as it lives, and waits until it is ready.
    ///
    /// # Errors
    /// [`LinkError`]; nothing is left then but what the launcher removes by itself.
    pub(super) async fn spawn(orders: &Orders<'_>, lock: fs::File) -> Result<(Self, Link), LinkError> {
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
        let child = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
            .arg0(&orders.command.program)
            .args(&orders.command.args)
            // The server's environment may hold secrets; its containers' launcher needs none of it.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(lock))
            .spawn()
            .map_err(spawn)?;
        let (sender, queue) = mpsc::unbounded_channel();
        let mut launcher = Self { process: Process::Child(Box::new(child)), socket, inbox: Inbox::default(), queue };
        let ready = orders.clock.timeout(READY_WITHIN, launcher.greet(orders, None)).await;
        if let Err(error) = ready.unwrap_or(Err(LinkError::Silent)) {
            launcher.end(orders.clock).await;
            return Err(error);
        }
        Ok((launcher, Link(sender)))
    }

    /// Connects to the launcher that a dead server left, if one waits. Returns what it keeps, too.
    ///
    /// # Errors
    /// [`LinkError::NotThere`] when none waits. With any other there was one that is of no use to us, and it has been
    /// killed.
    pub(super) async fn meet(orders: &Orders<'_>) -> Result<(Self, Link, Vec<Report>), LinkError> {
        let (mut launcher, link) = Self::find(orders)?;
        let complaints = io::stderr().as_fd().try_clone_to_owned().ok();
        let greeted = async {
            let pid = launcher.pid().unwrap_or(0);
            if !succession::executes(pid, &orders.command.program) {
                return Err(LinkError::OtherBuild);
            }
            launcher.greet(orders, complaints).await
        };
        match orders.clock.timeout(READY_WITHIN, greeted).await.unwrap_or(Err(LinkError::Silent)) {
            Ok(kept) => Ok((launcher, link, kept)),
            Err(error) => {
                launcher.kill().await;
                Err(error)
            }
        }
    }

    /// The launcher that waits for a server, not greeted yet.
    ///
    /// # Errors
    /// [`LinkError::NotThere`] and [`LinkError::Stranger`].
    pub(super) fn find(orders: &Orders<'_>) -> Result<(Self, Link), LinkError> {
        let absent = LinkError::NotThere;
        let dir = fs::File::open(orders.run_dir).map_err(absent)?;
        let address = succession::address(dir.as_fd()).map_err(absent)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = socket.map_err(|error| absent(error.into()))?;
        connect(&socket, &address).map_err(|error| absent(error.into()))?;
        let peer = sockopt::socket_peercred(&socket).map_err(|error| absent(error.into()))?;
        if peer.uid != rustix::process::geteuid() {
            return Err(LinkError::Stranger);
        }
        // While it is connected to us the number is its own.
        let handle = pidfd_open(peer.pid, PidfdFlags::empty()).map_err(|error| absent(error.into()))?;
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true).map_err(absent)?;
        let socket = UnixStream::from_std(socket).map_err(absent)?;
        let (sender, queue) = mpsc::unbounded_channel();
        let process = Process::Found(peer.pid.as_raw_nonzero().get().unsigned_abs(), Arc::new(handle));
        Ok((Self { process, socket, inbox: Inbox::default(), queue }, Link(sender)))
    }

    /// The number of the process, while it lives.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.process {
            Process::Child(child) => child.id(),
            Process::Found(pid, _) => Some(*pid),
        }
    }

    /// Greets, and hears what it has kept.
    async fn greet(&mut self, orders: &Orders<'_>, complaints: Option<OwnedFd>) -> Result<Vec<Report>, LinkError> {
        let hello = Request::Hello {
            version: VERSION,
            tag: orders.tag.to_owned(),
            run_dir: orders.run_dir.to_owned(),
            isolation: orders.isolation,
            identities: orders.identities,
            runtime: orders.runtime.map(Path::to_owned),
            orphaned: orders.orphaned.as_secs(),
        };
        let hello = Outgoing { frame: encode(&hello)?, descriptors: complaints.into_iter().collect() };
        write(&self.socket, hello).await.map_err(LinkError::Ended)?;
        let mut kept = Vec::new();
        loop {
            match read(&self.socket, &mut self.inbox).await? {
                Report::Hello { version } if version != VERSION => return Err(LinkError::Version(version)),
                Report::Unable { cause } => return Err(LinkError::Unable(cause)),
                Report::Open => return Ok(kept),
                Report::Hello { .. } => {}
                report => kept.push(report),
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

    /// Closes the socket and waits for the end of the process, which removes everything before, if it was told or has
    /// nothing to keep. One that does not end is killed; the kernel ends its containers with it.
    pub(super) async fn end(self, clock: &Clock) {
        const PATIENCE: Duration = Duration::from_secs(15);
        let Self { mut process, socket, .. } = self;
        drop(socket);
        if clock.timeout(PATIENCE, process.wait()).await.is_err() {
            tracing::warn!("the launcher does not end and is killed");
            process.kill().await;
        }
    }

    /// Ends one that cannot be talked to, or has ended by itself.
    pub(super) async fn kill(mut self) {
        self.process.kill().await;
    }
}

// === impl Process ===

impl Process {
    async fn wait(&mut self) {
        match self {
            // It is our child: this cannot fail.
            Self::Child(child) => drop(child.wait().await),
            Self::Found(_, handle) => while !ended(handle).await {},
        }
    }

    async fn kill(&mut self) {
        match self {
            Self::Child(child) => drop(child.kill().await),
            Self::Found(_, handle) => {
                let _ = pidfd_send_signal(&**handle, Signal::KILL);
                self.wait().await;
            }
        }
    }
}

/// Waits for a moment: has the process ended? Somebody else's child, it tells nobody by itself.
async fn ended(handle: &Arc<OwnedFd>) -> bool {
    const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let handle = handle.clone();
    let wait = move || {
        let mut polled = [PollFd::new(&*handle, PollFlags::IN)];
        poll(&mut polled, Some(&MOMENT)).is_ok_and(|ready| ready > 0)
    };
    // Without threads the runtime is going down, and nobody waits any more.
    tokio::task::spawn_blocking(wait).await.unwrap_or(true)
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
    loop {
        if let Some(report) = inbox.next()? {
            return Ok(report);
        }
        socket.readable().await.map_err(LinkError::Ended)?;
        let mut buffer = [0; 16 << 10];
        match socket.try_read(&mut buffer) {
            Ok(0) => return Err(LinkError::Ended(io::ErrorKind::UnexpectedEof.into())),
            Ok(length) => inbox.push(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(LinkError::Ended(error)),
        }
    }
}
