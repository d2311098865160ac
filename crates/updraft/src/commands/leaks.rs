//! `updraft doctor --leaks`: what servers left on this machine. Looks, and changes nothing.
//!
//! What is on the host is `engine-local`'s to judge, what is in the image store `oci`'s, what is among the logs
//! `telemetry`'s; what else is in the data directory is judged here ([`own_files`], pure).

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use serde_json::json;
use updraft_base::Clock;
use updraft_cli::{Exit, Format};
use updraft_engine_local::{Holder, Scope, Waiting, look, tag_of};
use updraft_model::name::Collection;
use updraft_oci::StrayKind;
use updraft_store::{Key, Kind, SqliteStore};

use super::{fail, print};

type Failure = Box<dyn std::error::Error>;

/// Something that was left.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Finding {
    kind: &'static str,
    /// The tag of the server that left it.
    tag: String,
    what: String,
    why: String,
    /// Tells it from a later thing of the same name.
    identity: u64,
}

/// The pauses between looks: what is only being made or removed is gone, or another's, at a later look. Under load the
/// kernel takes its time to take down a network namespace or to empty a control group. Beside no server the first of
/// them is enough: nothing is being made. Six seconds in all were once too few, beside all other tests on two processors.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(750),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(6),
];

/// Prints what was left; fails if there is something.
pub(super) async fn run(data_dir: &Path, scope: Scope, format: Option<Format>) -> ExitCode {
    match find(data_dir, scope, &Clock::system()).await {
        // What a directory that is gone has left on the host is found all the same.
        Ok((findings, _)) if findings.is_empty() && scope == Scope::Own && !data_dir.is_dir() => {
            let missing = format!("there is no data directory {}", data_dir.display());
            fail(&*Failure::from(missing), Some("name the one that the server has with --data-dir or --config"));
            Exit::Usage.into()
        }
        Ok((findings, waiting)) => {
            show(data_dir, &findings, format);
            tell(&waiting, format);
            if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => fail(&*error, Some("run it as root, as the server")),
    }
}

/// What all looks have in common.
async fn find(data_dir: &Path, scope: Scope, clock: &Clock) -> Result<(BTreeSet<Finding>, Vec<Waiting>), Failure> {
    let (mut findings, mut serving, mut waiting) = once(data_dir, scope).await?;
    for (number, pause) in PAUSES.into_iter().enumerate() {
        if findings.is_empty() || (serving == Serving::Nobody && scope == Scope::Own && number > 0) {
            break;
        }
        clock.sleep(pause).await;
        let again;
        (again, serving, waiting) = once(data_dir, scope).await?;
        findings.retain(|finding| again.contains(finding));
    }
    Ok((findings, waiting))
}

/// Has the data directory a living server?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serving {
    Somebody,
    Nobody,
}

/// One look.
async fn once(data_dir: &Path, scope: Scope) -> Result<(BTreeSet<Finding>, Serving, Vec<Waiting>), Failure> {
    let data_dir = fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let seen = look(&data_dir, scope)?;
    let mut findings: BTreeSet<Finding> = seen
        .leaks
        .iter()
        .map(|leak| Finding {
            kind: leak.kind.as_str(),
            tag: leak.tag.clone(),
            what: leak.what.clone(),
            why: leak.why.clone(),
            identity: leak.identity(),
        })
        .collect();
    let tag = tag_of(&data_dir);
    let file = |path: PathBuf, why: &str| Finding {
        kind: "file",
        tag: tag.clone(),
        identity: identity(&path),
        what: path.display().to_string(),
        why: why.to_owned(),
    };
    let holder = seen.server.as_ref();
    let keeps = seen.waiting.iter().any(|one| one.tag == tag);
    let own = own_files(&tag, (&names(&data_dir), &names(&data_dir.join("run"))), |name| match holder {
        Some(holder) => Some(has_open(holder, &data_dir.join(name))),
        // A launcher that waits works on nothing else.
        None => keeps.then_some(name == "run"),
    });
    findings.extend(own.into_iter().map(|(name, why)| file(data_dir.join(name), why)));
    let scratch = data_dir.join("scratch");
    for path in names(&scratch).into_iter().map(|name| scratch.join(name)) {
        if !holder.is_some_and(|holder| has_open(holder, &path)) {
            findings.extend([file(path, "part of a backup that nobody is taking")]);
        }
    }
    for stray in updraft_oci::strays(&data_dir.join("images"))? {
        match stray.kind {
            StrayKind::Unknown => findings.extend([file(stray.path, "nothing of the image store has such a name")]),
            StrayKind::Unfinished if holder.is_some_and(|holder| has_open(holder, &stray.path)) => {}
            StrayKind::Unfinished => findings.extend([file(stray.path, "part of an image that nobody is working on")]),
        }
    }
    let mut services = HashSet::new();
    for collection in Collection::EVERY {
        let keys = SqliteStore::peek(&data_dir, Kind::of(collection)).await?;
        services.extend(keys.iter().filter_map(Key::resource));
    }
    let logs = updraft_telemetry::strays(&data_dir.join("logs"), &services)?;
    findings.extend(logs.into_iter().map(|path| file(path, "the log of something that is deleted")));
    let serving = if holder.is_some() { Serving::Somebody } else { Serving::Nobody };
    Ok((findings, serving, seen.waiting))
}

/// What is nobody's in the data directory itself and in its directory `run`, by the names in both, and why. `is_open`
/// tells whether the server has a file open; `None` when no server is alive.
///
/// Names that no version of this program has given are somebody else's and none of our business.
fn own_files(
    tag: &str,
    (names, run): (&[String], &[String]),
    is_open: impl Fn(&str) -> Option<bool>,
) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for name in names {
        let why = match name.as_str() {
            "run" if is_open(name).is_none() => "its server is gone",
            // Made and moved away at once; the token is then `token`.
            "token.new" => "a token that was not completed",
            upload if upload.starts_with("upload-") && upload.ends_with(".tar") => "an upload that broke off",
            _ => continue,
        };
        if is_open(name) != Some(true) {
            found.push((name.clone(), why));
        }
    }
    if is_open("run").is_some() {
        let net = [format!("net-{tag}.json"), format!("net-{tag}.new")];
        let known = ["launcher.lock", "launcher.sock", "launcher.waits", "stage"].map(str::to_owned).into_iter();
        let known: Vec<String> = known.chain(net).collect();
        let strays = run.iter().filter(|name| !known.contains(name));
        found.extend(strays.map(|name| (format!("run/{name}"), "nothing of a server has such a name")));
    }
    found
}

/// Has the process the file open, or something below it? One whose files cannot be seen may have.
fn has_open(holder: &Holder, path: &Path) -> bool {
    holder.open.is_empty() || holder.open.iter().any(|open| open.starts_with(path))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn identity(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.ino())
}

fn show(data_dir: &Path, findings: &BTreeSet<Finding>, format: Option<Format>) {
    let own = tag_of(&fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned()));
    if format == Some(Format::Json) {
        let all = findings
            .iter()
            .map(|finding| {
                let Finding { kind, tag, what, why, .. } = finding;
                json!({"kind": kind, "tag": tag, "what": what, "why": why, "hint": hint(finding, &own)})
            })
            .collect();
        return print(format_args!("{:#}", serde_json::Value::Array(all)));
    }
    for finding in findings {
        print(format_args!("{:<18} {}", finding.kind, finding.what));
        print(format_args!("{:<18} {}", "", finding.why));
        print(format_args!("{:<18} hint: {}", "", hint(finding, &own)));
    }
    match findings.len() {
        0 => print(format_args!("Nothing was left behind (tag {own}, {}).", data_dir.display())),
        1 => print("\n1 thing was left behind."),
        count => print(format_args!("\n{count} things were left behind.")),
    }
}

/// Tells of launchers that keep instances for the next server: nothing was left behind, but not nothing is there.
fn tell(waiting: &[Waiting], format: Option<Format>) {
    for Waiting { tag, pid, until } in waiting {
        let left = until.duration_since(Clock::system().now()).unwrap_or_default().as_secs();
        let text = format!(
            "A launcher (process {pid}, tag {tag}) keeps the instances of a server that was killed, for {left} s more. The \
             next `updraft serve` goes on with them; with --fresh it ends them."
        );
        match format {
            // Beside what programs read.
            Some(Format::Json) => super::note(&text),
            _ => print(text),
        }
    }
}

/// How it goes away.
fn hint(finding: &Finding, own: &str) -> String {
    let Finding { kind, what, .. } = finding;
    if finding.tag == own && finding.why != "nothing of the image store has such a name" {
        return "the next start of the server on this data directory removes it".to_owned();
    }
    let by_hand = match *kind {
        "process" => format!("kill -9 {what}"),
        "control group" => format!("rmdir {what}, when it is empty"),
        "mount" | "network namespace" => format!("umount {what}"),
        "link" => format!("ip link delete {what}"),
        "nftables table" => format!("nft delete table inet {what}"),
        "setting" => format!("sysctl -w {what}=0"),
        _ => return format!("it is not the server's: look at it, and rm -r {what}"),
    };
    format!("the next start of its server removes it; without one, {by_hand}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 9] =
        ["LOCK", "QUICKSTART", "images", "letters", "run", "state.db", "token", "token.new", "upload-7.tar"];

    fn judged(run: &[&str], is_open: impl Fn(&str) -> Option<bool>) -> Vec<String> {
        let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        own_files("0a1b2c", (&own(&NAMES), &own(run)), is_open).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn of_a_dead_server_what_is_temporary_is_left_and_the_rest_is_data() {
        assert_eq!(judged(&["launcher.lock"], |_| None), ["run", "token.new", "upload-7.tar"]);
    }

    #[test]
    fn of_a_living_server_only_what_it_does_not_work_on_is_left() {
        let run = ["launcher.lock", "net-0a1b2c.json", "net-ffffff.json", "stage"];
        assert_eq!(judged(&run, |_| Some(false)), ["token.new", "upload-7.tar", "run/net-ffffff.json"]);
        assert_eq!(judged(&run[..2], |_| Some(true)), [""; 0]);
    }

    #[test]
    fn a_file_below_an_open_one_is_not_open_but_one_above_is() {
        let holder = Holder { pid: 1, open: ["/d/images/layers/.new-1/etc".into(), "/d/upload-1.tar".into()].into() };
        assert!(has_open(&holder, Path::new("/d/images/layers/.new-1")));
        assert!(has_open(&holder, Path::new("/d/upload-1.tar")));
        assert!(!has_open(&holder, Path::new("/d/upload-1")) && !has_open(&holder, Path::new("/d/upload-1.tar/x")));
        assert!(has_open(&Holder::default(), Path::new("/d/anything")), "what cannot be seen may be");
    }
}
