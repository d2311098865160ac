//! The list of escapes, inside our sandbox and beside it under runc.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
};

use serde_json::json;
use updraft_engine::{Engine as _, EngineEvent};
use updraft_model::instance::{Contents, Exit, InstanceId, InstanceSpec, Limits, Mount, VolumeSpec};

use super::{
    host::Host,
    runc::Runc,
    table::{self, ESCAPES, Escape, Want},
};
use crate::{
    bed::Bed,
    image::{Entry, Image, build},
};

/// What came of each attempt, by its name.
type Verdicts = HashMap<String, String>;

/// How much the volume of an instance holds, and that of one that is to be filled.
const VOLUME: u64 = 8 << 20;
const LARGE_VOLUME: u64 = 1 << 30;

/// Bombs that do no harm where nothing bounds them.
const BOMBS_FOR_RUNC: [&str; 6] =
    ["bomb-processes", "bomb-threads", "bomb-memory", "bomb-dev", "bomb-dev-shm", "bomb-files"];

/// The program that tries, built once.
fn program() -> Vec<u8> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let built = PROGRAM.get_or_init(|| build("escape", "tests/reality/fixture/escape/main.rs", &["-Copt-level=0"]));
    fs::read(built).expect("just built")
}

fn image(user: &str) -> Image {
    let program = program();
    let layer = vec![
        Entry::File("escape", 0o755, program),
        Entry::File("shared-file", 0o666, b"as it was".to_vec()),
        Entry::Directory("tmp", 0o1777),
    ];
    Image { layers: vec![layer], config: json!({"Entrypoint": ["/escape"], "User": user}) }
}

fn spec(bed: &Bed, args: &[&str]) -> InstanceSpec {
    let limits = Limits { cpu_millis: 1000, memory_bytes: 64 << 20, pids: 24 };
    let mut spec = bed.spec(args);
    spec.ingress.limits = limits;
    spec.ingress.mounts = vec![Mount { volume: "v".to_owned(), path: "/volume".to_owned() }];
    spec.volumes = vec![VolumeSpec::in_memory("v", VOLUME)];
    spec
}

/// An instance to be left alone, and its address.
async fn neighbour(bed: &mut Bed) -> (InstanceId, String) {
    let neighbour = spec(bed, &["neighbour"]);
    let id = bed.start(&neighbour).await;
    loop {
        if let EngineEvent::Output { id: of, text, .. } = bed.event().await
            && of == id
        {
            let address = text.strip_prefix("ready ").unwrap_or_else(|| panic!("the neighbour says {text}"));
            return (id, format!("{address}:8080"));
        }
    }
}

/// The list in an instance, beside a neighbour.
async fn ours(mut bed: Bed) -> Verdicts {
    let host = Host::new(&bed.data_dir);
    let (other, address) = neighbour(&mut bed).await;
    let mut attempts = spec(&bed, &["all"]);
    attempts.ingress.env.extend(host.told());
    attempts.ingress.env.push(("NEIGHBOUR".to_owned(), address));
    attempts.ingress.env.push(("RUN_DIR".to_owned(), bed.data_dir.join("run").display().to_string()));
    let seen = bed.run_spec(&attempts).await;
    assert_eq!((seen.exit, seen.err), (Exit::Code(0), Vec::new()), "{:?}", seen.out);
    assert!(bed.get(&other, "/").await.ends_with("well"), "the neighbour is as it was");
    assert_eq!(image_files(&bed.data_dir), ["as it was"], "the image is as it was");
    bed.engine.stop(&other, std::time::Duration::ZERO).await;
    assert_eq!(bed.until_exit(&other).await.out, Vec::<String>::new(), "nobody came to the neighbour");
    assert_eq!(host.harm(), Vec::<String>::new());
    bed.end().await;
    verdicts(&seen.out)
}

/// What the file of the image says that an instance writes to, wherever it is unpacked.
fn image_files(data_dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![data_dir.join("images")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let kind = entry.file_type().expect("just listed");
            if kind.is_dir() {
                directories.push(entry.path());
            } else if entry.file_name() == "shared-file" {
                found.push(fs::read_to_string(entry.path()).expect("the image's"));
            }
        }
    }
    found
}

fn verdicts(lines: &[String]) -> Verdicts {
    let pair = |line: &String| line.split_once(' ').map(|(name, verdict)| (name.to_owned(), verdict.to_owned()));
    lines.iter().filter_map(pair).collect()
}

/// The same under runc.
fn theirs() -> Option<Verdicts> {
    let (runc, image) = (Runc::find()?, image(""));
    let place = tempfile::tempdir().expect("a place for the test");
    let host = Host::new(place.path());
    let mut env = host.told();
    env.push(("RUN_DIR".to_owned(), place.path().display().to_string()));
    Some(verdicts(&runc.run(&image, &["all"], &env)))
}

fn theirs_of_bombs() -> Option<Verdicts> {
    Some(verdicts(&Runc::find()?.run(&image(""), &BOMBS_FOR_RUNC, &[])))
}

fn is_blocked(verdict: &str) -> bool {
    verdict.starts_with("blocked ")
}

/// Is this what is to come of it?
fn is_wanted(escape: Escape, verdict: &str) -> bool {
    is_blocked(verdict) || escape.want == Want::Confined && verdict == "confined"
}

/// Compares what came of the attempts with the list and with runc's; fails with a table.
#[expect(clippy::print_stdout, reason = "the table is for who asks for it with --nocapture")]
fn judge(escapes: impl Iterator<Item = Escape>, ours: &[(&str, Verdicts)], runc: Option<&Verdicts>) {
    let (mut table, mut wrong) = (String::new(), String::new());
    let said = |verdicts: &Verdicts, name: &str| verdicts.get(name).cloned().unwrap_or_else(|| "missing".to_owned());
    for escape in escapes {
        let theirs = runc.and_then(|verdicts| verdicts.get(escape.name)).map_or("not tried", String::as_str);
        let ours: Vec<(&str, String)> = ours.iter().map(|(how, all)| (*how, said(all, escape.name))).collect();
        let right =
            ours.iter().all(|(_, verdict)| is_wanted(escape, verdict) && (is_blocked(verdict) || !is_blocked(theirs)));
        let mut row = format!("{:<26} {:<64}", escape.name, escape.tries);
        for (how, verdict) in ours {
            let _ = write!(row, " {how}: {verdict:<22}");
        }
        let _ = writeln!(row, " runc: {theirs}");
        table.push_str(&row);
        if !right {
            wrong.push_str(&row);
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "these are not as they should be:\n{wrong}");
}

#[tokio::test]
async fn nothing_of_the_list_gets_out_and_what_runc_blocks_is_blocked() {
    let (Some(pooled), Some(direct), Some(user)) = (
        Bed::stocked_with(3, image("")).await,
        Bed::with(image("")).await,
        Bed::stocked_with(3, image("1000:1000")).await,
    ) else {
        return;
    };
    let runc = thread::spawn(theirs);
    let all = futures::join!(ours(pooled), ours(direct), ours(user));
    let runc = runc.join().expect("runc runs");
    let all = [("pool", all.0), ("direct", all.1), ("user", all.2)];
    for (how, verdicts) in &all {
        let unknown: Vec<&String> =
            verdicts.keys().filter(|name| !ESCAPES.iter().any(|escape| escape.name == **name)).collect();
        assert!(unknown.is_empty(), "tried and not in the list ({how}): {unknown:?}");
    }
    judge(table::single(), &all, runc.as_ref());
}

/// Each takes all it can get and keeps it, all at once, beside a neighbour and a host that go on.
#[tokio::test]
async fn a_bomb_goes_off_within_its_own_limits_and_the_neighbour_notices_nothing() {
    let Some(mut bed) = Bed::stocked_with(2, image("")).await else { return };
    let runc = thread::spawn(theirs_of_bombs);
    let (other, _) = neighbour(&mut bed).await;
    let mut running = HashMap::new();
    for escape in table::bombs() {
        let mut bomb = spec(&bed, &["hold", escape.name]);
        bomb.volumes[0].contents = Contents::Memory { size_bytes: LARGE_VOLUME };
        running.insert(bed.start(&bomb).await, escape.name);
    }
    let mut seen = Verdicts::new();
    while seen.len() < running.len() {
        match bed.event().await {
            EngineEvent::Output { id, text, .. } if running.contains_key(&id) => seen.extend(verdicts(&[text])),
            // The kernel may end its first process with the others.
            EngineEvent::Exited { id, exit, .. } if running.contains_key(&id) => {
                let ended = matches!(exit, Exit::OutOfMemory { .. });
                let verdict = if ended { "blocked out of memory".to_owned() } else { format!("ended {exit:?}") };
                seen.entry(running[&id].to_owned()).or_insert(verdict);
            }
            _ => {}
        }
    }
    assert!(bed.get(&other, "/").await.ends_with("well"), "{}", bed.get(&other, "/").await);
    let host = tempfile::tempdir().expect("the host has a place for a file");
    assert_eq!(Host::new(host.path()).harm(), Vec::<String>::new(), "the host has processes, sockets and files");
    let runc = runc.join().expect("runc runs");
    judge(table::bombs(), &[("pool", seen)], runc.as_ref());
    for id in running.keys().chain([&other]) {
        bed.engine.stop(id, std::time::Duration::ZERO).await;
    }
    bed.end().await;
}

#[test]
fn the_documentation_has_the_same_list() {
    let mut wanted = String::new();
    for Escape { name, tries, want } in ESCAPES {
        let want = match want {
            Want::Blocked => "blocked",
            Want::Confined => "has effect inside only",
        };
        let _ = writeln!(wanted, "| `{name}` | {tries} | {want} |");
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sandbox.md");
    let text = fs::read_to_string(file).expect("it is there");
    assert!(text.contains(&wanted), "docs/sandbox.md must hold these rows:\n{wanted}");
}

/// Each row of the table of mechanisms names files and tests that there are.
#[test]
fn the_documentation_names_files_and_tests_that_there_are() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(base.join("../../docs/sandbox.md")).expect("it is there");
    // What only shows with the whole server is tested there.
    let sources = sources(&[base.join("src"), base.join("tests"), base.join("../updraft/tests")]);
    let start = text.find("| asset |").expect("the table");
    let rows: Vec<&str> = text[start..].lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 20, "{rows:?}");
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [_, _, files, tests] = cells[..] else { panic!("not four cells: {row}") };
        let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        assert!(!quoted(files).is_empty() && !quoted(tests).is_empty(), "{row}");
        for file in quoted(files) {
            assert!(base.join("src").join(&file).is_file(), "there is no {file}");
        }
        for test in quoted(tests) {
            assert!(sources.contains(&format!("fn {test}(")), "there is no test {test}");
        }
    }
}

fn sources(directories: &[PathBuf]) -> String {
    let mut all = String::new();
    let mut directories = directories.to_vec();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("it is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&fs::read_to_string(path).expect("it is there"));
            }
        }
    }
    all
}
