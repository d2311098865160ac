//! `updraft doctor`: what this machine offers and lacks. With `--leaks`, see `leaks`.

use std::{
    net::ToSocketAddrs as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;
use updraft_cli::Format;
use updraft_engine_local::{Finding, Isolation, Possible, Runtime, Scope, Verdict, isolations, survey};

use super::{ServeArgs, print};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Look instead for what servers left on this machine: processes, control groups, mounts, links, packet filter
    /// tables, settings, files. Only looks; exit code 1 when there is something.
    #[arg(long)]
    pub(super) leaks: bool,
    /// Not only of the data directory's server, but of every server of this machine.
    #[arg(long, requires = "leaks")]
    all: bool,
    /// The server's data directory [default: as of `updraft serve`].
    #[arg(long, value_name = "DIR", requires = "leaks")]
    data_dir: Option<String>,
    /// The server's file of settings.
    #[arg(long, env = "UPDRAFT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The OCI runtime that is to be looked at [default: as of `updraft serve`].
    #[arg(long, value_name = "RUNTIME", conflicts_with = "leaks")]
    runtime: Option<String>,
}

// === impl DoctorArgs ===

impl DoctorArgs {
    /// The flags of the server that is meant.
    pub(super) fn serving(&self) -> ServeArgs {
        ServeArgs {
            config: self.config.clone(),
            data_dir: self.data_dir.clone(),
            runtime: self.runtime.clone(),
            ..ServeArgs::default()
        }
    }

    pub(super) fn scope(&self) -> Scope {
        if self.all { Scope::All } else { Scope::Own }
    }
}

/// Prints the findings; fails if one of them keeps containers from running.
pub(super) fn run(runtime: Option<&Path>, format: Option<Format>) -> ExitCode {
    let mut findings = survey();
    findings.push(names());
    findings.push(maker(runtime));
    let possible = isolations(&std::env::temp_dir());
    findings.extend(possible.iter().map(of_isolation));
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
        print(format_args!("\n{}", sum(can_run, &possible)));
    }
    if can_run { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Who makes the containers: an OCI runtime, or we.
fn maker(runtime: Option<&Path>) -> Finding {
    const NAME: &str = "runtime";
    let Some(name) = runtime else {
        let detail = "Updraft's own sandbox; --runtime has an OCI runtime make the containers".to_owned();
        return Finding { name: NAME, verdict: Verdict::Ok, detail, hint: None };
    };
    match Runtime::find(name) {
        Ok(Runtime { path, version }) => {
            Finding { name: NAME, verdict: Verdict::Ok, detail: format!("{version} ({})", path.display()), hint: None }
        }
        Err(error) => {
            let hint = "install it, name another one with --runtime, or leave the setting out: docs/runtime.md";
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let detail = format!("{error}{cause}");
            Finding { name: NAME, verdict: Verdict::Fail, detail, hint: Some(hint.to_owned()) }
        }
    }
}

/// A weaker isolation that is not possible keeps nothing from running.
fn of_isolation(Possible { isolation, outcome }: &Possible) -> Finding {
    let (name, fine) = match isolation {
        Isolation::Namespaces => ("isolation namespaces", "instances are kept apart"),
        Isolation::Chroot => ("isolation chroot", "possible, where namespaces are not"),
        Isolation::None => ("isolation none", "possible, for static programs"),
    };
    match outcome {
        Ok(()) => Finding { name, verdict: Verdict::Ok, detail: fine.to_owned(), hint: None },
        Err(cause) => {
            let verdict = if *isolation == Isolation::default() { Verdict::Fail } else { Verdict::Warn };
            let hint = match isolation {
                Isolation::Namespaces => "run the server as root of a machine, or in a privileged container",
                Isolation::Chroot | Isolation::None => {
                    "none needed where 'namespaces' works; docs/isolation.md has what it takes"
                }
            };
            Finding { name, verdict, detail: cause.clone(), hint: Some(hint.to_owned()) }
        }
    }
}

fn sum(can_run: bool, possible: &[Possible]) -> String {
    let weaker = possible.iter().find(|one| one.outcome.is_ok());
    match weaker {
        _ if can_run => "Containers can run here.".to_owned(),
        Some(Possible { isolation, .. }) if *isolation != Isolation::default() => format!(
            "Containers cannot be kept apart here until every FAIL is mended. `updraft serve --isolation {isolation}` runs \
             them with less isolation: docs/isolation.md."
        ),
        _ => "Containers cannot run here until every FAIL is mended.".to_owned(),
    }
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
