//! Keys of service accounts, as IAM v1 has them.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use updraft_control::around::{AccountKey, KeyOrigin, NewKey};
use updraft_identity::{
    SystemKey,
    account_key::{self, KeptKey},
    key::PublicKey,
};
use updraft_model::{Error, iam::Principal};

use super::{Asked, Nothing};
use crate::{
    Served,
    oauth::{as_account, blocking},
};

/// What Google shows as the end of a key that has none.
const NEVER: &str = "9999-12-31T23:59:59Z";
/// How such a certificate ends: what ends later does so by other words.
const NEVER_SECONDS: Duration = Duration::from_secs(253_402_300_799);

/// Makes a key; the answer is the only place where its private half ever is.
pub(super) async fn create(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default, deny_unknown_fields)]
    struct Body {
        private_key_type: Option<String>,
        key_algorithm: Option<String>,
    }
    let body: Body = asked.body()?;
    let kinds = ["TYPE_UNSPECIFIED", "TYPE_GOOGLE_CREDENTIALS_FILE"];
    one_of("privateKeyType", body.private_key_type.as_deref(), &kinds)?;
    one_of("keyAlgorithm", body.key_algorithm.as_deref(), &["KEY_ALG_UNSPECIFIED", "KEY_ALG_RSA_2048"])?;
    let account = asked.field("name");
    // Before a key is made, which is work.
    let identity = deps.control.account_identity(caller, "iam.serviceAccountKeys.create", account).await?;
    let (tokens, now) = (deps.tokens.clone(), deps.clock.now());
    let made = blocking(move || account_key::make(&as_account(identity), &tokens, now)).await?;
    let key = deps.control.keys_create(caller, account, new(made.kept, KeyOrigin::Made)).await?;
    let mut shown = shown(&key);
    shown["privateKeyType"] = "TYPE_GOOGLE_CREDENTIALS_FILE".into();
    shown["privateKeyData"] = STANDARD.encode(made.file).into();
    Ok(shown)
}

/// Takes the public half of a key that somebody else made.
pub(super) async fn upload(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default, deny_unknown_fields)]
    struct Body {
        public_key_data: String,
    }
    let body: Body = asked.body()?;
    let refused = |rule: String| Error::invalid_field("publicKeyData", rule);
    let form = "must be an X.509 certificate of an RSA key in PEM, in base64";
    let pem = STANDARD.decode(body.public_key_data.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pem = pem.filter(|pem| !pem.is_empty()).ok_or_else(|| refused(form.to_owned()))?;
    let kept = account_key::read(&pem).map_err(|cause| refused(format!("{form}: {cause}")))?;
    let key = deps.control.keys_create(caller, asked.field("name"), new(kept, KeyOrigin::Uploaded)).await?;
    Ok(shown(&key))
}

/// The keys of an account: those that others hold, and those that sign for it here.
pub(super) async fn list(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    const KINDS: [&str; 3] = ["KEY_TYPE_UNSPECIFIED", "USER_MANAGED", "SYSTEM_MANAGED"];
    let wanted: Vec<&str> =
        asked.query.iter().filter(|(name, _)| name == "keyTypes").map(|(_, value)| value.as_str()).collect();
    for kind in &wanted {
        one_of("keyTypes", Some(kind), &KINDS)?;
    }
    let wants = |kind: &str| wanted.iter().all(|wanted| *wanted == KINDS[0]) || wanted.contains(&kind);
    let account = asked.field("name");
    let held = deps.control.keys_list(caller, account).await?;
    let mut keys: Vec<Value> = held.iter().filter(|_| wants("USER_MANAGED")).map(shown).collect();
    if wants("SYSTEM_MANAGED") {
        let identity = deps.control.account_identity(caller, "iam.serviceAccountKeys.list", account).await?;
        let name = format!("projects/{}/serviceAccounts/{}", identity.project, identity.email);
        let tokens = deps.tokens.clone();
        let kept = blocking(move || tokens.keys_of(&as_account(identity))).await?;
        keys.extend(kept.iter().map(|key| shown_system(&name, key)));
    }
    // As ProtoJSON has it: what is empty is not there.
    Ok(if keys.is_empty() { json!({}) } else { json!({"keys": keys}) })
}

/// One key that somebody holds, with its public half if that is asked for.
pub(super) async fn get(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let kind = asked.parameter("publicKeyType");
    one_of("publicKeyType", Some(kind), &["", "TYPE_NONE", "TYPE_X509_PEM_FILE", "TYPE_RAW_PUBLIC_KEY"])?;
    let key = deps.control.keys_get(caller, asked.field("name")).await?;
    let mut shown = shown(&key);
    let public = match kind {
        "TYPE_X509_PEM_FILE" => Some(key.held.certificate),
        "TYPE_RAW_PUBLIC_KEY" => {
            let raw = PublicKey::from_certificate(&key.held.certificate).and_then(|public| public.to_pem());
            Some(raw.map_err(Error::internal)?)
        }
        _ => None,
    };
    if let Some(public) = public {
        shown["publicKeyData"] = STANDARD.encode(public).into();
    }
    Ok(shown)
}

pub(super) async fn delete(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    deps.control.keys_delete(caller, asked.field("name")).await.map(|()| json!({}))
}

pub(super) async fn enable(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let Nothing {} = asked.body()?;
    deps.control.keys_enable(caller, asked.field("name")).await.map(|()| json!({}))
}

pub(super) async fn disable(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default, deny_unknown_fields)]
    struct Body {
        service_account_key_disable_reason: Option<String>,
    }
    let body: Body = asked.body()?;
    // The others are for what Google finds out by itself.
    let reasons =
        ["SERVICE_ACCOUNT_KEY_DISABLE_REASON_UNSPECIFIED", "SERVICE_ACCOUNT_KEY_DISABLE_REASON_USER_INITIATED"];
    one_of("serviceAccountKeyDisableReason", body.service_account_key_disable_reason.as_deref(), &reasons)?;
    deps.control.keys_disable(caller, asked.field("name")).await.map(|()| json!({}))
}

fn one_of(field: &str, value: Option<&str>, allowed: &[&str]) -> Result<(), Error> {
    match value {
        Some(value) if !allowed.contains(&value) => {
            let allowed: Vec<_> = allowed.iter().copied().filter(|word| !word.is_empty()).collect();
            Err(Error::invalid_field(field, format!("must be one of {}, got '{value}'", allowed.join(", "))))
        }
        _ => Ok(()),
    }
}

fn new(kept: KeptKey, origin: KeyOrigin) -> NewKey {
    let KeptKey { id, certificate, valid_after, valid_before } = kept;
    NewKey { id, certificate, origin, valid_after, valid_before }
}

fn shown(key: &AccountKey) -> Value {
    let origin = match key.origin {
        KeyOrigin::Made => "GOOGLE_PROVIDED",
        KeyOrigin::Uploaded => "USER_PROVIDED",
    };
    let mut shown = json!({
        "name": key.name,
        "validAfterTime": rfc3339(key.held.valid_after),
        "validBeforeTime": key.held.valid_before.map_or_else(|| NEVER.to_owned(), rfc3339),
        "keyAlgorithm": algorithm(PublicKey::from_certificate(&key.held.certificate).ok().as_ref()),
        "keyOrigin": origin,
        "keyType": "USER_MANAGED",
    });
    if !key.held.is_enabled {
        shown["disabled"] = true.into();
        shown["disableReason"] = "SERVICE_ACCOUNT_KEY_DISABLE_REASON_USER_INITIATED".into();
    }
    shown
}

fn shown_system(account: &str, key: &SystemKey) -> Value {
    json!({
        "name": format!("{account}/keys/{}", key.id),
        "validAfterTime": rfc3339(key.valid_after),
        "validBeforeTime": rfc3339(key.valid_before),
        "keyAlgorithm": algorithm(Some(&key.public)),
        "keyOrigin": "GOOGLE_PROVIDED",
        "keyType": "SYSTEM_MANAGED",
    })
}

/// Google has names for two lengths only.
fn algorithm(key: Option<&PublicKey>) -> &'static str {
    match key {
        Some(PublicKey::Rsa { n, .. }) if n.len() * 8 == 2048 => "KEY_ALG_RSA_2048",
        _ => "KEY_ALG_UNSPECIFIED",
    }
}

fn rfc3339(time: SystemTime) -> String {
    let time = time.min(SystemTime::UNIX_EPOCH + NEVER_SECONDS);
    jiff::Timestamp::try_from(time).map_or_else(|_| NEVER.to_owned(), |stamp| stamp.to_string())
}
