//! Evidence on paper, and what is said of it.

use std::net::SocketAddr;

use expect_test::expect;
use updraft_model::{
    fault::{FileKind, ProgramFault, ProgramProblem},
    instance::{Listener, Process, ProcessState},
};

use super::*;

const LIMITS: Limits = Limits { cpu_millis: 1000, memory_bytes: 512 << 20, pids: 4096 };

/// `code: cause / advice`.
fn say(happened: Happened, lines: &[&str]) -> String {
    let last_lines = lines.iter().map(|&line| line.to_owned()).collect();
    let told = diagnose(&Evidence { port: 8080, happened, ran_for: None, crowded: None, last_lines });
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
fn an_exit_is_explained_by_its_code_and_by_what_was_written_last() {
    let all = [
        ended(3, &["reading /etc/app.conf", "no such table: users"]),
        ended(1, &[]),
        ended(0, &["bye"]),
        ended(
            127,
            &[
                "/app: error while loading shared libraries: libfoo.so.1: cannot open shared object file: No such file or directory",
            ],
        ),
        ended(127, &["env: 'python3': No such file or directory"]),
        ended(127, &[]),
        ended(126, &["sh: /etc/app.conf: Permission denied"]),
        ended(137, &[]),
        ended(139, &["Segmentation fault"]),
        ended(
            1,
            &[
                "Traceback (most recent call last):",
                "  File \"/app.py\", line 1, in <module>",
                "    import flask",
                "ModuleNotFoundError: No module named 'flask'",
            ],
        ),
        ended(
            1,
            &[
                "Traceback (most recent call last):",
                "  File \"/app.py\", line 7, in <module>",
                "    main()",
                "ValueError: no port",
            ],
        ),
        ended(
            1,
            &[
                "node:internal/modules/cjs/loader:1080",
                "Error: Cannot find module 'express'",
                "  code: 'MODULE_NOT_FOUND'",
                "}",
            ],
        ),
        ended(2, &["panic: no configuration", "", "goroutine 1 [running]:", "main.main()"]),
        ended(101, &["thread 'main' panicked at src/main.rs:3:5:", "no configuration"]),
        ended(1, &["listen tcp :80: bind: permission denied"]),
        ended(1, &["OSError: [Errno 98] Address already in use"]),
        ended(
            1,
            &["psql: error: connection to server at \"localhost\" (127.0.0.1), port 5432 failed: Connection refused"],
        ),
        ended(1, &["mkdir: can't create directory '/sys/x': Read-only file system"]),
        ended(1, &["open /secret: permission denied"]),
        ended(1, &["FileNotFoundError: [Errno 2] No such file or directory: '/etc/app.conf'"]),
        // What was said long before the end is not taken for its reason.
        ended(1, &["warning: open /x: permission denied, going on", "1", "2", "3", "4", "5", "6"]),
    ];
    expect![[r#"
        exited: Container called exit(3). / Its output says more: 'updraft services logs' shows all of it.
        exited: Container called exit(1). It wrote nothing before. / Make it write to standard error why it ends.
        exited-cleanly: Container called exit(0). It ended by itself and without an error; a service has to stay and listen. / Start the server itself in the foreground, not a script that returns or a daemon.
        shared-library-missing: Container called exit(127). It had written '/app: error while loading shared libraries: libfoo.so.1: cannot open shared object file: No such file or directory': the dynamic loader does not find a shared library. / Put the library into the image, where the loader looks for it (/lib, /usr/lib, LD_LIBRARY_PATH), or link the program statically.
        command-not-found: Container called exit(127). So do shells and env when a command is not there. It had written 'env: 'python3': No such file or directory'. / Put the command into the image, or name it by its whole path.
        command-not-found: Container called exit(127). So do shells and env when a command is not there. / Put the command into the image, or name it by its whole path.
        command-not-executable: Container called exit(126). So do shells when a command is there and cannot be executed. It had written 'sh: /etc/app.conf: Permission denied'. / Make the file executable in the image, and see that it is built for linux/amd64.
        signalled: Container called exit(137). So do shells when signal 9 ended a command (SIGKILL). The platform did not send it, and its limit of memory was not reached. / Its output says more: 'updraft services logs' shows all of it.
        segmentation-fault: Container called exit(139). So do shells when signal 11 ended a command (SIGSEGV). It touched memory that it may not touch, or called abort(), which ends the first process of a container like this. / This is a fault of the program or of a library it uses: run it with a debugger, or with other versions.
        module-missing: Container called exit(1). It had written 'ModuleNotFoundError: No module named 'flask'', which suggests that a module of its language's is not in the image. / Install the module in the image (requirements.txt, package.json, …), and see that the paths are right.
        exception: Container called exit(1). It had written 'ValueError: no port', which suggests that it ended for an exception that nobody caught. / The lines before it say where: 'updraft services logs' shows all of them.
        module-missing: Container called exit(1). It had written 'Error: Cannot find module 'express'', which suggests that a module of its language's is not in the image. / Install the module in the image (requirements.txt, package.json, …), and see that the paths are right.
        exception: Container called exit(2). It had written 'panic: no configuration', which suggests that it ended for an exception that nobody caught. / The lines after it say where: 'updraft services logs' shows all of them.
        exception: Container called exit(101). It had written 'thread 'main' panicked at src/main.rs:3:5: no configuration': nobody caught that. / The lines after it say where: 'updraft services logs' shows all of them.
        port-forbidden: Container called exit(1). It had written 'listen tcp :80: bind: permission denied', which suggests that it may not listen on the port it wants. / Listen on the port that PORT names; others may be for root only.
        port-taken: Container called exit(1). It had written 'OSError: [Errno 98] Address already in use', which suggests that two parts of the container want to listen on one port. / Start one server only, or let the others listen on other ports.
        dependency-unreachable: Container called exit(1). It had written 'psql: error: connection to server at "localhost" (127.0.0.1), port 5432 failed: Connection refused', which suggests that it needs something that it cannot reach. / See that what it connects to is there, and reachable from the container: 127.0.0.1 is the container itself.
        read-only: Container called exit(1). It had written 'mkdir: can't create directory '/sys/x': Read-only file system', which suggests that it writes where nothing can be written. / Let it write below /tmp.
        permission-denied: Container called exit(1). It had written 'open /secret: permission denied', which suggests that its user may not do what it tries. / See to the permissions of its files in the image, or to its USER.
        file-missing: Container called exit(1). It had written 'FileNotFoundError: [Errno 2] No such file or directory: '/etc/app.conf'', which suggests that it needs a file that is not there. / See that the build puts the file into the image, and from which directory it is named.
        exited: Container called exit(1). / Its output says more: 'updraft services logs' shows all of it.
    "#]].assert_eq(&all.concat());
}

#[test]
fn what_a_line_may_not_have_meant_is_not_told_as_proof() {
    let loader = "/app: error while loading shared libraries: libfoo.so.1: cannot open shared object file: No such file or directory";
    let panicked = ["thread 'main' (7) panicked at src/main.rs:3:5:", "no configuration"];
    let trace = [
        "node:internal/modules/cjs/loader:1080",
        "  throw err;",
        "Error: Cannot find module 'express'",
        "Require stack:",
        "- /app/index.js",
        "    at Module._resolveFilename (node:internal/modules/cjs/loader:1077:15)",
        "    at Module._load (node:internal/modules/cjs/loader:922:27)",
        "    at Module.require (node:internal/modules/cjs/loader:1143:19)",
        "  code: 'MODULE_NOT_FOUND'",
        "}",
        "Node.js v18.19.0",
    ];
    let all = [
        // A level below an error is none, and what comes before a fatal word is not the reason.
        ended(
            1,
            &[
                "WARNING: ModuleNotFoundError: No module named 'uvloop', using asyncio",
                "starting",
                "fatal: DATABASE_URL is not set",
            ],
        ),
        ended(1, &[r#"{"level":"info","msg":"getaddrinfo ENOTFOUND db, trying again"}"#, "bye"]),
        ended(1, &["open /var/info: permission denied"]),
        ended(1, &["ModuleNotFoundError: No module named 'uvloop'", "fatal: DATABASE_URL is not set"]),
        ended(1, &["ModuleNotFoundError: No module named 'x'", "1", "2", "3", "4", "5", "6"]),
        ended(1, &trace),
        ended(0, &["sentry: unhandled errors will be reported", "migration done, bye"]),
        ended(1, &["sentry: unhandled errors will be reported", "migration failed, bye"]),
        ended(0, &[loader]),
        ended(0, &panicked),
        ended(127, &[loader]),
        ended(127, &["plugin: skipped", loader, "sh: serve: not found"]),
        ended(1, &[loader]),
        ended(
            127,
            &[
                "Error loading shared library libfoo.so.1: No such file or directory (needed by /app)",
                "Error relocating /app: foo: symbol not found",
            ],
        ),
        ended(127, &["Error relocating /app: foo: symbol not found"]),
        ended(101, &panicked),
        ended(1, &panicked),
        // Another thread's panic does not end a program.
        ended(101, &["thread 'worker' panicked at src/main.rs:3:5:", "no job"]),
        ended(255, &["PHP Fatal error:  Uncaught Error: Class \"App\" not found in /app/index.php:3"]),
        say(Happened::Exited(Exit::Signal(11)), &["ModuleNotFoundError: No module named 'x'"]),
    ];
    expect![[r#"
        exited: Container called exit(1). / Its output says more: 'updraft services logs' shows all of it.
        exited: Container called exit(1). / Its output says more: 'updraft services logs' shows all of it.
        permission-denied: Container called exit(1). It had written 'open /var/info: permission denied', which suggests that its user may not do what it tries. / See to the permissions of its files in the image, or to its USER.
        exited: Container called exit(1). / Its output says more: 'updraft services logs' shows all of it.
        exited: Container called exit(1). / Its output says more: 'updraft services logs' shows all of it.
        module-missing: Container called exit(1). It had written 'Error: Cannot find module 'express'', which suggests that a module of its language's is not in the image. / Install the module in the image (requirements.txt, package.json, …), and see that the paths are right.
        exited-cleanly: Container called exit(0). It ended by itself and without an error; a service has to stay and listen. / Start the server itself in the foreground, not a script that returns or a daemon.
        exited: Container called exit(1). / Its output says more: 'updraft services logs' shows all of it.
        exited-cleanly: Container called exit(0). It ended by itself and without an error; a service has to stay and listen. / Start the server itself in the foreground, not a script that returns or a daemon.
        exited-cleanly: Container called exit(0). It ended by itself and without an error; a service has to stay and listen. / Start the server itself in the foreground, not a script that returns or a daemon.
        shared-library-missing: Container called exit(127). It had written '/app: error while loading shared libraries: libfoo.so.1: cannot open shared object file: No such file or directory': the dynamic loader does not find a shared library. / Put the library into the image, where the loader looks for it (/lib, /usr/lib, LD_LIBRARY_PATH), or link the program statically.
        command-not-found: Container called exit(127). So do shells and env when a command is not there. It had written 'sh: serve: not found'. / Put the command into the image, or name it by its whole path.
        shared-library-missing: Container called exit(1). It had written '/app: error while loading shared libraries: libfoo.so.1: cannot open shared object file: No such file or directory', which suggests that the dynamic loader does not find a shared library. / Put the library into the image, where the loader looks for it (/lib, /usr/lib, LD_LIBRARY_PATH), or link the program statically.
        shared-library-missing: Container called exit(127). It had written 'Error loading shared library libfoo.so.1: No such file or directory (needed by /app)': the dynamic loader does not find a shared library. / Put the library into the image, where the loader looks for it (/lib, /usr/lib, LD_LIBRARY_PATH), or link the program statically.
        shared-library-missing: Container called exit(127). It had written 'Error relocating /app: foo: symbol not found': a shared library is missing, or is not of the version that the program was built for. / Use a base image with the libraries the program was built for, or link it statically.
        exception: Container called exit(101). It had written 'thread 'main' (7) panicked at src/main.rs:3:5: no configuration': nobody caught that. / The lines after it say where: 'updraft services logs' shows all of them.
        exception: Container called exit(1). It had written 'thread 'main' (7) panicked at src/main.rs:3:5: no configuration', which suggests that it ended for an exception that nobody caught. / The lines after it say where: 'updraft services logs' shows all of them.
        exception: Container called exit(101). It had written 'thread 'worker' panicked at src/main.rs:3:5: no job', which suggests that it ended for an exception that nobody caught. / The lines after it say where: 'updraft services logs' shows all of them.
        exception: Container called exit(255). It had written 'PHP Fatal error:  Uncaught Error: Class "App" not found in /app/index.php:3', which suggests that it ended for an exception that nobody caught. / The lines after it say where: 'updraft services logs' shows all of them.
        segmentation-fault: Container terminated on signal 11 (SIGSEGV). It touched memory that it may not touch, or called abort(), which ends the first process of a container like this. / This is a fault of the program or of a library it uses: run it with a debugger, or with other versions.
    "#]].assert_eq(&all.concat());
}

#[test]
fn other_ends_are_told_with_their_figures() {
    let exit = |exit: Exit| say(Happened::Exited(exit), &[]);
    let all = [
        exit(Exit::Signal(4)),
        exit(Exit::Signal(6)),
        exit(Exit::Signal(9)),
        exit(Exit::Signal(11)),
        exit(Exit::Signal(15)),
        exit(Exit::Signal(31)),
        say(Happened::Exited(Exit::Signal(6)), &["terminate called after throwing an instance of 'std::bad_alloc'"]),
        exit(Exit::OutOfMemory { limit: 512 << 20, used: 513 << 20 }),
        exit(Exit::OutOfProcesses { limit: 4096, status: 134 }),
        exit(Exit::Lost),
    ];
    expect![[r#"
        illegal-instruction: Container terminated on signal 4 (SIGILL). It came to an instruction that this processor does not know, or that is meant to stop it. / If it was built for a newer processor (-march=native, x86-64-v3, AVX), build it for plain x86-64.
        aborted: Container terminated on signal 6 (SIGABRT). It gave itself up, as after a failed assertion. / Its output says more: 'updraft services logs' shows all of it.
        signalled: Container terminated on signal 9 (SIGKILL). The platform did not send it, and its limit of memory was not reached. / Its output says more: 'updraft services logs' shows all of it.
        segmentation-fault: Container terminated on signal 11 (SIGSEGV). It touched memory that it may not touch, or called abort(), which ends the first process of a container like this. / This is a fault of the program or of a library it uses: run it with a debugger, or with other versions.
        signalled: Container terminated on signal 15 (SIGTERM). The platform did not send it: something in the container did. / Its output says more: 'updraft services logs' shows all of it.
        system-call-forbidden: Container terminated on signal 31 (SIGSYS). It made a system call that the sandbox forbids. / Find the call with strace, and do without it.
        exception: Container terminated on signal 6 (SIGABRT). It had written 'terminate called after throwing an instance of 'std::bad_alloc'', which suggests that it ended for an exception that nobody caught. / The lines after it say where: 'updraft services logs' shows all of them.
        out-of-memory: Memory limit of 512 MiB exceeded with 513 MiB used. / Consider increasing the memory limit with --memory, see https://cloud.google.com/run/docs/configuring/memory-limits
        out-of-processes: Limit of 4096 processes and threads reached. Container ended with status 134. / Make it start fewer processes and threads.
        instance-lost: The instance was lost with the process that kept it. / This is no fault of the container: the server's own log says what happened. Deploy again.
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
    }
    let happened = Happened::NotReady(Box::new(found));
    let ran_for = Some(Duration::from_secs(240));
    let told = diagnose(&Evidence { port: 8080, happened, ran_for, crowded: None, last_lines: Vec::new() });
    expect![[r#"
        It had run for 240 s.
        Default STARTUP TCP probe failed 1 time.
        Probe after 240 s: Connection failed.
        Listens on: 127.0.0.1:3000.
        Tries to connect to: 10.0.0.5:5432.
        Processes: app (sleeping, 3 threads), w0 (ended), w1 (ended), w2 (ended), w3 (ended), 2 more.
        CPU: 3.90 s in all, 1 % of its limit in the last 1 s.
        It was refused a process or thread 3 times.
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
