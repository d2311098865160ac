//! The key that secrets are sealed with, and its successors.

use std::{sync::Arc, time::Duration};

use updraft_model::{ErrorKind, secret::Sealer};
use updraft_store::{Kind, MemoryStore, Selection};

use crate::{
    mortal::{LastCommit, Mortal},
    secrets::{add, automatic, create, runner, shown, value},
    world::*,
};

#[tokio::test]
async fn a_new_key_is_put_on_every_value() {
    let world = World::new().await;
    for id in ["a", "b"] {
        create(&world, id, automatic()).await.expect("is made");
        // More than are read together.
        for number in 0..70 {
            add(&world, id, &format!("{id}{number}")).await.expect("is added");
        }
    }
    let error = world.control.secrets_rotate_key(&runner()).await.expect_err("is the owner's");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let rotated = world.control.secrets_rotate_key(&ME).await.expect("is the owner");
    assert_eq!((rotated.key.as_str(), rotated.resealed, rotated.values), ("key-2", 140, 140));
    let new = Selection::of(Kind::SecretValue).owned_by("key-2");
    assert_eq!(world.store.count(&new).await.expect("counts"), 140);
    assert_eq!(value(&world, "b/versions/70").await.expect("is readable"), "b69");
    assert_eq!(add(&world, "a", "x").await.expect("is added").name, shown("a/versions/71"));
    assert_eq!(world.store.count(&new).await.expect("counts"), 141);
}

/// A rotation that is killed at its `last` call of the store. Was it?
async fn killed_rotation(last: usize, last_commit: LastCommit) -> bool {
    let (inner, bed) = (Arc::new(MemoryStore::new()), Bed::new());
    let world = World::try_over(inner.clone(), bed.clone()).await.expect("starts");
    create(&world, "db", automatic()).await.expect("is made");
    for number in 1..=130 {
        add(&world, "db", &format!("v{number}")).await.expect("is added");
    }
    world.end().await;
    let mortal = Mortal::over(inner.clone(), last, last_commit);
    let started = tokio::select! {
        biased;
        world = World::try_over(mortal.clone(), bed.clone()) => world.ok(),
        () = mortal.death() => None,
    };
    if let Some(world) = started {
        tokio::select! {
            biased;
            rotated = world.control.secrets_rotate_key(&ME) => assert_eq!(rotated.is_ok(), !mortal.is_dead()),
            () = mortal.death() => {}
        }
        world.end().await;
    }
    let world = World::try_over(inner, bed.clone()).await.expect("starts again");
    for number in [1, 64, 65, 130] {
        let read = value(&world, &format!("db/versions/{number}")).await.expect("opens, whichever key it has");
        assert_eq!(read, format!("v{number}"));
    }
    world.advance(Duration::from_secs(61)).await;
    let current = Selection::of(Kind::SecretValue).owned_by(bed.sealer.current());
    assert_eq!(world.store.count(&current).await.expect("counts"), 130, "the next start went on, call {last}");
    world.end().await;
    mortal.is_dead()
}

#[tokio::test]
async fn a_rotation_that_is_killed_at_any_step_loses_nothing_and_the_next_start_goes_on() {
    for last_commit in [LastCommit::Lost, LastCommit::Written] {
        let mut last = 0;
        while killed_rotation(last, last_commit).await {
            last += 1;
            assert!(last < 100, "a rotation of 130 values has fewer steps");
        }
        assert!(last > 10, "a start and a rotation have more steps");
    }
}
