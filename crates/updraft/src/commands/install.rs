//! `updraft install` and `updraft uninstall`.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use updraft_cli::Exit;

use super::{fail, print};
use crate::systemd::{
    install::{CONFIG, Found, InstallError, Manager, Step, Wish, install, look, place, uninstall},
    unit::unit,
};

/// There while systemd runs the machine (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";

/// What can be typed after `install`.
#[derive(Debug, Args)]
pub(super) struct InstallArgs {
    #[command(flatten)]
    place: Place,
    /// Start it now, too; this is the default.
    #[arg(long, conflicts_with = "no_start")]
    now: bool,
    /// Start it at the next boot only.
    #[arg(long)]
    no_start: bool,
    /// Print the unit and do nothing.
    #[arg(long)]
    print: bool,
}

/// What can be typed after `uninstall`.
#[derive(Debug, Args)]
pub(super) struct UninstallArgs {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Place {
    /// As a service of systemd. There is nothing else to choose yet.
    #[arg(long, required = true)]
    systemd: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Another root directory, for packages and images: files are put there and systemd is told nothing.
    #[arg(long, alias = "destdir", value_name = "DIR")]
    root: Option<PathBuf>,
}

/// Why nothing could be begun.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("setting up a service needs root")]
    NotRoot,
    #[error("this machine is not run by systemd")]
    NoSystemd,
    #[error("this program cannot find itself: {0}")]
    Lost(io::Error),
    #[error(transparent)]
    Install(#[from] InstallError),
}

/// Sets the service up.
pub(super) fn run(flags: &InstallArgs) -> ExitCode {
    let asked = if flags.no_start { Manager::Enable } else { Manager::Start };
    if flags.print {
        return match program() {
            Ok(program) => {
                let root = flags.place.root.clone();
                let manager = if root.is_some() { Manager::Nothing } else { asked };
                let wish = Wish { program, root: root.unwrap_or_else(|| "/".into()), manager };
                print(unit(&place(&wish), Path::new(CONFIG)).trim_end());
                ExitCode::SUCCESS
            }
            Err(refusal) => refused(&refusal),
        };
    }
    carry_out(&flags.place, asked, install)
}

/// Takes it away again.
pub(super) fn undo(flags: &UninstallArgs) -> ExitCode {
    carry_out(&flags.place, Manager::Start, uninstall)
}

type Plan = fn(&Wish, &Found) -> Result<Vec<Step>, InstallError>;

fn carry_out(place: &Place, asked: Manager, plan: Plan) -> ExitCode {
    match steps(place, asked, plan) {
        Ok(steps) => {
            for step in steps {
                print(&step);
                if !place.dry_run
                    && let Err(error) = step.act()
                {
                    return fail(&error, hint(&step));
                }
            }
            ExitCode::SUCCESS
        }
        Err(refusal) => refused(&refusal),
    }
}

fn steps(place: &Place, asked: Manager, plan: Plan) -> Result<Vec<Step>, Refusal> {
    let manager = if place.root.is_some() { Manager::Nothing } else { asked };
    if manager != Manager::Nothing && !place.dry_run {
        if !rustix::process::geteuid().is_root() {
            return Err(Refusal::NotRoot);
        }
        if !Path::new(BOOTED).is_dir() {
            return Err(Refusal::NoSystemd);
        }
    }
    let wish = Wish { program: program()?, root: place.root.clone().unwrap_or_else(|| "/".into()), manager };
    let found = look(&wish.root, &wish.program)?;
    Ok(plan(&wish, &found)?)
}

fn program() -> Result<PathBuf, Refusal> {
    std::env::current_exe().map_err(Refusal::Lost)
}

fn refused(refusal: &Refusal) -> ExitCode {
    let hint = match refusal {
        Refusal::NotRoot => Some("run it with sudo; --dry-run shows what it would do"),
        Refusal::NoSystemd => Some("--root DIR only writes the files; --print shows the unit"),
        Refusal::Install(InstallError::Edited(_)) => {
            Some("move the changes into `systemctl edit updraft`, remove the file, and run it again")
        }
        Refusal::Install(InstallError::Foreign(_)) => Some("move it away, and run it again"),
        _ => None,
    };
    fail(refusal, hint);
    let code = if matches!(refusal, Refusal::NotRoot | Refusal::NoSystemd) { Exit::Usage } else { Exit::Failed };
    code.into()
}

fn hint(step: &Step) -> Option<&'static str> {
    match step {
        Step::Systemctl(words) if words.first().is_some_and(|&word| word == "start" || word == "restart") => {
            Some("`journalctl -u updraft -n 50` tells why it did not start")
        }
        _ => None,
    }
}
