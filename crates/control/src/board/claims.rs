//! Who claims which host, and who has it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::SystemTime,
};

use updraft_model::{ServiceName, iam::InvokerAccess, level::Level, route::Route, service::Ingress};

/// The hosts of one service, and where each leads.
pub(crate) type Hosts = Vec<(Arc<str>, Arc<Route>)>;

/// Who may call a service, and from where.
pub(crate) type Admission = (Ingress, InvokerAccess);

/// The hosts of all services. Of several that claim one, as `a---b` may be a service of earlier days and a tag of `b`, the
/// oldest has it.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Who has what.
    pub(super) hosts: Level<Arc<str>, Arc<Route>>,
    by_service: HashMap<ServiceName, Claim>,
    /// Hosts that more than one service claims, which is rare.
    contested: HashMap<Arc<str>, BTreeSet<Owner>>,
}

#[derive(Debug)]
struct Claim {
    created: SystemTime,
    hosts: Hosts,
}

/// When a service was created, and its name: the older one is the smaller.
type Owner = (SystemTime, ServiceName);

// === impl Claims ===

impl Claims {
    /// Sets what a service claims that was created at `created`; says whether that is news.
    pub(super) fn set(&mut self, service: &ServiceName, created: SystemTime, hosts: Hosts) -> bool {
        if self.by_service.get(service).is_some_and(|claim| claim.created == created && claim.hosts == hosts) {
            return false;
        }
        // One that was deleted and created again has another age: it comes anew.
        self.remove(service);
        let names: Vec<Arc<str>> = hosts.iter().map(|(host, _)| host.clone()).collect();
        self.by_service.insert(service.clone(), Claim { created, hosts });
        for host in names {
            self.claim(&host, (created, service.clone()));
        }
        true
    }

    /// Sets who may call a service by the hosts that it has, wherever they lead; says whether that is news.
    pub(super) fn admit(&mut self, service: &ServiceName, (ingress, invoker): &Admission) -> bool {
        let Some(Claim { created, hosts }) = self.by_service.get(service) else { return false };
        let admitted =
            |route: &Route| Arc::new(Route { ingress: *ingress, invoker: invoker.clone(), ..Route::clone(route) });
        let (created, hosts) = (*created, hosts.iter().map(|(host, route)| (host.clone(), admitted(route))).collect());
        self.set(service, created, hosts)
    }

    /// Forgets what a service claims; says whether that was anything.
    pub(super) fn remove(&mut self, service: &ServiceName) -> bool {
        let Some(Claim { created, hosts }) = self.by_service.remove(service) else { return false };
        for (host, _) in &hosts {
            self.release(host, &(created, service.clone()));
        }
        true
    }

    fn claim(&mut self, host: &Arc<str>, owner: Owner) {
        let holder = self.hosts.get(host).map(|route| &route.service).filter(|service| **service != owner.1);
        let holder = holder.and_then(|service| Some((self.by_service.get(service)?.created, service.clone())));
        let first = match holder {
            None => owner,
            Some(holder) => {
                let contest = self.contested.entry(host.clone()).or_default();
                contest.extend([holder, owner]);
                let Some(first) = contest.first() else { return };
                first.clone()
            }
        };
        self.award(host, &first.1);
    }

    fn release(&mut self, host: &Arc<str>, owner: &Owner) {
        self.hosts.remove(host);
        let Some(contest) = self.contested.get_mut(host) else { return };
        contest.remove(owner);
        let first = contest.first().map(|(_, service)| service.clone());
        if contest.len() < 2 {
            self.contested.remove(host);
        }
        if let Some(first) = first {
            self.award(host, &first);
        }
    }

    fn award(&mut self, host: &Arc<str>, service: &ServiceName) {
        let hosts = self.by_service.get(service).into_iter().flat_map(|claim| &claim.hosts);
        // Which of them is the first is said once: a service lists no host twice.
        let route = hosts.clone().find(|(claimed, _)| claimed == host).map(|(_, route)| route.clone());
        if let Some(route) = route {
            self.hosts.insert(host.clone(), route);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use updraft_model::Parent;

    use super::*;

    const SERVICES: [&str; 4] = ["a", "b", "c", "d"];
    const HOSTS: [&str; 3] = ["x", "y", "z"];

    fn name(id: &str) -> ServiceName {
        Parent::new("demo-project", "here").service(id)
    }

    fn age(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn hosts(id: &str, hosts: &[&str]) -> Hosts {
        let (ingress, invoker) = (Ingress::All, InvokerAccess::Open);
        let route = Arc::new(Route { service: name(id), ingress, invoker, targets: Vec::new() });
        hosts.iter().map(|host| ((*host).into(), route.clone())).collect()
    }

    fn holder(claims: &Claims, host: &str) -> Option<String> {
        Some(claims.hosts.get(host)?.service.service.clone())
    }

    #[test]
    fn of_two_services_the_older_keeps_the_host() {
        let mut claims = Claims::default();
        let mut set = |id, seconds| {
            claims.set(&name(id), age(seconds), hosts(id, &["t---ws"]));
            holder(&claims, "t---ws")
        };
        assert_eq!(set("ws", 1).as_deref(), Some("ws"));
        assert_eq!(set("t---ws", 2).as_deref(), Some("ws"));
        // Deleted and created again, it is the younger one.
        assert_eq!(set("ws", 3).as_deref(), Some("t---ws"));
    }

    #[test]
    fn the_same_again_is_no_news() {
        let mut claims = Claims::default();
        assert!(claims.set(&name("a"), age(1), hosts("a", &["x"])));
        assert!(!claims.set(&name("a"), age(1), hosts("a", &["x"])));
        assert!(claims.set(&name("a"), age(1), hosts("a", &["y"])));
        assert_eq!((holder(&claims, "x"), holder(&claims, "y").as_deref()), (None, Some("a")));
        assert!(claims.remove(&name("a")) && !claims.remove(&name("a")));
        assert!(claims.hosts.is_empty());
    }

    #[test]
    fn who_may_call_changes_where_a_service_has_the_host_and_nowhere_else() {
        let mut claims = Claims::default();
        claims.set(&name("a"), age(1), hosts("a", &["x", "y"]));
        claims.set(&name("b"), age(2), hosts("b", &["y", "z"]));
        let closed = (Ingress::Internal, InvokerAccess::default());
        assert!(claims.admit(&name("b"), &closed) && !claims.admit(&name("b"), &closed));
        assert!(!claims.admit(&name("c"), &closed));
        let said = |host: &str| {
            let route = claims.hosts.get(host).expect("is claimed");
            (route.service.service.clone(), route.invoker == InvokerAccess::Open, route.ingress)
        };
        assert_eq!([said("x"), said("y")], ["a", "a"].map(|id| (id.to_owned(), true, Ingress::All)));
        assert_eq!(said("z"), ("b".to_owned(), false, Ingress::Internal));
    }

    /// Many steps over few services and hosts, beside what follows from the claims themselves.
    #[test]
    fn whatever_comes_and_goes_the_oldest_that_claims_a_host_has_it() {
        let mut claims = Claims::default();
        let mut model: HashMap<&str, (u64, Vec<&str>)> = HashMap::new();
        let mut seed: u64 = 7;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap_or_default() % below
        };
        for step in 0..20_000 {
            let id = SERVICES[next(SERVICES.len())];
            let chosen = next(9);
            if chosen == 8 {
                assert_eq!(claims.remove(&name(id)), model.remove(id).is_some());
            } else {
                let mine: Vec<&str> =
                    HOSTS.iter().enumerate().filter(|(bit, _)| chosen >> bit & 1 == 1).map(|(_, host)| *host).collect();
                let seconds = model.get(id).map_or(step, |(age, _)| if next(4) == 0 { step } else { *age });
                claims.set(&name(id), age(seconds), hosts(id, &mine));
                model.insert(id, (seconds, mine));
            }
            for host in HOSTS {
                let claimants = model.iter().filter(|(_, (_, hosts))| hosts.contains(&host));
                let oldest = claimants.min_by_key(|(id, (age, _))| (*age, **id)).map(|(id, _)| (*id).to_owned());
                assert_eq!(holder(&claims, host), oldest, "{host} after step {step}");
            }
        }
    }
}
