//! The same for a container beside the one that takes the traffic: it has a name and no `PORT`.

use updraft_model::diagnosis::Code;

use super::{Evidence, Happened, NAMED_PORT, Told};

/// What happened, where it was the sidecar `name` that failed.
pub(super) fn sentence(name: &str, happened: &Happened) -> String {
    match happened {
        Happened::NotReady(_) => {
            format!("The user-provided container '{name}' failed the configured startup probe checks.")
        }
        _ => format!("The user-provided container '{name}' failed to start."),
    }
}

/// The cause with the name of the sidecar, and the advice without the port that it does not have.
pub(super) fn of(name: &str, evidence: &Evidence, told: Told) -> Told {
    let advice = match &evidence.happened {
        Happened::NotReady(found) if told.code == Code::ListensOnOtherPort => {
            format!(
                "Make it listen on port {}, or let its startup probe ask the port on which it does.",
                found.probe.port
            )
        }
        Happened::NotReady(found) => told.advice.replace(NAMED_PORT, &format!("port {}", found.probe.port)),
        _ => told.advice.replace(NAMED_PORT, "a port of its own"),
    };
    Told { code: told.code, cause: format!("Container '{name}': {}", told.cause), advice }
}
