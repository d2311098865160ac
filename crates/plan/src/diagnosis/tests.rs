//! Evidence on paper, and what is said of it.

use std::net::SocketAddr;

use expect_test::expect;
use updraft_model::{
    fault::{FileKind, ProgramFault, ProgramProblem},
    instance::{Listener, Process, ProcessState},
};

use super::*;

mod ends;

const LIMITS: Limits = Limits { cpu_millis: 1000, memory_bytes: 512 << 20, pids: 4096 };

/// `code: cause / advice`.
fn say(happened: Happened, lines: &[&str]) -> String {
    let last_lines = lines.iter().map(|&line| line.to_owned()).collect();
    let told = diagnose(&Evidence { last_lines, ..Evidence::of(8080, happened) });
    format!("{}: {} / {}\n", told.code, told.cause, told.advice)
}

fn ended(code: i32, lines: &[&str]) -> String {
    say(Happened::Exited(Exit::Code(code)), lines)
}

fn probe(question: Question, port: u16, last: Answer) -> NotReady {
    NotReady {
        probe: ProbeReport {
            question,
            port,
            timeout: Duration::from_secs(1),
            allowed: Duration::from_secs(240),
            last,
            transcript: vec![(Duration::from_secs(240), "Connection failed.".to_owned())],
            log: "Default STARTUP TCP probe failed 1 time.".to_owned(),
        },
        seen: Some(Inspection {
            listeners: Some(Vec::new()),
            processes: vec![Process { name: "app".to_owned(), state: ProcessState::Sleeping, threads: 3 }],
            ..Inspection::default()
        }),
        recent: Some(Recent { cpu: Duration::from_millis(10), within: Duration::from_secs(1) }),
        greeting: None,
        limits: LIMITS,
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn listening(on: &[Listener]) -> String {
    let mut found = probe(Question::Tcp, 8080, Answer::NotConnected);
    found.seen = found.seen.map(|seen| Inspection { listeners: Some(on.to_vec()), ..seen });
    say(Happened::NotReady(Box::new(found)), &[])
}

#[test]
fn what_listens_elsewhere_is_named() {
    let tcp = |text: &str| Listener::Tcp(address(text));
    let udp = |text: &str| Listener::Udp(address(text));
    let unix = Listener::Unix("/run/app.sock".to_owned());
    let said = [
        listening(&[tcp("0.0.0.0:3000")]),
        listening(&[tcp("127.0.0.1:3000"), tcp("[::]:9229"), udp("0.0.0.0:53")]),
        listening(&[tcp("127.0.0.1:8080"), tcp("[::1]:8080"), tcp("0.0.0.0:9090")]),
        listening(&[tcp("10.1.2.3:8080")]),
        listening(&[tcp("[::]:8080")]),
        listening(&[udp("0.0.0.0:8080"), unix.clone()]),
        // A resolver that waits for its answer listens for nobody.
        listening(&[udp("0.0.0.0:45123"), unix]),
        listening(&[udp("0.0.0.0:45123")]),
    ];
    expect![[r#"
        listens-on-other-port: It listens on 0.0.0.0:3000, and nothing listens on port 8080. / Make it listen on the port that PORT names, or deploy with --port 3000.
        listens-on-other-port: It listens on 127.0.0.1:3000 and [::]:9229, and nothing listens on port 8080. / Make it listen on the port that PORT names, or deploy with --port 9229.
        listens-on-loopback: It listens on 127.0.0.1:8080 and [::1]:8080 only, where nobody outside of the container can connect. / Make it listen on 0.0.0.0: servers often have a setting HOST or --host for that.
        listens-on-other-address: It listens on 10.1.2.3:8080 only, where nobody outside of the container could connect. / Make it listen on 0.0.0.0, which is every address it has.
        listens-too-late: It listens on [::]:8080 now, and nobody could connect within the 240 s that it had. / Give the startup probe more time (failureThreshold, periodSeconds), or start faster.
        listens-on-udp: It listens on 0.0.0.0:8080 (UDP), and on no TCP port. / Make it listen on TCP port 8080: requests come over TCP only.
        listens-on-unix-socket: It listens on /run/app.sock (UNIX socket), and on no TCP port. / Make it listen on TCP port 8080 instead of a UNIX socket.
        not-listening: It listened on nothing after 240 s, and its process 'app' sleeps. / If it is a server, make it listen on 0.0.0.0 and the port that PORT names; its output may say what it waits for.
    "#]]
    .assert_eq(&said.concat());
}

#[test]
fn who_listens_nowhere_is_told_apart_by_what_it_does() {
    let base = || probe(Question::Tcp, 8080, Answer::NotConnected);
    let with = |change: &dyn Fn(&mut Inspection), cpu: u64| {
        let mut found = base();
        found.seen.iter_mut().for_each(change);
        found.recent = Some(Recent { cpu: Duration::from_millis(cpu), within: Duration::from_secs(1) });
        say(Happened::NotReady(Box::new(found)), &[])
    };
    let runs = |seen: &mut Inspection| seen.processes[0].state = ProcessState::Running;
    let mut gone = base();
    gone.seen = None;
    let mut wrong_port = probe(Question::Tcp, 9090, Answer::NotConnected);
    let serves = Some(vec![Listener::Tcp(address("0.0.0.0:8080"))]);
    wrong_port.seen = wrong_port.seen.map(|seen| Inspection { listeners: serves, ..seen });
    let said = [
        with(&|seen| seen.connecting = vec![address("10.0.0.5:5432")], 0),
        with(&|_| {}, 980),
        // A host that is overloaded gives it little, and still it is at work.
        with(&runs, 50),
        with(&runs, 0),
        with(&|seen| seen.processes.clear(), 0),
        with(&|seen| seen.listeners = None, 0),
        say(Happened::NotReady(Box::new(gone)), &[]),
        say(Happened::NotReady(Box::new(wrong_port)), &[]),
    ];
    expect![[r#"
        waits-for-connection: It listens on nothing, and tries to connect to 10.0.0.5:5432, which does not answer. / See that what it connects to is there and reachable, or let it listen first and connect later.
        still-busy: It listened on nothing after 240 s, and was still at work: in its last 1 s it used 98 % of its CPU limit. / Give the startup probe more time (failureThreshold, periodSeconds) or the service more --cpu, or do less before listening.
        still-busy: It listened on nothing after 240 s, and was still at work: in its last 1 s it used 5 % of its CPU limit. / Give the startup probe more time (failureThreshold, periodSeconds) or the service more --cpu, or do less before listening.
        not-listening: It listened on nothing after 240 s, and its process 'app' runs. / If it is a server, make it listen on 0.0.0.0 and the port that PORT names; its output may say what it waits for.
        not-listening: It listened on nothing after 240 s, and has no process any more. / If it is a server, make it listen on 0.0.0.0 and the port that PORT names; its output may say what it waits for.
        not-listening: Nobody took a connection on port 8080 within 240 s; what listens in the container could not be seen. / Make it listen on 0.0.0.0 and the port that PORT names.
        not-listening: Nobody took a connection on port 8080 within 240 s; what listens in the container could not be seen. / Make it listen on 0.0.0.0 and the port that PORT names.
        probe-wrong-port: It listens on 0.0.0.0:8080, and the startup probe asks port 9090. / Let the startup probe ask port 8080, or none: then it asks the container's port.
    "#]].assert_eq(&said.concat());
}

#[test]
fn who_listens_by_ipv6_only_is_not_told_to_take_more_time() {
    let said = |on: &[&str], refused: &[u16]| {
        let mut found = probe(Question::Tcp, 8080, Answer::NotConnected);
        if let Some(seen) = &mut found.seen {
            seen.listeners = Some(on.iter().map(|on| Listener::Tcp(address(on))).collect());
            seen.refuses_ipv4 = refused.to_vec();
        }
        say(Happened::NotReady(Box::new(found)), &[])
    };
    let all = [
        said(&["[::]:8080"], &[8080]),
        said(&["127.0.0.1:8080", "[::]:8080"], &[8080]),
        said(&["[::]:8080", "[::]:9090"], &[9090]),
        said(&["0.0.0.0:8080", "[::]:8080"], &[]),
    ];
    expect![[r#"
        listens-on-other-address: It listens on [::]:8080, and still a connection by IPv4 is refused there: [::] takes IPv6 only. The platform connects by IPv4. / Make it listen on 0.0.0.0, or let its socket at [::] take IPv4 too (IPV6_V6ONLY off).
        listens-on-other-address: It listens on 127.0.0.1:8080 and [::]:8080, and still a connection by IPv4 is refused there: [::] takes IPv6 only. The platform connects by IPv4. / Make it listen on 0.0.0.0, or let its socket at [::] take IPv4 too (IPV6_V6ONLY off).
        listens-too-late: It listens on [::]:8080 now, and nobody could connect within the 240 s that it had. / Give the startup probe more time (failureThreshold, periodSeconds), or start faster.
        listens-too-late: It listens on 0.0.0.0:8080 and [::]:8080 now, and nobody could connect within the 240 s that it had. / Give the startup probe more time (failureThreshold, periodSeconds), or start faster.
    "#]].assert_eq(&all.concat());
}

#[test]
fn a_process_that_the_kernel_killed_for_memory_is_the_reason_of_what_does_not_listen() {
    let killed = |last: Answer, change: &dyn Fn(&mut Inspection), cpu: u64| {
        let mut found = probe(Question::Tcp, 8080, last);
        if let Some(seen) = &mut found.seen {
            seen.memory_kills = 2;
            seen.usage.memory_peak_bytes = (512 << 20) + 4096;
            change(seen);
        }
        found.recent = Some(Recent { cpu: Duration::from_millis(cpu), within: Duration::from_secs(1) });
        say(Happened::NotReady(Box::new(found)), &[])
    };
    let nowhere = || Answer::NotConnected;
    let on = |listener: Listener| move |seen: &mut Inspection| seen.listeners = Some(vec![listener.clone()]);
    let all = [
        killed(nowhere(), &|_| {}, 0),
        killed(nowhere(), &|seen| seen.memory_kills = 1, 980),
        killed(nowhere(), &|seen| seen.connecting = vec![address("10.0.0.5:5432")], 0),
        killed(nowhere(), &|seen| seen.listeners = None, 0),
        // What supervisors listen on is not what their workers would.
        killed(nowhere(), &on(Listener::Unix("/run/supervisor.sock".to_owned())), 0),
        killed(nowhere(), &on(Listener::Tcp(address("127.0.0.1:9001"))), 0),
        // It listens: then that is told, and what happened beside it.
        killed(nowhere(), &on(Listener::Tcp(address("127.0.0.1:8080"))), 0),
        killed(Answer::Late, &on(Listener::Tcp(address("0.0.0.0:8080"))), 0),
    ];
    expect![[r#"
        out-of-memory: Memory limit of 512 MiB exceeded with 512 MiB used: the kernel killed 2 of its processes. It listened on nothing after 240 s. / Consider increasing the memory limit with --memory, see https://cloud.google.com/run/docs/configuring/memory-limits
        out-of-memory: Memory limit of 512 MiB exceeded with 512 MiB used: the kernel killed one of its processes. It listened on nothing after 240 s. / Consider increasing the memory limit with --memory, see https://cloud.google.com/run/docs/configuring/memory-limits
        out-of-memory: Memory limit of 512 MiB exceeded with 512 MiB used: the kernel killed 2 of its processes. It listened on nothing after 240 s. / Consider increasing the memory limit with --memory, see https://cloud.google.com/run/docs/configuring/memory-limits
        out-of-memory: Memory limit of 512 MiB exceeded with 512 MiB used: the kernel killed 2 of its processes. Nobody took a connection on port 8080 within 240 s; what listens in the container could not be seen. / Consider increasing the memory limit with --memory, see https://cloud.google.com/run/docs/configuring/memory-limits
        out-of-memory: Memory limit of 512 MiB exceeded with 512 MiB used: the kernel killed 2 of its processes. It listened on /run/supervisor.sock (UNIX socket) after 240 s, and on no TCP port 8080. / Consider increasing the memory limit with --memory, see https://cloud.google.com/run/docs/configuring/memory-limits
        out-of-memory: Memory limit of 512 MiB exceeded with 512 MiB used: the kernel killed 2 of its processes. It listened on 127.0.0.1:9001 after 240 s, and on no TCP port 8080. / Consider increasing the memory limit with --memory, see https://cloud.google.com/run/docs/configuring/memory-limits
        listens-on-loopback: It listens on 127.0.0.1:8080 only, where nobody outside of the container can connect. Memory limit of 512 MiB exceeded with 512 MiB used: the kernel killed 2 of its processes. / Make it listen on 0.0.0.0: servers often have a setting HOST or --host for that.
        probe-no-answer: It takes connections on port 8080 and did not answer the probe within 1 s. Memory limit of 512 MiB exceeded with 512 MiB used: the kernel killed 2 of its processes. / See what its handler waits for, or give the startup probe a longer timeout.
    "#]].assert_eq(&all.concat());
}

#[test]
fn a_probe_that_is_answered_is_told_by_its_answer() {
    let http = || Question::Http("/up".to_owned());
    let grpc = || Question::Grpc("app".to_owned());
    let broken = || Answer::Broken("invalid HTTP version parsed".to_owned());
    let said = |question: Question, last: Answer, greeting: Option<Greeting>| {
        say(Happened::NotReady(Box::new(NotReady { greeting, ..probe(question, 8080, last) })), &[])
    };
    let all = [
        said(http(), Answer::Status(404), None),
        said(http(), Answer::Status(503), None),
        said(http(), Answer::Late, Some(Greeting::Silence)),
        said(http(), broken(), Some(Greeting::Tls)),
        said(http(), broken(), Some(Greeting::Http2)),
        said(http(), broken(), Some(Greeting::Closed)),
        said(http(), broken(), Some(Greeting::Other("SSH-2.0".to_owned()))),
        said(http(), broken(), None),
        said(grpc(), broken(), Some(Greeting::Http1(404))),
        said(grpc(), Answer::Late, Some(Greeting::Http1(200))),
        said(grpc(), Answer::Late, None),
        said(grpc(), broken(), Some(Greeting::Silence)),
        said(grpc(), Answer::Grpc("12".to_owned()), None),
        said(grpc(), Answer::Grpc("5".to_owned()), None),
        said(grpc(), Answer::Grpc("13".to_owned()), None),
        said(grpc(), Answer::NotServing, None),
    ];
    expect![[r#"
        probe-not-found: It answered GET /up on port 8080 with 404: it does not know that path. / Let the startup probe ask a path that is answered with 2xx or 3xx.
        probe-http-status: It answered GET /up on port 8080 with 503. / See why it does, or let the startup probe ask a path that is answered with 2xx or 3xx.
        probe-no-answer: It takes connections on port 8080 and did not answer GET /up within 1 s. / See what its handler waits for, or give the startup probe a longer timeout.
        probe-speaks-tls: On port 8080 it answers plain HTTP with a record of TLS. / Serve without TLS: the platform ends it before the container.
        probe-speaks-http2: On port 8080 it speaks HTTP/2, and the startup probe HTTP/1.1. / Use a gRPC or a TCP probe.
        probe-not-http: On port 8080 it does not answer the probe with HTTP: invalid HTTP version parsed; asked once more, it closed the connection. / Serve HTTP on that port, or use a TCP probe.
        probe-not-http: On port 8080 it does not answer the probe with HTTP: invalid HTTP version parsed; asked once more, it said 'SSH-2.0'. / Serve HTTP on that port, or use a TCP probe.
        probe-not-http: On port 8080 it does not answer the probe with HTTP: invalid HTTP version parsed. / Serve HTTP on that port, or use a TCP probe.
        probe-grpc-speaks-http1: On port 8080 it speaks HTTP/1.1 (it answered GET / with 404), and the startup probe gRPC. / Use an HTTP or a TCP probe, or serve gRPC on that port.
        probe-grpc-speaks-http1: On port 8080 it speaks HTTP/1.1 (it answered GET / with 200), and the startup probe gRPC. / Use an HTTP or a TCP probe, or serve gRPC on that port.
        probe-no-answer: It takes connections on port 8080 and did not answer the gRPC health check of 'app' within 1 s. / See what its handler waits for, or give the startup probe a longer timeout.
        probe-not-grpc: On port 8080 it does not answer the probe with gRPC: invalid HTTP version parsed; asked once more, it said nothing. / Serve the gRPC health service on that port, or use a TCP probe.
        probe-grpc-unimplemented: It answered the gRPC probe with UNIMPLEMENTED (12): it has no service grpc.health.v1.Health. / Add the health service of its gRPC library, or use a TCP probe.
        probe-grpc-unknown-service: Its health service does not know the service 'app' that the probe asks for (NOT_FOUND, 5). / Let it report a status for that service, or take the service out of the probe.
        probe-grpc-status: It answered the gRPC probe with status 13. / See why its health service fails.
        probe-grpc-not-serving: Its health service answered the gRPC probe that it is not SERVING. / Let it report SERVING once it can take requests.
    "#]].assert_eq(&all.concat());
}

#[test]
fn a_program_that_cannot_be_executed_is_told_with_what_may_have_been_meant() {
    let program = |name: &str, searched: Option<&str>, problem: ProgramProblem, similar: &[&str]| {
        let fault = ProgramFault {
            program: name.to_owned(),
            searched: searched.map(str::to_owned),
            file: name.to_owned(),
            problem,
            similar: similar.iter().map(|&file| file.to_owned()).collect(),
        };
        say(Happened::Exited(Exit::NotStarted { cause: StartFault::Program(Box::new(fault)) }), &[])
    };
    let of = |problem| program("/app", None, problem, &[]);
    let text = |text: &str| text.to_owned();
    let all = [
        program("/app/sever", None, ProgramProblem::Absent, &["/app/server", "/app/serve"]),
        program("/app", None, ProgramProblem::Absent, &[]),
        program("server", Some("/bin"), ProgramProblem::Absent, &["/app/server"]),
        program("server", Some("/bin"), ProgramProblem::Absent, &[]),
        program("/app --fast", None, ProgramProblem::Absent, &["/app"]),
        of(ProgramProblem::Hidden),
        of(ProgramProblem::Directory),
        of(ProgramProblem::NotExecutable { mode: 0o644 }),
        of(ProgramProblem::Empty),
        of(ProgramProblem::Architecture(text("arm64"))),
        of(ProgramProblem::Unknown(FileKind::Text)),
        of(ProgramProblem::Unknown(FileKind::MarkedScript)),
        of(ProgramProblem::Unknown(FileKind::Windows)),
        of(ProgramProblem::Unknown(FileKind::MacOs)),
        of(ProgramProblem::Unknown(FileKind::Data)),
        of(ProgramProblem::Interpreter(text("/bin/bash"))),
        of(ProgramProblem::Interpreter(text("/bin/sh\r"))),
        of(ProgramProblem::Loader(text("/lib/ld-musl-x86_64.so.1"))),
        of(ProgramProblem::Unusable { interpreter: text("/lib"), error: text("Permission denied (os error 13)") }),
        of(ProgramProblem::Magic),
        of(ProgramProblem::Other(text("Invalid argument (os error 22)"))),
        say(
            Happened::Exited(Exit::NotStarted {
                cause: StartFault::WorkingDir { dir: text("/x"), cause: text("Not a directory (os error 20)") },
            }),
            &[],
        ),
        say(Happened::Exited(Exit::NotStarted { cause: StartFault::Settings(text("the user '4294967295': no")) }), &[]),
    ];
    expect![[r#"
        entrypoint-missing: The program '/app/sever' is not in the image. The image has '/app/server' and '/app/serve'. / See that ENTRYPOINT or --command name the right one.
        entrypoint-missing: The program '/app' is not in the image. / See that the build puts it there, and that ENTRYPOINT or --command name it right.
        entrypoint-not-in-path: No directory of PATH (/bin) has the program 'server'. The image has '/app/server'. / See that ENTRYPOINT or --command name the right one.
        entrypoint-not-in-path: No directory of PATH (/bin) has the program 'server'. / Name it by its whole path, or see that the build puts it there.
        entrypoint-missing: The program '/app --fast' is not in the image. The image has '/app'. / The name has a space in it: write ENTRYPOINT and CMD as a list of words, and split --command and --args with commas.
        entrypoint-hidden: The container's user may not enter a directory on the way to '/app'. / Let everybody enter the directory in the image (chmod a+x), or run as another USER.
        entrypoint-directory: The program '/app' is a directory. / Name the program in it in ENTRYPOINT, or with --command.
        entrypoint-not-executable: The program '/app' may not be executed by the container's user: its permissions are 0644. / Make it executable in the image: 'chmod 0755 /app', or COPY --chmod=0755.
        entrypoint-empty: The program '/app' is an empty file. / See why the build left it empty.
        entrypoint-wrong-architecture: The program '/app' was built for arm64, and this machine is linux/amd64 (exec format error). / Build it for linux/amd64, such as with 'docker build --platform linux/amd64'.
        entrypoint-not-a-program: The file '/app' is text without a #! line, so that Linux does not know what is to read it (exec format error). / Begin it with a line such as #!/bin/sh, or name the interpreter in ENTRYPOINT.
        entrypoint-not-a-program: The file '/app' has an invisible byte order mark (U+FEFF) before its #! (exec format error). / Save it as UTF-8 without a byte order mark.
        entrypoint-not-a-program: The file '/app' is a program for Windows (exec format error). / Build it for linux/amd64.
        entrypoint-not-a-program: The file '/app' is a program for macOS (exec format error). / Build it for linux/amd64.
        entrypoint-not-a-program: The file '/app' is neither an ELF program nor a script that begins with #! (exec format error). / See that ENTRYPOINT or --command name the program and that the build leaves it whole.
        interpreter-missing: The first line of '/app' asks for '/bin/bash', which is not in the image. / Put '/bin/bash' into the image, or name an interpreter that is there after #!.
        interpreter-carriage-return: The first line of '/app' ends as on Windows: Linux looks for '/bin/sh\r', which does not exist. / Save '/app' with Unix line ends (dos2unix), and keep Git from changing them (.gitattributes).
        loader-missing: The program '/app' is linked dynamically and its loader '/lib/ld-musl-x86_64.so.1' is not in the image. / Link it statically, or use a base image with the C library it was built for (glibc or musl).
        entrypoint-unusable: The program '/app' needs '/lib', which cannot be executed: Permission denied (os error 13). / See what that file is, and that the container's user may execute it.
        entrypoint-unusable: The path '/app' leads through a link of /proc, or in a circle. / Name the program by its own path.
        entrypoint-unusable: The program '/app' cannot be executed: Invalid argument (os error 22). / See what '/app' is in the image.
        working-directory: The working directory '/x' cannot be entered: Not a directory (os error 20). / Set WORKDIR in the image, or the service's working directory, to a directory.
        settings-unusable: The user '4294967295': no. / Change that in the image or in the service.
    "#]].assert_eq(&all.concat());
}

#[test]
fn what_is_not_the_containers_fault_is_not_called_so() {
    let image =
        |fault| Happened::Image { fault, image: "ghcr.io/a/b:v1".to_owned(), cause: "manifest unknown".to_owned() };
    let (operation, cause) = ("write /data/x".to_owned(), "No space left on device (os error 28)".to_owned());
    let sandbox = StartFault::Sandbox("cannot make the sandbox: mount /proc: Operation not permitted".to_owned());
    let all = [
        image(ImageFault::Missing),
        image(ImageFault::Denied),
        image(ImageFault::Forbidden),
        image(ImageFault::Platform),
        image(ImageFault::NoCommand),
        image(ImageFault::Corrupt),
        image(ImageFault::Unfit),
        image(ImageFault::TooSlow),
        image(ImageFault::Unreachable),
        Happened::NoSpace { operation: operation.clone(), cause: cause.clone() },
        Happened::Host { operation, cause: "Permission denied".to_owned() },
        Happened::Exited(Exit::Lost),
        Happened::Exited(Exit::NotStarted { cause: sandbox }),
    ];
    let mut text = String::new();
    for happened in all {
        let reason = reason(&happened);
        let told = diagnose(&Evidence::of(8080, happened));
        text.push_str(&format!("{reason:?} {}: {told}\n", told.code));
        assert!(!told.sentence.contains("container failed"), "{told}");
    }
    expect![[r#"
        ContainerMissing image-missing: Image 'ghcr.io/a/b:v1' not found. Manifest unknown. Check the name and the tag, and that the image has been pushed ('updraft images list' shows what the server's own registry has).
        ContainerPermissionDenied image-denied: Access to image 'ghcr.io/a/b:v1' was denied. Manifest unknown. Log in to ghcr.io with 'docker login ghcr.io' as the user that runs the server, or name a file with credentials in its setting registry-credentials.
        ContainerPermissionDenied image-forbidden: Image 'ghcr.io/a/b:v1' was not fetched. Manifest unknown. Push the image to the server's own registry, or ask who runs the server to allow it (docs/outbound.md).
        ContainerMissing image-wrong-architecture: Image 'ghcr.io/a/b:v1' cannot be run. Manifest unknown. Build it for linux/amd64, such as with 'docker build --platform linux/amd64'.
        ContainerMissing image-without-command: Image 'ghcr.io/a/b:v1' cannot be run. Manifest unknown. Give the image an ENTRYPOINT or a CMD, or deploy with --command.
        ContainerMissing image-corrupt: Image 'ghcr.io/a/b:v1' cannot be run. Manifest unknown. Build and push the image again: this copy of it is damaged.
        ContainerMissing image-unfit: Image 'ghcr.io/a/b:v1' cannot be run. Manifest unknown. Build the image anew, as an OCI or Docker image.
        ProgressDeadlineExceeded image-too-slow: Image 'ghcr.io/a/b:v1' could not be fetched. Manifest unknown. Push the image to the server's own registry, or make it smaller.
        Internal registry-unreachable: Image 'ghcr.io/a/b:v1' could not be fetched. Manifest unknown. See that the server reaches ghcr.io, and deploy again.
        Internal no-disk-space: The platform could not start an instance. Write /data/x: No space left on device (os error 28). Free space below the server's data directory ('updraft images delete' removes images), and deploy again.
        Internal host-refused: The platform could not start an instance. Write /data/x: Permission denied. This is no fault of the container: 'updraft doctor' on the host shows what it lacks.
        Internal instance-lost: The platform could not start an instance. The instance was lost with the process that kept it. This is no fault of the container: the server's own log says what happened. Deploy again.
        Internal sandbox-failed: The platform could not start an instance. Cannot make the sandbox: mount /proc: Operation not permitted. This is no fault of the container: 'updraft doctor' on the host shows what it lacks.
    "#]].assert_eq(&text);
}

#[test]
fn everything_that_was_seen_is_kept_as_facts() {
    let mut found = probe(Question::Tcp, 8080, Answer::NotConnected);
    if let Some(seen) = &mut found.seen {
        seen.listeners = Some(vec![Listener::Tcp(address("127.0.0.1:3000"))]);
        seen.connecting = vec![address("10.0.0.5:5432")];
        seen.processes.extend((0..6).map(|n| Process {
            name: format!("w{n}"),
            state: ProcessState::Zombie,
            threads: 1,
        }));
        seen.usage = Usage { cpu: Duration::from_millis(3900), memory_bytes: 12 << 20, memory_peak_bytes: 14 << 20 };
        seen.forks_refused = 3;
        seen.memory_kills = 1;
    }
    let happened = Happened::NotReady(Box::new(found));
    let ran_for = Some(Duration::from_secs(240));
    let told = diagnose(&Evidence { ran_for, ..Evidence::of(8080, happened) });
    expect![[r#"
        It had run for 240 s.
        Default STARTUP TCP probe failed 1 time.
        Probe after 240 s: Connection failed.
        Listens on: 127.0.0.1:3000.
        Tries to connect to: 10.0.0.5:5432.
        Processes: app (sleeping, 3 threads), w0 (ended), w1 (ended), w2 (ended), w3 (ended), 2 more.
        CPU: 3.90 s in all, 1 % of its limit in the last 1 s.
        It was refused a process or thread 3 times.
        Processes that the kernel killed for memory: 1.
        Memory: 12 MiB of 512 MiB, at most 14 MiB.
    "#]]
    .assert_eq(&(told.facts.join("\n") + "\n"));
    let exited =
        Evidence { ran_for: Some(Duration::from_millis(120)), ..Evidence::of(8080, Happened::Exited(Exit::Code(1))) };
    assert_eq!(diagnose(&exited).facts, ["It ended 0.12 s after its start."]);
}

#[test]
fn the_document_has_every_code_and_no_other() {
    let document = include_str!("../../../../docs/doctor.md");
    let named: std::collections::BTreeSet<&str> =
        document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let known: std::collections::BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(named, known);
}

#[test]
fn a_sidecar_is_named_and_has_no_port_of_its_own() {
    let say = |happened: Happened| {
        let evidence = Evidence { sidecar: Some("side".to_owned()), ..Evidence::of(8080, happened) };
        let told = diagnose(&evidence);
        format!("{}: {} | {} | {}\n", told.code, told.sentence, told.cause, told.advice)
    };
    let elsewhere = |listeners: Vec<Listener>| {
        let mut found = probe(Question::Tcp, 9000, Answer::NotConnected);
        found.seen = found.seen.map(|seen| Inspection { listeners: Some(listeners), ..seen });
        Happened::NotReady(Box::new(found))
    };
    let said = [
        say(Happened::Exited(Exit::Code(3))),
        say(Happened::Exited(Exit::OutOfMemory { limit: 64 << 20, used: 64 << 20 })),
        say(elsewhere(vec![Listener::Tcp(address("0.0.0.0:3000"))])),
        say(elsewhere(vec![])),
        say(Happened::Exited(Exit::Lost)),
    ];
    expect![[r#"
        exited: The user-provided container 'side' failed to start. | Container 'side': Container called exit(3). It wrote nothing before. | Make it write to standard error why it ends.
        out-of-memory: The user-provided container 'side' failed to start. | Container 'side': Memory limit of 64 MiB exceeded with 64 MiB used. | Consider increasing the memory limit with --memory, see https://cloud.google.com/run/docs/configuring/memory-limits
        listens-on-other-port: The user-provided container 'side' failed the configured startup probe checks. | Container 'side': It listens on 0.0.0.0:3000, and nothing listens on port 9000. | Make it listen on port 9000, or let its startup probe ask the port on which it does.
        not-listening: The user-provided container 'side' failed the configured startup probe checks. | Container 'side': It listened on nothing after 240 s, and its process 'app' sleeps. | If it is a server, make it listen on 0.0.0.0 and port 9000; its output may say what it waits for.
        instance-lost: The platform could not start an instance. | The instance was lost with the process that kept it. | This is no fault of the container: the server's own log says what happened. Deploy again.
    "#]]
    .assert_eq(&said.concat());
}
