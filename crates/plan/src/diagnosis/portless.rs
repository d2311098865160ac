//! The same for a container to which nothing is sent, as in worker pools and tasks: it has no `PORT`, and need not listen.

use updraft_model::diagnosis::Code;

use super::{Evidence, Happened, Told};

/// What is written for a container that takes traffic, and what is said instead.
const INSTEAD: [(&str, &str); 3] = [
    ("; a service has to stay and listen.", "; a worker has to stay."),
    ("Start the server itself in the foreground", "Start the program itself in the foreground"),
    ("'updraft services logs' shows", "the log shows"),
];

/// What happened.
pub(super) fn sentence(happened: &Happened) -> &'static str {
    match happened {
        Happened::NotReady(_) => "The user-provided container failed the configured startup probe checks.",
        _ => "The user-provided container failed to start.",
    }
}

/// Cause and advice without the port that it does not have.
pub(super) fn of(evidence: &Evidence, told: Told) -> Told {
    let plain = |text: String| INSTEAD.iter().fold(text, |text, (written, said)| text.replace(written, said));
    let advice = match &evidence.happened {
        Happened::NotReady(found) if told.code == Code::ListensOnOtherPort => {
            format!(
                "Make it listen on port {}, or let its startup probe ask the port on which it does.",
                found.probe.port
            )
        }
        Happened::NotReady(found) => told.advice.replace(super::NAMED_PORT, &format!("port {}", found.probe.port)),
        _ => told.advice,
    };
    Told { code: told.code, cause: plain(told.cause), advice: plain(advice) }
}
