//! How whoever hands something on learns that it has been dealt with.

use std::{fmt, sync::Arc};

/// Goes along with a thing that must not be lost on its way. When the last copy is dropped the thing has been dealt
/// with: written down, or given up and counted. A process that is killed drops nothing, so whoever handed it on has it
/// still. The default is for what nobody asks about.
#[derive(Clone, Default)]
pub struct Receipt(Option<Arc<Duty>>);

/// What is to be done then.
struct Duty(Option<Box<dyn FnOnce() + Send + Sync>>);

// === impl Receipt ===

impl Receipt {
    /// `done` is called once, by whoever drops the last copy: it must neither block nor wait.
    pub fn new(done: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(Duty(Some(Box::new(done))))))
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done();
        }
    }
}

/// Not a part of what it goes along with.
impl PartialEq for Receipt {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Receipt {}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = if self.0.is_some() { "asked for" } else { "not asked for" };
        write!(f, "Receipt({asked})")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn only_the_last_copy_says_that_it_is_done() {
        let done = Arc::new(AtomicU32::new(0));
        let counter = done.clone();
        let first = Receipt::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let second = first.clone();
        drop(first);
        assert_eq!(done.load(Ordering::Relaxed), 0);
        drop(second);
        assert_eq!(done.load(Ordering::Relaxed), 1);
    }
}
