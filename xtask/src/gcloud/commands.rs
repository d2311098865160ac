//! What is typed, and what Google's Cloud Run lets gcloud print.

use super::{Line, Then, Who};

const fn line(words: &'static str, exit: i32, says: &'static [&'static str]) -> Line {
    Line { words, who: Who::Operator, exit, says, then: Then::Unsaid }
}

const fn answered(words: &'static str, says: &'static [&'static str], then: &'static str) -> Line {
    Line { words, who: Who::Operator, exit: 0, says, then: Then::Answers(then) }
}

/// Files that commands name.
pub(super) const MANIFESTS: [(&str, &str); 4] = [
    ("service.yaml", SERVICE),
    ("changed.yaml", CHANGED),
    ("sidecars.yaml", SIDECARS),
    (
        "wrong.yaml",
        "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: wrong}\nspec: {template: {spec: {containers: [{image: x, imag: y}]}}}\n",
    ),
];

const SERVICE: &str = "\
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: demo-yaml
  labels: {tier: web}
spec:
  template:
    metadata:
      annotations: {autoscaling.knative.dev/maxScale: '3'}
    spec:
      containerConcurrency: 20
      containers:
      - image: localhost/hello:latest
        env: [{name: A, value: '1'}]
  traffic: [{percent: 100, latestRevision: true}]
";

const CHANGED: &str = "\
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: demo-yaml
spec:
  template:
    spec:
      containers:
      - image: localhost/hello:latest
        env: [{name: A, value: '2'}]
";

/// The container that takes the traffic starts when the other one listens; both see one volume.
const SIDECARS: &str = "\
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: demo-sidecars
spec:
  template:
    metadata:
      annotations: {run.googleapis.com/container-dependencies: '{\"web\":[\"db\"]}'}
    spec:
      containers:
      - name: web
        image: localhost/hello:latest
        ports: [{containerPort: 9090}]
        volumeMounts: [{name: shared, mountPath: /data}]
      - name: db
        image: localhost/hello:latest
        startupProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 2, failureThreshold: 30}
        volumeMounts: [{name: shared, mountPath: /srv/shared}]
      volumes: [{name: shared, emptyDir: {medium: Memory, sizeLimit: 64Mi}}]
";

const DEPLOYED: &[&str] = &[
    "Deploying container to Cloud Run service [demo] in project [demo-project] region [us-central1]",
    "Deploying...",
    "Creating Revision",
    "Routing traffic",
    "Done.",
    "has been deployed and is serving 100 percent of traffic.",
    "Service URL: http://demo-",
];
const APPLIED: &[&str] = &[
    "Applying new configuration to Cloud Run service [demo-yaml]",
    "New configuration has been applied to service [demo-yaml].",
    "URL: http://demo-yaml-",
];
const UPDATED: &[&str] = &["Creating Revision", "Routing traffic", "Done.", "Service [demo] revision [demo-000"];
const TRAFFIC: &[&str] = &["Updating traffic...", "Done.", "URL: http://demo-", "Traffic:", "100%"];
const BOUND: &[&str] = &["Updated IAM policy for service [demo].", "role: roles/run.invoker", "etag: "];

/// The commands, in their order.
pub(super) const COMMANDS: &[Line] = &[
    answered(
        "run deploy demo --image localhost/hello:latest --allow-unauthenticated",
        &[
            "Deploying new service...",
            "Setting IAM Policy",
            "Creating Revision",
            "Routing traffic",
            "Done.",
            "Service URL: http://demo-",
        ],
        "Hello",
    ),
    line("run deploy demo --image localhost/hello:latest --update-env-vars A=1,B=two", 0, DEPLOYED),
    line(
        "run deploy demo --image localhost/hello:latest --cpu 2 --memory 1Gi --concurrency 10 --timeout 120",
        0,
        DEPLOYED,
    ),
    line("run deploy demo --image localhost/hello:latest --port 9090 --min-instances 1 --max-instances 5", 0, DEPLOYED),
    line(
        "run deploy demo --image localhost/hello:latest --port 8080 --min-instances 0 --labels team=core",
        0,
        DEPLOYED,
    ),
    line("run deploy demo --image localhost/hello:latest --ingress internal --description 'a demo'", 0, DEPLOYED),
    line("run deploy demo --image localhost/hello:latest --ingress all --no-allow-unauthenticated", 0, DEPLOYED),
    line("run deploy demo --image localhost/hello:latest --allow-unauthenticated --no-cpu-throttling", 0, DEPLOYED),
    line(
        "run deploy demo --image localhost/hello:latest --execution-environment gen2 --cpu-boost --cpu-throttling",
        0,
        DEPLOYED,
    ),
    line("run deploy demo --image localhost/hello:latest --session-affinity", 0, DEPLOYED),
    line("run deploy demo --image localhost/hello:latest --no-session-affinity --min 0 --max 10", 0, DEPLOYED),
    answered("run services update demo --update-env-vars C=3", UPDATED, "Hello"),
    line("run services update demo --min 1", 0, &["Service [demo] has been updated."]),
    line("run services update demo --min 0 --async", 0, &["Service [demo] is updating asynchronously."]),
    line(
        "run deploy demo --image localhost/hello:latest --tag canary --no-traffic",
        0,
        &["is serving 0 percent of traffic.", "The revision can be reached directly at http://canary---demo-"],
    ),
    line("run services update-traffic demo --to-revisions {oldest}=30", 0, &["Done.", "30% demo-", "Traffic:"]),
    line("run services update-traffic demo --to-latest", 0, TRAFFIC),
    line("run services update-traffic demo --set-tags blue=LATEST", 0, &["blue: http://blue---demo-"]),
    line("run services update-traffic demo --to-tags blue=100", 0, TRAFFIC),
    line(
        "run services describe demo",
        0,
        &[
            "Service demo in region us-central1",
            "URL:     http://demo-",
            "Traffic:",
            "Image:           localhost/hello:latest",
        ],
    ),
    line(
        "run services describe demo --format export",
        0,
        &[
            "apiVersion: serving.knative.dev/v1",
            "kind: Service",
            "run.googleapis.com/description: a demo",
            "team: core",
        ],
    ),
    line("run services describe demo --format 'value(status.url)'", 0, &["http://demo-"]),
    line("run services describe absent", 1, &["ERROR: (gcloud.run.services.describe) Cannot find service [absent]"]),
    line("run services list", 0, &["SERVICE", "REGION", "URL", "LAST DEPLOYED BY", "demo", "us-central1"]),
    line("run services list --region us-central1", 0, &["demo", "us-central1"]),
    line("run services get-iam-policy demo", 0, &["- allUsers", "role: roles/run.invoker", "etag: "]),
    line("run services add-iam-policy-binding demo --member user:a@example.com --role roles/run.invoker", 0, BOUND),
    line("run services remove-iam-policy-binding demo --member user:a@example.com --role roles/run.invoker", 0, BOUND),
    line("run revisions list --service demo", 0, &["REVISION", "ACTIVE", "SERVICE", "DEPLOYED", "demo-00001-"]),
    line("run revisions list", 0, &["demo-00002-"]),
    line("run revisions describe {oldest}", 0, &["Revision demo-00001-", "Image:", "Concurrency:"]),
    line("run revisions delete {oldest} --quiet", 0, &["Deleted revision [demo-00001-"]),
    line("run routes list", 0, &["ROUTE", "demo"]),
    line("run configurations list", 0, &["CONFIGURATION", "LATEST REVISION", "READY REVISION", "demo-000"]),
    line("run regions list", 0, &["NAME", "us-central1"]),
    line(
        "run services replace {dir}/service.yaml --dry-run",
        0,
        &["New configuration has been validated for service [demo-yaml]."],
    ),
    line("run services replace {dir}/service.yaml", 0, APPLIED),
    line("run services replace {dir}/changed.yaml", 0, APPLIED),
    line("run services replace {dir}/changed.yaml", 0, APPLIED),
    line("run services replace {dir}/wrong.yaml", 1, &["imag"]),
    line(
        "run deploy failing --image localhost/absent:latest --no-allow-unauthenticated",
        1,
        &["Deployment failed", "is not ready and cannot serve traffic.", "not found"],
    ),
    line(
        "run deploy failing --image localhost/hello:latest --command /absent --no-allow-unauthenticated",
        1,
        &["Deployment failed", "is not ready and cannot serve traffic.", "/absent"],
    ),
    line(
        "run deploy demo-pair --no-allow-unauthenticated --add-volume name=v,type=in-memory,size-limit=64Mi \
         --container web --image localhost/hello:latest --port 9090 --depends-on db \
         --add-volume-mount volume=v,mount-path=/data --container db --image localhost/hello:latest \
         --startup-probe tcpSocket.port=8080 --memory 256Mi --add-volume-mount volume=v,mount-path=/srv/shared",
        0,
        &["Creating Revision", "Done.", "Service [demo-pair] revision [demo-pair-00001-"],
    ),
    line(
        "run services describe demo-pair",
        0,
        &["Container web", "Container db", "Port:            9090", "Memory:          256Mi", "/data"],
    ),
    line(
        "run services update demo-pair --container db --update-env-vars A=1",
        0,
        &["Creating Revision", "Done.", "Service [demo-pair] revision [demo-pair-00002-"],
    ),
    line(
        "run deploy demo-volume --image localhost/hello:latest --no-allow-unauthenticated \
         --add-volume name=v,type=in-memory,size-limit=64Mi --add-volume-mount volume=v,mount-path=/data",
        0,
        &["Done.", "Service [demo-volume] revision [demo-volume-00001-"],
    ),
    line(
        "run services replace {dir}/sidecars.yaml",
        0,
        &["New configuration has been applied to service [demo-sidecars].", "URL: http://demo-sidecars-"],
    ),
    line(
        "run deploy demo-circle --no-allow-unauthenticated --container web --image localhost/hello:latest --port 9090 \
         --depends-on db --container db --image localhost/hello:latest --depends-on web",
        1,
        &["container-dependencies", "web → db → web"],
    ),
    line(
        "run deploy demo-pair-broken --no-allow-unauthenticated --container web --image localhost/hello:latest --port 9090 \
         --container db --image localhost/hello:latest --command /absent",
        1,
        &[
            "Deployment failed",
            "is not ready and cannot serve traffic.",
            "The user-provided container 'db' failed to start.",
        ],
    ),
    line(
        "run deploy wrong --image localhost/hello:latest --cpu 17 --no-allow-unauthenticated",
        1,
        &["spec.template.spec.containers[0].resources.limits[cpu]"],
    ),
    line(
        "beta run domain-mappings create --service demo --domain app.example.com --region us-central1",
        0,
        &["app", "CNAME"],
    ),
    line("beta run domain-mappings list --region us-central1", 0, &["app.example.com", "demo"]),
    line("run services logs read demo --limit 5", 0, &[]),
    line("run services delete demo-yaml --quiet", 0, &["Deleted service [demo-yaml]."]),
    line("run services delete absent --quiet", 1, &["ERROR: (gcloud.run.services.delete)"]),
];
