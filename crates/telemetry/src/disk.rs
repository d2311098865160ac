//! Log entries on disk: one directory per service, in it segments of one JSON object per line.
//!
//! A segment is named after the time of its first entry, in nanoseconds, so names sort by time.
//! Entries go straight to the file: killing the process loses nothing that was written. A machine
//! that stops may leave a torn last line; readers skip it, and the writer ends it first.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use updraft_model::name::{Collection, Parent, ServiceName};

use crate::{audit, config::LogConfig, entry::LogEntry, opened::Opened};

/// Why logs could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} '{}'", .path.display())]
pub struct LogError {
    /// Create, write, list or remove.
    pub operation: &'static str,
    /// Which file or directory.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// A file of the log that stays while the log goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrozenLog {
    /// Where it belongs, below the log's directory.
    pub path: String,
    /// Where it can be read.
    pub file: PathBuf,
    /// How much of it is whole entries, in bytes; the log may append more.
    pub size: u64,
}

/// The writer's view of the directory.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    config: LogConfig,
    shelves: HashMap<ServiceName, Shelf>,
    opened: Opened,
}

/// The segments of one service, oldest first.
#[derive(Debug, Default)]
struct Shelf {
    segments: Vec<Segment>,
}

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    /// When its first entry was written, in nanoseconds since 1970: its name.
    pub(crate) start: u64,
    pub(crate) path: PathBuf,
    size: u64,
}

/// What the directories of logs begin with that are no service's.
const PREFIXES: [(Collection, &str); 2] = [(Collection::WorkerPools, "worker-pool."), (Collection::Jobs, "job.")];
const EXTENSION: &str = "jsonl";
/// What is read to find the last entry of a segment, in bytes. An entry is hardly larger.
const TAIL: u64 = 512 << 10;

// === impl Disk ===

impl Disk {
    pub(crate) fn open(dir: &Path, config: LogConfig) -> Result<Self, LogError> {
        fs::create_dir_all(dir).map_err(failed("create", dir))?;
        // What containers write is their owner's, also below a data directory that others may enter.
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed("close", dir))?;
        Ok(Self { dir: dir.to_owned(), config, shelves: HashMap::new(), opened: Opened::default() })
    }

    /// Appends whole lines to the log of a service.
    pub(crate) fn append(&mut self, service: &ServiceName, time: SystemTime, lines: &[u8]) -> Result<(), LogError> {
        let dir = service_dir(&self.dir, service);
        if !self.shelves.contains_key(service) {
            fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
            self.shelves.insert(service.clone(), Shelf { segments: segments(&dir)? });
        }
        let config = self.config.of(service);
        let Some(shelf) = self.shelves.get_mut(service) else { return Ok(()) };
        let result = shelf.append(&dir, config, (nanos(time), lines), &mut self.opened);
        if result.is_err() {
            // What is on disk now is uncertain, or somebody removed the directory: look again.
            self.shelves.remove(service);
        }
        result
    }

    /// Gives every segment as it is now a second name in `into`, a directory on the same file system.
    pub(crate) fn freeze(&self, into: &Path) -> Result<Vec<FrozenLog>, LogError> {
        let mut frozen = Vec::new();
        for segment in service_dirs(&self.dir)?.iter().map(|dir| segments(dir)).collect::<Result<Vec<_>, _>>()?.concat()
        {
            let file = into.join(frozen.len().to_string());
            fs::hard_link(&segment.path, &file).map_err(failed("keep", &segment.path))?;
            let path = segment.path.strip_prefix(&self.dir).unwrap_or(&segment.path).to_string_lossy().into_owned();
            frozen.push(FrozenLog { path, file, size: segment.size });
        }
        Ok(frozen)
    }

    /// Removes the log of a service; none there is no error.
    pub(crate) fn remove(&mut self, service: &ServiceName) -> Result<(), LogError> {
        self.shelves.remove(service);
        self.opened.clear();
        let dir = service_dir(&self.dir, service);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &dir)(error)),
            _ => Ok(()),
        }
    }

    /// Removes the logs of all services but these.
    pub(crate) fn keep(&mut self, services: &HashSet<ServiceName>) -> Result<usize, LogError> {
        let strays = strays(&self.dir, services)?;
        self.shelves.retain(|service, _| services.contains(service) || audit::log_of(service).is_some());
        if !strays.is_empty() {
            self.opened.clear();
        }
        for dir in &strays {
            match fs::remove_dir_all(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", dir)(error)),
                _ => {}
            }
        }
        Ok(strays.len())
    }

    /// Removes the segments whose last entry is older than the retention of their log.
    pub(crate) fn expire(&mut self, now: SystemTime) -> Result<(), LogError> {
        for dir in service_dirs(&self.dir)? {
            let config = service_of(&dir).map_or(self.config, |log| self.config.of(&log));
            let limit = nanos(config.oldest(now));
            let segments = segments(&dir)?;
            let expired: Vec<&Segment> = segments.iter().filter(|s| s.start < limit && s.end() < limit).collect();
            if !expired.is_empty() {
                // Before they are removed, also if one cannot be: their space is to be free.
                self.opened.clear();
            }
            for segment in &expired {
                remove_file(&segment.path)?;
            }
            if !expired.is_empty() {
                self.shelves.retain(|service, _| service_dir(&self.dir, service) != dir);
            }
            if expired.len() == segments.len() {
                // Not empty any more, or gone already: then there is nothing to tidy.
                let _ = fs::remove_dir(&dir);
            }
        }
        Ok(())
    }
}

// === impl Shelf ===

impl Shelf {
    fn append(
        &mut self,
        dir: &Path,
        config: LogConfig,
        (time, lines): (u64, &[u8]),
        opened: &mut Opened,
    ) -> Result<(), LogError> {
        let age = nanos(SystemTime::UNIX_EPOCH + config.segment_age());
        let is_done = |last: &Segment| last.size >= config.segment_bytes || time.saturating_sub(last.start) >= age;
        let full = self.segments.last().is_none_or(is_done);
        if full {
            // Names ascend even when the clock goes back.
            let start = self.segments.last().map_or(time, |last| time.max(last.start + 1));
            let path = dir.join(format!("{start:020}.{EXTENSION}"));
            self.segments.push(Segment { start, path, size: 0 });
            if self.segments.len() > 1 {
                opened.clear();
            }
            self.trim(config)?;
        }
        let Some(segment) = self.segments.last_mut() else { return Ok(()) };
        segment.size += opened.append(&segment.path, lines).map_err(failed("write", &segment.path))?;
        Ok(())
    }

    /// Removes the oldest segments until there is room for one more full one.
    fn trim(&mut self, config: LogConfig) -> Result<(), LogError> {
        let allowed = config.service_bytes.saturating_sub(config.segment_bytes);
        while self.segments.len() > 1 && self.segments.iter().map(|segment| segment.size).sum::<u64>() > allowed {
            remove_file(&self.segments.remove(0).path)?;
        }
        Ok(())
    }
}

// === impl Segment ===

impl Segment {
    /// What is in it; a file that is gone is empty.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    /// How large it is, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The time of its last entry, found at its end; if there is none that can be read, it may be any time.
    pub(crate) fn last_time(&self) -> u64 {
        let tail = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&self.path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
            let mut bytes = Vec::new();
            file.take(TAIL).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = tail().unwrap_or_default();
        entries(&bytes).next_back().map_or(u64::MAX, |entry| nanos(entry.timestamp))
    }

    /// When its last entry was written; its start when it has none.
    fn end(&self) -> u64 {
        let bytes = self.read().unwrap_or_default();
        entries(&bytes).next_back().map_or(self.start, |entry| nanos(entry.timestamp))
    }
}

/// The entries of a segment, oldest first; lines that are none are skipped.
pub(crate) fn entries(bytes: &[u8]) -> impl DoubleEndedIterator<Item = LogEntry> {
    let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.filter_map(|line| serde_json::from_slice(line).ok())
}

// === reading ===

/// The directories of services that are none of these, such as those of services that were deleted. What services
/// were asked to do outlives them: audit logs are no strays.
///
/// # Errors
/// [`LogError`] when a directory cannot be listed.
pub fn strays(dir: &Path, services: &HashSet<ServiceName>) -> Result<Vec<PathBuf>, LogError> {
    let known: HashSet<PathBuf> = services.iter().map(|service| service_dir(dir, service)).collect();
    let mut strays = service_dirs(dir)?;
    let is_audit = |path: &Path| service_of(path).is_some_and(|shelf| audit::log_of(&shelf).is_some());
    strays.retain(|path| !known.contains(path) && !is_audit(path));
    strays.sort();
    Ok(strays)
}

/// The segments of a service, oldest first; none when it has no log.
pub(crate) fn service_segments(dir: &Path, service: &ServiceName) -> Result<Vec<Segment>, LogError> {
    segments(&service_dir(dir, service))
}

/// Every service that `is_meant`, with its segments, oldest first.
pub(crate) fn services(
    dir: &Path,
    is_meant: impl Fn(&ServiceName) -> bool,
) -> Result<Vec<(ServiceName, Vec<Segment>)>, LogError> {
    let mut found = Vec::new();
    for dir in service_dirs(dir)? {
        if let Some(service) = service_of(&dir).filter(&is_meant) {
            found.push((service, segments(&dir)?));
        }
    }
    Ok(found)
}

fn segments(dir: &Path) -> Result<Vec<Segment>, LogError> {
    let mut found = Vec::new();
    for path in list(dir)? {
        let start = path.file_stem().and_then(OsStr::to_str).and_then(|name| name.parse().ok());
        if path.extension() == Some(OsStr::new(EXTENSION))
            && let Some(start) = start
        {
            let size = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            found.push(Segment { start, path, size });
        }
    }
    found.sort_by_key(|segment| segment.start);
    Ok(found)
}

/// Project, location and service are three levels.
fn service_dirs(dir: &Path) -> Result<Vec<PathBuf>, LogError> {
    let mut level = vec![dir.to_owned()];
    for _ in 0..3 {
        let mut next = Vec::new();
        for dir in level {
            next.extend(list(&dir)?.into_iter().filter(|path| path.is_dir()));
        }
        level = next;
    }
    Ok(level)
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, LogError> {
    let read = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed("list", dir))?,
    };
    read.map(|item| item.map(|item| item.path())).collect::<io::Result<_>>().map_err(failed("list", dir))
}

fn remove_file(path: &Path) -> Result<(), LogError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn service_dir(dir: &Path, service: &ServiceName) -> PathBuf {
    let parent = &service.parent;
    dir.join(component(&parent.project)).join(component(&parent.location)).join(component(&shelf(service)))
}

/// The name itself, or its bytes in hexadecimal when it could mean another place.
fn component(name: &str) -> String {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.' | b':');
    let harmless = !name.is_empty() && !name.starts_with('.') && name.len() <= 100 && name.bytes().all(plain);
    if harmless { name.to_owned() } else { format!("_{}", hex::encode(name)) }
}

/// The service whose directory this is.
fn service_of(dir: &Path) -> Option<ServiceName> {
    let mut names = dir.iter().rev().map(|name| name.to_str().and_then(original));
    let (service, location, project) = (names.next()??, names.next()??, names.next()??);
    let parent = Parent::new(project, location);
    let other = PREFIXES.iter().find_map(|(collection, prefix)| Some((*collection, service.strip_prefix(prefix)?)));
    let (collection, id) = other.unwrap_or((Collection::Services, &service));
    Some(parent.resource(collection, id))
}

/// What its directory is called: ids have no dots, so what is no service's cannot be taken for one's.
fn shelf(service: &ServiceName) -> Cow<'_, str> {
    match PREFIXES.iter().find(|(collection, _)| *collection == service.collection) {
        Some((_, prefix)) => format!("{prefix}{}", service.service).into(),
        None => Cow::Borrowed(&service.service),
    }
}

/// What [`component`] made this of.
fn original(component: &str) -> Option<String> {
    match component.strip_prefix('_') {
        Some(bytes) => String::from_utf8(hex::decode(bytes).ok()?).ok(),
        None => Some(component.to_owned()),
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
    move |source| LogError { operation, path: path.to_owned(), source }
}

pub(crate) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_lead_out_of_the_directory() {
        assert_eq!(component("demo-project"), "demo-project");
        for evil in ["..", ".", "", "a/b", "/etc", "A", "a\0b"] {
            let name = component(evil);
            assert!(name.starts_with('_') && !name.contains('/'), "{evil:?}: {name}");
            assert_eq!(original(&name).as_deref(), Some(evil));
        }
    }
}
