//! `updraft install --systemd`, `updraft uninstall --systemd`: first a plan, then its steps.

use std::{
    fmt::{self, Write as _},
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::unit::{Authorship, authorship, unit};
use crate::config::SETTINGS;

/// Where everything goes.
pub const PROGRAM: &str = "/usr/local/bin/updraft";
/// The unit.
pub const UNIT: &str = "/etc/systemd/system/updraft.service";
/// The configuration.
pub const CONFIG: &str = "/etc/updraft/updraft.toml";
/// The data.
pub const DATA_DIR: &str = "/var/lib/updraft";
/// Programs below these are where somebody put them to stay.
const STABLE: [&str; 4] = ["/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/opt/"];

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The program that runs, with links resolved.
    pub program: PathBuf,
    /// The root of the file system that is set up; `/` is this machine's own.
    pub root: PathBuf,
    /// What systemd is told.
    pub manager: Manager,
}

/// What systemd is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// To run the service from now on and at every boot.
    Start,
    /// To run it at every boot.
    Enable,
    /// Nothing: the files are for another machine.
    Nothing,
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The unit.
    pub unit: Option<String>,
    /// Is there a configuration?
    pub config: bool,
    /// Is the program at [`PROGRAM`] the one that runs, byte for byte? `None` when there is none.
    pub program_is_same: Option<bool>,
    /// Is there a data directory?
    pub data_dir: bool,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, and why.
    Keep(PathBuf, &'static str),
    /// Copies a file, so that its place has the old one or the new one at any moment.
    Copy(PathBuf, PathBuf),
    /// Makes a directory with this mode.
    Directory(PathBuf, u32),
    /// Writes a file, in the same way.
    Write(PathBuf, String),
    /// Removes a file.
    Remove(PathBuf),
    /// Runs `systemctl`.
    Systemctl(&'static [&'static str]),
}

/// Why nothing is done, or why a step failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The unit has been changed by hand.
    #[error("{0} has been changed by hand")]
    Edited(PathBuf),
    /// The unit is somebody else's.
    #[error("{0} was not written by `updraft install`")]
    Foreign(PathBuf),
    /// A step failed.
    #[error("cannot {step}")]
    Step {
        /// Which.
        step: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

// === the plan ===

/// What an installation does.
///
/// # Errors
/// [`InstallError::Edited`] and [`InstallError::Foreign`]: what somebody wrote by hand is not replaced.
pub fn install(wish: &Wish, found: &Found) -> Result<Vec<Step>, InstallError> {
    let below = |path: &str| wish.root.join(path.trim_start_matches('/'));
    let mut steps = Vec::new();
    let program = place(wish);
    if program == wish.program && wish.manager != Manager::Nothing {
        steps.push(Step::Keep(wish.program.clone(), "is run where it is"));
    } else if found.program_is_same == Some(true) {
        steps.push(Step::Keep(below(PROGRAM), "is this program"));
    } else {
        steps.push(Step::Copy(wish.program.clone(), below(PROGRAM)));
    }
    match found.config {
        true => steps.push(Step::Keep(below(CONFIG), "is yours")),
        false => steps.push(Step::Write(below(CONFIG), config())),
    }
    match found.data_dir {
        true => steps.push(Step::Keep(below(DATA_DIR), "is there")),
        false => steps.push(Step::Directory(below(DATA_DIR), 0o700)),
    }
    let text = unit(&program, Path::new(CONFIG));
    check_unit(&below(UNIT), found)?;
    match found.unit.as_deref() == Some(text.as_str()) {
        true => steps.push(Step::Keep(below(UNIT), "is up to date")),
        false => steps.push(Step::Write(below(UNIT), text)),
    }
    let is_changed = steps.iter().any(|step| matches!(step, Step::Copy(..) | Step::Write(..)));
    let commands: &[&[&str]] = match wish.manager {
        Manager::Nothing => &[],
        Manager::Enable => &[&["daemon-reload"], &["enable", "updraft.service"]],
        Manager::Start if is_changed => {
            &[&["daemon-reload"], &["enable", "updraft.service"], &["restart", "updraft.service"]]
        }
        Manager::Start => &[&["daemon-reload"], &["enable", "updraft.service"], &["start", "updraft.service"]],
    };
    steps.extend(commands.iter().map(|&words| Step::Systemctl(words)));
    Ok(steps)
}

/// Where the program of the service is: where it runs now if it has a place already, else where it is copied to.
pub fn place(wish: &Wish) -> PathBuf {
    let is_stable = STABLE.iter().any(|folder| wish.program.starts_with(folder));
    if is_stable && wish.manager != Manager::Nothing { wish.program.clone() } else { PathBuf::from(PROGRAM) }
}

/// What an uninstallation does. Configuration and data stay.
///
/// # Errors
/// As for [`install`].
pub fn uninstall(wish: &Wish, found: &Found) -> Result<Vec<Step>, InstallError> {
    let below = |path: &str| wish.root.join(path.trim_start_matches('/'));
    check_unit(&below(UNIT), found)?;
    let mut steps = Vec::new();
    if found.unit.is_some() {
        if wish.manager != Manager::Nothing {
            steps.push(Step::Systemctl(&["disable", "--now", "updraft.service"]));
        }
        steps.push(Step::Remove(below(UNIT)));
        if wish.manager != Manager::Nothing {
            steps.push(Step::Systemctl(&["daemon-reload"]));
        }
    }
    let is_copy = found.unit.as_deref().is_some_and(|text| text.contains(&format!("ExecStart={PROGRAM} ")));
    if is_copy && found.program_is_same.is_some() {
        steps.push(Step::Remove(below(PROGRAM)));
    }
    for (path, is_there) in [(CONFIG, found.config), (DATA_DIR, found.data_dir)] {
        if is_there {
            steps.push(Step::Keep(below(path), "is yours; remove it by hand if nobody needs it"));
        }
    }
    Ok(steps)
}

fn check_unit(path: &Path, found: &Found) -> Result<(), InstallError> {
    match found.unit.as_deref().map(authorship) {
        None | Some(Authorship::Ours) => Ok(()),
        Some(Authorship::Edited) => Err(InstallError::Edited(path.to_owned())),
        Some(Authorship::Foreign) => Err(InstallError::Foreign(path.to_owned())),
    }
}

/// A configuration that says nothing but what every setting is when nobody says.
fn config() -> String {
    let mut text = "# Settings of `updraft serve`; `updraft config show --config FILE` tells what is in force.\n\
        # After a change: systemctl restart updraft\n\n"
        .to_owned();
    let _ = writeln!(text, "data-dir = {}", toml::Value::String(DATA_DIR.to_owned()));
    for setting in SETTINGS.iter().filter(|setting| setting.key != "data-dir") {
        let default = toml::Value::String(setting.default.to_owned());
        let _ = writeln!(text, "\n# {}\n#{} = {default}", setting.help, setting.key);
    }
    text
}

// === the host ===

/// What is below `root`, for a program at `program`.
///
/// # Errors
/// [`InstallError::Step`] when something cannot be read.
pub fn look(root: &Path, program: &Path) -> Result<Found, InstallError> {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let read = |path: &Path| match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(InstallError::Step { step: format!("read {}", path.display()), source }),
    };
    let installed = read(&below(PROGRAM))?;
    let ours = if installed.is_some() { read(program)? } else { None };
    Ok(Found {
        unit: read(&below(UNIT))?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        config: below(CONFIG).exists(),
        program_is_same: installed.map(|bytes| Some(bytes) == ours),
        data_dir: below(DATA_DIR).exists(),
    })
}

// === impl Step ===

impl Step {
    /// Carries it out.
    ///
    /// # Errors
    /// [`InstallError::Step`].
    pub fn act(&self) -> Result<(), InstallError> {
        let acted = match self {
            Self::Keep(..) => Ok(()),
            Self::Copy(from, to) => replace(to, 0o755, |file| io::copy(&mut fs::File::open(from)?, file).map(drop)),
            Self::Write(path, text) => replace(path, 0o644, |file| file.write_all(text.as_bytes())),
            Self::Directory(path, mode) => parent(path).and_then(|()| DirBuilder::new().mode(*mode).create(path)),
            Self::Remove(path) => fs::remove_file(path),
            Self::Systemctl(words) => systemctl(words),
        };
        acted.map_err(|source| InstallError::Step { step: self.to_string(), source })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep(path, why) => write!(f, "keep {}: it {why}", path.display()),
            Self::Copy(from, to) => write!(f, "copy {} to {}", from.display(), to.display()),
            Self::Directory(path, mode) => write!(f, "make {} (mode {mode:04o})", path.display()),
            Self::Write(path, _) => write!(f, "write {}", path.display()),
            Self::Remove(path) => write!(f, "remove {}", path.display()),
            Self::Systemctl(words) => write!(f, "run systemctl {}", words.join(" ")),
        }
    }
}

fn parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn replace(path: &Path, mode: u32, fill: impl FnOnce(&mut fs::File) -> io::Result<()>) -> io::Result<()> {
    parent(path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let draft = path.with_file_name(name);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    let written = fill(&mut file).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&draft, path));
    written.inspect_err(|_| {
        // The first failure is the one to tell.
        let _ = fs::remove_file(&draft);
    })
}

fn systemctl(words: &[&str]) -> io::Result<()> {
    let status = Command::new("systemctl").args(words).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("systemctl ended with {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(manager: Manager) -> Wish {
        Wish { program: "/home/me/updraft".into(), root: "/".into(), manager }
    }

    fn shown(steps: &[Step]) -> Vec<String> {
        steps.iter().map(Step::to_string).collect()
    }

    /// What is there after an installation by this version.
    fn installed() -> Found {
        let unit = unit(Path::new(PROGRAM), Path::new(CONFIG));
        Found { unit: Some(unit), config: true, program_is_same: Some(true), data_dir: true }
    }

    #[test]
    fn a_first_installation_makes_everything_and_starts_it() {
        let steps = install(&wish(Manager::Start), &Found::default()).expect("nothing is in the way");
        assert_eq!(
            shown(&steps),
            [
                "copy /home/me/updraft to /usr/local/bin/updraft",
                "write /etc/updraft/updraft.toml",
                "make /var/lib/updraft (mode 0700)",
                "write /etc/systemd/system/updraft.service",
                "run systemctl daemon-reload",
                "run systemctl enable updraft.service",
                "run systemctl restart updraft.service",
            ]
        );
    }

    #[test]
    fn a_second_one_changes_nothing_and_restarts_nothing() {
        let steps = install(&wish(Manager::Start), &installed()).expect("nothing is in the way");
        let changes: Vec<_> = steps.iter().filter(|step| !matches!(step, Step::Keep(..))).cloned().collect();
        assert_eq!(
            shown(&changes),
            [
                "run systemctl daemon-reload",
                "run systemctl enable updraft.service",
                "run systemctl start updraft.service"
            ]
        );
    }

    #[test]
    fn an_upgrade_replaces_the_program_keeps_the_configuration_and_restarts() {
        let found = Found { program_is_same: Some(false), ..installed() };
        let steps = shown(&install(&wish(Manager::Start), &found).expect("nothing is in the way"));
        assert!(steps.contains(&"copy /home/me/updraft to /usr/local/bin/updraft".to_owned()), "{steps:?}");
        assert!(steps.contains(&"keep /etc/updraft/updraft.toml: it is yours".to_owned()), "{steps:?}");
        assert_eq!(steps.last().map(String::as_str), Some("run systemctl restart updraft.service"));
    }

    #[test]
    fn a_program_that_has_a_place_stays_there() {
        let packaged = Wish { program: "/usr/bin/updraft".into(), ..wish(Manager::Enable) };
        let steps = install(&packaged, &Found::default()).expect("nothing is in the way");
        assert!(!steps.iter().any(|step| matches!(step, Step::Copy(..))), "{steps:?}");
        let Some(Step::Write(_, unit)) =
            steps.iter().find(|step| matches!(step, Step::Write(path, _) if path == Path::new(UNIT)))
        else {
            panic!("{steps:?}")
        };
        assert!(unit.contains("ExecStart=/usr/bin/updraft serve --config /etc/updraft/updraft.toml\n"), "{unit}");
    }

    #[test]
    fn what_was_written_by_hand_is_not_replaced_or_removed() {
        let edited = Found { unit: installed().unit.map(|text| text + "Nice=5\n"), ..installed() };
        let foreign = Found { unit: Some("[Service]\n".to_owned()), ..installed() };
        for plan in [install, uninstall] {
            assert!(matches!(plan(&wish(Manager::Start), &edited), Err(InstallError::Edited(_))));
            assert!(matches!(plan(&wish(Manager::Start), &foreign), Err(InstallError::Foreign(_))));
        }
    }

    #[test]
    fn an_uninstallation_stops_the_service_and_keeps_configuration_and_data() {
        let steps = shown(&uninstall(&wish(Manager::Start), &installed()).expect("ours"));
        assert_eq!(
            steps,
            [
                "run systemctl disable --now updraft.service",
                "remove /etc/systemd/system/updraft.service",
                "run systemctl daemon-reload",
                "remove /usr/local/bin/updraft",
                "keep /etc/updraft/updraft.toml: it is yours; remove it by hand if nobody needs it",
                "keep /var/lib/updraft: it is yours; remove it by hand if nobody needs it",
            ]
        );
        assert!(uninstall(&wish(Manager::Start), &Found::default()).expect("nothing to do").is_empty());
    }

    #[test]
    fn the_configuration_that_is_written_can_be_read_and_changes_nothing_but_names_everything() {
        let text = config();
        let layer = crate::config::file(Path::new(CONFIG), &text).expect("a valid file");
        assert_eq!(layer.0.keys().collect::<Vec<_>>(), [&"data-dir"]);
        // Every line that could be put in force is a setting.
        let all = text.lines().map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line));
        let all = all.collect::<Vec<_>>().join("\n");
        assert_eq!(crate::config::file(Path::new(CONFIG), &all).expect("a valid file").0.len(), SETTINGS.len());
    }
}
