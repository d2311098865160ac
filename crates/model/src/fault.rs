//! Why a container never ran: facts, as the sandbox found them.

use std::fmt;

/// Why a container never ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartFault {
    /// The sandbox could not be made: a fault of the platform. What failed, and what the host said.
    Sandbox(String),
    /// Its user, or another setting of image or template, cannot be. Which, and why.
    Settings(String),
    /// Its working directory cannot be entered.
    WorkingDir {
        /// Which.
        dir: String,
        /// What the kernel said.
        cause: String,
    },
    /// Its program cannot be executed.
    Program(Box<ProgramFault>),
}

/// A program that cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramFault {
    /// The program as image or template name it.
    pub program: String,
    /// Where it was looked for (`PATH`); `None` for a path.
    pub searched: Option<String>,
    /// The file that came closest.
    pub file: String,
    /// What is wrong with it.
    pub problem: ProgramProblem,
    /// Files of the image that may have been meant; only for a program that is not there.
    pub similar: Vec<String>,
}

/// What is wrong with a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramProblem {
    /// It is not there.
    Absent,
    /// A directory on the way may not be entered by the container's user.
    Hidden,
    /// It is a directory.
    Directory,
    /// The container's user may not execute it.
    NotExecutable {
        /// Its permissions, as of chmod(1).
        mode: u32,
    },
    /// There is nothing in it.
    Empty,
    /// It was built for this machine instead.
    Architecture(String),
    /// The kernel knows no way to execute it; what it looks like.
    Unknown(FileKind),
    /// What its `#!` line names is not in the image.
    Interpreter(String),
    /// The dynamic loader it names is not in the image.
    Loader(String),
    /// Its interpreter or loader is there and cannot be executed.
    Unusable {
        /// Which.
        interpreter: String,
        /// What the kernel said.
        error: String,
    },
    /// Its path leads through a link of `/proc` that is no path, or in a circle.
    Magic,
    /// The kernel refused it otherwise.
    Other(String),
}

/// What a file that is no program looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Text.
    Text,
    /// A `#!` line behind the mark that some editors put before UTF-8 (U+FEFF).
    MarkedScript,
    /// A program of Windows.
    Windows,
    /// A program of macOS.
    MacOs,
    /// Anything else.
    Data,
}

// === impl StartFault ===

impl fmt::Display for StartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sandbox(cause) | Self::Settings(cause) => f.write_str(cause),
            Self::WorkingDir { dir, cause } => write!(f, "cannot enter the working directory '{dir}': {cause}"),
            Self::Program(fault) => fault.fmt(f),
        }
    }
}

// === impl ProgramFault ===

impl fmt::Display for ProgramFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        match &self.problem {
            ProgramProblem::Absent => match &self.searched {
                None => write!(f, "'{}': no such file in the image", self.program),
                Some(path) => write!(f, "'{}': executable file not found in $PATH ({path})", self.program),
            },
            ProgramProblem::Hidden => {
                write!(f, "'{file}': permission denied: the container's user may not enter a directory on the way")
            }
            ProgramProblem::Directory => write!(f, "'{file}': is a directory"),
            ProgramProblem::NotExecutable { .. } => {
                write!(f, "'{file}': permission denied: the file is not executable for the container's user")
            }
            ProgramProblem::Empty => write!(f, "'{file}': exec format error: the file is empty"),
            ProgramProblem::Architecture(other) => {
                write!(f, "'{file}': exec format error: built for {other}, not for linux/amd64")
            }
            ProgramProblem::Unknown(_) => {
                write!(f, "'{file}': exec format error: neither an ELF file nor a script that begins with #!")
            }
            ProgramProblem::Interpreter(name) | ProgramProblem::Loader(name) => {
                write!(f, "'{file}': its interpreter '{}' is missing from the image", name.escape_debug())
            }
            ProgramProblem::Unusable { interpreter, error } => {
                write!(f, "'{file}': its interpreter '{}' cannot be executed: {error}", interpreter.escape_debug())
            }
            // Such as /proc/self/exe, which is the launcher until a program has been executed.
            ProgramProblem::Magic => write!(f, "'{file}': its path leads through a link of /proc, or in a circle"),
            ProgramProblem::Other(error) => write!(f, "'{file}': {error}"),
        }
    }
}
