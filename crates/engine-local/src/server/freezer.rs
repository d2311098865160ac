//! Taking the CPU away from an instance and giving it back: a word in a file of the control group of
//! each of its containers.
//!
//! The server writes it by itself: a request that finds its instance frozen waits for these writes, and neither for
//! the launcher nor for a file to be opened. Both ways are under one lock, so the last word is the last that was asked
//! for; and from the moment that an instance is to end it cannot be frozen any more, or it would not hear of it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::sandbox::cgroups::Freezer;

/// What freezes one instance: all of its containers, or none.
#[derive(Debug)]
pub(super) struct Switch {
    /// One of each container; none where that cannot be.
    freezers: Vec<Freezer>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// It runs. The files are open once it has been frozen.
    Awake(Vec<File>),
    /// It does not.
    Frozen(Vec<File>),
    /// It ends, or has ended.
    Closed,
}

// === impl Switch ===

impl Switch {
    /// For an instance that is not frozen.
    pub(super) fn new(freezers: Vec<Freezer>) -> Self {
        Self { freezers, state: Mutex::new(State::Awake(Vec::new())) }
    }

    /// # Errors
    /// `Unsupported` where there is nothing to freeze with, `NotFound` when it ends; else the kernel's. Nothing of it
    /// is frozen then.
    pub(super) fn freeze(&self) -> io::Result<()> {
        self.check()?;
        let mut state = self.lock();
        let files = match std::mem::replace(&mut *state, State::Awake(Vec::new())) {
            State::Awake(files) if files.is_empty() => {
                let open = |freezer: &Freezer| OpenOptions::new().write(true).open(&freezer.file);
                self.freezers.iter().map(open).collect::<io::Result<_>>()?
            }
            State::Awake(files) => files,
            frozen @ State::Frozen(_) => {
                *state = frozen;
                return Ok(());
            }
            State::Closed => {
                *state = State::Closed;
                return Err(io::ErrorKind::NotFound.into());
            }
        };
        let each = || files.iter().zip(&self.freezers);
        let written = each().try_for_each(|(file, freezer)| say(file, freezer.freeze));
        if written.is_err() {
            // Those that have no word of it are thawed already; one that cannot be is gone.
            each().for_each(|(file, freezer)| drop(say(file, freezer.thaw)));
        }
        *state = if written.is_ok() { State::Frozen(files) } else { State::Awake(files) };
        written
    }

    /// # Errors
    /// As of [`Switch::freeze`]. It is still frozen then, if it was, but for the containers that could be thawed.
    pub(super) fn thaw(&self) -> io::Result<()> {
        self.check()?;
        self.thaw_in(&mut self.lock())
    }

    /// Thaws it, for ever: it is to end.
    pub(super) fn close(&self) {
        // Under one lock: a freeze between the two would be the last word.
        let mut state = self.lock();
        // What it cannot be thawed for is that it is gone; and the launcher thaws what it ends once more.
        let _ = self.thaw_in(&mut state);
        *state = State::Closed;
    }

    fn thaw_in(&self, state: &mut State) -> io::Result<()> {
        match std::mem::replace(state, State::Awake(Vec::new())) {
            State::Frozen(files) => {
                let each = files.iter().zip(&self.freezers).map(|(file, freezer)| say(file, freezer.thaw));
                // Also when one of them fails.
                let written = each.fold(Ok(()), Result::and);
                *state = if written.is_ok() { State::Awake(files) } else { State::Frozen(files) };
                written
            }
            State::Closed => {
                *state = State::Closed;
                Err(io::ErrorKind::NotFound.into())
            }
            awake @ State::Awake(_) => {
                *state = awake;
                Ok(())
            }
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.freezers.is_empty() { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kernel takes a word as one write.
fn say(mut file: &File, word: &str) -> io::Result<()> {
    file.write_all(word.as_bytes()).map_err(|error| match error.raw_os_error() {
        // The group was removed under the open file: the instance has ended.
        Some(libc::ENODEV) => io::ErrorKind::NotFound.into(),
        _ => error,
    })
}
