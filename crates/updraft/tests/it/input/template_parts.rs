//! Probes, volumes and mounts.

use serde_json::{Value, json};

use super::case::{
    Case,
    Source::{Reference as R, Unconfirmed as U},
    container, template,
};

const PROBE: &str = "admin-api-v2.md §8.3 Probe: ranges of startup and liveness";
const KINDS: &str = "cloud-run-contract.md §3 Probes: types of startup, liveness, readiness";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = numbers();
    cases.extend(kinds());
    cases.extend(volumes());
    cases
}

fn of(name: &'static str, (probe, path): (&str, &str), change: &Value, (field, says): (&str, &'static str)) -> Case {
    let mut whole = json!({"httpGet": {"path": "/"}});
    for (name, value) in change.as_object().into_iter().flatten() {
        whole[name] = value.clone();
    }
    container(name, &json!({probe: whole}), (&format!("{path}{field}"), says), R(PROBE))
}

fn numbers() -> Vec<Case> {
    let startup = ("startupProbe", "startup_probe");
    let liveness = ("livenessProbe", "liveness_probe");
    let readiness = ("readinessProbe", "readiness_probe");
    vec![
        of(
            "a startup that waits too long",
            startup,
            &json!({"initialDelaySeconds": 241}),
            (".initial_delay_seconds", "between 0 and 240, got 241"),
        ),
        of(
            "a startup that waits backwards",
            startup,
            &json!({"initialDelaySeconds": -1}),
            (".initial_delay_seconds", "got -1"),
        ),
        of(
            "a startup with a long period",
            startup,
            &json!({"periodSeconds": 241}),
            (".period_seconds", "between 1 and 240, got 241"),
        ),
        of("a startup with a period below zero", startup, &json!({"periodSeconds": -1}), (".period_seconds", "got -1")),
        of(
            "an attempt longer than its period",
            startup,
            &json!({"timeoutSeconds": 20}),
            (".timeout_seconds", "must not be greater than period_seconds 10, got 20"),
        ),
        of("an attempt of less than no time", startup, &json!({"timeoutSeconds": -1}), (".timeout_seconds", "got -1")),
        of(
            "no failure is too much",
            startup,
            &json!({"failureThreshold": -1}),
            (".failure_threshold", "at least 1, got -1"),
        ),
        Case {
            source: U,
            ..of(
                "a startup of more than 240 seconds",
                startup,
                &json!({"periodSeconds": 10, "failureThreshold": 25}),
                ("", "must be at most 240, got 250"),
            )
        },
        of(
            "a liveness that waits too long",
            liveness,
            &json!({"initialDelaySeconds": 3601}),
            (".initial_delay_seconds", "between 0 and 3600"),
        ),
        of(
            "a liveness with a long period",
            liveness,
            &json!({"periodSeconds": 3601}),
            (".period_seconds", "between 1 and 3600"),
        ),
        Case {
            source: R("cloud-run-contract.md §3 Probes: readiness initialDelay not settable"),
            ..of(
                "a readiness that waits",
                readiness,
                &json!({"initialDelaySeconds": 1}),
                (".initial_delay_seconds", "between 0 and 0"),
            )
        },
    ]
}

fn kinds() -> Vec<Case> {
    let http = "admin-api-v2.md §8.3 HTTPGetAction";
    let probe = |name, probe: Value, field: &str, says, source: &'static str| {
        container(name, &json!({"startupProbe": probe}), (&format!("startup_probe{field}"), says), R(source))
    };
    vec![
        probe(
            "a probe of nothing",
            json!({"periodSeconds": 5}),
            "",
            "one of http_get, tcp_socket and grpc must be set",
            PROBE,
        ),
        probe(
            "a probe of another host",
            json!({"httpGet": {"path": "http://example.com/"}}),
            ".http_get.path",
            "must be an absolute path",
            http,
        ),
        probe(
            "a probe of a path with a space",
            json!({"httpGet": {"path": "/a b"}}),
            ".http_get.path",
            "must be an absolute path",
            http,
        ),
        probe(
            "a probe of port 65536",
            json!({"httpGet": {"port": 65_536}}),
            ".http_get.port",
            "between 1 and 65535",
            http,
        ),
        probe(
            "a probe of a port below zero",
            json!({"tcpSocket": {"port": -1}}),
            ".tcp_socket.port",
            "between 1 and 65535",
            "admin-api-v2.md §8.3 TCPSocketAction",
        ),
        probe(
            "a gRPC probe of port 65536",
            json!({"grpc": {"port": 65_536}}),
            ".grpc.port",
            "between 1 and 65535",
            "admin-api-v2.md §8.3 GRPCAction",
        ),
        probe(
            "a probe with a header without a name",
            json!({"httpGet": {"httpHeaders": [{"value": "x"}]}}),
            ".http_get.http_headers[0]",
            "that HTTP allows",
            "admin-api-v2.md §8.3 HTTPHeader.name: REQ",
        ),
        probe(
            "a probe with two lines in a header",
            json!({"httpGet": {"httpHeaders": [{"name": "a", "value": "x\r\ny: z"}]}}),
            ".http_get.http_headers[0]",
            "that HTTP allows",
            http,
        ),
        Case {
            source: U,
            ..probe(
                "a probe with 101 headers",
                json!({"httpGet": {"httpHeaders": vec![json!({"name": "a"}); 101]}}),
                ".http_get.http_headers",
                "at most 100 headers",
                "",
            )
        },
        Case {
            source: U,
            ..probe(
                "a gRPC probe of a very long service",
                json!({"grpc": {"service": "x".repeat(2049)}}),
                ".grpc.service",
                "at most 2048 bytes",
                "",
            )
        },
        container(
            "a liveness by TCP",
            &json!({"livenessProbe": {"tcpSocket": {"port": 80}}}),
            ("liveness_probe.tcp_socket", "can be http_get or grpc, got tcp_socket"),
            R(KINDS),
        ),
        container(
            "a readiness by TCP",
            &json!({"readinessProbe": {"tcpSocket": {"port": 80}}}),
            ("readiness_probe.tcp_socket", "can be http_get or grpc"),
            R(KINDS),
        ),
    ]
}

fn volumes() -> Vec<Case> {
    let mount = |name, mounts: Value, index: usize, field: &str, says| {
        let volumes = json!([{"name": "v", "emptyDir": {}}]);
        let change = json!({"volumes": volumes, "containers": [{"image": "x", "volumeMounts": mounts}]});
        template(
            name,
            &change,
            (&format!("containers[0].volume_mounts[{index}].{field}"), says),
            R("admin-api-v2.md §8.3 VolumeMount"),
        )
    };
    let secret = |name, source: Value, field: &str, says| {
        let change = json!({"volumes": [{"name": "v", "secret": source}]});
        template(
            name,
            &change,
            (&format!("volumes[0].secret.{field}"), says),
            R("admin-api-v2.md §8.4 SecretVolumeSource, VersionToPath"),
        )
    };
    let item = |item: Value| json!({"secret": "s", "items": [item]});
    vec![
        secret("a volume of no secret", json!({}), "secret", "must be {name} or projects/"),
        secret(
            "a file of a secret outside of its volume",
            item(json!({"path": "../x", "version": "1"})),
            "items[0].path",
            "must be a relative path",
        ),
        secret(
            "a file of a secret at an absolute path",
            item(json!({"path": "/x", "version": "1"})),
            "items[0].path",
            "must be a relative path",
        ),
        secret("a file of a secret without a version", item(json!({"path": "x"})), "items[0].version", "'latest'"),
        secret(
            "a file of a secret with a mode that is none",
            item(json!({"path": "x", "version": "1", "mode": 0o1000})),
            "items[0].mode",
            "must be between 0 and 511",
        ),
        secret(
            "a volume of a secret with a mode that is none",
            json!({"secret": "s", "defaultMode": -1}),
            "default_mode",
            "must be between 0 and 511",
        ),
        secret(
            "two files of a secret at one path",
            json!({"secret": "s", "items": [{"path": "x", "version": "1"}, {"path": "x/y", "version": "2"}]}),
            "items[1].path",
            "a path of its own",
        ),
        template(
            "a volume without a name",
            &json!({"volumes": [{"emptyDir": {}}]}),
            ("volumes[0].name", "a name of its own"),
            R("admin-api-v2.md §8.4 Volume.name: REQ"),
        ),
        template("a volume in capitals", &json!({"volumes": [{"name": "Data"}]}), ("volumes[0].name", "lowercase"), U),
        template(
            "two volumes of one name",
            &json!({"volumes": [{"name": "v"}, {"name": "v"}]}),
            ("volumes[1].name", "a name of its own"),
            U,
        ),
        mount(
            "a mount of nothing",
            json!([{"name": "w", "mountPath": "/x"}]),
            0,
            "name",
            "must name a volume of the template",
        ),
        mount("a mount without a path", json!([{"name": "v"}]), 0, "mount_path", "must be an absolute path"),
        mount(
            "a mount at a path from nowhere",
            json!([{"name": "v", "mountPath": "x"}]),
            0,
            "mount_path",
            "must be an absolute path",
        ),
        mount("a mount with a colon", json!([{"name": "v", "mountPath": "/a:b"}]), 0, "mount_path", "without ':'"),
        mount(
            "two mounts at one path",
            json!([{"name": "v", "mountPath": "/x"}, {"name": "v", "mountPath": "/x/"}]),
            1,
            "mount_path",
            "of its own",
        ),
        template(
            "a volume of two kinds",
            &json!({"volumes": [{"name": "v", "emptyDir": {}, "nfs": {}}]}),
            ("volumes[0].nfs", "already set by 'empty_dir'"),
            R("admin-api-v2.md §8.4 Volume: oneof volume_type"),
        ),
    ]
}
