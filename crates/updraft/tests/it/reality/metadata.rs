//! What code in a container learns of itself, whom it can pass for, and whom it can call.

use std::{net::TcpListener, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Client;
use serde_json::{Value, json};

use super::{
    compatibility,
    host::{Host, containers_run_here, eventually, have},
    images,
};

const RUNNER: &str = "runner@demo-project.iam.gserviceaccount.com";
const SERVICES: &str = "/v2/projects/demo-project/locations/us-central1/services";

/// Two services of two accounts, each in a container that runs what it is sent.
struct Pair {
    host: Host,
    client: Client,
    /// Acts as the runner.
    one: String,
    /// Acts as the project's default account.
    two: String,
}

// === impl Pair ===

impl Pair {
    async fn start(flags: &[&str]) -> Option<Self> {
        if !containers_run_here() {
            return None;
        }
        let python = compatibility::python()?;
        let host = Host::start(flags);
        let image = images::google_python(&host, &python, images::Libraries::Credentials)?;
        let client = Client::new();
        let account = json!({"accountId": "runner"}).to_string();
        let url = format!("http://{}/v1/projects/demo-project/serviceAccounts", host.address);
        let made = client.post(url).header("content-type", "application/json").body(account).send().await;
        assert_eq!(made.expect("an answer").status(), 200);
        let deploy = ["--image", &image, "--allow-unauthenticated", "--quiet"];
        host.ok(&[&["deploy", "one", "--service-account", RUNNER], &deploy[..]].concat());
        host.ok(&[&["deploy", "two"], &deploy[..]].concat());
        let (one, two) = (host.host_of("one", None), host.host_of("two", None));
        Some(Self { host, client, one, two })
    }

    /// Runs Python in the container behind this host; what it says.
    async fn run(&self, at: &str, source: &str) -> Vec<String> {
        let url = format!("http://{}/", self.host.address);
        let request = self.client.post(url).header("host", at).timeout(Duration::from_secs(90)).body(source.to_owned());
        let text = request.send().await.expect("an answer").text().await.expect("text");
        text.lines().map(str::to_owned).collect()
    }

    async fn line(&self, at: &str, source: &str) -> String {
        self.run(at, source).await.join("\n")
    }

    fn port(&self) -> &str {
        self.host.address.rsplit_once(':').expect("a port").1
    }
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap_or_else(|| panic!("no token: {token}"));
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64")).expect("JSON")
}

/// What Google's library finds out, as code would ask it.
const LIBRARY: &str = r#"
import google.auth, google.auth.transport.requests
from google.oauth2 import id_token
credentials, project = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
request = google.auth.transport.requests.Request()
credentials.refresh(request)
say(type(credentials).__module__)
say(project)
say(credentials.service_account_email)
say(credentials.universe_domain)
say(credentials.token)
say(id_token.fetch_id_token(request, "https://private.example"))
"#;

async fn each_is_itself(pair: &Pair) {
    let default = pair.host.describe("two")["spec"]["template"]["spec"]["serviceAccountName"].clone();
    let default = default.as_str().expect("an address").to_owned();
    for (at, email) in [(&pair.one, RUNNER), (&pair.two, default.as_str())] {
        let said = pair.run(at, LIBRARY).await;
        assert_eq!(said.len(), 6, "{said:#?}");
        assert_eq!(said[..4], ["google.auth.compute_engine.credentials", "demo-project", email, "googleapis.com"]);
        let (access, identity) = (claims(&said[4]), claims(&said[5]));
        assert_eq!((&access["email"], &access["sub"]), (&json!(email), &identity["sub"]));
        assert_eq!(identity["aud"], "https://private.example");
        let mail = pair.line(at, "say(meta('instance/service-accounts/default/email'))").await;
        assert_eq!(mail, format!("200 {email}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_library_gets_each_service_its_own_identity_also_from_the_server_after_a_killed_one() {
    let Some(mut pair) = Pair::start(&[]).await else { return };
    each_is_itself(&pair).await;
    let id = pair.line(&pair.one, "say(meta('instance/id'))").await;
    let dir = pair.host.kill();
    pair.host = Host::start_in(dir, &[]);
    eventually("it serves", async || pair.line(&pair.one, "say(meta('instance/id'))").await == id).await;
    each_is_itself(&pair).await;
    assert_eq!(pair.host.stop().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_runc_are_known_as_well() {
    if !have("runc") {
        return;
    }
    let Some(pair) = Pair::start(&["--runtime", "runc"]).await else { return };
    each_is_itself(&pair).await;
    assert_eq!(pair.host.stop().0, 0);
}

/// Ways to pass for somebody else, in Python: `other` is the address of the other instance and `gateway` that of the
/// host's end. Each has to say nothing but what begins with one of these, or what the instance itself would be told.
const SPOOFS: &[(&str, &str, &[&str])] = &[
    ("no flavor", "say(get(EMAIL))", &["403 "]),
    ("another flavor", "say(get(EMAIL, {'Metadata-Flavor': 'Amazon'}))", &["403 "]),
    ("a forwarded request", "say(meta(PATH, **{'X-Forwarded-For': other}))", &["403 "]),
    ("a forwarded request of nobody", "say(meta(PATH, **{'X-Forwarded-For': ''}))", &["403 "]),
    ("Forwarded", "say(meta(PATH, Forwarded='for=' + other))", &["200 ME"]),
    ("X-Real-IP", "say(meta(PATH, **{'X-Real-IP': other}))", &["200 ME"]),
    ("the host of the other", "say(meta(PATH, Host=other))", &["200 ME"]),
    ("the address of the other by name", "say(meta('instance/service-accounts/' + THEM + '/email'))", &["404 "]),
    ("its token by name", "say(meta('instance/service-accounts/' + THEM + '/token'))", &["404 "]),
    ("its metadata server", "say(get('http://' + other + '/computeMetadata/v1/' + PATH, FLAVOR))", &["0 "]),
    ("its port", "say(get('http://' + other + ':8080/'))", &["0 "]),
    ("its source address", "say(bound(other, '169.254.169.254', 80))", &["OSError 99"]),
    ("the gateway's source address", "say(bound(gateway, '169.254.169.254', 80))", &["OSError 99"]),
    ("a transparent socket", "say(transparent(other))", &["OSError 1"]),
    ("a raw socket", "say(raw(socket.AF_INET))", &["OSError 1"]),
    ("a packet socket", "say(raw(socket.AF_PACKET))", &["OSError 97"]),
    ("an address of its own choice", "say(add_address(other))", &["OSError 1"]),
    ("the metadata server's other port", "say(get('http://169.254.169.254:8080/', FLAVOR))", &["0 "]),
    ("its neighbour", "say(get('http://169.254.169.253/latest/meta-data/', FLAVOR))", &["0 "]),
    ("the API's address", "say(get('http://169.254.169.252/', FLAVOR))", &["0 "]),
    ("the gateway", "say(get('http://' + gateway + '/', FLAVOR))", &["0 "]),
    ("by IPv6", "say(get('http://[fd20:ce::254]/', FLAVOR))", &["0 "]),
];

/// What they are written with.
const TOOLS: &str = r#"
import socket, struct, fcntl
PATH = "instance/service-accounts/default/email"
EMAIL = "http://metadata.google.internal/computeMetadata/v1/" + PATH
FLAVOR = {"Metadata-Flavor": "Google"}

def told(work):
    try:
        return work()
    except OSError as error:
        return f"OSError {error.errno}"

def talk(sock, address, port):
    sock.settimeout(3)
    sock.connect((address, port))
    sock.sendall(b"GET /computeMetadata/v1/instance/service-accounts/default/email HTTP/1.0\r\nMetadata-Flavor: Google\r\n\r\n")
    return sock.recv(4096)

def bound(source, address, port):
    def work():
        with socket.socket() as sock:
            sock.bind((source, 0))
            return talk(sock, address, port)
    return told(work)

def transparent(source):
    def work():
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_IP, 19, 1)
            sock.bind((source, 0))
            return talk(sock, "169.254.169.254", 80)
    return told(work)

def raw(family):
    def work():
        with socket.socket(family, socket.SOCK_RAW, 255) as sock:
            return "a raw socket"
    return told(work)

def add_address(address):
    def work():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            request = struct.pack("16sH2s4s8s", b"eth0:1", socket.AF_INET, b"", socket.inet_aton(address), b"")
            fcntl.ioctl(sock, 0x8916, request)
            return "an address"
    return told(work)
"#;

/// The address of an instance.
const ADDRESS: &str = "
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.connect(('169.254.169.254', 80))
    say(sock.getsockname()[0])
";

#[tokio::test(flavor = "multi_thread")]
async fn nobody_passes_for_another_instance_by_header_address_or_name() {
    let Some(pair) = Pair::start(&[]).await else { return };
    let (own, other) = (pair.line(&pair.one, ADDRESS).await, pair.line(&pair.two, ADDRESS).await);
    assert_ne!(own, other);
    let gateway = "[line.split()[2] for line in open('/proc/net/route') if line.split()[1] == '00000000'][0]";
    let them = pair.line(&pair.two, "say(meta('instance/service-accounts/default/email')[4:])").await;
    let mut failed = Vec::new();
    for (what, attempt, expected) in SPOOFS {
        let source = format!(
            "{TOOLS}\nother, THEM = '{other}', '{them}'\ngateway = socket.inet_ntoa(bytes.fromhex({gateway})[::-1])\n{attempt}"
        );
        let said = pair.line(&pair.one, &source).await.replace(RUNNER, "ME");
        let is_told = said.contains(&them) && !said.starts_with("404 ");
        if is_told || !expected.iter().any(|expected| said.starts_with(expected)) {
            failed.push(format!("{what}: {said}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(pair.host.stop().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_the_api_are_called_by_their_names_and_nothing_else_of_the_host() {
    let Some(pair) = Pair::start(&[]).await else { return };
    let beside = TcpListener::bind("0.0.0.0:0").expect("another server of the host");
    let port = pair.port();
    let by_url = pair.line(&pair.one, &format!("say(get('http://{}:{port}/'))", pair.two)).await;
    assert_eq!(by_url, "200 here");
    let api = format!("http://updraft.internal:{port}");
    let list = |headers: &str| format!("say(get('{api}{SERVICES}', {{{headers}}}))");
    // The server asks nobody on this machine for a token: code in a container it does.
    for headers in
        ["", "'Host': 'localhost'", "'Host': '127.0.0.1', 'Authorization': 'Bearer x'", "'Origin': 'http://localhost'"]
    {
        let said = pair.line(&pair.one, &list(headers)).await;
        assert!(said.starts_with("401 "), "{headers}: {said}");
    }
    let token = "TOKEN = json.loads(meta('instance/service-accounts/default/token')[4:])['access_token']";
    let with_token = format!("{token}\n{}", list("'Authorization': 'Bearer ' + TOKEN"));
    let said = pair.line(&pair.one, &with_token).await;
    assert!(said.starts_with("403 ") && said.contains("run.services.list"), "{said}");
    let policy = json!({"policy": {"bindings": [{"role": "roles/run.viewer", "members": [format!("serviceAccount:{RUNNER}")]}]}});
    let url = format!("http://{}/v1/projects/demo-project:setIamPolicy", pair.host.address);
    let set = pair.client.post(url).header("content-type", "application/json").body(policy.to_string()).send().await;
    assert_eq!(set.expect("an answer").status(), 200);
    let said = pair.line(&pair.one, &with_token).await;
    assert!(said.starts_with("200 ") && said.contains("services/two"), "{said}");
    let said = pair.line(&pair.two, &with_token).await;
    assert!(said.starts_with("403 "), "the other account was granted nothing: {said}");

    let registry = pair.host.registry.rsplit_once(':').expect("a port").1.to_owned();
    let besides = beside.local_addr().expect("bound").port().to_string();
    for port in [&registry, &besides] {
        for host in ["updraft.internal", &pair.two, "169.254.169.252", "127.0.0.1"] {
            let said = pair.line(&pair.one, &format!("say(get('http://{host}:{port}/'))")).await;
            assert!(said.starts_with("0 "), "{host}:{port}: {said}");
        }
    }
    assert_eq!(pair.host.stop().0, 0);
}
