//! Stages of a longer piece of work, shown as they happen.

use crate::console::Console;

/// How far a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Running,
    Done,
    Failed,
}

/// Shows one stage after the other: on a terminal as lines that turn into ticks, else as plain lines.
/// The order of the first showing is the order of all.
#[derive(Debug)]
pub(crate) struct Progress<'c, 'a> {
    console: &'c mut Console<'a>,
    /// The stage that has been begun and not ended.
    open: Option<&'static str>,
    ended: Vec<&'static str>,
}

// === impl Progress ===

impl<'c, 'a> Progress<'c, 'a> {
    pub(crate) fn new(console: &'c mut Console<'a>) -> Self {
        Self { console, open: None, ended: Vec::new() }
    }

    /// Shows the present state of all stages; of several that run, the first.
    pub(crate) fn show(&mut self, stages: &[(&'static str, Stage)]) {
        for &(title, stage) in stages {
            if self.ended.contains(&title) {
                continue;
            }
            match stage {
                Stage::Running => return self.begin(title),
                Stage::Done => self.end(title, "done", "✓"),
                Stage::Failed => return self.end(title, "failed", "✗"),
            }
        }
    }

    /// The work has failed, and with it the stage that was under way.
    pub(crate) fn fail(&mut self) {
        if let Some(title) = self.open {
            self.end(title, "failed", "✗");
        }
    }

    pub(crate) fn console(&mut self) -> &mut Console<'a> {
        self.console
    }

    fn begin(&mut self, title: &'static str) {
        if self.open == Some(title) {
            return;
        }
        self.open = Some(title);
        if self.console.is_interactive() {
            self.console.whisper(format_args!("  · {title}..."));
        } else {
            self.console.whisper(format_args!("{title}..."));
        }
    }

    fn end(&mut self, title: &'static str, word: &str, mark: &str) {
        self.begin(title);
        if self.console.is_interactive() {
            self.console.rewrite(format_args!("  {mark} {title}"));
        } else {
            self.console.say(word);
        }
        self.open = None;
        self.ended.push(title);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Terminal;

    fn shown(terminal: Terminal, states: &[&[(&'static str, Stage)]]) -> String {
        let mut err = Vec::new();
        let mut console = Console::new(std::io::sink(), &mut err, std::io::empty(), terminal);
        let mut progress = Progress::new(&mut console);
        for state in states {
            progress.show(state);
        }
        progress.fail();
        drop(console);
        String::from_utf8(err).unwrap()
    }

    #[test]
    fn stages_are_told_in_order_and_once() {
        use Stage::{Done, Running};
        let states: [&[(&'static str, Stage)]; 5] = [
            &[("A", Running), ("B", Running)],
            &[("A", Running), ("B", Running)],
            &[("A", Done)],
            &[("A", Done), ("B", Running)],
            &[("A", Done), ("B", Done)],
        ];
        assert_eq!(shown(Terminal::Plain, &states), "A...done\nB...done\n");
        assert_eq!(shown(Terminal::Plain, &states[4..]), "A...done\nB...done\n");
        let interactive = shown(Terminal::Interactive, &states);
        assert_eq!(interactive, "  · A...\r\x1b[2K  ✓ A\n  · B...\r\x1b[2K  ✓ B\n");
    }

    #[test]
    fn a_failure_ends_the_stage_under_way_and_shows_no_later_one() {
        use Stage::{Done, Failed, Running};
        assert_eq!(shown(Terminal::Plain, &[&[("A", Failed), ("B", Done)]]), "A...failed\n");
        assert_eq!(shown(Terminal::Plain, &[&[("A", Done), ("B", Running)]]), "A...done\nB...failed\n");
    }
}
