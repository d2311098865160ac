//! Instances with several containers: one network and, if they have them, the same volumes; everything else is each
//! container's own.
//!
//! A container has its own sandbox, control groups and limits. The first one that starts takes a sandbox from the pool
//! with its network, which the others join. What the end of one means is decided in [`Crew`].

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tokio::sync::watch;
use updraft_engine::EngineError;
use updraft_model::{
    fault::StartFault,
    instance::{ContainerSpec, Exit, InstanceId, InstanceSpec, Secrets},
};

use super::{
    causes::{chain, check_id, refused},
    crew::{Crew, Next, Who},
    engine::Shared,
    events::{Delivery, Ending},
    live::{Ground, Live, Phase, Subject},
    pool::Shell,
    prepare,
    secrets::{self, Accompanied},
};
use crate::{
    protocol::{Request, sidecar},
    sandbox::cgroups::Plan,
};

/// The containers beside the one that takes the traffic.
#[derive(Debug)]
pub(super) struct Company {
    pub(super) sidecars: Vec<Sidecar>,
    crew: Mutex<Crew>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Sidecar {
    pub(super) name: String,
    pub(super) groups: Plan,
    /// What they are called.
    pub(super) leaf: String,
    pub(super) memory_limit: u64,
    pub(super) phase: watch::Sender<Phase>,
}

/// What the launcher is told for one container to start.
struct Start {
    who: Who,
    request: Request,
    descriptors: Vec<OwnedFd>,
}

// === impl Company ===

impl Company {
    /// The sidecars of `spec`; `groups` says of each what its control groups are called, and what they are.
    pub(super) fn new(spec: &InstanceSpec, groups: impl Fn(&ContainerSpec) -> (String, Plan)) -> Self {
        let sidecar = |container: &ContainerSpec| {
            let (leaf, groups) = groups(container);
            Sidecar {
                name: container.name.clone(),
                groups,
                leaf,
                memory_limit: container.limits.memory_bytes,
                phase: watch::Sender::new(Phase::Starting),
            }
        };
        Self { sidecars: spec.sidecars.iter().map(sidecar).collect(), crew: Mutex::default() }
    }

    pub(super) fn sidecar(&self, name: &str) -> Option<&Sidecar> {
        self.sidecars.iter().find(|sidecar| sidecar.name == name)
    }

    pub(super) fn crew(&self) -> MutexGuard<'_, Crew> {
        self.crew.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Shared ===

impl Shared {
    /// Starts the containers of an instance that depend on no other.
    pub(super) async fn start_several(
        &self,
        id: &InstanceId,
        spec: &InstanceSpec,
        secrets: &Secrets,
    ) -> Result<(), EngineError> {
        check_id(id)?;
        let volumes = secrets::volumes(id, spec, secrets)?;
        let first: Vec<&ContainerSpec> =
            spec.containers().filter(|container| container.depends_on.is_empty()).collect();
        if let Some(missing) = spec.containers().find(|container| self.prepared_of(&container.image).is_none()) {
            return Err(EngineError::NotPrepared { id: id.clone(), image: missing.image.clone() });
        }
        let Some(network) = &self.network else { return Err(refused(id, "its containers would share no network")) };
        let shell = self.pool.take(self.clock.instant());
        let leaf = |container: &ContainerSpec| match &shell {
            // Whoever starts first takes the sandbox that waits, and with it the network of all.
            Some(shell) if first.first().is_some_and(|first| first.name == container.name) => shell.name.clone(),
            _ => launcher_id(id, who(spec, container).as_ref()),
        };
        let groups = |container: &ContainerSpec| {
            let leaf = leaf(container);
            let plan = self.layout.plan(&self.premises.tag, &leaf);
            (leaf, plan)
        };
        let (own, plan) = groups(&spec.ingress);
        let memory_limit = spec.ingress.limits.memory_bytes;
        let subject = Subject { leaf: &own, groups: plan, owner: spec.owner.clone(), memory_limit };
        let live = Live::several(subject, Company::new(spec, groups));
        let Some(reservation) = self.table.reserve(id, live) else {
            shell.into_iter().for_each(|shell| self.pool.put_back(shell));
            return Err(refused(id, "it is there"));
        };
        if self.is_down() {
            return Err(refused(id, "the engine has been shut down"));
        }
        let begun = self.clock.instant();
        let (mut attachment, shell) = match shell {
            Some(Shell { name, attachment }) => (attachment, Some(name)),
            None => (network.attach().await.map_err(|error| refused(id, &chain(&error)))?, None),
        };
        let restricted = network.restrict(&mut attachment, spec.egress).await;
        reservation.live.hold().network = self.clock.instant().saturating_duration_since(begun);
        let place = (&*attachment.netns, attachment.resolv_conf());
        let starts = restricted.map_err(|error| refused(id, &chain(&error))).and_then(|()| {
            let mut free = shell.clone();
            let order = |container| self.order_of(id, (spec, container, secrets), free.take(), place);
            first.into_iter().map(order).collect::<Result<Vec<_>, _>>()
        });
        // A sandbox that was taken is in nobody's hands any more.
        let starts = starts.inspect_err(|_| shell.into_iter().for_each(|id| self.request(&Request::Kill { id })))?;
        let started: Vec<Who> = starts.iter().map(|start| start.who.clone()).collect();
        let live = self.commit_all(reservation, (volumes, id), starts, Ground::Own(attachment));
        let live = live.map_err(|cause| refused(id, &cause))?;
        for who in &started {
            live.until_started(who.as_deref()).await;
        }
        Ok(())
    }

    /// Starts one more container of an instance.
    pub(super) async fn start_another(
        &self,
        id: &InstanceId,
        (spec, container, secrets): (&InstanceSpec, &ContainerSpec, &Secrets),
    ) -> Result<(), EngineError> {
        let Some(live) = self.table.get(id) else { return Ok(()) };
        let Some(company) = &live.company else { return Ok(()) };
        let network = match &live.hold().ground {
            Some(Ground::Own(attachment)) => {
                attachment.netns.try_clone().map(|netns| (netns, attachment.resolv_conf().to_owned()))
            }
            // It is ending.
            Some(Ground::Shared(_)) | None => return Ok(()),
        };
        let (netns, resolv_conf) = network.map_err(|error| refused(id, &chain(&error)))?;
        let start = self.order_of(id, (spec, container, secrets), None, (&netns, &resolv_conf))?;
        let who = start.who.clone();
        {
            // Held while it is sent: a stop comes either before it, and then it does not start, or after it.
            let mut crew = company.crew();
            if crew.enter(who.clone()) {
                // Without a launcher the end of the instance is being told.
                let _ = self.send(&start.request, start.descriptors);
            }
        }
        live.until_started(who.as_deref()).await;
        Ok(())
    }

    /// What the launcher is told to start `container` of the instance `id` in this network.
    fn order_of(
        &self,
        id: &InstanceId,
        (spec, container, secrets): (&InstanceSpec, &ContainerSpec, &Secrets),
        shell: Option<String>,
        (netns, resolv_conf): (&OwnedFd, &str),
    ) -> Result<Start, EngineError> {
        let Some(prepared) = self.prepared_of(&container.image) else {
            return Err(EngineError::NotPrepared { id: id.clone(), image: container.image.clone() });
        };
        let who = who(spec, container);
        let name = launcher_id(id, who.as_ref());
        let env = secrets::environment(container, secrets).map_err(|cause| refused(id, &cause))?;
        let names = prepare::Names::Own(resolv_conf);
        let launch = prepare::launch(&name, (spec, container, env), &prepared.rootfs, names);
        let mut descriptors = vec![launch.write().map_err(|error| refused(id, &chain(&error)))?];
        if shell.is_none() {
            descriptors.push(netns.try_clone().map_err(|error| refused(id, &chain(&error)))?);
        }
        let limits = prepare::limits(&spec.owner, container);
        let volumes = prepare::volumes_of(container);
        // The next server could not go on with it: it ends it.
        let memo = String::new();
        Ok(Start { who, request: Request::Start { id: name, shell, limits, volumes, memo }, descriptors })
    }

    /// Hands the first containers of an instance over to the launcher. From here on its end is an event.
    fn commit_all(
        &self,
        reservation: super::live::Reservation<'_>,
        (volumes, id): (Option<Accompanied>, &InstanceId),
        starts: Vec<Start>,
        ground: Ground,
    ) -> Result<Arc<Live>, String> {
        let live = reservation.live.clone();
        let Some(company) = &live.company else { return Err("it has one container".to_owned()) };
        let mut hold = live.hold();
        if hold.unwanted && self.is_down() {
            return Err("the engine has been shut down".to_owned());
        }
        let mut crew = company.crew();
        if let Some((volumes, contents)) = volumes {
            self.send(&volumes, contents)?;
        }
        for start in starts {
            crew.enter(start.who);
            self.send(&start.request, start.descriptors)?;
        }
        hold.ground = Some(ground);
        hold.sent = true;
        if hold.unwanted {
            for who in crew.stop() {
                let _ = self.send(&Request::Kill { id: launcher_id(id, who.as_ref()) }, Vec::new());
            }
        }
        drop((hold, crew));
        Ok(reservation.keep())
    }

    /// A container of an instance with several has ended.
    pub(super) fn hear_end(
        &self,
        id: InstanceId,
        (live, company): (&Live, &Company),
        who: Who,
        (exit, time): (Exit, SystemTime),
    ) {
        let next = company.crew().leave(&who, exit);
        match next {
            Next::Wait => {}
            Next::Kill(others) => {
                // Frozen they would not hear of it.
                live.freezer.close();
                for other in others {
                    self.request(&Request::Kill { id: launcher_id(&id, other.as_ref()) });
                }
            }
            Next::Over(sidecar, exit) => {
                self.deliver(Delivery::Exit(id, Ending { sidecar, exit, time }));
            }
        }
    }

    /// A container of an instance with several could not be started by the host.
    pub(super) fn hear_refusal(&self, id: InstanceId, live: &Live, company: &Company, (who, cause): (Who, String)) {
        live.phase_of(who.as_deref()).inspect(|phase| drop(phase.send_replace(Phase::Ended)));
        let exit = Exit::NotStarted { cause: StartFault::Sandbox(cause) };
        self.hear_end(id, (live, company), who, (exit, self.clock.now()));
    }

    /// Ends every container of an instance with several; `make` is what its launcher is told of each.
    pub(super) fn stop_all(&self, id: &InstanceId, company: &Company, make: impl Fn(String) -> Request) {
        let mut crew = company.crew();
        for who in crew.stop() {
            self.request(&make(launcher_id(id, who.as_ref())));
        }
    }
}

// === impl Live ===

impl Live {
    /// Returns when the container runs, or will not any more.
    async fn until_started(&self, sidecar: Option<&str>) {
        if let Some(phase) = self.phase_of(sidecar) {
            let mut phase = phase.subscribe();
            // The sender is in `self`: the wait cannot fail.
            let _ = phase.wait_for(|phase| *phase != Phase::Starting).await;
        }
    }
}

/// What the launcher calls a container.
pub(super) fn launcher_id(id: &InstanceId, who: Option<&String>) -> String {
    who.map_or_else(|| id.0.clone(), |name| sidecar(&id.0, name))
}

fn who(spec: &InstanceSpec, container: &ContainerSpec) -> Who {
    spec.sidecar_name(container).map(str::to_owned)
}
