//! A small web server to deploy: the standard library and nothing else.
//!
//! Answers every path with a greeting, `/healthz` with `ok`. Reads `PORT` as the container contract says, and ends
//! on SIGTERM at once: it is the first process of its sandbox, where the kernel's default action for SIGTERM does
//! not apply, so it asks to be told.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::ExitCode,
    thread,
};

/// The longest line of a request that is read, in bytes.
const LINE_MAX: u64 = 16 * 1024;

fn main() -> ExitCode {
    end_on_sigterm();
    let port = env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080u16);
    let listener = match TcpListener::bind(("0.0.0.0", port)) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on port {port}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("listening on port {port}");
    let revision = env::var("K_REVISION").unwrap_or_else(|_| "nowhere in particular".to_owned());
    let greeting: &'static str = format!("Hello from {revision}!\n").leak();
    for stream in listener.incoming().flatten() {
        // A thread each: connections are kept open by the proxy, and one may wait while another is answered.
        let serving = thread::Builder::new().stack_size(64 * 1024).spawn(move || serve(&stream, greeting));
        if let Err(error) = serving {
            eprintln!("a connection was dropped: {error}");
        }
    }
    ExitCode::SUCCESS
}

/// Answers the requests of one connection until it closes.
fn serve(stream: &TcpStream, greeting: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader)? {
        let body = if request.path == "/healthz" { "ok\n" } else { greeting };
        let connection = if request.close { "Connection: close\r\n" } else { "" };
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n{connection}\r\n",
            body.len()
        );
        if request.method != "HEAD" {
            answer.push_str(body);
        }
        let mut out = stream;
        out.write_all(answer.as_bytes())?;
        if request.close {
            break;
        }
    }
    Ok(())
}

struct Request {
    method: String,
    path: String,
    /// Does the connection end with this request?
    close: bool,
}

impl Request {
    /// The next request with its body read and dropped; `None` at the end of the connection.
    fn read(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Self>> {
        let Some(line) = read_line(reader)? else { return Ok(None) };
        let mut words = line.split_whitespace();
        let (Some(method), Some(path), Some(version)) = (words.next(), words.next(), words.next()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut request = Self { method: method.to_owned(), path: path.to_owned(), close: version == "HTTP/1.0" };
        let mut body = Body::Sized(0);
        while let Some(header) = read_line(reader)?.filter(|header| !header.is_empty()) {
            let Some((name, value)) = header.split_once(':') else { return Err(io::ErrorKind::InvalidData.into()) };
            let value = value.trim().to_ascii_lowercase();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => body = Body::Sized(value.parse().map_err(|_| io::ErrorKind::InvalidData)?),
                "transfer-encoding" if value.contains("chunked") => body = Body::Chunked,
                "connection" if value.contains("close") => request.close = true,
                _ => {}
            }
        }
        body.skip(reader)?;
        Ok(Some(request))
    }
}

enum Body {
    Sized(u64),
    Chunked,
}

impl Body {
    fn skip(self, reader: &mut BufReader<&TcpStream>) -> io::Result<()> {
        match self {
            Self::Sized(length) => skip(reader, length),
            Self::Chunked => loop {
                let line = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
                if size == 0 {
                    while read_line(reader)?.is_some_and(|trailer| !trailer.is_empty()) {}
                    return Ok(());
                }
                skip(reader, size + 2)?;
            },
        }
    }
}

fn skip(reader: &mut BufReader<&TcpStream>, length: u64) -> io::Result<()> {
    let skipped = io::copy(&mut io::Read::take(reader, length), &mut io::sink())?;
    if skipped == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn read_line(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<String>> {
    let mut line = String::new();
    io::Read::take(reader, LINE_MAX).read_line(&mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if !line.ends_with('\n') {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Some(line.trim_end().to_owned()))
}

/// Makes SIGTERM end the process, with exit code 0.
fn end_on_sigterm() {
    const SIGTERM: i32 = 15;
    unsafe extern "C" {
        fn signal(signal: i32, handler: extern "C" fn(i32)) -> usize;
        fn _exit(code: i32) -> !;
    }
    extern "C" fn end(_signal: i32) {
        // SAFETY: `_exit` is async-signal-safe (POSIX) and takes any code.
        unsafe { _exit(0) }
    }
    // SAFETY: the declaration is that of the C library; `end` only calls what a handler may call.
    unsafe { signal(SIGTERM, end) };
}
