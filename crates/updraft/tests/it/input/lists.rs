//! Masks, etags, pages, filters, waits.

use serde_json::json;

use super::{
    SERVICES,
    case::{
        Case,
        Source::{self, Marked as M, Reference as R, Unconfirmed as U},
        ask, get, update,
    },
};

const PLACE: &str = "/v2/projects/demo-project/locations/us-central1";
const MASK: &str = "admin-api-v2.md §4 updateMask: unknown path ⇒ INVALID_ARGUMENT";
const ETAG: &str = "admin-api-v2.md §5 etag: mismatch ⇒ ABORTED (409)";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = masks();
    cases.extend(etags());
    cases.extend(pages());
    cases.extend(operations());
    cases
}

fn masks() -> Vec<Case> {
    let of = |name, mask: &str, says| {
        let query = format!("?updateMask={mask}");
        update(name, &query, &json!({"description": "new"}), ("update_mask", says), M(MASK))
    };
    let long = vec!["labels"; 501].join(",");
    vec![
        of("a mask with a field that there is not", "description,colour", "'colour' is not a field of Service"),
        of("a mask with a field that there is not, deep inside", "template.colour", "'template.colour' is not a field"),
        of("a mask into a list", "template.containers.image", "'template.containers.image' is not a field"),
        of("a mask into an entry of a list", "template.containers%5B0%5D", "is not a field"),
        of("a mask into a text", "description.first", "'description.first' is not a field"),
        of("a mask that ends with a dot", "template.", "'template.' is not a field"),
        of("a mask of a dot", ".", "'.' is not a field"),
        of("a mask in another case", "Description", "'Description' is not a field"),
        of("a mask with a star inside", "template.*", "'template.*' is not a field"),
        Case { source: U, ..of("a mask of 501 paths", &long, "at most 500 paths, got 501") },
        update(
            "a mask that clears what must be there",
            "?updateMask=template",
            &json!({}),
            ("service.template", "must be set"),
            R("admin-api-v2.md §8.1 Service.template: REQ"),
        ),
        update(
            "an update of everything with nothing",
            "",
            &json!({}),
            ("service.template", "must be set"),
            M("admin-api-v2.md §4 updateMask: absent ⇒ full replacement"),
        ),
        update(
            "an update that is only checked, and is wrong",
            "?updateMask=description&validateOnly=true",
            &json!({"description": "x".repeat(513)}),
            ("service.description", "at most 512"),
            R("admin-api-v2.md §4 validateOnly: validate"),
        ),
        ask(
            "a creation by update under a name that cannot be",
            ("PATCH", &format!("{SERVICES}/Hello?allowMissing=true")),
            r#"{"template": {"containers": [{"image": "x"}]}}"#,
            ("service.name", "only lowercase"),
            R("admin-api-v2.md §3 service id"),
        ),
    ]
}

fn etags() -> Vec<Case> {
    let aborted = |case: Case| case.gets(409, "ABORTED");
    let says = ("", "does not match the current etag");
    vec![
        aborted(update(
            "an update with an old etag",
            "?updateMask=description",
            &json!({"etag": "\"old\"", "description": "x"}),
            says,
            M(ETAG),
        )),
        aborted(update(
            "an update with an etag that is none",
            "?updateMask=description",
            &json!({"etag": "x", "description": "x"}),
            says,
            M(ETAG),
        )),
        aborted(ask(
            "a deletion with an old etag",
            ("DELETE", &format!("{SERVICES}/hello?etag=%22old%22")),
            "",
            says,
            M(ETAG),
        )),
        aborted(ask(
            "a deletion of a revision with an old etag",
            ("DELETE", &format!("{SERVICES}/hello/revisions/hello-v1?etag=old")),
            "",
            says,
            M(ETAG),
        )),
        aborted(ask(
            "a policy with an old etag",
            ("POST", &format!("{SERVICES}/hello:setIamPolicy")),
            r#"{"policy": {"etag": "b2xk"}}"#,
            says,
            R("admin-api-v2.md §10 Policy: etag optimistic concurrency"),
        )),
        ask(
            "a deletion of a revision that serves",
            ("DELETE", &format!("{SERVICES}/hello/revisions/hello-v1")),
            "",
            ("", "cannot be deleted"),
            R("admin-api-v2.md §2 Revisions.DeleteRevision: only retired revisions"),
        )
        .gets(400, "FAILED_PRECONDITION"),
    ]
}

fn pages() -> Vec<Case> {
    let of = |name, target: &str, field: &str, says, source: Source| get(name, target, (field, says), source);
    let revisions = format!("{SERVICES}/hello/revisions");
    let below = "must not be negative, got -1";
    let token = "must be a token that this list gave out";
    vec![
        of("a page of services below zero", &format!("{SERVICES}?pageSize=-1"), "page_size", below, U),
        of("a page of revisions below zero", &format!("{revisions}?pageSize=-1"), "page_size", below, U),
        of("a page of operations below zero", &format!("{PLACE}/operations?pageSize=-1"), "page_size", below, U),
        of("a page of locations below zero", "/v2/projects/demo-project/locations?pageSize=-1", "page_size", below, U),
        of("a token for services that is made up", &format!("{SERVICES}?pageToken=abc"), "page_token", token, U),
        of(
            "a token for revisions that is made up",
            &format!("{revisions}?pageToken=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            "page_token",
            token,
            U,
        ),
        of(
            "a token for operations that is no base64",
            &format!("{PLACE}/operations?pageToken=%21%21"),
            "page_token",
            token,
            U,
        ),
        of("a token for locations", "/v2/projects/demo-project/locations?pageToken=abc", "page_token", token, U),
        of("a filter for locations", "/v2/projects/demo-project/locations?filter=x", "filter", "is not supported", U),
        of(
            "revisions of a service in capitals and slashes",
            "/v2/projects/demo-project/locations/-/services/-/revisions",
            "parent",
            "wildcard",
            U,
        ),
    ]
}

fn operations() -> Vec<Case> {
    let filter = |name, filter: &str| {
        get(
            name,
            &format!("{PLACE}/operations?filter={filter}"),
            ("filter", "'done:true' or 'done:false'"),
            R("admin-api-v2.md §2 Operations.List: filter done:true|done:false|empty"),
        )
    };
    let wait = |name, id: &str, body: &str, wrong, source| {
        ask(name, ("POST", &format!("{PLACE}/operations/{id}:wait")), body, wrong, source)
    };
    let timeout = "admin-api-v2.md §2 Operations.Wait: {timeout:\"10s\"}";
    vec![
        filter("a filter of operations that there is not", "name:x"),
        filter("a filter that is perhaps", "done:perhaps"),
        filter("two filters", "done:true%20AND%20done:false"),
        wait("a wait of less than no time", "x", r#"{"timeout": "-1s"}"#, ("timeout", "not negative"), U),
        wait("a wait without a unit", "x", r#"{"timeout": "10"}"#, ("timeout", "Duration"), R(timeout)),
        wait(
            "a wait with a field that there is not",
            "x",
            r#"{"until": "noon"}"#,
            ("", "Unknown name \"until\""),
            R(timeout),
        ),
        wait("a wait for nothing", "x", "{}", ("", "was not found"), U).gets(404, "NOT_FOUND"),
        ask("forgetting what is not there", ("DELETE", &format!("{PLACE}/operations/x")), "", ("", "was not found"), U)
            .gets(404, "NOT_FOUND"),
    ]
}
