//! Service accounts and their keys.

use std::os::unix::fs::PermissionsExt as _;

use expect_test::expect;

use super::*;

const ACCOUNT: &str = "GET /iam/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com";
const KEYS: &str = "POST /iam/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com/keys";

#[tokio::test]
async fn accounts_are_made_listed_shown_switched_and_deleted() {
    let account = json!({ "name": "n", "email": "a@p.iam.gserviceaccount.com", "displayName": "An account" });
    let list = "GET /iam/v1/projects/demo-project/serviceAccounts?pageSize=100";
    let fake = Try::new(
        "iam service-accounts create a --display-name Mine",
        vec![ok("POST /iam/v1/projects/demo-project/serviceAccounts", &account)],
    )
    .check(expect![[r#"
        exit: Done
        err:
        Created service account [a].
        Service account email: a@p.iam.gserviceaccount.com
    "#]])
    .await;
    assert_eq!(
        fake.seen()[0].json(),
        json!({ "accountId": "a", "serviceAccount": { "displayName": "Mine", "description": "" } })
    );
    let pages = vec![
        ok(list, &json!({ "accounts": [account], "nextPageToken": "t" })),
        ok(
            "GET /iam/v1/projects/demo-project/serviceAccounts?pageSize=100&pageToken=t",
            &json!({ "accounts": [{ "email": "b@p", "disabled": true }] }),
        ),
    ];
    Try::new("iam service-accounts list", pages)
        .check(expect![[r#"
        exit: Done
        out:
        DISPLAY NAME  EMAIL                        DISABLED
        An account    a@p.iam.gserviceaccount.com  False
                      b@p                          True
    "#]])
        .await;
    Try::new("iam service-accounts describe a@p.iam.gserviceaccount.com", vec![ok(ACCOUNT, &account)])
        .check(expect![[r#"
            exit: Done
            out:
            name: "n"
            email: a@p.iam.gserviceaccount.com
            displayName: An account
        "#]])
        .await;
    let disable = "POST /iam/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com:disable";
    let (text, _) =
        Try::new("iam service-accounts disable a@p.iam.gserviceaccount.com", vec![ok(disable, &json!({}))]).run().await;
    assert_eq!(text, "exit: Done\nerr:\nDisabled service account [a@p.iam.gserviceaccount.com].\n");
    let delete = "DELETE /iam/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com";
    let line = "iam service-accounts delete a@p.iam.gserviceaccount.com";
    let (text, _) = Try::new(line, Vec::new()).run().await;
    assert!(text.contains("nobody can be asked"), "{text}");
    let (text, _) = Try::new(line, vec![ok(delete, &json!({}))]).with(&["--quiet"]).run().await;
    assert_eq!(text, "exit: Done\nerr:\ndeleted service account [a@p.iam.gserviceaccount.com]\n");
}

#[tokio::test]
async fn a_key_file_is_its_owners_and_no_file_is_overwritten() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key.json");
    let path = file.display().to_string();
    // {"type": "service_account"}
    let key = json!({
        "name": "projects/p/serviceAccounts/a@p.iam.gserviceaccount.com/keys/k1",
        "privateKeyData": "eyJ0eXBlIjogInNlcnZpY2VfYWNjb3VudCJ9",
    });
    let line = "iam service-accounts keys create --iam-account a@p.iam.gserviceaccount.com";
    Try::new(line, vec![ok(KEYS, &key)])
        .with(&[&path])
        .check_path(
            &path,
            expect![[r#"
        exit: Done
        err:
        created key [k1] of type [json] as [PATH] for [a@p.iam.gserviceaccount.com]
    "#]],
        )
        .await;
    assert_eq!(std::fs::read(&file).expect("written"), br#"{"type": "service_account"}"#);
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    // No key is made when there is no place for it.
    Try::new(line, Vec::new())
        .with(&[&path])
        .check_path(
            &path,
            expect![[r#"
        exit: Failed
        err:
        error: cannot write PATH: File exists (os error 17)
    "#]],
        )
        .await;
    let (text, _) = Try::new(line, vec![ok(KEYS, &key)]).with(&["-"]).run().await;
    assert!(text.starts_with("exit: Done\nout:\n{\"type\": \"service_account\"}err:\n"), "{text}");
}

#[tokio::test]
async fn a_key_that_was_not_made_leaves_no_file_and_an_answer_is_not_repeated() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("key.json").display().to_string();
    let line = "iam service-accounts keys create --iam-account a@p.iam.gserviceaccount.com";
    let denied = refused(KEYS, 403, "PERMISSION_DENIED", "Permission 'iam.serviceAccountKeys.create' denied");
    let (text, _) = Try::new(line, vec![denied]).with(&[&path]).run().await;
    assert!(text.starts_with("exit: Denied\n"), "{text}");
    let (text, _) = Try::new(line, vec![ok(KEYS, &json!({ "privateKeyData": "hunter2!" }))]).with(&[&path]).run().await;
    assert!(text.contains("there is no key file in it") && !text.contains("hunter2"), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 0);
}

#[tokio::test]
async fn keys_are_listed_and_deleted_by_their_id() {
    let key = |id: &str, until: &str| {
        json!({
            "name": format!("projects/p/serviceAccounts/a@p.iam.gserviceaccount.com/keys/{id}"),
            "validAfterTime": "2026-11-27T10:00:00Z", "validBeforeTime": until, "keyType": "USER_MANAGED",
        })
    };
    let keys = json!({ "keys": [key("k1", "9999-12-31T23:59:59Z"), key("k2", "2027-01-01T00:00:00Z")] });
    let list = "GET /iam/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com/keys?keyTypes=USER_MANAGED";
    let line = "iam service-accounts keys list --iam-account a@p.iam.gserviceaccount.com --managed-by user";
    Try::new(line, vec![ok(list, &keys)])
        .check(expect![[r#"
        exit: Done
        out:
        KEY_ID  CREATED_AT            EXPIRES_AT            DISABLED
        k1      2026-11-27T10:00:00Z                        False
        k2      2026-11-27T10:00:00Z  2027-01-01T00:00:00Z  False
    "#]])
        .await;
    let delete = "DELETE /iam/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com/keys/k1";
    let line = "iam service-accounts keys delete k1 --iam-account a@p.iam.gserviceaccount.com --quiet";
    let (text, _) = Try::new(line, vec![ok(delete, &json!({}))]).run().await;
    assert_eq!(text, "exit: Done\nerr:\ndeleted key [k1] for service account [a@p.iam.gserviceaccount.com]\n");
}
