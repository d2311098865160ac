//! Finding the program to execute, and saying why it cannot be.

/// What a file that could not be executed looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Looks {
    /// It is not there.
    Absent,
    /// It is there and is a directory.
    Directory,
    /// It is there and may not be executed by the user.
    NotExecutable,
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

/// The sentence for a program of which no candidate could be executed. `found` is the candidate
/// that came closest and what it looks like; `error` is what the kernel said of it.
pub(crate) fn explain(program: &str, path: &str, found: Option<(&str, &Looks)>, error: &str) -> String {
    let Some((file, looks)) = found.filter(|(_, looks)| **looks != Looks::Absent) else {
        return if program.contains('/') {
            format!("'{program}': no such file in the image")
        } else {
            format!("'{program}': executable file not found in $PATH ({path})")
        };
    };
    match looks {
        Looks::Directory => format!("'{file}': is a directory"),
        Looks::NotExecutable => {
            format!("'{file}': permission denied: the file is not executable for the container's user")
        }
        // Such as /proc/self/exe, which is the launcher until a program has been executed.
        Looks::Magic => format!("'{file}': its path leads through a link of /proc, or in a circle"),
        Looks::File(head) if head.is_empty() => format!("'{file}': exec format error: the file is empty"),
        Looks::File(head) => match architecture(head) {
            Some(other) => format!("'{file}': exec format error: built for {other}, not for linux/amd64"),
            None => match interpreter(head) {
                Some(interpreter) => {
                    format!(
                        "'{file}': its interpreter '{interpreter}' is missing from the image or cannot be executed ({error})"
                    )
                }
                None if !head.starts_with(ELF) => {
                    format!("'{file}': exec format error: neither an ELF file nor a script that begins with #!")
                }
                None => format!("'{file}': {error}"),
            },
        },
        Looks::Absent => format!("'{file}': {error}"),
    }
}

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
    if let Some(rest) = head.strip_prefix(b"#!") {
        let line = rest.split(|&byte| byte == b'\n').next()?;
        let line = String::from_utf8_lossy(line);
        return line.split_whitespace().next().map(str::to_owned);
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
    fn the_cause_is_named_precisely() {
        let file = |bytes: &[u8]| Some(Looks::File(bytes.to_vec()));
        let say =
            |looks: Option<Looks>| explain("/app", "/bin", looks.as_ref().map(|looks| ("/app", looks)), "os error");
        for (looks, want) in [
            (None, "'/app': no such file in the image"),
            (Some(Looks::Absent), "'/app': no such file in the image"),
            (Some(Looks::Directory), "'/app': is a directory"),
            (Some(Looks::Magic), "'/app': its path leads through a link of /proc, or in a circle"),
            (
                Some(Looks::NotExecutable),
                "'/app': permission denied: the file is not executable for the container's user",
            ),
            (file(b""), "'/app': exec format error: the file is empty"),
            (file(b"hello"), "'/app': exec format error: neither an ELF file nor a script that begins with #!"),
            (
                file(b"#! /bin/bash -e\nx"),
                "'/app': its interpreter '/bin/bash' is missing from the image or cannot be executed (os error)",
            ),
            (file(&elf(183, None)), "'/app': exec format error: built for arm64, not for linux/amd64"),
            (
                file(&elf(62, Some("/lib64/ld.so"))),
                "'/app': its interpreter '/lib64/ld.so' is missing from the image or cannot be executed (os error)",
            ),
            (file(&elf(62, None)), "'/app': os error"),
        ] {
            assert_eq!(say(looks), want);
        }
        assert_eq!(explain("app", "/a:/b", None, "x"), "'app': executable file not found in $PATH (/a:/b)");
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
