//! The states of a version, and the end of a secret. `now` is an argument.

use std::{fmt, time::Duration, time::SystemTime};

use crate::error::{Error, ErrorKind};

/// What may be done with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum State {
    /// Its value may be read.
    #[default]
    Enabled,
    /// Its value is kept and may not be read.
    Disabled,
    /// Its value is gone.
    Destroyed,
}

/// What is asked of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It may be read.
    Enable,
    /// It may not be read for now.
    Disable,
    /// Its value goes; after this time, during which the version is disabled, if its secret says so.
    Destroy(Option<Duration>),
}

/// A version, without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version {
    /// Its state.
    pub state: State,
    /// When its value will go.
    pub destroy_at: Option<SystemTime>,
    /// When its value went.
    pub destroyed: Option<SystemTime>,
}

/// Is a secret with this end gone? Whoever reads one asks: the time between its end and its removal is nobody's.
pub fn is_expired(expires: Option<SystemTime>, now: SystemTime) -> bool {
    expires.is_some_and(|expires| expires <= now)
}

// === impl State ===

impl State {
    /// The word of the API, without prefix.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLED",
            Self::Disabled => "DISABLED",
            Self::Destroyed => "DESTROYED",
        }
    }

    /// The state of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Enabled, Self::Disabled, Self::Destroyed].into_iter().find(|state| state.as_str() == word)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Version ===

impl Version {
    /// The version as it is now: one whose value was to go by now counts as destroyed before that is done.
    #[must_use]
    pub fn at(self, now: SystemTime) -> Self {
        match self.destroy_at {
            Some(at) if at <= now && self.state != State::Destroyed => {
                Self { state: State::Destroyed, destroy_at: None, destroyed: Some(at) }
            }
            _ => self,
        }
    }

    /// The version after `change`. Whoever enables a version whose value is to go keeps it.
    ///
    /// # Errors
    /// `FailedPrecondition` for one that is destroyed: nothing leads out of that. `name` is what the message calls it.
    pub fn changed(self, change: Change, name: &impl fmt::Display, now: SystemTime) -> Result<Self, Error> {
        let version = self.at(now);
        if version.state == State::Destroyed {
            return Err(unreadable(name, State::Destroyed));
        }
        Ok(match change {
            Change::Enable => Self::default(),
            Change::Disable => Self { state: State::Disabled, ..version },
            Change::Destroy(None) => Self { state: State::Destroyed, destroy_at: None, destroyed: Some(now) },
            Change::Destroy(Some(after)) => {
                let at = version.destroy_at.or_else(|| now.checked_add(after));
                Self { state: State::Disabled, destroy_at: at, destroyed: None }
            }
        })
    }

    /// May its value be read now?
    ///
    /// # Errors
    /// `FailedPrecondition`, in Google's words. `name` is what the message calls it.
    pub fn readable(self, name: &impl fmt::Display, now: SystemTime) -> Result<(), Error> {
        match self.at(now).state {
            State::Enabled => Ok(()),
            state => Err(unreadable(name, state)),
        }
    }
}

fn unreadable(name: &impl fmt::Display, state: State) -> Error {
    Error::new(ErrorKind::FailedPrecondition, format!("Secret Version [{name}] is in {state} state."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86400);

    fn moments() -> (SystemTime, SystemTime) {
        (SystemTime::UNIX_EPOCH + DAY, SystemTime::UNIX_EPOCH + 2 * DAY)
    }

    #[test]
    fn a_destroyed_version_stays_so() {
        let (now, later) = moments();
        let gone = Version::default().changed(Change::Destroy(None), &"v", now).expect("was enabled");
        assert_eq!(gone, Version { state: State::Destroyed, destroy_at: None, destroyed: Some(now) });
        for change in [Change::Enable, Change::Disable, Change::Destroy(None), Change::Destroy(Some(DAY))] {
            let error = gone.changed(change, &"v", later).expect_err("is destroyed");
            assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{change:?}");
            assert_eq!(error.message(), "Secret Version [v] is in DESTROYED state.");
        }
    }

    #[test]
    fn enabling_and_disabling_can_be_repeated() {
        let (now, _) = moments();
        let mut version = Version::default();
        for (change, state) in [
            (Change::Enable, State::Enabled),
            (Change::Disable, State::Disabled),
            (Change::Disable, State::Disabled),
            (Change::Enable, State::Enabled),
        ] {
            version = version.changed(change, &"v", now).expect("is not destroyed");
            assert_eq!(version.state, state, "{change:?}");
            assert_eq!(version.readable(&"v", now).is_ok(), state == State::Enabled);
        }
    }

    #[test]
    fn a_delayed_destruction_disables_and_can_be_taken_back_until_its_time() {
        let (now, later) = moments();
        let waiting = Version::default().changed(Change::Destroy(Some(DAY)), &"v", now).expect("was enabled");
        assert_eq!(waiting, Version { state: State::Disabled, destroy_at: Some(later), destroyed: None });
        let again = waiting.changed(Change::Destroy(Some(9 * DAY)), &"v", now).expect("is not destroyed");
        assert_eq!(again.destroy_at, Some(later), "asking again does not put it off");
        assert_eq!(waiting.changed(Change::Enable, &"v", now).expect("in time"), Version::default());
        assert_eq!(waiting.at(later).state, State::Destroyed);
        assert!(waiting.changed(Change::Enable, &"v", later).is_err(), "too late, whether or not it is done yet");
        assert!(waiting.readable(&"v", later).expect_err("gone").message().contains("DESTROYED"));
    }

    #[test]
    fn a_secret_ends_at_its_time_and_not_before() {
        let (now, later) = moments();
        assert!(!is_expired(None, later) && !is_expired(Some(later), now));
        assert!(is_expired(Some(later), later) && is_expired(Some(now), later));
    }
}
