//! What a container of the tests does, in words that the fake and a real test program share.
//!
//! The arguments of the container are its steps, done in order:
//!
//! | step | meaning |
//! |--|--|
//! | `print=TEXT` | a line on standard output |
//! | `eprint=TEXT` | a line on standard error |
//! | `wait=MS` | nothing for so many milliseconds |
//! | `ignore-term` | from now on SIGTERM has no effect |
//! | `allocate=MIB` | so much memory is taken and written to |
//! | `listen=IP:PORT` | a TCP socket listens there until the end; nothing is answered on it |
//! | `put=PATH:TEXT` | the file gets this content |
//! | `show=PATH` | the content of the file, on standard output |
//! | `follow=PATH` | the content of the file, on standard output, and again whenever it is another one, until SIGTERM |
//! | `ask=HOST:PORT` | the body of `GET /` there, on standard output |
//! | `exit=CODE` | the process ends with this code |
//! | `tick=MS` | a line on standard output, `tick 1`, `tick 2`, …, every so many milliseconds, until SIGTERM, then exit code 0 |
//! | `sleep` | nothing until SIGTERM, then exit code 0 |
//! | `behind=IP:PORT` | only in the fake: who connects to `$PORT` reaches this server of the test, until SIGTERM |
//! | `serve` | HTTP/1.1 on `0.0.0.0:$PORT` until SIGTERM, then exit code 0; `serve=PORT` on another port |
//!
//! After the last step the process ends with code 0. SIGTERM during `wait` ends it with code 0 too.
//! `serve` answers `GET /` with 200 and the value of the environment variable `ANSWER`, or `ok`
//! without one, and no line end. `put`, `show`, `follow` and `ask` that fail print
//! why and go on. An unknown step prints to
//! standard error and ends with code 64.

use std::{net::SocketAddr, time::Duration};

/// The program that no image has: a command of it alone cannot be executed.
pub const NO_SUCH_PROGRAM: &str = "/no/such/program";

/// One step of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A line on standard output.
    Print(String),
    /// A line on standard error.
    PrintError(String),
    /// Nothing, for this long.
    Wait(Duration),
    /// From now on SIGTERM has no effect.
    IgnoreTerm,
    /// Takes this much memory, in bytes.
    Allocate(u64),
    /// Listens there.
    Listen(SocketAddr),
    /// Writes a file: path, content.
    Put(String, String),
    /// Prints a file.
    Show(String),
    /// Prints a file whenever it is another one.
    Follow(String),
    /// Prints what a server of the instance answers.
    Ask(String),
    /// Ends with this code.
    Exit(i32),
    /// A numbered line every so often until SIGTERM.
    Tick(Duration),
    /// Nothing until SIGTERM.
    Sleep,
    /// Answers HTTP until SIGTERM, on this port or on that in `PORT`.
    Serve(Option<u16>),
    /// A server of the test answers in its place.
    Behind(SocketAddr),
    /// Nothing that is known.
    Unknown(String),
}

// === impl Step ===

impl Step {
    /// Reads one argument of the container.
    pub fn parse(argument: &str) -> Self {
        let (verb, value) = argument.split_once('=').unwrap_or((argument, ""));
        let step = match verb {
            "print" => Some(Self::Print(value.to_owned())),
            "eprint" => Some(Self::PrintError(value.to_owned())),
            "wait" => value.parse().ok().map(|ms| Self::Wait(Duration::from_millis(ms))),
            "ignore-term" => Some(Self::IgnoreTerm),
            "allocate" => value.parse().ok().map(|mib: u64| Self::Allocate(mib << 20)),
            "listen" => value.parse().ok().map(Self::Listen),
            "put" => value.split_once(':').map(|(path, text)| Self::Put(path.to_owned(), text.to_owned())),
            "show" => Some(Self::Show(value.to_owned())),
            "follow" => Some(Self::Follow(value.to_owned())),
            "ask" => Some(Self::Ask(value.to_owned())),
            "exit" => value.parse().ok().map(Self::Exit),
            "tick" => value.parse().ok().map(|ms| Self::Tick(Duration::from_millis(ms))),
            "sleep" => Some(Self::Sleep),
            "behind" => value.parse().ok().map(Self::Behind),
            "serve" => Some(Self::Serve(value.parse().ok())),
            _ => None,
        };
        step.unwrap_or_else(|| Self::Unknown(argument.to_owned()))
    }
}
