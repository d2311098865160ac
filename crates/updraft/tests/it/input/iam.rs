//! Policies and permissions.

use serde_json::{Value, json};

use super::{
    SERVICES,
    case::{
        Case,
        Source::{self, Marked as M, Reference as R, Unconfirmed as U},
        ask, get,
    },
};

const POLICY: &str = "admin-api-v2.md §10 Policy: {version, etag, bindings[{role,members[],condition}]}";
const PERMISSIONS: &str = "admin-api-v2.md §10 Permissions";

fn policy(name: &'static str, policy: &Value, (field, says): (&str, &'static str), source: Source) -> Case {
    let body = json!({"policy": policy}).to_string();
    ask(name, ("POST", &format!("{SERVICES}/hello:setIamPolicy")), body, (field, says), source)
}

fn test(name: &'static str, permissions: &Value, (field, says): (&str, &'static str), source: Source) -> Case {
    let body = json!({"permissions": permissions}).to_string();
    ask(name, ("POST", &format!("{SERVICES}/hello:testIamPermissions")), body, (field, says), source)
}

pub(super) fn cases() -> Vec<Case> {
    let binding = |role: &str, member: &str| json!({"bindings": [{"role": role, "members": [member]}]});
    let many = json!({"bindings": [{"role": "roles/run.invoker", "members": vec!["allUsers"; 1501]}]});
    let conditional =
        json!({"version": 1, "bindings": [{"role": "roles/x", "members": [], "condition": {"expression": "true"}}]});
    let when = |title: &str, expression: &str| {
        let condition = json!({"title": title, "expression": expression});
        json!({"version": 3, "bindings": [{"role": "roles/x", "members": [], "condition": condition}]})
    };
    let hello = |verb: &str| format!("{SERVICES}/{verb}");
    vec![
        test(
            "a permission that there is not",
            &json!(["run.services.fly"]),
            ("permissions[0]", "is not valid for this resource"),
            M(PERMISSIONS),
        ),
        test(
            "a permission of another product",
            &json!(["run.services.get", "storage.buckets.get"]),
            ("permissions[1]", "is not valid for this resource"),
            M(PERMISSIONS),
        ),
        test("a permission that is empty", &json!([""]), ("permissions[0]", "is not valid"), U),
        test("all permissions", &json!(["run.*"]), ("permissions[0]", "wildcards are not allowed"), U),
        test("101 permissions", &json!(vec!["run.services.get"; 101]), ("permissions", "at most 100"), U),
        test(
            "a permission that is no text",
            &json!([7]),
            ("permissions[0]", "(TYPE_STRING)"),
            R("admin-api-v2.md §1 JSON: proto3 JSON"),
        ),
        get(
            "a policy in a version that there is not",
            &hello("hello:getIamPolicy?options.requestedPolicyVersion=7"),
            ("options.requested_policy_version", "must be 0, 1 or 3, got 7"),
            R("admin-api-v2.md §2 GetIamPolicy: options.requestedPolicyVersion"),
        ),
        get("a policy of a service that is not there", &hello("nobody:getIamPolicy"), ("", "was not found"), U)
            .gets(404, "NOT_FOUND"),
        ask(
            "a policy for a service that is not there",
            ("POST", &hello("nobody:setIamPolicy")),
            "{}",
            ("", "was not found"),
            U,
        )
        .gets(404, "NOT_FOUND"),
        policy("a policy of version 2", &json!({"version": 2}), ("policy.version", "must be 0, 1 or 3, got 2"), U),
        policy(
            "a role without its folder",
            &binding("run.invoker", "allUsers"),
            ("policy.bindings[0].role", "must be roles/"),
            R("admin-api-v2.md §10 roles"),
        ),
        policy(
            "no role",
            &json!({"bindings": [{"members": ["allUsers"]}]}),
            ("policy.bindings[0].role", "must be roles/"),
            R(POLICY),
        ),
        policy(
            "a member without a type",
            &binding("roles/run.invoker", "me@example.com"),
            ("policy.bindings[0].members[0]", "must be allUsers"),
            U,
        ),
        policy(
            "a member that is only a type",
            &binding("roles/run.invoker", "user:"),
            ("policy.bindings[0].members[0]", "must be allUsers"),
            U,
        ),
        policy(
            "everybody in another case",
            &binding("roles/run.invoker", "AllUsers"),
            ("policy.bindings[0].members[0]", "must be allUsers"),
            R("admin-api-v2.md §10 allUsers/allAuthenticatedUsers"),
        ),
        policy("a condition in version 1", &conditional, ("policy.bindings[0].condition", "needs policy version 3"), U),
        policy(
            "a condition without a title",
            &when("", "true"),
            ("policy.bindings[0].condition.title", "must be set"),
            U,
        ),
        policy(
            "a condition that does not parse",
            &when("t", "resource.name =="),
            ("policy.bindings[0].condition.expression", "Syntax error"),
            U,
        ),
        policy(
            "a condition about what there is not",
            &when("t", "request.auth.uid == 'me'"),
            ("policy.bindings[0].condition.expression", "undefined field 'uid'"),
            U,
        ),
        policy("1501 members", &many, ("policy.bindings", "at most 1500 members"), U),
        policy(
            "an etag that is no base64",
            &json!({"etag": "!!"}),
            ("policy.etag", "(TYPE_BYTES)"),
            R("admin-api-v2.md §1 JSON: bytes base64"),
        ),
        policy(
            "a policy with a field that there is not",
            &json!({"rules": []}),
            ("policy", "Unknown name \"rules\""),
            R(POLICY),
        ),
        ask(
            "a mask of a policy that names no field",
            ("POST", &hello("hello:setIamPolicy")),
            r#"{"policy": {}, "updateMask": "owners"}"#,
            ("update_mask", "'owners' is not a field of Policy"),
            R("admin-api-v2.md §2 SetIamPolicy: {policy, updateMask}"),
        ),
    ]
}
