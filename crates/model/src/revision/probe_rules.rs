//! The ranges of probes.
//!
//! Source: Cloud Run Admin API v2, `Probe`, and Cloud Run's "Container health checks".

use super::{Container, Probe, ProbeKind};
use crate::error::Violation;

/// The longest time from the first attempt of a startup probe to its last, in seconds.
const STARTUP_MAX: i64 = 240;

/// The most headers of an HTTP probe.
const HEADERS_MAX: usize = 100;
/// The longest path, header or service of a probe, in bytes.
const TEXT_BYTES_MAX: usize = 2048;

/// What differs between the probes.
struct Rules {
    field: &'static str,
    delay_max: i32,
    period_max: i32,
    tcp: bool,
}

const STARTUP: Rules = Rules { field: "startup_probe", delay_max: 240, period_max: 240, tcp: true };
const LIVENESS: Rules = Rules { field: "liveness_probe", delay_max: 3600, period_max: 3600, tcp: false };
const READINESS: Rules = Rules { field: "readiness_probe", delay_max: 0, period_max: 300, tcp: false };

/// Checks that nothing asks a container at `path` that takes no requests whether it is ready for some, and that its other
/// probes say which port they ask: there is none that 0 could stand for.
pub(super) fn check_portless(path: &str, container: &Container, found: &mut Vec<Violation>) {
    if container.readiness_probe.is_some() {
        let rule = "must not be set, for no requests are sent to a worker pool";
        found.push(Violation::new(format!("{path}.readiness_probe"), rule));
    }
    for (rules, probe) in [(STARTUP, &container.startup_probe), (LIVENESS, &container.liveness_probe)] {
        let field = match probe.as_ref().map(|probe| &probe.kind) {
            Some(ProbeKind::Tcp { port: 0 }) => "tcp_socket",
            Some(ProbeKind::Http { port: 0, .. }) => "http_get",
            Some(ProbeKind::Grpc { port: 0, .. }) => "grpc",
            _ => continue,
        };
        let rule =
            "must be between 1 and 65535, for a worker pool's container has no port that it could stand for, got 0";
        found.push(Violation::new(format!("{path}.{}.{field}.port", rules.field), rule));
    }
}

/// Checks the probes of one container at `path`.
pub(super) fn check(path: &str, container: &Container, found: &mut Vec<Violation>) {
    let probes = [
        (STARTUP, &container.startup_probe),
        (LIVENESS, &container.liveness_probe),
        (READINESS, &container.readiness_probe),
    ];
    for (rules, probe) in probes {
        if let Some(probe) = probe {
            check_probe(&format!("{path}.{}", rules.field), &rules, probe, found);
        }
    }
    if let Some(probe) = &container.startup_probe {
        let whole = i64::from(probe.period) * i64::from(probe.failure_threshold);
        if whole > STARTUP_MAX && probe.period <= STARTUP.period_max {
            let rule = format!("period_seconds times failure_threshold must be at most {STARTUP_MAX}, got {whole}");
            found.push(Violation::new(format!("{path}.startup_probe"), rule));
        }
    }
}

fn check_probe(path: &str, rules: &Rules, probe: &Probe, found: &mut Vec<Violation>) {
    let ranges = [
        ("initial_delay_seconds", probe.initial_delay, 0, rules.delay_max),
        ("timeout_seconds", probe.timeout, 1, rules.period_max),
        ("period_seconds", probe.period, 1, rules.period_max),
        ("failure_threshold", probe.failure_threshold, 1, i32::MAX),
    ];
    for (field, value, least, most) in ranges {
        if !(least..=most).contains(&value) {
            let rule = match most {
                i32::MAX => format!("must be at least {least}, got {value}"),
                _ => format!("must be between {least} and {most}, got {value}"),
            };
            found.push(Violation::new(format!("{path}.{field}"), rule));
        }
    }
    if probe.timeout > probe.period {
        let rule = format!("must not be greater than period_seconds {}, got {}", probe.period, probe.timeout);
        found.push(Violation::new(format!("{path}.timeout_seconds"), rule));
    }
    check_kind(path, rules, &probe.kind, found);
}

fn check_kind(path: &str, rules: &Rules, kind: &ProbeKind, found: &mut Vec<Violation>) {
    let (field, port) = match kind {
        ProbeKind::Unset => {
            found.push(Violation::new(path, "one of http_get, tcp_socket and grpc must be set, got none"));
            return;
        }
        ProbeKind::Tcp { .. } if !rules.tcp => {
            let rule = format!("a {} can be http_get or grpc, got tcp_socket", rules.field.replace('_', " "));
            found.push(Violation::new(format!("{path}.tcp_socket"), rule));
            return;
        }
        ProbeKind::Tcp { port } => ("tcp_socket", *port),
        ProbeKind::Grpc { port, service } => {
            if service.len() > TEXT_BYTES_MAX || service.contains(char::is_control) {
                let rule =
                    format!("must be at most {TEXT_BYTES_MAX} bytes without control characters, got '{service}'");
                found.push(Violation::new(format!("{path}.grpc.service"), rule));
            }
            ("grpc", *port)
        }
        ProbeKind::Http { path: url, headers, port } => {
            let is_path = url.starts_with('/') && !url.contains(|c: char| c.is_whitespace() || c.is_control());
            if !is_path || url.len() > TEXT_BYTES_MAX {
                let rule = format!("must be an absolute path, got '{url}'");
                found.push(Violation::new(format!("{path}.http_get.path"), rule));
            }
            if headers.len() > HEADERS_MAX {
                let rule = format!("must have at most {HEADERS_MAX} headers, got {}", headers.len());
                found.push(Violation::new(format!("{path}.http_get.http_headers"), rule));
            }
            for (index, _) in headers.iter().enumerate().filter(|(_, (name, value))| !is_header(name, value)) {
                let field = format!("{path}.http_get.http_headers[{index}]");
                found.push(Violation::new(field, "must be a name and a value that HTTP allows"));
            }
            ("http_get", *port)
        }
    };
    // 0 is left only where the container has no port of its own that it could stand for.
    if !(0..=65535).contains(&port) {
        let rule = format!("must be between 1 and 65535, got {port}");
        found.push(Violation::new(format!("{path}.{field}.port"), rule));
    }
}

fn is_header(name: &str, value: &str) -> bool {
    let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    !name.is_empty()
        && name.len() + value.len() <= TEXT_BYTES_MAX
        && name.bytes().all(token)
        && !value.bytes().any(|c| c.is_ascii_control() && c != b'\t')
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn probe(kind: ProbeKind, [initial_delay, timeout, period, failure_threshold]: [i32; 4]) -> Option<Probe> {
        Some(Probe { initial_delay, timeout, period, failure_threshold, kind })
    }

    #[test]
    fn probes_stay_in_their_ranges() {
        let container = Container {
            startup_probe: probe(ProbeKind::Unset, [241, 20, 10, 30]),
            liveness_probe: probe(ProbeKind::Tcp { port: 80 }, [3600, 1, 3601, 0]),
            readiness_probe: probe(
                ProbeKind::Http {
                    path: "x".to_owned(),
                    headers: vec![("a b".to_owned(), String::new())],
                    port: 70_000,
                },
                [1, 1, 301, 3],
            ),
            ..Container::default()
        };
        let mut found = Vec::new();
        check("c", &container, &mut found);
        let lines: Vec<String> = found.iter().map(|violation| format!("{violation}\n")).collect();
        expect![[r#"
            c.startup_probe.initial_delay_seconds: must be between 0 and 240, got 241
            c.startup_probe.timeout_seconds: must not be greater than period_seconds 10, got 20
            c.startup_probe: one of http_get, tcp_socket and grpc must be set, got none
            c.liveness_probe.period_seconds: must be between 1 and 3600, got 3601
            c.liveness_probe.failure_threshold: must be at least 1, got 0
            c.liveness_probe.tcp_socket: a liveness probe can be http_get or grpc, got tcp_socket
            c.readiness_probe.initial_delay_seconds: must be between 0 and 0, got 1
            c.readiness_probe.period_seconds: must be between 1 and 300, got 301
            c.readiness_probe.http_get.path: must be an absolute path, got 'x'
            c.readiness_probe.http_get.http_headers[0]: must be a name and a value that HTTP allows
            c.readiness_probe.http_get.port: must be between 1 and 65535, got 70000
            c.startup_probe: period_seconds times failure_threshold must be at most 240, got 300
        "#]]
        .assert_eq(&lines.concat());
    }
}
