//! Finding the program to execute, and saying why it cannot be.

use std::io;

use crate::fault::{Kind, Problem, Program};

/// What a file that could not be executed looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Looks {
    /// It is not there.
    Absent,
    /// A directory on the way may not be entered by the user.
    Hidden,
    /// It is there and is a directory.
    Directory,
    /// It is there and may not be executed by the user; its permissions.
    NotExecutable(u32),
    /// Its path leads through one of the links of `/proc` that are not paths, or in a circle.
    Magic,
    /// It is there; these are its first bytes.
    File(Vec<u8>),
}

/// How much of a file is looked at, in bytes: the header, the program headers and a `#!` line.
pub(crate) const HEAD: usize = 4096;

/// The paths that `program` may mean, in the order they are to be tried. A name with a slash is a
/// path; any other is looked for in `path`, where an empty part means the working directory.
pub(crate) fn candidates(program: &str, path: &str) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let place = |dir: &str| if dir.is_empty() { format!("./{program}") } else { format!("{dir}/{program}") };
    path.split(':').map(place).collect()
}

/// The path that `candidate` means to a process in the directory `dir`, from the root.
pub(crate) fn in_directory(dir: &str, candidate: &str) -> String {
    if candidate.starts_with('/') { candidate.to_owned() } else { format!("{}/{candidate}", dir.trim_end_matches('/')) }
}

/// Why a program with these first bytes cannot run with the host's files instead of its image's; `None`
/// when it can.
pub(crate) fn needs_its_image(head: &[u8]) -> Option<String> {
    if !head.starts_with(ELF) {
        return Some(match interpreter(head) {
            Some(interpreter) => format!("it is a script for '{interpreter}'"),
            None => "it is no ELF file".to_owned(),
        });
    }
    if let Some(other) = architecture(head) {
        return Some(format!("it is built for {other}, not for linux/amd64"));
    }
    interpreter(head).map(|interpreter| format!("it is linked dynamically, by '{interpreter}'"))
}

/// What the kernel would say to a program with these first bytes, if it would not execute it; `is_there` tells
/// whether a file is. For who cannot try.
pub(crate) fn refusal(head: &[u8], is_there: impl FnOnce(&str) -> bool) -> Option<io::Error> {
    let is_known = head.starts_with(SCRIPT) || head.starts_with(ELF);
    if !is_known || architecture(head).is_some() {
        return Some(rustix::io::Errno::NOEXEC.into());
    }
    interpreter(head).filter(|name| !is_there(name)).map(|_| rustix::io::Errno::NOENT.into())
}

/// A candidate that could not be executed.
#[derive(Debug)]
pub(crate) struct Tried {
    /// Which.
    pub(crate) file: String,
    /// What it looks like.
    pub(crate) looks: Looks,
    /// What the kernel said.
    pub(crate) error: io::Error,
}

/// What is wrong with a program (in `PATH`) of which no candidate could be executed. `closest` is the
/// candidate that came closest, if there was one that could be tried.
pub(crate) fn explain((program, path): (&str, &str), closest: Option<Tried>, similar: Vec<String>) -> Program {
    let searched = (!program.contains('/')).then(|| path.to_owned());
    let (file, problem) = match closest {
        None => (program.to_owned(), Problem::Absent),
        Some(Tried { file, looks, error }) => (file, problem(looks, &error)),
    };
    Program { program: program.to_owned(), searched, file, problem, similar }
}

fn problem(looks: Looks, error: &io::Error) -> Problem {
    let head = match looks {
        Looks::Absent => return Problem::Absent,
        Looks::Hidden => return Problem::Hidden,
        Looks::Directory => return Problem::Directory,
        Looks::NotExecutable(mode) => return Problem::NotExecutable(mode),
        Looks::Magic => return Problem::Magic,
        Looks::File(head) => head,
    };
    if head.is_empty() {
        return Problem::Empty;
    }
    if let Some(other) = architecture(&head) {
        return Problem::Architecture(other);
    }
    let is_script = head.starts_with(SCRIPT);
    if !is_script && !head.starts_with(ELF) {
        return Problem::Unknown(kind(&head));
    }
    let is_missing = error.kind() == io::ErrorKind::NotFound;
    match interpreter(&head) {
        Some(name) if is_missing && is_script => Problem::Interpreter(name),
        Some(name) if is_missing => Problem::Loader(name),
        Some(name) if is_script || error.kind() == io::ErrorKind::PermissionDenied => {
            Problem::Unusable(name, error.to_string())
        }
        _ => Problem::Other(error.to_string()),
    }
}

/// What a file looks like that is neither an ELF file nor a script.
fn kind(head: &[u8]) -> Kind {
    const MAC: [[u8; 4]; 4] =
        [[0xcf, 0xfa, 0xed, 0xfe], [0xfe, 0xed, 0xfa, 0xcf], [0xca, 0xfe, 0xba, 0xbe], [0xce, 0xfa, 0xed, 0xfe]];
    // The end of what was read may cut a letter in two.
    let is_text = match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    match head {
        [0xef, 0xbb, 0xbf, b'#', b'!', ..] => Kind::MarkedScript,
        [b'M', b'Z', ..] => Kind::Windows,
        _ if MAC.iter().any(|magic| head.starts_with(magic)) => Kind::MacOs,
        _ if is_text && !head.contains(&0) => Kind::Text,
        _ => Kind::Data,
    }
}

/// Files of the image that may have been meant by a program that is not there: of nearly its name where
/// it was looked for, and of its name elsewhere. `files` lists a directory.
pub(crate) fn similar(program: &str, path: &str, files: &dyn Fn(&str) -> Vec<String>) -> Vec<String> {
    const MOST: usize = 3;
    let (dir, name) = match program.rsplit_once('/') {
        Some((dir, name)) => (Some(if dir.is_empty() { "/" } else { dir }), name),
        None => (None, program),
    };
    let name = name.split(' ').next().unwrap_or_default();
    if name.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut look = |dir: &str, fits: &dyn Fn(&str) -> bool| {
        for file in files(dir).iter().filter(|file| fits(file)) {
            let whole = format!("{}/{file}", dir.trim_end_matches('/'));
            if whole != program && !found.contains(&whole) {
                found.push(whole);
            }
        }
    };
    let searched = path.split(':').filter(|dir| !dir.is_empty());
    for dir in dir.into_iter().chain(searched.clone().filter(|_| dir.is_none())) {
        look(dir, &|file| is_close(file, name));
    }
    for dir in [".", "/", "/app", "/bin", "/usr/bin", "/usr/local/bin"].into_iter().chain(searched) {
        look(dir, &|file| file == name);
    }
    found.truncate(MOST);
    found
}

/// Is it the same name but for letters' sizes, an ending, or a slip of the finger?
fn is_close(file: &str, name: &str) -> bool {
    let (file, name) = (file.to_lowercase(), name.to_lowercase());
    let stem = |text: &str| text.rsplit_once('.').map_or(text, |(stem, _)| stem).to_owned();
    if file == name || stem(&file) == name || file == stem(&name) {
        return true;
    }
    let most = if name.chars().count() < 4 { 0 } else { 1 + name.chars().count() / 8 };
    distance(&file, &name) <= most
}

/// How many letters have to be changed, put in or taken out.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], index + 1);
        for (place, wanted) in other.iter().enumerate() {
            let changed = before + usize::from(letter != *wanted);
            before = row[place + 1];
            row[place + 1] = changed.min(row[place] + 1).min(before + 1);
        }
    }
    row[other.len()]
}

const SCRIPT: &[u8] = b"#!";
const ELF: &[u8] = b"\x7fELF";

/// For an ELF file, what it was built for, unless that is x86_64.
fn architecture(head: &[u8]) -> Option<String> {
    if !head.starts_with(ELF) {
        return None;
    }
    let (class, order) = (*head.get(4)?, *head.get(5)?);
    let machine: [u8; 2] = head.get(18..20)?.try_into().ok()?;
    let machine = if order == 2 { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
    let name = match (machine, class) {
        (62, 2) => return None,
        (62, _) => "x32".to_owned(),
        (3, _) => "386".to_owned(),
        (183, _) => "arm64".to_owned(),
        (40, _) => "arm".to_owned(),
        (243, _) => "riscv64".to_owned(),
        (22, _) => "s390x".to_owned(),
        (21, _) if order == 1 => "ppc64le".to_owned(),
        (other, _) => format!("machine {other}"),
    };
    Some(name)
}

/// The program that has to be there for this file to run: of a `#!` line, or the dynamic linker.
fn interpreter(head: &[u8]) -> Option<String> {
    if let Some(rest) = head.strip_prefix(SCRIPT) {
        let line = rest.split(|&byte| byte == b'\n').next()?;
        let line = String::from_utf8_lossy(line);
        // As the kernel does it: a carriage return belongs to the name.
        return line.split([' ', '\t']).find(|word| !word.is_empty()).map(str::to_owned);
    }
    if !head.starts_with(ELF) {
        return None;
    }
    let number = |at: usize, size: usize| -> Option<usize> {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(head.get(at..at.checked_add(size)?)?);
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    // e_phoff, e_phentsize and e_phnum of the header; p_type, p_offset and p_filesz of each entry.
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    const PT_INTERP: usize = 3;
    let entry = (0..count)
        .filter_map(|n| table.checked_add(n.checked_mul(size)?))
        .find(|&entry| number(entry, 4) == Some(PT_INTERP))?;
    let (offset, length) = (number(entry.checked_add(8)?, 8)?, number(entry.checked_add(32)?, 8)?);
    let name = head.get(offset..offset.checked_add(length)?)?;
    let name = name.split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_for_in_the_path_and_paths_are_not() {
        assert_eq!(candidates("app", "/a:/b"), ["/a/app", "/b/app"]);
        assert_eq!(candidates("./app", "/a:/b"), ["./app"]);
        assert_eq!(candidates("app", ""), ["./app"]);
    }

    fn elf(machine: u16, interpreter: Option<&str>) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        if let Some(name) = interpreter {
            file[64] = 3;
            file[72] = 120;
            file[96] = u8::try_from(name.len() + 1).expect("short");
            file.extend(name.bytes());
            file.push(0);
        }
        file
    }

    #[test]
    fn what_the_kernel_would_refuse_is_known_without_trying() {
        let has_sh = |name: &str| name == "/bin/sh";
        let kind = |head: &[u8]| refusal(head, has_sh).map(|error| error.raw_os_error().expect("the kernel's"));
        assert_eq!(kind(b"#!/bin/sh\n"), None);
        assert_eq!(kind(&elf(62, None)), None);
        for (head, errno) in [(&b"#!/bin/bash\n"[..], 2), (b"hello", 8), (b"", 8), (&elf(183, None), 8)] {
            assert_eq!(kind(head), Some(errno));
        }
        assert_eq!(kind(&elf(62, Some("/lib64/ld.so"))), Some(2));
    }

    #[test]
    fn the_cause_is_named_precisely() {
        let file = |bytes: &[u8]| Some(Looks::File(bytes.to_vec()));
        let (missing, denied) = (io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied);
        let say = |looks: Option<Looks>, error: io::ErrorKind| {
            let tried = looks.map(|looks| Tried { file: "/app".to_owned(), looks, error: error.into() });
            explain(("/app", "/bin"), tried, Vec::new()).problem
        };
        for (looks, error, want) in [
            (None, missing, Problem::Absent),
            (Some(Looks::Absent), missing, Problem::Absent),
            (Some(Looks::Hidden), denied, Problem::Hidden),
            (Some(Looks::Directory), denied, Problem::Directory),
            (Some(Looks::Magic), missing, Problem::Magic),
            (Some(Looks::NotExecutable(0o644)), denied, Problem::NotExecutable(0o644)),
            (file(b""), io::ErrorKind::Other, Problem::Empty),
            (file(b"hello"), io::ErrorKind::Other, Problem::Unknown(Kind::Text)),
            (file(b"hello \xc3"), io::ErrorKind::Other, Problem::Unknown(Kind::Text)),
            (file(b"hello\0"), io::ErrorKind::Other, Problem::Unknown(Kind::Data)),
            (file(b"MZ\x90\0"), io::ErrorKind::Other, Problem::Unknown(Kind::Windows)),
            (file(b"\xcf\xfa\xed\xfe\x07"), io::ErrorKind::Other, Problem::Unknown(Kind::MacOs)),
            (file(b"\xef\xbb\xbf#!/bin/sh\n"), io::ErrorKind::Other, Problem::Unknown(Kind::MarkedScript)),
            (file(b"#! /bin/bash -e\nx"), missing, Problem::Interpreter("/bin/bash".to_owned())),
            (file(b"#!/bin/sh\r\nx"), missing, Problem::Interpreter("/bin/sh\r".to_owned())),
            (file(b"#!/lib\nx"), denied, Problem::Unusable("/lib".to_owned(), "permission denied".to_owned())),
            (file(&elf(183, None)), io::ErrorKind::Other, Problem::Architecture("arm64".to_owned())),
            (file(&elf(62, Some("/lib64/ld.so"))), missing, Problem::Loader("/lib64/ld.so".to_owned())),
            (file(&elf(62, None)), io::ErrorKind::Other, Problem::Other("other error".to_owned())),
        ] {
            assert_eq!(say(looks, error), want);
        }
        let absent = explain(("app", "/a:/b"), None, Vec::new());
        assert_eq!((absent.searched.as_deref(), absent.problem), (Some("/a:/b"), Problem::Absent));
    }

    #[test]
    fn what_may_have_been_meant_is_found_nearby() {
        let files = |dir: &str| -> Vec<String> {
            let names: &[&str] = match dir {
                "/app" => &["server", "Main", "start.sh", "notes"],
                "/usr/bin" => &["python3", "node", "nodes"],
                _ => &[],
            };
            names.iter().map(|&name| name.to_owned()).collect()
        };
        for (program, want) in [
            ("/app/sever", "/app/server"),
            ("/app/main", "/app/Main"),
            ("/app/start", "/app/start.sh"),
            ("/bin/server", "/app/server"),
            ("server", "/app/server"),
            ("python4", "/usr/bin/python3"),
            ("nod", ""),
            ("/app/server --fast", "/app/server"),
            ("/", ""),
            ("/app/entirely-different", ""),
        ] {
            assert_eq!(similar(program, "/usr/bin", &files).join(" "), want, "{program}");
        }
    }

    #[test]
    fn only_a_static_program_can_do_without_its_image() {
        assert_eq!(needs_its_image(&elf(62, None)), None);
        for (head, why) in [
            (elf(62, Some("/lib64/ld.so")), "linked dynamically, by '/lib64/ld.so'"),
            (elf(183, None), "built for arm64"),
            (b"#!/bin/sh\n".to_vec(), "a script for '/bin/sh'"),
            (b"text".to_vec(), "no ELF file"),
        ] {
            let said = needs_its_image(&head).unwrap_or_default();
            assert!(said.contains(why), "{said}");
        }
        assert_eq!(in_directory("/srv/", "./app"), "/srv/./app");
        assert_eq!(in_directory("/srv", "/app"), "/app");
    }

    #[test]
    fn a_broken_header_is_no_reason_to_fall_over() {
        for length in 0..130 {
            let mut bytes = elf(62, Some("/lib64/ld.so"));
            bytes.truncate(length);
            let _ = (architecture(&bytes), interpreter(&bytes));
            bytes.resize(length + 64, 0xff);
            let _ = (architecture(&bytes), interpreter(&bytes));
        }
    }
}
