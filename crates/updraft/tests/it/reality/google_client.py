"""Google's own Cloud Run client against a server of ours, over REST or gRPC.

usage: google_client.py rest|grpc HOST:PORT IMAGE OTHER_IMAGE

Prints one line per step and ends with "all steps passed"; any surprise is an exception and a non-zero exit.
"""

import json
import sys
import urllib.request

import grpc
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2
from google.cloud.run_v2.services.executions.transports import ExecutionsGrpcTransport, ExecutionsRestTransport
from google.cloud.run_v2.services.jobs.transports import JobsGrpcTransport, JobsRestTransport
from google.cloud.run_v2.services.revisions.transports import RevisionsGrpcTransport, RevisionsRestTransport
from google.cloud.run_v2.services.services.transports import ServicesGrpcTransport, ServicesRestTransport
from google.cloud.run_v2.services.tasks.transports import TasksGrpcTransport, TasksRestTransport
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf import duration_pb2, field_mask_pb2

PARENT = "projects/demo-project/locations/us-central1"
WAIT = 90


def clients(transport, address):
    if transport == "grpc":
        channel = grpc.insecure_channel(address)
        return (
            run_v2.ServicesClient(transport=ServicesGrpcTransport(channel=channel)),
            run_v2.RevisionsClient(transport=RevisionsGrpcTransport(channel=channel)),
        )
    options = dict(host=f"http://{address}", url_scheme="http", credentials=AnonymousCredentials())
    return (
        run_v2.ServicesClient(transport=ServicesRestTransport(**options)),
        run_v2.RevisionsClient(transport=RevisionsRestTransport(**options)),
    )


def job_clients(transport, address):
    """Clients of jobs, of executions and of tasks."""
    if transport == "grpc":
        channel = grpc.insecure_channel(address)
        return (
            run_v2.JobsClient(transport=JobsGrpcTransport(channel=channel)),
            run_v2.ExecutionsClient(transport=ExecutionsGrpcTransport(channel=channel)),
            run_v2.TasksClient(transport=TasksGrpcTransport(channel=channel)),
        )
    options = dict(host=f"http://{address}", url_scheme="http", credentials=AnonymousCredentials())
    return (
        run_v2.JobsClient(transport=JobsRestTransport(**options)),
        run_v2.ExecutionsClient(transport=ExecutionsRestTransport(**options)),
        run_v2.TasksClient(transport=TasksRestTransport(**options)),
    )


def step(text):
    print(text, flush=True)


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def template(image, **env):
    container = run_v2.Container(image=image)
    container.env = [run_v2.EnvVar(name=name, value=value) for name, value in env.items()]
    return run_v2.RevisionTemplate(containers=[container])


def create(services, service_id, image):
    step("create")
    service = run_v2.Service(template=template(image), labels={"made-by": "google-client"})
    operation = services.create_service(parent=PARENT, service=service, service_id=service_id)
    expect(operation.metadata.name.endswith(f"/services/{service_id}"), f"metadata {operation.metadata}")
    made = operation.result(timeout=WAIT)
    expect(made.terminal_condition.state == run_v2.Condition.State.CONDITION_SUCCEEDED, f"ready: {made.terminal_condition}")
    expect(not made.reconciling and made.generation == 1 and made.observed_generation == 1, f"settled: {made}")
    expect(made.latest_ready_revision.split("/")[-1].startswith(f"{service_id}-00001-"), made.latest_ready_revision)
    expect(made.uri.startswith("http://") and made.uri in made.urls, f"{made.uri} {made.urls}")

    step("defaults")
    container = made.template.containers[0]
    expect(made.ingress == run_v2.IngressTraffic.INGRESS_TRAFFIC_ALL, made.ingress)
    expect(made.template.timeout.seconds == 300, made.template.timeout)
    expect(made.template.max_instance_request_concurrency == 80, made.template)
    expect(container.ports[0].name == "http1" and container.ports[0].container_port == 8080, container.ports)
    expect(container.resources.limits["memory"] == "512Mi" and container.resources.cpu_idle, container.resources)
    expect(container.startup_probe.tcp_socket.port == 8080 and container.startup_probe.timeout_seconds == 240, container)
    expect(made.traffic[0].percent == 100, made.traffic)
    return made


def refuse(services, service_id, image):
    step("refusals")
    try:
        services.create_service(parent=PARENT, service=run_v2.Service(template=template(image)), service_id=service_id)
        raise AssertionError("a taken name was accepted")
    except exceptions.Conflict:  # over gRPC its subclass AlreadyExists
        pass
    try:
        services.create_service(parent=PARENT, service=run_v2.Service(template=template(image)), service_id="Not_Valid")
        raise AssertionError("a malformed name was accepted")
    except exceptions.BadRequest as error:  # over gRPC its subclass InvalidArgument
        expect("service_id" in str(error), str(error))
    try:
        services.get_service(name=f"{PARENT}/services/nobody")
        raise AssertionError("a missing service was found")
    except exceptions.NotFound:
        pass


def read(services, made):
    step("get and list")
    got = services.get_service(name=made.name)
    expect(got.uid == made.uid and got.etag, f"{got}")
    listed = [service.name for service in services.list_services(parent=PARENT)]
    expect(made.name in listed, listed)


def update(services, made, image):
    step("update makes a second revision")
    changed = run_v2.Service(name=made.name, template=template(image, GREETING="second"))
    updated = services.update_service(service=changed, update_mask=field_mask_pb2.FieldMask(paths=["template"])).result(timeout=WAIT)
    expect(updated.generation == 2, updated.generation)
    expect(updated.labels["made-by"] == "google-client", "what the mask leaves out was changed")
    expect(updated.latest_ready_revision != made.latest_ready_revision, updated.latest_ready_revision)

    step("an update of labels makes none")
    changed = run_v2.Service(name=made.name, labels={"made-by": "google-client", "more": "yes"})
    relabelled = services.update_service(service=changed, update_mask=field_mask_pb2.FieldMask(paths=["labels"])).result(timeout=WAIT)
    expect(relabelled.generation == 3, relabelled.generation)
    expect(relabelled.latest_created_revision == updated.latest_created_revision, relabelled.latest_created_revision)
    return updated


def split(services, made, updated):
    step("split with a tag")
    kind = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
    old, new = (name.split("/")[-1] for name in (made.latest_ready_revision, updated.latest_ready_revision))
    traffic = [
        run_v2.TrafficTarget(type_=kind, revision=old, percent=90, tag="stable"),
        run_v2.TrafficTarget(type_=kind, revision=new, percent=10),
    ]
    changed = run_v2.Service(name=made.name, traffic=traffic)
    done = services.update_service(service=changed, update_mask=field_mask_pb2.FieldMask(paths=["traffic"])).result(timeout=WAIT)
    expect([status.percent for status in done.traffic_statuses] == [90, 10], done.traffic_statuses)
    expect("stable---" in done.traffic_statuses[0].uri, done.traffic_statuses)
    try:
        wrong = run_v2.Service(name=made.name, traffic=traffic[:1])
        services.update_service(service=wrong, update_mask=field_mask_pb2.FieldMask(paths=["traffic"]))
        raise AssertionError("90 percent in all were accepted")
    except exceptions.BadRequest as error:
        expect("100" in str(error), str(error))


def policy(services, made):
    step("policy")
    binding = policy_pb2.Binding(role="roles/run.invoker", members=["allUsers"])
    before = services.get_iam_policy(request=iam_policy_pb2.GetIamPolicyRequest(resource=made.name))
    wanted = policy_pb2.Policy(bindings=[binding], etag=before.etag)
    services.set_iam_policy(request=iam_policy_pb2.SetIamPolicyRequest(resource=made.name, policy=wanted))
    after = services.get_iam_policy(request=iam_policy_pb2.GetIamPolicyRequest(resource=made.name))
    expect(after.bindings[0].members == ["allUsers"] and after.etag != before.etag, after)
    asked = iam_policy_pb2.TestIamPermissionsRequest(resource=made.name, permissions=["run.services.get"])
    expect(list(services.test_iam_permissions(request=asked).permissions) == ["run.services.get"], "permissions")


def revisions_of(revisions, made, updated):
    step("revisions")
    listed = [revision.name for revision in revisions.list_revisions(parent=made.name)]
    expect(listed == [updated.latest_ready_revision, made.latest_ready_revision], listed)
    got = revisions.get_revision(name=made.latest_ready_revision)
    expect("@sha256:" in got.containers[0].image, got.containers[0].image)
    try:
        revisions.delete_revision(name=made.latest_ready_revision)
        raise AssertionError("a revision with traffic was deleted")
    except exceptions.BadRequest as error:  # over gRPC its subclass FailedPrecondition
        expect("traffic" in str(error), str(error))


def by_v1(address, verb, path, body=None):
    """A call as gcloud makes it."""
    url = f"http://{address}/apis/serving.knative.dev/v1/namespaces/demo-project/{path}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=verb)
    with urllib.request.urlopen(request, timeout=WAIT) as answer:
        return json.load(answer)


def beside_v1(services, address, image, service_id):
    step("what v1 wrote")
    manifest = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": service_id, "labels": {"made-by": "v1"}, "annotations": {"run.googleapis.com/ingress": "internal"}},
        "spec": {
            "template": {
                "metadata": {"annotations": {"autoscaling.knative.dev/maxScale": "7"}},
                "spec": {
                    "containerConcurrency": 12,
                    "timeoutSeconds": 61,
                    "containers": [
                        {
                            "image": image,
                            "env": [{"name": "GREETING", "value": "from v1"}],
                            "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
                        }
                    ],
                },
            },
            "traffic": [{"latestRevision": True, "percent": 100, "tag": "next"}],
        },
    }
    made = by_v1(address, "POST", "services", manifest)
    name = f"{PARENT}/services/{service_id}"
    seen = services.get_service(name=name)
    container = seen.template.containers[0]
    expect(seen.uid == made["metadata"]["uid"] and seen.labels["made-by"] == "v1", seen)
    expect(seen.ingress == run_v2.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_ONLY, seen.ingress)
    expect(seen.template.scaling.max_instance_count == 7, seen.template.scaling)
    expect(seen.template.max_instance_request_concurrency == 12 and seen.template.timeout.seconds == 61, seen.template)
    expect(dict(container.resources.limits) == {"cpu": "2", "memory": "1Gi"}, container.resources)
    expect([(one.name, one.value) for one in container.env] == [("GREETING", "from v1")], container.env)
    expect(seen.traffic[0].percent == 100 and seen.traffic[0].tag == "next", seen.traffic)

    step("what v1 sees of ours")
    changed = run_v2.Service(name=name, template=template(image, GREETING="from v2"), description="by the client")
    changed.template.timeout = duration_pb2.Duration(seconds=62)
    mask = field_mask_pb2.FieldMask(paths=["template.containers", "template.timeout", "description"])
    services.update_service(service=changed, update_mask=mask).result(timeout=WAIT)
    shown = by_v1(address, "GET", f"services/{service_id}")
    spec = shown["spec"]["template"]["spec"]
    expect(shown["metadata"]["annotations"]["run.googleapis.com/description"] == "by the client", shown["metadata"])
    expect(shown["metadata"]["annotations"]["run.googleapis.com/ingress"] == "internal", shown["metadata"])
    expect(spec["containers"][0]["env"] == [{"name": "GREETING", "value": "from v2"}], spec)
    expect(spec["timeoutSeconds"] == 62 and spec["containerConcurrency"] == 12, spec)
    expect(shown["spec"]["traffic"] == manifest["spec"]["traffic"], shown["spec"])

    step("the same again by v1")
    again = by_v1(address, "PUT", f"services/{service_id}", shown)
    expect(again["metadata"]["generation"] == shown["metadata"]["generation"], again["metadata"])
    by_v1(address, "DELETE", f"services/{service_id}")


def dry_run(services, made, image):
    step("validate only")
    request = run_v2.CreateServiceRequest(
        parent=PARENT, service=run_v2.Service(template=template(image)), service_id="only-validated", validate_only=True
    )
    services.create_service(request=request)
    try:
        services.get_service(name=f"{PARENT}/services/only-validated")
        raise AssertionError("a validated service was stored")
    except exceptions.NotFound:
        pass


def delete(services, made):
    step("delete")
    gone = services.delete_service(name=made.name).result(timeout=WAIT)
    expect(gone.name == made.name, gone.name)
    try:
        services.get_service(name=made.name)
        raise AssertionError("a deleted service was found")
    except exceptions.NotFound:
        pass


def job_template(image, code):
    """Of an execution of two tasks that end with an exit code."""
    container = run_v2.Container(image=image, args=["exit", str(code), f"ends with {code}"])
    task = run_v2.TaskTemplate(containers=[container], max_retries=0, timeout=duration_pb2.Duration(seconds=60))
    return run_v2.ExecutionTemplate(task_count=2, parallelism=1, template=task)


def create_job(jobs, job_id, image):
    step("create a job")
    job = run_v2.Job(template=job_template(image, 0), labels={"made-by": "google-client"})
    made = jobs.create_job(parent=PARENT, job=job, job_id=job_id).result(timeout=WAIT)
    expect(made.name == f"{PARENT}/jobs/{job_id}", made.name)
    expect(made.terminal_condition.state == run_v2.Condition.State.CONDITION_SUCCEEDED, f"ready: {made.terminal_condition}")
    expect(made.generation == 1 and made.execution_count == 0, f"{made}")
    expect(made.template.task_count == 2 and made.template.template.max_retries == 0, f"{made.template}")
    expect(made.name in [job.name for job in jobs.list_jobs(parent=PARENT)], "the job is not listed")
    try:
        jobs.create_job(parent=PARENT, job=job, job_id=job_id)
        raise AssertionError("a taken name was accepted")
    except exceptions.Conflict:
        pass
    return made


def run_job(jobs, executions, tasks, made):
    step("run it")
    operation = jobs.run_job(name=made.name)
    expect(operation.metadata.name.startswith(f"{made.name}/executions/"), f"metadata {operation.metadata}")
    ended = operation.result(timeout=WAIT)
    expect(ended.name == operation.metadata.name, ended.name)
    expect((ended.task_count, ended.succeeded_count, ended.failed_count) == (2, 2, 0), f"{ended}")
    got = executions.get_execution(name=ended.name)
    expect(got.uid == ended.uid and got.completion_time and not got.reconciling, f"{got}")
    succeeded = run_v2.Condition.State.CONDITION_SUCCEEDED
    told = [(condition.type_, condition.state) for condition in got.conditions]
    expect(told == [(kind, succeeded) for kind in ("ResourcesAvailable", "Started", "Completed")], told)
    listed = list(tasks.list_tasks(parent=ended.name))
    expect([task.index for task in listed] == [0, 1], listed)
    expect(all(task.last_attempt_result.exit_code == 0 and task.completion_time for task in listed), listed)
    expect(tasks.get_task(name=listed[1].name).uid == listed[1].uid, listed[1].name)
    latest = jobs.get_job(name=made.name).latest_created_execution
    expect(ended.name.endswith(latest.name.split("/")[-1]), latest)
    expect(latest.completion_status == run_v2.ExecutionReference.CompletionStatus.EXECUTION_SUCCEEDED, latest)
    return ended


def run_to_failure(jobs, executions, tasks, made):
    step("run it so that it fails")
    override = run_v2.RunJobRequest.Overrides.ContainerOverride(args=["exit", "3", "no such table"])
    overrides = run_v2.RunJobRequest.Overrides(container_overrides=[override], task_count=1)
    operation = jobs.run_job(request=run_v2.RunJobRequest(name=made.name, overrides=overrides))
    try:
        operation.result(timeout=WAIT)
        raise AssertionError("a failed execution was a success")
    except exceptions.GoogleAPICallError as error:
        expect("-task0" in str(error), str(error))
    failed = executions.get_execution(name=operation.metadata.name)
    expect((failed.task_count, failed.succeeded_count, failed.failed_count) == (1, 0, 1), f"{failed}")
    expect(failed.conditions[-1].state == run_v2.Condition.State.CONDITION_FAILED, f"{failed.conditions}")
    (task,) = tasks.list_tasks(parent=failed.name)
    expect(task.last_attempt_result.exit_code == 3, task)
    return failed


def delete_job(jobs, executions, made, ended, failed):
    step("delete an execution and the job")
    listed = [execution.name for execution in executions.list_executions(parent=made.name)]
    expect(listed == [failed.name, ended.name], listed)
    gone = executions.delete_execution(name=failed.name).result(timeout=WAIT)
    expect(gone.name == failed.name, gone.name)
    gone = jobs.delete_job(name=made.name).result(timeout=WAIT)
    expect(gone.name == made.name, gone.name)
    for get, name in [
        (executions.get_execution, failed.name),
        (executions.get_execution, ended.name),
        (jobs.get_job, made.name),
    ]:
        try:
            get(name=name)
            raise AssertionError(f"{name} was deleted and found")
        except exceptions.NotFound:
            pass


def main():
    transport, address, image, other = sys.argv[1:]
    services, revisions = clients(transport, address)
    service_id = f"client-{transport}"
    made = create(services, service_id, image)
    refuse(services, service_id, image)
    read(services, made)
    updated = update(services, made, other)
    split(services, made, updated)
    policy(services, made)
    revisions_of(revisions, made, updated)
    beside_v1(services, address, image, f"{service_id}-v1")
    dry_run(services, made, image)
    delete(services, made)
    jobs, executions, tasks = job_clients(transport, address)
    job = create_job(jobs, f"{service_id}-job", image)
    ended = run_job(jobs, executions, tasks, job)
    failed = run_to_failure(jobs, executions, tasks, job)
    delete_job(jobs, executions, job, ended, failed)
    step("all steps passed")


if __name__ == "__main__":
    main()
