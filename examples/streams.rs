//! Echoes what comes in streams that stay open: std only, linked statically, compiled by the tests themselves.
//!
//! One port, told apart by how a connection begins: WebSockets over HTTP/1.1 (RFC 6455), or calls of gRPC over HTTP/2
//! with prior knowledge (RFC 9113), whatever their method. Each message comes back behind `REVISION INSTANCE `, so that
//! its sender sees where its stream is. Any other request of HTTP/1.1 gets that name alone. A call ends when its client
//! has no more messages, with status 0; a WebSocket by its closing handshake.
//!
//! One thread, and a wait for all connections at once: thousands of them cost it little. What it is sent is expected
//! to be small, and to come from a proxy that keeps to the protocol.

use std::{
    collections::HashMap,
    env, fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
};

/// How a client of HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// More streams of a connection than one instance may have (the settings' entry 3).
const SETTINGS: &[u8] = &[0, 3, 0, 0, 0x10, 0];
/// `:status: 200` and `content-type: application/grpc`, without a table (RFC 7541).
const ANSWER: &[u8] = b"\x88\x0f\x10\x10application/grpc";
/// `grpc-status: 0`.
const TRAILERS: &[u8] = b"\x00\x0bgrpc-status\x010";

fn main() -> io::Result<()> {
    end_on_sigterm();
    let port = env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    let revision = env::var("K_REVISION").unwrap_or_else(|_| "none".to_owned());
    let instance = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let name = format!("{revision} {} ", instance.trim());
    let ready = Ready::new()?;
    ready.watch(listener.as_raw_fd())?;
    let mut connections: HashMap<i32, Connection> = HashMap::new();
    loop {
        for descriptor in ready.wait()? {
            if descriptor == listener.as_raw_fd() {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                ready.watch(stream.as_raw_fd())?;
                connections.insert(stream.as_raw_fd(), Connection { stream, input: Vec::new(), speaks: Speaks::Unknown });
            } else if let Some(connection) = connections.get_mut(&descriptor)
                && !connection.serve(&name).unwrap_or(false)
            {
                connections.remove(&descriptor);
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// What has come and is not whole yet.
    input: Vec<u8>,
    speaks: Speaks,
}

enum Speaks {
    Unknown,
    WebSocket,
    Http2(Http2),
}

// === impl Connection ===

impl Connection {
    /// Reads what is there and answers it; false at the end.
    fn serve(&mut self, name: &str) -> io::Result<bool> {
        let mut bytes = [0; 16 << 10];
        let count = self.stream.read(&mut bytes)?;
        self.input.extend(&bytes[..count]);
        let mut output = Vec::new();
        let goes_on = self.answer(name, &mut output)?;
        self.stream.write_all(&output)?;
        Ok(goes_on && count > 0)
    }

    fn answer(&mut self, name: &str, output: &mut Vec<u8>) -> io::Result<bool> {
        if let Speaks::Unknown = self.speaks {
            self.begin(name, output);
        }
        match &mut self.speaks {
            Speaks::Unknown => Ok(true),
            Speaks::WebSocket => messages(&mut self.input, name, output),
            Speaks::Http2(http2) => http2.frames(&mut self.input, name, output),
        }
    }

    /// Finds out what it speaks. A request that is none for a WebSocket is answered, and the next one awaited.
    fn begin(&mut self, name: &str, output: &mut Vec<u8>) {
        if self.input.starts_with(PREFACE) {
            self.input.drain(..PREFACE.len());
            frame(output, (4, 0, 0), SETTINGS);
            self.speaks = Speaks::Http2(Http2 { window: 65_535, waiting: Vec::new(), calls: HashMap::new() });
            return;
        }
        let Some(length) = self.input.windows(4).position(|end| end == b"\r\n\r\n") else { return };
        let head: Vec<u8> = self.input.drain(..length + 4).collect();
        let head = String::from_utf8_lossy(&head);
        let mut headers = head.lines().filter_map(|line| line.split_once(':'));
        match headers.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key")) {
            Some((_, key)) => {
                output.extend(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
                output.extend(format!("Sec-WebSocket-Accept: {}\r\n\r\n", accept(key.trim())).bytes());
                self.speaks = Speaks::WebSocket;
            }
            None => output.extend(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()).bytes()),
        }
    }
}

/// Answers the whole frames of a WebSocket; false after the closing handshake.
fn messages(input: &mut Vec<u8>, name: &str, output: &mut Vec<u8>) -> io::Result<bool> {
    while let [first, second, ..] = input[..] {
        let (mut at, length) = match (second & 0x7f, input.get(2..4)) {
            (126, None) => return Ok(true),
            (126, Some(length)) => (4, usize::from(length[0]) << 8 | usize::from(length[1])),
            (127, _) => return Err(io::ErrorKind::InvalidData.into()),
            (length, _) => (2, usize::from(length)),
        };
        // A client masks what it sends.
        let Some(masked) = input.get(at..at + 4 + length) else { return Ok(true) };
        let (key, masked) = masked.split_at(4);
        let payload: Vec<u8> = masked.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        at += 4 + length;
        input.drain(..at);
        match first & 0x0f {
            8 => {
                say(output, 8, &payload);
                return Ok(false);
            }
            9 => say(output, 10, &payload),
            opcode => say(output, opcode, &[name.as_bytes(), &payload].concat()),
        }
    }
    Ok(true)
}

/// A frame of a WebSocket.
fn say(output: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    output.push(0x80 | opcode);
    match payload.len() {
        length @ ..126 => output.push(length as u8),
        length => output.extend([126, (length >> 8) as u8, length as u8]),
    }
    output.extend(payload);
}

struct Http2 {
    /// How much of bodies the other side still takes.
    window: usize,
    /// Frames that wait for it to take more: of which call, with which flags, and what.
    waiting: Vec<(u32, u8, Vec<u8>)>,
    /// What has come of a message that is not whole yet, by the number of the call.
    calls: HashMap<u32, Vec<u8>>,
}

// === impl Http2 ===

impl Http2 {
    /// Answers the whole frames.
    fn frames(&mut self, input: &mut Vec<u8>, name: &str, output: &mut Vec<u8>) -> io::Result<bool> {
        let mut at = 0;
        while let Some(head) = input.get(at..at + 9) {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let (kind, flags, call) = (head[3], head[4], number(&head[5..9]));
            let Some(payload) = input.get(at + 9..at + 9 + length) else { break };
            match kind {
                0 => self.data((call, flags), payload, name, output),
                1 => {
                    self.calls.insert(call, Vec::new());
                    frame(output, (1, 4, call), ANSWER);
                    self.end(call, flags);
                }
                3 => drop(self.calls.remove(&call)),
                4 if flags & 1 == 0 => frame(output, (4, 1, 0), &[]),
                6 if flags & 1 == 0 => frame(output, (6, 1, 0), payload),
                8 if call == 0 => self.window += number(payload) as usize,
                _ => {}
            }
            at += 9 + length;
        }
        input.drain(..at);
        self.send(output);
        Ok(true)
    }

    fn data(&mut self, (call, flags): (u32, u8), payload: &[u8], name: &str, output: &mut Vec<u8>) {
        if !payload.is_empty() {
            let taken = (payload.len() as u32).to_be_bytes();
            frame(output, (8, 0, 0), &taken);
            if flags & 1 == 0 {
                frame(output, (8, 0, call), &taken);
            }
        }
        let padding = if flags & 8 == 0 { 0 } else { usize::from(payload[0]) };
        let content = &payload[usize::from(flags & 8 != 0)..payload.len() - padding];
        let Some(buffer) = self.calls.get_mut(&call) else { return };
        buffer.extend(content);
        // A message: not compressed, its length, itself.
        while let Some(head) = buffer.get(..5) {
            let length = number(&head[1..]) as usize;
            let Some(message) = buffer.get(5..5 + length) else { break };
            let mut answer = vec![0];
            answer.extend(((name.len() + length) as u32).to_be_bytes());
            answer.extend(name.as_bytes());
            answer.extend(message);
            buffer.drain(..5 + length);
            self.waiting.push((call, 0, answer));
        }
        self.end(call, flags);
    }

    /// Ends a call if these flags say that nothing more will come.
    fn end(&mut self, call: u32, flags: u8) {
        if flags & 1 != 0 && self.calls.remove(&call).is_some() {
            self.waiting.push((call, 5, Vec::new()));
        }
    }

    /// Sends what the other side takes, in the order in which it came.
    fn send(&mut self, output: &mut Vec<u8>) {
        let mut sent = 0;
        for (call, flags, data) in &self.waiting {
            if data.len() > self.window {
                break;
            }
            self.window -= data.len();
            match data.is_empty() {
                true => frame(output, (1, *flags, *call), TRAILERS),
                false => frame(output, (0, *flags, *call), data),
            }
            sent += 1;
        }
        self.waiting.drain(..sent);
    }
}

/// A frame of HTTP/2.
fn frame(output: &mut Vec<u8>, (kind, flags, call): (u8, u8, u32), payload: &[u8]) {
    output.extend(&(payload.len() as u32).to_be_bytes()[1..]);
    output.extend([kind, flags]);
    output.extend(call.to_be_bytes());
    output.extend(payload);
}

/// The 31 bits at the beginning.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte)) & 0x7fff_ffff
}

/// What a server answers to the key of a client (RFC 6455, 1.3): SHA-1, in base64.
fn accept(key: &str) -> String {
    const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digest = sha1(format!("{key}{GUID}").as_bytes());
    let mut text = String::new();
    for three in digest.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        (0..=three.len()).for_each(|nth| text.push(ALPHABET[(bits >> (18 - 6 * nth)) as usize & 63] as char));
    }
    while text.len() % 4 != 0 {
        text.push('=');
    }
    text
}

fn sha1(message: &[u8]) -> Vec<u8> {
    let mut padded = [message, &[0x80]].concat();
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((message.len() as u64 * 8).to_be_bytes());
    let mut state = [0x6745_2301u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.chunks(64) {
        let mut words: Vec<u32> =
            block.chunks(4).map(|word| word.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))).collect();
        for nth in 16..80 {
            words.push((words[nth - 3] ^ words[nth - 8] ^ words[nth - 14] ^ words[nth - 16]).rotate_left(1));
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (nth, word) in words.iter().enumerate() {
            let (mixed, constant) = match nth {
                ..20 => (b & c | !b & d, 0x5a82_7999u32),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => (b & c | b & d | c & d, 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6),
            };
            let next = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        state.iter_mut().zip([a, b, c, d, e]).for_each(|(sum, word)| *sum = sum.wrapping_add(word));
    }
    state.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Tells which descriptors have something to read. The standard library cannot; the C library is linked anyway.
struct Ready(i32);

/// `struct epoll_event`, as it is on x86-64.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Event {
    events: u32,
    descriptor: i32,
    unused: i32,
}

unsafe extern "C" {
    fn epoll_create1(flags: i32) -> i32;
    fn epoll_ctl(ready: i32, what: i32, descriptor: i32, event: *mut Event) -> i32;
    fn epoll_wait(ready: i32, events: *mut Event, most: i32, milliseconds: i32) -> i32;
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(code: i32) -> !;
}

// === impl Ready ===

impl Ready {
    fn new() -> io::Result<Self> {
        // SAFETY: it takes no memory of ours.
        let ready = unsafe { epoll_create1(0) };
        if ready < 0 { Err(io::Error::last_os_error()) } else { Ok(Self(ready)) }
    }

    fn watch(&self, descriptor: i32) -> io::Result<()> {
        let mut event = Event { events: 1, descriptor, unused: 0 };
        // SAFETY: the event is read during the call only.
        let added = unsafe { epoll_ctl(self.0, 1, descriptor, &mut event) };
        if added < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn wait(&self) -> io::Result<Vec<i32>> {
        let mut events = [Event { events: 0, descriptor: 0, unused: 0 }; 256];
        // SAFETY: there is room for as many as are asked for.
        let count = unsafe { epoll_wait(self.0, events.as_mut_ptr(), 256, -1) };
        match usize::try_from(count) {
            Ok(count) => Ok(events[..count].iter().map(|event| event.descriptor).collect()),
            // Interrupted, as when it was stopped and goes on.
            Err(_) => Ok(Vec::new()),
        }
    }
}

/// The first process of a namespace heeds only signals that it has asked for.
fn end_on_sigterm() {
    extern "C" fn end(_: i32) {
        // SAFETY: it may be called in a handler, and returns to nobody.
        unsafe { _exit(0) }
    }
    // SAFETY: the handler does nothing that a handler may not.
    unsafe { signal(15, end) };
}
