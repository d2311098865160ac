//! Reading tar entries with bounds.
//!
//! The `tar` crate decodes header fields; what strings headers together (PAX, GNU long names) is
//! here, because it must not read an announced gigabyte of "name" into memory, and because the
//! crate splits PAX records at line ends, which binary values such as `security.capability` contain.

use std::io::Read;

use tar::Header;

use super::{UnpackError, UnpackLimits};

const BLOCK: usize = 512;
/// The most that the headers of one entry may hold: xattrs are at most 64 KiB each in the kernel.
const MAX_METADATA: u64 = 1 << 20;

/// One entry, names checked for form but not resolved.
#[derive(Debug)]
pub(super) struct Entry {
    /// Relative, without `.`, `..`, empty parts or a slash at the end; empty for the root.
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) meta: Meta,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File {
        size: u64,
    },
    Directory,
    /// As written: a symlink may point anywhere, it is never followed here.
    Symlink(String),
    /// A path in the layer, in the form of [`Entry::path`].
    HardLink(String),
    Fifo,
    Device,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Meta {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Permission bits, set-id and sticky bits included.
    pub(super) mode: u32,
    /// Seconds and nanoseconds since 1970.
    pub(super) mtime: (i64, u32),
    pub(super) xattrs: Vec<(String, Vec<u8>)>,
}

/// What came before an entry's own header.
#[derive(Default)]
struct Extra {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(String, Vec<u8>)>,
}

pub(super) struct TarReader<R> {
    inner: R,
    limits: UnpackLimits,
    /// Bytes of the current entry that nobody has read yet.
    left: u64,
    /// Zeros after them, up to the next block.
    padding: u64,
    /// What the headers of the next entry may still hold, all of them together.
    metadata_left: u64,
}

// === impl TarReader ===

impl<R: Read> TarReader<R> {
    pub(super) fn new(inner: R, limits: &UnpackLimits) -> Self {
        Self { inner, limits: *limits, left: 0, padding: 0, metadata_left: MAX_METADATA }
    }

    pub(super) fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry; what was not read of the one before is skipped.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut extra = Extra::default();
        self.metadata_left = MAX_METADATA;
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = number(&header.as_old().size, "size")?;
            match header.entry_type().as_byte() {
                b'x' => extra.take_pax(&self.metadata(size)?)?,
                b'g' => drop(self.metadata(size)?),
                b'L' => extra.path = Some(until_nul(self.metadata(size)?)),
                b'K' => extra.link = Some(until_nul(self.metadata(size)?)),
                kind => return self.entry(&header, kind, extra).map(Some),
            }
        }
    }

    /// The next bytes of the current entry's content.
    pub(super) fn read_content(&mut self, buffer: &mut [u8]) -> Result<usize, UnpackError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.inner.read(&mut buffer[..most]).map_err(UnpackError::reading)?;
        if read == 0 {
            return Err(UnpackError::layer("the layer ends in the middle of a file"));
        }
        self.left -= read as u64;
        Ok(read)
    }

    fn entry(&mut self, header: &Header, kind: u8, extra: Extra) -> Result<Entry, UnpackError> {
        let old = header.as_old();
        let raw = extra.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let is_dir_name = raw.ends_with(b"/");
        let path = self.clean(raw)?;
        let link = || {
            let raw = extra.link.clone().or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
            utf8(raw.unwrap_or_default())
        };
        let size = extra.size.map_or_else(|| number(&old.size, "size"), Ok)?;
        let kind = match kind {
            // The oldest tars mark a directory only by the slash at its end.
            b'0' | 0 if is_dir_name => Kind::Directory,
            b'0' | 0 | b'7' => Kind::File { size },
            b'1' => Kind::HardLink(self.clean(link()?.into_bytes())?),
            b'2' => Kind::Symlink(self.symlink_target(&path, link()?)?),
            b'3' | b'4' => Kind::Device,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'S' => return Err(UnpackError::layer(format!("'{path}' is a sparse entry, which is not supported"))),
            other => {
                let other = char::from(other);
                return Err(UnpackError::layer(format!("'{path}' is an entry of unknown type {other:?}")));
            }
        };
        // Links, directories and devices have no content, whatever their size field says.
        self.expect(if let Kind::File { size } = kind { size } else { 0 });
        let meta = Meta {
            uid: id(extra.uid.map_or_else(|| number(&old.uid, "uid"), Ok)?, &path)?,
            gid: id(extra.gid.map_or_else(|| number(&old.gid, "gid"), Ok)?, &path)?,
            mode: number::<u32>(&old.mode, "mode")? & 0o7777,
            mtime: match extra.mtime {
                Some(mtime) => mtime,
                None => (number(&old.mtime, "mtime")?, 0),
            },
            xattrs: extra.xattrs,
        };
        Ok(Entry { path, kind, meta })
    }

    fn clean(&self, raw: Vec<u8>) -> Result<String, UnpackError> {
        let raw = utf8(raw)?;
        if raw.len() > self.limits.path {
            return Err(UnpackError::Layer(format!("a path is longer than {} bytes", self.limits.path)));
        }
        // A leading slash means the image's root, as for every other unpacker.
        let parts: Vec<&str> = raw.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.len() > self.limits.depth {
            return Err(UnpackError::Layer(format!("a path is deeper than {} directories", self.limits.depth)));
        }
        if parts.contains(&"..") {
            return Err(UnpackError::Layer(format!("the path '{raw}' has a '..' in it")));
        }
        if parts.iter().any(|part| part.len() > 255) {
            return Err(UnpackError::layer("a file name is longer than 255 bytes"));
        }
        Ok(parts.join("/"))
    }

    fn symlink_target(&self, path: &str, target: String) -> Result<String, UnpackError> {
        if target.is_empty() || target.len() > self.limits.path {
            return Err(UnpackError::Layer(format!("the symbolic link '{path}' has an empty or too long target")));
        }
        Ok(target)
    }

    /// The next header that is not zeros; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? {
            return Ok(None);
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            let more = self.block(header.as_mut_bytes())?;
            if more && header.as_bytes().iter().any(|byte| *byte != 0) {
                return Err(UnpackError::layer("the tar goes on after its end"));
            }
            return Ok(None);
        }
        let bytes = header.as_bytes();
        let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        if number::<u32>(&header.as_old().cksum, "checksum")? != sum {
            return Err(UnpackError::layer("it is not a tar, or a damaged one: a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    /// Fills one block; false when the stream ends before it.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, UnpackError> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(&mut block[filled..]).map_err(UnpackError::reading)? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(UnpackError::layer("the layer ends in the middle of a header")),
                read => filled += read,
            }
        }
        Ok(true)
    }

    fn metadata(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        // Its own block counts too, or empty ones could go on for ever.
        let Some(left) = self.metadata_left.checked_sub(size.saturating_add(BLOCK as u64)) else {
            return Err(UnpackError::Layer(format!("the headers of an entry are larger than {MAX_METADATA} bytes")));
        };
        self.metadata_left = left;
        self.expect(size);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += self.read_content(&mut bytes[filled..])?;
        }
        Ok(bytes)
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn skip(&mut self) -> Result<(), UnpackError> {
        // The last entry's padding may be missing at the end of the stream, as tar itself accepts.
        let mut buffer = [0; 8192];
        while self.left > 0 {
            self.read_content(&mut buffer)?;
        }
        while self.padding > 0 {
            let most = usize::try_from(self.padding).unwrap_or(BLOCK);
            match self.inner.read(&mut buffer[..most]).map_err(UnpackError::reading)? {
                0 => break,
                read => self.padding -= read as u64,
            }
        }
        self.padding = 0;
        Ok(())
    }
}

// === impl Extra ===

impl Extra {
    /// PAX records: `<length> <key>=<value>\n`, the length counting the whole record.
    fn take_pax(&mut self, mut bytes: &[u8]) -> Result<(), UnpackError> {
        let malformed = || UnpackError::layer("a PAX header is malformed");
        while !bytes.is_empty() {
            let space = bytes.iter().take(20).position(|byte| *byte == b' ').ok_or_else(malformed)?;
            let length: usize = ascii(&bytes[..space]).ok_or_else(malformed)?;
            if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
                return Err(malformed());
            }
            let record = &bytes[space + 1..length - 1];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
            let key = std::str::from_utf8(&record[..equals]).map_err(|_| malformed())?;
            self.take_record(key, &record[equals + 1..]).ok_or_else(malformed)?;
            if key.starts_with("GNU.sparse.") {
                return Err(UnpackError::layer("it has a sparse entry, which is not supported"));
            }
            bytes = &bytes[length..];
        }
        Ok(())
    }

    fn take_record(&mut self, key: &str, value: &[u8]) -> Option<()> {
        match key {
            "path" => self.path = Some(value.to_vec()),
            "linkpath" => self.link = Some(value.to_vec()),
            "size" => self.size = Some(ascii(value)?),
            "uid" => self.uid = Some(ascii(value)?),
            "gid" => self.gid = Some(ascii(value)?),
            "mtime" => self.mtime = Some(time(std::str::from_utf8(value).ok()?)?),
            _ => {
                if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                    self.xattrs.push((name.to_owned(), value.to_vec()));
                }
            }
        }
        Some(())
    }
}

/// A numeric field: octal digits, nothing at all (zero, as other readers have it), or GNU's binary form
/// for what octal digits cannot hold.
fn number<T: TryFrom<i128>>(field: &[u8], name: &str) -> Result<T, UnpackError> {
    let value = match field {
        [first, rest @ ..] if first & 0x80 != 0 => {
            // The bits below the mark, the highest of them the sign.
            let start = i128::from(((first << 1) as i8) >> 1);
            rest.iter().try_fold(start, |sum, byte| Some(sum.checked_mul(256)? + i128::from(*byte)))
        }
        _ => {
            let text = std::str::from_utf8(field).unwrap_or("?");
            let digits = text.split('\0').next().unwrap_or_default().trim();
            if digits.is_empty() { Some(0) } else { i128::from_str_radix(digits, 8).ok() }
        }
    };
    let bad = || UnpackError::Layer(format!("it is not a tar, or a damaged one: bad {name} in a header"));
    value.and_then(|value| T::try_from(value).ok()).ok_or_else(bad)
}

fn id(value: u64, path: &str) -> Result<u32, UnpackError> {
    // The largest is the kernel's "leave as it is", so nobody can own a file with it.
    u32::try_from(value)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| UnpackError::Layer(format!("'{path}' belongs to the impossible id {value}")))
}

fn utf8(raw: Vec<u8>) -> Result<String, UnpackError> {
    match String::from_utf8(raw) {
        Ok(text) if text.contains('\0') => Err(UnpackError::layer("a file name contains a zero byte")),
        Ok(text) => Ok(text),
        // Cloud Run's rule: images with such names do not deploy.
        Err(error) => {
            let name = String::from_utf8_lossy(error.as_bytes()).into_owned();
            Err(UnpackError::Layer(format!("the file name '{name}' is not UTF-8")))
        }
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn ascii<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// `-12.25` as seconds (rounded down) and nanoseconds.
fn time(text: &str) -> Option<(i64, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some((seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_1970_are_read() {
        assert_eq!(time("12"), Some((12, 0)));
        assert_eq!(time("12.25"), Some((12, 250_000_000)));
        assert_eq!(time("-1.5"), Some((-2, 500_000_000)));
        assert_eq!(time("x"), None);
    }

    #[test]
    fn numbers_are_octal_or_binary_or_absent() {
        assert_eq!(number::<u64>(b"0000644\0", "n").expect("octal"), 0o644);
        assert_eq!(number::<u64>(b"    644 ", "n").expect("octal"), 0o644);
        assert_eq!(number::<u64>(&[0; 8], "n").expect("absent"), 0);
        let large = [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0];
        assert_eq!(number::<u64>(&large, "n").expect("binary"), 2 << 32);
        assert_eq!(number::<i64>(&[0xff; 12], "n").expect("negative"), -1);
        assert!(number::<u64>(&[0xff; 12], "n").is_err());
        assert!(number::<u64>(b"9\0", "n").is_err());
    }

    #[test]
    fn a_pax_value_may_contain_line_ends() {
        let mut extra = Extra::default();
        extra.take_pax(b"30 SCHILY.xattr.user.a=x\ny\n=z\n12 path=abc\n").expect("valid");
        assert_eq!(extra.xattrs, [("user.a".to_owned(), b"x\ny\n=z".to_vec())]);
        assert_eq!(extra.path.as_deref(), Some(b"abc".as_slice()));
        for bad in ["5 a=b", "4 a=b\n", "99 a=b\n", "x", "6 ab\n\n", "0 =\n"] {
            assert!(Extra::default().take_pax(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
