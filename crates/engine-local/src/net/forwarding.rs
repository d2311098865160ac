//! The host's forwarding switches: on where replies to instances come in, and back again.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    NetError, link,
    netlink::Socket,
    netns::{read_setting, write_setting},
};

/// The links whose forwarding we switched on. All of them were off before: that is how we chose.
#[derive(Debug)]
pub(super) struct Forwarding {
    file: PathBuf,
    opened: BTreeSet<String>,
}

/// What is written down: enough to undo what was done.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct Record {
    /// Links whose forwarding was off.
    links: BTreeSet<String>,
}

// === impl Forwarding ===

impl Forwarding {
    /// What a server with this tag wrote down, or nothing yet. A record that cannot be read is
    /// taken for none: it was torn before anything was changed.
    pub(super) fn open(run_dir: &Path, tag: &str) -> Self {
        let file = run_dir.join(format!("net-{tag}.json"));
        let record: Record =
            fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { file, opened: record.links }
    }

    /// Switches forwarding on for the links that unicast routes lead through and where it is off.
    /// Says whether the set of links that are to be guarded changed.
    pub(super) fn refresh(&mut self, socket: &mut Socket) -> Result<bool, NetError> {
        let names: HashMap<u32, String> = link::links(socket)?
            .into_iter()
            .filter(|link| !link.loopback && !is_cable(&link.name))
            .map(|link| (link.index, link.name))
            .collect();
        let routes = link::routes(socket)?;
        let uplinks = routes.iter().filter(|route| route.unicast).flat_map(|route| &route.links);
        let closed: BTreeSet<String> =
            uplinks.filter_map(|index| names.get(index)).filter(|name| is_closed(name)).cloned().collect();
        let before = self.opened.len();
        self.opened.extend(closed.iter().cloned());
        let changed = self.opened.len() != before;
        if changed {
            // Written down first: a crash right after the change must be undone as well.
            self.save()?;
        }
        for name in &closed {
            write_setting(&setting(name), "1")?;
        }
        Ok(changed)
    }

    /// The links that forwarded nothing before.
    pub(super) fn opened(&self) -> impl Iterator<Item = &str> + Clone {
        self.opened.iter().map(String::as_str)
    }

    /// Sets everything back. When somebody has switched forwarding on for the whole host since, it
    /// is theirs to switch off again.
    pub(super) fn restore(&mut self) -> Result<(), NetError> {
        if !is_global() {
            for name in &self.opened {
                write_setting(&setting(name), "0")?;
            }
        }
        self.opened.clear();
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(NetError::file("remove", &self.file)(error)),
            _ => Ok(()),
        }
    }

    /// The links that are written down as switched on and still are.
    pub(super) fn recorded(run_dir: &Path, tag: &str) -> Vec<String> {
        let is_open = |name: &String| read_setting(&setting(name)).as_deref() == Some("1");
        Self::open(run_dir, tag).opened.into_iter().filter(is_open).collect()
    }

    fn save(&self) -> Result<(), NetError> {
        let record = Record { links: self.opened.clone() };
        let text = serde_json::to_vec(&record).unwrap_or_default();
        let draft = self.file.with_extension("new");
        fs::write(&draft, text).map_err(NetError::file("write", &draft))?;
        fs::rename(&draft, &self.file).map_err(NetError::file("write", &self.file))
    }
}

/// Is forwarding on for the whole host?
pub(super) fn is_global() -> bool {
    read_setting("net/ipv4/ip_forward").as_deref() == Some("1")
}

fn is_closed(name: &str) -> bool {
    read_setting(&setting(name)).as_deref() == Some("0")
}

fn setting(name: &str) -> String {
    format!("net/ipv4/conf/{name}/forwarding")
}

/// Is it a cable of this server or of another one? Those take care of themselves.
fn is_cable(name: &str) -> bool {
    name.strip_prefix("ud").and_then(|rest| rest.split_once('-')).is_some_and(|(tag, _)| super::check_tag(tag).is_ok())
}
