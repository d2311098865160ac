//! The launcher alone, for the tests of this crate: the product executes itself instead.

fn main() -> std::process::ExitCode {
    updraft_engine_local::launcher_main()
}
