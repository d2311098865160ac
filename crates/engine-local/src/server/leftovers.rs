//! The engine's own place on the host, and what a dead predecessor left there.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest, Sha256};
use updraft_base::{Backoff, Clock};
use updraft_engine::EngineError;

use super::{
    engine::host,
    footing::{MARK, roots},
};
use crate::{
    sandbox::cgroups::Layout,
    survey::trial,
    sys::{self, removal::remove_tree},
};

/// Where the engine keeps its own, and under which tag.
#[derive(Debug)]
pub(super) struct Premises {
    /// Tells engines apart; derived from the path of the data directory.
    pub(super) tag: String,
    /// For us and the launcher alone.
    pub(super) run_dir: PathBuf,
    /// Of the file whose lock the launcher has as long as it lives, and we have while there is none: whoever can take
    /// it knows that there is no launcher.
    lock: fs::File,
}

/// How long a launcher whose server died may take to remove its instances.
const PATIENCE: Duration = Duration::from_secs(12);
/// How long after it was killed.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// How often, and how far apart, it is looked for processes that are left.
const STRAY_ROUNDS: u32 = 1000;
const STRAY_PAUSE: Duration = Duration::from_millis(10);

// === impl Premises ===

impl Premises {
    /// Makes the run directory, and removes from it what nobody who lives on needs: what a server was trying out when it
    /// was killed.
    ///
    /// # Errors
    /// [`EngineError::Host`].
    pub(super) fn open(data_dir: &Path) -> Result<Self, EngineError> {
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(data_dir.join("run")).map_err(host("make the run directory"))?;
        let data_dir = fs::canonicalize(data_dir).map_err(host("find the data directory"))?;
        let run_dir = data_dir.join("run");
        if let Err(error) = trial::remove_dead(&run_dir) {
            tracing::warn!(%error, "what a dead server was trying out could not be removed");
        }
        let path = run_dir.join("launcher.lock");
        let lock = sys::locks::open(&path).map_err(host("open the launcher's lock"))?;
        Ok(Self { tag: tag_of(&data_dir), run_dir, lock })
    }

    /// Takes the lock. A launcher that has it is waited for: it is removing its instances at that moment. One that does
    /// not end is killed.
    ///
    /// # Errors
    /// [`EngineError::Host`], also when the lock is still taken then.
    pub(super) async fn take(&self, clock: &Clock) -> Result<(), EngineError> {
        let path = self.run_dir.join("launcher.lock");
        if self.wait(PATIENCE, clock).await? {
            return Ok(());
        }
        tracing::warn!("a launcher of a dead server does not end and is killed");
        sys::locks::kill_owner(&path);
        if self.wait(LAST_PATIENCE, clock).await? {
            return Ok(());
        }
        let cause = format!("'{}' is in use: another server has this data directory", path.display());
        Err(EngineError::Host { operation: "take the launcher's lock".to_owned(), cause })
    }

    async fn wait(&self, patience: Duration, clock: &Clock) -> Result<bool, EngineError> {
        let deadline = clock.instant() + patience;
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
        loop {
            if sys::locks::try_take(&self.lock).map_err(host("take the launcher's lock"))? {
                return Ok(true);
            }
            if clock.instant() >= deadline {
                return Ok(false);
            }
            clock.sleep(backoff.next_exact()).await;
        }
    }

    /// The lock, for a launcher to hold: from now on it is its own.
    ///
    /// # Errors
    /// Those of open(2) and flock(2).
    pub(super) fn hand_over(&self) -> std::io::Result<fs::File> {
        let lock = sys::locks::open(&self.run_dir.join("launcher.lock"))?;
        sys::locks::give_up(&self.lock)?;
        match sys::locks::try_take(&lock)? {
            true => Ok(lock),
            false => Err(std::io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Notes who holds the lock, for who finds it taken.
    pub(super) fn note_launcher(&self, pid: u32) {
        if let Err(error) = sys::locks::note_owner(&self.run_dir.join("launcher.lock"), pid) {
            tracing::warn!(%error, "the launcher could not be noted");
        }
    }

    /// Ends what runs in our control groups and removes them. Links, tables and settings of the
    /// network are removed by its own start.
    ///
    /// # Errors
    /// [`EngineError::Host`] when something stays.
    pub(super) async fn sweep(&self, layout: &Layout) -> Result<(), EngineError> {
        let (layout, tag) = (layout.clone(), self.tag.clone());
        let swept = tokio::task::spawn_blocking(move || sys::cgroups::sweep(&layout, &tag)).await;
        match swept {
            Ok(swept) => swept.map_err(host("remove control groups that were left"))?,
            Err(error) => return Err(host("remove control groups that were left")(error)),
        }
        self.end_strays().await?;
        for mount in mounts_below(&self.run_dir) {
            let detached = rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::DETACH);
            detached.map_err(host("unmount what was left"))?;
        }
        Ok(())
    }

    /// Ends what instances without namespaces left. Their keepers do that when the launcher is gone; this is
    /// for what is left when the keepers have been killed, too, and waits for those that have not.
    async fn end_strays(&self) -> Result<(), EngineError> {
        let (lock, roots) = (self.run_dir.join("launcher.lock"), roots(&self.run_dir));
        let mark = format!("{MARK}={}/", self.tag);
        let work = move || {
            // None has ever been here, so there is nothing to look for.
            if !roots.is_dir() {
                return true;
            }
            for _ in 0..STRAY_ROUNDS {
                let marked: Vec<_> = sys::tree::marked(&roots, &mark);
                let living = marked.iter().filter(|member| !sys::tree::is_zombie(member.pid));
                if living.count() == 0 && sys::tree::holders(&lock).is_empty() {
                    return true;
                }
                marked.into_iter().for_each(sys::tree::kill);
                std::thread::sleep(STRAY_PAUSE);
            }
            false
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(stray("some do not end")),
            Err(error) => Err(stray(&error.to_string())),
        }
    }

    /// Removes the copies of images that a dead engine left. What stays takes room and is in nobody's way: no
    /// instance gets a name that was used before.
    pub(super) async fn remove_roots(&self) {
        let roots = roots(&self.run_dir);
        let removed = tokio::task::spawn_blocking(move || remove_tree(&roots));
        if let Err(error) = removed.await.map_err(std::io::Error::other).flatten() {
            tracing::warn!(%error, "copies of images that were left could not be removed");
        }
    }

    /// Removes the run directory.
    pub(super) fn leave(&self) {
        if let Err(error) = remove_tree(&self.run_dir) {
            tracing::warn!(%error, "the run directory could not be removed");
        }
    }
}

fn stray(cause: &str) -> EngineError {
    EngineError::Host { operation: "end processes that were left".to_owned(), cause: cause.to_owned() }
}

/// The tag of the engine whose data directory is at `data_dir`, an absolute path without links in it: six hexadecimal
/// digits, short enough for the names of links, and enough for the engines of a host. Every cgroup, link and table of
/// the engine carries it.
pub fn tag_of(data_dir: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut tag = hex::encode(Sha256::digest(data_dir.as_os_str().as_bytes()));
    tag.truncate(6);
    tag
}

/// Where something is mounted below `dir`, the last mounted first.
fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut points: Vec<PathBuf> = points.filter(|point| point.starts_with(dir) && point != dir).collect();
    points.reverse();
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_depends_on_the_path_alone_and_fits_a_link_name() {
        assert_eq!(tag_of(Path::new("/var/lib/updraft")), tag_of(Path::new("/var/lib/updraft")));
        assert_ne!(tag_of(Path::new("/a")), tag_of(Path::new("/b")));
        let tag = tag_of(Path::new("/a"));
        assert!(tag.len() == 6 && tag.bytes().all(|c| c.is_ascii_hexdigit()), "{tag}");
    }

    #[test]
    fn what_a_server_was_trying_out_when_it_was_killed_is_removed_by_the_next_one_and_nothing_else() {
        let data = tempfile::tempdir().expect("a place for the test");
        let run = data.path().join("run");
        fs::create_dir_all(run.join("trial-1-ThreadId(6)/lower")).expect("writable");
        fs::create_dir_all(run.join("stage")).expect("writable");
        let premises = Premises::open(data.path()).expect("it is ours");
        let left = fs::read_dir(&premises.run_dir).expect("readable").flatten().map(|entry| entry.file_name());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, ["launcher.lock", "stage"]);
    }
}
