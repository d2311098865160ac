//! The files that are appended to, kept open.

use std::{
    collections::VecDeque,
    fs::{File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// How many files are kept open. One entry is one write as long as there are not more services than this that log at a
/// time.
const LIMIT: usize = 64;

/// The files that were appended to last, the latest at the end.
#[derive(Debug, Default)]
pub(crate) struct Opened(VecDeque<(PathBuf, File, Identity)>);

/// Which file it is, whatever it is called: file system and number.
type Identity = (u64, u64);

// === impl Opened ===

impl Opened {
    /// Appends whole lines to a file, which is made if it is not there. Returns how many bytes it grew by.
    pub(crate) fn append(&mut self, path: &Path, lines: &[u8]) -> io::Result<u64> {
        let kept = self.0.iter().position(|(known, ..)| known == path).and_then(|at| self.0.remove(at));
        // Somebody who cleans up may have moved or removed it; what is written to it then is nowhere.
        let kept = kept.filter(|(path, _, known)| std::fs::metadata(path).is_ok_and(|now| identity(&now) == *known));
        let ((path, mut file, known), mut grown) = match kept {
            Some(kept) => (kept, 0),
            None => {
                let (file, grown) = open(path)?;
                let known = identity(&file.metadata()?);
                ((path.to_owned(), file, known), grown)
            }
        };
        // After a failure it is not kept: nobody knows how much of the line is there.
        file.write_all(lines)?;
        grown += lines.len() as u64;
        if self.0.len() == LIMIT {
            self.0.pop_front();
        }
        self.0.push_back((path, file, known));
        Ok(grown)
    }

    /// Lets go of all of them: some were removed, and their space is to be free.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

fn identity(file: &Metadata) -> Identity {
    (file.dev(), file.ino())
}

/// Opens a file to append whole lines to, and says how many bytes that took: a line that was torn is ended.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    if is_torn(&mut file)? {
        file.write_all(b"\n")?;
        return Ok((file, 1));
    }
    Ok((file, 0))
}

/// Does the file end in the middle of a line?
fn is_torn(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_line_that_was_torn_is_ended_before_the_next() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.jsonl");
        fs::write(&path, "{\"torn").expect("written");
        let mut opened = Opened::default();
        assert_eq!(opened.append(&path, b"{}\n").expect("appended"), 4);
        assert_eq!(opened.append(&path, b"{}\n").expect("appended"), 3);
        assert_eq!(fs::read_to_string(&path).expect("read"), "{\"torn\n{}\n{}\n");
    }

    #[test]
    fn a_file_that_somebody_removed_is_made_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.jsonl");
        let mut opened = Opened::default();
        opened.append(&path, b"1\n").expect("appended");
        fs::remove_file(&path).expect("removed");
        opened.append(&path, b"2\n").expect("appended");
        assert_eq!(fs::read_to_string(&path).expect("read"), "2\n");
    }

    #[test]
    fn a_file_that_has_another_name_now_is_not_written_to_any_more() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, other) = (dir.path().join("a.jsonl"), dir.path().join("b.jsonl"));
        let mut opened = Opened::default();
        opened.append(&path, b"1\n").expect("appended");
        fs::rename(&path, &other).expect("renamed");
        opened.append(&path, b"2\n").expect("appended");
        // A backup has given it a second name.
        fs::hard_link(&path, dir.path().join("c.jsonl")).expect("linked");
        fs::remove_file(&path).expect("removed");
        opened.append(&path, b"3\n").expect("appended");
        assert_eq!(fs::read_to_string(&path).expect("read"), "3\n");
        assert_eq!(fs::read_to_string(&other).expect("read"), "1\n");
    }

    #[test]
    fn no_more_files_are_kept_open_than_the_limit() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut opened = Opened::default();
        for n in 0..LIMIT * 2 {
            opened.append(&dir.path().join(n.to_string()), b"1\n").expect("appended");
        }
        assert_eq!(opened.0.len(), LIMIT);
        opened.append(&dir.path().join("0"), b"2\n").expect("appended");
        assert_eq!(fs::read_to_string(dir.path().join("0")).expect("read"), "1\n2\n");
    }
}
