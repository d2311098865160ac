//! Names in paths, and paths.

use super::{
    SERVICES,
    case::{
        Case,
        Source::{Marked as M, Reference as R, Unconfirmed as U},
        ask, get,
    },
};

const ID: &str = "admin-api-v2.md §3 service id: starts with letter, not ending '-', < 50 chars, [a-z0-9-]";
const NAME: &str =
    "admin-api-v2.md §8.1 Service.name: projects/{p}/locations/{l}/services/{s}; {p} may be id or number";
const TABLE: &str = "admin-api-v2.md §2 method table";

fn id(name: &'static str, id: &str) -> Case {
    let body = r#"{"template": {"containers": [{"image": "hello"}]}}"#;
    let wrong = ("service_id", "only lowercase, digits, and hyphens; must begin with letter");
    ask(name, ("POST", &format!("{SERVICES}?serviceId={id}")), body, wrong, R(ID))
}

fn missing(name: &'static str, target: &str, says: &'static str) -> Case {
    get(name, target, ("", says), U).gets(404, "NOT_FOUND")
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = ids();
    cases.extend(places());
    cases.extend(paths());
    cases
}

fn ids() -> Vec<Case> {
    let create = ("POST", &*format!("{SERVICES}?serviceId=bad---tag"));
    let body = r#"{"template": {"containers": [{"image": "hello"}]}}"#;
    vec![
        id("no service id", ""),
        id("a service id in capitals", "Hello"),
        id("a service id that begins with a digit", "1hello"),
        id("a service id that begins with a hyphen", "-hello"),
        id("a service id that ends with a hyphen", "hello-"),
        id("a service id of 50 characters", &"a".repeat(50)),
        id("a service id with an underscore", "hel_lo"),
        id("a service id with a dot", "hel.lo"),
        id("a service id in another script", "h%C3%A4llo"),
        id("a service id with a slash", "a%2Fb"),
        id("a service id with a NUL", "a%00b"),
        id("a service id with a space", "a+b"),
        // Ours: three hyphens part a tag from its service.
        ask("a service id that looks tagged", create, body, ("service_id", "three hyphens"), U),
        ask(
            "a service id that is taken",
            ("POST", &format!("{SERVICES}?serviceId=hello")),
            body,
            ("", "already exists"),
            U,
        )
        .gets(409, "ALREADY_EXISTS"),
    ]
}

fn places() -> Vec<Case> {
    let at = |project: &str, location: &str| format!("/v2/projects/{project}/locations/{location}/services");
    let location = "admin-api-v2.md §2 Services.ListServices: region may not be '-'";
    vec![
        get("a project id that is too short", &at("p", "us-central1"), ("parent", "project id must be 6 to 30"), U),
        get("a project id in capitals", &at("Demo-Project", "us-central1"), ("parent", "project id must be"), U),
        get("a project id with a space", &at("demo%20project", "us-central1"), ("parent", "project id must be"), U),
        get("a project id of 31 characters", &at(&"a".repeat(31), "us-central1"), ("parent", "project id must be"), U),
        missing("a project number that nobody has", &at("123", "us-central1"), "Resource 'projects/123' was not found"),
        missing("a location that is not served", &at("demo-project", "mars-north1"), "was not found"),
        get(
            "all locations of the services",
            &at("demo-project", "-"),
            ("parent", "must not be the wildcard"),
            R(location),
        ),
        get(
            "all locations of the operations",
            "/v2/projects/demo-project/locations/-/operations",
            ("name", "wildcard"),
            U,
        ),
        missing("a location to get that is not served", "/v2/projects/demo-project/locations/nowhere", "was not found"),
        get("locations of a project that cannot be", "/v2/projects/P/locations", ("name", "project id must be"), U),
    ]
}

fn paths() -> Vec<Case> {
    let gone = |name, target: &str| missing(name, target, "The requested URL");
    let operation = "/v2/projects/demo-project/locations/us-central1/operations/00000000-0000-0000-0000-000000000000";
    let polled = "admin-api-v2.md §4 validateOnly: the operation is not stored – polling it yields 404";
    let deleted = "admin-api-v2.md §4 deletion: gone from Get (404)";
    vec![
        missing("a service that is not there", &format!("{SERVICES}/nobody"), "Resource 'nobody' was not found"),
        Case {
            source: R(NAME),
            ..missing("a service in a malformed place", "/v2/projects/demo-project/services/x", "URL")
        },
        missing(
            "a revision that is not there",
            &format!("{SERVICES}/hello/revisions/hello-v9"),
            "'hello-v9' was not found",
        ),
        missing(
            "a revision that another service has",
            &format!("{SERVICES}/other/revisions/hello-v1"),
            "was not found",
        ),
        Case { source: R(polled), ..missing("an operation that is not there", operation, "was not found") },
        Case {
            source: M(deleted),
            ..ask("deleting what is not there", ("DELETE", &format!("{SERVICES}/nobody")), "", ("", "was not found"), U)
                .gets(404, "NOT_FOUND")
        },
        ask("updating what is not there", ("PATCH", &format!("{SERVICES}/nobody")), "{}", ("", "was not found"), U)
            .gets(404, "NOT_FOUND"),
        gone("a path that leads nowhere", "/v2/nowhere"),
        gone("the root", "/"),
        gone("a version of the API that there is not", "/v9/projects/demo-project/locations/us-central1/services"),
        gone("a slash at the end", &format!("{SERVICES}/")),
        gone("an empty segment", "/v2/projects//locations/us-central1/services"),
        gone("a slash in a name", &format!("{SERVICES}/a%2Fb")),
        gone("a method of a service that there is not", &format!("{SERVICES}/hello:fly")),
        gone("dots that lead up", &format!("{SERVICES}/hello/../hello")),
        Case {
            source: R("admin-api-v2.md §2: there is no Operations.Cancel"),
            ..gone("cancelling", &format!("{operation}:cancel"))
        },
        Case {
            source: R(TABLE),
            ..gone("the services in the singular", "/v2/projects/demo-project/locations/us-central1/service")
        },
        missing("a name that is no text", &format!("{SERVICES}/%FF%FE"), "was not found"),
        missing("a name that is very long", &format!("{SERVICES}/{}", "a".repeat(8000)), "Resource 'aaaa"),
    ]
}
