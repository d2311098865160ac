//! What is executed: image and template put together.
//!
//! The rules are Docker's, as Cloud Run documents them: a template's `command` replaces the image's
//! `ENTRYPOINT` and drops its `CMD`; `args` alone replace `CMD` only.

/// Where programs are looked for when the image does not say.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Files that one process may open (Cloud Run's container contract).
pub(crate) const OPEN_FILES: u64 = 25_000;

/// What the main thread's stack may grow to, in bytes.
pub(crate) const STACK: u64 = 8 << 20;

/// What a core may have, in bytes. The host would write it, where its `core_pattern` says: no file is as small as this, and
/// it is the one value for which the kernel does not start a program for it either. With 0 it does (core(5), and
/// `coredump_pipe` of the kernel).
pub(crate) const CORE: u64 = 1;

/// What arguments and environment may take together, in bytes: Linux gives them a quarter of the stack
/// (execve(2)). Less what comes to them later: the path that is executed and `HOME`.
pub(crate) const STRINGS: usize = STACK as usize / 4 - (16 << 10);

/// What one of them may take, in bytes, with its zero byte (`MAX_ARG_STRLEN`).
const STRING: usize = 128 << 10;

/// The program and its arguments; empty when neither image nor template name one.
pub(crate) fn argv(entrypoint: &[String], cmd: &[String], command: &[String], args: &[String]) -> Vec<String> {
    let head = if command.is_empty() { entrypoint } else { command };
    let tail = if !args.is_empty() {
        args
    } else if command.is_empty() {
        cmd
    } else {
        &[]
    };
    head.iter().chain(tail).cloned().collect()
}

/// The environment: the image's, then the template's; the later wins, at the place of the first.
/// `PATH` has a default; `HOME` depends on the user and is added where the user is known.
pub(crate) fn environment(image: &[(String, String)], template: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut merged: Vec<(String, String)> = Vec::with_capacity(image.len() + template.len() + 1);
    for (name, value) in image.iter().cloned().chain(template) {
        match merged.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => merged.push((name, value)),
        }
    }
    if !merged.iter().any(|(name, _)| name == "PATH") {
        merged.push(("PATH".to_owned(), DEFAULT_PATH.to_owned()));
    }
    merged
}

/// Would Linux take these arguments and this environment?
///
/// # Errors
/// A sentence that says what is too much.
pub(crate) fn check_size(argv: &[String], env: &[(String, String)]) -> Result<(), String> {
    const POINTER: usize = 8;
    let arguments = argv.iter().map(|argument| ("the argument", argument, argument.len() + 1));
    let variables = env.iter().map(|(name, value)| ("the variable", name, name.len() + value.len() + 2));
    let mut total = 0;
    for (what, text, bytes) in arguments.chain(variables) {
        if bytes > STRING {
            let start: String = text.chars().take(64).collect();
            return Err(format!("{what} '{start}' takes {bytes} bytes, of which Linux takes at most {STRING}"));
        }
        total += bytes + POINTER;
    }
    if total > STRINGS {
        return Err(format!(
            "its arguments and environment take {total} bytes together, of which Linux takes at most {STRINGS}"
        ));
    }
    Ok(())
}

/// The working directory: the template's, else the image's, else the root. Always absolute.
pub(crate) fn working_dir(image: &str, template: Option<&str>) -> String {
    let chosen = template.filter(|dir| !dir.is_empty()).unwrap_or(image);
    if chosen.starts_with('/') { chosen.to_owned() } else { format!("/{chosen}") }
}

/// `/etc/hosts`: `more`, the loopback names, and those of the instance's containers, which share it (Cloud Run maps them to
/// 127.0.0.1).
pub(crate) fn hosts<'a>(hostname: &'a str, containers: impl IntoIterator<Item = &'a str>, more: &str) -> String {
    let mut names = vec!["localhost"];
    for name in std::iter::once(hostname).chain(containers) {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    format!("127.0.0.1\t{}\n::1\tlocalhost ip6-localhost ip6-loopback\n{more}", names.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn command_and_args_replace_what_the_image_says_as_docker_does() {
        for (entrypoint, cmd, command, args, want) in [
            ("/e x", "c d", "", "", "/e x c d"),
            ("/e x", "c d", "", "a b", "/e x a b"),
            ("/e x", "c d", "/n y", "", "/n y"),
            ("/e x", "c d", "/n y", "a", "/n y a"),
            ("", "/c d", "", "", "/c d"),
            ("", "", "", "", ""),
        ] {
            let got = argv(&words(entrypoint), &words(cmd), &words(command), &words(args));
            assert_eq!(got, words(want), "{entrypoint} | {cmd} | {command} | {args}");
        }
    }

    #[test]
    fn the_later_variable_wins_and_a_path_is_always_there() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let merged =
            environment(&[pair("A", "1"), pair("B", "2")], vec![pair("A", "3"), pair("C", "4"), pair("A", "5")]);
        assert_eq!(merged, [pair("A", "5"), pair("B", "2"), pair("C", "4"), pair("PATH", DEFAULT_PATH)]);
        assert_eq!(environment(&[pair("PATH", "/x")], Vec::new()), [pair("PATH", "/x")]);
    }

    #[test]
    fn what_linux_would_not_take_is_refused_by_size_and_name() {
        let variable = |name: &str, bytes: usize| (name.to_owned(), "\u{1}".repeat(bytes));
        assert_eq!(check_size(&words("/app x"), &[variable("A", 100)]), Ok(()));
        assert_eq!(check_size(&[], &vec![variable("A", 32 << 10); 63]), Ok(()));
        let refused = check_size(&words("/app"), &[variable("LONG", 128 << 10)]).expect_err("too long");
        assert!(refused.starts_with("the variable 'LONG' takes 131078 bytes"), "{refused}");
        let refused = check_size(&words("/app"), &vec![variable("A", 32 << 10); 1000]).expect_err("too much");
        assert!(refused.contains("take 32779013 bytes together"), "{refused}");
    }

    #[test]
    fn the_working_directory_is_the_templates_then_the_images_then_the_root() {
        assert_eq!(working_dir("/app", None), "/app");
        assert_eq!(working_dir("/app", Some("/srv")), "/srv");
        assert_eq!(working_dir("app", Some("")), "/app");
        assert_eq!(working_dir("", None), "/");
    }

    #[test]
    fn hosts_names_each_container_once() {
        assert_eq!(
            hosts("localhost", ["hello-1", "side", "localhost"], "1.2.3.4\tmore\n"),
            "127.0.0.1\tlocalhost hello-1 side\n::1\tlocalhost ip6-localhost ip6-loopback\n1.2.3.4\tmore\n"
        );
    }
}
