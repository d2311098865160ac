//! Containers that ended before they were ready.

use updraft_model::{diagnosis::Code, instance::Exit};

use super::{MIB, MORE_MEMORY, Told, shells, told, words};

const READ: &str = "Its output says more: 'updraft services logs' shows all of it.";

pub(super) fn exited(exit: &Exit, lines: &[String]) -> Told {
    match exit {
        Exit::Code(code) => code_of(*code, lines),
        Exit::Signal(signal) => signalled(*signal, &exit.to_string(), lines),
        Exit::OutOfMemory { limit, used } => told(
            Code::OutOfMemory,
            format!("Memory limit of {} MiB exceeded with {} MiB used.", limit / MIB, used.max(limit) / MIB),
            MORE_MEMORY,
        ),
        Exit::OutOfProcesses { .. } => {
            told(Code::OutOfProcesses, exit.to_string(), "Make it start fewer processes and threads.")
        }
        Exit::Lost => told(
            Code::InstanceLost,
            exit.to_string(),
            "This is no fault of the container: the server's own log says what happened. Deploy again.",
        ),
        // Told by `programs`.
        Exit::NotStarted { cause } => told(Code::EntrypointUnusable, cause.to_string(), READ),
    }
}

fn code_of(code: i32, lines: &[String]) -> Told {
    let exit = Exit::Code(code).to_string();
    if code == 0 {
        // It says itself that nothing went wrong, whatever it wrote before.
        return told(
            Code::ExitedCleanly,
            format!("{exit} It ended by itself and without an error; a service has to stay and listen."),
            "Start the server itself in the foreground, not a script that returns or a daemon.",
        );
    }
    if let Some(proof) = words::proof(code, lines) {
        return proof.told(&exit);
    }
    match (code, words::clue(lines)) {
        (_, Some(clue)) if clue.is_of_command() => clue.told(&exit),
        (126, _) => shells::not_executable(&exit, lines),
        (words::NOT_FOUND, _) => shells::not_found(&exit, lines),
        (129..=192, None) => {
            signalled(code - 128, &format!("{exit} So do shells when signal {} ended a command.", code - 128), lines)
        }
        (_, Some(clue)) => clue.told(&exit),
        (_, None) if lines.is_empty() => told(
            Code::Exited,
            format!("{exit} It wrote nothing before."),
            "Make it write to standard error why it ends.",
        ),
        (_, None) => told(Code::Exited, exit, READ),
    }
}

fn signalled(signal: i32, exit: &str, lines: &[String]) -> Told {
    let name = match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        5 => " (SIGTRAP)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        15 => " (SIGTERM)",
        31 => " (SIGSYS)",
        _ => "",
    };
    let exit = format!("{}{name}.", exit.trim_end_matches('.'));
    // Programs end so after they have said what is wrong: abort(3), and the traps of compilers.
    if let (4 | 6 | 11, Some(clue)) = (signal, words::clue(lines).filter(words::Clue::is_exception)) {
        return clue.told(&exit);
    }
    let (code, what, advice) = match signal {
        4 => (
            Code::IllegalInstruction,
            "It came to an instruction that this processor does not know, or that is meant to stop it.",
            "If it was built for a newer processor (-march=native, x86-64-v3, AVX), build it for plain x86-64.",
        ),
        6 => return aborted(&exit, lines),
        7 | 11 => (
            Code::SegmentationFault,
            "It touched memory that it may not touch, or called abort(), which ends the first process of a container \
             like this.",
            "This is a fault of the program or of a library it uses: run it with a debugger, or with other versions.",
        ),
        31 => (
            Code::SystemCallForbidden,
            "It made a system call that the sandbox forbids.",
            "Find the call with strace, and do without it.",
        ),
        9 => (Code::Signalled, "The platform did not send it, and its limit of memory was not reached.", READ),
        _ => (Code::Signalled, "The platform did not send it: something in the container did.", READ),
    };
    told(code, format!("{exit} {what}"), advice)
}

fn aborted(exit: &str, lines: &[String]) -> Told {
    match words::clue(lines) {
        Some(clue) => clue.told(exit),
        None => told(Code::Aborted, format!("{exit} It gave itself up, as after a failed assertion."), READ),
    }
}
