use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    thread,
};

use clap::Parser as _;
use updraft_base::Clock;

use super::Line;
use crate::{Console, Exit, Terminal, run::run};

/// A server that answers one request with these bytes and hangs up.
fn server(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).unwrap();
        stream.write_all(&answer).unwrap();
    });
    endpoint
}

/// A backup in two chunks, with its end or without.
fn backup(end: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.updraft.backup+zstd\r\ntransfer-encoding: chunked";
    format!("{head}\r\n\r\n4\r\nhalf\r\n5\r\n-half\r\n{end}").into_bytes()
}

/// Runs `backup` against a server that answers so; gives the exit, standard output and what was said.
async fn take(answer: Vec<u8>, file: &str) -> (Exit, Vec<u8>, String) {
    let endpoint = server(answer);
    let line = Line::try_parse_from(["updraft", "--endpoint", &endpoint, "backup", file]).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let console = Console::new(&mut out, &mut err, &b""[..], Terminal::Plain);
    let exit = run(line.command, line.globals, console, Clock::system()).await;
    (exit, out, String::from_utf8(err).unwrap())
}

#[tokio::test]
async fn a_whole_backup_takes_the_place_of_the_old_one_and_is_its_owners_alone() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("backup");
    fs::write(&file, "old").unwrap();
    let (exit, out, said) = take(backup("0\r\n\r\n"), file.to_str().unwrap()).await;
    assert_eq!((exit, out), (Exit::Done, Vec::new()), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "half-half");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_backup_that_breaks_off_fails_and_leaves_the_old_one() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("backup");
    fs::write(&file, "old").unwrap();
    let (exit, _, said) = take(backup(""), file.to_str().unwrap()).await;
    assert!(exit == Exit::Failed && said.contains("broke off"), "{exit:?} {said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
}

#[tokio::test]
async fn a_backup_can_go_to_standard_output() {
    let (exit, out, said) = take(backup("0\r\n\r\n"), "-").await;
    assert_eq!((exit, out.as_slice(), said.as_str()), (Exit::Done, &b"half-half"[..], ""));
}

#[tokio::test]
async fn what_is_no_backup_is_not_kept_as_one() {
    let dir = tempfile::TempDir::new().unwrap();
    let page = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nhello".to_vec();
    let (exit, _, said) = take(page, dir.path().join("backup").to_str().unwrap()).await;
    assert!(exit == Exit::Failed && said.contains("text/html"), "{exit:?} {said}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
