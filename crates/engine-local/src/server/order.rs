//! From an instance that is to start to what its launcher is told.

use std::{os::fd::OwnedFd, sync::Arc};

use updraft_engine::EngineError;
use updraft_model::{
    instance::{InstanceId, InstanceSpec, Secrets},
    owner::Owner,
};

use super::{
    causes::{chain, refused},
    engine::Shared,
    live::{Ground, Live},
    memo::Memo,
    pool::Shell,
    prepare::{self, Names, Prepared},
    secrets::{self, Accompanied},
};
use crate::{net::Attachment, protocol::Request};

/// What the launcher is told for an instance to start.
pub(super) struct Order {
    /// What has to be made before.
    pub(super) first: Option<Accompanied>,
    pub(super) request: Request,
    pub(super) descriptors: Vec<OwnedFd>,
    pub(super) ground: Ground,
}

/// Where an instance is to stand.
pub(super) enum Place {
    /// In a sandbox that was made ahead.
    Made(Shell),
    /// In the network of one like it that has ended.
    Spare(Attachment),
    /// In one that is to be made.
    New,
}

// === impl Place ===

impl Place {
    /// The sandbox that was made ahead, if it is one.
    pub(super) fn shell(self) -> Option<Shell> {
        match self {
            Self::Made(shell) => Some(shell),
            Self::Spare(_) | Self::New => None,
        }
    }

    /// What the control groups of the instance are called.
    pub(super) fn leaf<'a>(&'a self, id: &'a InstanceId) -> &'a str {
        match self {
            Self::Made(shell) => &shell.name,
            Self::Spare(_) | Self::New => &id.0,
        }
    }
}

// === impl Attachment ===

impl Attachment {
    /// Attempts at the tasks of one execution may have it one after the other.
    fn for_next_of(&mut self, owner: &Owner) {
        if let Some(whose) = alike(owner) {
            self.for_next(&whose);
        }
    }
}

/// What those instances have in common that may have the same network, one after the other.
fn alike(owner: &Owner) -> Option<String> {
    owner.attempt().map(|attempt| attempt.task.execution.to_string())
}

// === impl Shared ===

impl Shared {
    /// The place of an instance that is to start. A sandbox that was made ahead is for what somebody waits for.
    pub(super) fn place(&self, owner: &Owner) -> Place {
        let spare = alike(owner).zip(self.network.as_ref()).and_then(|(whose, network)| network.again(&whose));
        match spare {
            Some(attachment) => Place::Spare(attachment),
            None => self.pool.take(self.clock.instant()).map_or(Place::New, Place::Made),
        }
    }

    /// Where an instance stands, and what the launcher is told.
    pub(super) async fn order(
        &self,
        id: &InstanceId,
        (spec, secrets): (&InstanceSpec, &Secrets),
        (prepared, place): (&Prepared, Place),
        live: &Live,
    ) -> Result<Order, EngineError> {
        let begun = self.clock.instant();
        let since = || self.clock.instant().saturating_duration_since(begun);
        let limits = prepare::limits(&spec.owner, &spec.ingress);
        self.pool.expect(limits);
        let volumes = prepare::volumes_of(&spec.ingress);
        let first = secrets::volumes(id, spec, secrets);
        let env = secrets::environment(&spec.ingress, secrets).map_err(|cause| refused(id, &cause));
        let (first, env) = match (first, env) {
            (Ok(first), Ok(env)) => (first, env),
            (Err(error), _) | (_, Err(error)) => {
                // A sandbox that was taken is in nobody's hands any more.
                place.shell().into_iter().for_each(|shell| self.request(&Request::Kill { id: shell.name }));
                return Err(error);
            }
        };
        let refused = |error: &dyn std::error::Error| refused(id, &chain(error));
        let start = |shell, memo| Request::Start { id: id.0.clone(), shell, limits, volumes, memo };
        let container = (spec, &spec.ingress, env);
        let memo = |attachment| Memo::new(spec, attachment, self.clock.now()).write();
        match (place, &self.network, &self.commons) {
            (Place::Made(Shell { name, mut attachment }), Some(network), _) => {
                attachment.for_next_of(&spec.owner);
                let ready = network.restrict(&mut attachment, spec.egress).await.map_err(|error| refused(&error));
                let launch = prepare::launch(&id.0, container, &prepared.rootfs, Names::Own(attachment.resolv_conf()));
                let file = ready.and_then(|()| launch.write().map_err(|error| refused(&error)));
                // A sandbox that was taken is in nobody's hands any more.
                let file = file.inspect_err(|_| self.request(&Request::Kill { id: name.clone() }))?;
                let request = start(Some(name), memo(&attachment));
                Ok(Order { first, request, descriptors: vec![file], ground: Ground::Own(attachment) })
            }
            (place @ (Place::Spare(_) | Place::New), Some(network), _) => {
                let mut attachment = match place {
                    Place::Spare(attachment) => attachment,
                    _ => network.attach().await.map_err(|error| refused(&error))?,
                };
                attachment.for_next_of(&spec.owner);
                network.restrict(&mut attachment, spec.egress).await.map_err(|error| refused(&error))?;
                let netns = attachment.netns.try_clone().map_err(|error| refused(&error))?;
                let launch = prepare::launch(&id.0, container, &prepared.rootfs, Names::Own(attachment.resolv_conf()));
                let file = launch.write().map_err(|error| refused(&error))?;
                live.hold().network = since();
                let request = start(None, memo(&attachment));
                Ok(Order { first, request, descriptors: vec![file, netns], ground: Ground::Own(attachment) })
            }
            (Place::New, None, Some(commons)) => {
                prepare::check_egress(spec.egress, self.config.isolation)?;
                let (footing, launch) =
                    commons.settle(id, container, prepared).await.map_err(|error| refused(&error))?;
                let file = launch.write().map_err(|error| refused(&error))?;
                live.hold().copy = since();
                let ground = Ground::Shared(Arc::new(footing));
                // It ends with this server.
                Ok(Order { first, request: start(None, String::new()), descriptors: vec![file], ground })
            }
            (_, None, _) => Err(EngineError::Host {
                operation: format!("start of {id}"),
                cause: "the engine has no network".to_owned(),
            }),
        }
    }
}
