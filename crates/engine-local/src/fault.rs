//! Why a container never ran, as it goes from the new process to its launcher and on to the server: the
//! types of `updraft_model::fault` in a form that can be sent.

use serde::{Deserialize, Serialize};
use updraft_model::fault::{FileKind, ProgramFault, ProgramProblem, StartFault};

/// See [`StartFault`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// What failed, and what the host said.
    Sandbox(String),
    /// Which setting, and why.
    Settings(String),
    /// Directory and cause.
    WorkingDir(String, String),
    /// A program.
    Program(Box<Program>),
}

/// See [`ProgramFault`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    /// As image or template name it.
    pub(crate) program: String,
    /// `PATH`, if it was searched.
    pub(crate) searched: Option<String>,
    /// The file that came closest.
    pub(crate) file: String,
    /// What is wrong with it.
    pub(crate) problem: Problem,
    /// What may have been meant.
    pub(crate) similar: Vec<String>,
}

/// See [`ProgramProblem`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Problem {
    Absent,
    Hidden,
    Directory,
    NotExecutable(u32),
    Empty,
    Architecture(String),
    Unknown(Kind),
    Interpreter(String),
    Loader(String),
    Unusable(String, String),
    Magic,
    Other(String),
}

/// See [`FileKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Text,
    MarkedScript,
    Windows,
    MacOs,
    Data,
}

// === impl Fault ===

/// What fails while a sandbox is made is the platform's.
impl From<String> for Fault {
    fn from(cause: String) -> Self {
        Self::Sandbox(cause)
    }
}

impl From<Fault> for StartFault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sandbox(cause) => Self::Sandbox(cause),
            Fault::Settings(cause) => Self::Settings(cause),
            Fault::WorkingDir(dir, cause) => Self::WorkingDir { dir, cause },
            Fault::Program(program) => Self::Program(Box::new((*program).into())),
        }
    }
}

// === impl Program ===

impl From<Program> for ProgramFault {
    fn from(one: Program) -> Self {
        let Program { program, searched, file, problem, similar } = one;
        Self { program, searched, file, problem: problem.into(), similar }
    }
}

// === impl Problem ===

impl From<Problem> for ProgramProblem {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Absent => Self::Absent,
            Problem::Hidden => Self::Hidden,
            Problem::Directory => Self::Directory,
            Problem::NotExecutable(mode) => Self::NotExecutable { mode },
            Problem::Empty => Self::Empty,
            Problem::Architecture(other) => Self::Architecture(other),
            Problem::Unknown(kind) => Self::Unknown(match kind {
                Kind::Text => FileKind::Text,
                Kind::MarkedScript => FileKind::MarkedScript,
                Kind::Windows => FileKind::Windows,
                Kind::MacOs => FileKind::MacOs,
                Kind::Data => FileKind::Data,
            }),
            Problem::Interpreter(name) => Self::Interpreter(name),
            Problem::Loader(name) => Self::Loader(name),
            Problem::Unusable(interpreter, error) => Self::Unusable { interpreter, error },
            Problem::Magic => Self::Magic,
            Problem::Other(error) => Self::Other(error),
        }
    }
}
