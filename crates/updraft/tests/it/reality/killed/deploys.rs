//! Clients that deploy, route, open, close and delete services, and one that calls them.

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::{
    Gone,
    chance::Chance,
    ledger::{Intent, Ledger},
    upstream::Upstream,
};

const PARENT: &str = "projects/demo-project/locations/us-central1";
/// Images that the server has from the beginning.
pub(super) const LOCAL: [&str; 2] = ["localhost/first:latest", "localhost/second:latest"];

/// A server's API, and the client's means.
#[derive(Debug, Clone, Copy)]
pub(super) struct Api<'a> {
    pub(super) client: &'a Client,
    pub(super) address: &'a str,
}

/// A client that has some services to itself.
pub(super) struct Deployer<'a> {
    pub(super) api: Api<'a>,
    pub(super) services: &'a [&'a str],
    pub(super) ledger: &'a Ledger,
    pub(super) upstream: &'a Upstream,
    pub(super) chance: Chance,
}

// === impl Api ===

impl Api<'_> {
    pub(super) async fn call(self, method: Method, path: &str, body: Value) -> Result<(StatusCode, Value), Gone> {
        let mut request = self.client.request(method, format!("http://{}/v2/{path}", self.address));
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {status} {text}"))))
    }

    /// A GET that must succeed.
    pub(super) async fn get(self, path: &str) -> Result<Value, Gone> {
        let (status, said) = self.call(Method::GET, path, Value::Null).await?;
        assert_eq!(status, StatusCode::OK, "{path}: {said:#}");
        Ok(said)
    }

    /// Every service by its id.
    pub(super) async fn services(self) -> Result<Vec<(String, Value)>, Gone> {
        let listed = self.get(&format!("{PARENT}/services?pageSize=100")).await?;
        let services = listed["services"].as_array().cloned().unwrap_or_default();
        let id = |service: &Value| service["name"].as_str().and_then(|name| name.rsplit('/').next()).map(str::to_owned);
        Ok(services.into_iter().map(|service| (id(&service).expect("a name"), service)).collect())
    }

    pub(super) async fn policy(self, service: &str) -> Result<Value, Gone> {
        self.get(&format!("{PARENT}/services/{service}:getIamPolicy")).await
    }

    pub(super) async fn revisions(self, service: &str) -> Result<Vec<Value>, Gone> {
        let listed = self.get(&format!("{PARENT}/services/{service}/revisions?pageSize=100")).await?;
        Ok(listed["revisions"].as_array().cloned().unwrap_or_default())
    }

    pub(super) async fn open_operations(self) -> Result<usize, Gone> {
        let listed = self.get(&format!("{PARENT}/operations?filter=done:false&pageSize=100")).await?;
        Ok(listed["operations"].as_array().map_or(0, Vec::len))
    }

    /// Calls a service as somebody who has no rights.
    pub(super) async fn visit(self, service: &Value) -> Result<(StatusCode, String), Gone> {
        let url = service["uri"].as_str().expect("a URL");
        let host = url.trim_start_matches("http://").split([':', '/']).next().unwrap_or_default();
        let answer = self.client.get(format!("http://{}/", self.address)).header("host", host).send().await?;
        Ok((answer.status(), answer.text().await?))
    }
}

// === impl Deployer ===

impl Deployer<'_> {
    /// Works until the server is gone.
    pub(super) async fn work(&self) -> Gone {
        loop {
            let service = self.services[self.chance.below(self.services.len())];
            let done = match (self.ledger.service(service), self.chance.below(10)) {
                (None, _) => self.create(service).await,
                (Some(intent), 0..=3) => self.deploy(service, intent).await,
                (Some(intent), 4..=6) => self.route(service, intent).await,
                (Some(intent), 7..=8) => self.set_policy(service, intent).await,
                (Some(_), _) => self.delete(service).await,
            };
            if let Err(gone) = done {
                return gone;
            }
        }
    }

    async fn create(&self, service: &str) -> Result<(), Gone> {
        let (answer, template) = self.template();
        let intent = Intent { answer, traffic: vec![("LATEST".to_owned(), 100)], open: false };
        let path = format!("{PARENT}/services?serviceId={service}");
        self.write(service, Some(intent), (Method::POST, &path, json!({"template": template}))).await
    }

    async fn deploy(&self, service: &str, before: Intent) -> Result<(), Gone> {
        let (answer, template) = self.template();
        let path = format!("{PARENT}/services/{service}?updateMask=template");
        let body = json!({"template": template});
        self.write(service, Some(Intent { answer, ..before }), (Method::PATCH, &path, body)).await
    }

    /// Sends a part of the traffic to a revision that is ready, or all of it to the latest.
    async fn route(&self, service: &str, before: Intent) -> Result<(), Gone> {
        let revisions = self.api.revisions(service).await?;
        let is_ready = |revision: &&Value| {
            let conditions = revision["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
            conditions.iter().any(|one| one["type"] == "Ready" && one["state"] == "CONDITION_SUCCEEDED")
        };
        let ready: Vec<&Value> = revisions.iter().filter(is_ready).collect();
        let mut traffic = vec![("LATEST".to_owned(), 100)];
        if !ready.is_empty() && !self.chance.one_in(3) {
            let name = ready[self.chance.below(ready.len())]["name"].as_str().unwrap_or_default();
            let percent = 1 + self.chance.below(99) as i64;
            let id = name.rsplit('/').next().unwrap_or_default().to_owned();
            traffic = vec![("LATEST".to_owned(), 100 - percent), (id, percent)];
        }
        let line = |(revision, percent): &(String, i64)| match revision.as_str() {
            "LATEST" => json!({"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": percent}),
            id => json!({"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": id, "percent": percent}),
        };
        let body = json!({"traffic": traffic.iter().map(line).collect::<Vec<_>>()});
        let path = format!("{PARENT}/services/{service}?updateMask=traffic");
        self.write(service, Some(Intent { traffic, ..before }), (Method::PATCH, &path, body)).await
    }

    async fn set_policy(&self, service: &str, before: Intent) -> Result<(), Gone> {
        let open = !before.open;
        let members = if open { json!(["allUsers"]) } else { json!([]) };
        let body = json!({"policy": {"bindings": [{"role": "roles/run.invoker", "members": members}]}});
        self.ledger.begin_service(service, Some(Intent { open, ..before }));
        let (status, said) =
            self.api.call(Method::POST, &format!("{PARENT}/services/{service}:setIamPolicy"), body).await?;
        self.end(service, (status, &said), None);
        Ok(())
    }

    async fn delete(&self, service: &str) -> Result<(), Gone> {
        self.write(service, None, (Method::DELETE, &format!("{PARENT}/services/{service}"), Value::Null)).await
    }

    /// A write with an operation, whose end is sometimes waited for.
    async fn write(
        &self,
        service: &str,
        intent: Option<Intent>,
        (method, path, body): (Method, &str, Value),
    ) -> Result<(), Gone> {
        self.ledger.begin_service(service, intent);
        let (status, said) = self.api.call(method, path, body).await?;
        if !self.end(service, (status, &said), Some(&said["metadata"])) {
            return Ok(());
        }
        let operation = said["name"].as_str().expect("a name");
        self.ledger.operation(operation);
        if self.chance.one_in(3) {
            return Ok(());
        }
        let (status, ended) =
            self.api.call(Method::POST, &format!("{operation}:wait"), json!({"timeout": "20s"})).await?;
        assert_eq!(status, StatusCode::OK, "{ended:#}");
        if ended["done"] == true {
            self.ledger.operation_ended(operation, &outcome(&ended));
        }
        Ok(())
    }

    /// Writes down what the server answered: that it was done, or that it was refused for what went on beside it.
    fn end(&self, service: &str, (status, said): (StatusCode, &Value), resource: Option<&Value>) -> bool {
        match status {
            StatusCode::OK => self.ledger.end_service(service, resource),
            StatusCode::CONFLICT => self.ledger.refused_service(service),
            _ => panic!("{service}: {status} {said:#}"),
        }
        status == StatusCode::OK
    }

    fn template(&self) -> (String, Value) {
        let answer = format!("answer-{:x}", self.chance.next());
        let image = match self.chance.below(3) {
            2 => self.upstream.image(self.chance.next() >> 32),
            which => LOCAL[which].to_owned(),
        };
        let container = json!({"image": image, "env": [{"name": "ANSWER", "value": answer}]});
        (answer, json!({"containers": [container]}))
    }
}

/// How an operation ended: with success, or with an error.
pub(super) fn outcome(operation: &Value) -> Value {
    if operation["error"].is_null() { json!("done") } else { operation["error"].clone() }
}
