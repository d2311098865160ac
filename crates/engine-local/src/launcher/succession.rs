//! From one server to the next: what a launcher does while it has none.
//!
//! A server that says farewell is the last one. One whose connection ends without a farewell was killed: its instances
//! live on, frozen no more, what they write is read until each window is full, and their exits are kept, until the next
//! server greets or the time is over. Sandboxes that wait hold nothing of anybody and are ended.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use rustix::event::{Timespec, epoll};

use super::{
    CONTROL, GATE, Launcher,
    control::Control,
    gate::Gate,
    start::{self, Maker, Workshop},
    volumes::Volumes,
};
use crate::{protocol::Report, sandbox::isolation::Isolation, sys};

/// How a launcher stands to servers.
#[derive(Debug, Default)]
pub(super) struct Succession {
    /// Where the next server comes in. `None` where none may.
    gate: Option<Gate>,
    /// How long it is waited for.
    patience: Duration,
    /// Until when it is waited for, while there is no server.
    until: Option<Instant>,
    /// Has a server said that none comes after it?
    last: bool,
}

// === impl Succession ===

impl Succession {
    /// Is there no server, and is one waited for?
    pub(super) fn is_open(&self) -> bool {
        self.until.is_some()
    }

    /// How long to sleep at most.
    pub(super) fn wait(&self, now: Instant) -> Option<Timespec> {
        let left = self.until?.saturating_duration_since(now);
        Timespec::try_from(left + Duration::from_millis(1)).ok()
    }

    /// The server that is there is the last one.
    pub(super) fn farewell(&mut self) {
        self.last = true;
    }

    /// From now on no server can come.
    pub(super) fn end(&mut self) {
        self.gate = None;
        self.until = None;
    }
}

// === impl Launcher ===

impl Launcher {
    /// Serves until there is no server and none is waited for.
    pub(super) fn serve(&mut self) -> io::Result<()> {
        loop {
            self.work(|launcher| launcher.control.is_closed())?;
            if self.succession.last || self.succession.gate.is_none() {
                return Ok(());
            }
            self.let_go()?;
            self.work(|launcher| !launcher.succession.is_open() || launcher.is_forsaken())?;
            if self.succession.is_open() {
                return Ok(());
            }
        }
    }

    /// The first greeting: sets up what all starts have in common.
    pub(super) fn open(&mut self, tag: String, run_dir: &Path, maker: Maker, orphaned: u64) -> io::Result<()> {
        // Carries the tag, as everything does that the engine makes: `updraft doctor --leaks` knows it by that.
        let name = std::ffi::CString::new(format!("updraft-{tag}")).unwrap_or_default();
        let _ = rustix::thread::set_name(&name);
        self.volumes = (maker.isolation == Isolation::Namespaces).then(|| Volumes::new(start::stage(run_dir)));
        let opened = Workshop::open(tag, run_dir, maker, self.clock.clone()).and_then(|workshop| {
            // Without a mount namespace an instance could reach the socket itself, and a copy of its image is the
            // server's to remove: there everything ends with the server.
            let keeps = workshop.has_networks() && orphaned > 0;
            let gate = if keeps { Some(Gate::open(run_dir)?) } else { None };
            Ok((workshop, gate))
        });
        match opened {
            Ok((workshop, gate)) => {
                self.workshop = Some(workshop);
                self.succession.gate = gate;
                self.succession.patience = Duration::from_secs(orphaned);
                self.report(&Report::Open)
            }
            Err(error) => self.report(&Report::Unable { cause: error.to_string() }),
        }
    }

    /// The server is gone without a farewell.
    fn let_go(&mut self) -> io::Result<()> {
        let Some(gate) = &self.succession.gate else { return Ok(()) };
        epoll::add(&self.poll, gate.fd(), epoll::EventData::new_u64(GATE), epoll::EventFlags::IN)?;
        self.succession.until = Some(self.clock.instant() + self.succession.patience);
        gate.announce(self.clock.now() + self.succession.patience);
        // Who read our complaints may wait for their end.
        if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
            let _ = sys::process::become_stream(null.as_fd(), 2);
        }
        self.ended.retain(|_, ended| ended.memo.is_some());
        // Whom the server had frozen the next one does not know.
        self.instances.values().for_each(super::Instance::thaw);
        self.instances.values().filter(|one| one.memo.is_none()).for_each(super::Instance::kill);
        Ok(())
    }

    /// Is there nothing to keep, or has nobody come in time?
    fn is_forsaken(&self) -> bool {
        let keeps = !self.ended.is_empty() || self.instances.values().any(|one| one.memo.is_some());
        !keeps || self.succession.until.is_some_and(|until| self.clock.instant() >= until)
    }

    /// Somebody knocks. Whoever has knocked before and not greeted makes room.
    pub(super) fn admit(&mut self) -> io::Result<()> {
        let peer = self.succession.gate.as_ref().filter(|_| self.succession.is_open()).and_then(Gate::accept);
        let Some(peer) = peer else { return Ok(()) };
        if !self.control.is_closed() {
            let _ = epoll::delete(&self.poll, self.control.fd());
        }
        self.control = Control::new(peer);
        epoll::add(&self.poll, self.control.fd(), epoll::EventData::new_u64(CONTROL), epoll::EventFlags::IN)?;
        Ok(())
    }

    /// The next server has greeted: it is told of everything.
    pub(super) fn welcome(&mut self, tag: &str, maker: &Maker, complaints: Option<OwnedFd>) -> io::Result<()> {
        let fits = self.workshop.as_ref().is_some_and(|workshop| workshop.is_for(tag, maker));
        if !fits || !self.succession.is_open() {
            return self.report(&Report::Unable { cause: "its instances were made in another way".to_owned() });
        }
        self.succession.until = None;
        if let Some(gate) = &self.succession.gate {
            gate.conceal();
            epoll::delete(&self.poll, gate.fd())?;
        }
        if let Some(complaints) = complaints {
            let _ = sys::process::become_stream(complaints.as_fd(), 2);
        }
        for instance in self.instances.values() {
            self.control.report(&instance.introduction());
            instance.backlog.reports().for_each(|report| self.control.report(report));
        }
        for (id, ended) in &self.ended {
            self.control.report(&ended.introduction);
            ended.backlog.reports().for_each(|report| self.control.report(report));
            self.control.report(&Report::Exited { id: id.clone(), exit: ended.exit.clone(), at: ended.at });
        }
        self.report(&Report::Open)
    }
}
