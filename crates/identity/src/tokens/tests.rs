//! What is minted is accepted, and everything that is not quite it is refused with its own cause.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tempfile::TempDir;
use updraft_base::VirtualClock;
use updraft_model::account::{AccountEntry, HeldKey, default_email, default_unique_id};

use super::*;
use crate::{TOKEN_MAX, account_key, key::PrivateKey};

const ISSUER: &str = "http://127.0.0.1:8080";
const START: u64 = 1_700_000_000;

struct World {
    tokens: Tokens,
    hand: Arc<VirtualClock>,
    book: watch::Sender<Arc<AccountBook>>,
    _dir: TempDir,
}

fn account() -> Account {
    let email = "robot@demo-project.iam.gserviceaccount.com".to_owned();
    Account { email, unique_id: "100000000000000000001".to_owned(), project: "demo-project".to_owned() }
}

impl World {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let (clock, hand) = Clock::stopped_at(UNIX_EPOCH + Duration::from_secs(START));
        let (book, receiver) = watch::channel(Arc::default());
        let tokens = Tokens::open(dir.path(), format!("{ISSUER}/"), receiver, clock).unwrap();
        let world = Self { tokens, hand, book, _dir: dir };
        world.stands(Some(Standing::Active));
        world
    }

    fn stands(&self, standing: Option<Standing>) {
        let account = account();
        let mut book = AccountBook::default();
        if let Some(standing) = standing {
            let entry = AccountEntry { email: account.email, project: account.project, standing, keys: Vec::new() };
            book.insert(account.unique_id.as_str().into(), entry);
        }
        self.book.send_replace(Arc::new(book));
    }

    fn access(&self) -> String {
        self.tokens.access_token(&account(), CLOUD_PLATFORM, LIFETIME).unwrap().token
    }

    fn id(&self) -> String {
        self.tokens.id_token(&account(), "https://a.example", EmailClaim::Told).unwrap().token
    }

    /// A token with other claims or header than ours, signed by the installation's key all the same.
    fn forged(&self, kind: &'static str, change: impl FnOnce(&mut Map<String, Value>)) -> String {
        let token = if kind == ACCESS { self.access() } else { self.id() };
        let mut claims = Unverified::parse(&token).unwrap().unproved().unwrap().0;
        change(&mut claims);
        let signer = self.tokens.0.ring.signer(self.tokens.0.clock.now()).unwrap();
        jwt::sign((&signer.kid, &signer.key), kind, &claims).unwrap()
    }
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn an_access_token_says_who_for_an_hour() {
    let world = World::new();
    let minted = world.tokens.access_token(&account(), &format!("openid {CLOUD_PLATFORM}"), LIFETIME).unwrap();
    assert_eq!(minted.expires, UNIX_EPOCH + Duration::from_secs(START + 3600));
    let verified = world.tokens.verify_access(&minted.token).unwrap();
    assert_eq!((verified.who, verified.scopes.len()), (Principal::ServiceAccount(account()), 2));
    world.hand.advance(LIFETIME + CLOCK_SKEW_LESS_ONE);
    assert!(world.tokens.verify_access(&minted.token).is_ok(), "clocks may differ by so much");
    world.hand.advance(Duration::from_secs(1));
    let error = world.tokens.verify_access(&minted.token).unwrap_err();
    assert_eq!(error.to_string(), "the token expired 60 seconds ago");
    let longest = world.tokens.access_token(&account(), "s", Duration::from_secs(1 << 40)).unwrap();
    assert_eq!(longest.expires, world.tokens.0.clock.now() + LIFETIME_MAX);
    assert!(!format!("{minted:?} {:?}", world.tokens).contains(&minted.token[10..30]));
}

const CLOCK_SKEW_LESS_ONE: Duration = Duration::from_secs(59);

#[test]
fn an_id_token_has_googles_claims() {
    let world = World::new();
    let token = world.id();
    let parts: Vec<&str> = token.split('.').collect();
    let (header, claims) = (decoded(parts[0]), decoded(parts[1]));
    assert_eq!((&header["alg"], &header["typ"]), (&json!("RS256"), &json!("JWT")));
    let account = account();
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER, "aud": "https://a.example", "sub": account.unique_id, "azp": account.unique_id,
            "email": account.email, "email_verified": true, "iat": START, "exp": START + 3600,
        })
    );
    let verified = world.tokens.verify_id(&token, &["https://b.example", "https://a.example"]).unwrap();
    assert_eq!(
        (verified.who, verified.audience.as_str()),
        (Principal::ServiceAccount(account.clone()), "https://a.example")
    );
    let hidden = world.tokens.id_token(&account, "x", EmailClaim::Hidden).unwrap().token;
    assert_eq!(decoded(hidden.split('.').nth(1).unwrap()).get("email"), None);
    assert_eq!(
        world.tokens.verify_id(&hidden, &["x"]).unwrap().who,
        Principal::ServiceAccount(account),
        "the book knows"
    );
    let error = world.tokens.verify_id(&token, &["https://b.example"]).unwrap_err();
    assert_eq!(error.to_string(), "the token's audience is 'https://a.example', expected 'https://b.example'");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of bad tokens")]
fn each_bad_token_is_refused_with_its_own_cause() {
    let world = World::new();
    let good = world.access();
    let parts: Vec<&str> = good.split('.').collect();
    let (header, claims) = (decoded(parts[0]), decoded(parts[1]));
    let with_header = |change: &dyn Fn(&mut Value)| {
        let mut header = header.clone();
        change(&mut header);
        format!("{}.{}.{}", encoded(&header), parts[1], parts[2])
    };
    let hs256 = {
        // The public key as the secret of an HMAC, which a verifier that believes the header would take.
        let kid = header["kid"].as_str().unwrap();
        let public = world.tokens.0.ring.find(kid).unwrap().key.public().to_pem().unwrap();
        let signed = format!("{}.{}", encoded(&json!({"alg": "HS256", "typ": ACCESS, "kid": kid})), parts[1]);
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, public.as_bytes());
        let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    };
    let altered = {
        let mut claims = claims.clone();
        claims["sub"] = "1".into();
        format!("{}.{}.{}", parts[0], encoded(&claims), parts[2])
    };
    let stranger = PrivateKey::generate().unwrap();
    let kid = header["kid"].as_str().unwrap().to_owned();
    let by_stranger = jwt::sign((&kid, &stranger), ACCESS, claims.as_object().unwrap()).unwrap();
    let unknown = jwt::sign(("elsewhere", &stranger), ACCESS, claims.as_object().unwrap()).unwrap();
    let late = |name: &'static str, value: u64| {
        world.forged(ACCESS, |claims| drop(claims.insert(name.to_owned(), value.into())))
    };
    let set = |name: &'static str, value: &str| {
        world.forged(ACCESS, |claims| drop(claims.insert(name.to_owned(), value.into())))
    };
    let without = |name: &'static str| world.forged(ACCESS, |claims| drop(claims.shift_remove(name)));
    for (what, token, cause) in [
        (
            "alg none",
            format!("{}.{}.", encoded(&json!({"alg": "none", "typ": ACCESS, "kid": kid})), parts[1]),
            "algorithm is 'none', expected RS256",
        ),
        ("HS256 with the public key", hs256, "algorithm is 'HS256', expected RS256"),
        (
            "another algorithm of ours",
            with_header(&|header| header["alg"] = "ES256".into()),
            "algorithm is 'ES256', expected RS256",
        ),
        ("altered claims", altered, "the token's signature is wrong"),
        ("an altered header", with_header(&|header| header["x"] = 1.into()), "the token's signature is wrong"),
        ("a signature of a stranger", by_stranger, "the token's signature is wrong"),
        ("no signature", format!("{}.{}.", parts[0], parts[1]), "the token's signature is wrong"),
        ("an unknown key", unknown, "the token's key 'elsewhere' is not known"),
        ("no key", with_header(&|header| drop(header.as_object_mut().unwrap().shift_remove("kid"))), "no 'kid'"),
        ("an extension", with_header(&|header| header["crit"] = json!(["b64"])), "'crit'"),
        ("an ID token", world.id(), "type is 'jwt', expected 'at+jwt'"),
        (
            "no type",
            with_header(&|header| drop(header.as_object_mut().unwrap().shift_remove("typ"))),
            "type is '', expected 'at+jwt'",
        ),
        (
            "another issuer",
            set("iss", "https://accounts.google.com"),
            "issuer is 'https://accounts.google.com', expected 'http://127.0.0.1:8080'",
        ),
        (
            "another audience",
            set("aud", "https://a.example"),
            "audience is 'https://a.example', expected 'http://127.0.0.1:8080'",
        ),
        ("expired", late("exp", START - 60), "expired 60 seconds ago"),
        ("not yet valid", late("nbf", START + 61), "valid only in 61 seconds"),
        ("made in the future", late("iat", START + 61), "valid only in 61 seconds"),
        ("no end", without("exp"), "claim 'exp' is missing or malformed"),
        ("an end in words", set("exp", "tomorrow"), "claim 'exp' is missing or malformed"),
        ("no issuer", without("iss"), "claim 'iss' is missing"),
        ("no audience", without("aud"), "claim 'aud' is missing"),
        ("no subject", without("sub"), "claim 'sub' is missing"),
        ("oversize", format!("{good}{}", "A".repeat(TOKEN_MAX)), "and the most are 16384"),
        ("no token", "secret".to_owned(), "malformed: it has no dots"),
        ("half a token", "a.b".to_owned(), "malformed: it has one dot"),
        ("five parts", format!("{good}.a.b"), "malformed"),
        ("padding", format!("{good}=="), "malformed: its signature is not base64url"),
        ("no JSON", format!("{}.{}.{}", URL_SAFE_NO_PAD.encode("x"), parts[1], parts[2]), "malformed: its header"),
        ("nothing", String::new(), "malformed"),
    ] {
        let error = world.tokens.verify_access(&token).expect_err(what).to_string();
        assert!(error.contains(cause), "{what}: {error}");
        assert!(error.len() < 400 && !error.contains(parts[2]), "{what}: an error does not hold the token");
    }
    assert!(world.tokens.verify_access(&good).is_ok());
    assert!(world.tokens.verify_access(&late("nbf", START + 60)).is_ok(), "clocks may differ");
    let error = world.tokens.verify_id(&good, &[ISSUER]).unwrap_err();
    assert_eq!(error.to_string(), "the token's type is 'at+jwt', expected 'jwt'");
}

#[test]
fn tokens_of_an_account_that_is_disabled_or_deleted_end_at_once() {
    let world = World::new();
    let (access, id) = (world.access(), world.id());
    let audience = ["https://a.example"];
    world.stands(Some(Standing::Disabled));
    for error in [world.tokens.verify_access(&access).unwrap_err(), world.tokens.verify_id(&id, &audience).unwrap_err()]
    {
        assert_eq!(error, TokenError::AccountDisabled(account().email));
    }
    world.stands(Some(Standing::Active));
    assert!(world.tokens.verify_access(&access).is_ok() && world.tokens.verify_id(&id, &audience).is_ok());
    world.stands(None);
    assert!(matches!(world.tokens.verify_access(&access), Err(TokenError::AccountGone(_))));
    assert!(matches!(world.tokens.verify_id(&id, &audience), Err(TokenError::AccountGone(_))));
    // The default account is there without having been written down.
    let email = default_email("demo-project");
    let default = Account { unique_id: default_unique_id("demo-project"), email, project: "demo-project".to_owned() };
    let token = world.tokens.access_token(&default, CLOUD_PLATFORM, LIFETIME).unwrap().token;
    assert!(world.tokens.verify_access(&token).is_ok());
    let token = world.tokens.id_token(&default, "x", EmailClaim::Told).unwrap().token;
    assert!(world.tokens.verify_id(&token, &["x"]).is_ok());
}

#[test]
fn tokens_outlive_the_key_that_signs_next() {
    let world = World::new();
    let before = world.access();
    world.hand.advance(Duration::from_secs(plan::TERM) - LIFETIME / 2);
    let old = world.access();
    world.hand.advance(LIFETIME - Duration::from_secs(1));
    let new = world.access();
    let kid = |token: &str| decoded(token.split('.').next().unwrap())["kid"].clone();
    assert_eq!(kid(&before), kid(&old));
    // Nobody looked between the time to publish and the time to sign, so the next key has yet to wait.
    assert_eq!(kid(&old), kid(&new));
    world.hand.advance(Duration::from_secs(plan::AHEAD));
    let newest = world.access();
    assert_ne!(kid(&newest), kid(&new));
    let listed = world.tokens.keys().unwrap();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2);
    let longest = world.tokens.access_token(&account(), "s", LIFETIME_MAX).unwrap().token;
    assert!(world.tokens.verify_access(&longest).is_ok());
}

/// A key as somebody holds it, and the account with it.
fn asserter(world: &World) -> (PrivateKey, Asserter, String) {
    let made = account_key::make(&account(), &world.tokens, world.tokens.0.clock.now()).unwrap();
    let file: Value = serde_json::from_str(&made.file).unwrap();
    assert_eq!(
        (&file["client_email"], &file["token_uri"], &file["type"]),
        (&json!(account().email), &json!("http://127.0.0.1:8080/token"), &json!("service_account"))
    );
    assert!(!format!("{made:?}").contains("PRIVATE"));
    let key = PrivateKey::from_pem(file["private_key"].as_str().unwrap()).unwrap();
    let kept = made.kept;
    assert_eq!(account_key::read(&kept.certificate).unwrap().id, kept.id);
    let id = kept.id.clone();
    let held = HeldKey {
        id: kept.id,
        certificate: kept.certificate,
        valid_after: kept.valid_after,
        valid_before: kept.valid_before,
        is_enabled: true,
    };
    (key, Asserter { account: account(), keys: vec![held] }, id)
}

#[test]
fn an_assertion_is_of_an_account_and_its_key_and_each_fault_is_told() {
    let world = World::new();
    let (key, who, kid) = asserter(&world);
    let claims = |changes: Value| {
        let mut claims = json!({
            "iss": account().email, "aud": GOOGLE_AUDIENCES[0], "iat": START, "exp": START + 3600, "scope": "a b",
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object().unwrap().clone()
    };
    let verify = |who: &Asserter, changes: Value| {
        let token = jwt::sign((&kid, &key), "JWT", &claims(changes)).unwrap();
        assert!(Assertion::issuer(&token).is_ok());
        world.tokens.verify_assertion(&token, who)
    };
    let fine = Assertion { scope: "a b".to_owned(), target_audience: String::new() };
    for changes in [
        json!({}),
        json!({"aud": "http://127.0.0.1:8080/token"}),
        json!({"aud": "http://127.0.0.1:8080"}),
        json!({"sub": account().email}),
        json!({"iss": account().unique_id}),
    ] {
        assert_eq!(verify(&who, changes.clone()).as_ref(), Ok(&fine), "{changes}");
    }
    assert_eq!(verify(&who, json!({"target_audience": "x"})).unwrap().target_audience, "x");
    for (changes, cause) in [
        (
            json!({"aud": "https://a.example"}),
            "audience is 'https://a.example', expected 'http://127.0.0.1:8080/token'",
        ),
        (json!({"iss": "other@p.iam.gserviceaccount.com"}), "issuer is 'other@p.iam.gserviceaccount.com'"),
        (json!({"sub": "ann@example.com"}), "subject is 'ann@example.com'"),
        (json!({"exp": START + 3661}), "valid for 3661 seconds, and the most are 3600"),
        (json!({"exp": START - 60, "iat": START - 3600}), "expired"),
        (json!({"iat": START + 100}), "valid only in 100 seconds"),
        (json!({"iat": null}), "claim 'iat'"),
    ] {
        let error = verify(&who, changes.clone()).unwrap_err().to_string();
        assert!(error.contains(cause), "{changes}: {error}");
    }
    let with_key = |change: fn(&mut HeldKey)| {
        let mut who = who.clone();
        change(&mut who.keys[0]);
        verify(&who, json!({})).unwrap_err()
    };
    assert_eq!(with_key(|key| key.is_enabled = false), TokenError::KeyDisabled(kid.clone()));
    let over = with_key(|key| key.valid_before = Some(UNIX_EPOCH + Duration::from_secs(START - 1)));
    assert_eq!(over, TokenError::KeyOutOfTime(kid.clone()));
    let early = with_key(|key| key.valid_after = UNIX_EPOCH + Duration::from_secs(START + 61));
    assert_eq!(early, TokenError::KeyOutOfTime(kid.clone()));
    assert_eq!(with_key(|key| key.id = "other".to_owned()), TokenError::UnknownKey(kid.clone()));
    let (_, stranger, _) = asserter(&world);
    let mut mixed = stranger.clone();
    mixed.keys[0].id.clone_from(&kid);
    assert_eq!(verify(&mixed, json!({})).unwrap_err(), TokenError::Signature);
}

#[test]
fn what_an_account_signs_is_no_token_of_the_installation_but_is_an_assertion() {
    let world = World::new();
    let known = world.access();
    let claims = Unverified::parse(&known).unwrap().unproved().unwrap().0;
    let signed = world.tokens.sign_jwt(&account(), &claims).unwrap();
    let error = world.tokens.verify_id(&signed.signed, &[ISSUER]).unwrap_err();
    assert_eq!(error, TokenError::UnknownKey(signed.key_id.clone()));
    let claims = json!({"iss": account().email, "aud": ISSUER, "iat": START, "exp": START + 60, "scope": "s"});
    let signed = world.tokens.sign_jwt(&account(), claims.as_object().unwrap()).unwrap();
    let who = Asserter { account: account(), keys: Vec::new() };
    assert_eq!(world.tokens.verify_assertion(&signed.signed, &who).unwrap().scope, "s");
    let blob = world.tokens.sign_blob(&account(), b"bytes").unwrap();
    let keys = world.tokens.keys_of(&account()).unwrap();
    assert_eq!((keys.len(), &keys[0].id), (1, &blob.key_id));
    assert!(keys[0].public.verifies(b"bytes", &blob.signed));
    world.tokens.forget(&account().unique_id).unwrap();
    world.tokens.forget(&account().unique_id).unwrap();
    assert!(world.tokens.keys_of(&account()).unwrap().is_empty());
    assert!(world.tokens.verify_assertion(&signed.signed, &who).is_err());
}

#[test]
fn a_token_that_an_account_signed_itself_is_taken_for_an_api_and_nothing_else() {
    let world = World::new();
    let (key, who, kid) = asserter(&world);
    let publish = |standing, is_enabled| {
        let keys = vec![HeldKey { is_enabled, ..who.keys[0].clone() }];
        let entry = AccountEntry { email: account().email, project: account().project, standing, keys };
        let mut book = AccountBook::default();
        book.insert(account().unique_id.as_str().into(), entry);
        world.book.send_replace(Arc::new(book));
    };
    publish(Standing::Active, true);
    let verify = |changes: Value| {
        let email = account().email;
        let mut claims = json!({"iss": email, "sub": email, "iat": START, "exp": START + 3600});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        world.tokens.verify_bearer(&jwt::sign((&kid, &key), "JWT", claims.as_object().unwrap()).unwrap())
    };
    for changes in [
        json!({"aud": "https://run.googleapis.com/"}),
        json!({"aud": "https://europe-west1-run.googleapis.com/"}),
        json!({"aud": "https://iamcredentials.googleapis.com/"}),
        json!({"aud": "https://secretmanager.europe-west1.rep.googleapis.com/"}),
        json!({"aud": format!("{ISSUER}/")}),
        json!({"scope": format!("openid {CLOUD_PLATFORM}")}),
    ] {
        let verified = verify(changes.clone()).unwrap();
        assert_eq!(verified.who, Principal::ServiceAccount(account()), "{changes}");
        assert!(verified.scopes.iter().any(|scope| scope == CLOUD_PLATFORM), "{changes}");
    }
    for (changes, cause) in [
        (json!({}), "claim 'scope'"),
        (
            json!({"aud": GOOGLE_AUDIENCES[0]}),
            "audience is 'https://oauth2.googleapis.com/token', expected 'http://127.0.0.1:8080/'",
        ),
        (json!({"aud": GOOGLE_AUDIENCES[3]}), "audience is 'https://oauth2.googleapis.com/'"),
        (json!({"aud": ISSUER}), "audience is"),
        // What an account shows to Google, or to another server, is not to be good here.
        (json!({"aud": "https://storage.googleapis.com/"}), "audience is 'https://storage.googleapis.com/'"),
        (json!({"aud": "https://europe-west1-storage.googleapis.com/"}), "audience is"),
        (json!({"aud": "https://-run.googleapis.com/"}), "audience is"),
        (json!({"aud": "https://secretmanager.a.b.rep.googleapis.com/"}), "audience is"),
        (json!({"aud": "https://run.googleapis.com.evil.example/"}), "audience is"),
        (json!({"aud": "http://run.googleapis.com/"}), "audience is"),
        (json!({"aud": "https://run.googleapis.com"}), "audience is"),
        (json!({"aud": ["https://run.googleapis.com/"]}), "audience is"),
        (json!({"aud": "https://run.googleapis.com/", "sub": "ann@example.com"}), "subject is 'ann@example.com'"),
        (json!({"aud": "https://run.googleapis.com/", "sub": null}), "claim 'sub'"),
        (json!({"aud": "https://run.googleapis.com/", "iss": "b@p"}), "account b@p does not exist"),
        (json!({"aud": "https://run.googleapis.com/", "exp": START + 3661}), "valid for 3661 seconds"),
        (json!({"aud": "https://run.googleapis.com/", "exp": START - 60, "iat": START - 61}), "expired"),
    ] {
        let error = verify(changes.clone()).unwrap_err().to_string();
        assert!(error.contains(cause), "{changes}: {error}");
    }
    let fine = json!({"aud": "https://run.googleapis.com/"});
    publish(Standing::Active, false);
    assert_eq!(verify(fine.clone()).unwrap_err(), TokenError::KeyDisabled(kid.clone()));
    publish(Standing::Disabled, true);
    assert_eq!(verify(fine.clone()).unwrap_err(), TokenError::AccountDisabled(account().email));
    world.stands(Some(Standing::Active));
    assert_eq!(verify(fine).unwrap_err(), TokenError::UnknownKey(kid.clone()), "a key that is deleted");
    // What the server signs for an account is no key that somebody holds, and an ID token is none of either.
    assert!(world.tokens.verify_bearer(&world.id()).is_err());
}
