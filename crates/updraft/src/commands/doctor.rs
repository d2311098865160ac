//! `updraft doctor`: what this machine offers and lacks.

use std::process::ExitCode;

use updraft_engine_local::{Finding, Verdict, survey};

use super::print;

/// Prints the findings; fails if one of them keeps containers from running.
pub(super) fn run() -> ExitCode {
    let findings = survey();
    for Finding { name, verdict, detail, hint } in &findings {
        let word = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        print(format_args!("{word:<5} {name:<22} {detail}"));
        if let Some(hint) = hint {
            print(format_args!("{:<28} hint: {hint}", ""));
        }
    }
    if findings.iter().any(|finding| finding.verdict == Verdict::Fail) {
        print("\nContainers cannot run here until every FAIL is mended.");
        return ExitCode::FAILURE;
    }
    print("\nContainers can run here.");
    ExitCode::SUCCESS
}
