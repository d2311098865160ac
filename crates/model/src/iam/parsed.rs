//! Expressions that were parsed ahead.

use std::{any::Any, fmt, sync::Arc};

/// What the expression of a condition was parsed into, by whoever evaluates it: parsing takes far longer than evaluating,
/// and the front door asks with every request. What it is only the one that put it here knows.
///
/// It follows from the expression that it stands beside, so any two are equal.
#[derive(Clone, Default)]
pub struct Parsed(Option<Arc<dyn Any + Send + Sync>>);

// === impl Parsed ===

impl Parsed {
    /// Keeps what an expression was parsed into.
    pub fn new(parsed: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(parsed)))
    }

    /// What was kept, if it is a `T`.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.as_deref()?.downcast_ref()
    }
}

impl PartialEq for Parsed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Parsed {}

impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Parsed" } else { "Unparsed" })
    }
}
