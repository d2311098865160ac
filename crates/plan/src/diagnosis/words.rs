//! What the last lines of a container say.
//!
//! A line is evidence that the container wrote it, not that it is true or the reason of its end. Only what
//! the writer cannot have meant otherwise (the dynamic loader, an uncaught exception) counts as certain; the
//! rest is told as a suggestion, and only if it is among the very last lines.

use std::borrow::Cow;

use updraft_model::diagnosis::Code;

use super::{Told, told};

/// A line, and what it means.
#[derive(Debug, Clone)]
pub(super) struct Clue<'a> {
    rule: &'static Rule,
    line: Cow<'a, str>,
}

#[derive(Debug)]
struct Rule {
    code: Code,
    /// Words, in small letters; of each group one has to be in the line.
    words: &'static [&'static [&'static str]],
    /// Can the line be meant otherwise?
    certainty: Certainty,
    /// What the line says, or suggests.
    meaning: &'static str,
    advice: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certainty {
    Certain,
    Likely,
}

/// A line further from the end is not taken for the reason of the end.
const LAST: usize = 6;
/// The longest quotation, in bytes.
const QUOTE_MAX: usize = 300;

const DENIED: &[&str] = &["permission denied", "permissiondenied", "eacces", "operation not permitted"];

/// From the most to the least telling.
const RULES: &[Rule] = &[
    Rule {
        code: Code::SharedLibraryMissing,
        words: &[&["error while loading shared libraries", "error loading shared library", "error relocating /"]],
        certainty: Certainty::Certain,
        meaning: "a shared library is not in the image",
        advice: "Put the library into the image, or link the program statically.",
    },
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
        certainty: Certainty::Certain,
        meaning: "a module of its language's is not in the image",
        advice: "Install the module in the image (requirements.txt, package.json, …), and see that the paths are right.",
    },
    Rule {
        code: Code::PortTaken,
        words: &[&["address already in use", "eaddrinuse", "addrinuse"]],
        certainty: Certainty::Likely,
        meaning: "two parts of the container want to listen on one port",
        advice: "Start one server only, or let the others listen on other ports.",
    },
    Rule {
        code: Code::PortForbidden,
        words: &[DENIED, &["bind", "listen", "port"]],
        certainty: Certainty::Likely,
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
        certainty: Certainty::Likely,
        meaning: "it needs something that it cannot reach",
        advice: "See that what it connects to is there, and reachable from the container: 127.0.0.1 is the container itself.",
    },
    Rule {
        code: Code::ReadOnly,
        words: &[&["read-only file system", "erofs", "readonlyfilesystem"]],
        certainty: Certainty::Likely,
        meaning: "it writes where nothing can be written",
        advice: "Let it write below /tmp.",
    },
    Rule {
        code: Code::PermissionDenied,
        words: &[DENIED],
        certainty: Certainty::Likely,
        meaning: "its user may not do what it tries",
        advice: "See to the permissions of its files in the image, or to its USER.",
    },
    Rule {
        code: Code::FileMissing,
        words: &[&["no such file or directory", "enoent", "filenotfounderror", "filenotfoundexception"]],
        certainty: Certainty::Likely,
        meaning: "it needs a file that is not there",
        advice: "See that the build puts the file into the image, and from which directory it is named.",
    },
    Rule {
        code: Code::Exception,
        words: &[&[
            "panicked at",
            "panic: ",
            "exception in thread",
            "uncaught",
            "uncaughtexception",
            "unhandled",
            "unhandledpromiserejection",
            "terminate called after throwing",
            "assertion failed",
            "assertion `",
        ]],
        certainty: Certainty::Certain,
        meaning: "nobody caught that",
        advice: "The lines after it say where: 'updraft services logs' shows all of them.",
    },
];

/// Python writes the exception itself last, after where it happened.
const TRACEBACK: &str = "traceback (most recent call last)";
const PYTHON: Rule = Rule {
    code: Code::Exception,
    words: &[],
    certainty: Certainty::Certain,
    meaning: "nobody caught that exception",
    advice: "The lines before it say where: 'updraft services logs' shows all of them.",
};

/// What the lines tell, if anything.
pub(super) fn clue(lines: &[String]) -> Option<Clue<'_>> {
    let lines: Vec<&str> = lines.iter().map(String::as_str).filter(|line| !line.trim().is_empty()).collect();
    let found = RULES.iter().find_map(|rule| {
        let among = if rule.certainty == Certainty::Certain { 0 } else { lines.len().saturating_sub(LAST) };
        let at = among + lines[among..].iter().rposition(|line| rule.fits(line))?;
        // "… panicked at src/main.rs:3:5:" goes on in the next line.
        let line = match lines.get(at + 1).filter(|_| lines[at].ends_with(':')) {
            Some(next) => Cow::from(format!("{} {next}", lines[at])),
            None => Cow::from(lines[at]),
        };
        Some(Clue { rule, line })
    });
    let traceback = lines.iter().rposition(|line| line.to_lowercase().contains(TRACEBACK));
    match (found, traceback) {
        (Some(found), _) if found.rule.code != Code::Exception => Some(found),
        (found, Some(at)) => {
            let after = lines[at + 1..].iter().find(|line| !line.starts_with(char::is_whitespace));
            after.map(|line| Clue { rule: &PYTHON, line: Cow::from(*line) }).or(found)
        }
        (found, None) => found,
    }
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
        self.words.iter().all(|group| group.iter().any(|word| has(&line, word)))
    }
}

// === impl Clue ===

impl Clue<'_> {
    pub(super) fn is_certain(&self) -> bool {
        self.rule.certainty == Certainty::Certain
    }

    /// What it tells of a container that ended like this.
    pub(super) fn told(&self, exit: &str) -> Told {
        let Rule { code, meaning, advice, .. } = self.rule;
        let line = short(&self.line);
        let cause = if self.is_certain() {
            format!("{exit} It had written '{line}': {meaning}.")
        } else {
            format!("{exit} It had written '{line}', which suggests that {meaning}.")
        };
        told(*code, cause, *advice)
    }
}
