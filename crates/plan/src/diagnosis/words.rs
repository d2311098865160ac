//! What the last lines of a container say.
//!
//! A line is evidence that the container wrote it, not that it is true or the reason of its end. Only a form that
//! one writer has, at the end, and with the code that this writer ends with counts as proof ([`proof`]); the rest is
//! told as a suggestion, and only if it is among the very last lines ([`clue`]).

use std::borrow::Cow;

use updraft_model::diagnosis::Code;

use super::{Told, told};

/// A line, and what it means.
#[derive(Debug, Clone)]
pub(super) struct Clue<'a> {
    rule: &'static Rule,
    line: Cow<'a, str>,
    certainty: Certainty,
}

/// Can the line be meant otherwise?
#[derive(Debug, Clone, Copy)]
enum Certainty {
    Certain,
    Likely,
}

#[derive(Debug)]
struct Rule {
    code: Code,
    /// Words, in small letters; of each group one has to be in the line.
    words: &'static [&'static [&'static str]],
    /// What the line suggests.
    meaning: &'static str,
    advice: &'static str,
}

/// A line further from the end is not taken for the reason of the end. Those of traces are not counted.
const LAST: usize = 6;
/// The code of a Rust program whose first thread panicked.
const PANICKED: i32 = 101;
/// The code with which both dynamic loaders give up, and shells that find no command.
pub(super) const NOT_FOUND: i32 = 127;
/// The longest quotation, in bytes.
const QUOTE_MAX: usize = 300;

const DENIED: &[&str] = &["permission denied", "permissiondenied", "eacces", "operation not permitted"];

/// From the most to the least telling.
const RULES: &[Rule] = &[
    Rule {
        code: Code::InterpreterCarriageReturn,
        words: &[&[
            "^m: bad interpreter: no such file",
            "\r: bad interpreter: no such file",
            "\\r': no such file",
            "\\r\u{2019}: no such file",
            "\r': no such file",
        ]],
        meaning: "the first line of a script ends as on Windows",
        advice: "Save the script with Unix line ends (dos2unix), and keep Git from changing them (.gitattributes).",
    },
    Rule {
        code: Code::InterpreterMissing,
        words: &[&["bad interpreter: no such file"]],
        meaning: "what the first line of a script asks for is not in the image",
        advice: "Put the interpreter into the image, or name one that is there after #!.",
    },
    Rule {
        code: Code::CommandNotExecutable,
        words: &[&["exec format error", "cannot execute binary file", "\u{7f}elf"]],
        meaning: "a program was built for another architecture, or a shell was told to read it as a script",
        advice: "Build it for linux/amd64, such as with 'docker build --platform linux/amd64', and start it without a shell's \
                 name before it.",
    },
    Rule {
        code: Code::CommandNotExecutable,
        words: &[&[": syntax error: "], &["unexpected"]],
        meaning: "a shell could not read what it was given as a script: a program that was built for another architecture, a \
                  script for another shell, or one with a mistake in it",
        advice: "See that the programs in the image are built for linux/amd64, and that scripts name their shell after #!.",
    },
    Rule { words: &[&["error while loading shared libraries", "error loading shared library"]], ..LIBRARY },
    Rule { words: &[&["error relocating /"]], ..SYMBOL },
    Rule {
        code: Code::ModuleMissing,
        words: &[&[
            "modulenotfounderror",
            "importerror: no module named",
            "error: cannot find module",
            "err_module_not_found",
            "could not find or load main class",
            "unable to access jarfile",
            "cannot load such file --",
        ]],
        meaning: "a module of its language's is not in the image",
        advice: "Install the module in the image (requirements.txt, package.json, …), and see that the paths are right.",
    },
    Rule {
        code: Code::PortTaken,
        words: &[&["address already in use", "eaddrinuse", "addrinuse"]],
        meaning: "two parts of the container want to listen on one port",
        advice: "Start one server only, or let the others listen on other ports.",
    },
    Rule {
        code: Code::PortForbidden,
        words: &[DENIED, &["bind", "listen", "port"]],
        meaning: "it may not listen on the port it wants",
        advice: "Listen on the port that PORT names; others may be for root only.",
    },
    Rule {
        code: Code::DependencyUnreachable,
        words: &[&[
            "connection refused",
            "connectionrefused",
            "connectionrefusederror",
            "econnrefused",
            "getaddrinfo enotfound",
            "eai_again",
            "name or service not known",
            "temporary failure in name resolution",
            "no such host",
            "etimedout",
            "network is unreachable",
            "no route to host",
        ]],
        meaning: "it needs something that it cannot reach",
        advice: "See that what it connects to is there, and reachable from the container: 127.0.0.1 is the container itself.",
    },
    Rule {
        code: Code::ReadOnly,
        words: &[&["read-only file system", "erofs", "readonlyfilesystem"]],
        meaning: "it writes where nothing can be written",
        advice: "Let it write below /tmp.",
    },
    Rule {
        code: Code::PermissionDenied,
        words: &[DENIED],
        meaning: "its user may not do what it tries",
        advice: "See to the permissions of its files in the image, or to its USER.",
    },
    Rule {
        code: Code::FileMissing,
        words: &[&["no such file or directory", "enoent", "filenotfounderror", "filenotfoundexception"]],
        meaning: "it needs a file that is not there",
        advice: "See that the build puts the file into the image, and from which directory it is named.",
    },
    Rule {
        words: &[&[
            "panicked at",
            "panic: ",
            "exception in thread",
            "uncaughtexception",
            "unhandledpromiserejection",
            "terminate called after throwing",
            "assertion failed",
            "assertion `",
        ]],
        ..UNCAUGHT
    },
    Rule {
        words: &[&["uncaught", "unhandled"], &["exception", "error", "fatal error", "rejection", "panic"]],
        ..UNCAUGHT
    },
];

const LIBRARY: Rule = Rule {
    code: Code::SharedLibraryMissing,
    words: &[],
    meaning: "the dynamic loader does not find a shared library",
    advice: "Put the library into the image, where the loader looks for it (/lib, /usr/lib, LD_LIBRARY_PATH), or link the \
             program statically.",
};

const SYMBOL: Rule = Rule {
    meaning: "a shared library is missing, or is not of the version that the program was built for",
    advice: "Use a base image with the libraries the program was built for, or link it statically.",
    ..LIBRARY
};

const UNCAUGHT: Rule = Rule {
    code: Code::Exception,
    words: &[],
    meaning: "it ended for an exception that nobody caught",
    advice: "The lines after it say where: 'updraft services logs' shows all of them.",
};

/// Rust's own words, with the code that only a panic of the first thread has.
const PANIC: Rule = Rule { meaning: "nobody caught that", ..UNCAUGHT };

/// Python writes the exception itself last, after where it happened.
const TRACEBACK: &str = "traceback (most recent call last)";
const PYTHON: Rule =
    Rule { advice: "The lines before it say where: 'updraft services logs' shows all of them.", ..UNCAUGHT };

/// Who writes these is not at its end.
const LEVELS: &[&str] = &["warning", "warn", "notice", "info", "debug", "trace", "deprecated"];
/// Who begins a line with these has given up: what was written before is not the reason, or this would be it.
const FATAL: &[&str] = &["fatal:", "fatal error:", "critical:"];

/// What the lines prove of a container that ended with this code, if anything.
pub(super) fn proof(code: i32, lines: &[String]) -> Option<Clue<'_>> {
    let lines = written(lines);
    let from = |rule, at: usize| Clue { rule, line: whole(&lines, at), certainty: Certainty::Certain };
    match code {
        // The loader is the last to write. musl's goes on to the symbols that it lacks for that.
        NOT_FOUND => {
            let is_symbol = |line: &str| line.starts_with("Error relocating /");
            match lines.iter().rposition(|line| !is_symbol(line)) {
                Some(last) if is_loaders(lines[last]) => Some(from(&LIBRARY, last)),
                _ => lines
                    .iter()
                    .rposition(|line| is_symbol(line))
                    .filter(|at| at + 1 == lines.len())
                    .map(|at| from(&SYMBOL, at)),
            }
        }
        PANICKED => {
            let is_panic = |line: &&str| line.starts_with("thread 'main' ") && line.contains(" panicked at ");
            lines.iter().rposition(is_panic).map(|at| from(&PANIC, at))
        }
        _ => None,
    }
}

/// The exact words of the dynamic loaders of glibc and of musl for a library that is not there.
fn is_loaders(line: &str) -> bool {
    const MISSING: &str = ": No such file or directory";
    let glibc = line.split_once(": error while loading shared libraries: ").is_some_and(|(program, library)| {
        !program.contains(char::is_whitespace)
            && library.ends_with(": cannot open shared object file: No such file or directory")
    });
    glibc || line.starts_with("Error loading shared library ") && line.contains(MISSING)
}

/// What the lines suggest, if anything.
pub(super) fn clue(lines: &[String]) -> Option<Clue<'_>> {
    let lines = written(lines);
    let lines = &lines[beginning(&lines)..];
    let from = |rule, at: usize| Clue { rule, line: whole(lines, at), certainty: Certainty::Likely };
    let found = RULES.iter().find_map(|rule| Some(from(rule, lines.iter().rposition(|line| rule.fits(line))?)));
    let traceback = lines.iter().rposition(|line| line.to_lowercase().contains(TRACEBACK));
    match (found, traceback) {
        (Some(found), _) if found.rule.code != Code::Exception => Some(found),
        (found, Some(at)) => {
            let after = (at + 1..lines.len()).find(|at| !lines[*at].starts_with(char::is_whitespace));
            after.map(|at| from(&PYTHON, at)).or(found)
        }
        (found, None) => found,
    }
}

/// The lines that are not blank.
fn written(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).filter(|line| !line.trim().is_empty()).collect()
}

/// A line, with the next one where it goes on there: "… panicked at src/main.rs:3:5:".
fn whole<'a>(lines: &[&'a str], at: usize) -> Cow<'a, str> {
    match lines.get(at + 1).filter(|_| lines[at].ends_with(':')) {
        Some(next) => Cow::from(format!("{} {next}", lines[at])),
        None => Cow::from(lines[at]),
    }
}

/// Where those lines begin that may say why it ended.
fn beginning(lines: &[&str]) -> usize {
    let is_trace = |at: usize| {
        let is_frame = |at: usize| lines.get(at).is_some_and(|line| line.starts_with(char::is_whitespace));
        // Go has the function on the line before.
        is_frame(at) || is_frame(at + 1)
    };
    let first = (0..lines.len()).rev().filter(|at| !is_trace(*at)).nth(LAST - 1).unwrap_or(0);
    let is_fatal = |line: &str| {
        let line = line.to_lowercase();
        FATAL.iter().any(|word| line.starts_with(word))
    };
    first + lines[first..].iter().rposition(|line| is_fatal(line)).unwrap_or(0)
}

/// Is it of a level below an error? `line` is in small letters; a level stands near its beginning.
fn is_remark(line: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || "/._-".contains(letter);
    line.split(|letter| !is_part(letter)).filter(|word| !word.is_empty()).take(10).any(|word| LEVELS.contains(&word))
}

/// Are these words in the line, and not within others? "port" is not in "import".
fn has(line: &str, words: &str) -> bool {
    let is_letter = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
    let (first, last) = (words.chars().next(), words.chars().next_back());
    line.match_indices(words).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + words.len()..].chars().next());
        !(is_letter(first) && is_letter(before) || is_letter(last) && is_letter(after))
    })
}

/// The last line with one of these words, given in small letters.
pub(super) fn last_with<'a>(lines: &'a [String], words: &[&str]) -> Option<&'a str> {
    let fits = |line: &&String| words.iter().any(|word| line.to_lowercase().contains(word));
    lines.iter().rev().find(fits).map(|line| short(line))
}

fn short(line: &str) -> &str {
    let line = line.trim();
    &line[..line.floor_char_boundary(QUOTE_MAX)]
}

// === impl Rule ===

impl Rule {
    fn fits(&self, line: &str) -> bool {
        let line = line.to_lowercase();
        !is_remark(&line) && self.words.iter().all(|group| group.iter().any(|word| has(&line, word)))
    }
}

// === impl Clue ===

impl Clue<'_> {
    /// Is it a shell's, of what it could not run?
    pub(super) fn is_of_command(&self) -> bool {
        use Code::{CommandNotExecutable, InterpreterCarriageReturn, InterpreterMissing};
        matches!(self.rule.code, CommandNotExecutable | InterpreterCarriageReturn | InterpreterMissing)
    }

    /// Is it of something that the program did not see to?
    pub(super) fn is_exception(&self) -> bool {
        self.rule.code == Code::Exception
    }

    /// What it tells of a container that ended like this.
    pub(super) fn told(&self, exit: &str) -> Told {
        let Rule { code, meaning, advice, .. } = self.rule;
        let line = short(&self.line);
        let cause = match self.certainty {
            Certainty::Certain => format!("{exit} It had written '{line}': {meaning}."),
            Certainty::Likely => format!("{exit} It had written '{line}', which suggests that {meaning}."),
        };
        told(*code, cause, *advice)
    }
}
