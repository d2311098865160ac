//! The template and its containers.

use serde_json::{Value, json};

use super::case::{
    Case,
    Source::{self, Reference as R, Unconfirmed as U},
    container, service, template, update,
};

const REVISION: &str =
    "admin-api-v2.md §8.2 RevisionTemplate.revision: starts with \"{service}-\", [a-z0-9-], not end \"-\", ≤63";
const CONTAINERS: &str = "admin-api-v2.md §8.2 containers: ≤10; exactly one has ports[] when >1";
const ENV: &str = "admin-api-v2.md §8.3 EnvVar.name: ≤32768 chars; PORT and K_* etc. reserved";
const RESERVED: &str = "cloud-run-contract.md §2 Reserved: cannot be set by users ⇒ 400";
const CPU: &str = "cloud-run-contract.md §5 Resources: table of CPU and memory";
const PORTS: &str = "admin-api-v2.md §8.3 ContainerPort";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = revision();
    cases.extend(bounds());
    cases.extend(containers());
    cases.extend(strings());
    cases.extend(env());
    cases.extend(resources());
    cases
}

fn revision() -> Vec<Case> {
    let of =
        |name, id: &str| template(name, &json!({"revision": id}), ("revision", "must begin with 'bad-'"), R(REVISION));
    let other = json!({"template": {"revision": "hello-v1", "containers": [{"image": "other"}]}});
    vec![
        of("a revision of another service", "other-1"),
        of("a revision that is only the service", "bad"),
        of("a revision in capitals", "bad-V1"),
        of("a revision that ends with a hyphen", "bad-v1-"),
        of("a revision of 64 characters", &format!("bad-{}", "a".repeat(60))),
        update(
            "a revision that is there with another spec",
            "?updateMask=template",
            &other,
            ("", "Revision named 'hello-v1' with different configuration already exists"),
            U,
        )
        .gets(409, "ALREADY_EXISTS"),
    ]
}

fn bounds() -> Vec<Case> {
    let scaling = "admin-api-v2.md §8.2 RevisionScaling";
    let timeout = "admin-api-v2.md §8.2 timeout: max 3600s";
    let concurrency = "admin-api-v2.md §8.2 maxInstanceRequestConcurrency: max 1000";
    let of = |name, field: &str, value: Value, (path, says), source: &'static str| {
        template(name, &json!({field: value}), (path, says), R(source))
    };
    vec![
        of(
            "a revision with fewer than no instances",
            "scaling",
            json!({"minInstanceCount": -1}),
            ("scaling.min_instance_count", "got -1"),
            scaling,
        ),
        of(
            "a revision with a maximum below zero",
            "scaling",
            json!({"maxInstanceCount": -1}),
            ("scaling.max_instance_count", "got -1"),
            scaling,
        ),
        of(
            "a revision with a minimum above its maximum",
            "scaling",
            json!({"minInstanceCount": 101}),
            ("scaling.min_instance_count", "must not be greater than max_instance_count 100"),
            scaling,
        ),
        Case {
            source: U,
            ..of(
                "a revision with more instances than any host",
                "scaling",
                json!({"maxInstanceCount": 2_000_000_000}),
                ("scaling.max_instance_count", "between 0 and 10000"),
                "",
            )
        },
        of(
            "no time at all",
            "timeout",
            json!("0s"),
            ("timeout", "between 1s and 3600s, got 0s"),
            "cloud-run-contract.md §6 Timeout: 1–3600",
        ),
        of(
            "a second too much time",
            "timeout",
            json!("3601s"),
            ("timeout", "between 1s and 3600s, got 3601s"),
            timeout,
        ),
        of("time that goes back", "timeout", json!("-1s"), ("timeout", "not negative"), timeout),
        of(
            "1001 requests at a time",
            "maxInstanceRequestConcurrency",
            json!(1001),
            ("max_instance_request_concurrency", "between 0 and 1000, got 1001"),
            concurrency,
        ),
        of(
            "fewer than no requests at a time",
            "maxInstanceRequestConcurrency",
            json!(-1),
            ("max_instance_request_concurrency", "got -1"),
            concurrency,
        ),
        of(
            "a service account that is a word",
            "serviceAccount",
            json!("runner"),
            ("service_account", "e-mail of a service account"),
            "admin-api-v2.md §8.2 serviceAccount: E-mail",
        ),
        of(
            "a service account with a space",
            "serviceAccount",
            json!("a b@p.iam.gserviceaccount.com"),
            ("service_account", "e-mail"),
            "admin-api-v2.md §8.2 serviceAccount: E-mail",
        ),
        of(
            "a service account with two signs",
            "serviceAccount",
            json!("a@b@c.com"),
            ("service_account", "e-mail"),
            "admin-api-v2.md §8.2 serviceAccount: E-mail",
        ),
    ]
}

fn containers() -> Vec<Case> {
    let of = |name, containers: Value, field: &str, says| {
        service(
            name,
            &json!({"template": {"containers": containers}}),
            (&format!("template.containers{field}"), says),
            R(CONTAINERS),
        )
    };
    let port = || json!({"image": "x", "ports": [{"containerPort": 8080}]});
    let image = |name, image: &str| {
        container(name, &json!({"image": image}), ("image", "must be the URL of a container image"), U)
    };
    vec![
        of("no containers", json!([]), "", "must have 1 to 10 containers, got 0"),
        of("11 containers", json!(vec![json!({"image": "x"}); 11]), "", "must have 1 to 10 containers, got 11"),
        of(
            "two containers with ports",
            json!([port(), port()]),
            "",
            "exactly one of several containers must have ports, got 2",
        ),
        of("two containers without ports", json!([{"image": "x"}, {"image": "y"}]), "", "got 0 with ports"),
        Case {
            source: U,
            ..of(
                "two containers of one name",
                json!([{"image": "x", "name": "a"}, {"image": "y", "name": "a"}]),
                "[1].name",
                "a name of its own",
            )
        },
        container(
            "a container's name in capitals",
            &json!({"name": "Web"}),
            ("name", "lowercase letters"),
            R("admin-api-v2.md §8.3 Container.name: DNS label ≤63"),
        ),
        container(
            "a container's name of 64 characters",
            &json!({"name": "a".repeat(64)}),
            ("name", "at most 63"),
            R("admin-api-v2.md §8.3 Container.name: DNS label ≤63"),
        ),
        Case { source: R("admin-api-v2.md §8.3 Container.image: REQ"), ..image("no image", "") },
        image("an image with a space", "my image"),
        image("an image that ends with a colon", "hello:"),
        image("an image of 2049 characters", &"a".repeat(2049)),
        container(
            "a dependency on nobody",
            &json!({"dependsOn": ["nobody"]}),
            ("depends_on[0]", "another container"),
            R("admin-api-v2.md §8.3 dependsOn: those containers"),
        ),
        container(
            "a dependency on itself",
            &json!({"name": "a", "dependsOn": ["a"]}),
            ("depends_on[0]", "another container"),
            U,
        ),
        container(
            "a base image that is none",
            &json!({"baseImageUri": "a b"}),
            ("base_image_uri", "must be the URL"),
            U,
        ),
    ]
}

fn strings() -> Vec<Case> {
    let of = |name, change: &Value, field: &str, says, source: Source| container(name, change, (field, says), source);
    let args = "admin-api-v2.md §8.3 args: ≤1000 args";
    vec![
        of("1001 arguments", &json!({"args": vec!["x"; 1001]}), "args", "at most 1000 arguments, got 1001", R(args)),
        of(
            "a command of 1001 words",
            &json!({"command": vec!["x"; 1001]}),
            "command",
            "at most 1000 arguments, got 1001",
            U,
        ),
        of("an argument with a NUL", &json!({"args": ["a\u{0}b"]}), "args[0]", "must not contain a NUL", U),
        of("a command with a NUL", &json!({"command": ["\u{0}"]}), "command[0]", "must not contain a NUL", U),
        of(
            "an argument longer than the kernel takes",
            &json!({"args": ["x".repeat(128 << 10)]}),
            "args[0]",
            "at most 131071 bytes",
            U,
        ),
        template(
            "arguments that are too much together",
            &json!({"containers": [{"image": "x", "args": vec!["x".repeat(100 << 10); 11]}]}),
            ("containers[0]", "together must be at most 1048576 bytes"),
            U,
        ),
        of(
            "a working directory from nowhere",
            &json!({"workingDir": "app"}),
            "working_dir",
            "must be an absolute path",
            U,
        ),
        of(
            "a working directory with a NUL",
            &json!({"workingDir": "/a\u{0}"}),
            "working_dir",
            "must be an absolute path",
            U,
        ),
        of(
            "a port below zero",
            &json!({"ports": [{"containerPort": -1}]}),
            "ports[0].container_port",
            "between 1 and 65535, got -1",
            R(PORTS),
        ),
        of(
            "port 65536",
            &json!({"ports": [{"containerPort": 65_536}]}),
            "ports[0].container_port",
            "between 1 and 65535, got 65536",
            R(PORTS),
        ),
        of(
            "a port of another protocol",
            &json!({"ports": [{"name": "grpc", "containerPort": 80}]}),
            "ports[0].name",
            "'http1' or 'h2c', got 'grpc'",
            R(PORTS),
        ),
        of(
            "two ports",
            &json!({"ports": [{"containerPort": 80}, {"containerPort": 81}]}),
            "ports",
            "at most one port, got 2",
            R("admin-api-v2.md §8.3 ports: 0 or 1 entry"),
        ),
    ]
}

fn env() -> Vec<Case> {
    let of = |name, variable: Value, field: &str, says, source: Source| {
        container(name, &json!({"env": [variable]}), (&format!("env[0].{field}"), says), source)
    };
    let reserved = |name, variable: &str| {
        of(name, json!({"name": variable, "value": "x"}), "name", "reserved by the platform", R(RESERVED))
    };
    let secret = |name: &str, version: &str| json!({"name": "A", "valueSource": {"secretKeyRef": {"secret": name, "version": version}}});
    let twice = json!({"env": [secret("s", "1"), secret("s", "2")]});
    let key = "value_source.secret_key_ref";
    let selector = "admin-api-v2.md §8.3 SecretKeySelector";
    vec![
        reserved("the variable PORT", "PORT"),
        reserved("the variable K_SERVICE", "K_SERVICE"),
        reserved("the variable K_REVISION", "K_REVISION"),
        reserved("the variable K_CONFIGURATION", "K_CONFIGURATION"),
        reserved("a variable of Google's own", "X_GOOGLE_ANYTHING"),
        of(
            "a variable without a name",
            json!({"value": "x"}),
            "name",
            "must be 1 to 32768",
            R("admin-api-v2.md §8.3 EnvVar.name: REQ"),
        ),
        of("a variable with a sign of equality", json!({"name": "a=b"}), "name", "without '='", U),
        of("a variable with a NUL", json!({"name": "a\u{0}"}), "name", "NUL", U),
        of(
            "a variable's name of 32769 characters",
            json!({"name": "x".repeat(32_769)}),
            "name",
            "must be 1 to 32768",
            R(ENV),
        ),
        of(
            "a value of 32769 bytes",
            json!({"name": "A", "value": "x".repeat(32_769)}),
            "value",
            "at most 32768 bytes without NUL, got 32769 bytes",
            R("admin-api-v2.md §8.3 EnvVar.value: ≤32 KiB"),
        ),
        of("a value with a NUL", json!({"name": "A", "value": "\u{0}"}), "value", "without NUL", U),
        container(
            "1001 variables",
            &json!({"env": vec![json!({"name": "A"}); 1001]}),
            ("env", "at most 1000 variables, got 1001"),
            R("admin-api-v2.md §8.3 env: ≤1000 vars"),
        ),
        of(
            "a secret without a name",
            secret("", "latest"),
            &format!("{key}.secret"),
            "must be {name} or projects/",
            R(selector),
        ),
        of(
            "a secret of a malformed name",
            secret("a/b", "latest"),
            &format!("{key}.secret"),
            "must be {name} or projects/",
            R(selector),
        ),
        of(
            "a secret of a malformed version",
            secret("s", "the latest"),
            &format!("{key}.version"),
            "'latest', a number or an alias",
            R(selector),
        ),
        of("a source that is none", json!({"name": "A", "valueSource": {}}), key, "must be set", U),
        container(
            "a variable from two secrets",
            &twice,
            ("env[1].name", "must be unique"),
            R("cloud-run-contract.md §2 limits: secret-backed names unique"),
        ),
    ]
}

fn resources() -> Vec<Case> {
    let of = |name, limits: Value, field: &str, says| {
        container(
            name,
            &json!({"resources": {"limits": limits, "cpuIdle": true}}),
            (&format!("resources.{field}"), says),
            R(CPU),
        )
    };
    let cpu = |name, cpu: &str| {
        of(name, json!({"cpu": cpu}), "limits[cpu]", "must be 0.08 to 1 in steps of 0.001, or 1, 2, 4, 6 or 8")
    };
    let memory =
        |name, memory: &str| of(name, json!({"memory": memory}), "limits[memory]", "must be a quantity such as 512Mi");
    let together = |name, cpu: &str, memory: &str, says| {
        template(
            name,
            &json!({"containers": [{"image": "x", "resources": {"limits": {"cpu": cpu, "memory": memory}, "cpuIdle": true}}]}),
            ("containers", says),
            R(CPU),
        )
    };
    vec![
        cpu("3 CPUs", "3"),
        cpu("no CPU", "0"),
        cpu("less CPU than there is", "0.079"),
        cpu("a CPU below zero", "-1"),
        cpu("a finer part of a CPU", "0.0805"),
        cpu("a CPU in words", "two"),
        cpu("16 CPUs", "16"),
        memory("memory in words", "much"),
        memory("memory below zero", "-1Gi"),
        memory("memory in a wrong unit", "512MiB"),
        memory("memory beyond all", "99999999999999999999Ti"),
        together("little memory", "1", "64Mi", "memory must be between 128Mi and 4096Mi, got 64Mi"),
        together("much memory for a CPU", "1", "5Gi", "memory must be between 128Mi and 4096Mi, got 5120Mi"),
        together("much memory for half a CPU", "0.5", "2Gi", "memory must be between 128Mi and 1024Mi"),
        together("little memory for 4 CPUs", "4", "1Gi", "memory must be between 2048Mi and 16384Mi"),
        together("more than 32 GiB", "8", "33Gi", "memory must be between 4096Mi and 32768Mi"),
        of("two GPUs", json!({"nvidia.com/gpu": "2"}), "limits[nvidia.com/gpu]", "must be 1, got '2'"),
        Case {
            source: R("admin-api-v2.md §8.3 limits: keys cpu, memory, nvidia.com/gpu only"),
            ..of(
                "a limit of something else",
                json!({"disk": "1Gi"}),
                "limits[disk]",
                "only cpu, memory and nvidia.com/gpu",
            )
        },
        container(
            "half a CPU all the time",
            &json!({"resources": {"limits": {"cpu": "500m"}, "cpuIdle": false}}),
            ("resources.cpu_idle", "must be true when less than 1 CPU"),
            R(CPU),
        ),
        template(
            "two requests at a time on half a CPU",
            &json!({"maxInstanceRequestConcurrency": 2, "containers": [{"image": "x", "resources": {"limits": {"cpu": "500m"}, "cpuIdle": true}}]}),
            ("max_instance_request_concurrency", "must be 1 when less than 1 CPU"),
            R(CPU),
        ),
    ]
}
