use std::{cell::Cell, time::Duration};

use updraft_model::{
    Parent,
    iam::InvokerAccess,
    instance::{ContainerSpec, Egress, InstanceSpec, SecretEnv},
    route::Route,
    service::Ingress,
};

use super::*;

const MANY: usize = 20_000;

struct World {
    board: Board,
    book: watch::Receiver<Arc<RevisionBook>>,
    routes: watch::Receiver<Arc<RouteTable>>,
}

impl World {
    fn new() -> Self {
        let ((book, book_seen), (routes, routes_seen)) =
            (watch::channel(Arc::default()), watch::channel(Arc::default()));
        Self { board: Board::new(book, routes), book: book_seen, routes: routes_seen }
    }

    fn lead(&self, id: &str, invoker: InvokerAccess) {
        let service = Parent::new("demo-project", "here").service(id);
        let route = Route { service: service.clone(), ingress: Ingress::All, invoker, targets: Vec::new() };
        let created = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        self.board.route(&service, created, vec![(format!("{id}.run.localhost").into(), Arc::new(route))]);
        self.board.publish();
    }

    fn routes(&self) -> Arc<RouteTable> {
        self.routes.borrow().clone()
    }
}

#[test]
fn what_is_known_is_published_before_everything_is_and_says_so() {
    let world = World::new();
    world.lead("hello", InvokerAccess::Open);
    assert!(world.routes().hosts.contains_key("hello.run.localhost") && !world.routes().is_whole);
    world.board.open();
    assert!(world.routes().is_whole && world.book.borrow().is_whole);
    world.lead("later", InvokerAccess::Open);
    assert!(world.routes().is_whole);
}

#[test]
fn a_change_of_one_service_leaves_the_routes_of_the_others_where_they_are() {
    let world = World::new();
    (0..MANY).for_each(|number| world.lead(&format!("s-{number}"), InvokerAccess::Open));
    let before = world.routes();
    world.lead("s-7", InvokerAccess::default());
    let looked_at = Cell::new(0);
    let now = world.routes();
    let changes = now.hosts.changes(&before.hosts, |now, before| {
        looked_at.set(looked_at.get() + 1);
        now == before
    });
    let changed: Vec<_> = changes.map(|(host, _)| &**host).collect();
    assert_eq!(changed, ["s-7.run.localhost"]);
    // Whoever compares sees only what was copied.
    assert!(looked_at.get() < MANY / 100, "{} of {MANY} were copied", looked_at.get());
}

#[test]
fn secrets_that_change_from_when_they_are_begun_to_be_read_are_read_again() {
    let board = World::new().board;
    let name = Parent::new("demo-project", "here").service("hello").revision("hello-1");
    let variable =
        SecretEnv { name: "A".to_owned(), secret: "projects/demo-project/secrets/db".to_owned(), version: 1 };
    let ingress = ContainerSpec { secret_env: vec![variable], ..ContainerSpec::default() };
    let spec = InstanceSpec {
        owner: name.clone().into(),
        ingress,
        sidecars: Vec::new(),
        volumes: Vec::new(),
        port: 8080,
        egress: Egress::All,
    };
    let changed = |secret: &str| board.secrets_changed(|named| named.ends_with(secret));
    assert!(changed("/db").is_empty(), "nobody has read it");
    board.reading_secrets(&name, &spec);
    assert!(changed("/other").is_empty() && !board.has_stale_secrets(&name));
    assert_eq!((changed("/db"), board.has_stale_secrets(&name)), (vec![name.clone()], true));
    board.reading_secrets(&name, &spec);
    assert!(!board.has_stale_secrets(&name));
    board.secrets_unread(&name);
    assert!(board.has_stale_secrets(&name));
    board.withdraw(&name);
    assert!(changed("/db").is_empty(), "it is not in the book");
}
