//! Instances that are frozen between requests, seen from outside.

use super::*;

const GRACE: Duration = Duration::from_millis(500);

impl World {
    /// A world with the service `app`, whose instances are frozen after [`GRACE`].
    async fn that_freezes(app: App) -> Self {
        let front = Front::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let fleet = FleetConfig { freeze_after: Some(GRACE), ..FleetConfig::default() };
        let world = Self::behind(front, (ProxyConfig::default(), fleet), None).await;
        world.serve(&app, &[(app.revision(1), 100)]);
        world
    }

    /// One request that is answered; once it is over for the fleet, too, the instance is frozen, and stays so for
    /// `rest`.
    async fn ask_and_freeze(&self, rest: Duration) {
        const ANSWERED: &str = "updraft_requests_total{response_code_class=\"2xx\"}";
        let before = self.metric(ANSWERED);
        assert_eq!(self.get("/").await, (StatusCode::OK, "app-1".to_owned()));
        // Counted after its place was given back.
        until("the request is over", || self.metric(ANSWERED) == before + 1).await;
        self.hand.advance(GRACE);
        until("it is frozen", || self.engine.records()[0].is_frozen()).await;
        self.hand.advance(rest);
    }
}

#[tokio::test]
async fn requests_to_a_frozen_instance_are_answered_and_the_metrics_tell() {
    let world = World::that_freezes(App::default()).await;
    for round in 0..3 {
        world.ask_and_freeze(Duration::from_secs(60)).await;
        assert_eq!(world.metric("updraft_frozen_instances "), 1);
        assert_eq!(world.metric("updraft_instance_thaw_seconds_count "), round);
    }
    assert_eq!(world.get("/").await, (StatusCode::OK, "app-1".to_owned()));
    assert_eq!(world.metric("updraft_frozen_instances "), 0);
    let record = world.engine.records()[0].clone();
    assert_eq!((world.engine.records().len(), record.freezes(), record.caught()), (1, 3, 0));
    world.end().await;
}

#[tokio::test]
async fn connections_outlive_a_freeze_but_one_that_rested_long_is_not_trusted() {
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let world = World::that_freezes(App { protocol, ..App::default() }).await;
        world.ask_and_freeze(Duration::ZERO).await;
        let record = world.engine.records()[0].clone();
        // The probe has one of its own.
        let connections = record.connections();
        world.ask_and_freeze(Duration::from_secs(3)).await;
        assert_eq!(record.connections(), connections, "{protocol:?}: used again");
        world.ask_and_freeze(Duration::ZERO).await;
        assert_eq!(record.connections(), connections + 1, "{protocol:?}: its server may be about to close the old one");
        world.ask_and_freeze(Duration::ZERO).await;
        assert_eq!(record.connections(), connections + 1, "{protocol:?}: used again");
        assert_eq!((record.freezes(), record.caught()), (4, 0));
        world.end().await;
    }
}
