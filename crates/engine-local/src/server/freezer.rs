//! Taking the CPU away from an instance and giving it back: a word in a file of its control group.
//!
//! The server writes it by itself: a request that finds its instance frozen waits for this one write, and neither for
//! the launcher nor for a file to be opened. Both ways are under one lock, so the last word is the last that was asked
//! for; and from the moment that an instance is to end it cannot be frozen any more, or it would not hear of it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::sandbox::cgroups::Freezer;

/// What freezes one instance.
#[derive(Debug)]
pub(super) struct Switch {
    /// `None` where that cannot be.
    freezer: Option<Freezer>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// It runs. The file is open once it has been frozen.
    Awake(Option<File>),
    /// It does not.
    Frozen(File),
    /// It ends, or has ended.
    Closed,
}

// === impl Switch ===

impl Switch {
    /// For an instance that is not frozen.
    pub(super) fn new(freezer: Option<Freezer>) -> Self {
        Self { freezer, state: Mutex::new(State::Awake(None)) }
    }

    /// # Errors
    /// `Unsupported` where there is nothing to freeze with, `NotFound` when it ends; else the kernel's.
    pub(super) fn freeze(&self) -> io::Result<()> {
        let Some(freezer) = &self.freezer else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut state = self.lock();
        let file = match std::mem::replace(&mut *state, State::Awake(None)) {
            State::Awake(Some(file)) => file,
            State::Awake(None) => OpenOptions::new().write(true).open(&freezer.file)?,
            frozen @ State::Frozen(_) => {
                *state = frozen;
                return Ok(());
            }
            State::Closed => {
                *state = State::Closed;
                return Err(io::ErrorKind::NotFound.into());
            }
        };
        let written = say(&file, freezer.freeze);
        *state = if written.is_ok() { State::Frozen(file) } else { State::Awake(Some(file)) };
        written
    }

    /// # Errors
    /// As of [`Switch::freeze`]. It is still frozen then, if it was.
    pub(super) fn thaw(&self) -> io::Result<()> {
        let Some(freezer) = &self.freezer else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Awake(None)) {
            State::Frozen(file) => {
                let written = say(&file, freezer.thaw);
                *state = if written.is_ok() { State::Awake(Some(file)) } else { State::Frozen(file) };
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

    /// Thaws it, for ever: it is to end.
    pub(super) fn close(&self) {
        // What it cannot be thawed for is that it is gone; and the launcher thaws what it ends once more.
        let _ = self.thaw();
        *self.lock() = State::Closed;
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
