//! Policies: read, changed, written.

use expect_test::expect;

use super::*;

const READ: &str = "GET /services/hello:getIamPolicy?options.requestedPolicyVersion=3";
const WRITE: &str = "POST /services/hello:setIamPolicy";

fn invokers(members: &[&str], etag: &str) -> Value {
    json!({ "version": 1, "etag": etag, "bindings": [{ "role": "roles/run.invoker", "members": members }] })
}

#[tokio::test]
async fn a_member_is_added_to_a_services_policy_which_is_printed() {
    let answers =
        vec![ok(READ, &invokers(&["user:a@b.c"], "ZTE=")), ok(WRITE, &invokers(&["user:a@b.c", "user:d@b.c"], "ZTI="))];
    let line = "services add-iam-policy-binding hello --member user:d@b.c --role roles/run.invoker";
    let fake = Try::new(line, answers)
        .check(expect![[r#"
        exit: Done
        out:
        version: 1
        etag: ZTI=
        bindings:
        - role: roles/run.invoker
          members:
          - user:a@b.c
          - user:d@b.c
        err:
        Updated IAM policy for service [hello].
    "#]])
        .await;
    let mut sent = invokers(&["user:a@b.c", "user:d@b.c"], "ZTE=");
    sent["version"] = json!(3);
    assert_eq!(fake.seen()[1].json(), json!({ "policy": sent }));
}

#[tokio::test]
async fn what_somebody_else_has_just_written_is_kept() {
    let aborted = || refused(WRITE, 409, "ABORTED", "There were concurrent policy changes.");
    let answers = vec![
        ok(READ, &invokers(&["user:a@b.c"], "ZTE=")),
        aborted(),
        ok(READ, &invokers(&["user:a@b.c", "user:new@b.c"], "ZTI=")),
        ok(WRITE, &invokers(&["user:new@b.c"], "ZTM=")),
    ];
    let line = "services remove-iam-policy-binding hello --member user:a@b.c --role roles/run.invoker";
    let (text, fake) = Try::new(line, answers).run().await;
    assert!(text.starts_with("exit: Done\n"), "{text}");
    let mut sent = invokers(&["user:new@b.c"], "ZTI=");
    sent["version"] = json!(3);
    assert_eq!(fake.seen()[3].json(), json!({ "policy": sent }));

    let answers = (0..4).flat_map(|_| [ok(READ, &invokers(&["user:a@b.c"], "ZTE=")), aborted()]).collect();
    let (text, _) = Try::new(line, answers).run().await;
    assert!(text.starts_with("exit: Failed\n") && text.contains("concurrent policy changes"), "{text}");
}

#[tokio::test]
async fn what_is_so_already_is_not_written_and_what_is_not_there_is_said() {
    let line = "services add-iam-policy-binding hello --member user:a@b.c --role roles/run.invoker --format json";
    let (text, _) = Try::new(line, vec![ok(READ, &invokers(&["user:a@b.c"], "ZTE="))]).run().await;
    assert!(text.contains("IAM policy for service [hello] is that way already."), "{text}");
    let line = "services remove-iam-policy-binding hello --member user:d@b.c --role roles/run.invoker";
    let (text, _) = Try::new(line, vec![ok(READ, &invokers(&["user:a@b.c"], "ZTE="))]).run().await;
    assert_eq!(
        text,
        "exit: Failed\nerr:\nerror: Policy binding with the specified principal, role, and condition not found!\n"
    );
}

#[tokio::test]
async fn projects_secrets_and_service_accounts_have_the_same_verbs() {
    let query = "?options.requestedPolicyVersion=3";
    for (line, read) in [
        ("projects get-iam-policy p2", "POST /cloudresourcemanager/v1/projects/p2:getIamPolicy"),
        ("secrets get-iam-policy db", "GET /v1/projects/demo-project/secrets/db:getIamPolicy"),
        (
            "secrets get-iam-policy db --location eu",
            "GET /v1/projects/demo-project/locations/eu/secrets/db:getIamPolicy",
        ),
        (
            "iam service-accounts get-iam-policy a@p.iam.gserviceaccount.com",
            "POST /iam/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com:getIamPolicy",
        ),
    ] {
        let read: &'static str = Box::leak(format!("{read}{query}").into_boxed_str());
        let (text, _) = Try::new(line, vec![ok(read, &json!({ "etag": "ZTE=" }))]).run().await;
        assert_eq!(text, "exit: Done\nout:\netag: ZTE=\n", "{line}");
    }
    let answers = vec![
        ok("POST /cloudresourcemanager/v1/projects/p2:getIamPolicy?options.requestedPolicyVersion=3", &json!({})),
        ok("POST /cloudresourcemanager/v1/projects/p2:setIamPolicy", &json!({})),
    ];
    let line = "projects add-iam-policy-binding p2 --member user:a@b.c --role roles/run.admin --condition";
    let (text, fake) = Try::new(line, answers)
        .with(&["title=this night,expression=request.time < timestamp(\"2026-12-01T06:00:00Z\")"])
        .run()
        .await;
    assert!(text.contains("Updated IAM policy for project [p2]."), "{text}");
    assert_eq!(
        fake.seen()[1].json()["policy"]["bindings"][0]["condition"],
        json!({ "expression": "request.time < timestamp(\"2026-12-01T06:00:00Z\")", "title": "this night" })
    );
    let line =
        "projects add-iam-policy-binding p2 --member user:a@b.c --role roles/owner --condition expression=true,title=t";
    let (text, _) = Try::new(line, Vec::new()).run().await;
    assert!(text.starts_with("exit: Usage\n") && text.contains("a condition and a basic role"), "{text}");
}
