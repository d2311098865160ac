//! Real containers on this host: needs root. What a test makes carries the tag of its own data
//! directory, and only that is looked at.

mod adoption;
mod bed;
mod containers;
mod crashes;
mod escapes;
mod image;
mod isolation;
mod limits;
mod network;
mod pool;
mod processes;
mod runtime;
mod secrets;
mod shared;
mod tasks;
mod volumes;

use bed::Bed;

async fn contract_bed() -> Option<Bed> {
    Bed::new().await
}

updraft_engine::contract_suite!(contract_bed);
updraft_engine::containers_suite!(contract_bed);
