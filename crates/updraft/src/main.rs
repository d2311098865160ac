//! The door: parse, then do what was asked.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else, and before any thread exists: the launcher is this program in another role.
    if std::env::args_os().nth(1).is_some_and(|word| word == updraft::commands::LAUNCHER) {
        return updraft_engine_local::launcher_main();
    }
    updraft::commands::main()
}
