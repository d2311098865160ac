//! Keys and tokens of the binary: over kill -9, over a backup, and in the hands of the command line.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::host::{Host, UPDRAFT, containers_run_here, run};

const ACCOUNTS: &str = "/v1/projects/demo-project/serviceAccounts";
const EMAIL: &str = "deployer@demo-project.iam.gserviceaccount.com";
const INFO: (&str, &str) = ("GET", "/updraft/v1/info");
/// The same at every port that the server gets.
const FLAGS: [&str; 4] = ["--auth", "token", "--issuer", "http://updraft.example:8080"];

/// The command line of somebody with a home of their own.
fn client(home: &Path, host: &Host, arguments: &[&str]) -> Command {
    let mut client = Command::new(UPDRAFT);
    client.env("XDG_CONFIG_HOME", home).env_remove("UPDRAFT_TOKEN").env_remove("UPDRAFT_TOKEN_FILE");
    client.args(["--endpoint", &format!("http://{}", host.address)]).args(arguments);
    client
}

fn output(command: &mut Command) -> (bool, String) {
    let Output { status, stderr, .. } = command.output().expect("the binary starts");
    (status.success(), String::from_utf8_lossy(&stderr).into_owned())
}

async fn call(host: &Host, token: &str, (method, path): (&str, &str), body: Value) -> (u16, Value) {
    let url = format!("http://{}{path}", host.address);
    let request = reqwest::Client::new().request(method.parse().expect("a method"), url).bearer_auth(token);
    let request = request.header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await.expect("an answer");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_tokens_survive_kill_nine_and_a_backup_and_the_command_line_logs_in_with_a_key() {
    if !containers_run_here() {
        return;
    }
    let home = TempDir::new().expect("a home");
    let host = Host::start(&FLAGS);
    let mut print = Command::new(UPDRAFT);
    print.args(["auth", "print-access-token", "--data-dir"]).arg(host.data_dir());
    let admin = run(&mut print).trim().to_owned();
    assert_eq!(call(&host, &admin, ("POST", ACCOUNTS), json!({"accountId": "deployer"})).await.0, 200);
    let (status, made) = call(&host, &admin, ("POST", &format!("{ACCOUNTS}/{EMAIL}/keys")), json!({})).await;
    assert_eq!(status, 200, "{made:#}");
    let key = home.path().join("key.json");
    let data = STANDARD.decode(made["privateKeyData"].as_str().expect("a file")).expect("base64");
    fs::write(&key, data).expect("written");
    let key = key.to_str().expect("UTF-8");

    let (ok, said) = output(&mut client(home.path(), &host, &["services", "list"]));
    assert!(!ok && said.contains("updraft auth login"), "{said}");
    run(&mut client(home.path(), &host, &["auth", "login", "--key-file", key]));
    let token = run(&mut client(home.path(), &host, &["auth", "print-access-token"])).trim().to_owned();
    let id =
        run(&mut client(home.path(), &host, &["auth", "print-identity-token", "--audiences", "https://a.example"]));
    assert_eq!(id.trim().split('.').count(), 3, "{id}");
    let (ok, said) = output(&mut client(home.path(), &host, &["services", "list"]));
    assert!(!ok && said.contains("denied on resource"), "known, and without rights: {said}");
    assert_eq!(call(&host, &token, INFO, json!({})).await.0, 200);

    let sign = format!("/v1/projects/-/serviceAccounts/{EMAIL}:signBlob");
    assert_eq!(call(&host, &admin, ("POST", &sign), json!({"payload": "AAAA"})).await.0, 200);
    let file = home.path().join("backup");
    let backup = ["backup", file.to_str().expect("UTF-8"), "--token", &admin];
    run(&mut client(home.path(), &host, &backup));
    let restored = home.path().join("restored");
    let mut restore = Command::new(UPDRAFT);
    run(restore.arg("restore").arg(&file).arg("--data-dir").arg(&restored));
    let keys = |dir: &Path| {
        let accounts = fs::read_dir(dir.join("identity/accounts")).expect("a folder");
        let of_account = accounts.map(|file| fs::read(file.expect("a file").path()).expect("readable"));
        let of_account: Vec<_> = of_account.collect();
        (fs::read(dir.join("identity/keys.json")).expect("the keys"), of_account)
    };
    let kept = keys(&host.data_dir());
    assert!(kept.1.len() == 1 && kept == keys(&restored), "a backup has the keys");

    let host = Host::start_in(host.kill(), &FLAGS);
    assert_eq!(call(&host, &token, INFO, json!({})).await.0, 200, "the token outlives the server");
    run(&mut client(home.path(), &host, &["auth", "login", "--key-file", key]));
    let next = run(&mut client(home.path(), &host, &["auth", "print-access-token"])).trim().to_owned();
    assert_eq!(call(&host, &admin, ("POST", &format!("{ACCOUNTS}/{EMAIL}:disable")), json!({})).await.0, 200);
    let host = Host::start_in(host.kill(), &FLAGS);
    for token in [&token, &next] {
        let (status, answer) = call(&host, token, INFO, json!({})).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(status == 401 && message.contains("is disabled"), "an account stays disabled: {answer:#}");
    }
    let (ok, said) = output(&mut client(home.path(), &host, &["auth", "login", "--key-file", key]));
    assert!(!ok && said.contains("invalid_grant: Invalid grant: account not found"), "{said}");
    assert_eq!(host.stop().0, 0);
}
