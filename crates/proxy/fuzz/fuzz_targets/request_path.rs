//! The path of a request: bytes of a client's connection and of a container's answers, through the real front door.
//!
//! Run by `cargo fuzz`; `docs/testing.md` has the command. What an input means is in [`input`], what is held against
//! the door in [`check`].

#![no_main]

mod answers;
mod check;
mod container;
mod frames;
mod input;
mod model;
mod world;

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use tokio::{
    runtime::{Builder, Runtime},
    task::LocalSet,
};

use crate::{input::Input, world::World};

thread_local! {
    // One world for all inputs: to start an instance takes longer than to ask it. It is never dropped:
    // at the end of the process the runtime could not be any more.
    static WORLD: RefCell<Option<&'static mut (Runtime, LocalSet, World)>> = const { RefCell::new(None) };
}

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::read(data) else { return };
    WORLD.with_borrow_mut(|slot| {
        let (runtime, local, world) = slot.get_or_insert_with(|| {
            let (runtime, local) =
                (Builder::new_current_thread().enable_all().build().expect("a runtime"), LocalSet::new());
            let world = local.block_on(&runtime, World::new());
            Box::leak(Box::new((runtime, local, world)))
        });
        local.block_on(runtime, world.run(&input));
    });
});
