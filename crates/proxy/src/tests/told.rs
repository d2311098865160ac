//! What the logs may not have of a request.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Request;
use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::NoSubscriber,
};

use super::{APP, App, World};

/// Everything that parts of ours say in the server's own log, at whatever level.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<String>>);

impl Subscriber for Heard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("updraft")
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        span.record(&mut self.clone());
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Visit for Heard {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.lock().unwrap().push_str(&format!("{field}={value:?}\n"));
    }
}

#[tokio::test]
async fn no_log_has_what_a_caller_shows_whatever_becomes_of_the_call() {
    let heard = Heard::default();
    // While there is one listener only, what a thread of another test says first is decided for all by that thread, where
    // nobody listens: https://docs.rs/tracing-core, `callsite`.
    let _second = Dispatch::new(NoSubscriber::default());
    let _guard = tracing::subscriber::set_default(heard.clone());
    // Opaque, of the right form, a password, of no form at all; the last word of each is the secret.
    let basic = STANDARD.encode("me:hunter2-hunter2");
    let shown =
        ["Bearer hunter2", "Bearer e30.e30.aHVudGVyMg", &format!("Basic {basic}"), "hunter2", "Digest a=hunter2"];
    let names = ["authorization", "x-serverless-authorization", "proxy-authorization", "cookie"];
    for app in [App::default(), App { invokers: Some(&[]), ..App::default() }] {
        let is_open = app.invokers.is_none();
        let mut world = World::with(app).await;
        let shown = names.iter().flat_map(|name| shown.iter().map(move |value| (*name, *value)));
        let calls = shown.flat_map(|(name, value)| ["/head?x=1", "/status/500"].map(|path| (path, name, value)));
        // The last one breaks a connection, of which the server's own log tells.
        for (path, name, value) in calls.chain([("/exit/3", "authorization", "Bearer hunter2")]) {
            let request = Request::get(format!("http://{}{path}", world.address)).header("host", APP);
            let (status, body) = world.client().send(request.header(name, value)).await;
            let record = format!("{:?}", world.logged().await);
            let secret = value.rsplit([' ', '.', '=']).next().expect("a word");
            assert!(!record.contains(secret), "{name}: {value}: {record}");
            assert_eq!(status == 200, is_open && path == "/head?x=1", "{path}: {body}");
        }
        world.end().await;
    }
    let heard = heard.0.lock().unwrap().clone();
    assert!(heard.contains("instance="), "it listened: {heard}");
    assert!(!heard.contains("hunter2") && !heard.contains("aHVudGVyMg") && !heard.contains(&basic), "{heard}");
}
