//! The program in the test images: std only, linked statically, compiled by the tests themselves.
//!
//! Without arguments it serves HTTP on `0.0.0.0:$PORT`:
//!
//! | path | answer |
//! |--|--|
//! | `/` | `$ANSWER`, or `ok` |
//! | `/slow/MS` | after so many milliseconds: `IN_FLIGHT INSTANCE`, the most requests this process had at once, and a name that no other has |
//! | `/peak` | the most requests this process ever had at once |
//! | `/env/NAME` | the variable, or 404 |
//! | `/uid` | the user it runs as |
//! | `/file/PATH` | what is in a file, or 404 |
//! | `/connect/ADDRESS:PORT` | `yes` if it can be connected to within two seconds, else `no` |
//! | `/stream` | a body that does not end |
//! | `/upgrade` | switches protocols, and then says nothing for ever |
//! | `/status/503` | 503 |
//! | `/seen/ID` | `ID INSTANCE`, and the line `seen ID INSTANCE` on standard output before |
//! | `/exit/CODE` | ends the process |
//! | `/later/MS/CODE` | ends the process with this code after so many milliseconds, and answers before |
//! | `/eat/MIB` | takes memory |
//! | `/health/NAME` | `well`, or 500 while it is broken |
//! | `/break/NAME` | breaks that for ever, `/break/NAME/MS` for so many milliseconds; a name that no other process has |
//!
//! `note PATH TEXT PORT` writes a file first and serves on another port. `proxy ADDRESS` needs somebody at the address,
//! and asks there for every path but those below `/own`, which it answers itself.
//!
//! With `heed` it ends when it is told to. With `count MS` it writes a line every so many milliseconds, numbered from
//! 0, and serves. With `task MS EVERY` it is a task of a job: it writes `task INDEX ATTEMPT COUNT RESULT`, the result being the
//! square of the index, waits, and exits with 3 at the first attempt of each index that is a multiple of EVERY (0: of
//! none); else it writes `done INDEX ATTEMPT` and exits with 0. With `work ROUNDS` it computes for so many thousands of
//! rounds, and exits with 0. With other arguments it fails in the way they say: `exit CODE LINE...`, `deaf` (never listens),
//! `loopback` (listens on
//! 127.0.0.1 only), `insist PORT` (listens there, whatever it is told), and those of [`broken`].

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::exit,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// What `/health` is not well of.
static BROKEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Whom a proxy asks.
static BEHIND: OnceLock<String> = OnceLock::new();

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let port = env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    match words[..] {
        ["exit", code, ref lines @ ..] => {
            lines.iter().for_each(|line| eprintln!("{line}"));
            exit(code.parse().unwrap_or(1));
        }
        ["deaf"] => loop {
            println!("I do not listen");
            thread::sleep(Duration::from_secs(3600));
        },
        ["note", path, text, port] => {
            fs::write(path, text).unwrap_or_else(|error| fatal(&format!("{path}: {error}")));
            serve(&format!("0.0.0.0:{port}"));
        }
        ["proxy", address] => {
            drop(TcpStream::connect(address).unwrap_or_else(|error| fatal(&format!("{address}: {error}"))));
            BEHIND.set(address.to_owned()).expect("it is set once");
            serve(&format!("0.0.0.0:{port}"));
        }
        [verb, ref rest @ ..] if broken(verb, rest) => {}
        ["heed"] => {
            heed();
            serve(&format!("0.0.0.0:{port}"))
        }
        ["count", pause] => {
            let pause = Duration::from_millis(pause.parse().unwrap_or(1));
            thread::spawn(move || {
                for number in 0u64.. {
                    println!("{number}");
                    thread::sleep(pause);
                }
            });
            serve(&format!("0.0.0.0:{port}"))
        }
        ["task", pause, every] => {
            let told = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(u64::MAX);
            let [index, attempt, count] = ["INDEX", "ATTEMPT", "COUNT"].map(|part| told(&format!("CLOUD_RUN_TASK_{part}")));
            println!("task {index} {attempt} {count} {}", index.wrapping_mul(index));
            thread::sleep(Duration::from_millis(pause.parse().unwrap_or(1)));
            let fails = every.parse::<u64>().is_ok_and(|every| every > 0 && index % every == 0) && attempt == 0;
            if fails {
                exit(3);
            }
            println!("done {index} {attempt}");
            exit(0);
        }
        ["work", rounds] => {
            let rounds = rounds.parse::<u64>().unwrap_or(1) * 1000;
            // Each round needs the one before, and the compiler is not told that nobody wants to know.
            let sum = (0..rounds).fold(1u64, |sum, round| std::hint::black_box(sum.rotate_left(7) ^ round));
            exit(i32::from(sum == 0));
        }
        ["insist", port] => serve(&format!("0.0.0.0:{port}")),
        ["loopback"] => serve(&format!("127.0.0.1:{port}")),
        _ => serve(&format!("0.0.0.0:{port}")),
    }
}

/// Breaks in a way of its own, and does not return; false if it does not know the verb.
///
/// | verb | what it does |
/// |--|--|
/// | `listen ADDRESS` | serves there instead of on `$PORT` |
/// | `six PORT` | listens there by IPv6 only, at every address |
/// | `udp ADDRESS`, `unix PATH` | listens there, and on no TCP port |
/// | `burn` | computes, and never listens |
/// | `eat MIB` | takes memory |
/// | `threads` | starts threads until it may not |
/// | `segv`, `ill` | touches what is not its own; comes to an invalid instruction |
/// | `panic TEXT` | panics |
/// | `read PATH` | needs that file |
/// | `connect ADDRESS` | needs somebody there |
/// | `twice` | listens on `$PORT` twice |
/// | `mute` | takes connections on `$PORT` and says nothing |
/// | `says HEX` | says these bytes to whoever connects to `$PORT`, and hangs up |
fn broken(verb: &str, rest: &[&str]) -> bool {
    let port = env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let here = format!("0.0.0.0:{port}");
    match (verb, rest) {
        ("listen", [address]) => serve(address),
        ("six", [port]) => {
            listen_by_ipv6_only(port.parse().unwrap_or(8080));
            rest_in_peace()
        }
        ("udp", [address]) => {
            let _socket = std::net::UdpSocket::bind(address).unwrap_or_else(|error| fatal(&error));
            rest_in_peace()
        }
        ("unix", [path]) => {
            let _socket = std::os::unix::net::UnixListener::bind(path).unwrap_or_else(|error| fatal(&error));
            rest_in_peace()
        }
        ("burn", []) => loop {
            std::hint::spin_loop();
        },
        ("eat", [mib]) => {
            let memory = vec![1u8; mib.parse::<usize>().unwrap_or(0) << 20];
            println!("{}", memory.iter().map(|&byte| usize::from(byte)).sum::<usize>());
            rest_in_peace()
        }
        ("threads", []) => loop {
            let thread = thread::Builder::new().stack_size(16 << 10).spawn(|| rest_in_peace());
            drop(thread.unwrap_or_else(|error| fatal(&error)));
        },
        // SAFETY: nothing is there, so the write ends the process and does nothing else. That is what it is for.
        ("segv", []) => unsafe { (16 as *mut u8).write_volatile(1) },
        // SAFETY: the instruction ends the process.
        ("ill", []) => unsafe { std::arch::asm!("ud2") },
        ("panic", [text]) => panic!("{text}"),
        ("read", [path]) => match fs::read_to_string(path) {
            Ok(_) => rest_in_peace(),
            Err(error) => fatal(&format!("{path}: {error}")),
        },
        ("connect", [address]) => match TcpStream::connect(address) {
            Ok(_) => rest_in_peace(),
            Err(error) => fatal(&format!("{address}: {error}")),
        },
        ("twice", []) => {
            // For itself, so that no probe is answered before it ends.
            let first = TcpListener::bind(format!("127.0.0.1:{port}"));
            let _first = first.unwrap_or_else(|error| fatal(&error));
            let _second = TcpListener::bind(&here).unwrap_or_else(|error| fatal(&error));
        }
        ("mute", []) => {
            let listener = TcpListener::bind(&here).unwrap_or_else(|error| fatal(&error));
            let mut kept = Vec::new();
            kept.extend(listener.incoming());
        }
        ("says", [hex]) => {
            let digits: Vec<u8> = hex.bytes().map(|digit| (digit as char).to_digit(16).unwrap_or(0) as u8).collect();
            let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
            let listener = TcpListener::bind(&here).unwrap_or_else(|error| fatal(&error));
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(&bytes);
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            }
        }
        _ => return false,
    }
    true
}

/// The standard library has no way to say `IPV6_V6ONLY`; the C library is linked anyway.
fn listen_by_ipv6_only(port: u16) {
    const AF_INET6: u16 = 10;
    unsafe extern "C" {
        fn socket(domain: i32, kind: i32, protocol: i32) -> i32;
        fn setsockopt(socket: i32, level: i32, name: i32, value: *const i32, length: u32) -> i32;
        fn bind(socket: i32, address: *const u8, length: u32) -> i32;
        fn listen(socket: i32, backlog: i32) -> i32;
    }
    // struct sockaddr_in6: the family, the port in the network's order, and an address of zeros.
    let mut address = [0; 28];
    address[..2].copy_from_slice(&AF_INET6.to_ne_bytes());
    address[2..4].copy_from_slice(&port.to_be_bytes());
    // SAFETY: the pointers are to a number and to an address of the lengths that are told, which outlive the calls.
    let listens = unsafe {
        let socket = socket(i32::from(AF_INET6), 1, 0);
        // SOL_IPV6 and IPV6_V6ONLY.
        setsockopt(socket, 41, 26, &1, 4) == 0 && bind(socket, address.as_ptr(), 28) == 0 && listen(socket, 8) == 0
    };
    if !listens {
        fatal(&std::io::Error::last_os_error());
    }
}

/// SIGTERM ends it: the first process of a namespace heeds only signals that it has asked for.
fn heed() {
    unsafe extern "C" {
        fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
        fn _exit(code: i32) -> !;
    }
    extern "C" fn end(_: i32) {
        // SAFETY: it may be called in a handler, and returns to nobody.
        unsafe { _exit(0) }
    }
    // SAFETY: the handler does nothing that a handler may not.
    unsafe { signal(15, end) };
}

fn rest_in_peace() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

fn fatal(error: &dyn std::fmt::Display) -> ! {
    eprintln!("fatal: {error}");
    exit(1)
}

fn serve(address: &str) {
    let listener = TcpListener::bind(address).expect("the port is free");
    println!("listening on {address}");
    for stream in listener.incoming().flatten() {
        thread::spawn(move || connection(stream));
    }
}

fn connection(mut stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).ok()? == 0 {
            return None;
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).ok()?;
        let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
        if path == "/upgrade" {
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: silence\r\n\r\n").ok()?;
            loop {
                thread::sleep(Duration::from_secs(3600));
            }
        }
        if path == "/stream" {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").ok()?;
            loop {
                stream.write_all(b"1\r\n.\r\n").ok()?;
                thread::sleep(Duration::from_millis(20));
            }
        }
        let now = IN_FLIGHT.fetch_add(1, SeqCst) + 1;
        PEAK.fetch_max(now, SeqCst);
        let (status, body) = match (BEHIND.get(), path.strip_prefix("/own")) {
            (Some(address), None) => ask(address, &path).unwrap_or(("502 Bad Gateway", String::new())),
            (_, own) => answer(own.unwrap_or(&path)),
        };
        IN_FLIGHT.fetch_sub(1, SeqCst);
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: text/plain\r\n\r\n", body.len());
        // In one piece: small writes would wait for one another's acknowledgements.
        stream.write_all((head + &body).as_bytes()).ok()?;
    }
}

/// What a server says to `GET path`.
fn ask(address: &str, path: &str) -> std::io::Result<(&'static str, String)> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: behind\r\n\r\n")?;
    let mut answer = BufReader::new(stream);
    let (mut status, mut length) = (String::new(), 0);
    answer.read_line(&mut status)?;
    loop {
        let mut header = String::new();
        if answer.read_line(&mut header)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = String::new();
    answer.take(length).read_to_string(&mut body)?;
    Ok((if status.contains(" 200 ") { "200 OK" } else { "404 Not Found" }, body))
}

/// A name of this process that no other has.
fn instance() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    let uuid = || fs::read_to_string("/proc/sys/kernel/random/uuid").map(|text| text.trim().to_owned());
    // Where there is no `/proc`, processes share a PID namespace, and their numbers tell them apart.
    NAME.get_or_init(|| uuid().unwrap_or_else(|_| std::process::id().to_string()))
}

fn answer(path: &str) -> (&'static str, String) {
    const OK: &str = "200 OK";
    let path = path.split('?').next().unwrap_or_default();
    let (verb, value) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    let found = |text: Option<String>| text.map_or(("404 Not Found", String::new()), |text| (OK, text));
    match verb {
        "" => (OK, env::var("ANSWER").unwrap_or_else(|_| "ok".to_owned())),
        "slow" => {
            thread::sleep(Duration::from_millis(value.parse().unwrap_or(0)));
            (OK, format!("{} {}", PEAK.load(SeqCst), instance()))
        }
        "peak" => (OK, PEAK.load(SeqCst).to_string()),
        "status" if value == "503" => ("503 Service Unavailable", String::new()),
        "env" => found(env::var(value).ok()),
        "uid" => found(fs::read_to_string("/proc/self/status").ok().and_then(|status| {
            status.lines().find_map(|line| line.strip_prefix("Uid:")).map(|uids| uids.trim().to_owned())
        })),
        "file" => found(fs::read_to_string(format!("/{value}")).ok()),
        "connect" => {
            let reached = value.parse().is_ok_and(|to| TcpStream::connect_timeout(&to, Duration::from_secs(2)).is_ok());
            (OK, if reached { "yes" } else { "no" }.to_owned())
        }
        "seen" => {
            println!("seen {value} {}", instance());
            (OK, format!("{value} {}", instance()))
        }
        "later" => {
            let (pause, code) = value.split_once('/').unwrap_or((value, "0"));
            let (pause, code) = (pause.parse().unwrap_or(0), code.parse().unwrap_or(0));
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(pause));
                exit(code)
            });
            (OK, instance().to_owned())
        }
        "health" if BROKEN.lock().unwrap().iter().any(|broken| broken == value) => {
            ("500 Internal Server Error", String::new())
        }
        "health" => (OK, "well".to_owned()),
        "break" => {
            let (broken, pause) = value.split_once('/').unwrap_or((value, ""));
            BROKEN.lock().unwrap().push(broken.to_owned());
            if let Ok(pause) = pause.parse() {
                let broken = broken.to_owned();
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(pause));
                    BROKEN.lock().unwrap().retain(|other| *other != broken);
                });
            }
            (OK, instance().to_owned())
        }
        "exit" => exit(value.parse().unwrap_or(0)),
        "eat" => {
            let memory = vec![1u8; value.parse::<usize>().unwrap_or(0) << 20];
            (OK, memory.iter().map(|&byte| usize::from(byte)).sum::<usize>().to_string())
        }
        _ => ("404 Not Found", String::new()),
    }
}
