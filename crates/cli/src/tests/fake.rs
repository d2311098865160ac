//! A server that gives canned answers, one after the other, and keeps what it was asked.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

/// One answer: for which request (`GET /v2/…`, without the part that all paths share), with which
/// status and body; with status 0 it hangs up instead.
#[derive(Debug, Clone)]
pub(crate) struct Answer(pub(crate) &'static str, pub(crate) u16, pub(crate) String);

/// The server.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) endpoint: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A request it got.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// What all paths of the API share.
const PARENT: &str = "/v2/projects/demo-project/locations/us-central1";

// === impl Fake ===

impl Fake {
    /// Answers requests in the order of `answers`; one that does not fit gets a 500 that says so.
    pub(crate) fn new(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keeps = Arc::clone(&seen);
        // Ends with its last answer; a test that asks less has failed, and ends with the process.
        thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                let request = read(&stream);
                keeps.lock().unwrap().push(request.clone());
                if answer.1 != 0 {
                    respond(stream, &request, &answer);
                }
            }
        });
        Self { endpoint, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

// === impl Seen ===

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn read(stream: &TcpStream) -> Seen {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "the request ended in its head");
    }
    let header = |name: &str| {
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    let mut body = Vec::new();
    if let Some(length) = header("content-length:") {
        body.resize(length.parse().unwrap(), 0);
        reader.read_exact(&mut body).unwrap();
    } else if header("transfer-encoding:").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).unwrap();
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
    let line = head.lines().next().unwrap().replace(PARENT, "").replace(" HTTP/1.1", "");
    Seen { line, head, body }
}

fn respond(mut stream: TcpStream, request: &Seen, Answer(expected, status, body): &Answer) {
    let (status, body) = match request.line == *expected {
        true => (*status, body.clone()),
        false => {
            let message = format!("the test expected {expected}, got {}", request.line);
            (500, serde_json::json!({ "error": { "code": 500, "message": message } }).to_string())
        }
    };
    let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).unwrap();
}
