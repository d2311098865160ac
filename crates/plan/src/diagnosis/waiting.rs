//! Containers that run and did not pass their startup probe.

use std::net::SocketAddr;

use updraft_model::{
    diagnosis::Code,
    instance::{Inspection, Listener, ProcessState},
};

use super::{Answer, Greeting, MIB, MORE_MEMORY, NotReady, Question, Told, listed, seconds, told};

/// From here on Linux gives ports to sockets that name none: a UDP socket there is more likely to wait for
/// an answer than for a question.
const EPHEMERAL: u16 = 32_768;
/// Who uses so much of its CPU limit, in percent, is at work.
const BUSY: u32 = 50;
/// The same for a process that the kernel sees running: on a host that is overloaded it gets little.
const BUSY_WHILE_RUNNING: u32 = 2;

pub(super) fn not_ready(port: u16, found: &NotReady) -> Told {
    let told = answered(port, found);
    match killed(found) {
        // It may serve without them, so that this is no more than another fact; but one that must not be missed.
        Some(killed) if told.code != Code::OutOfMemory => Told { cause: format!("{} {killed}", told.cause), ..told },
        _ => told,
    }
}

fn answered(port: u16, found: &NotReady) -> Told {
    match &found.probe.last {
        Answer::NotConnected => unreachable(port, found),
        Answer::Late if !is_another_language(found) => told(
            Code::ProbeNoAnswer,
            format!(
                "It takes connections on port {} and did not answer {} within {}.",
                found.probe.port,
                found.probe.question.in_words(),
                seconds(found.probe.timeout)
            ),
            "See what its handler waits for, or give the startup probe a longer timeout.",
        ),
        Answer::Status(status) => status_of(found, *status),
        Answer::Grpc(code) => grpc_status(found, code),
        Answer::NotServing => told(
            Code::ProbeGrpcNotServing,
            "Its health service answered the gRPC probe that it is not SERVING.",
            "Let it report SERVING once it can take requests.",
        ),
        Answer::Late | Answer::Broken(_) => misunderstood(found),
    }
}

// === nobody takes connections ===

fn unreachable(port: u16, found: &NotReady) -> Told {
    let asked = found.probe.port;
    let Some((seen, listeners)) = found.seen.as_ref().and_then(|seen| Some((seen, seen.listeners.as_ref()?))) else {
        let cause = format!(
            "Nobody took a connection on port {asked} within {}; what listens in the container could not be seen.",
            seconds(found.probe.allowed)
        );
        return match killed(found) {
            Some(killed) => out_of_memory(&killed, &cause),
            None => told(Code::NotListening, cause, "Make it listen on 0.0.0.0 and the port that PORT names."),
        };
    };
    let tcp: Vec<SocketAddr> = listeners.iter().filter_map(Listener::tcp).collect();
    let on_port: Vec<SocketAddr> = tcp.iter().copied().filter(|address| address.port() == asked).collect();
    if !on_port.is_empty() {
        return on_asked_port(found, seen, &on_port);
    }
    let all = listed(&tcp.iter().map(ToString::to_string).collect::<Vec<_>>());
    if asked != port && tcp.iter().any(|address| address.port() == port) {
        return told(
            Code::ProbeWrongPort,
            format!("It listens on {all}, and the startup probe asks port {asked}."),
            format!("Let the startup probe ask port {port}, or none: then it asks the container's port."),
        );
    }
    // What still listens may be the parent of what was killed: its ports are not the container's.
    if let Some(killed) = killed(found) {
        let allowed = seconds(found.probe.allowed);
        let others = listed(&listeners.iter().map(ToString::to_string).collect::<Vec<_>>());
        let still = match listeners[..] {
            [] => format!("It listened on nothing after {allowed}."),
            _ => format!("It listened on {others} after {allowed}, and on no TCP port {asked}."),
        };
        return out_of_memory(&killed, &still);
    }
    if !tcp.is_empty() {
        return told(
            Code::ListensOnOtherPort,
            format!("It listens on {all}, and nothing listens on port {asked}."),
            other_port(&tcp),
        );
    }
    no_tcp(found, seen, listeners)
}

/// What the kernel did to its processes for their memory, if it did.
fn killed(found: &NotReady) -> Option<String> {
    let seen = found.seen.as_ref().filter(|seen| seen.memory_kills > 0)?;
    let limit = found.limits.memory_bytes;
    let used = seen.usage.memory_peak_bytes.max(limit);
    let times = match seen.memory_kills {
        1 => "one of its processes".to_owned(),
        kills => format!("{kills} of its processes"),
    };
    Some(format!(
        "Memory limit of {} MiB exceeded with {} MiB used: the kernel killed {times}.",
        limit / MIB,
        used / MIB
    ))
}

fn out_of_memory(killed: &str, still: &str) -> Told {
    told(Code::OutOfMemory, format!("{killed} {still}"), MORE_MEMORY)
}

fn on_asked_port(found: &NotReady, seen: &Inspection, on_port: &[SocketAddr]) -> Told {
    let all = listed(&on_port.iter().map(ToString::to_string).collect::<Vec<_>>());
    if seen.refuses_ipv4.contains(&found.probe.port) {
        return told(
            Code::ListensOnOtherAddress,
            format!(
                "It listens on {all}, and still a connection by IPv4 is refused there: [::] takes IPv6 only. The platform \
                 connects by IPv4."
            ),
            "Make it listen on 0.0.0.0, or let its socket at [::] take IPv4 too (IPV6_V6ONLY off).",
        );
    }
    if on_port.iter().any(|address| address.ip().is_unspecified()) {
        return told(
            Code::ListensTooLate,
            format!(
                "It listens on {all} now, and nobody could connect within the {} that it had.",
                seconds(found.probe.allowed)
            ),
            "Give the startup probe more time (failureThreshold, periodSeconds), or start faster.",
        );
    }
    if on_port.iter().all(|address| address.ip().is_loopback()) {
        return told(
            Code::ListensOnLoopback,
            format!("It listens on {all} only, where nobody outside of the container can connect."),
            "Make it listen on 0.0.0.0: servers often have a setting HOST or --host for that.",
        );
    }
    told(
        Code::ListensOnOtherAddress,
        format!("It listens on {all} only, where nobody outside of the container could connect."),
        "Make it listen on 0.0.0.0, which is every address it has.",
    )
}

fn other_port(tcp: &[SocketAddr]) -> String {
    let mut open: Vec<u16> = tcp.iter().filter(|address| !address.ip().is_loopback()).map(SocketAddr::port).collect();
    open.sort_unstable();
    open.dedup();
    match open[..] {
        [] => "Make it listen on 0.0.0.0 and the port that PORT names.".to_owned(),
        [one] => format!("Make it listen on the port that PORT names, or deploy with --port {one}."),
        _ => "Make it listen on the port that PORT names, or deploy with --port and the right one of these.".to_owned(),
    }
}

/// Nothing of it speaks TCP: what does it do instead?
fn no_tcp(found: &NotReady, seen: &Inspection, listeners: &[Listener]) -> Told {
    let asked = found.probe.port;
    let named = |wanted: fn(&Listener) -> bool| {
        listed(&listeners.iter().filter(|listener| wanted(listener)).map(ToString::to_string).collect::<Vec<_>>())
    };
    let udp = named(|listener| matches!(listener, Listener::Udp(address) if address.port() < EPHEMERAL));
    if !udp.is_empty() {
        return told(
            Code::ListensOnUdp,
            format!("It listens on {udp}, and on no TCP port."),
            format!("Make it listen on TCP port {asked}: requests come over TCP only."),
        );
    }
    let unix = named(|listener| matches!(listener, Listener::Unix(_)));
    if !unix.is_empty() {
        return told(
            Code::ListensOnUnixSocket,
            format!("It listens on {unix}, and on no TCP port."),
            format!("Make it listen on TCP port {asked} instead of a UNIX socket."),
        );
    }
    if !seen.connecting.is_empty() {
        let peers = listed(&seen.connecting.iter().map(ToString::to_string).collect::<Vec<_>>());
        return told(
            Code::WaitsForConnection,
            format!("It listens on nothing, and tries to connect to {peers}, which does not answer."),
            "See that what it connects to is there and reachable, or let it listen first and connect later.",
        );
    }
    let allowed = seconds(found.probe.allowed);
    match busy(found, seen) {
        Some(percent) => told(
            Code::StillBusy,
            format!("It listened on nothing after {allowed}, and was still at work: {percent}."),
            "Give the startup probe more time (failureThreshold, periodSeconds) or the service more --cpu, or do less before \
             listening.",
        ),
        None => told(
            Code::NotListening,
            format!("It listened on nothing after {allowed}, {}.", idle(seen)),
            "If it is a server, make it listen on 0.0.0.0 and the port that PORT names; its output may say what it waits for.",
        ),
    }
}

/// What shows that it is at work, if something does.
fn busy(found: &NotReady, seen: &Inspection) -> Option<String> {
    let recent = found.recent?;
    let percent = recent.percent(&found.limits);
    let runs = seen.processes.iter().any(|process| process.state == ProcessState::Running);
    let is_busy = percent >= BUSY || (runs && percent >= BUSY_WHILE_RUNNING);
    is_busy.then(|| format!("in its last {} it used {percent} % of its CPU limit", seconds(recent.within)))
}

fn idle(seen: &Inspection) -> String {
    let Some(first) = seen.processes.first() else { return "and has no process any more".to_owned() };
    let does = match first.state {
        ProcessState::Running => "runs",
        ProcessState::Sleeping => "sleeps",
        ProcessState::Blocked => "waits for the kernel",
        ProcessState::Stopped => "is stopped",
        ProcessState::Zombie => "has ended",
    };
    format!("and its process '{}' {does}", first.name)
}

// === somebody takes connections ===

fn status_of(found: &NotReady, status: u16) -> Told {
    let (question, port) = (found.probe.question.in_words(), found.probe.port);
    match status {
        404 => told(
            Code::ProbeNotFound,
            format!("It answered {question} on port {port} with 404: it does not know that path."),
            "Let the startup probe ask a path that is answered with 2xx or 3xx.",
        ),
        status => told(
            Code::ProbeHttpStatus,
            format!("It answered {question} on port {port} with {status}."),
            "See why it does, or let the startup probe ask a path that is answered with 2xx or 3xx.",
        ),
    }
}

fn grpc_status(found: &NotReady, code: &str) -> Told {
    let Question::Grpc(service) = &found.probe.question else {
        return misunderstood(found);
    };
    match code {
        "12" => told(
            Code::ProbeGrpcUnimplemented,
            "It answered the gRPC probe with UNIMPLEMENTED (12): it has no service grpc.health.v1.Health.",
            "Add the health service of its gRPC library, or use a TCP probe.",
        ),
        "5" => told(
            Code::ProbeGrpcUnknownService,
            format!("Its health service does not know the service '{service}' that the probe asks for (NOT_FOUND, 5)."),
            "Let it report a status for that service, or take the service out of the probe.",
        ),
        code => told(
            Code::ProbeGrpcStatus,
            format!("It answered the gRPC probe with status {code}."),
            "See why its health service fails.",
        ),
    }
}

fn is_another_language(found: &NotReady) -> bool {
    matches!(
        (&found.probe.question, &found.greeting),
        (Question::Grpc(_), Some(Greeting::Http1(_)))
            | (_, Some(Greeting::Tls))
            | (Question::Http(_), Some(Greeting::Http2))
    )
}

fn misunderstood(found: &NotReady) -> Told {
    let port = found.probe.port;
    let how = match &found.probe.last {
        Answer::Broken(how) => how.trim_end_matches('.').to_owned(),
        _ => "no answer came".to_owned(),
    };
    match (&found.probe.question, &found.greeting) {
        (_, Some(Greeting::Tls)) => told(
            Code::ProbeSpeaksTls,
            format!("On port {port} it answers plain HTTP with a record of TLS."),
            "Serve without TLS: the platform ends it before the container.",
        ),
        (Question::Http(_), Some(Greeting::Http2)) => told(
            Code::ProbeSpeaksHttp2,
            format!("On port {port} it speaks HTTP/2, and the startup probe HTTP/1.1."),
            "Use a gRPC or a TCP probe.",
        ),
        (Question::Grpc(_), Some(Greeting::Http1(status))) => told(
            Code::ProbeGrpcSpeaksHttp1,
            format!("On port {port} it speaks HTTP/1.1 (it answered GET / with {status}), and the startup probe gRPC."),
            "Use an HTTP or a TCP probe, or serve gRPC on that port.",
        ),
        (Question::Grpc(_), greeting) => told(
            Code::ProbeNotGrpc,
            format!("On port {port} it does not answer the probe with gRPC: {how}{}.", heard(greeting.as_ref())),
            "Serve the gRPC health service on that port, or use a TCP probe.",
        ),
        (_, greeting) => told(
            Code::ProbeNotHttp,
            format!("On port {port} it does not answer the probe with HTTP: {how}{}.", heard(greeting.as_ref())),
            "Serve HTTP on that port, or use a TCP probe.",
        ),
    }
}

fn heard(greeting: Option<&Greeting>) -> String {
    match greeting {
        Some(Greeting::Closed) => "; asked once more, it closed the connection".to_owned(),
        Some(Greeting::Silence) => "; asked once more, it said nothing".to_owned(),
        Some(Greeting::Other(text)) => format!("; asked once more, it said '{text}'"),
        Some(Greeting::Http1(_) | Greeting::Http2 | Greeting::Tls) | None => String::new(),
    }
}

// === impl Question ===

impl Question {
    fn in_words(&self) -> String {
        match self {
            Self::Tcp => "the probe".to_owned(),
            Self::Http(path) => format!("GET {path}"),
            Self::Grpc(service) if service.is_empty() => "the gRPC health check".to_owned(),
            Self::Grpc(service) => format!("the gRPC health check of '{service}'"),
        }
    }
}
