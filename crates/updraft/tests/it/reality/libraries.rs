//! Google's own libraries in containers, as Google publishes them: they find the credentials, read a secret and call a
//! private service, or are refused, as policies say.

use std::{fs, time::Duration};

use reqwest::Client;
use tempfile::TempDir;

use super::{
    compatibility,
    host::{Host, containers_run_here},
    images,
};

const READER: &str = "reader@demo-project.iam.gserviceaccount.com";
const STRANGER: &str = "stranger@demo-project.iam.gserviceaccount.com";
/// A value that is nothing else.
const VALUE: &str = "a-value-5d1c9e";

/// Variables that name the authority.
const TRUST: &str = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=/authority/ca.pem,REQUESTS_CA_BUNDLE=/authority/ca.pem,\
                     NODE_EXTRA_CA_CERTS=/authority/ca.pem";

/// What code asks of the libraries in one language. `API`, `TLS` and `PRIVATE` stand for the ports and for the service,
/// `CLIENT` for one of the clients.
struct Language {
    credentials: &'static str,
    secret: &'static str,
    /// Over REST, and over gRPC.
    clients: [&'static str; 2],
    private: &'static str,
}

const PYTHON: Language = Language {
    credentials: r#"
import google.auth
import google.auth.transport.requests
credentials, project = google.auth.default()
credentials.refresh(google.auth.transport.requests.Request())
say(project)
say(credentials.service_account_email)
"#,
    secret: r#"
from google.api_core import exceptions
from google.cloud import secretmanager
client = secretmanager.SecretManagerServiceClient(CLIENT)
try:
    version = client.access_secret_version(name="projects/demo-project/secrets/db/versions/latest")
    say(version.payload.data.decode())
except exceptions.Forbidden as error:  # over gRPC its subclass PermissionDenied
    say("refused: " + error.message)
"#,
    clients: [
        r#"transport="rest", client_options={"api_endpoint": "http://updraft.internal:API"}"#,
        r#"client_options={"api_endpoint": "updraft.internal:TLS"}"#,
    ],
    private: r#"
import google.auth.transport.requests
import requests
from google.oauth2 import id_token
token = id_token.fetch_id_token(google.auth.transport.requests.Request(), "PRIVATE")
say(requests.get("PRIVATE", headers={"Authorization": "Bearer " + token}).status_code)
say(requests.get("PRIVATE").status_code)
"#,
};

const NODE: Language = Language {
    credentials: r#"
const {GoogleAuth} = require("google-auth-library");
const auth = new GoogleAuth({scopes: "https://www.googleapis.com/auth/cloud-platform"});
await auth.getAccessToken();
say(await auth.getProjectId());
say((await auth.getCredentials()).client_email);
"#,
    secret: r#"
const {SecretManagerServiceClient} = require("@google-cloud/secret-manager");
const client = new SecretManagerServiceClient({CLIENT});
try {
  const [version] = await client.accessSecretVersion({name: "projects/demo-project/secrets/db/versions/latest"});
  say(version.payload.data.toString());
} catch (error) {
  if (error.code !== 7) throw error;  // PERMISSION_DENIED
  say("refused: " + error.message);
}
"#,
    clients: [
        r#"fallback: true, protocol: "http", apiEndpoint: "updraft.internal", port: API"#,
        r#"apiEndpoint: "updraft.internal", port: TLS"#,
    ],
    private: r#"
const {GoogleAuth} = require("google-auth-library");
const client = await new GoogleAuth().getIdTokenClient("PRIVATE");
const asked = client.request({url: "PRIVATE"});
say(await asked.then((answer) => answer.status, (error) => error.status));
say((await fetch("PRIVATE")).status);
"#,
};

/// A service that may read the secret and call the private one, and one that may neither, both of one image.
struct World {
    host: Host,
    client: Client,
    reader: String,
    stranger: String,
    /// The URL of the private service.
    private: String,
}

// === impl World ===

impl World {
    fn of(host: Host, image: &str) -> Self {
        let folder = TempDir::new().expect("a temporary directory");
        let secret = |name: &str, value: &str| {
            let file = folder.path().join(name);
            fs::write(&file, value).expect("writable");
            host.ok(&["secrets", "create", name, "--data-file", file.to_str().expect("UTF-8")]);
        };
        let may_read = |name: &str, account: &str| {
            let binding = ["--role", "roles/secretmanager.secretAccessor", "--member", account];
            host.ok(&[&["secrets", "add-iam-policy-binding", name], &binding[..]].concat());
        };
        secret("db", VALUE);
        secret("authority", &host.ok(&["ca"]));
        for (service, account) in [("reader", READER), ("stranger", STRANGER)] {
            host.ok(&["iam", "service-accounts", "create", service]);
            may_read("authority", &format!("serviceAccount:{account}"));
            // Whom gRPC, Python's requests and Node trust: each has a variable of its own for that.
            host.ok(&[
                &["deploy", service, "--image", image, "--service-account", account, "--allow-unauthenticated"],
                &["--update-secrets", "/authority/ca.pem=authority:latest", "--quiet"][..],
                &["--set-env-vars", TRUST],
            ]
            .concat());
        }
        may_read("db", &format!("serviceAccount:{READER}"));
        host.load(&images::witness_with("private", &["heed"]));
        host.ok(&["deploy", "private", "--image", "localhost/private:latest", "--no-allow-unauthenticated", "--quiet"]);
        let binding = ["--role", "roles/run.invoker", "--member", &format!("serviceAccount:{READER}")];
        host.ok(&[&["services", "add-iam-policy-binding", "private"], &binding[..]].concat());
        let private = host.describe("private")["status"]["url"].as_str().expect("a URL").to_owned();
        let (reader, stranger) = (host.host_of("reader", None), host.host_of("stranger", None));
        Self { host, client: Client::new(), reader, stranger, private }
    }

    /// Runs this in the container behind this host; what it says.
    async fn run(&self, at: &str, source: &str) -> Vec<String> {
        let source = source.replace("API", port(&self.host.address)).replace("TLS", port(&self.host.tls));
        let url = format!("http://{}/", self.host.address);
        let request = self.client.post(url).header("host", at).timeout(Duration::from_secs(90)).body(source);
        let text = request.send().await.expect("an answer").text().await.expect("text");
        text.lines().map(str::to_owned).collect()
    }

    /// All that is asked, by who may and who may not.
    async fn is_served(&self, language: &Language) {
        for (at, account) in [(&self.reader, READER), (&self.stranger, STRANGER)] {
            assert_eq!(self.run(at, language.credentials).await, ["demo-project", account]);
        }
        for client in language.clients {
            let source = language.secret.replace("CLIENT", client);
            assert_eq!(self.run(&self.reader, &source).await, [VALUE], "{client}");
            let said = self.run(&self.stranger, &source).await.join("\n");
            assert!(
                said.starts_with("refused: ") && said.contains("secretmanager.versions.access"),
                "{client}: {said}"
            );
        }
        let secure = format!("https://{}:{}", self.host.host_of("private", None), port(&self.host.tls));
        for url in [&self.private, &secure] {
            let source = language.private.replace("PRIVATE", url);
            assert_eq!(self.run(&self.reader, &source).await, ["200", "403"], "{url}");
            assert_eq!(self.run(&self.stranger, &source).await, ["403", "403"], "{url}: a token is no right");
        }
    }
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').expect("a port").1
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_libraries_for_python_read_secrets_and_call_private_services_as_policies_say() {
    if !containers_run_here() {
        return;
    }
    let Some(python) = compatibility::python() else { return };
    let host = Host::start(&[]);
    let Some(image) = images::google_python(&host, &python, images::Libraries::All) else { return };
    let world = World::of(host, &image);
    world.is_served(&PYTHON).await;
    assert_eq!(world.host.stop().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_libraries_for_node_read_secrets_and_call_private_services_as_policies_say() {
    if !containers_run_here() {
        return;
    }
    let Some(node) = compatibility::node() else { return };
    let host = Host::start(&[]);
    let image = images::google_node(&host, &node);
    let world = World::of(host, &image);
    world.is_served(&NODE).await;
    assert_eq!(world.host.stop().0, 0);
}
