//! Logging in, and what the commands after it send.

use updraft_identity::key::PrivateKey;

use super::*;
use crate::{
    Terminal,
    tests::fake::{Answer, Fake, Seen},
};

/// What a try ended with: exit, data, talk, and what the server saw.
type Ended = (Exit, String, String, Vec<Seen>);

fn globals(endpoint: &str) -> Globals {
    Globals {
        project: "demo-project".to_owned(),
        region: "us-central1".to_owned(),
        endpoint: endpoint.to_owned(),
        token: None,
        token_file: None,
        ca_file: None,
        format: None,
        quiet: false,
    }
}

async fn run(command: AuthCommand, globals: &Globals, kept: &Kept, fake: &Fake) -> Ended {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console::new(&mut out, &mut err, &b""[..], Terminal::Plain);
    let done = carry_out(command, (globals, kept), &mut console, &Clock::system()).await;
    let exit = match &done {
        Ok(()) => Exit::Done,
        Err(error) => {
            console.whisper(error);
            error.exit()
        }
    };
    drop(console);
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(&fake.endpoint, "ENDPOINT");
    (exit, text(out), text(err), fake.seen())
}

/// A key file in a directory of its own.
fn key_file() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.json");
    let text = json!({
        "type": "service_account", "client_email": "robot@p.iam.gserviceaccount.com", "private_key_id": "k1",
        "private_key": PrivateKey::generate().unwrap().to_pem().unwrap(), "token_uri": "https://run.example.com/token",
    });
    std::fs::write(&path, text.to_string()).unwrap();
    (dir, path)
}

fn identity(audience: &str, impersonate: Option<&str>) -> AuthCommand {
    AuthCommand::PrintIdentityToken(IdentityTokenArgs {
        audiences: audience.to_owned(),
        impersonate_service_account: impersonate.map(str::to_owned),
    })
}

#[tokio::test]
async fn a_key_file_that_was_logged_in_with_gets_tokens_for_later_commands() {
    let (dir, path) = key_file();
    let kept = Kept::at(dir.path().join("kept.json"));
    let access = Answer("POST /token", 200, r#"{"access_token": "a.b.c", "expires_in": 3600}"#.to_owned());
    let fake =
        Fake::new(vec![access.clone(), access, Answer("POST /token", 200, r#"{"id_token": "i.d.t"}"#.to_owned())]);
    let globals = globals(&fake.endpoint);
    let login = AuthCommand::Login(LoginArgs { key_file: Some(path) });
    let (exit, out, err, seen) = run(login, &globals, &kept, &fake).await;
    assert_eq!((exit, out.as_str()), (Exit::Done, ""), "{err}");
    assert!(err.starts_with("Logged in at ENDPOINT/ as robot@p.iam.gserviceaccount.com; kept in "), "{err}");
    let form = String::from_utf8(seen[0].body.clone()).unwrap();
    assert!(
        form.starts_with("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=ey"),
        "{form}"
    );
    assert!(!seen[0].head.to_lowercase().contains("authorization"), "an assertion needs no token");
    let (found, source) = with_token(globals.clone(), &kept, &Clock::system()).await.unwrap();
    assert_eq!(found.token.as_deref(), Some("a.b.c"));
    assert_eq!(source, Source::KeyFile("robot@p.iam.gserviceaccount.com".to_owned()));
    let (exit, out, err, _) = run(identity("https://a.example", None), &globals, &kept, &fake).await;
    assert_eq!((exit, out.as_str()), (Exit::Done, "i.d.t\n"), "{err}");
    let (exit, _, err, _) = run(AuthCommand::Logout, &globals, &kept, &fake).await;
    assert_eq!((exit, err.as_str()), (Exit::Done, "Forgot the credentials for ENDPOINT/.\n"));
    assert_eq!(with_token(globals, &kept, &Clock::system()).await.unwrap().0.token, None);
}

#[tokio::test]
async fn a_token_is_tried_and_kept_and_one_that_is_given_wins() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::at(dir.path().join("kept.json"));
    let fake = Fake::new(vec![
        Answer("GET /updraft/v1/info", 200, "{}".to_owned()),
        Answer(
            "POST /iamcredentials/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com:generateIdToken",
            200,
            r#"{"token": "i.d.t"}"#.to_owned(),
        ),
    ]);
    let without = globals(&fake.endpoint);
    let with = Globals { token: Some("0123456789abcdef".to_owned()), ..without.clone() };
    let (exit, _, err, _) = run(AuthCommand::Login(LoginArgs { key_file: None }), &with, &kept, &fake).await;
    assert_eq!(exit, Exit::Done, "{err}");
    let (exit, out, err, seen) = run(identity("x", Some("a@p.iam.gserviceaccount.com")), &without, &kept, &fake).await;
    assert_eq!((exit, out.as_str()), (Exit::Done, "i.d.t\n"), "{err}");
    assert!(seen[1].head.contains("Bearer 0123456789abcdef"));
    assert_eq!(seen[1].json(), json!({"audience": "x", "includeEmail": true}));
    let given = Globals { token: Some("another".to_owned()), ..without };
    assert_eq!(with_token(given, &kept, &Clock::system()).await.unwrap().0.token.as_deref(), Some("another"));
}

#[tokio::test]
async fn what_does_not_work_is_not_kept_and_says_why() {
    let (dir, path) = key_file();
    let kept = Kept::at(dir.path().join("kept.json"));
    let refusal = json!({"error": "invalid_grant", "error_description": "Invalid grant: account not found"});
    let fake = Fake::new(vec![Answer("POST /token", 400, refusal.to_string())]);
    let globals = globals(&fake.endpoint);
    let login = |key_file| AuthCommand::Login(LoginArgs { key_file });
    let (exit, _, err, _) = run(login(Some(path.clone())), &globals, &kept, &fake).await;
    assert_eq!((exit, err.as_str()), (Exit::Denied, "error: invalid_grant: Invalid grant: account not found\n"));
    let (exit, _, err, _) = run(login(None), &globals, &kept, &fake).await;
    assert!(exit == Exit::Usage && err.contains("--key-file"), "{err}");
    let (exit, _, err, _) = run(login(Some(dir.path().join("none"))), &globals, &kept, &fake).await;
    assert!(exit == Exit::Usage && err.contains("cannot read"), "{err}");
    std::fs::write(&path, r#"{"type": "authorized_user", "refresh_token": "secret"}"#).unwrap();
    let (exit, _, err, _) = run(login(Some(path)), &globals, &kept, &fake).await;
    assert!(exit == Exit::Usage && err.contains("service_account") && !err.contains("secret"), "{err}");
    assert!(!kept.path().exists());
    let (exit, out, err, _) = run(identity("x", None), &globals, &kept, &fake).await;
    assert_eq!((exit, out.as_str()), (Exit::Denied, ""));
    assert!(err.starts_with(&format!("error: {NO_IDENTITY}\nhint: ")), "{err}");
}

/// A token that says it ends at this second since 1970.
fn ending(seconds: i64) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(json!({ "exp": seconds }).to_string()))
}

#[tokio::test]
async fn a_token_that_ends_says_when_at_the_login_and_after_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::at(dir.path().join("kept.json"));
    let unknown = json!({"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "Who?"}});
    let generate = "POST /iamcredentials/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com:generateIdToken";
    let info = "GET /updraft/v1/info";
    let fake = Fake::new(vec![
        Answer(info, 200, "{}".to_owned()),
        Answer(generate, 401, unknown.to_string()),
        Answer(info, 401, unknown.to_string()),
        Answer(info, 200, "{}".to_owned()),
        Answer(generate, 401, unknown.to_string()),
    ]);
    let without = globals(&fake.endpoint);
    let login = |end| {
        let with = Globals { token: Some(ending(end)), ..without.clone() };
        let (kept, fake) = (&kept, &fake);
        async move { run(AuthCommand::Login(LoginArgs { key_file: None }), &with, kept, fake).await }
    };
    let past = "2020-01-01 00:00:00 UTC";

    // The server may have another clock.
    let (exit, _, err, _) = login(1_577_836_800).await;
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(
        err.starts_with(&format!("Logged in at ENDPOINT/ as the holder of the token, which is good until {past}; "))
    );
    let now = UNIX_EPOCH + std::time::Duration::from_secs(1_577_836_801);
    let (_, source) = with_token(without.clone(), &kept, &Clock::system()).await.unwrap();
    assert_eq!(source, Source::Kept(Some(1_577_836_800)));
    let told = |status: &str, now| {
        let refused = CliError::new(Exit::Denied, "Who?").with_status(status).with_hint("pass the server's token");
        source.explained(refused, now).to_string()
    };
    let expired = format!("hint: the token that was kept expired at {past}; log in again with 'updraft auth login'\n");
    assert_eq!(told("UNAUTHENTICATED", now), format!("error: Who?\n{expired}"));
    for (status, now) in [("PERMISSION_DENIED", now), ("UNAUTHENTICATED", now - std::time::Duration::from_secs(2))] {
        assert_eq!(told(status, now), "error: Who?\nhint: pass the server's token\n", "{status}");
    }
    let (exit, _, err, _) = run(identity("x", Some("a@p.iam.gserviceaccount.com")), &without, &kept, &fake).await;
    assert!(exit == Exit::Denied && err.contains(&expired), "{err}");

    let (exit, _, err, _) = login(1).await;
    assert_eq!(exit, Exit::Denied);
    assert!(err.contains("hint: the token expired at 1970-01-01 00:00:01 UTC: get a new one"), "{err}");
    // One of 2100 is not taken for one that has ended.
    login(4_102_444_800).await;
    let (_, _, err, _) = run(identity("x", Some("a@p.iam.gserviceaccount.com")), &without, &kept, &fake).await;
    assert!(err.contains("hint: pass the server's token"), "{err}");
}
