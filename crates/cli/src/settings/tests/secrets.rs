//! `--set-secrets`, `--update-secrets`, `--remove-secrets`, `--clear-secrets`.

use super::*;

/// A service whose container has a variable and two mounts of secrets, one of them shared with the sidecar, and one
/// mount of something else.
fn mounted() -> Value {
    let mut service = service();
    let template = &mut service["template"];
    template["containers"][0]["volumeMounts"] = json!([{ "name": "shared", "mountPath": "/tls" }]);
    template["containers"][1]["volumeMounts"] = json!([
        { "name": "creds", "mountPath": "/secrets/" },
        { "name": "shared", "mountPath": "/tls" },
        { "name": "scratch", "mountPath": "/scratch" }
    ]);
    template["volumes"] = json!([
        { "name": "creds", "secret": { "secret": "db", "items": [
            { "path": "db/password", "version": "3", "mode": 256 }, { "path": "user", "version": "latest" }
        ] } },
        { "name": "shared", "secret": { "secret": "tls" } },
        { "name": "scratch", "emptyDir": {} }
    ]);
    service
}

/// Variables, mounts and volumes of the template after the flags, a line each.
fn after(before: &Value, line: &str) -> Result<String, String> {
    let flags = flags(line);
    let before: Service = decode(before).expect("a service");
    let plan = update(&before, &wish(&flags, NewRevision::IfChanged)).map_err(|error| error.to_string())?;
    if plan.mask.is_empty() {
        return Ok("nothing changes\n".to_owned());
    }
    let template = encode(&plan.service).expect("JSON")["template"].take();
    let mut text = String::new();
    for (number, container) in template["containers"].as_array().into_iter().flatten().enumerate() {
        for field in ["env", "volumeMounts"] {
            for one in container[field].as_array().into_iter().flatten() {
                text += &format!("{number} {one}\n");
            }
        }
    }
    for volume in template["volumes"].as_array().into_iter().flatten() {
        text += &format!("{volume}\n");
    }
    Ok(text)
}

fn check(before: &Value, line: &str, expected: Expect) {
    expected.assert_eq(&after(before, line).unwrap_or_else(|error| panic!("{line}: {error}")));
}

#[test]
fn a_name_is_a_variable_and_a_path_a_file_of_its_directorys_volume() {
    check(
        &service(),
        "--update-secrets DB=db:latest,/secrets/tls/key.pem=Tls_key:3,/secrets/tls/old.pem=Tls_key:blue \
         --update-secrets /a/x=projects/other/secrets/tls-key:1,Y=projects/7/secrets/y,Z=projects/7/secrets/z/versions/2",
        expect![[r#"
            1 {"name":"A","value":"1"}
            1 {"name":"S","valueSource":{"secretKeyRef":{"secret":"s","version":"1"}}}
            1 {"name":"B","value":"2"}
            1 {"name":"DB","valueSource":{"secretKeyRef":{"secret":"db","version":"latest"}}}
            1 {"name":"Y","valueSource":{"secretKeyRef":{"secret":"projects/7/secrets/y","version":"latest"}}}
            1 {"name":"Z","valueSource":{"secretKeyRef":{"secret":"projects/7/secrets/z","version":"2"}}}
            1 {"name":"tls-key","mountPath":"/secrets/tls"}
            1 {"name":"tls-key-2","mountPath":"/a"}
            {"name":"tls-key","secret":{"secret":"Tls_key","items":[{"path":"key.pem","version":"3"},{"path":"old.pem","version":"blue"}]}}
            {"name":"tls-key-2","secret":{"secret":"projects/other/secrets/tls-key","items":[{"path":"x","version":"1"}]}}
        "#]],
    );
}

#[test]
fn updates_merge_into_what_is_there_and_modes_stay() {
    check(
        &mounted(),
        "--update-secrets S=s:2,/secrets/db/password=db:4,/secrets/more=projects/demo-project/secrets/db:1",
        expect![[r#"
            0 {"name":"shared","mountPath":"/tls"}
            1 {"name":"A","value":"1"}
            1 {"name":"S","valueSource":{"secretKeyRef":{"secret":"s","version":"2"}}}
            1 {"name":"B","value":"2"}
            1 {"name":"creds","mountPath":"/secrets/"}
            1 {"name":"shared","mountPath":"/tls"}
            1 {"name":"scratch","mountPath":"/scratch"}
            {"name":"creds","secret":{"secret":"db","items":[{"path":"db/password","version":"4","mode":256},{"path":"user","version":"latest"},{"path":"more","version":"1"}]}}
            {"name":"shared","secret":{"secret":"tls"}}
            {"name":"scratch","emptyDir":{}}
        "#]],
    );
}

#[test]
fn what_is_changed_at_a_mount_that_is_shared_changes_there_only() {
    check(
        &mounted(),
        "--update-secrets /tls/more=tls:2",
        expect![[r#"
        0 {"name":"shared","mountPath":"/tls"}
        1 {"name":"A","value":"1"}
        1 {"name":"S","valueSource":{"secretKeyRef":{"secret":"s","version":"1"}}}
        1 {"name":"B","value":"2"}
        1 {"name":"creds","mountPath":"/secrets/"}
        1 {"name":"tls","mountPath":"/tls"}
        1 {"name":"scratch","mountPath":"/scratch"}
        {"name":"creds","secret":{"secret":"db","items":[{"path":"db/password","version":"3","mode":256},{"path":"user","version":"latest"}]}}
        {"name":"shared","secret":{"secret":"tls"}}
        {"name":"scratch","emptyDir":{}}
        {"name":"tls","secret":{"secret":"tls","items":[{"path":"tls","version":"latest"},{"path":"more","version":"2"}]}}
    "#]],
    );
    check(
        &mounted(),
        "--remove-secrets /tls/tls",
        expect![[r#"
        0 {"name":"shared","mountPath":"/tls"}
        1 {"name":"A","value":"1"}
        1 {"name":"S","valueSource":{"secretKeyRef":{"secret":"s","version":"1"}}}
        1 {"name":"B","value":"2"}
        1 {"name":"creds","mountPath":"/secrets/"}
        1 {"name":"scratch","mountPath":"/scratch"}
        {"name":"creds","secret":{"secret":"db","items":[{"path":"db/password","version":"3","mode":256},{"path":"user","version":"latest"}]}}
        {"name":"shared","secret":{"secret":"tls"}}
        {"name":"scratch","emptyDir":{}}
    "#]],
    );
}

#[test]
fn the_last_file_takes_its_mount_and_volume_along_and_unknown_names_are_no_mistake() {
    check(
        &mounted(),
        "--remove-secrets S,/secrets/user,/none/x,NONE,A",
        expect![[r#"
        0 {"name":"shared","mountPath":"/tls"}
        1 {"name":"A","value":"1"}
        1 {"name":"B","value":"2"}
        1 {"name":"creds","mountPath":"/secrets/"}
        1 {"name":"shared","mountPath":"/tls"}
        1 {"name":"scratch","mountPath":"/scratch"}
        {"name":"creds","secret":{"secret":"db","items":[{"path":"db/password","version":"3","mode":256}]}}
        {"name":"shared","secret":{"secret":"tls"}}
        {"name":"scratch","emptyDir":{}}
    "#]],
    );
    check(
        &mounted(),
        "--remove-secrets /secrets/user,/secrets/db/password",
        expect![[r#"
        0 {"name":"shared","mountPath":"/tls"}
        1 {"name":"A","value":"1"}
        1 {"name":"S","valueSource":{"secretKeyRef":{"secret":"s","version":"1"}}}
        1 {"name":"B","value":"2"}
        1 {"name":"shared","mountPath":"/tls"}
        1 {"name":"scratch","mountPath":"/scratch"}
        {"name":"shared","secret":{"secret":"tls"}}
        {"name":"scratch","emptyDir":{}}
    "#]],
    );
    check(
        &mounted(),
        "--clear-secrets",
        expect![[r#"
        0 {"name":"shared","mountPath":"/tls"}
        1 {"name":"A","value":"1"}
        1 {"name":"B","value":"2"}
        1 {"name":"scratch","mountPath":"/scratch"}
        {"name":"shared","secret":{"secret":"tls"}}
        {"name":"scratch","emptyDir":{}}
    "#]],
    );
}

#[test]
fn set_leaves_only_what_it_names_and_set_again_changes_nothing() {
    let line = "--set-secrets S=s:1,/secrets/user=db:latest,/new/x=x:1";
    check(
        &mounted(),
        line,
        expect![[r#"
        0 {"name":"shared","mountPath":"/tls"}
        1 {"name":"A","value":"1"}
        1 {"name":"S","valueSource":{"secretKeyRef":{"secret":"s","version":"1"}}}
        1 {"name":"B","value":"2"}
        1 {"name":"creds","mountPath":"/secrets/"}
        1 {"name":"scratch","mountPath":"/scratch"}
        1 {"name":"x","mountPath":"/new"}
        {"name":"creds","secret":{"secret":"db","items":[{"path":"user","version":"latest"}]}}
        {"name":"shared","secret":{"secret":"tls"}}
        {"name":"scratch","emptyDir":{}}
        {"name":"x","secret":{"secret":"x","items":[{"path":"x","version":"1"}]}}
    "#]],
    );
    let flags = flags(line);
    let before: Service = decode(&mounted()).expect("a service");
    let after = update(&before, &wish(&flags, NewRevision::IfChanged)).expect("a plan").service;
    let again = update(&after, &wish(&flags, NewRevision::IfChanged)).expect("a plan");
    assert_eq!(again.mask, Vec::<&str>::new());
    check(
        &mounted(),
        "--set-secrets /secrets/other=another:1",
        expect![[r#"
        0 {"name":"shared","mountPath":"/tls"}
        1 {"name":"A","value":"1"}
        1 {"name":"B","value":"2"}
        1 {"name":"scratch","mountPath":"/scratch"}
        1 {"name":"another","mountPath":"/secrets"}
        {"name":"shared","secret":{"secret":"tls"}}
        {"name":"scratch","emptyDir":{}}
        {"name":"another","secret":{"secret":"another","items":[{"path":"other","version":"1"}]}}
    "#]],
    );
}

#[test]
fn a_directory_can_get_another_secret_only_as_a_whole() {
    let whole = "--update-secrets /secrets/db/password=new:1,/secrets/user=new:1";
    check(
        &mounted(),
        whole,
        expect![[r#"
        0 {"name":"shared","mountPath":"/tls"}
        1 {"name":"A","value":"1"}
        1 {"name":"S","valueSource":{"secretKeyRef":{"secret":"s","version":"1"}}}
        1 {"name":"B","value":"2"}
        1 {"name":"creds","mountPath":"/secrets/"}
        1 {"name":"shared","mountPath":"/tls"}
        1 {"name":"scratch","mountPath":"/scratch"}
        {"name":"creds","secret":{"secret":"new","items":[{"path":"db/password","version":"1","mode":256},{"path":"user","version":"1"}]}}
        {"name":"shared","secret":{"secret":"tls"}}
        {"name":"scratch","emptyDir":{}}
    "#]],
    );
    let error = after(&mounted(), "--update-secrets /secrets/user=new:1").expect_err("a part");
    assert_eq!(
        error,
        "error: Multiple secrets are specified for directory [/secrets]. Cloud Run only supports one secret per directory\n"
    );
}

#[test]
fn a_variable_changes_its_kind_only_when_it_is_removed_first() {
    check(
        &service(),
        "--update-secrets A=a:1 --remove-env-vars A",
        expect![[r#"
        1 {"name":"S","valueSource":{"secretKeyRef":{"secret":"s","version":"1"}}}
        1 {"name":"B","value":"2"}
        1 {"name":"A","valueSource":{"secretKeyRef":{"secret":"a","version":"1"}}}
    "#]],
    );
    check(
        &service(),
        "--update-env-vars S=plain --remove-secrets S",
        expect![[r#"
        1 {"name":"A","value":"1"}
        1 {"name":"B","value":"2"}
        1 {"name":"S","value":"plain"}
    "#]],
    );
}

#[test]
fn what_cannot_be_is_said_in_gclouds_words() {
    for (line, expected) in [
        (
            "--update-secrets A=a:1",
            "Cannot update environment variable [A] to the given type because it has already been set with a different \
             type.\nhint: add --remove-env-vars A",
        ),
        (
            "--update-env-vars S=1",
            "Cannot update environment variable [S] to string literal because it has already been set with a different \
             type.\nhint: add --remove-secrets S",
        ),
        (
            "--set-secrets X=x:1 --set-env-vars X=1",
            "Cannot update environment variable [X] to the given type because it has already been set with a different \
             type.\nhint: add --remove-env-vars X",
        ),
        (
            "--update-secrets X=db",
            "No secret version specified for [X]. Use db:latest to reference the latest version.",
        ),
        ("--update-secrets /x=db:1", "Mount path [/x] must be in the form /<mountPath>/<path>"),
        ("--update-secrets /a/../x=db:1", "Mount path [/a/../x] must be in the form /<mountPath>/<path>"),
        ("--update-secrets /a/=db:1", "Mount path [/a/] must be in the form /<mountPath>/<path>"),
        (
            "--update-secrets /a/x=db:1,/a/y=other:1",
            "Cannot update secret at [/a/y] because a different secret is already mounted in the same directory.",
        ),
        (
            "--update-secrets /scratch/x=db:1",
            "Cannot update mount [/scratch] because its mounted volume is of a different source type.",
        ),
    ] {
        assert_eq!(after(&mounted(), line), Err(format!("error: {expected}\n")), "{line}");
    }
    for (line, part) in [
        ("--update-secrets X=a.b:1", "Invalid secret spec 'a.b:1' for [X]: "),
        ("--update-secrets X=db:1:2", "Invalid secret spec 'db:1:2' for [X]: "),
        ("--update-secrets X=db:0", "a version must be a number from 1, 'latest' or an alias, got '0'"),
        ("--update-secrets X=projects/p/locations/l/secrets/s:1", "Invalid secret spec"),
    ] {
        let error = after(&mounted(), line).expect_err(line);
        assert!(error.contains(part), "{line}: {error}");
    }
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    for line in [
        "--set-secrets A=a:1 --update-secrets B=b:1",
        "--set-secrets A=a:1 --remove-secrets B",
        "--set-secrets A=a:1 --clear-secrets",
        "--clear-secrets --update-secrets B=b:1",
        "--clear-secrets --remove-secrets B",
    ] {
        let parsed = Flags::try_parse_from(std::iter::once("x").chain(line.split_whitespace()));
        assert_eq!(parsed.expect_err(line).kind(), clap::error::ErrorKind::ArgumentConflict, "{line}");
    }
}
