//! gRPC's own library, as client and as server.

use std::{path::PathBuf, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};
use updraft_base::Clock;
use updraft_model::revision::Protocol;

use super::super::{APP, App, World};

/// How long the client may take; Python starts slowly where much is tested at once.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// The Python that has `grpcio` in it, which came with Google's Cloud Run client.
fn python() -> Option<Command> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = std::env::var_os("UPDRAFT_TEST_PYTHON").map(PathBuf::from);
    let python = python.unwrap_or_else(|| root.join("target/python/bin/python"));
    if !python.is_file() {
        assert!(std::env::var_os("UPDRAFT_TEST_NO_SKIP").is_none(), "nothing may be skipped here: no Python");
        return None;
    }
    let mut command = Command::new(python);
    command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/tests/rpc/grpcio.py")).kill_on_drop(true);
    Some(command)
}

/// A server, and its port. It ends when its standard input does.
async fn serve() -> Option<(Child, u16)> {
    let mut server = python()?.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python");
    let mut port = String::new();
    let mut told = BufReader::new(server.stdout.take().expect("it is piped"));
    let told = Clock::system().timeout(PATIENCE, told.read_line(&mut port)).await;
    told.expect("it starts in time").expect("it is text");
    Some((server, port.trim().parse().expect("a port")))
}

#[tokio::test]
async fn the_python_library_of_grpc_calls_one_of_its_own_servers_through_the_door() {
    let Some((server, port)) = serve().await else { return };
    let behind = Some(([127, 0, 0, 1], port).into());
    let world = World::with(App { behind, protocol: Protocol::H2c, ..App::default() }).await;
    let mut client = python().expect("it served");
    let client = client.arg("call").args([&world.address.to_string(), APP]).stdin(Stdio::null()).output();
    let said = Clock::system().timeout(PATIENCE, client).await.expect("it ends in time").expect("Python");
    let (told, wrong) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(told.ends_with("all steps passed\n"), "{told}{wrong}");
    drop(server);
    world.end().await;
}
