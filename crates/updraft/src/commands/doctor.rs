//! `updraft doctor`: what this machine offers and lacks.

use std::process::ExitCode;

use updraft_engine_local::{Finding, Verdict, survey};

/// Prints the findings; fails if one of them keeps containers from running.
#[expect(clippy::print_stdout, reason = "data of a command")]
pub(super) fn run() -> ExitCode {
    let findings = survey();
    for Finding { name, verdict, detail, hint } in &findings {
        let word = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        println!("{word:<5} {name:<22} {detail}");
        if let Some(hint) = hint {
            println!("{:<28} hint: {hint}", "");
        }
    }
    if findings.iter().any(|finding| finding.verdict == Verdict::Fail) {
        println!("\nContainers cannot run here until every FAIL is mended.");
        return ExitCode::FAILURE;
    }
    println!("\nContainers can run here.");
    ExitCode::SUCCESS
}
