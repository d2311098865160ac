//! Compiles `examples/hello` into the binary, so that `updraft quickstart` has something to run wherever it is
//! installed: a static program needs nothing from an image but itself.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let source = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../examples/hello/src/main.rs");
    let program = PathBuf::from(env::var("OUT_DIR")?).join("hello");
    println!("cargo::rerun-if-changed={}", source.display());
    // The compiler itself rather than cargo: the example has no dependencies, and a cargo within a cargo
    // would wait for the lock of the target directory. glibc is linked in because there is no musl target
    // on a plain toolchain.
    let mut rustc = Command::new(env::var("RUSTC")?);
    rustc.args(["--edition", "2024", "--crate-name", "hello", "--crate-type", "bin", "--target", &env::var("TARGET")?]);
    rustc.args(["-C", "opt-level=3", "-C", "panic=abort", "-C", "strip=symbols", "-C", "target-feature=+crt-static"]);
    let status = rustc.arg("-o").arg(&program).arg(&source).status()?;
    if !status.success() {
        return Err(format!("{rustc:?}: {status}").into());
    }
    Ok(())
}
