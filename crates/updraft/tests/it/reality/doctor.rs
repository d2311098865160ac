//! The start doctor: broken containers, really started, and what is said of each. The table of docs/doctor.md is the
//! specification: it has a row for each of them, and each of them has to be told as its row says.

mod broken;
mod cases;

use std::collections::BTreeMap;

use serde_json::Value;

use self::cases::{CASES, Case};
use super::{
    host::{Host, Said, containers_run_here, have},
    images,
};

/// The document, whose table is compared.
const DOCUMENT: &str = include_str!("../../../../../docs/doctor.md");
/// Writes the rows as they are now, for the document.
const PRINT: &str = "UPDRAFT_DOCTOR_PRINT";
/// Deploys at a time: what is waited for is not this machine.
const AT_ONCE: usize = 12;

/// A row of the table.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    code: String,
    does: String,
    sentence: String,
    cause: String,
    advice: String,
}

/// What was said of a case.
struct Told {
    deploy: Said,
    doctor: Value,
}

#[test]
fn every_broken_container_gets_the_diagnosis_of_its_row_and_keeps_it_over_a_restart() {
    if !containers_run_here() || !have("busybox") {
        return;
    }
    let host = Host::start(&[]);
    broken::load(&host);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(broken::push(&host));
    let registries = [broken::closed_registry(), broken::closed_port()];
    let told = deploy_all(&host, &registries);

    let rows = rows();
    if std::env::var_os(PRINT).is_some() {
        return print(&told);
    }
    let mut wrong = Vec::new();
    for (index, case) in CASES.iter().enumerate() {
        match rows.get(case.does) {
            Some(row) => wrong.extend(compare(case, row, &told[&index])),
            None => wrong.push(format!("{}: docs/doctor.md has no row for it", case.does)),
        }
    }
    assert!(wrong.is_empty(), "{} of {} are told otherwise:\n{}", wrong.len(), CASES.len(), wrong.join("\n\n"));
    for does in rows.keys() {
        assert!(CASES.iter().any(|case| case.does == does), "docs/doctor.md has a row without a container: {does}");
    }

    // It is told again by another process, from what was stored.
    let first = told[&0].doctor.clone();
    let directory = host.kill();
    let host = Host::start_in(directory, &[]);
    assert_eq!(doctor(&host, &service(0), &[]), first);
}

#[test]
fn a_service_that_is_fine_is_called_fine_and_one_whose_new_revision_failed_names_both() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    host.load(&images::witness("fine"));
    let deploy = |args: &[&str]| {
        let flags = ["deploy", "fine", "--image", "localhost/fine:latest", "--allow-unauthenticated", "--quiet"];
        host.updraft(&[&flags[..], args].concat())
    };
    assert_eq!(deploy(&[]).code, 0);
    let good = doctor(&host, "fine", &[]);
    assert_eq!((&good["state"], &good["diagnosis"]), (&"READY".into(), &Value::Null));
    assert!(host.ok(&["services", "doctor", "fine"]).contains("nothing is wrong with it"));

    assert_ne!(deploy(&["--args=exit,7,no configuration"]).code, 0);
    let bad = doctor(&host, "fine", &[]);
    assert_eq!(bad["state"], "FAILED", "{bad:#}");
    assert_eq!((&bad["diagnosis"]["code"], &bad["serving"][0]), (&"exited".into(), &good["revision"]));
    assert_eq!(bad["diagnosis"]["lastLines"][0], "no configuration");
    let page = host.ok(&["services", "doctor", "fine"]);
    let serving = format!("Revision [{}] takes the traffic.", good["revision"].as_str().expect("a name"));
    assert!(page.contains("did not start: exited") && page.contains(&serving), "{page}");
    let revision = good["revision"].as_str().expect("a name");
    assert_eq!(doctor(&host, "fine", &["--revision", revision])["state"], "READY");
    let log = host.ok(&["services", "logs", "read", "fine"]);
    assert!(log.contains("Start failed [exited]. Container called exit(7)."), "{log}");
    assert_eq!(
        host.updraft(&["services", "doctor", "nowhere"]).code,
        host.updraft(&["services", "describe", "nowhere"]).code
    );
}

/// `services doctor --format json`.
fn doctor(host: &Host, service: &str, flags: &[&str]) -> Value {
    let words = [&["services", "doctor", service, "--format", "json"], flags].concat();
    serde_json::from_str(&host.ok(&words)).expect("JSON")
}

fn service(index: usize) -> String {
    format!("broken-{index}")
}

/// Deploys every case, several at a time, in their order.
fn deploy_all(host: &Host, [refuses, absent]: &[String; 2]) -> BTreeMap<usize, Told> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let told = std::sync::Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(case) = CASES.get(index) else { return };
                    let image = match case.image {
                        name if name.starts_with('{') => name
                            .replace("{registry}", &host.registry)
                            .replace("{refuses}", refuses)
                            .replace("{absent}", absent),
                        name if name.contains(':') => format!("localhost/{name}"),
                        name => format!("localhost/{name}:latest"),
                    };
                    let name = service(index);
                    let words = ["deploy", &name, "--image", &image, "--no-allow-unauthenticated", "--quiet"];
                    let deploy = host.updraft(&[&words[..], case.flags].concat());
                    let doctor = doctor(host, &name, &[]);
                    told.lock().expect("not poisoned").insert(index, Told { deploy, doctor });
                }
            });
        }
    });
    told.into_inner().expect("not poisoned")
}

/// What is told otherwise than the row says.
fn compare(case: &Case, row: &Row, told: &Told) -> Vec<String> {
    let found = &told.doctor["diagnosis"];
    let mut wrong = Vec::new();
    let mut check = |what: &str, want: &str, got: &str| {
        if !matches(want, got) {
            wrong
                .push(format!("{}: {what}\n  documented: {want}\n  told:       {got}\n  {:#}", case.does, told.doctor));
        }
    };
    for (what, want) in
        [("code", &row.code), ("sentence", &row.sentence), ("cause", &row.cause), ("advice", &row.advice)]
    {
        check(what, want, found[what].as_str().unwrap_or_default());
    }
    check("state", "FAILED", told.doctor["state"].as_str().unwrap_or_default());
    // The deploy says the same, in this order, and fails.
    let whole = format!("…{}…{}…{}…", row.sentence, row.cause, row.advice);
    check("deploy", &whole, &told.deploy.stderr);
    check("exit code", "1", &told.deploy.code.to_string());
    wrong
}

/// Is `text` what the pattern says, where `…` stands for anything?
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The rows of the table, by what the container does. The sentences are those of the list before it.
fn rows() -> BTreeMap<String, Row> {
    let sentence = |key: &str| {
        let found = DOCUMENT.lines().find_map(|line| line.strip_prefix(&format!("- **{key}**: ")));
        found.unwrap_or_else(|| panic!("docs/doctor.md has no sentence {key}")).to_owned()
    };
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().replace('`', "")).collect()
    };
    let table = DOCUMENT
        .lines()
        .skip_while(|line| *line != "<!-- containers -->")
        .take_while(|line| *line != "<!-- /containers -->");
    let rows = table.filter(|line| line.starts_with("| `")).map(|line| match &cells(line)[..] {
        [code, does, key, cause, advice] => Row {
            code: code.clone(),
            does: does.clone(),
            sentence: sentence(key),
            cause: cause.clone(),
            advice: advice.clone(),
        },
        other => panic!("a row of docs/doctor.md has {} cells: {line}", other.len()),
    });
    rows.map(|row| (row.does.clone(), row)).collect()
}

/// Rows for the document; figures have to become `…` by hand.
fn print(told: &BTreeMap<usize, Told>) {
    for (index, case) in CASES.iter().enumerate() {
        let found = &told[&index].doctor["diagnosis"];
        let word = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        let key = match word("sentence") {
            text if text.starts_with("The user-provided") => "S",
            text if text.ends_with("not found.") => "M",
            text if text.ends_with("was denied.") => "D",
            text if text.ends_with("cannot be run.") => "U",
            text if text.ends_with("could not be fetched.") => "F",
            _ => "P",
        };
        eprintln!("| `{}` | {} | {key} | {} | {} |", word("code"), case.does, word("cause"), word("advice"));
    }
}

#[test]
fn a_pattern_stands_for_what_it_leaves_out_and_for_nothing_else() {
    assert!(matches("a … c", "a b c") && matches("a", "a") && matches("…", "") && matches("…b…", "abc"));
    assert!(!matches("a … c", "a b d") && !matches("a", "ab") && !matches("a…", "b"));
}
