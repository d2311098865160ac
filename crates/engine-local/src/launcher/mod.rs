//! The launcher: a process with one thread that makes sandboxes and keeps what comes out of them.
//!
//! It is the same program as the server, executed again before any thread exists, and from a read-only
//! mount of it: a container can get hold of the file that its maker executes. Its standard input
//! is the socket to the server, its standard output the lock that says it is alive. When the server
//! says farewell and closes the socket, it ends every container, removes what it made and ends itself;
//! when it closes without a farewell, the launcher keeps all of it for the next server for a while
//! ([`succession`]). Containers are killed by the kernel when the launcher dies. It keeps no intent and
//! starts nothing twice.
//!
//! One loop over epoll: requests, output, starts and exits; nothing in it blocks.

mod backlog;
mod burial;
mod child;
mod control;
mod gate;
mod instance;
mod keeper;
mod lines;
mod runtime;
mod start;
mod succession;
mod volumes;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
    time::{Duration, Instant},
};

use rustix::event::{Timespec, epoll};
use updraft_base::Clock;

use self::{
    backlog::Backlog,
    control::Control,
    instance::{After, Instance, Source},
    start::{Born, Maker, Workshop},
    succession::Succession,
    volumes::Volumes,
};
use crate::{
    protocol::{Ahead, Exit, Filling, Report, Request, SecretFile, VERSION, Volume},
    sandbox::cgroups::Limits,
    sys,
};

/// What `updraft __launcher` runs, before the process has a second thread or has opened anything: all
/// descriptors but the standard streams are closed.
pub fn launcher_main() -> ExitCode {
    // The server's terminal is not ours, and its signals are for the server to act on: it closes
    // the socket when it wants an end.
    sys::process::ignore_signals(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE]);
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"updraft-launch");
    // Whatever the server's parent left open is not ours to keep, or to have near containers.
    if sys::process::close_others(&[]).is_err() {
        return ExitCode::FAILURE;
    }
    let socket = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(socket) => socket,
        Err(_) => return ExitCode::FAILURE,
    };
    match Launcher::new(socket).and_then(|mut launcher| launcher.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

struct Launcher {
    clock: Clock,
    poll: OwnedFd,
    control: Control,
    workshop: Option<Workshop>,
    volumes: Option<Volumes>,
    instances: BTreeMap<u64, Instance>,
    names: HashMap<String, u64>,
    next: u64,
    /// Ended, and their control groups not empty yet.
    leaving: Vec<u64>,
    /// Has a keeper ended without having ended what it kept?
    strays: bool,
    /// Are there files of secrets that were exchanged and are to be removed?
    untidy: bool,
    /// What has ended and the server has not forgotten.
    ended: BTreeMap<String, Ended>,
    succession: Succession,
    /// Is everything to end? Then nobody takes output any more.
    ending: bool,
}

/// What is kept of an instance that has ended.
struct Ended {
    exit: Exit,
    /// When, as [`Report::Exited`] says it.
    at: u64,
    /// How it is introduced to a server that does not know it.
    introduction: Report,
    memo: Option<String>,
    backlog: Backlog,
}

/// How often control groups are looked at that the kernel has not emptied yet.
const RETRY: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
/// How often it is looked whether files of secrets can be removed.
const TIDY: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// How long the end may take.
const LAST_CALL: Duration = Duration::from_secs(10);
fn unready() -> io::Error {
    io::Error::other("a request before the first frame")
}

/// The sockets among what is polled; instances count from 0 and have [`TOKENS`] numbers each.
const CONTROL: u64 = u64::MAX;
const GATE: u64 = u64::MAX - 1;
const SOURCES: [Source; 5] = [Source::Process, Source::Stdout, Source::Stderr, Source::Status, Source::Orders];
/// Tokens of one instance: a number for each of its sources, and room for more.
const TOKENS: u64 = 8;

// === impl Launcher ===

impl Launcher {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let control = Control::new(socket);
        epoll::add(&poll, control.fd(), epoll::EventData::new_u64(CONTROL), epoll::EventFlags::IN)?;
        Ok(Self {
            clock: Clock::system(),
            poll,
            control,
            workshop: None,
            volumes: None,
            instances: BTreeMap::new(),
            names: HashMap::new(),
            next: 0,
            leaving: Vec::new(),
            strays: false,
            untidy: false,
            ended: BTreeMap::new(),
            succession: Succession::default(),
            ending: false,
        })
    }

    /// Works for one server after the other, until one says farewell or none comes; then removes everything.
    fn run(&mut self) -> io::Result<()> {
        let worked = self.serve();
        self.ending = true;
        self.succession.end();
        for instance in self.instances.values() {
            instance.kill();
        }
        // Nobody takes output any more: what is in the pipes is read and let go.
        let paused: Vec<u64> = self.instances.iter().filter(|(_, one)| one.paused).map(|(&key, _)| key).collect();
        for key in paused {
            self.resume(key)?;
        }
        let deadline = self.clock.instant() + LAST_CALL;
        let ended = self.work(|launcher| launcher.instances.is_empty() || launcher.clock.instant() >= deadline);
        if let Some(workshop) = &self.workshop {
            workshop.close();
        }
        worked.and(ended)
    }

    fn work(&mut self, is_done: impl Fn(&Self) -> bool) -> io::Result<()> {
        let mut events = Vec::with_capacity(64);
        while !is_done(self) {
            events.clear();
            let wait = if !self.leaving.is_empty() || self.strays || self.ending {
                Some(RETRY)
            } else if self.untidy {
                Some(TIDY)
            } else {
                self.succession.wait(self.clock.instant())
            };
            match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), wait.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    CONTROL => self.serve_control()?,
                    GATE => self.admit()?,
                    token => {
                        let source = usize::try_from(token % TOKENS).ok().and_then(|source| SOURCES.get(source));
                        if let Some(&source) = source {
                            self.serve_instance(token / TOKENS, source)?;
                        }
                    }
                }
            }
            self.bury();
            if self.untidy {
                self.tidy()?;
            }
        }
        Ok(())
    }

    /// Removes files of secrets that were exchanged.
    fn tidy(&mut self) -> io::Result<()> {
        let (now, mut unchanged) = (self.clock.instant(), Vec::new());
        let failed = |id: &str, error: io::Error| {
            unchanged.push(Report::Unchanged { id: id.to_owned(), cause: error.to_string() });
        };
        self.untidy = self.volumes.as_mut().is_some_and(|all| all.tidy(now, failed));
        unchanged.iter().try_for_each(|report| self.report(report))
    }

    /// Reads requests and does them; sends what waits.
    fn serve_control(&mut self) -> io::Result<()> {
        self.control.flush();
        self.control.receive()?;
        loop {
            match self.control.next() {
                Ok(Some(request)) => self.request(request)?,
                Ok(None) => break,
                // Somebody else's idea of a greeting is no reason to end anything.
                Err(_) if self.succession.is_open() => {
                    self.control.close();
                    break;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        if self.control.is_closed() {
            let _ = epoll::delete(&self.poll, self.control.fd());
            return Ok(());
        }
        self.watch_control()
    }

    fn watch_control(&self) -> io::Result<()> {
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, self.control.has_output());
        epoll::modify(&self.poll, self.control.fd(), epoll::EventData::new_u64(CONTROL), flags)?;
        Ok(())
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        self.control.report(report);
        if self.control.is_closed() || !self.control.has_output() { Ok(()) } else { self.watch_control() }
    }

    fn request(&mut self, request: Request) -> io::Result<()> {
        match request {
            Request::Hello { version, tag, run_dir, isolation, identities, runtime, orphaned } => {
                let complaints = self.control.descriptor();
                self.control.greeted();
                let maker = Maker { isolation, identities, runtime };
                self.report(&Report::Hello { version: VERSION })?;
                match (version == VERSION, self.workshop.is_some()) {
                    (true, true) => self.welcome(&tag, &maker, complaints),
                    (true, false) => self.open(tag, &run_dir, maker, orphaned),
                    (false, true) => {
                        self.control.close();
                        Ok(())
                    }
                    (false, false) => Err(io::Error::other("the server speaks another version")),
                }
            }
            // Whoever comes when there is no server has to greet first.
            _ if self.succession.is_open() => {
                self.control.close();
                Ok(())
            }
            Request::Stock { shell, ahead } => {
                let netns = self.control.descriptor();
                match self.sandbox(&shell, netns, ahead) {
                    Ok(_) => Ok(()),
                    Err(error) => self.report(&Report::Refused { id: shell, cause: error.to_string() }),
                }
            }
            Request::Start { id, shell, limits, volumes, memo } => {
                match self.start((&id, memo), shell.as_ref(), limits, &volumes) {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        // It has lost its network, and is of no use to anybody.
                        if let Some(unused) = shell.and_then(|shell| self.named(&shell)) {
                            unused.kill();
                        }
                        self.report(&Report::Refused { id, cause: error.to_string() })
                    }
                }
            }
            Request::Volumes { id, volumes } => {
                self.make_volumes(id, volumes);
                Ok(())
            }
            Request::Secrets { id, volumes } => self.exchange_secrets(id, &volumes),
            Request::Terminate { id } => {
                if let Some(instance) = self.named(&id) {
                    instance.terminate();
                }
                Ok(())
            }
            Request::Kill { id } => {
                if let Some(instance) = self.named(&id) {
                    instance.kill();
                }
                Ok(())
            }
            Request::Taken { id, number } => self.taken(&id, number),
            Request::Forget { id } => {
                self.ended.remove(&id);
                if let Some(all) = &mut self.volumes {
                    all.forget(&id);
                }
                Ok(())
            }
            Request::Farewell => {
                self.succession.farewell();
                Ok(())
            }
        }
    }

    fn make_volumes(&mut self, id: String, volumes: Vec<Volume>) {
        let of_secrets = volumes.iter().any(|volume| matches!(volume.filling, Filling::Secrets(_)));
        // Taken whatever becomes of it: the next one belongs to the next request.
        let contents = if of_secrets { self.control.descriptor() } else { None };
        if let Some(all) = &mut self.volumes {
            all.make(id, (volumes, contents.as_ref()), self.clock.instant());
        }
    }

    fn exchange_secrets(&mut self, id: String, volumes: &[(String, Vec<SecretFile>)]) -> io::Result<()> {
        let contents = self.control.descriptor();
        let (Some(all), Some(contents)) = (&mut self.volumes, contents) else { return Ok(()) };
        self.untidy = true;
        match all.change(&id, (volumes, &contents), self.clock.instant()) {
            Ok(()) => Ok(()),
            Err(error) => self.report(&Report::Unchanged { id, cause: error.to_string() }),
        }
    }

    fn named(&mut self, id: &str) -> Option<&mut Instance> {
        self.instances.get_mut(self.names.get(id)?)
    }

    /// Runs a container: in the sandbox called `shell`, in a new one, or in none where there are none.
    fn start(
        &mut self,
        (id, memo): (&str, String),
        shell: Option<&String>,
        limits: Limits,
        volumes: &[String],
    ) -> io::Result<()> {
        let begun = self.clock.instant();
        let workshop = self.workshop.as_ref().ok_or_else(unready)?;
        // Taken before anything can be refused: the next ones belong to the next request.
        let launch = self.control.descriptor().ok_or_else(|| io::Error::other("what to run did not come along"))?;
        let netns = if shell.is_none() && workshop.has_networks() { self.control.descriptor() } else { None };
        if self.names.contains_key(id) {
            return Err(io::Error::other("it is there"));
        }
        let mounts = self.volumes.as_mut().map(|all| all.take(id, volumes)).transpose()?.unwrap_or_default();
        let key = match shell {
            Some(shell) => {
                let key = self.names.remove(shell).ok_or_else(|| io::Error::other("its sandbox has ended"))?;
                self.names.insert(id.to_owned(), key);
                key
            }
            None if workshop.has_sandboxes() => {
                self.sandbox(id, netns, Ahead { limits: Some(limits), etc: Vec::new() })?
            }
            None => {
                let born = workshop.container((id, limits), (launch, netns), mounts)?;
                let key = self.take_in(id, born)?;
                self.note(key, (begun, memo), limits);
                return Ok(());
            }
        };
        if let (Some(instance), Some(workshop)) = (self.instances.get_mut(&key), &self.workshop) {
            id.clone_into(&mut instance.id);
            // From here on there is a process: what goes wrong is how it ends.
            let limited = workshop.limit(&instance.leaf, instance.limits, limits);
            let run = limited.and_then(|()| instance.run(&launch, &mounts));
            if let Err(error) = run {
                instance.fail(&error);
            }
        }
        self.note(key, (begun, memo), limits);
        Ok(())
    }

    /// An instance, whose start began at `begun`, knows what to run now.
    fn note(&mut self, key: u64, (begun, memo): (Instant, String), limits: Limits) {
        let now = self.clock.instant();
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.note((begun, now), limits);
            instance.memo = Some(memo);
        }
    }

    /// Makes a sandbox. Returns its key.
    fn sandbox(&mut self, name: &str, netns: Option<OwnedFd>, ahead: Ahead) -> io::Result<u64> {
        let workshop = self.workshop.as_ref().ok_or_else(unready)?;
        if self.names.contains_key(name) {
            return Err(io::Error::other("it is there"));
        }
        let netns = netns.ok_or_else(|| io::Error::other("no network namespace came along"))?;
        let born = workshop.sandbox(name, netns, &ahead)?;
        let key = self.take_in(name, born)?;
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.limits = ahead.limits;
        }
        Ok(key)
    }

    fn take_in(&mut self, name: &str, born: Born) -> io::Result<u64> {
        let key = self.next;
        self.next += 1;
        let instance = Instance::new(name.to_owned(), born);
        for source in SOURCES {
            self.watch(key, &instance, source)?;
        }
        self.names.insert(name.to_owned(), key);
        self.instances.insert(key, instance);
        Ok(key)
    }
    fn watch(&self, key: u64, instance: &Instance, source: Source) -> io::Result<()> {
        let Some(fd) = instance.fd(source) else { return Ok(()) };
        let data = epoll::EventData::new_u64(key * TOKENS + source as u64);
        epoll::add(&self.poll, fd, data, epoll::EventFlags::IN).map_err(Into::into)
    }

    /// The server has room again: go on reading if that was what reading waited for.
    fn taken(&mut self, id: &str, number: u64) -> io::Result<()> {
        if let Some(ended) = self.ended.get_mut(id) {
            ended.backlog.taken(number);
        }
        let Some(instance) = self.named(id) else { return Ok(()) };
        instance.backlog.taken(number);
        if !instance.paused || instance.backlog.is_full() {
            return Ok(());
        }
        match self.names.get(id) {
            Some(&key) => self.resume(key),
            None => Ok(()),
        }
    }

    fn resume(&mut self, key: u64) -> io::Result<()> {
        let Some(instance) = self.instances.get_mut(&key) else { return Ok(()) };
        instance.paused = false;
        let Some(instance) = self.instances.get(&key) else { return Ok(()) };
        self.watch(key, instance, Source::Stdout)?;
        self.watch(key, instance, Source::Stderr)
    }

    fn serve_instance(&mut self, key: u64, source: Source) -> io::Result<()> {
        let now = self.clock.instant();
        let Some(instance) = self.instances.get_mut(&key) else { return Ok(()) };
        let control = &mut self.control;
        let mut report = |report: &Report| control.report(report);
        // A closed descriptor leaves the poll by itself: nobody else has it.
        match source {
            Source::Status => drop(instance.read_status(now, &mut report)),
            Source::Orders => {
                if instance.read_orders() {
                    report(&Report::Stocked { shell: instance.id.clone() });
                }
            }
            Source::Process => {
                if instance.reap(self.clock.now())? == After::Closed {
                    epoll::delete(&self.poll, instance.process_fd())?;
                    self.strays |= instance.abandoned;
                }
            }
            Source::Stdout | Source::Stderr if instance.paused => {}
            Source::Stdout | Source::Stderr => {
                instance.read_output(source, &mut report);
                if self.ending {
                    instance.backlog.clear();
                }
                if instance.backlog.is_full() {
                    instance.paused = true;
                    for source in [Source::Stdout, Source::Stderr] {
                        if let Some(fd) = instance.fd(source) {
                            epoll::delete(&self.poll, fd)?;
                        }
                    }
                }
            }
        }
        if instance.is_over() && !self.leaving.contains(&key) {
            self.leaving.push(key);
        }
        if self.control.has_output() && !self.control.is_closed() { self.watch_control() } else { Ok(()) }
    }
}
