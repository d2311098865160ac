//! The cases of instances with several containers and volumes, for engines that can run them.

use std::{io, net::Ipv4Addr, time::Duration};

use updraft_model::instance::{ContainerSpec, Exit, InstanceId, InstanceSpec, Listener, Mount, Secrets, VolumeSpec};

use super::{Bed, DEADLINE, GRACE, PORT, Stage, cpu::SILENCE, limits};
use crate::{EngineError, EngineEvent, script::NO_SUCH_PROGRAM};

/// The port of a sidecar that serves.
const SIDE_PORT: u16 = 9000;
/// The name of the sidecar.
const SIDE: &str = "side";

/// Makes one test of each case, as [`crate::contract_suite!`] does.
#[macro_export]
macro_rules! containers_suite {
    ($bed:ident) => {
        $crate::containers_suite! { $bed:
            a_container_that_depends_on_another_starts_when_it_is_told_to,
            what_is_asked_of_a_container_that_is_not_there_is_told,
            containers_reach_each_other_on_loopback_and_by_name,
            containers_share_a_volume_and_no_other_file,
            a_volume_is_empty_in_the_next_instance,
            the_end_of_a_sidecar_is_the_end_of_the_instance,
            the_end_of_the_ingress_container_is_the_end_of_its_sidecars,
            a_sidecar_that_cannot_be_executed_is_an_event_that_names_it,
            memory_is_limited_per_container,
            an_inspection_tells_the_containers_apart,
            an_instance_that_is_stopped_lets_each_container_end_by_itself,
            an_instance_that_is_stopped_half_started_is_gone,
            several_containers_leave_nothing_after_a_shutdown,
            the_containers_of_an_instance_are_frozen_and_thawed_together,
            the_cpu_of_each_container_can_be_changed_while_it_runs,
            a_secret_is_a_file_that_all_containers_read_and_none_changes,
            a_new_value_is_seen_in_the_file_without_a_restart,
            what_cannot_be_read_is_not_there_and_comes_back,
            files_of_an_adopted_instance_follow_as_before,
        }
    };
    ($bed:ident: $($case:ident,)*) => {
        mod containers_suite {
            $(
                #[tokio::test]
                async fn $case() {
                    if let Some(mut bed) = super::$bed().await {
                        $crate::contract::containers::$case(&mut bed).await;
                    }
                }
            )*
        }
    };
}

/// What was told of an instance.
struct Told {
    /// Who wrote what.
    lines: Vec<(Option<String>, String)>,
    /// Who ended it.
    sidecar: Option<String>,
    /// How.
    exit: Exit,
}

pub use super::secrets::{
    a_new_value_is_seen_in_the_file_without_a_restart, a_secret_is_a_file_that_all_containers_read_and_none_changes,
    files_of_an_adopted_instance_follow_as_before, what_cannot_be_read_is_not_there_and_comes_back,
};

// === the cases ===

/// Not before; and a second time changes nothing.
pub async fn a_container_that_depends_on_another_starts_when_it_is_told_to(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let mut spec = stage.pair(&["serve"], &["print=second", "sleep"]);
    spec.sidecars[0].depends_on = vec![spec.ingress.name.clone()];
    let id = stage.start_spec("a", &spec).await;
    assert_eq!(stage.get(&id).await, "ok");
    let before = stage.engine.inspect(&id).await.expect("it is there").processes.len();
    for _ in 0..2 {
        stage.engine.start_container(&id, (&spec, &Secrets::default()), SIDE).await.expect("it can be started");
    }
    assert_eq!(stage.line(&id).await, (Some(SIDE.to_owned()), "second".to_owned()));
    assert!(before <= stage.engine.inspect(&id).await.expect("it is there").processes.len());
    stage.engine.stop(&id, GRACE).await;
    let told = stage.until_end(&id).await;
    assert_eq!((told.lines, told.exit), (Vec::new(), Exit::Code(0)), "it was started once");
    stage.end().await;
}

/// A name that nobody has is refused; an instance that has ended has told so already.
pub async fn what_is_asked_of_a_container_that_is_not_there_is_told(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let mut spec = stage.pair(&["exit=0"], &["sleep"]);
    spec.sidecars[0].depends_on = vec![spec.ingress.name.clone()];
    let id = stage.start_spec("a", &spec).await;
    let refused = stage.engine.start_container(&id, (&spec, &Secrets::default()), "nobody").await;
    assert!(matches!(refused, Err(EngineError::Host { .. })), "{refused:?}");
    stage.until_end(&id).await;
    stage.engine.start_container(&id, (&spec, &Secrets::default()), SIDE).await.expect("its end was told");
    assert!(stage.engine.list().await.is_empty());
    stage.end().await;
}

/// One network: a server of one is at 127.0.0.1 of the other, and at the name of its container.
pub async fn containers_reach_each_other_on_loopback_and_by_name(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let steps = ["ask=127.0.0.1:9000", "ask=side:9000", "exit=0"];
    let mut spec = stage.pair(&steps, &["serve"]);
    spec.sidecars[0].env.push(("ANSWER".to_owned(), "from the side".to_owned()));
    spec.ingress.depends_on = vec![SIDE.to_owned()];
    let id = stage.start_spec("a", &spec).await;
    stage.until_listening(&id, SIDE_PORT).await;
    stage
        .engine
        .start_container(&id, (&spec, &Secrets::default()), &spec.ingress.name)
        .await
        .expect("it can be started");
    let told = stage.until_end(&id).await;
    let from_side = (None, "from the side".to_owned());
    assert_eq!((told.lines, told.sidecar), (vec![from_side.clone(), from_side], None));
    stage.end().await;
}

/// Each may mount it elsewhere, and what is not in it is nobody else's.
pub async fn containers_share_a_volume_and_no_other_file(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let reads = ["show=/data/note", "show=/private", "put=/data/answer:seen", "exit=0"];
    let writes = ["put=/srv/shared/note:hello", "put=/private:mine", "serve"];
    let mut spec = stage.pair(&reads, &writes);
    share(&mut spec, 1 << 20);
    spec.ingress.depends_on = vec![SIDE.to_owned()];
    let id = stage.start_spec("a", &spec).await;
    stage.until_listening(&id, SIDE_PORT).await;
    stage
        .engine
        .start_container(&id, (&spec, &Secrets::default()), &spec.ingress.name)
        .await
        .expect("it can be started");
    let lines: Vec<String> = stage.until_end(&id).await.lines.into_iter().map(|(_, text)| text).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0], "hello");
    assert!(lines[1].starts_with("/private: "), "{lines:?}");
    stage.end().await;
}

/// It is the instance's and not the revision's.
pub async fn a_volume_is_empty_in_the_next_instance(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let mut spec = stage.spec(&["show=/data/note", "put=/data/note:left", "show=/data/note", "exit=0"]);
    spec.volumes = vec![VolumeSpec::in_memory("shared", 1 << 20)];
    spec.ingress.mounts = vec![Mount { volume: "shared".to_owned(), path: "/data".to_owned() }];
    for name in ["a", "b"] {
        let id = stage.start_spec(name, &spec).await;
        let lines: Vec<String> = stage.until_end(&id).await.lines.into_iter().map(|(_, text)| text).collect();
        assert!(lines[0].starts_with("/data/note: "), "{lines:?}");
        assert_eq!(lines[1..], ["left"]);
    }
    stage.end().await;
}

/// Nothing of the others is left when it is told, and it is told once.
pub async fn the_end_of_a_sidecar_is_the_end_of_the_instance(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let spec = stage.pair(&["ignore-term", "serve"], &["print=bye", "exit=3"]);
    let id = stage.start_spec("a", &spec).await;
    let told = stage.until_end(&id).await;
    assert_eq!(told.lines, [(Some(SIDE.to_owned()), "bye".to_owned())]);
    assert_eq!((told.sidecar.as_deref(), told.exit), (Some(SIDE), Exit::Code(3)));
    assert_eq!(stage.engine.usage(&id).await, None);
    assert!(stage.engine.list().await.is_empty());
    stage.end().await;
}

/// The other way round, also when it went well.
pub async fn the_end_of_the_ingress_container_is_the_end_of_its_sidecars(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let spec = stage.pair(&["exit=0"], &["ignore-term", "sleep"]);
    let id = stage.start_spec("a", &spec).await;
    let told = stage.until_end(&id).await;
    assert_eq!((told.sidecar, told.exit), (None, Exit::Code(0)));
    stage.end().await;
}

/// As with the only container.
pub async fn a_sidecar_that_cannot_be_executed_is_an_event_that_names_it(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let mut spec = stage.pair(&["serve"], &[]);
    spec.sidecars[0].command = vec![NO_SUCH_PROGRAM.to_owned()];
    let id = stage.start_spec("a", &spec).await;
    let Told { sidecar, exit, .. } = stage.until_end(&id).await;
    assert_eq!(sidecar.as_deref(), Some(SIDE));
    assert!(matches!(&exit, Exit::NotStarted { cause } if cause.to_string().contains(NO_SUCH_PROGRAM)), "{exit:?}");
    stage.end().await;
}

/// Each has its own limit, though the instance may use the sum.
pub async fn memory_is_limited_per_container(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let mut spec = stage.pair(&["serve"], &["allocate=512", "sleep"]);
    spec.ingress.limits.memory_bytes = 2 << 30;
    let id = stage.start_spec("a", &spec).await;
    let Told { sidecar, exit, .. } = stage.until_end(&id).await;
    assert_eq!(sidecar.as_deref(), Some(SIDE));
    let wanted = limits().memory_bytes;
    assert!(matches!(exit, Exit::OutOfMemory { limit, .. } if limit == wanted), "{exit:?}");
    stage.end().await;
}

/// Together, and each alone.
pub async fn an_inspection_tells_the_containers_apart(bed: &mut impl Bed) {
    let stage = Stage::new(bed);
    let id = stage.start_spec("a", &stage.pair(&["serve"], &["serve"])).await;
    stage.get(&id).await;
    stage.until_listening(&id, SIDE_PORT).await;
    let on = |port: u16| Listener::Tcp((Ipv4Addr::UNSPECIFIED, port).into());
    let mut all = stage.engine.inspect(&id).await.expect("it is there").listeners.expect("they can be seen");
    all.sort();
    assert_eq!(all, [on(PORT), on(SIDE_PORT)]);
    for (sidecar, port) in [(None, PORT), (Some(SIDE), SIDE_PORT)] {
        let seen = stage.engine.inspect_container(&id, sidecar).await.expect("it is there");
        assert_eq!(seen.listeners, Some(vec![on(port)]), "{sidecar:?}");
        assert!(!seen.processes.is_empty());
    }
    stage.end().await;
}

/// The first one that obeys does not take the others with it: the grace is for all.
pub async fn an_instance_that_is_stopped_lets_each_container_end_by_itself(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let spec = stage.pair(&["serve"], &["ignore-term", "print=deaf", "sleep"]);
    let id = stage.start_spec("a", &spec).await;
    assert_eq!(stage.line(&id).await.1, "deaf");
    stage.get(&id).await;
    let (asked, grace) = (stage.clock.instant(), Duration::from_millis(300));
    stage.engine.stop(&id, grace).await;
    let told = stage.until_end(&id).await;
    assert!(stage.since(asked) >= grace, "the end of one took the other along after {:?}", stage.since(asked));
    assert_eq!((told.sidecar, told.exit), (None, Exit::Code(0)));
    stage.end().await;
}

/// What has not been started yet is not started any more.
pub async fn an_instance_that_is_stopped_half_started_is_gone(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let mut spec = stage.pair(&["print=never", "serve"], &["serve"]);
    spec.ingress.depends_on = vec![SIDE.to_owned()];
    let id = stage.start_spec("a", &spec).await;
    stage.until_listening(&id, SIDE_PORT).await;
    stage.engine.stop(&id, GRACE).await;
    stage.engine.start_container(&id, (&spec, &Secrets::default()), &spec.ingress.name).await.expect("its end is told");
    assert_eq!(stage.until_end(&id).await.lines, []);
    assert!(stage.engine.list().await.is_empty());
    stage.end().await;
}

/// Whole ones and half-started ones.
pub async fn several_containers_leave_nothing_after_a_shutdown(bed: &mut impl Bed) {
    let stage = Stage::new(bed);
    let whole = stage.pair(&["serve"], &["ignore-term", "sleep"]);
    let mut half = stage.pair(&["serve"], &["sleep"]);
    half.ingress.depends_on = vec![SIDE.to_owned()];
    share(&mut half, 1 << 20);
    for (name, spec) in [("a", whole), ("b", half)] {
        stage.start_spec(name, &spec).await;
    }
    stage.end().await;
}

/// None goes on alone; and frozen they end as others do.
pub async fn the_containers_of_an_instance_are_frozen_and_thawed_together(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let id = stage.start_spec("a", &stage.pair(&["tick=1"], &["tick=1"])).await;
    stage.both_say_something(&id).await;
    if !stage.freeze(bed, &id) {
        return stage.end().await;
    }
    let asked = stage.clock.instant();
    while let Ok((whose, line)) = stage.clock.clone().timeout(SILENCE, stage.line(&id)).await {
        assert!(stage.since(asked) < DEADLINE, "it goes on although it is frozen: {whose:?} {line}");
    }
    stage.engine.thaw(&id).expect("it is there");
    stage.both_say_something(&id).await;
    stage.engine.freeze(&id).expect("it is there");
    stage.engine.stop(&id, GRACE).await;
    let refused = stage.engine.freeze(&id).map_err(|error| error.kind());
    assert_eq!(refused, Err(io::ErrorKind::NotFound), "what is being stopped is not frozen any more");
    let told = stage.until_end(&id).await;
    assert_eq!((told.sidecar, told.exit), (None, Exit::Code(0)));
    stage.end().await;
}

/// Of each by its name, and of nobody else.
pub async fn the_cpu_of_each_container_can_be_changed_while_it_runs(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let id = stage.start_spec("a", &stage.pair(&["tick=1"], &["tick=1"])).await;
    let expected = |there| match there {
        _ if !bed.can_limit_cpu() => Err(io::ErrorKind::Unsupported),
        true => Ok(()),
        false => Err(io::ErrorKind::NotFound),
    };
    for (sidecar, there) in [(None, true), (Some(SIDE), true), (Some("nobody"), false)] {
        for millis in [2000, 80, 1000] {
            let limited = stage.engine.limit_cpu(&id, sidecar, millis).map_err(|error| error.kind());
            assert_eq!(limited, expected(there), "{sidecar:?}");
        }
        stage.both_say_something(&id).await;
    }
    stage.end().await;
}

/// Mounts a volume in both containers, at different places.
fn share(spec: &mut InstanceSpec, size_bytes: u64) {
    spec.volumes = vec![VolumeSpec::in_memory("shared", size_bytes)];
    let mount = |path: &str| vec![Mount { volume: "shared".to_owned(), path: path.to_owned() }];
    spec.ingress.mounts = mount("/data");
    spec.sidecars[0].mounts = mount("/srv/shared");
}

// === impl Stage ===

impl Stage {
    /// A container that takes the traffic and a sidecar, each with its steps.
    fn pair(&self, ingress: &[&str], sidecar: &[&str]) -> InstanceSpec {
        let sidecars: Vec<ContainerSpec> = vec![self.container(SIDE, SIDE_PORT, sidecar)];
        InstanceSpec { sidecars, ingress: self.container("main", PORT, ingress), ..self.spec(&[]) }
    }

    /// Waits until something of the instance listens there.
    async fn until_listening(&self, id: &InstanceId, port: u16) {
        let asked = self.clock.instant();
        while let Err(error) = self.engine.connect(id, port).await {
            assert!(self.since(asked) < DEADLINE, "{id} does not listen on port {port}: {error}");
            self.clock.sleep(Duration::from_millis(2)).await;
        }
    }

    /// The next line of the instance.
    async fn line(&mut self, wanted: &InstanceId) -> (Option<String>, String) {
        loop {
            match self.event().await {
                EngineEvent::Output { id, sidecar, text, .. } if id == *wanted => return (sidecar, text),
                EngineEvent::Exited { id, sidecar, exit, .. } if id == *wanted => {
                    panic!("it ended: {sidecar:?} {exit:?}")
                }
                _ => {}
            }
        }
    }

    /// Waits for a line of each of the two containers.
    async fn both_say_something(&mut self, id: &InstanceId) {
        let mut quiet = vec![None, Some(SIDE.to_owned())];
        while !quiet.is_empty() {
            let (whose, _) = self.line(id).await;
            quiet.retain(|one| *one != whose);
        }
    }

    async fn until_end(&mut self, wanted: &InstanceId) -> Told {
        let mut lines = Vec::new();
        loop {
            match self.event().await {
                EngineEvent::Output { id, sidecar, text, .. } if id == *wanted => lines.push((sidecar, text)),
                EngineEvent::Exited { id, sidecar, exit, .. } if id == *wanted => return Told { lines, sidecar, exit },
                _ => {}
            }
        }
    }
}
