//! Networks that are had by one instance after the other.

use super::*;

/// The network of an instance like this one, once there is one.
async fn next_of(network: &Network, whose: &str) -> Attachment {
    let clock = Clock::system();
    let found = async {
        loop {
            if let Some(attachment) = network.again(whose) {
                return attachment;
            }
            clock.sleep(Duration::from_millis(1)).await;
        }
    };
    clock.timeout(PATIENCE, found).await.expect("it is kept")
}

/// Waits until the host is as it was `before`.
async fn gone(before: &[String]) {
    let clock = Clock::system();
    let gone = async {
        while snapshot() != before {
            clock.sleep(Duration::from_millis(5)).await;
        }
    };
    clock.timeout(PATIENCE, gone).await.expect("all cables disappear");
}

#[test]
fn the_next_of_its_kind_gets_the_network_of_one_that_left_nothing_behind() {
    World::run(async |world| {
        let network = world.network("spare").await;
        let (server, before) = (world.listen_outside().await, snapshot());
        let mut first = network.attach().await.expect("attached");
        let address = first.address;
        network.restrict(&mut first, Egress::Private).await.expect("restricted");
        first.for_next("a");
        drop(first);
        let mut second = next_of(&network, "a").await;
        assert_eq!(second.address, address);
        assert!(network.again("a").is_none() && network.again("b").is_none(), "each has it by itself");
        network.restrict(&mut second, Egress::Private).await.expect("restricted already");
        assert_eq!(reach(&second.netns, OUTSIDE, &server).await, None, "restricted still");
        drop(second);
        gone(&before).await;
        // The address is free, and of no restriction.
        let third = network.attach().await.expect("attached");
        assert!(reach(&third.netns, OUTSIDE, &server).await.is_some());
        network.stop().await.expect("stopped");
    });
}

#[test]
fn a_network_in_which_a_connection_lingers_is_nobody_elses() {
    World::run(async |world| {
        let network = world.network("linger").await;
        let (server, before) = (world.listen_outside().await, snapshot());
        let mut first = network.attach().await.expect("attached");
        // The client hangs up first, and its side waits for a minute.
        assert!(reach(&first.netns, OUTSIDE, &server).await.is_some());
        first.for_next("a");
        drop(first);
        gone(&before).await;
        assert!(network.again("a").is_none());
        network.stop().await.expect("stopped");
    });
}

#[test]
fn what_nobody_asks_for_again_is_let_go() {
    World::run(async |world| {
        let network = world.network("unused").await;
        let before = snapshot();
        for whose in ["a", "a", "b"] {
            network.attach().await.expect("attached").for_next(whose);
        }
        gone(&before).await;
        assert!(network.again("a").is_none() && network.again("b").is_none());
        network.stop().await.expect("stopped");
    });
}
