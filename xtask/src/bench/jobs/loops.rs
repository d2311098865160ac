//! What one would do without a platform: `xargs -P2`.

use std::{
    ffi::OsString,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use super::batch::Ran;
use crate::{
    Error,
    bench::cold_start::{apps::App, clock::now, cpu, peers::Runc},
};

/// How many at a time.
const AT_A_TIME: &str = "2";

/// Runs so many containers of the application. `turn` tells their names apart.
pub(super) fn runc(server: u32, (runc, app): (&Runc, &App), (turn, count): (usize, u32)) -> Result<Ran, Error> {
    let name = |number: u32| format!("updraft-bench-{}-{turn}-{number}", std::process::id());
    xargs(server, &runc.line(app), (1..=count).map(name).collect())
}

/// Runs so many processes of the application, with nothing around them.
pub(super) fn bare(server: u32, app: &App, count: u32) -> Result<Ran, Error> {
    let Some((last, line)) = app.host_argv.split_last() else { return Err("nothing to run".into()) };
    let line: Vec<OsString> = line.iter().map(OsString::from).collect();
    xargs(server, &line, (0..count).map(|_| last.clone()).collect())
}

/// Runs a command with each of the arguments added to it. `server` is whose CPU is another's.
fn xargs(server: u32, line: &[OsString], arguments: Vec<String>) -> Result<Ran, Error> {
    let own = || cpu::of_tree(std::process::id()).saturating_sub(cpu::of_tree(server));
    let before = own();
    let begun = now();
    let mut xargs = Command::new("xargs");
    xargs.args(["-P", AT_A_TIME, "-n", "1"]).args(line);
    let mut child = xargs.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let mut stdin = child.stdin.take().ok_or("xargs has no input")?;
    stdin.write_all(arguments.join("\n").as_bytes())?;
    drop(stdin);
    let status = child.wait()?;
    let time = begun.elapsed();
    match status.success() {
        true => Ok(Ran {
            count: u32::try_from(arguments.len())?,
            time,
            cpu: own().saturating_sub(before),
            own_cpu: Duration::ZERO,
            execution: None,
        }),
        false => Err(format!("xargs {line:?} ended with {status}").into()),
    }
}
