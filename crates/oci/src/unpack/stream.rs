//! The bytes of a layer: inflated, measured and hashed on the way.

use std::{
    cell::Cell,
    io::{self, BufRead, BufReader, Read},
    rc::Rc,
};

use sha2::{Digest as _, Sha256};

use super::{Budget, UnpackError, UnpackLimits};
use crate::digest::Digest;

const BUFFER: usize = 128 << 10;

/// The uncompressed tar of a layer.
pub(super) struct LayerStream<'a> {
    inner: Box<dyn Read + 'a>,
    /// Compressed bytes read so far.
    input: Rc<Cell<u64>>,
    output: u64,
    hash: Sha256,
    limits: UnpackLimits,
    budget: &'a Budget,
}

struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

/// How a layer is compressed. The first bytes decide: media types are wrong in the wild, and the
/// diff id tells in the end whether the right bytes came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
    /// Known, and not supported: its name.
    Other(&'static str),
}

// === impl LayerStream ===

impl<'a> LayerStream<'a> {
    pub(super) fn open(blob: impl Read + 'a, limits: &UnpackLimits, budget: &'a Budget) -> Result<Self, UnpackError> {
        let input = Rc::new(Cell::new(0));
        let counted = Counted { inner: blob, count: input.clone() };
        let inner = inflate(counted).map_err(UnpackError::reading)?;
        Ok(Self { inner, input, output: 0, hash: Sha256::new(), limits: *limits, budget })
    }

    /// Reads what is left after the tar's end (padding belongs to the digest too) and gives the
    /// digest and the size of the whole.
    pub(super) fn finish(mut self) -> Result<(Digest, u64), UnpackError> {
        let mut rest = vec![0; BUFFER];
        while self.read(&mut rest).map_err(UnpackError::reading)? > 0 {}
        Ok((Digest::from_hash(self.hash), self.output))
    }

    fn check(&self, read: usize) -> Result<(), UnpackError> {
        self.budget.spend(read as u64)?;
        let UnpackLimits { ratio, ratio_from, .. } = self.limits;
        if self.output > ratio_from && self.output / ratio > self.input.get() {
            let text = format!("it unpacks to more than {ratio} times its size, which no honest layer does");
            return Err(UnpackError::Layer(text));
        }
        Ok(())
    }
}

impl Read for LayerStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.output += read as u64;
        self.check(read).map_err(io::Error::other)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

// === impl Counted ===

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

// === impl Compression ===

impl Compression {
    pub(crate) fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame; zstd:chunked and pzstd may begin with one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', ..] => Self::Other("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => Self::Other("xz"),
            _ => Self::None,
        }
    }
}

/// `reader` as plain bytes, whatever it is compressed with.
fn inflate<'a>(reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut reader = BufReader::with_capacity(BUFFER, reader);
    Ok(match Compression::of(reader.fill_buf()?) {
        Compression::None => Box::new(reader),
        // Some tools write several members, one after the other.
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(reader)?),
        Compression::Other(name) => {
            return Err(io::Error::other(format!("it is compressed with {name}; gzip, zstd and none are supported")));
        }
    })
}
