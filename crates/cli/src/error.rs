//! What goes wrong, in words and in exit codes.

use std::{fmt, io, process::ExitCode};

/// What the exit codes mean; for `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  failed: the server refused, the deployment did not come up, or the execution did not succeed
    2  the command line or the configuration is wrong
    3  there is no such service, job, revision or image
    4  the server cannot be reached
    5  not allowed: the token is missing or wrong, or the permission is
  130  interrupted: the execution that was waited for goes on";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Done = 0,
    /// The server refused, or what was deployed or executed did not end well.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// There is no such resource.
    NotFound = 3,
    /// The server cannot be reached.
    Unreachable = 4,
    /// The caller is not known, or may not.
    Denied = 5,
    /// The user went away while something was waited for; it goes on. What shells say of a program that Ctrl-C ended.
    Interrupted = 130,
}

/// Why a command did not do what it was asked to.
#[derive(Debug, Clone)]
pub(crate) struct CliError {
    exit: Exit,
    message: String,
    /// What belongs to it, such as broken rules, one line each.
    notes: Vec<String>,
    hint: Option<String>,
    /// The status of the server's answer, such as `NOT_FOUND`.
    status: String,
}

// === impl Exit ===

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

// === impl CliError ===

impl CliError {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), notes: Vec::new(), hint: None, status: String::new() }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The answer is not what the API promises.
    pub(crate) fn unexpected(what: impl fmt::Display) -> Self {
        Self::failed(format!("the server's answer makes no sense: {what}"))
            .with_hint("is the endpoint an Updraft server, and of this version?")
    }

    /// Standard output could not be written. That nobody reads on (`| head`) is no failure.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Done, ""),
            _ => Self::failed(format!("cannot write the output: {error}")),
        }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(crate) fn with_notes(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }

    /// The same, about something in `place`, such as a file.
    pub(crate) fn within(self, place: impl fmt::Display) -> Self {
        Self { message: format!("{place}: {}", self.message), ..self }
    }

    /// One more line below the message.
    pub(crate) fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub(crate) fn with_status(self, status: impl Into<String>) -> Self {
        Self { status: status.into(), ..self }
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Did the server answer with this status?
    pub(crate) fn is(&self, status: &str) -> bool {
        self.status == status
    }
}

/// `error: …`, the broken rules, `hint: …`; nothing at all for an end that is no failure.
impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.exit == Exit::Done {
            return Ok(());
        }
        writeln!(f, "error: {}", self.message)?;
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        match &self.hint {
            Some(hint) => writeln!(f, "hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CliError {}
