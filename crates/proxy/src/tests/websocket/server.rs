//! A server of WebSockets for the tests: HTTP/1.1 as it stands in RFC 6455, behaviour by path.
//!
//! | path | behaviour |
//! |--|--|
//! | `/echo` | every data frame back as it came, a pong for a ping, a close for a close |
//! | `/close/CODE` | closes with that code and waits for the answer |
//! | `/count` | reads to the end of the client's side, then says how many bytes of payload there were |
//! | `/silent` | agrees, and says nothing whatever happens |
//! | `/refuse` | 403 |
//! | `/page` | 200 and a page |
//! | `/wrong` | agrees to another key than the client's |

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use updraft_base::{OnFailure, Tasks};

use super::frames::{CLOSE, Frame, PING, PONG, Side, Socket, TEXT};
use crate::websocket::accept;

/// The subprotocol it speaks.
pub(super) const SUBPROTOCOL: &str = "v2.echo";

/// Serves until the test ends.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
    _tasks: Tasks,
}

#[derive(Debug, Default)]
struct Seen {
    /// Connections on which the client's end was seen.
    ended: AtomicUsize,
    /// WebSockets that are open now.
    open: AtomicUsize,
}

// === impl Server ===

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let (tasks, seen) = (Tasks::new(), Arc::new(Seen::default()));
        let (spawner, counted) = (tasks.clone(), seen.clone());
        tasks.spawn("server", OnFailure::Log, async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counted = counted.clone();
                spawner.spawn("connection", OnFailure::Log, async move {
                    // How a client breaks off is its own affair.
                    let _ = connection(stream, &counted).await;
                });
            }
        });
        Self { address, seen, _tasks: tasks }
    }

    pub(super) fn ended(&self) -> usize {
        self.seen.ended.load(Ordering::SeqCst)
    }

    pub(super) fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }
}

async fn connection(mut stream: TcpStream, seen: &Seen) -> io::Result<()> {
    let (path, headers) = head(&mut stream).await?;
    match &*path {
        "/refuse" => return page(&mut stream, "403 Forbidden", "not you").await,
        "/page" => return page(&mut stream, "200 OK", "a page").await,
        _ => {}
    }
    let header = |name: &str| headers.get(name).map(String::as_str).unwrap_or_default();
    let is_asked = header("upgrade") == "websocket" && header("connection").eq_ignore_ascii_case("upgrade");
    if !is_asked || header("sec-websocket-version") != "13" {
        return page(&mut stream, "426 Upgrade Required", &path).await;
    }
    let key = if path == "/wrong" { "another" } else { header("sec-websocket-key") };
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {}\r\n",
        accept(key.as_bytes())
    );
    if header("sec-websocket-protocol").split(',').any(|offered| offered.trim() == SUBPROTOCOL) {
        answer += &format!("sec-websocket-protocol: {SUBPROTOCOL}\r\n");
    }
    stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    seen.open.fetch_add(1, Ordering::SeqCst);
    let done = speak(&path, Socket { stream, side: Side::Server }, seen).await;
    seen.open.fetch_sub(1, Ordering::SeqCst);
    done
}

async fn speak(path: &str, mut socket: Socket<TcpStream>, seen: &Seen) -> io::Result<()> {
    if let Some(code) = path.strip_prefix("/close/") {
        socket.send(&Frame::close(code.parse().unwrap_or(1000), "enough")).await?;
    }
    let mut count = 0;
    while let Some(frame) = socket.receive().await? {
        count += frame.payload.len();
        match frame.opcode {
            _ if matches!(path, "/count" | "/silent") => {}
            CLOSE if path == "/echo" => {
                socket.send(&frame).await?;
                return socket.stream.shutdown().await;
            }
            CLOSE => return Ok(()),
            PING => socket.send(&Frame::whole(PONG, frame.payload)).await?,
            _ => socket.send(&frame).await?,
        }
    }
    seen.ended.fetch_add(1, Ordering::SeqCst);
    match path {
        "/count" => socket.send(&Frame::whole(TEXT, count.to_string())).await,
        // Ends when the connection does, which nothing here waits for.
        "/silent" => std::future::pending().await,
        _ => Ok(()),
    }
}

async fn page(stream: &mut TcpStream, status: &str, text: &str) -> io::Result<()> {
    let length = text.len();
    stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{text}").as_bytes()).await
}

/// The second word of a head, without a query (a request's path, an answer's status), and the headers, names in lower
/// case.
pub(super) async fn head(stream: &mut TcpStream) -> io::Result<(String, HashMap<String, String>)> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    Ok((first.split([' ', '?']).nth(1).unwrap_or_default().to_owned(), headers))
}
