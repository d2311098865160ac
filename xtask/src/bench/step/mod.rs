//! A step of load: one request to a service that sleeps, and a hundred at once behind it.
//!
//! What counts is the time from before the first is sent until the last of all is answered, beside the application's own
//! start: the same program run by hand, until it has answered one request. Connections are open before the time begins;
//! answers are read one after the other, which takes nothing away, because it is over when all are there.
//!
//! | row | what it meets |
//! |--|--|
//! | `own start` | nothing: the program as a process of this host, asked directly |
//! | `from zero` | no instance |
//! | `from frozen` | one instance, which is frozen |
//!
//! The latter two with 80 requests at a time for each instance, the default, and with 10. Each step has a service of its
//! own: what the scaler remembers of the last one would start more instances for the next.

use std::{
    fmt,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{
    Options,
    cold_start::{apps::App, clock::now, request},
    files::Files,
    interrupt,
    machine::Machine,
    report::{Report, Row},
    server::{PATIENCE, Server},
};
use crate::Error;

const IMAGE: &str = "localhost/step:latest";
/// Requests at once, behind the first.
const REQUESTS: usize = 100;
/// How many an instance may have at a time.
const CONCURRENCIES: [u32; 2] = [80, 10];
/// An instance is kept for so long after its request: longer than it takes to ask one that is frozen.
const IDLE: &str = "2s";
/// How often it is looked whether what is awaited has come.
const LOOK: Duration = Duration::from_millis(20);
/// How often somebody knocks who waits for a program to listen.
const KNOCK: Duration = Duration::from_micros(100);
/// What sandboxes that are made ahead take until there are some again, and some quiet.
const SETTLED: Duration = Duration::from_millis(300);
/// How often an instance is had that is to be frozen, and how soon it is.
const ATTEMPTS: u32 = 10;
const SEEN: Duration = Duration::from_millis(500);
/// Counts of the server.
const STARTS: &str = "updraft_instance_starts_total";
const FROZEN: &str = "updraft_frozen_instances";

/// What a step meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asleep {
    Zero,
    Frozen,
}

/// One kind of step, and how long each took.
#[derive(Debug)]
struct Case {
    from: Asleep,
    concurrency: u32,
    taken: Vec<Duration>,
    /// Instances that were started in all of them.
    starts: f64,
}

/// Runs the bench.
pub(crate) fn run(root: &Path, options: &Options) -> Result<Report, Error> {
    let machine = Machine::here();
    let files = Files::make("step")?;
    let app = App::hello(root, files.path())?;
    let program = match &options.updraft {
        Some(program) => program.clone(),
        None => Server::build(root)?,
    };
    let server = Server::spawn(program, &["--idle-timeout", IDLE, "--freeze-after", "0"])?;
    server.load(&app.archive(IMAGE)?)?;
    let case = |(from, concurrency)| Case { from, concurrency, taken: Vec::new(), starts: 0.0 };
    let kinds = CONCURRENCIES
        .into_iter()
        .flat_map(|concurrency| [Asleep::Zero, Asleep::Frozen].map(|from| (from, concurrency)));
    let mut cases: Vec<Case> = kinds.map(case).collect();
    let mut own = Vec::new();
    for round in 0..if options.quick { 2 } else { 20 } {
        own.push(own_start(&app)?);
        for case in &mut cases {
            interrupt::check()?;
            case.step(&server, round)?;
        }
    }
    report(machine, own, cases)
}

/// From before the program is run by hand until it has answered.
fn own_start(app: &App) -> Result<Duration, Error> {
    // Free a moment ago; nobody else here asks for one in between.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let begun = now();
    let mut run = Command::new(&app.host_argv[0]);
    run.args(&app.host_argv[1..]).env("PORT", port.to_string()).stdout(Stdio::null());
    let mut child = run.spawn()?;
    let answered = first_answer((Ipv4Addr::LOCALHOST, port).into(), &mut child);
    let taken = begun.elapsed();
    child.kill()?;
    child.wait()?;
    answered.map(|()| taken)
}

fn first_answer(address: SocketAddr, child: &mut Child) -> Result<(), Error> {
    let deadline = now() + PATIENCE;
    let stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) if now() > deadline || child.try_wait()?.is_some() => return Err(error.into()),
            Err(_) => std::thread::sleep(KNOCK),
        }
    };
    answer(&mut request(stream, "own")?)
}

/// Has one instance, frozen. On a busy machine it may be gone before that was seen: then once more.
fn freeze(server: &Server, host: &str) -> Result<(), Error> {
    for _ in 0..ATTEMPTS {
        answer(&mut server.send(host, "/")?)?;
        let deadline = now() + SEEN;
        while now() < deadline {
            if server.metric(FROZEN)? == 1.0 {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        server.until_zero()?;
    }
    Err("no instance stayed until it was frozen".into())
}

/// Reads an answer to its end, and looks that it is one.
fn answer(stream: &mut TcpStream) -> Result<(), Error> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.starts_with("HTTP/1.1 200 ") && answer.contains("Hello from ") {
        true => Ok(()),
        false => Err(format!("the answer is {answer:?}").into()),
    }
}

fn report(machine: Machine, own: Vec<Duration>, cases: Vec<Case>) -> Result<Report, Error> {
    let own = Row::of("own start: the program by hand", own)?;
    let (own_p50, mut worst, mut longest) = (own.p50_ms, 0f64, 0f64);
    let mut rows = vec![own];
    let mut figures = Vec::new();
    for case in cases {
        let (what, rounds) = (case.to_string(), case.taken.len() as f64);
        let row = Row::of(&what, case.taken)?;
        figures.push((format!("instances_started_{}_{}", case.from, case.concurrency), case.starts / rounds));
        (worst, longest) = (worst.max(row.p50_ms), longest.max(row.max_ms));
        rows.push(row);
    }
    // Of the kind of step that takes longest.
    figures.push(("step_last_ms".to_owned(), worst));
    figures.push(("step_over_app_ms".to_owned(), worst - own_p50));
    figures.push(("step_over_app_max_ms".to_owned(), longest - own_p50));
    Ok(Report { machine, rows, ratios: [].into(), figures: figures.into_iter().collect() })
}

// === impl Case ===

impl Case {
    /// Makes a service and brings it to where the step begins; its host.
    fn deploy(&self, server: &Server, name: &str) -> Result<String, Error> {
        let most = self.concurrency.to_string();
        let deploy = ["deploy", name, "--image", IMAGE, "--concurrency", &most, "--allow-unauthenticated", "--quiet"];
        server.updraft(&deploy)?;
        let host = server.host_of(name)?;
        server.until_zero()?;
        std::thread::sleep(SETTLED);
        if self.from == Asleep::Frozen {
            freeze(server, &host)?;
        }
        Ok(host)
    }

    /// One step.
    fn step(&mut self, server: &Server, round: usize) -> Result<(), Error> {
        let name = format!("step-{}-{}-{round}", self.from, self.concurrency);
        let host = self.deploy(server, &name)?;
        let starts = server.metric(STARTS)?;
        let mut streams = Vec::new();
        for _ in 0..=REQUESTS {
            let stream = TcpStream::connect(server.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            streams.push(stream);
        }
        if self.from == Asleep::Frozen && server.metric(FROZEN)? != 1.0 {
            return Err("the instance did not stay frozen until the step".into());
        }
        let asked = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", host);
        let begun = now();
        streams.iter_mut().try_for_each(|stream| stream.write_all(asked.as_bytes()))?;
        streams.iter_mut().try_for_each(answer)?;
        self.taken.push(begun.elapsed());
        self.starts += server.metric(STARTS)? - starts;
        // The load of the last minute would keep an instance of it.
        server.updraft(&["services", "delete", &name, "--quiet"]).map(drop)
    }
}

impl fmt::Display for Asleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zero => "zero",
            Self::Frozen => "frozen",
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1 + {REQUESTS} requests from {}, concurrency {}", self.from, self.concurrency)
    }
}
