//! What a world complains about on the way.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use tracing::{
    Dispatch, Event, Level, Subscriber,
    field::{Field, Visit},
    subscriber::{DefaultGuard, NoSubscriber},
};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt as _},
    registry::Registry,
};

/// One more listener than the only one: with one, what a thread without a world says first is decided for all by that
/// thread, where nobody listens, and a world would miss it.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::default()));

/// The complaints of one world: those of its thread, on which all of it runs.
pub(crate) struct Log {
    complaints: Arc<Mutex<Complaints>>,
    _guard: DefaultGuard,
}

#[derive(Debug, Default)]
struct Complaints {
    lines: Vec<String>,
    allowed: Vec<&'static str>,
}

struct Collector(Arc<Mutex<Complaints>>);

struct Text(String);

// === impl Log ===

impl Log {
    /// Begins to collect, until it is dropped.
    pub(crate) fn capture() -> Self {
        LazyLock::force(&SECOND);
        let complaints = Arc::<Mutex<Complaints>>::default();
        let subscriber = Registry::default().with(Collector(complaints.clone()));
        Self { complaints, _guard: tracing::subscriber::set_default(subscriber) }
    }

    pub(crate) fn allow(&self, part: &'static str) {
        lock(&self.complaints).allowed.push(part);
    }

    /// All complaints, for a message.
    pub(crate) fn all(&self) -> String {
        format!("complaints so far: {:#?}", lock(&self.complaints).lines)
    }

    /// Fails on a complaint that was not listed.
    pub(crate) fn check(&self) {
        let complaints = lock(&self.complaints);
        let unlisted: Vec<&String> =
            complaints.lines.iter().filter(|line| !complaints.allowed.iter().any(|part| line.contains(part))).collect();
        assert!(unlisted.is_empty(), "the server complained: {unlisted:#?}");
    }
}

fn lock(complaints: &Mutex<Complaints>) -> MutexGuard<'_, Complaints> {
    complaints.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Collector ===

impl<S: Subscriber> Layer<S> for Collector {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let ours = metadata.target().starts_with("updraft");
        if ours && *metadata.level() <= Level::WARN {
            let mut text = Text(format!("{} {}", metadata.level(), metadata.target()));
            event.record(&mut text);
            lock(&self.0).lines.push(text.0);
        }
    }
}

// === impl Text ===

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}
