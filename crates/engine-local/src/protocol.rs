//! What the server and the launcher say to each other.
//!
//! Frames on a UNIX stream socket: the length of the body as 4 bytes, little endian, then the body
//! as JSON. What a request brings along rides as file descriptors (`SCM_RIGHTS`) with the first byte of
//! its frame. Both sides say [`VERSION`] first and refuse any other: the launcher may be older than the
//! server that talks to it.
//!
//! A [`Launch`] holds what is somebody's (arguments, environment, secrets among them) and comes as a file in memory
//! that only the process of its container reads: the launcher, of which all sandboxes are made, never has it in
//! its own memory.
//!
//! A launcher serves one server after the other: when a connection ends without a farewell it keeps its instances and
//! waits for the next one, which is told of all of them before [`Report::Open`]. What was sent is kept until it is
//! acknowledged ([`Request::Taken`], [`Request::Forget`]), and sent again: something may come twice, nothing is lost.

mod launch;

pub(crate) use launch::Launch;

use std::path::PathBuf;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    fault::Fault,
    sandbox::{cgroups::Limits, isolation::Isolation, users::Identities},
};

/// The version of what is described here.
pub(crate) const VERSION: u32 = 8;

/// The longest body, in bytes. The longest there is carries lines of output, each byte of them written as the six of
/// `\u0001`.
pub(crate) const MAX_FRAME: usize = 16 << 20;

/// The most descriptors that come along with one request.
pub(crate) const DESCRIPTORS: usize = 2;

/// The most places where one container sees volumes: a template has no more (`updraft_model`).
pub(crate) const MOUNTS: usize = 32;

/// The longest piece of a line, in bytes.
pub(crate) const MAX_LINE: usize = 64 << 10;

/// Output of one container that may be on its way to the server, or wait for the next one, in bytes. When it is
/// reached, the launcher stops reading, the pipe fills and the container waits.
pub(crate) const WINDOW: usize = 256 << 10;

/// Server to launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The first frame. Where to write complaints may come along.
    Hello {
        /// The server's [`VERSION`].
        version: u32,
        /// The engine's tag.
        tag: String,
        /// A directory for the launcher alone.
        run_dir: PathBuf,
        /// How containers are kept apart.
        isolation: Isolation,
        /// Whether they have users of their own.
        identities: Identities,
        /// The OCI runtime that makes the sandboxes, if it is not the launcher; only with [`Isolation::Namespaces`].
        runtime: Option<PathBuf>,
        /// How long instances are kept while there is no server, in seconds; 0 keeps none.
        orphaned: u64,
    },
    /// Make a sandbox for a container that is to come. A network namespace comes along. Until it is used it is
    /// ended as a container is, and its end is an exit of the same name.
    Stock {
        /// What it is called.
        shell: String,
        /// What the container will want, as far as that can be told.
        ahead: Ahead,
    },
    /// Run a container. That which takes the traffic is called as its instance, others as [`sidecar`] says. Its
    /// [`Launch`] comes along and, where instances have one and the sandbox is not made
    /// yet, a network namespace.
    Start {
        /// The instance.
        id: String,
        /// The sandbox to use, which is called by the instance's id from then on. `None` makes one.
        shell: Option<String>,
        /// What it may use.
        limits: Limits,
        /// The volumes of its instance that it sees, in the order of [`Launch::mounts`].
        volumes: Vec<String>,
        /// What the next server has to know of it. The launcher does not look into it.
        memo: String,
    },
    /// Make the volumes of an instance. They are kept until its containers have them, and otherwise until
    /// [`Request::Forget`]. That they cannot be made is told by the starts that need them. What is in the files of
    /// secrets comes along, if there are some: one after the other, as a file in memory.
    Volumes {
        /// The instance.
        id: String,
        /// The volumes.
        volumes: Vec<Volume>,
    },
    /// Exchange the files of secrets of an instance, whose contents come along in the same way.
    Secrets {
        /// The instance.
        id: String,
        /// The files, by volume.
        volumes: Vec<(String, Vec<SecretFile>)>,
    },
    /// Ask the main process to end.
    Terminate {
        /// Which.
        id: String,
    },
    /// End every process of the container at once.
    Kill {
        /// Which.
        id: String,
    },
    /// Output has been dealt with and need not be kept.
    Taken {
        /// Of which container.
        id: String,
        /// Which, as [`Report::Output`] numbered it.
        number: u64,
    },
    /// The exit has been dealt with and need not be kept; nor need the volumes, if it is an instance.
    Forget {
        /// Of which container.
        id: String,
    },
    /// The last frame: nobody is to come after. Everything ends when the connection does.
    Farewell,
}

/// What is done for a container before there is one: a guess, and nobody's. Where it was right, nothing is left to do
/// on the way of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Ahead {
    /// What it may use.
    pub(crate) limits: Option<Limits>,
    /// Files of `/etc`: name and contents.
    pub(crate) etc: Vec<(String, String)>,
}

/// Launcher to server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The first frame.
    Hello {
        /// The launcher's [`VERSION`].
        version: u32,
    },
    /// A container that another server had started, or a sandbox that it had ordered; before [`Report::Open`]. What is
    /// kept of it follows: output, then an exit.
    Kept {
        /// Which.
        id: String,
        /// What its control groups are called.
        leaf: String,
        /// What its server noted; `None` for a sandbox that was not used, which is being ended.
        memo: Option<String>,
        /// Where the time of its start went, if its program runs or has run.
        steps: Option<Steps>,
        /// The process that all of the container's descend from, where no PID namespace holds them.
        keeper: Option<u32>,
    },
    /// The launcher is ready for starts; comes after everything it had kept.
    Open,
    /// The host does not let the launcher do its work; starts are refused.
    Unable {
        /// Why.
        cause: String,
    },
    /// A sandbox is made and waits.
    Stocked {
        /// Which.
        shell: String,
    },
    /// A start, or the making of a sandbox, was refused by the host before there was a process; nothing of it is left.
    Refused {
        /// Which.
        id: String,
        /// Why.
        cause: String,
    },
    /// Files of secrets could not be exchanged: they are what they were.
    Unchanged {
        /// Whose.
        id: String,
        /// Why.
        cause: String,
    },
    /// The entrypoint has been executed.
    Running {
        /// Which.
        id: String,
        /// Where the time went.
        steps: Steps,
        /// The process that all of the container's descend from, where no PID namespace holds them.
        keeper: Option<u32>,
    },
    /// Lines of output, without their ends.
    Output {
        /// Whose.
        id: String,
        /// On which stream.
        stream: Stream,
        /// What.
        lines: Vec<String>,
        /// Counts up, for each container.
        number: u64,
    },
    /// All of the container is gone; repeated after a reconnect until forgotten.
    Exited {
        /// Which.
        id: String,
        /// How.
        exit: Exit,
        /// When its first process had ended, in microseconds since 1970: a server that comes later cannot know it otherwise.
        at: u64,
    },
}

/// A volume in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Volume {
    /// Its name.
    pub(crate) name: String,
    /// In how many places containers see it.
    pub(crate) places: usize,
    /// What is in it.
    pub(crate) filling: Filling,
}

/// What is in a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Filling {
    /// Nothing yet.
    Empty {
        /// How much fits, in bytes.
        size_bytes: u64,
    },
    /// Files of secrets, which only the launcher changes.
    Secrets(Vec<SecretFile>),
}

/// A file of a secret, without what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SecretFile {
    /// Its path in the volume.
    pub(crate) path: String,
    /// Its mode.
    pub(crate) mode: u32,
    /// How long it is; `None` when there is nothing to be read, nor a file then.
    pub(crate) bytes: Option<u64>,
}

/// Where the time of a start went, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Steps {
    /// Control groups made and the process cloned; with a sandbox that waited, its limits set.
    pub(crate) clone: u64,
    /// In the new process: joining control groups and the network namespace, and the mounts that are the same for
    /// every container; nothing with a sandbox that waited.
    pub(crate) join: u64,
    /// The container's own mounts, up to the new root.
    pub(crate) mounts: u64,
    /// User, capabilities and filter, up to the call that executes.
    pub(crate) confine: u64,
    /// Until the launcher knew that the program runs.
    pub(crate) exec: u64,
}

/// One of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// By the kernel, for its memory; the highest use in bytes, 0 when unknown.
    OutOfMemory {
        /// The highest use.
        used: u64,
    },
    /// By itself, not well, after the kernel had refused it processes or threads.
    OutOfProcesses {
        /// How many it may have.
        limit: u32,
        /// How it ended, as a shell says it.
        status: i32,
    },
    /// Before it ran.
    NotStarted {
        /// Why.
        cause: Fault,
    },
}

/// What is wrong with bytes that were received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The length is beyond [`MAX_FRAME`].
    #[error("frame of {0} bytes is too long")]
    TooLong(usize),
    /// The body is not what this version understands.
    #[error("malformed frame")]
    Malformed(#[source] serde_json::Error),
}

/// Bytes that have been received and not been understood yet.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
}

/// What a sidecar of an instance is called here: instances' ids have no dots.
pub(crate) fn sidecar(instance: &str, name: &str) -> String {
    format!("{instance}.{name}")
}

/// The instance and the sidecar of what is called so; no sidecar for the container that takes the traffic.
pub(crate) fn member(id: &str) -> (&str, Option<&str>) {
    match id.split_once('.') {
        Some((instance, name)) => (instance, Some(name)),
        None => (id, None),
    }
}

/// A frame, ready to be sent.
///
/// # Errors
/// [`FrameError`] when it would be too long to be accepted.
pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message).map_err(FrameError::Malformed)?;
    let length = frame.len() - 4;
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    frame[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    Ok(frame)
}

// === impl Inbox ===

impl Inbox {
    /// Adds what was received.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > MAX_LINE {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next whole frame, if there is one.
    ///
    /// # Errors
    /// [`FrameError`]; the peer cannot be talked to any more.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let pending = &self.bytes[self.start..];
        let Some((head, rest)) = pending.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = serde_json::from_slice(body).map_err(FrameError::Malformed)?;
        self.start += 4 + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_fragmentation() {
        let first = Request::Kill { id: "a".to_owned() };
        let second = Request::Taken { id: "b".to_owned(), number: 7 };
        let bytes = [encode(&first).expect("short"), encode(&second).expect("short")].concat();
        let mut inbox = Inbox::default();
        let mut seen = Vec::new();
        for byte in bytes {
            inbox.push(&[byte]);
            seen.extend(inbox.next::<Request>().expect("well formed"));
        }
        assert_eq!(seen, [first, second]);
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_any_memory_is_taken() {
        let mut inbox = Inbox::default();
        inbox.push(&u32::MAX.to_le_bytes());
        assert!(matches!(inbox.next::<Request>(), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn an_unknown_message_is_refused() {
        let mut inbox = Inbox::default();
        let body = br#"{"Dance":{}}"#;
        inbox.push(&u32::try_from(body.len()).expect("short").to_le_bytes());
        inbox.push(body);
        assert!(matches!(inbox.next::<Request>(), Err(FrameError::Malformed(_))));
    }
}
