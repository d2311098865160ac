//! The use cases of operations and locations.

use std::time::Duration;

use updraft_api::{
    location::{GetLocationRequest, ListLocationsRequest},
    longrunning::{
        DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, Operation, WaitOperationRequest,
    },
};
use updraft_model::{ErrorKind, channel::CheckOutcome};

use crate::world::*;

fn wait(operation: &Operation, seconds: Option<i64>) -> WaitOperationRequest {
    let timeout = seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
    WaitOperationRequest { name: operation.name.clone(), timeout }
}

#[tokio::test]
async fn waiting_ends_with_the_operation() {
    let world = World::new().await;
    let operation = world.create("hello", service("app")).await;
    let (waited, ()) = tokio::join!(world.control.operations_wait(&ME, wait(&operation, None)), world.pass());
    assert!(waited.expect("exists").done);
    // And at once when it is done already.
    assert!(world.control.operations_wait(&ME, wait(&operation, Some(10))).await.expect("exists").done);
}

#[tokio::test]
async fn waiting_is_bounded_and_shows_the_resource_as_it_is() {
    let world = World::new().await;
    let operation = world.create("hello", service("app")).await;
    world.answer(CheckOutcome::Pending).await;
    let wait = world.control.operations_wait(&ME, wait(&operation, Some(3600)));
    let time = async {
        tokio::task::yield_now().await;
        world.hand.advance(Duration::from_secs(31));
    };
    let (waited, ()) = tokio::join!(wait, time);
    let waited = waited.expect("exists");
    assert!(!waited.done && waited.metadata.is_some() && waited.result.is_none());
}

#[tokio::test]
async fn operations_are_listed_by_state_and_can_be_forgotten() {
    let world = World::new().await;
    world.deploy("hello").await;
    let pending = world.create("other", service("app")).await;
    world.settle().await;
    let list = |filter: &str| ListOperationsRequest {
        name: PARENT.to_owned(),
        filter: filter.to_owned(),
        ..Default::default()
    };
    for (filter, count) in [("", 2), ("done:true", 1), ("done:false", 1)] {
        let found = world.control.operations_list(&ME, list(filter)).await.expect("lists");
        assert_eq!(found.operations.len(), count, "{filter}");
    }
    assert!(world.control.operations_list(&ME, list("name:x")).await.is_err());
    let delete = DeleteOperationRequest { name: pending.name.clone() };
    world.control.operations_delete(&ME, delete.clone()).await.expect("is forgotten");
    let error = world.control.operations_delete(&ME, delete).await.expect_err("is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    world.pass().await;
    assert!(!world.get("other").await.reconciling, "what it stood for goes on");
}

#[tokio::test]
async fn finished_operations_are_removed_after_a_day() {
    let world = World::new().await;
    let operation = world.create("hello", service("app")).await;
    world.pass().await;
    world.advance(Duration::from_secs(25 * 3600)).await;
    world.advance(Duration::from_secs(601)).await;
    let request = GetOperationRequest { name: operation.name };
    assert!(world.control.operations_get(&ME, request).await.is_err());
}

#[tokio::test]
async fn the_locations_are_those_that_are_served() {
    let world = World::new().await;
    let request = ListLocationsRequest { name: "projects/demo-project".to_owned(), ..Default::default() };
    let found = world.control.locations_list(&ME, request).await.expect("lists").locations;
    assert_eq!((found.len(), found[0].name.as_str()), (1, PARENT));
    let get = |name: &str| GetLocationRequest { name: name.to_owned() };
    assert!(world.control.locations_get(&ME, get(PARENT)).await.is_ok());
    assert!(world.control.locations_get(&ME, get("projects/demo-project/locations/mars")).await.is_err());
}
