//! The files of an archive of images, one after the other, in constant memory.

use std::{
    fs::File,
    io::{self, Read},
};

use super::{Budget, UnpackError, UnpackLimits, stream::LayerStream, tar::Kind, tar::TarReader};

/// Walks through the regular files and links of a tar, compressed or not. Between two calls of
/// [`Files::next`] it reads as the content of the current file.
pub(crate) struct Files<'a> {
    reader: TarReader<LayerStream<'a>>,
    left: u64,
}

// === impl Files ===

impl<'a> Files<'a> {
    pub(crate) fn open(file: File, limits: &UnpackLimits, budget: &'a Budget) -> Result<Self, UnpackError> {
        let reader = TarReader::new(LayerStream::open(file, limits, budget)?, limits);
        Ok(Self { reader, left: limits.entries })
    }

    /// The path of the next file, and where it leads if it is a link. Paths are relative and clean.
    pub(crate) fn next(&mut self) -> Result<Option<(String, Option<String>)>, UnpackError> {
        while let Some(entry) = self.reader.next()? {
            self.left = self.left.checked_sub(1).ok_or_else(|| UnpackError::layer("it has too many entries"))?;
            match entry.kind {
                Kind::File { .. } => return Ok(Some((entry.path, None))),
                Kind::HardLink(target) => return Ok(Some((entry.path, Some(target)))),
                Kind::Symlink(target) => {
                    let target = beside(&entry.path, &target);
                    return Ok(Some((entry.path, Some(target))));
                }
                Kind::Directory | Kind::Fifo | Kind::Device => {}
            }
        }
        Ok(None)
    }
}

impl Read for Files<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read_content(buffer).map_err(|error| match error {
            UnpackError::Host { source, .. } => source,
            error @ UnpackError::Layer(_) => io::Error::other(error),
        })
    }
}

/// Where the link `target` of the file `path` leads: names are compared, nothing is opened.
fn beside(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_from_where_it_lies() {
        assert_eq!(beside("abc/layer.tar", "../def/layer.tar"), "def/layer.tar");
        assert_eq!(beside("a", "b"), "b");
        assert_eq!(beside("a/b", "../../../c"), "c");
    }
}
