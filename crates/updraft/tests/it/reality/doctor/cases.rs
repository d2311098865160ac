//! The broken containers: what each does, as its row in docs/doctor.md says it, and how it is deployed.

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// The second column of the table.
    pub(super) does: &'static str,
    /// The image; `box` without anything else. `{refuses}` and `{absent}` are registries.
    pub(super) image: &'static str,
    /// Flags of the deploy.
    pub(super) flags: &'static [&'static str],
}

/// Long enough for a program to be seen doing what it does, on a machine that is busy.
const TCP: &str = "tcpSocket.port=8080,timeoutSeconds=1,periodSeconds=2,failureThreshold=4";
const WRONG_PORT: &str = "tcpSocket.port=9090,timeoutSeconds=1,periodSeconds=2,failureThreshold=4";
const HTTP: &str = "httpGet.path=/healthz,timeoutSeconds=1,periodSeconds=2,failureThreshold=3";
const HTTP_EXIT: &str = "httpGet.path=/status/503,timeoutSeconds=1,periodSeconds=2,failureThreshold=3";
const GRPC: &str = "grpc.service=app,timeoutSeconds=1,periodSeconds=2,failureThreshold=3";
/// The shell form of a Dockerfile's CMD.
const SHELL: &[&str] = &["--command=/bin/sh", "--args=-c,/app/run"];

const fn case(does: &'static str, image: &'static str, flags: &'static [&'static str]) -> Case {
    Case { does, image, flags }
}

/// Those that have to be waited for come first.
pub(super) const CASES: &[Case] = &[
    case("listens on 0.0.0.0:3000", "box", &["--args=listen,0.0.0.0:3000", "--startup-probe", TCP]),
    case("listens on 127.0.0.1:8080", "box", &["--args=listen,127.0.0.1:8080", "--startup-probe", TCP]),
    case("listens on 127.0.0.1:3000", "box", &["--args=listen,127.0.0.1:3000", "--startup-probe", TCP]),
    case("listens on [::]:8080 for IPv6 only", "box", &["--args=six,8080", "--startup-probe", TCP]),
    case(
        "its child takes too much memory, and it goes on",
        "box",
        &[
            "--command=/bin/sh",
            "--args=-c,(/witness eat 700); echo child gone; exec /witness deaf",
            "--startup-probe",
            TCP,
        ],
    ),
    case("listens on UDP port 8080", "box", &["--args=udp,0.0.0.0:8080", "--startup-probe", TCP]),
    case("listens on a UNIX socket", "box", &["--args=unix,/tmp/app.sock", "--startup-probe", TCP]),
    case("sleeps", "box", &["--args=deaf", "--startup-probe", TCP]),
    case("computes and never listens", "box", &["--args=burn", "--startup-probe", TCP]),
    case("listens on its port; the probe asks port 9090", "box", &["--args=serve", "--startup-probe", WRONG_PORT]),
    case("does not know the probe's path", "box", &["--args=serve", "--startup-probe", HTTP]),
    case("answers the probe with 503", "box", &["--args=serve", "--startup-probe", HTTP_EXIT]),
    case("takes connections and says nothing", "box", &["--args=mute", "--startup-probe", HTTP]),
    case("answers with an alert of TLS", "box", &["--args=says,15030100020246", "--startup-probe", HTTP]),
    case(
        "answers with a frame of HTTP/2",
        "box",
        &["--args=says,00000004000000000000000704000000000000000000000000", "--startup-probe", HTTP],
    ),
    case("answers with the greeting of SSH", "box", &["--args=says,5353482d322e300d0a", "--startup-probe", HTTP]),
    case("speaks HTTP/1.1; the probe gRPC", "box", &["--args=serve", "--startup-probe", GRPC]),
    case("takes too much memory", "box", &["--args=eat,700"]),
    case("starts threads without end", "box", &["--args=threads"]),
    case("ends with exit(3) and two lines", "box", &["--args=exit,3,reading /etc/app.conf,no such table: users"]),
    case("ends with exit(4) without a word", "box", &["--args=exit,4"]),
    case("ends with exit(0)", "box", &["--args=exit,0,done"]),
    case("touches memory that is not its own", "box", &["--args=segv"]),
    case("comes to an invalid instruction", "box", &["--args=ill"]),
    case("panics", "box", &["--args=panic,no configuration"]),
    case("needs a file that is not there", "box", &["--args=read,/etc/missing.conf"]),
    case("reads a file of root's as another user", "nobody", &["--args=read,/secret"]),
    case("needs a database on its own loopback", "box", &["--args=connect,127.0.0.1:5432"]),
    case("writes below /proc/sys", "box", &["--command=/bin/sh", "--args=-c,echo x > /proc/sys/kernel/hostname"]),
    case("listens on its port twice", "box", &["--args=twice"]),
    case("a shell runs a command that is not there", "box", &["--command=/bin/sh", "--args=-c,exec /app/serve"]),
    case("a shell runs a program without its dynamic loader", "shell-no-loader", SHELL),
    case("a shell runs a script without its interpreter", "shell-no-interpreter", SHELL),
    case("a shell runs a script with Windows line ends", "shell-windows-lines", SHELL),
    case("a shell runs a program built for arm64", "shell-arm", SHELL),
    case("a shell runs a file that is no program", "box", &["--command=/bin/sh", "--args=-c,exec /etc/app.conf"]),
    case("its ENTRYPOINT is misspelt", "misspelt", &[]),
    case("its ENTRYPOINT is one word with a space", "one-word", &[]),
    case("its ENTRYPOINT is in no directory of PATH", "elsewhere", &[]),
    case("its ENTRYPOINT is a directory", "directory", &[]),
    case("its ENTRYPOINT is not executable", "unset-mode", &[]),
    case("its ENTRYPOINT is an empty file", "empty", &[]),
    case("its ENTRYPOINT is text without #!", "text", &[]),
    case("its ENTRYPOINT has a byte order mark", "marked", &[]),
    case("its ENTRYPOINT is a program for Windows", "windows", &[]),
    case("its ENTRYPOINT is built for arm64", "arm", &[]),
    case("its script's interpreter is missing", "no-interpreter", &[]),
    case("its script has Windows line ends", "windows-lines", &[]),
    case("its dynamic loader is missing", "no-loader", &[]),
    case("a shared library is missing", "no-library", &[]),
    case("its USER cannot be", "no-user", &[]),
    case("its working directory is a file", "no-directory", &[]),
    case("neither ENTRYPOINT nor CMD", "silent", &[]),
    case("no such image", "ghost", &[]),
    case("no such tag", "box:v9", &[]),
    case("an image for linux/arm64 only", "{registry}/arm-only:latest", &[]),
    case("a layer that is no layer", "{registry}/corrupt:latest", &[]),
    case("a registry that lets nobody in", "{refuses}/app:v1", &[]),
    case("a registry that is not there", "{absent}/app:v1", &[]),
];
