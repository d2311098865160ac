//! What a container is made of, as a file in memory.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    os::fd::OwnedFd,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use updraft_model::Confidential;

use crate::sandbox::cgroups::Limits;

/// The longest [`Launch`], in bytes: one whose arguments and environment are as long as Linux takes them
/// (`sandbox::process::STRINGS`, checked when an image is prepared), written in the same way.
const MAX_LAUNCH: u64 = 16 << 20;

/// A container to start: everything is decided.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// The instance.
    pub(crate) id: String,
    /// The image's layers, lowest first.
    pub(crate) layers: Vec<PathBuf>,
    /// A copy of the image that is the container's alone, where layers cannot be stacked.
    pub(crate) root: Option<PathBuf>,
    /// The program and its arguments; never empty.
    pub(crate) argv: Vec<String>,
    /// The environment, each name once.
    pub(crate) env: Vec<(String, String)>,
    /// The user as the image names it: `""`, `name`, `uid`, `name:group`, `uid:gid`.
    pub(crate) user: String,
    /// The working directory, absolute.
    pub(crate) working_dir: String,
    /// The host name.
    pub(crate) hostname: String,
    /// Files of `/etc` that the host provides: name, contents.
    pub(crate) etc: Vec<(String, String)>,
    /// Where it sees volumes: absolute paths.
    pub(crate) mounts: Vec<String>,
    /// What it may use.
    pub(crate) limits: Limits,
}

// === impl Launch ===

impl Launch {
    /// As a file in memory, to be handed over. Of the values of variables nothing stays behind in our own.
    ///
    /// # Errors
    /// The host's, and `InvalidInput` when it is longer than [`MAX_LAUNCH`].
    pub(crate) fn write(mut self) -> io::Result<OwnedFd> {
        let file = rustix::fs::memfd_create(c"launch", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = File::from(file);
        // Long enough from the beginning: a vector that grows leaves copies.
        let variables = self.env.iter().map(|(name, value)| name.len() + value.len());
        let mut bytes = Vec::with_capacity(variables.sum::<usize>() * 6 + (64 << 10));
        let written = serde_json::to_writer(&mut bytes, &self).map_err(io::Error::from).and_then(|()| {
            if bytes.len() as u64 > MAX_LAUNCH {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "arguments and environment are too long"));
            }
            file.write_all(&bytes)
        });
        let values = self.env.drain(..).map(|(_, value)| value.into_bytes());
        values.chain([bytes]).for_each(|bytes| drop(Confidential::new(bytes)));
        written.map(|()| file.into())
    }

    /// The other end of [`Launch::write`].
    ///
    /// # Errors
    /// The host's, and when it is not what this version understands.
    pub(crate) fn read(file: OwnedFd) -> io::Result<Self> {
        let mut file = File::from(file);
        file.rewind()?;
        let length = file.metadata()?.len().min(MAX_LAUNCH);
        // One byte more, or the end takes another buffer to be found.
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
        file.take(MAX_LAUNCH).read_to_end(&mut bytes)?;
        serde_json::from_slice(&bytes).map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::MOUNTS;

    #[test]
    fn the_longest_launch_that_linux_would_take_arrives() {
        let launch = Launch {
            id: "i".repeat(128),
            layers: vec![PathBuf::from("l".repeat(4096)); 127],
            root: None,
            argv: vec!["/app".to_owned()],
            env: vec![("A".to_owned(), "\u{1}".repeat(crate::sandbox::process::STRINGS))],
            user: "u".repeat(4096),
            working_dir: "w".repeat(4096),
            hostname: "localhost".to_owned(),
            etc: vec![("resolv.conf".to_owned(), "r".repeat(64 << 10))],
            mounts: vec!["m".repeat(4096); MOUNTS],
            limits: Limits { cpu_millis: u32::MAX, memory_bytes: u64::MAX, pids: u32::MAX, ..Limits::default() },
        };
        let file = launch.clone().write().expect("short enough");
        assert_eq!(Launch::read(file).expect("the same"), launch);
    }
}
