//! Where data and talk go: data to `out`, talk to `err`.

use std::{
    borrow::Cow,
    fmt,
    io::{self, BufRead, IsTerminal, Write},
};

use crate::error::CliError;

/// Does a person sit in front?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// Lines may be redrawn, questions asked.
    Interactive,
    /// A file, a pipe, a build server: plain lines, no questions.
    Plain,
}

/// The streams of a command. Everything is borrowed or owned for as long as the command runs.
pub struct Console<'a> {
    out: Box<dyn Write + Send + 'a>,
    err: Box<dyn Write + Send + 'a>,
    input: Box<dyn BufRead + Send + 'a>,
    terminal: Terminal,
    width: fn() -> Option<usize>,
}

/// Columns of a terminal that does not say how many it has.
const WIDTH: usize = 80;

// === impl Console ===

impl<'a> Console<'a> {
    /// The streams of the process.
    pub fn stdio() -> Console<'static> {
        let terminal = if io::stderr().is_terminal() && io::stdin().is_terminal() {
            Terminal::Interactive
        } else {
            Terminal::Plain
        };
        let width = || rustix::termios::tcgetwinsize(io::stderr()).ok().map(|size| usize::from(size.ws_col));
        Console { width, ..Console::new(io::stdout(), io::stderr(), io::BufReader::new(io::stdin()), terminal) }
    }

    /// Streams of one's own: for tests, and for whoever runs a command inside another.
    pub fn new(
        out: impl Write + Send + 'a,
        err: impl Write + Send + 'a,
        input: impl BufRead + Send + 'a,
        terminal: Terminal,
    ) -> Self {
        Self { out: Box::new(out), err: Box::new(err), input: Box::new(input), terminal, width: || None }
    }

    pub(crate) fn is_interactive(&self) -> bool {
        self.terminal == Terminal::Interactive
    }

    /// Data: a text that ends its own lines. What terminals obey is [`shown`].
    pub(crate) fn print(&mut self, text: &str) -> Result<(), CliError> {
        self.out
            .write_all(shown(text).as_bytes())
            .and_then(|()| self.out.flush())
            .map_err(|error| CliError::output(&error))
    }

    /// Data that is no text.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        // Not as for text: who stops reading a backup does not have it.
        self.out
            .write_all(bytes)
            .and_then(|()| self.out.flush())
            .map_err(|error| CliError::failed(format!("cannot write the output: {error}")))
    }

    /// Talk: one line. When nobody can hear it, the work goes on.
    pub(crate) fn say(&mut self, line: impl fmt::Display) {
        self.whisper(format_args!("{line}\n"));
    }

    /// Talk: a piece of a line. What terminals obey is [`shown`].
    pub(crate) fn whisper(&mut self, piece: impl fmt::Display) {
        let _ = self.err.write_all(shown(&piece.to_string()).as_bytes()).and_then(|()| self.err.flush());
    }

    /// Talk in the place of the line that is being written: back to its start, and clear it.
    pub(crate) fn rewrite(&mut self, line: impl fmt::Display) {
        let _ = self.err.write_all(b"\r\x1b[2K");
        self.say(line);
    }

    /// The columns of the terminal, as it is now.
    pub(crate) fn width(&self) -> usize {
        (self.width)().filter(|width| *width > 0).unwrap_or(WIDTH)
    }

    /// Talk in the place of the last `count` lines, none of which was wider than the terminal: up to their start, and clear
    /// all below.
    pub(crate) fn redraw(&mut self, count: usize, lines: &[String]) {
        if count > 0 {
            let _ = write!(self.err, "\x1b[{count}A\r\x1b[J");
        }
        let text: String = lines.iter().map(|line| one_line(line) + "\n").collect();
        self.whisper(text);
    }

    /// What is typed or piped in.
    pub(crate) fn input(&mut self) -> &mut (dyn BufRead + Send + 'a) {
        &mut *self.input
    }

    /// Asks a question whose answer is yes or no; an empty answer is `default`, and so is the end of
    /// the input.
    pub(crate) fn ask(&mut self, question: &str, default: Answer) -> Result<Answer, CliError> {
        let choice = match default {
            Answer::Yes => "(Y/n)",
            Answer::No => "(y/N)",
        };
        loop {
            self.whisper(format_args!("{question} {choice}? "));
            let mut answer = String::new();
            let read = self.input.read_line(&mut answer);
            let read = read.map_err(|error| CliError::failed(format!("cannot read the answer: {error}")))?;
            match answer.trim().to_ascii_lowercase().as_str() {
                "" => {
                    if read == 0 {
                        self.say("");
                    }
                    return Ok(default);
                }
                "y" | "yes" => return Ok(Answer::Yes),
                "n" | "no" => return Ok(Answer::No),
                _ => self.say("Please enter 'y' or 'n'."),
            }
        }
    }
}

impl fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

/// A text in which nothing is left that a terminal obeys: every control character but tab and the end of a line is
/// spelt out, such as `\u{1b}`. Containers and remotes write what they like, and it must neither recolour nor rename the
/// terminal of whoever reads it, nor rewrite lines that were there before.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && !matches!(c, '\t' | '\n');
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if obeyed(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// A text in one line that reads in the order in which it is written: what ends lines is spelt out as well, and what has
/// no form of its own and turns around what comes after it. Who chooses a name must not write the row of another one.
pub(crate) fn one_line(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// The answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_terminals_obey_is_spelt_out_and_tabs_lines_and_letters_are_not() {
        for (text, expected) in [
            ("plain\tin columns\nand lines\n", "plain\tin columns\nand lines\n"),
            ("\x1b[31mred", "\\u{1b}[31mred"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("over\rwritten\x08\x7f", "over\\rwritten\\u{8}\\u{7f}"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("größer … ✔ 日本", "größer … ✔ 日本"),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }
}
