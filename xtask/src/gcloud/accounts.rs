//! Secrets, service accounts, their keys and tokens, and policies: what is typed, and what Google lets gcloud print.
//!
//! The service `private` is called with the tokens that gcloud prints, and tells what it was given of secrets.

use super::{
    Line, Then, Who,
    shown::Shown::{self, Opens, Refused},
};

const fn line(words: &'static str, exit: i32, says: &'static [&'static str]) -> Line {
    Line { words, who: Who::Operator, exit, says, then: Then::Unsaid }
}

/// As the account whose key was activated.
const fn account(words: &'static str, exit: i32, says: &'static [&'static str]) -> Line {
    Line { words, who: Who::Account, exit, says, then: Then::Unsaid }
}

/// The same for a command that prints a token.
const fn token(words: &'static str, then: Shown) -> Line {
    Line { words, who: Who::Account, exit: 0, says: &["eyJ"], then: Then::Heeds(then) }
}

/// The addresses of the service accounts, by their words in braces.
const ACCOUNTS: [(&str, &str); 2] = [
    ("{runner}", "runner@demo-project.iam.gserviceaccount.com"),
    ("{caller}", "caller@demo-project.iam.gserviceaccount.com"),
];

/// What commands read from standard input.
pub(super) const PIPED: &str = "piped";

/// Files that commands name.
pub(super) const FILES: [(&str, &str); 4] =
    [("first", "first value"), ("second", "second value"), ("tls.key", "a key of TLS"), (PIPED, "piped value")];

const DEPLOYED: &[&str] = &["Creating Revision", "Routing traffic", "Done.", "Service [private] revision [private-000"];

/// The commands, in their order.
pub(super) const COMMANDS: &[Line] = &[
    line("secrets create db --data-file {dir}/first", 0, &["Created version [1] of the secret [db]."]),
    line("secrets create tls --replication-policy automatic --labels tier=web", 0, &["Created secret [tls]."]),
    line(
        "secrets create near --replication-policy user-managed --locations us-central1 --data-file {dir}/first",
        0,
        &["Created version [1] of the secret [near]."],
    ),
    line(
        "secrets create db --data-file {dir}/first",
        1,
        &["ERROR: (gcloud.secrets.create)", "secrets/db] already exists."],
    ),
    line("secrets versions add tls --data-file {dir}/tls.key", 0, &["Created version [1] of the secret [tls]."]),
    line("secrets versions add db --data-file {dir}/second", 0, &["Created version [2] of the secret [db]."]),
    line("secrets versions add db --data-file -", 0, &["Created version [3] of the secret [db]."]),
    line("secrets versions access latest --secret db", 0, &["piped value"]),
    line("secrets versions access 1 --secret db --format 'value(payload.data)'", 0, &["first value"]),
    line("secrets versions access 2 --secret db --out-file {dir}/out", 0, &[]),
    line("secrets versions list db", 0, &["NAME  STATE    CREATED", "3     enabled", "1     enabled"]),
    line("secrets versions list db --filter state=enabled --format 'value(name)'", 0, &["3\n2\n1\n"]),
    line("secrets versions describe 2 --secret db", 0, &["/secrets/db/versions/2\n", "state: ENABLED"]),
    line("secrets versions disable 2 --secret db", 0, &["Disabled version [2] of the secret [db]."]),
    line(
        "secrets versions access 2 --secret db",
        1,
        &["FAILED_PRECONDITION", "/secrets/db/versions/2] is in DISABLED state."],
    ),
    line("secrets versions enable 2 --secret db", 0, &["Enabled version [2] of the secret [db]."]),
    line("secrets versions destroy 1 --secret db --quiet", 0, &["Destroyed version [1] of the secret [db]."]),
    line("secrets versions access 1 --secret db", 1, &["/secrets/db/versions/1] is in DESTROYED state."]),
    line(
        "secrets list",
        0,
        &["NAME", "REPLICATION_POLICY", "db", "tls", "automatic", "near", "user_managed", "us-central1"],
    ),
    line("secrets list --filter labels.tier=web --format 'value(name)'", 0, &["tls\n"]),
    line("secrets describe db", 0, &["/secrets/db\n", "automatic: {}", "createTime: "]),
    line("secrets describe absent", 1, &["NOT_FOUND", "/secrets/absent] not found."]),
    line("secrets update tls --update-labels team=core", 0, &["Updated secret [tls]."]),
    line(
        "iam service-accounts create runner --display-name 'Runs the service'",
        0,
        &["Created service account [runner].", "Service account email: {runner}"],
    ),
    line("iam service-accounts create caller", 0, &["Created service account [caller]."]),
    line(
        "secrets add-iam-policy-binding db --member serviceAccount:{runner} --role roles/secretmanager.secretAccessor",
        0,
        &[
            "Updated IAM policy for secret [db].",
            "- serviceAccount:{runner}",
            "role: roles/secretmanager.secretAccessor",
        ],
    ),
    line(
        "run deploy private --image localhost/witness:latest --no-allow-unauthenticated --service-account {runner} \
         --set-secrets ANSWER=db:latest,/etc/tls/key=tls:1",
        1,
        &[
            "is not ready and cannot serve traffic.",
            "Permission denied on secret: ",
            "for Revision service account runner@",
        ],
    ),
    line(
        "secrets add-iam-policy-binding tls --member serviceAccount:{runner} --role roles/secretmanager.secretAccessor",
        0,
        &["Updated IAM policy for secret [tls]."],
    ),
    line(
        "run deploy private --image localhost/witness:latest --no-allow-unauthenticated --service-account {runner} \
         --set-secrets ANSWER=db:latest,/etc/tls/key=tls:1",
        0,
        &["Creating Revision", "Done.", "has been deployed and is serving 100 percent of traffic."],
    ),
    line(
        "run services describe private",
        0,
        &["Secrets:", "/etc/tls       tls:1", "ANSWER         db:latest", "Service account:   {runner}"],
    ),
    line("run services update private --update-secrets OTHER=db:2", 0, DEPLOYED),
    line("run services describe private --format export", 0, &["name: OTHER", "key: '2'", "secretName: tls"]),
    line("run services update private --remove-secrets OTHER", 0, DEPLOYED),
    line(
        "run deploy private --image localhost/witness:latest --set-secrets S=absent:latest",
        1,
        &["is not ready and cannot serve traffic.", "/secrets/absent"],
    ),
    line("run services update private --clear-secrets --set-secrets ANSWER=db:latest", 2, &["most one of"]),
    line("run services update private --set-secrets ANSWER=db:latest,/etc/tls/key=tls:1", 0, DEPLOYED),
    line(
        "run services add-iam-policy-binding private --member serviceAccount:{caller} --role roles/run.invoker",
        0,
        &["Updated IAM policy for service [private].", "- serviceAccount:{caller}", "role: roles/run.invoker"],
    ),
    line(
        "iam service-accounts keys create {dir}/key.json --iam-account {caller}",
        0,
        &["created key [", "of type [json] as [", "for [{caller}]"],
    ),
    line("iam service-accounts keys list --iam-account {caller}", 0, &["KEY_ID", "9999-12-31T23:59:59Z"]),
    account(
        "auth activate-service-account --key-file {dir}/key.json",
        0,
        &["Activated service account credentials for: [{caller}]"],
    ),
    account("auth list", 0, &["*       {caller}"]),
    account("auth print-access-token", 0, &["eyJ"]),
    token("auth print-identity-token --audiences {url}", Opens("/", "piped value")),
    token("auth print-identity-token --audiences {url}", Opens("/file/etc/tls/key", "a key of TLS")),
    // Its audience is gcloud's own.
    token("auth print-identity-token", Opens("/", "piped value")),
    token("auth print-identity-token --audiences https://other.example", Refused(401)),
    account("run services list", 1, &["PERMISSION_DENIED: Permission 'run.services.list' denied"]),
    line(
        "projects add-iam-policy-binding demo-project --member serviceAccount:{caller} --role roles/run.viewer",
        0,
        &["Updated IAM policy for project [demo-project].", "- serviceAccount:{caller}", "role: roles/run.viewer"],
    ),
    account("run services list", 0, &["private", "us-central1", "http://private-"]),
    account(
        "auth print-identity-token --impersonate-service-account {runner} --audiences {url}",
        1,
        &["Failed to impersonate [{runner}].", "Permission 'iam.serviceAccounts.getAccessToken' denied"],
    ),
    line(
        "iam service-accounts add-iam-policy-binding {runner} --member serviceAccount:{caller} \
         --role roles/iam.serviceAccountTokenCreator",
        0,
        &["Updated IAM policy for serviceAccount [{runner}].", "- serviceAccount:{caller}"],
    ),
    account("auth print-access-token --impersonate-service-account {runner}", 0, &["eyJ"]),
    token(
        "auth print-identity-token --impersonate-service-account {runner} --audiences {url} --include-email",
        Refused(403),
    ),
    line(
        "run services add-iam-policy-binding private --member serviceAccount:{runner} --role roles/run.invoker",
        0,
        &["Updated IAM policy for service [private].", "- serviceAccount:{runner}"],
    ),
    token(
        "auth print-identity-token --impersonate-service-account {runner} --audiences {url} --include-email",
        Opens("/", "piped value"),
    ),
    token(
        "auth print-identity-token --impersonate-service-account {runner} --audiences {url}",
        Opens("/", "piped value"),
    ),
    account(
        "secrets versions access latest --secret db --impersonate-service-account {runner}",
        0,
        &["impersonation", "piped value"],
    ),
    account(
        "secrets versions access latest --secret db",
        1,
        &["PERMISSION_DENIED: Permission 'secretmanager.versions.access' denied"],
    ),
    line(
        "iam service-accounts list",
        0,
        &["DISPLAY NAME", "EMAIL", "DISABLED", "Runs the service", "{runner}", "{caller}"],
    ),
    line(
        "iam service-accounts describe {runner}",
        0,
        &["displayName: Runs the service", "email: {runner}", "uniqueId: "],
    ),
    line(
        "iam service-accounts update {caller} --display-name Calls",
        0,
        &["Updated serviceAccount [{caller}].", "displayName: Calls"],
    ),
    line(
        "iam service-accounts get-iam-policy {runner}",
        0,
        &["- serviceAccount:{caller}", "role: roles/iam.serviceAccountTokenCreator"],
    ),
    line(
        "iam service-accounts remove-iam-policy-binding {runner} --member serviceAccount:{caller} \
         --role roles/iam.serviceAccountTokenCreator",
        0,
        &["Updated IAM policy for serviceAccount [{runner}]."],
    ),
    line(
        "projects describe demo-project",
        0,
        &["lifecycleState: ACTIVE", "projectId: demo-project", "projectNumber: "],
    ),
    line("projects get-iam-policy demo-project", 0, &["- serviceAccount:{caller}", "role: roles/run.viewer"]),
    line(
        "projects remove-iam-policy-binding demo-project --member serviceAccount:{caller} --role roles/run.viewer",
        0,
        &["Updated IAM policy for project [demo-project]."],
    ),
    line(
        "run services remove-iam-policy-binding private --member serviceAccount:{runner} --role roles/run.invoker",
        0,
        &["Updated IAM policy for service [private].", "- serviceAccount:{caller}"],
    ),
    line("secrets get-iam-policy db", 0, &["- serviceAccount:{runner}", "role: roles/secretmanager.secretAccessor"]),
    line(
        "secrets remove-iam-policy-binding db --member serviceAccount:{runner} --role roles/secretmanager.secretAccessor",
        0,
        &["Updated IAM policy for secret [db]."],
    ),
    line("iam service-accounts disable {caller}", 0, &["Disabled service account [{caller}]."]),
    account("run services list", 1, &["invalid_grant: Invalid grant: account not found"]),
    line("iam service-accounts enable {caller}", 0, &["Enabled service account [{caller}]."]),
    line("iam service-accounts keys delete {key} --iam-account {caller} --quiet", 0, &["deleted key ["]),
    account("auth activate-service-account --key-file {dir}/key.json", 1, &["invalid_grant: Invalid JWT Signature."]),
    // gcloud prints the one that it kept, and it is good: the end of a key ends no token.
    token("auth print-identity-token --audiences {url}", Opens("/", "piped value")),
    line("iam service-accounts delete {caller} --quiet", 0, &["deleted service account [{caller}]"]),
    line("secrets delete near --quiet", 0, &["Deleted secret [near]."]),
    line("secrets versions list near", 1, &["NOT_FOUND", "/secrets/near] not found."]),
];

/// A text with the addresses in the place of their words.
pub(super) fn addressed(text: &str) -> String {
    ACCOUNTS.iter().fold(text.to_owned(), |text, (word, address)| text.replace(word, address))
}
