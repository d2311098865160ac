//! Jobs, their executions and tasks, and worker pools: what is typed, and what Google's Cloud Run lets gcloud print.

use super::{Line, Then, Who};

const fn line(words: &'static str, exit: i32, says: &'static [&'static str]) -> Line {
    Line { words, who: Who::Operator, exit, says, then: Then::Unsaid }
}

/// A command that calls by gRPC, for which gcloud wants TLS.
const fn secured(words: &'static str, says: &'static [&'static str]) -> Line {
    Line { words, who: Who::Secured, exit: 0, says, then: Then::Unsaid }
}

/// Files that commands name.
pub(super) const FILES: [(&str, &str); 2] = [
    (
        "job.yaml",
        "apiVersion: run.googleapis.com/v1\nkind: Job\nmetadata: {name: demo-job-yaml}\nspec: {template: {spec: {taskCount: 2, template: {spec: {maxRetries: 1, containers: [{image: 'localhost/witness:latest', args: [exit, '0']}]}}}}}\n",
    ),
    (
        "pool.yaml",
        "apiVersion: run.googleapis.com/v1\nkind: WorkerPool\nmetadata: {name: demo-pool-yaml}\nspec: {template: {spec: {containers: [{image: 'localhost/witness:latest', env: [{name: A, value: '1'}]}]}}}\n",
    ),
];

const DEPLOYED: &[&str] = &["Worker pool [demo-pool] revision [demo-pool-0000", "has been deployed.", "Done."];

/// The commands, in their order.
pub(super) const COMMANDS: &[Line] = &[
    line(
        "run jobs create demo-job --image localhost/witness:latest --args exit,0,hello --tasks 2 --parallelism 1 \
         --max-retries 1 --task-timeout 5m --set-env-vars A=1",
        0,
        &[
            "Creating job...",
            "Done.",
            "Job [demo-job] has successfully been created.",
            "gcloud run jobs execute demo-job",
        ],
    ),
    line("run jobs create demo-job --image localhost/witness:latest", 1, &["ERROR: (gcloud.run.jobs.create)"]),
    line(
        "run jobs update demo-job --update-env-vars B=2",
        0,
        &["Updating job...", "Done.", "Job [demo-job] has successfully been updated."],
    ),
    line("run jobs execute demo-job --wait", 0, &["Done.", "Execution [demo-job-", "has successfully completed."]),
    line(
        "run jobs describe demo-job",
        0,
        &["Job demo-job in region us-central1", "Executed 1 time", "Tasks:           2", "Parallelism:     1"],
    ),
    line("run jobs list", 0, &["JOB", "LAST RUN AT", "demo-job", "us-central1"]),
    line("run jobs executions list --job demo-job", 0, &["EXECUTION", "COMPLETE", "demo-job-", "2 / 2"]),
    line("run jobs executions describe {execution}", 0, &["Execution demo-job-", "2 tasks completed successfully"]),
    line(
        "run jobs executions tasks list --execution {execution}",
        0,
        &["INDEX", "STATE", "Succeeded", "-task0", "-task1"],
    ),
    line(
        "run jobs executions tasks describe {execution}-task0",
        0,
        &["in region us-central1", "Running state:   Succeeded", "Task Timeout:    5m", "Max Retries:     1"],
    ),
    line("run jobs executions tasks list --execution {execution} --succeeded", 0, &["Succeeded", "-task0", "-task1"]),
    line("run jobs executions tasks list --execution {execution} --failed", 0, &["Listed 0 items."]),
    line("run jobs logs read demo-job", 0, &["hello"]),
    line("run jobs get-iam-policy demo-job", 0, &["etag: "]),
    line(
        "run jobs add-iam-policy-binding demo-job --member user:ann@example.com --role roles/run.invoker",
        0,
        &["Updated IAM policy for job [demo-job].", "user:ann@example.com", "roles/run.invoker"],
    ),
    line(
        "run jobs remove-iam-policy-binding demo-job --member user:ann@example.com --role roles/run.invoker",
        0,
        &["Updated IAM policy for job [demo-job]."],
    ),
    line(
        "run jobs execute demo-job --args=exit,0 --update-env-vars=X=9 --tasks=3 --task-timeout=100s --wait",
        0,
        &["Done.", "has successfully completed."],
    ),
    line("run jobs executions delete {execution} --quiet", 0, &["Deleted execution [demo-job-"]),
    line("run jobs execute demo-job --args=exit,3 --tasks=1 --wait", 1, &["ERROR: (gcloud.run.jobs.execute)"]),
    line("run jobs execute demo-job --args=serve --tasks=1", 0, &["has successfully started running."]),
    line("run jobs executions cancel {execution} --quiet", 0, &["Cancelled execution [demo-job-"]),
    line("run jobs execute demo-job --async", 0, &["is being started asynchronously."]),
    line(
        "run jobs deploy demo-job-now --image localhost/witness:latest --args exit,0 --execute-now --wait",
        0,
        &["Creating and running job...", "Done.", "gcloud run jobs executions describe demo-job-now-"],
    ),
    line(
        "run jobs deploy demo-job-now --image localhost/witness:latest --memory 1Gi",
        0,
        &["Updating job...", "Done.", "Job [demo-job-now] has successfully been deployed."],
    ),
    line("run jobs replace {dir}/job.yaml", 0, &["Job [demo-job-yaml] has been successfully created."]),
    line("run jobs delete demo-job-now --quiet", 0, &["Deleted job [demo-job-now]."]),
    line("run jobs describe demo-job-now", 1, &["ERROR: (gcloud.run.jobs.describe)"]),
    secured(
        "run worker-pools deploy demo-pool --image localhost/witness:latest --instances 2 --set-env-vars A=1 --cpu 1 \
         --memory 512Mi",
        DEPLOYED,
    ),
    secured("run worker-pools deploy demo-pool --image localhost/witness:latest", DEPLOYED),
    secured("run worker-pools update demo-pool --instances 1", &["Done.", "Worker pool [demo-pool] has been updated."]),
    line(
        "run worker-pools describe demo-pool",
        0,
        &["WorkerPool demo-pool in region us-central1", "Scaling: Manual (Instances: 1)", "Revision demo-pool-00002-"],
    ),
    line("run worker-pools list", 0, &["WORKER_POOL", "demo-pool", "us-central1"]),
    secured(
        "run worker-pools deploy demo-pool --image localhost/witness:latest --revision-suffix three",
        &["Worker pool [demo-pool] revision [demo-pool-three] has been deployed."],
    ),
    secured(
        "run worker-pools deploy demo-pool --image localhost/witness:latest --revision-suffix four --no-promote",
        &["Worker pool [demo-pool] revision [demo-pool-four] has been deployed."],
    ),
    line(
        "run worker-pools revisions list --worker-pool demo-pool",
        0,
        &["REVISION", "demo-pool-four", "demo-pool-three"],
    ),
    line("run worker-pools revisions describe demo-pool-three", 0, &["demo-pool-three", "localhost/witness"]),
    secured(
        "run worker-pools update-instance-split demo-pool --to-revisions demo-pool-three=50,demo-pool-four=50",
        &["50% demo-pool-three", "50% LATEST (currently demo-pool-four)"],
    ),
    secured("run worker-pools update-instance-split demo-pool --to-latest", &["100% LATEST"]),
    secured(
        "run worker-pools revisions delete demo-pool-three --worker-pool demo-pool --quiet",
        &["Deleted revision [demo-pool-three]."],
    ),
    line("run worker-pools logs read demo-pool", 0, &["listening"]),
    line(
        "run worker-pools add-iam-policy-binding demo-pool --member user:ann@example.com --role roles/run.viewer",
        0,
        &["user:ann@example.com", "roles/run.viewer"],
    ),
    line("run worker-pools get-iam-policy demo-pool", 0, &["user:ann@example.com"]),
    line(
        "run worker-pools replace {dir}/pool.yaml",
        0,
        &["New configuration has been applied to worker pool [demo-pool-yaml]."],
    ),
    line("run worker-pools describe demo-pool-yaml", 0, &["WorkerPool demo-pool-yaml in region us-central1"]),
    secured("run worker-pools delete demo-pool --quiet", &["Deleted worker pool [demo-pool]."]),
];
