//! Pointing gcloud at the server.

use expect_test::expect;

use super::*;

const INFO: &str = "GET /updraft/v1/info";
const CA: &str = "GET /updraft/v1/ca";
const PEM: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

/// What a server with a TLS port answers.
fn secure() -> Vec<Answer> {
    let info = json!({"version": "1", "tls": "127.0.0.1:8443", "serviceDomain": "run.localhost"});
    vec![Answer(INFO, 200, info.to_string()), Answer(CA, 200, PEM.to_owned())]
}

fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// What is said about the variables of the machine that runs the tests is not theirs.
fn without_variables(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with("$CLOUDSDK_")).collect()
}

#[tokio::test]
async fn setup_writes_a_configuration_once_and_says_how_to_switch() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display().to_string();
    std::fs::write(dir.path().join("active_config"), "work\n").unwrap();
    let line = format!("gcloud setup --token 0123456789abcdef --config-dir {path}");
    let (text, _) = Try::new(&line, secure()).run().await;
    expect![[r#"
        exit: Done
        err:
        gcloud configuration [updraft] written: PATH/configurations/config_updraft
        Switch to it:      gcloud config configurations activate updraft
        Switch back:       gcloud config configurations activate work
        For one command:   gcloud --configuration updraft run services list
        For one shell:     export CLOUDSDK_ACTIVE_CONFIG_NAME=updraft
        gcloud reads this directory with CLOUDSDK_CONFIG=PATH
    "#]]
    .assert_eq(&without_variables(&text).replace(&path, "PATH"));
    let file = dir.path().join("configurations/config_updraft");
    let written = std::fs::read_to_string(&file).unwrap();
    expect![[r#"
        [core]
        project = demo-project
        custom_ca_certs_file = PATH/updraft/ca.pem

        [auth]
        access_token_file = PATH/updraft/token

        [run]
        region = us-central1

        [regional]
        endpoint_mode = regional-preferred
        endpoint_compatibility = supported

        [api_endpoint_overrides]
        run = https://127.0.0.1:8443/run/
        serviceusage = https://127.0.0.1:8443/serviceusage/
        cloudresourcemanager = https://127.0.0.1:8443/cloudresourcemanager/
        iam = https://127.0.0.1:8443/iam/
        iamcredentials = https://127.0.0.1:8443/iamcredentials/
        logging = https://127.0.0.1:8443/logging/
        monitoring = https://127.0.0.1:8443/monitoring/
        artifactregistry = https://127.0.0.1:8443/artifactregistry/
        cloudbuild = https://127.0.0.1:8443/cloudbuild/
        storage = https://127.0.0.1:8443/storage/v1/
        secretmanager = https://127.0.0.1:8443/secretmanager/
        pubsub = https://127.0.0.1:8443/pubsub/
        eventarc = https://127.0.0.1:8443/eventarc/
        cloudscheduler = https://127.0.0.1:8443/cloudscheduler/
        cloudtasks = https://127.0.0.1:8443/cloudtasks/
    "#]]
    .assert_eq(&written.replace(&path, "PATH"));
    assert_eq!(std::fs::read_to_string(dir.path().join("updraft/ca.pem")).unwrap(), PEM);
    assert_eq!(std::fs::read_to_string(dir.path().join("updraft/token")).unwrap(), "0123456789abcdef");
    assert_eq!((mode(&file), mode(&dir.path().join("updraft/token"))), (0o600, 0o600));
    assert!(!written.contains("0123456789abcdef"), "a secret is in one file only");

    // What the user wrote stays; what is right is not written again.
    let with_account = written.replace("[core]\n", "[core]\naccount = me@example.com\n");
    std::fs::write(&file, &with_account).unwrap();
    let (text, _) = Try::new(&line, secure()).run().await;
    assert!(text.contains("[updraft] is as it should be"), "{text}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), with_account);
}

#[tokio::test]
async fn an_account_of_gclouds_is_used_when_nothing_is_written_that_comes_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display().to_string();
    let (file, token) = (dir.path().join("configurations/config_updraft"), dir.path().join("updraft/token"));
    let line = |auth: &str| format!("gcloud setup --token 0123456789abcdef --config-dir {path} {auth}");
    let written = || std::fs::read_to_string(&file).unwrap();
    Try::new(&line(""), secure()).run().await;
    assert!(written().contains("access_token_file") && token.exists());
    let with_account = written().replace("[core]\n", "[core]\naccount = a@p.iam.gserviceaccount.com\n");
    std::fs::write(&file, with_account).unwrap();

    let (text, _) = Try::new(&line("--auth account"), secure()).run().await;
    let advice = "  gcloud --configuration updraft auth activate-service-account --key-file KEY_FILE\n";
    assert!(text.contains(advice), "{text}");
    assert!(!written().contains("access_token_file") && !written().contains("disable_credentials"), "{}", written());
    assert!(written().contains("account = a@p.iam.gserviceaccount.com"), "{}", written());
    assert!(!token.exists(), "nobody reads it any more");

    let (text, _) = Try::new(&line("--auth token"), secure()).run().await;
    assert!(!text.contains(advice) && written().contains("access_token_file") && token.exists(), "{text}");

    // One that was written without credentials gives way too.
    let open = || vec![Answer(INFO, 200, "{}".to_owned())];
    let without = format!("gcloud setup --config-dir {path}");
    Try::new(&without, open()).run().await;
    assert!(written().contains("disable_credentials = True") && !token.exists(), "{}", written());
    Try::new(&without, open()).with(&["--auth", "account"]).run().await;
    assert!(!written().contains("disable_credentials"), "{}", written());
}

#[tokio::test]
async fn a_token_that_is_read_from_where_an_earlier_setup_put_it_stays_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display().to_string();
    let (file, token) = (dir.path().join("configurations/config_updraft"), dir.path().join("updraft/token"));
    Try::new(&format!("gcloud setup --token 0123456789abcdef --config-dir {path}"), secure()).run().await;
    let line = format!("gcloud setup --token-file {} --config-dir {path}", token.display());
    let (text, _) = Try::new(&line, secure()).run().await;
    assert!(text.contains("is as it should be") && token.exists(), "{text}");
    let elsewhere = dir.path().join("elsewhere");
    std::fs::rename(&token, &elsewhere).unwrap();
    std::fs::write(&token, "old").unwrap();
    Try::new(&format!("gcloud setup --token-file {} --config-dir {path}", elsewhere.display()), secure()).run().await;
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains(&format!("access_token_file = {}", elsewhere.display())), "{written}");
    assert!(!token.exists() && elsewhere.exists());
}

#[tokio::test]
async fn a_server_without_tls_and_token_is_reached_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display().to_string();
    let line = format!("env --config-dir {path} --format json");
    let (text, _) = Try::new(&line, vec![Answer(INFO, 200, "{}".to_owned())]).run().await;
    let json: Value = serde_json::from_str(text.split_once("out:\n").unwrap().1).unwrap();
    assert_eq!(json["CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN"], "ENDPOINT/run/");
    assert_eq!(json["CLOUDSDK_AUTH_DISABLE_CREDENTIALS"], "True");
    assert_eq!(json["UPDRAFT_ENDPOINT"], "ENDPOINT");
    assert!(json.get("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE").is_none());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is kept that nobody reads");
}

#[tokio::test]
async fn env_prints_what_a_shell_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display().to_string();
    for (shell, expected, removed) in [
        ("bash", format!("export CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE='{path}/ca.pem'\n"), "\nunset "),
        ("fish", format!("set -gx CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE '{path}/ca.pem'\n"), "\nset -e "),
    ] {
        let line = format!("env --config-dir {path} --shell {shell}");
        let (text, _) = Try::new(&line, secure()).run().await;
        assert!(text.starts_with("exit: Done\nout:\n") && text.contains(&expected), "{text}");
        assert!(text.contains(&format!("{removed}CLOUDSDK_AUTH_ACCESS_TOKEN_FILE\n")), "{text}");
    }
}

#[tokio::test]
async fn the_authority_is_printed_or_its_absence_explained() {
    let (text, _) = Try::new("ca", vec![Answer(CA, 200, PEM.to_owned())]).run().await;
    assert_eq!(text, format!("exit: Done\nout:\n{PEM}"));
    let none = vec![refused(CA, 404, "NOT_FOUND", "This server has no certificate authority of its own.")];
    let (text, _) = Try::new("ca", none).run().await;
    assert!(text.contains("exit: Failed") && text.contains("'tls-listen'"), "{text}");
}

#[tokio::test]
async fn a_log_that_is_followed_shows_requests_and_what_was_lost() {
    let follow = "GET /updraft/v1/logs?project=demo-project&location=us-central1&service=hello&limit=100&follow=true";
    let lines = concat!(
        r#"{"timestamp":"2026-11-21T08:14:40.5Z","httpRequest":{"requestMethod":"GET","requestUrl":"http://h/x","status":200}}"#,
        "\n",
        r#"{"lost":7}"#,
        "\n",
        r#"{"timestamp":"2026-11-21T08:14:41Z","textPayload":"hello"}"#,
        "\n"
    );
    let answer = || vec![Answer(follow, 200, lines.to_owned())];
    Try::new("services logs hello --follow", answer())
        .check(expect![[r#"
            exit: Done
            out:
            2026-11-21 08:14:40 GET 200 http://h/x
            2026-11-21 08:14:41 hello
            err:
            7 lines came too fast to be shown; they are in the log
        "#]])
        .await;
    let (text, _) = Try::new("services logs read hello -f --format json", answer()).run().await;
    assert_eq!(text.lines().filter(|line| line.starts_with('{')).count(), 2, "{text}");
}

#[tokio::test]
async fn who_may_not_follow_a_log_any_more_is_told_why_it_ended() {
    let follow = "GET /updraft/v1/logs?project=demo-project&location=us-central1&service=hello&limit=100&follow=true";
    let lines = concat!(
        r#"{"timestamp":"2026-11-21T08:14:41Z","textPayload":"hello"}"#,
        "\n",
        r#"{"error":{"code":403,"message":"Permission 'x' denied on resource 'y'.","status":"PERMISSION_DENIED"}}"#,
        "\n"
    );
    Try::new("services logs hello --follow", vec![Answer(follow, 200, lines.to_owned())])
        .check(expect![[r#"
            exit: Denied
            out:
            2026-11-21 08:14:41 hello
            err:
            error: Permission 'x' denied on resource 'y'.
        "#]])
        .await;
}
