//! Containers that never ran.

use updraft_model::{
    diagnosis::Code,
    fault::{FileKind, ProgramFault, ProgramProblem, StartFault},
};

use super::{Told, as_sentence, listed, told};

pub(super) fn not_started(fault: &StartFault) -> Told {
    match fault {
        StartFault::Sandbox(cause) => told(
            Code::SandboxFailed,
            as_sentence(cause),
            "This is no fault of the container: 'updraft doctor' on the host shows what it lacks.",
        ),
        StartFault::Settings(cause) => {
            told(Code::SettingsUnusable, as_sentence(cause), "Change that in the image or in the service.")
        }
        StartFault::WorkingDir { dir, cause } => told(
            Code::WorkingDirectory,
            format!("The working directory '{dir}' cannot be entered: {}.", cause.trim_end_matches('.')),
            "Set WORKDIR in the image, or the service's working directory, to a directory.",
        ),
        StartFault::Program(fault) => program(fault),
    }
}

fn program(fault: &ProgramFault) -> Told {
    let ProgramFault { program, file, .. } = fault;
    match &fault.problem {
        ProgramProblem::Absent => absent(fault),
        ProgramProblem::Hidden => told(
            Code::EntrypointHidden,
            format!("The container's user may not enter a directory on the way to '{file}'."),
            "Let everybody enter the directory in the image (chmod a+x), or run as another USER.",
        ),
        ProgramProblem::Directory => told(
            Code::EntrypointDirectory,
            format!("The program '{file}' is a directory."),
            "Name the program in it in ENTRYPOINT, or with --command.",
        ),
        ProgramProblem::NotExecutable { mode } => told(
            Code::EntrypointNotExecutable,
            format!(
                "The program '{file}' may not be executed by the container's user: its permissions are {mode:04o}."
            ),
            format!("Make it executable in the image: 'chmod 0755 {file}', or COPY --chmod=0755."),
        ),
        ProgramProblem::Empty => told(
            Code::EntrypointEmpty,
            format!("The program '{file}' is an empty file."),
            "See why the build left it empty.",
        ),
        ProgramProblem::Architecture(other) => told(
            Code::EntrypointWrongArchitecture,
            format!("The program '{file}' was built for {other}, and this machine is linux/amd64 (exec format error)."),
            "Build it for linux/amd64, such as with 'docker build --platform linux/amd64'.",
        ),
        ProgramProblem::Unknown(kind) => unknown(file, *kind),
        ProgramProblem::Interpreter(name) => match name.strip_suffix('\r') {
            Some(name) => told(
                Code::InterpreterCarriageReturn,
                format!(
                    "The first line of '{file}' ends as on Windows: Linux looks for '{name}\\r', which does not exist."
                ),
                format!(
                    "Save '{file}' with Unix line ends (dos2unix), and keep Git from changing them (.gitattributes)."
                ),
            ),
            None => told(
                Code::InterpreterMissing,
                format!("The first line of '{file}' asks for '{name}', which is not in the image."),
                format!("Put '{name}' into the image, or name an interpreter that is there after #!."),
            ),
        },
        ProgramProblem::Loader(name) => told(
            Code::LoaderMissing,
            format!("The program '{file}' is linked dynamically and its loader '{name}' is not in the image."),
            "Link it statically, or use a base image with the C library it was built for (glibc or musl).",
        ),
        ProgramProblem::Unusable { interpreter, error } => told(
            Code::EntrypointUnusable,
            format!("The program '{file}' needs '{}', which cannot be executed: {error}.", interpreter.escape_debug()),
            "See what that file is, and that the container's user may execute it.",
        ),
        ProgramProblem::Magic => told(
            Code::EntrypointUnusable,
            format!("The path '{file}' leads through a link of /proc, or in a circle."),
            "Name the program by its own path.",
        ),
        ProgramProblem::Other(error) => told(
            Code::EntrypointUnusable,
            format!("The program '{file}' cannot be executed: {error}."),
            format!("See what '{program}' is in the image."),
        ),
    }
}

fn absent(fault: &ProgramFault) -> Told {
    let ProgramFault { program, searched, similar, .. } = fault;
    let (code, mut cause) = match searched {
        None => (Code::EntrypointMissing, format!("The program '{program}' is not in the image.")),
        Some(path) => {
            (Code::EntrypointNotInPath, format!("No directory of PATH ({path}) has the program '{program}'."))
        }
    };
    let quoted: Vec<String> = similar.iter().map(|file| format!("'{file}'")).collect();
    if !quoted.is_empty() {
        cause.push_str(&format!(" The image has {}.", listed(&quoted)));
    }
    let advice = match (&similar[..], searched) {
        _ if program.trim().contains(' ') => {
            "The name has a space in it: write ENTRYPOINT and CMD as a list of words, and split --command and --args with \
             commas."
        }
        ([], None) => "See that the build puts it there, and that ENTRYPOINT or --command name it right.",
        ([], Some(_)) => "Name it by its whole path, or see that the build puts it there.",
        _ => "See that ENTRYPOINT or --command name the right one.",
    };
    told(code, cause, advice)
}

fn unknown(file: &str, kind: FileKind) -> Told {
    let (what, advice) = match kind {
        FileKind::Text => (
            "is text without a #! line, so that Linux does not know what is to read it",
            "Begin it with a line such as #!/bin/sh, or name the interpreter in ENTRYPOINT.",
        ),
        FileKind::MarkedScript => {
            ("has an invisible byte order mark (U+FEFF) before its #!", "Save it as UTF-8 without a byte order mark.")
        }
        FileKind::Windows => ("is a program for Windows", "Build it for linux/amd64."),
        FileKind::MacOs => ("is a program for macOS", "Build it for linux/amd64."),
        FileKind::Data => (
            "is neither an ELF program nor a script that begins with #!",
            "See that ENTRYPOINT or --command name the program and that the build leaves it whole.",
        ),
    };
    told(Code::EntrypointNotAProgram, format!("The file '{file}' {what} (exec format error)."), advice)
}
