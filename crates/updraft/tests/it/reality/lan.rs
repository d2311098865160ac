//! The server as others on the network see it: a machine of the LAN, or a container of Docker's, whose bridge is just
//! another link of the host's.

use std::{
    fs,
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{
    host::{Host, Said, UPDRAFT, containers_run_here, eventually, have, run, said},
    images,
};

/// A machine of the LAN: a network namespace with a cable to the host.
struct Machine {
    namespace: String,
    /// The host's end of the cable.
    host: Ipv4Addr,
    /// Its own.
    own: Ipv4Addr,
    /// A web server on it.
    web: Child,
}

const WEB_PORT: u16 = 8098;

// === impl Machine ===

impl Machine {
    fn connect() -> Self {
        let id = std::process::id();
        let (namespace, near, far) = (format!("updraft-lan-{id}"), format!("ul{id}"), format!("um{id}"));
        // From the range for benchmarks of networks (RFC 2544), which no real network has; other tests run beside us.
        let block = u8::try_from(id % 63).unwrap_or(0) * 4;
        let middle = 128 + u8::try_from(id / 63 % 127).unwrap_or(0);
        let (host, own) = (Ipv4Addr::new(198, 19, middle, block + 1), Ipv4Addr::new(198, 19, middle, block + 2));
        let ip = |arguments: &str| {
            run(Command::new("ip").args(arguments.split(' ')));
        };
        ip(&format!("netns add {namespace}"));
        ip(&format!("link add {near} type veth peer name {far} netns {namespace}"));
        ip(&format!("addr add {host}/30 dev {near}"));
        ip(&format!("link set {near} up"));
        ip(&format!("-n {namespace} addr add {own}/30 dev {far}"));
        ip(&format!("-n {namespace} link set {far} up"));
        ip(&format!("-n {namespace} link set lo up"));
        let mut web = Command::new("ip");
        web.args(["netns", "exec", &namespace, "python3", "-m", "http.server", "--directory", "/var/empty"]);
        web.args(["--bind", &own.to_string(), &WEB_PORT.to_string()]);
        let web = web.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("python3");
        Self { namespace, host, own, web }
    }

    /// A program on it.
    fn program(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]).stdin(Stdio::null());
        command
    }

    /// A verb of the client, with this token.
    fn updraft(&self, host: &Host, token: Option<&str>, arguments: &[&str]) -> Said {
        let mut client = self.program(UPDRAFT);
        client.args(["--endpoint", &format!("http://{}:{}", self.host, port(&host.address))]).args(arguments);
        client.env_remove("UPDRAFT_TOKEN");
        if let Some(token) = token {
            client.env("UPDRAFT_TOKEN", token);
        }
        said(client.output().expect("the binary starts"))
    }

    /// The status and the body of a GET with these headers.
    fn get(&self, host: &Host, headers: &[(&str, &str)], path: &str) -> (u16, String) {
        const PROGRAM: &str = "import sys, http.client\n\
            connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=60)\n\
            connection.request('GET', sys.argv[3], headers=dict(pair.split('=', 1) for pair in sys.argv[4:]))\n\
            answer = connection.getresponse()\n\
            print(answer.status)\n\
            sys.stdout.write(answer.read().decode())";
        let mut python = self.program("python3");
        python.args(["-c", PROGRAM, &self.host.to_string(), port(&host.address), path]);
        let told = run(python.args(headers.iter().map(|(name, value)| format!("{name}={value}"))));
        let (status, body) = told.split_once('\n').expect("a status");
        (status.parse().expect("a number"), body.to_owned())
    }

    /// skopeo copies an image to the registry, with these flags.
    fn push(&self, host: &Host, archive: &str, flags: &[&str]) -> Said {
        let target = format!("docker://{}/hello:v1", self.registry(host));
        let mut skopeo = self.program("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]).args(flags);
        said(skopeo.args([archive, &target]).output().expect("skopeo"))
    }

    fn registry(&self, host: &Host) -> String {
        format!("{}:{}", self.host, port(&host.registry))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.web.kill();
        let _ = self.web.wait();
        // Its end of the link goes with it, and ours with that.
        let _ = Command::new("ip").args(["netns", "delete", &self.namespace]).status();
    }
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').expect("ADDRESS:PORT").1
}

/// The server, and its token as its own command line tells it.
fn serve(domain: &str) -> (Host, String) {
    let everywhere = ["--listen", "0.0.0.0:0", "--registry-listen", "0.0.0.0:0", "--auth", "token"];
    let host = Host::start(&[&everywhere[..], &["--domain", domain]].concat());
    let mut print = Command::new(UPDRAFT);
    print.args(["auth", "print-access-token", "--data-dir"]).arg(host.data_dir());
    let token = run(&mut print).trim().to_owned();
    (host, token)
}

/// URL and host of a service, as a client on `machine` is told.
fn url(machine: &Machine, host: &Host, token: &str, service: &str) -> (String, String) {
    let told = machine.updraft(host, Some(token), &["services", "describe", service, "--format", "json"]);
    let told: serde_json::Value = serde_json::from_str(&told.stdout).expect("JSON");
    let url = told["status"]["url"].as_str().expect("a URL").to_owned();
    let name = url.trim_start_matches("http://").split(':').next().expect("a host").to_owned();
    (url, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_the_lan_with_the_token_pushes_deploys_and_calls_and_one_without_does_nothing() {
    if !containers_run_here() || !have("skopeo") || !have("python3") || !have("ip") {
        return;
    }
    let machine = Machine::connect();
    let domain = format!("{}.sslip.io", machine.host.to_string().replace('.', "-"));
    let (host, token) = serve(&domain);
    let wrong = format!("{}0", &token[..token.len() - 1]).replace(&token, "0000000000000000");
    let folder = TempDir::new().expect("a directory");
    let archive = folder.path().join("hello.tar");
    fs::write(&archive, images::witness("hello")).expect("writable");
    let archive = format!("docker-archive:{}", archive.display());

    for shown in [None, Some(&*wrong)] {
        let told = machine.updraft(&host, shown, &["services", "list"]);
        assert!(told.code == 5 && told.stderr.contains("authentication credential"), "{told:?}");
    }
    let credentials = |token: &str| format!("--dest-creds=anybody:{token}");
    for flags in [&["--dest-no-creds"][..], &[&credentials(&wrong)]] {
        let told = machine.push(&host, &archive, flags);
        assert!(told.code != 0 && told.stderr.contains("authentication required"), "{told:?}");
    }
    let authfile = folder.path().join("auth.json").display().to_string();
    let mut login = machine.program("skopeo");
    login.args(["login", "--tls-verify=false", "--authfile", &authfile, "--username", "anybody"]);
    run(login.args(["--password", &token, &machine.registry(&host)]));
    let told = machine.push(&host, &archive, &["--authfile", &authfile]);
    assert_eq!(told.code, 0, "{told:?}");

    // The name under which it was pushed is the name under which it is deployed.
    let image = format!("{}/hello:v1", machine.registry(&host));
    let told = machine.updraft(&host, Some(&token), &["deploy", "hello", "--image", &image, "--allow-unauthenticated"]);
    assert_eq!(told.code, 0, "{told:?}");
    let (told, name) = url(&machine, &host, &token, "hello");
    assert!(
        told.starts_with("http://hello-") && told.ends_with(&format!(".{domain}:{}", port(&host.address))),
        "{told}"
    );
    assert_eq!(machine.get(&host, &[("Host", &name)], "/"), (200, "ok".to_owned()));

    // Private: for the holder of the token, who does not lose it to the container.
    let told =
        machine.updraft(&host, Some(&token), &["deploy", "mine", "--image", &image, "--no-allow-unauthenticated"]);
    assert_eq!(told.code, 0, "{told:?}");
    let (_, name) = url(&machine, &host, &token, "mine");
    assert_eq!(machine.get(&host, &[("Host", &name)], "/").0, 403);
    let bearer = |token: &str| format!("Bearer {token}");
    assert_eq!(machine.get(&host, &[("Host", &name), ("Authorization", &bearer(&wrong))], "/").0, 401);
    assert_eq!(machine.get(&host, &[("Host", &name), ("Authorization", &bearer(&token))], "/").0, 200);

    // The API behind a name of the operator's choice.
    let headers = [("Host", "updraft.example"), ("Authorization", &*bearer(&token))];
    let services = "/v2/projects/demo-project/locations/us-central1/services";
    assert_eq!(machine.get(&host, &headers, services).0, 200);
    assert_eq!(machine.get(&host, &headers[..1], services).0, 401);

    // What runs in a container reaches the LAN, but neither the API nor the registry.
    let reaches = |address: Ipv4Addr, port: &str| {
        let (_, name) = url(&machine, &host, &token, "hello");
        machine.get(&host, &[("Host", &name)], &format!("/connect/{address}:{port}")).1
    };
    eventually("an instance reaches the LAN", || async { reaches(machine.own, &WEB_PORT.to_string()) == "yes" }).await;
    assert_eq!(reaches(machine.host, port(&host.address)), "no");
    assert_eq!(reaches(machine.host, port(&host.registry)), "no");

    // A backup is the admin's, and holds the token.
    let backup = folder.path().join("backup").display().to_string();
    assert_eq!(machine.updraft(&host, Some(&wrong), &["backup", &backup]).code, 5);
    let told = machine.updraft(&host, Some(&token), &["backup", &backup, "--with-logs"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!(host.stop().0, 0);
    let data_dir = folder.path().join("restored");
    run(Command::new(UPDRAFT).args(["restore", &backup, "--data-dir"]).arg(&data_dir));
    assert_eq!(fs::read_to_string(data_dir.join("token")).expect("restored").trim(), token);
    let logs = data_dir.join("logs/demo-project/us-central1/hello");
    assert_eq!(fs::read_dir(logs).expect("restored").count(), 1);
}
