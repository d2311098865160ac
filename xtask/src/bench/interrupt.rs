//! Ctrl-C and SIGTERM. By default they would end the bench on the spot, and what it started would be left behind: here
//! they are noted, and whoever works for long asks, gives up, and cleans up on its way out.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use crate::Error;

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on they are noted. The thread that does it ends with the process.
pub(crate) fn watch() -> Result<(), Error> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        ASKED.store(true, Ordering::Relaxed);
        // Dropping the runtime would leave the signals without effect, which is what is wanted: cleaning up goes on.
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}

/// An error once the bench was asked to end.
pub(crate) fn check() -> Result<(), Error> {
    match ASKED.load(Ordering::Relaxed) {
        true => Err(io::Error::new(io::ErrorKind::Interrupted, "asked to end").into()),
        false => Ok(()),
    }
}
