//! In which order the containers of an instance start.

use std::collections::BTreeSet;

use updraft_model::instance::InstanceSpec;

/// How far the start of an instance with several containers has come.
///
/// Source: Cloud Run's container dependencies: a container starts when all it depends on are up, that is have passed
/// their startup probes, or run if they have none; the instance is up when all of them are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup<'a> {
    spec: &'a InstanceSpec,
    started: BTreeSet<&'a str>,
    up: BTreeSet<&'a str>,
}

// === impl Startup ===

impl<'a> Startup<'a> {
    /// Nothing has been started yet.
    pub fn of(spec: &'a InstanceSpec) -> Self {
        Self { spec, started: BTreeSet::new(), up: BTreeSet::new() }
    }

    /// The containers whose turn it is, the one that takes the traffic first. They count as started from here on.
    pub fn take_next(&mut self) -> Vec<&'a str> {
        let spec = self.spec;
        let is_free = |depends_on: &[String]| depends_on.iter().all(|before| self.up.contains(before.as_str()));
        let waiting = spec.containers().filter(|container| !self.started.contains(container.name.as_str()));
        let next: Vec<&str> = waiting
            .filter(|container| is_free(&container.depends_on))
            .map(|container| container.name.as_str())
            .collect();
        self.started.extend(&next);
        next
    }

    /// The container `name` is up.
    pub fn came_up(&mut self, name: &'a str) {
        self.up.insert(name);
    }

    /// Are all of them up?
    pub fn is_complete(&self) -> bool {
        self.spec.containers().all(|container| self.up.contains(container.name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use updraft_model::{
        instance::{ContainerSpec, Egress, Limits},
        name::Parent,
    };

    use super::*;

    /// `a<b,c` is a container `a` that depends on `b` and `c`; the first takes the traffic.
    fn spec(containers: &[&str]) -> InstanceSpec {
        let mut all = containers.iter().map(|text| {
            let (name, before) = text.split_once('<').unwrap_or((text, ""));
            let depends_on = before.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            ContainerSpec { name: name.to_owned(), depends_on, ..ContainerSpec::default() }
        });
        InstanceSpec {
            owner: Parent::new("demo-project", "us-central1").service("app").revision("app-1").into(),
            ingress: all.next().expect("a container"),
            sidecars: all.collect(),
            volumes: Vec::new(),
            port: 8080,
            egress: Egress::All,
        }
    }

    /// What is started together, in its order, when everything comes up.
    fn waves(containers: &[&str]) -> String {
        let spec = spec(containers);
        let mut startup = Startup::of(&spec);
        let mut waves = Vec::new();
        loop {
            let next = startup.take_next();
            if next.is_empty() {
                assert!(startup.is_complete(), "{waves:?}");
                return waves.join(" | ");
            }
            waves.push(next.join(" "));
            next.into_iter().for_each(|name| startup.came_up(name));
        }
    }

    #[test]
    fn containers_start_after_those_that_they_depend_on_and_otherwise_together() {
        for (containers, want) in [
            (&["web"][..], "web"),
            (&["web", "log", "db"], "web log db"),
            (&["proxy<app", "app"], "app | proxy"),
            (&["app<side", "side<db", "db", "log"], "db log | side | app"),
            (&["a<b,c", "b", "c<b"], "b | c | a"),
        ] {
            assert_eq!(waves(containers), want, "{containers:?}");
        }
    }

    #[test]
    fn a_container_waits_for_the_last_of_those_it_depends_on() {
        let spec = spec(&["a<b,c", "b", "c"]);
        let mut startup = Startup::of(&spec);
        assert_eq!(startup.take_next(), ["b", "c"]);
        startup.came_up("b");
        assert_eq!(startup.take_next(), [""; 0]);
        assert!(!startup.is_complete());
        startup.came_up("c");
        assert_eq!(startup.take_next(), ["a"]);
        assert_eq!(startup.take_next(), [""; 0], "nothing starts twice");
    }

    #[test]
    fn what_an_instance_may_use_is_the_sum() {
        let mut spec = spec(&["a", "b"]);
        spec.ingress.limits = Limits { cpu_millis: 1000, memory_bytes: 1 << 29, pids: 100 };
        spec.sidecars[0].limits = Limits { cpu_millis: 500, memory_bytes: 1 << 28, pids: 100 };
        assert_eq!(spec.limits(), Limits { cpu_millis: 1500, memory_bytes: (1 << 29) + (1 << 28), pids: 200 });
    }
}
