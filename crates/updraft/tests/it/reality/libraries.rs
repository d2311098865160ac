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

/// What code asks of the libraries in one language. `API`, `TLS` and `PRIVATE` stand for the ports and for the service.
struct Language {
    credentials: &'static str,
    secret_by_rest: &'static str,
    secret_by_grpc: &'static str,
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
    secret_by_rest: r#"
from google.cloud import secretmanager
client = secretmanager.SecretManagerServiceClient(
    transport="rest", client_options={"api_endpoint": "http://updraft.internal:API"})
try:
    version = client.access_secret_version(name="projects/demo-project/secrets/db/versions/latest")
    say(version.payload.data.decode())
except Exception as error:
    say(type(error).__name__ + " " + error.message)
"#,
    secret_by_grpc: r#"
from google.cloud import secretmanager
client = secretmanager.SecretManagerServiceClient(client_options={"api_endpoint": "updraft.internal:TLS"})
try:
    version = client.access_secret_version(name="projects/demo-project/secrets/db/versions/latest")
    say(version.payload.data.decode())
except Exception as error:
    say(type(error).__name__ + " " + error.message)
"#,
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
    secret_by_rest: r#"
const {SecretManagerServiceClient} = require("@google-cloud/secret-manager");
const client = new SecretManagerServiceClient(
  {fallback: true, protocol: "http", apiEndpoint: "updraft.internal", port: API});
try {
  const [version] = await client.accessSecretVersion({name: "projects/demo-project/secrets/db/versions/latest"});
  say(version.payload.data.toString());
} catch (error) {
  say(error.code + " " + error.message);
}
"#,
    secret_by_grpc: r#"
const {SecretManagerServiceClient} = require("@google-cloud/secret-manager");
const client = new SecretManagerServiceClient({apiEndpoint: "updraft.internal", port: TLS});
try {
  const [version] = await client.accessSecretVersion({name: "projects/demo-project/secrets/db/versions/latest"});
  say(version.payload.data.toString());
} catch (error) {
  say(error.code + " " + error.message);
}
"#,
    private: r#"
const {GoogleAuth} = require("google-auth-library");
const client = await new GoogleAuth().getIdTokenClient("PRIVATE");
const status = async (asked) => asked.then((answer) => answer.status, (error) => error.status);
say(await status(client.request({url: "PRIVATE"})));
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
            // gRPC is always over TLS, and trusts who it is told to by these variables, in every language.
            host.ok(&[
                &["deploy", service, "--image", image, "--service-account", account, "--allow-unauthenticated"],
                &["--update-secrets", "/authority/ca.pem=authority:latest", "--quiet"][..],
                &["--set-env-vars", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=/authority/ca.pem"],
            ]
            .concat());
        }
        may_read("db", &format!("serviceAccount:{READER}"));
        host.load(&images::witness("private"));
        host.ok(&["deploy", "private", "--image", "localhost/private:latest", "--no-allow-unauthenticated", "--quiet"]);
        let binding = ["--role", "roles/run.invoker", "--member", &format!("serviceAccount:{READER}")];
        host.ok(&[&["services", "add-iam-policy-binding", "private"], &binding[..]].concat());
        let private = host.describe("private")["status"]["url"].as_str().expect("a URL").to_owned();
        let (reader, stranger) = (host.host_of("reader", None), host.host_of("stranger", None));
        Self { host, client: Client::new(), reader, stranger, private }
    }

    /// Runs this in the container behind this host; what it says.
    async fn run(&self, at: &str, source: &str) -> Vec<String> {
        let port = |address: &str| address.rsplit_once(':').expect("a port").1.to_owned();
        let source = source.replace("PRIVATE", &self.private);
        let source = source.replace("API", &port(&self.host.address)).replace("TLS", &port(&self.host.tls));
        let url = format!("http://{}/", self.host.address);
        let request = self.client.post(url).header("host", at).timeout(Duration::from_secs(90)).body(source);
        let text = request.send().await.expect("an answer").text().await.expect("text");
        text.lines().map(str::to_owned).collect()
    }

    /// All that is asked, by who may and who may not. What a refusal begins with is the language's.
    async fn is_served(&self, language: &Language, refusal: &str) {
        for (at, account) in [(&self.reader, READER), (&self.stranger, STRANGER)] {
            assert_eq!(self.run(at, language.credentials).await, ["demo-project", account]);
        }
        for source in [language.secret_by_rest, language.secret_by_grpc] {
            assert_eq!(self.run(&self.reader, source).await, [VALUE], "{source}");
            let refused = self.run(&self.stranger, source).await;
            let [said] = &refused[..] else { panic!("{source}\n{refused:#?}") };
            assert!(said.starts_with(refusal) && said.contains("secretmanager.versions.access"), "{source}\n{said}");
        }
        assert_eq!(self.run(&self.reader, language.private).await, ["200", "403"]);
        assert_eq!(self.run(&self.stranger, language.private).await, ["403", "403"], "a token is no right");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_libraries_for_python_read_secrets_and_call_private_services_as_policies_say() {
    if !containers_run_here() {
        return;
    }
    let Some(python) = compatibility::python() else { return };
    let host = Host::start(&[]);
    let Some(image) = images::google_python(&host, &python) else { return };
    let world = World::of(host, &image);
    world.is_served(&PYTHON, "PermissionDenied Permission ").await;
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
    world.is_served(&NODE, "7 ").await;
    assert_eq!(world.host.stop().0, 0);
}
