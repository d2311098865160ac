//! Containers that ended as shells do when they cannot run a command.
//!
//! The kernel has one answer, `ENOENT`, for a file that is not there, for one whose `#!` line names an interpreter that is
//! not there, and for one whose dynamic loader is not; most shells repeat it as "not found" (dash, busybox), and only bash
//! since 5.2 looks again.

use updraft_model::diagnosis::Code;

use super::{Told, told, words};

/// How shells and `env` say that there is no such command; in small letters.
const ENDS: [&str; 2] = [": not found", ": no such file or directory"];
/// How bash says that the file is there and what it needs is not.
const REQUIRED: &str = ": cannot execute: required file not found";
const SHELLS: [&str; 8] = ["sh", "ash", "bash", "busybox", "dash", "env", "ksh", "zsh"];

pub(super) fn not_executable(exit: &str, lines: &[String]) -> Told {
    let said = words::last_with(lines, &["permission denied", "cannot execute"]);
    told(
        Code::CommandNotExecutable,
        format!("{exit} So do shells when a command is there and cannot be executed.{}", quote(said)),
        "Make the file executable in the image, and see that it is built for linux/amd64.",
    )
}

pub(super) fn not_found(exit: &str, lines: &[String]) -> Told {
    let said = words::last_with(lines, &["not found", "no such file"]);
    let begin = format!("{exit} So do shells and env when a command is not there.{}", quote(said));
    match said.and_then(file) {
        None => told(Code::CommandNotFound, begin, "Put the command into the image, or name it by its whole path."),
        Some(File::Needs(file)) => told(
            Code::CommandNotExecutable,
            format!(
                "{exit}{} So does bash when '{}' is there, but not what it needs: the interpreter that its first line \
                 names (a carriage return at the end of that line counts as part of the name), or its dynamic loader.",
                quote(said),
                file
            ),
            "Put that into the image: the interpreter after its #! (and save the script with Unix line ends), or the C library \
             it was built for (glibc or musl).",
        ),
        Some(File::Perhaps(file)) => told(
            Code::CommandNotFound,
            format!(
                "{begin} They say the same of '{}' when the file itself is not in the image, when the interpreter that its \
                 first line names is not (a carriage return at the end of that line counts as part of the name), and when its \
                 dynamic loader is not.",
                file
            ),
            "See which of these is missing, and put it into the image: the file, the interpreter after its #! (and save the \
             script with Unix line ends), or the C library it was built for (glibc or musl).",
        ),
    }
}

/// A path that a shell could not run.
enum File<'a> {
    /// It may be there or not.
    Perhaps(&'a str),
    /// It is there.
    Needs(&'a str),
}

/// The file that a line of a shell is about, if it is named by a path: other names are looked for in `PATH`, where only
/// files that are there are found.
fn file(line: &str) -> Option<File<'_>> {
    let small = line.to_ascii_lowercase();
    let path = |end: &str| {
        let (speaker, command) = line[..line.len() - end.len()].rsplit_once(": ")?;
        let command = command.strip_prefix("can't execute ").unwrap_or(command);
        let command = command.trim_matches(['\'', '\u{2018}', '\u{2019}']);
        (is_shell(speaker) && command.contains('/')).then_some(command)
    };
    if small.ends_with(REQUIRED) {
        return path(REQUIRED).map(File::Needs);
    }
    let end = ENDS.iter().find(|end| small.ends_with(**end))?;
    path(end).map(File::Perhaps)
}

/// Is `speaker`, such as `/bin/sh: exec: line 0`, a shell, or a script, which has a path?
fn is_shell(speaker: &str) -> bool {
    let name = speaker.split(": ").next().unwrap_or_default();
    let program = name.rsplit('/').next().unwrap_or_default();
    SHELLS.contains(&program) || speaker.contains(": ") && name.contains('/')
}

fn quote(line: Option<&str>) -> String {
    line.map(|line| format!(" It had written '{}'.", line)).unwrap_or_default()
}
