//! `updraft doctor`: what this machine offers and lacks.

use std::{net::ToSocketAddrs as _, process::ExitCode};

use serde_json::json;
use updraft_cli::Format;
use updraft_engine_local::{Finding, Verdict, survey};

use super::print;

/// Prints the findings; fails if one of them keeps containers from running.
pub(super) fn run(format: Option<Format>) -> ExitCode {
    let mut findings = survey();
    findings.push(names());
    let can_run = findings.iter().all(|finding| finding.verdict != Verdict::Fail);
    if format == Some(Format::Json) {
        let all = findings
            .iter()
            .map(|Finding { name, verdict, detail, hint }| {
                json!({"name": name, "verdict": word(verdict), "detail": detail, "hint": hint})
            })
            .collect();
        print(format_args!("{:#}", serde_json::Value::Array(all)));
    } else {
        for Finding { name, verdict, detail, hint } in &findings {
            print(format_args!("{:<5} {name:<22} {detail}", word(verdict)));
            if let Some(hint) = hint {
                print(format_args!("{:<28} hint: {hint}", ""));
            }
        }
        let sum =
            if can_run { "Containers can run here." } else { "Containers cannot run here until every FAIL is mended." };
        print(format_args!("\n{sum}"));
    }
    if can_run { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Do programs of this machine find services by name? curl and browsers know `*.localhost` by themselves.
fn names() -> Finding {
    let finds = ("any.run.localhost", 80).to_socket_addrs().is_ok();
    let (verdict, detail, hint) = match finds {
        true => (Verdict::Ok, "names below localhost resolve", None),
        false => (
            Verdict::Warn,
            "names below localhost do not resolve, but in curl and browsers",
            Some(
                "send the service's name as `Host` header to the server's address, or install libnss-myhostname"
                    .to_owned(),
            ),
        ),
    };
    Finding { name: "service names", verdict, detail: detail.to_owned(), hint }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    }
}
