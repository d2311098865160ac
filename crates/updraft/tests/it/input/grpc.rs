//! The gRPC wire.

use prost::Message;
use updraft_api::{iam, longrunning, run};

use super::case::{
    Ask, Case, Expected,
    Source::{self, Marked as M, Reference as R, Unconfirmed as U},
};

const CREATE: &str = "/google.cloud.run.v2.Services/CreateService";
const LIST: &str = "/google.cloud.run.v2.Services/ListServices";
const PARENT: &str = "projects/demo-project/locations/us-central1";

/// One message in its frame.
fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
    [&[0][..], &length, bytes].concat()
}

fn call(
    name: &'static str,
    path: &'static str,
    frames: Vec<u8>,
    code: &'static str,
    (field, says): (&str, &'static str),
) -> Case {
    let expected = Expected { http: 200, code, field: field.to_owned(), says };
    Case { name, ask: Ask::Grpc { path, headers: Vec::new(), frames }, expected, source: U }
}

fn refused(
    name: &'static str,
    path: &'static str,
    message: &impl Message,
    wrong: (&str, &'static str),
    source: Source,
) -> Case {
    Case { source, ..call(name, path, frame(&message.encode_to_vec()), "INVALID_ARGUMENT", wrong) }
}

fn create(change: impl FnOnce(&mut run::Service)) -> run::CreateServiceRequest {
    let container = run::Container { image: "hello".to_owned(), ..run::Container::default() };
    let template = run::RevisionTemplate { containers: vec![container], ..run::RevisionTemplate::default() };
    let mut service = run::Service { template: Some(template), ..run::Service::default() };
    change(&mut service);
    run::CreateServiceRequest {
        parent: PARENT.to_owned(),
        service_id: "bad".to_owned(),
        service: Some(service),
        validate_only: false,
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = wire();
    cases.extend(messages());
    cases
}

fn wire() -> Vec<Case> {
    let broken = |name, bytes: &[u8]| {
        call(name, LIST, frame(bytes), "INVALID_ARGUMENT", ("", "failed to decode Protobuf message"))
    };
    let huge = [&[0][..], &(11u32 << 20).to_be_bytes(), &vec![0; 11 << 20]].concat();
    let compressed = [&[1][..], &0u32.to_be_bytes()].concat();
    let with = |mut case: Case, header| {
        if let Ask::Grpc { headers, .. } = &mut case.ask {
            headers.push(header);
        }
        case
    };
    vec![
        call("a service that there is not", "/google.cloud.run.v2.Clouds/Rain", frame(&[]), "UNIMPLEMENTED", ("", "")),
        call(
            "a method that there is not",
            "/google.cloud.run.v2.Services/FlyService",
            frame(&[]),
            "UNIMPLEMENTED",
            ("", ""),
        ),
        call(
            "a method in lower case",
            "/google.cloud.run.v2.services/getservice",
            frame(&[]),
            "UNIMPLEMENTED",
            ("", ""),
        ),
        call(
            "a method of the API that is not built",
            "/google.cloud.run.v2.Instances/ListInstances",
            frame(&[]),
            "UNIMPLEMENTED",
            ("", ""),
        ),
        call("no method", "/", frame(&[]), "UNIMPLEMENTED", ("", "")),
        broken("a message that breaks off", &[0x0a, 0x7f, b'x']),
        broken("a message with a field of another type", &[0x08, 0x01]),
        broken("a message with a tag of zero", &[0x00]),
        broken("a text that is no UTF-8", &[0x0a, 0x02, 0xff, 0xfe]),
        broken("a number without an end", &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        broken("200 levels of something unknown", &[0x7b; 200]),
        call("a message of 11 MiB", LIST, huge, "OUT_OF_RANGE", ("", "too large")),
        call("a message that says it is compressed", LIST, compressed, "INTERNAL", ("", "compress")),
        with(
            call("a message compressed by something unknown", LIST, frame(&[]), "UNIMPLEMENTED", ("", "")),
            ("grpc-encoding", "snappy"),
        ),
        call("no message", LIST, Vec::new(), "INTERNAL", ("", "")),
        call("half of a frame's head", LIST, vec![0, 0], "INTERNAL", ("", "")),
        call("half of a message", LIST, vec![0, 0, 0, 0, 9, 1], "INTERNAL", ("", "")),
    ]
}

fn messages() -> Vec<Case> {
    let id = "admin-api-v2.md §3 service id";
    let list = |page_size, token: &str, parent: &str| run::ListServicesRequest {
        parent: parent.to_owned(),
        page_size,
        page_token: token.to_owned(),
        show_deleted: false,
    };
    let timeout = |seconds, nanos| {
        create(|service| {
            service.template.as_mut().expect("set").timeout = Some(prost_types::Duration { seconds, nanos });
        })
    };
    let none = run::CreateServiceRequest { service: None, ..create(|_| {}) };
    let named = run::CreateServiceRequest { service_id: "Hello".to_owned(), ..create(|_| {}) };
    let long = run::CreateServiceRequest { service_id: "x".repeat(1 << 20), ..create(|_| {}) };
    let many = create(|service| service.custom_audiences = vec![" ".repeat(1000); 5000]);
    let mask = run::UpdateServiceRequest {
        service: Some(run::Service { name: format!("{PARENT}/services/hello"), ..run::Service::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["colour".to_owned()] }),
        ..run::UpdateServiceRequest::default()
    };
    let test = iam::TestIamPermissionsRequest {
        resource: format!("{PARENT}/services/hello"),
        permissions: vec!["run.services.fly".to_owned()],
    };
    let wait = longrunning::WaitOperationRequest {
        name: format!("{PARENT}/operations/x"),
        timeout: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
    };
    let numbers = "admin-api-v2.md §8.11 enum values";
    vec![
        refused(
            "by gRPC: no service",
            CREATE,
            &none,
            ("service", "must be set"),
            R("admin-api-v2.md §2 CreateService: body Service"),
        ),
        refused("by gRPC: a service id in capitals", CREATE, &named, ("service_id", "only lowercase"), R(id)),
        refused("by gRPC: a service id of a megabyte", CREATE, &long, ("service_id", "only lowercase"), R(id)),
        refused("by gRPC: 5000 wrong values", CREATE, &many, ("service.custom_audiences", "at most 100"), U),
        refused(
            "by gRPC: an enum by a wrong number",
            CREATE,
            &create(|service| service.ingress = 5),
            ("service.ingress", "no value with the number 5"),
            R(numbers),
        ),
        refused(
            "by gRPC: a launch stage by a wrong number",
            CREATE,
            &create(|service| service.launch_stage = -3),
            ("service.launch_stage", "number -3"),
            R(numbers),
        ),
        refused(
            "by gRPC: a duration with too many nanos",
            CREATE,
            &timeout(5, 1_000_000_000),
            ("service.template.timeout", "less than a second of nanos"),
            U,
        ),
        refused(
            "by gRPC: a duration that goes back",
            CREATE,
            &timeout(5, -1),
            ("service.template.timeout", "not negative"),
            U,
        ),
        refused(
            "by gRPC: no parent",
            LIST,
            &list(0, "", ""),
            ("parent", "must have the form projects/"),
            R("admin-api-v2.md §2 method table: L = projects/*/locations/*"),
        ),
        refused(
            "by gRPC: a parent that goes on",
            LIST,
            &list(0, "", &format!("{PARENT}/services/x")),
            ("parent", "must have the form"),
            R("admin-api-v2.md §2 method table: L = projects/*/locations/*"),
        ),
        refused("by gRPC: a page below zero", LIST, &list(-1, "", PARENT), ("page_size", "must not be negative"), U),
        refused(
            "by gRPC: a token that is made up",
            LIST,
            &list(0, "abc", PARENT),
            ("page_token", "must be a token"),
            U,
        ),
        refused(
            "by gRPC: a mask that names no field",
            "/google.cloud.run.v2.Services/UpdateService",
            &mask,
            ("update_mask", "'colour' is not a field"),
            M("admin-api-v2.md §4 updateMask: unknown path ⇒ INVALID_ARGUMENT"),
        ),
        refused(
            "by gRPC: a permission that there is not",
            "/google.cloud.run.v2.Services/TestIamPermissions",
            &test,
            ("permissions[0]", "is not valid"),
            M("admin-api-v2.md §10 Permissions"),
        ),
        refused(
            "by gRPC: a wait of less than no time",
            "/google.longrunning.Operations/WaitOperation",
            &wait,
            ("timeout", "not negative"),
            U,
        ),
        refused(
            "by gRPC: a name that is none",
            "/google.cloud.run.v2.Services/GetService",
            &run::GetServiceRequest { name: "hello".to_owned() },
            ("name", "must have the form"),
            R("admin-api-v2.md §8.1 Service.name"),
        ),
    ]
}
