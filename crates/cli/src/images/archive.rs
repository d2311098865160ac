//! An image on this machine, as a stream: a file as it is, a directory as a tar archive made on the
//! way.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use reqwest::Body;
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use crate::error::CliError;

/// Bytes in one piece of a stream.
const PIECE: usize = 256 << 10;
/// Pieces that may wait to be sent.
const QUEUE: usize = 4;

/// An image on this machine.
#[derive(Debug)]
pub(super) enum Archive {
    /// A docker-archive or an oci-archive, and its length.
    File(File, u64),
    /// The directory of an OCI layout.
    Layout(PathBuf),
}

/// Opens what is at `path`.
pub(super) fn open(path: &Path) -> Result<Archive, CliError> {
    let wrong = |error: io::Error| CliError::failed(format!("cannot read {}: {error}", path.display()));
    let found = std::fs::metadata(path).map_err(wrong)?;
    if !found.is_dir() {
        return Ok(Archive::File(File::open(path).map_err(wrong)?, found.len()));
    }
    if !path.join("oci-layout").is_file() {
        return Err(CliError::failed(format!("{} is not an OCI layout: it holds no file oci-layout", path.display()))
            .with_hint("make one with 'skopeo copy docker://IMAGE oci:DIR', or give an archive of 'docker save'"));
    }
    Ok(Archive::Layout(path.to_owned()))
}

// === impl Archive ===

impl Archive {
    /// For people.
    pub(super) fn size(&self) -> String {
        match self {
            Self::File(_, bytes) => {
                let tenths = bytes / ((1 << 20) / 10);
                format!("{}.{} MiB", tenths / 10, tenths % 10)
            }
            Self::Layout(_) => "OCI layout".to_owned(),
        }
    }

    pub(super) fn into_body(self) -> Body {
        match self {
            Self::File(file, _) => {
                Body::wrap_stream(ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE))
            }
            Self::Layout(dir) => {
                let (pieces, mut queue) = mpsc::channel(QUEUE);
                // Ends by itself when the request does: then nobody takes its pieces.
                tokio::task::spawn_blocking(move || pack(&dir, &pieces));
                Body::wrap_stream(futures::stream::poll_fn(move |cx| queue.poll_recv(cx)))
            }
        }
    }
}

/// Sends `dir` as a tar archive. A failure is sent too, so that the server never takes a piece of an
/// archive for the whole.
fn pack(dir: &Path, pieces: &mpsc::Sender<io::Result<Bytes>>) {
    let mut writer = Pieces { pieces, buffer: BytesMut::with_capacity(PIECE) };
    let packed = (|| {
        let mut tar = tar::Builder::new(&mut writer);
        tar.append_dir_all(".", dir)?;
        tar.finish()
    })();
    let packed = packed.and_then(|()| writer.flush());
    if let Err(error) = packed {
        // When nobody listens any more there is nobody to tell.
        let _ = pieces.blocking_send(Err(error));
    }
}

/// Collects what is written and sends it in pieces.
struct Pieces<'a> {
    pieces: &'a mpsc::Sender<io::Result<Bytes>>,
    buffer: BytesMut,
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = self.buffer.split().freeze();
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}
