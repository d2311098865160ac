//! Who of an instance with several containers runs, and what the end of one means for the others. Pure.

use std::collections::BTreeMap;

use updraft_model::instance::Exit;

/// A container: a sidecar by its name, or the one that takes the traffic.
pub(super) type Who = Option<String>;

/// The containers of one instance.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Crew {
    /// Those that were started; false once they have ended.
    aboard: BTreeMap<Who, bool>,
    /// Who ended the instance, and how.
    verdict: Option<(Who, Exit)>,
    is_stopping: bool,
}

/// What follows from the end of a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: the others go at their own pace.
    Wait,
    /// These are to be killed.
    Kill(Vec<Who>),
    /// It was the last: the instance has ended, by this container and in this way.
    Over(Who, Exit),
}

// === impl Crew ===

impl Crew {
    /// May `who` be started? If so, it counts as started.
    pub(super) fn enter(&mut self, who: Who) -> bool {
        let may = !self.is_stopping && self.verdict.is_none() && !self.aboard.contains_key(&who);
        if may {
            self.aboard.insert(who, true);
        }
        may
    }

    /// The instance is to end; returns who runs.
    pub(super) fn stop(&mut self) -> Vec<Who> {
        self.is_stopping = true;
        self.running()
    }

    /// `who` has ended with `exit`.
    pub(super) fn leave(&mut self, who: &Who, exit: Exit) -> Next {
        // An exit that was told before a reconnect comes again.
        let Some(runs @ true) = self.aboard.get_mut(who) else { return Next::Wait };
        *runs = false;
        let is_first = self.verdict.is_none();
        // Of those that were told to end, the one that takes the traffic speaks for all.
        if !self.is_stopping || who.is_none() {
            self.verdict.get_or_insert_with(|| (who.clone(), exit.clone()));
        }
        let running = self.running();
        match running.is_empty() {
            true => {
                let (who, exit) = self.verdict.clone().unwrap_or((None, exit));
                Next::Over(who, exit)
            }
            false if self.is_stopping || !is_first => Next::Wait,
            false => Next::Kill(running),
        }
    }

    fn running(&self) -> Vec<Who> {
        self.aboard.iter().filter(|(_, runs)| **runs).map(|(who, _)| who.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side() -> Who {
        Some("side".to_owned())
    }

    fn crew() -> Crew {
        let mut crew = Crew::default();
        assert!(crew.enter(None) && crew.enter(side()));
        crew
    }

    #[test]
    fn nobody_starts_twice_nor_after_an_end_or_a_stop() {
        let mut ended = crew();
        assert!(!ended.enter(None));
        ended.leave(&side(), Exit::Code(0));
        assert!(!ended.enter(Some("late".to_owned())));
        let mut stopped = crew();
        stopped.stop();
        assert!(!stopped.enter(Some("late".to_owned())));
    }

    #[test]
    fn the_first_end_kills_the_others_and_is_what_is_told() {
        let mut crew = crew();
        assert!(crew.enter(Some("log".to_owned())));
        let others = vec![None, Some("log".to_owned())];
        assert_eq!(crew.leave(&side(), Exit::Code(3)), Next::Kill(others));
        assert_eq!(crew.leave(&None, Exit::Signal(9)), Next::Wait);
        assert_eq!(crew.leave(&side(), Exit::Code(3)), Next::Wait, "told again");
        assert_eq!(crew.leave(&Some("log".to_owned()), Exit::Signal(9)), Next::Over(side(), Exit::Code(3)));
    }

    #[test]
    fn in_a_stop_everybody_has_the_whole_grace_and_the_one_with_the_traffic_speaks_for_all() {
        let mut crew = crew();
        assert_eq!(crew.stop(), [None, side()]);
        assert_eq!(crew.leave(&None, Exit::Code(0)), Next::Wait);
        assert_eq!(crew.leave(&side(), Exit::Signal(9)), Next::Over(None, Exit::Code(0)));
    }

    #[test]
    fn an_instance_that_is_stopped_before_its_last_container_started_ends_with_those_that_did() {
        let mut crew = Crew::default();
        assert!(crew.enter(side()));
        crew.stop();
        assert_eq!(crew.leave(&side(), Exit::Code(0)), Next::Over(None, Exit::Code(0)));
    }
}
