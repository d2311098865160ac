//! The method table: which methods there are, how REST spells them, what they need.
//!
//! A row names the gRPC method; requests, answers and query parameters follow from the descriptors.
//! Each product has its table, a prefix of its paths where several products share a host, and a domain of its errors.
//! Sources: Cloud Run Admin API v2, `google.longrunning`, `google.cloud.location`, Secret Manager API v1, Cloud Scheduler
//! API v1.

mod run;
mod scheduler;
mod secrets;

use std::sync::LazyLock;

use http::Method as Verb;
use prost_reflect::{DynamicMessage, MethodDescriptor, ReflectMessage, Value as Field};
use updraft_model::{Error, ErrorKind, iam::Permission};

use crate::{
    Named,
    audit::Reads,
    json::{self, bind_query, bind_text, to_dynamic},
    path::Template,
    pool,
};

/// One method of the API.
#[derive(Debug)]
pub struct Method {
    /// The name on the gRPC wire, without the leading slash: `google.cloud.run.v2.Services/GetService`.
    pub name: &'static str,
    /// What the caller needs on the resource.
    pub access: Access,
    /// Which of its calls the audit log has.
    pub reads: Reads,
    /// How REST spells it; the first is the one to tell people.
    pub bindings: &'static [Binding],
}

/// What a caller needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// This permission.
    Permission(Permission),
    /// None: the method only tells callers about themselves.
    Free,
}

/// One spelling in REST.
#[derive(Debug)]
pub struct Binding {
    /// The verb.
    pub verb: Verb,
    /// The path template.
    pub path: &'static str,
    /// Where the body goes.
    pub body: Body,
}

/// A product that has methods here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Product {
    /// Cloud Run.
    Run,
    /// Secret Manager.
    SecretManager,
    /// Cloud Scheduler.
    CloudScheduler,
}

/// Where the body of a REST request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none; all fields but the path's come from the query.
    None,
    /// Into this field; the others come from the query.
    Field(&'static str),
    /// It is the request, but for the fields of the path.
    Whole,
}

/// Where a REST request leads.
#[derive(Debug)]
pub enum Route {
    /// To a method.
    Found(Match),
    /// The path exists with these verbs only.
    WrongVerb(Vec<Verb>),
    /// Nowhere.
    Unknown,
}

/// A REST request that found its method.
#[derive(Debug)]
pub struct Match {
    /// The method.
    pub method: &'static Method,
    binding: &'static Binding,
    captures: Vec<(&'static str, String)>,
}

use Access::{Free, Permission as Needs};

/// The tables, one of each product.
const TABLES: [&[Method]; 3] = [&run::METHODS, &secrets::METHODS, &scheduler::METHODS];

/// Every method that is served.
pub fn methods() -> impl Iterator<Item = &'static Method> {
    TABLES.into_iter().flatten()
}

/// The table's templates, taken apart once: method, binding, template.
static TEMPLATES: LazyLock<Vec<(&'static Method, &'static Binding, Template)>> = LazyLock::new(|| {
    let bindings = methods().flat_map(|method| method.bindings.iter().map(move |binding| (method, binding)));
    bindings.map(|(method, binding)| (method, binding, Template::new(binding.path))).collect()
});

/// The method with this name on the gRPC wire.
pub fn find(name: &str) -> Option<&'static Method> {
    methods().find(|method| method.name == name)
}

/// The services that the table has methods of, each once.
pub fn services() -> Vec<&'static str> {
    let mut names: Vec<&str> = methods().map(|method| method.service()).collect();
    names.dedup();
    names
}

/// The product whose prefix a path has, and the rest of the path.
pub fn prefixed(path: &str) -> (Option<Product>, &str) {
    let after = |product: Product| {
        let rest = path.strip_prefix('/')?.strip_prefix(product.prefix())?;
        rest.starts_with('/').then_some((Some(product), rest))
    };
    [Product::Run, Product::SecretManager, Product::CloudScheduler].into_iter().find_map(after).unwrap_or((None, path))
}

/// Where a REST request leads. `path` is as on the wire, without query and prefix; only methods of `product` count, if it is
/// known.
pub fn route(product: Option<Product>, verb: &Verb, path: &str) -> Route {
    let mut allowed = Vec::new();
    let meant = TEMPLATES.iter().filter(|(method, ..)| product.is_none_or(|product| method.product() == product));
    for (method, binding, template) in meant {
        let Some(captures) = template.matches(path) else { continue };
        if binding.verb == verb {
            return Route::Found(Match { method, binding, captures });
        }
        allowed.push(binding.verb.clone());
    }
    if allowed.is_empty() { Route::Unknown } else { Route::WrongVerb(allowed) }
}

// === impl Access ===

impl Access {
    /// Does a method that needs this change anything?
    pub fn is_write(self) -> bool {
        match self {
            Free => false,
            Needs(permission) => {
                !permission.ends_with(".get")
                    && !permission.ends_with(".list")
                    && !permission.ends_with(".access")
                    && !permission.ends_with(".getIamPolicy")
            }
        }
    }
}

// === impl Product ===

impl Product {
    /// What its paths begin with where several products share a host; the name in gcloud's endpoint overrides.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::SecretManager => "secretmanager",
            Self::CloudScheduler => "cloudscheduler",
        }
    }

    /// Whose errors its errors are.
    pub fn domain(self) -> &'static str {
        match self {
            Self::Run => "run.googleapis.com",
            Self::SecretManager => "secretmanager.googleapis.com",
            Self::CloudScheduler => "cloudscheduler.googleapis.com",
        }
    }
}

// === impl Method ===

impl Method {
    /// The service's full name.
    pub fn service(&self) -> &'static str {
        self.name.split_once('/').map_or(self.name, |(service, _)| service)
    }

    /// Whose it is.
    pub fn product(&self) -> Product {
        let package = |name: &str| self.name.starts_with(name);
        match () {
            () if package("google.cloud.secretmanager.") => Product::SecretManager,
            () if package("google.cloud.scheduler.") => Product::CloudScheduler,
            () => Product::Run,
        }
    }

    /// The descriptor, with the request's and the answer's. `None` when the table of descriptors lacks it,
    /// which a test rules out.
    pub fn descriptor(&self) -> Option<MethodDescriptor> {
        let (service, name) = self.name.split_once('/')?;
        pool().get_service_by_name(service)?.methods().find(|method| method.name() == name)
    }

    /// Does it change anything?
    pub fn is_write(&self) -> bool {
        self.access.is_write()
    }

    /// The resource that a request by gRPC names, or its parent; as REST has it in the path.
    pub fn resource<M: Named>(&self, request: &M) -> String {
        let Some((_, rest)) = self.bindings.first().and_then(|binding| binding.path.split_once('{')) else {
            return String::new();
        };
        let path = rest.split(['=', '}']).next().unwrap_or_default();
        let Ok(message) = to_dynamic(request) else { return String::new() };
        let mut value = Field::Message(message);
        for name in path.split('.') {
            let inner = value.as_message().and_then(|message| message.get_field_by_name(name));
            let Some(inner) = inner.map(std::borrow::Cow::into_owned) else { return String::new() };
            value = inner;
        }
        value.as_str().unwrap_or_default().to_owned()
    }
}

// === impl Match ===

impl Match {
    /// The resource that the path names, or its parent: `projects/p/locations/l/services/s`.
    pub fn resource(&self) -> &str {
        self.captures.first().map_or("", |(_, value)| value)
    }

    /// The request, out of path, query and body. The path wins over the body.
    ///
    /// # Errors
    /// `InvalidArgument` for what does not fit.
    pub fn request(&self, query: &str, body: &[u8]) -> Result<DynamicMessage, Error> {
        let descriptor = self.method.descriptor().ok_or_else(|| Error::internal(self.method.name))?.input();
        if self.binding.body == Body::None && !matches!(body.trim_ascii(), b"" | b"{}") {
            let message = format!("Invalid JSON payload received. {} takes no body.", self.binding.verb);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let mut request = match (self.binding.body, body.trim_ascii()) {
            (Body::Whole, text) if !text.is_empty() => json::read(&descriptor, &json::parse(text)?, "")?,
            _ => DynamicMessage::new(descriptor),
        };
        if let (Body::Field(name), text) = (self.binding.body, body.trim_ascii())
            && !text.is_empty()
            && let Some(field) = request.descriptor().get_field_by_name(name)
            && let Some(descriptor) = field.kind().as_message()
        {
            let value = json::read(descriptor, &json::parse(text)?, name)?;
            request.set_field(&field, Field::Message(value));
        }
        bind_query(&mut request, query)?;
        for (field, value) in &self.captures {
            bind_text(&mut request, field, value)?;
        }
        Ok(request)
    }
}

const fn get(path: &'static str) -> Binding {
    Binding { verb: Verb::GET, path, body: Body::None }
}

const fn delete(path: &'static str) -> Binding {
    Binding { verb: Verb::DELETE, path, body: Body::None }
}

const fn post(path: &'static str, body: Body) -> Binding {
    Binding { verb: Verb::POST, path, body }
}

const fn patch(path: &'static str, field: &'static str) -> Binding {
    Binding { verb: Verb::PATCH, path, body: Body::Field(field) }
}

#[cfg(test)]
mod tests {
    use updraft_model::iam::known_permission;

    use super::*;
    use crate::{Named, json::from_dynamic, run};

    fn request<M: Named>(verb: Verb, path: &str, query: &str, body: &str) -> Result<M, Error> {
        match route(None, &verb, path) {
            Route::Found(found) => from_dynamic(&found.request(query, body.as_bytes())?),
            other => panic!("{verb} {path} leads to {other:?}"),
        }
    }

    #[test]
    fn every_method_has_a_descriptor_a_rest_spelling_and_an_access_rule() {
        for method in methods() {
            let descriptor = method.descriptor().unwrap_or_else(|| panic!("{} has no descriptor", method.name));
            assert!(!method.bindings.is_empty(), "{}", method.name);
            if let Needs(permission) = method.access {
                let is_own = permission.starts_with(&format!("{}.", method.product().prefix()));
                assert!(is_own && permission.split('.').count() == 3, "{permission}");
            }
            for binding in method.bindings {
                let mut probe = DynamicMessage::new(descriptor.input());
                let path = binding.path.replace('*', "x");
                let path = path.split_once('{').map_or_else(
                    || path.clone(),
                    |(head, rest)| {
                        let rest = rest.split_once('=').map_or(rest, |(_, rest)| rest);
                        format!("{head}{}", rest.replacen('}', "", 1))
                    },
                );
                for product in [None, Some(method.product())] {
                    let found = route(product, &binding.verb, &path);
                    assert!(matches!(found, Route::Found(found) if found.method.name == method.name), "{path}");
                }
                let Route::Found(found) = route(None, &binding.verb, &path) else { panic!("{path} leads nowhere") };
                for (field, value) in &found.captures {
                    bind_text(&mut probe, field, value).unwrap_or_else(|error| panic!("{}: {error}", method.name));
                }
                if let Body::Field(name) = binding.body {
                    assert!(descriptor.input().get_field_by_name(name).is_some(), "{}: {name}", method.name);
                }
            }
        }
    }

    #[test]
    fn only_asking_for_ones_own_permissions_is_free() {
        let free: Vec<&str> = methods().filter(|method| method.access == Free).map(|method| method.name).collect();
        let expected = [
            "google.cloud.run.v2.Services/TestIamPermissions",
            "google.cloud.run.v2.Jobs/TestIamPermissions",
            "google.cloud.run.v2.WorkerPools/TestIamPermissions",
            "google.cloud.secretmanager.v1.SecretManagerService/TestIamPermissions",
        ];
        assert_eq!(free, expected);
    }

    #[test]
    fn every_permission_that_is_needed_can_be_asked_for() {
        for method in methods() {
            if let Needs(permission) = method.access {
                assert!(known_permission(permission).is_some(), "{permission}");
            }
        }
    }

    #[test]
    fn both_wires_name_the_same_resource() {
        let name = "projects/demo/locations/us-central1/services/hello".to_owned();
        let update = find("google.cloud.run.v2.Services/UpdateService").expect("there");
        let service = Some(run::Service { name: name.clone(), ..run::Service::default() });
        assert_eq!(update.resource(&run::UpdateServiceRequest { service, ..Default::default() }), name);
        assert!(update.is_write());
        let get = find("google.cloud.run.v2.Services/GetService").expect("there");
        assert_eq!(get.resource(&run::GetServiceRequest { name: name.clone() }), name);
        assert!(!get.is_write());
        let Route::Found(found) = route(None, &Verb::GET, &format!("/v2/{name}")) else { panic!("it is there") };
        assert_eq!(found.resource(), name);
        assert_eq!(update.resource(&run::UpdateServiceRequest::default()), "");
    }

    #[test]
    fn what_runs_a_job_or_ends_an_execution_is_a_write_and_leads_to_its_method() {
        let job = "projects/demo/locations/us-central1/jobs/nightly";
        let body = r#"{"overrides": {"taskCount": 2, "parallelism": 1}}"#;
        let run: crate::run_job::RunJobRequest =
            request(Verb::POST, &format!("/v2/{job}:run"), "", body).expect("well formed");
        assert_eq!(run.name, job);
        assert_eq!(run.overrides().and_then(|overrides| overrides.parallelism), Some(1));
        let Route::Found(found) = route(None, &Verb::POST, &format!("/v2/{job}:run")) else { panic!("it is there") };
        assert_eq!((found.method.access, found.method.is_write()), (Needs("run.jobs.run"), true));
        assert_eq!(found.method.resource(&run), job);
        let execution = format!("{job}/executions/nightly-1");
        let cancel: run::CancelExecutionRequest =
            request(Verb::POST, &format!("/v2/{execution}:cancel"), "", "{}").expect("well formed");
        assert_eq!(cancel.name, execution);
        let cancel = find("google.cloud.run.v2.Executions/CancelExecution").expect("there");
        assert!(cancel.is_write());
        let tasks: run::ListTasksRequest =
            request(Verb::GET, &format!("/v2/{execution}/tasks"), "pageSize=5", "").expect("well formed");
        assert_eq!((tasks.parent, tasks.page_size), (execution, 5));
    }

    #[test]
    fn policies_of_jobs_and_worker_pools_are_found_by_the_paths_of_both_versions() {
        for (path, method) in [
            ("/v1/projects/p/locations/l/jobs/j", "google.cloud.run.v2.Jobs/GetIamPolicy"),
            ("/v2/projects/p/locations/l/jobs/j", "google.cloud.run.v2.Jobs/GetIamPolicy"),
            ("/v1/projects/p/locations/l/workerpools/w", "google.cloud.run.v2.WorkerPools/GetIamPolicy"),
            ("/v2/projects/p/locations/l/workerPools/w", "google.cloud.run.v2.WorkerPools/GetIamPolicy"),
        ] {
            let path = format!("{path}:getIamPolicy");
            let Route::Found(found) = route(None, &Verb::GET, &path) else { panic!("{path} leads nowhere") };
            assert_eq!(found.method.name, method);
        }
    }

    #[test]
    fn a_method_without_a_body_takes_none() {
        let path = "/v2/projects/demo/locations/l/services";
        for fine in ["", " ", "{}"] {
            assert!(request::<run::ListServicesRequest>(Verb::GET, path, "", fine).is_ok(), "{fine:?}");
        }
        let error = request::<run::ListServicesRequest>(Verb::GET, path, "", "{\"x\": 1}").expect_err("refused");
        assert!(error.message().ends_with("GET takes no body."), "{error}");
    }

    #[test]
    fn a_request_is_made_of_path_query_and_body() {
        let made: run::CreateServiceRequest = request(
            Verb::POST,
            "/v2/projects/demo/locations/us-central1/services",
            "serviceId=hello&validate_only=true&$alt=json%3Benum-encoding%3Dint&prettyPrint=false",
            r#"{"ingress": 2, "template": {"containers": [{"image": "x"}]}}"#,
        )
        .expect("well formed");
        assert_eq!((made.parent.as_str(), made.service_id.as_str()), ("projects/demo/locations/us-central1", "hello"));
        assert!(made.validate_only);
        assert_eq!(made.service.map(|service| service.ingress), Some(2));
    }

    #[test]
    fn the_name_in_the_path_wins_over_the_body() {
        let name = "projects/demo/locations/us-central1/services/hello";
        let query = "updateMask=template.containers,traffic";
        let made: run::UpdateServiceRequest =
            request(Verb::PATCH, &format!("/v2/{name}"), query, r#"{"name": "other"}"#).expect("well formed");
        assert_eq!(made.service.map(|service| service.name).as_deref(), Some(name));
        assert_eq!(made.update_mask.expect("given").paths, ["template.containers", "traffic"]);
    }

    #[test]
    fn nested_query_parameters_are_bound() {
        let path = "/v2/projects/demo/locations/l/services/s:getIamPolicy";
        let made: crate::iam::GetIamPolicyRequest =
            request(Verb::GET, path, "options.requestedPolicyVersion=3", "").expect("well formed");
        assert_eq!(made.options.map(|options| options.requested_policy_version), Some(3));
    }

    #[test]
    fn unknown_and_malformed_parameters_are_refused_by_name() {
        let path = "/v2/projects/demo/locations/l/services";
        let refused = |query: &str| request::<run::ListServicesRequest>(Verb::GET, path, query, "").expect_err(query);
        assert!(refused("foo=1").message().contains("Unknown name \"foo\": Cannot bind query parameter."));
        assert!(refused("pageToken=%ff").message().contains("not UTF-8"));
        assert!(refused("pageSize=many").message().contains("Invalid value at 'pageSize' (TYPE_INT32)"));
    }

    #[test]
    fn a_known_path_with_another_verb_tells_the_right_ones() {
        let Route::WrongVerb(verbs) = route(None, &Verb::PUT, "/v2/projects/p/locations/l/services/s") else {
            panic!("the path exists")
        };
        assert_eq!(verbs, [Verb::GET, Verb::PATCH, Verb::DELETE]);
        assert!(matches!(route(None, &Verb::GET, "/v2/projects/p/places/l"), Route::Unknown));
    }
    #[test]
    fn a_prefix_leads_to_its_product_only_and_is_taken_off_once() {
        let secret = "/v1/projects/p/secrets/s/versions/1:access";
        let (product, rest) = prefixed("/secretmanager/v1/projects/p/secrets/s/versions/1:access");
        assert_eq!((product, rest), (Some(Product::SecretManager), secret));
        assert!(matches!(route(product, &Verb::GET, rest), Route::Found(_)));
        assert!(matches!(route(Some(Product::Run), &Verb::GET, secret), Route::Unknown));
        assert!(matches!(route(product, &Verb::GET, "/v2/projects/p/locations/l/services"), Route::Unknown));
        assert_eq!(prefixed("/run/v2/projects"), (Some(Product::Run), "/v2/projects"));
        assert_eq!(prefixed("/run/run/v2"), (Some(Product::Run), "/run/v2"));
        for plain in ["/v2/projects", "/runner/v2", "/run", "/secretmanagers/v1"] {
            assert_eq!(prefixed(plain), (None, plain));
        }
    }

    #[test]
    fn a_value_of_a_secret_is_read_not_written() {
        let access = find("google.cloud.secretmanager.v1.SecretManagerService/AccessSecretVersion").expect("there");
        let add = find("google.cloud.secretmanager.v1.SecretManagerService/AddSecretVersion").expect("there");
        assert_eq!((access.is_write(), add.is_write()), (false, true));
    }
}
