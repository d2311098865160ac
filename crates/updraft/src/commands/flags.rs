//! Flags of clients, on verbs that are no clients: not offered, and refused when they are typed all the same. Who types
//! `serve --token …` must not believe that it is the token now.

use std::process::ExitCode;

use clap::{ArgMatches, Command, parser::ValueSource};
use updraft_cli::Exit;

use super::fail;

/// Verbs of this machine, and the flags of every verb that mean nothing to them. `--quiet` is left to those that scripts
/// run: they ask nothing anyway.
const UNUSED: [(&str, &[&str]); 8] = [
    ("serve", &["endpoint", "token", "token_file", "ca_file", "format", "quiet"]),
    ("quickstart", &["endpoint", "token", "token_file", "ca_file", "format", "quiet"]),
    ("doctor", &["endpoint", "token", "token_file", "ca_file", "project", "region"]),
    ("install", &["endpoint", "token", "token_file", "ca_file", "format", "project", "region"]),
    ("uninstall", &["endpoint", "token", "token_file", "ca_file", "format", "project", "region"]),
    ("restore", &["endpoint", "token", "token_file", "ca_file", "format"]),
    ("auth", &["format"]),
    ("config", &["endpoint", "token", "token_file", "ca_file"]),
];

/// Takes them out of the help of these verbs.
pub(super) fn hide(mut command: Command) -> Command {
    let globals: Vec<_> = command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    for (verb, unused) in UNUSED {
        let unused = globals.iter().filter(|arg| unused.contains(&arg.get_id().as_str()));
        // One of the verb's own with the same name stands before the one of all verbs.
        let unused: Vec<_> = unused.map(|arg| arg.clone().hide(true)).collect();
        command = command.mut_subcommand(verb, |mut verb| {
            let below: Vec<String> = verb.get_subcommands().map(|below| below.get_name().to_owned()).collect();
            for name in below {
                verb = verb.mut_subcommand(name, |below| below.args(unused.clone()));
            }
            verb.args(unused.clone())
        });
    }
    command
}

/// Refuses the first of them that was typed.
pub(super) fn check(matches: &ArgMatches) -> Result<(), ExitCode> {
    let Some((verb, _)) = matches.subcommand() else { return Ok(()) };
    let unused = UNUSED.iter().filter(|(name, _)| *name == verb).flat_map(|(_, unused)| *unused);
    let Some(typed) = unused.copied().find(|name| is_typed(matches, name)) else { return Ok(()) };
    let flag = typed.replace('_', "-");
    let hint = match (verb, typed) {
        ("serve", "token" | "token_file") => {
            "`serve --auth token` reads the token from DATA/token, and makes one when there is none"
        }
        _ => "`updraft VERB --help` lists what each verb takes",
    };
    let refused: Box<dyn std::error::Error> = format!("`updraft {verb}` has no use for '--{flag}'").into();
    fail(&*refused, Some(hint));
    Err(Exit::Usage.into())
}

/// Was it typed, wherever on the command line?
fn is_typed(matches: &ArgMatches, name: &str) -> bool {
    let mut level = Some(matches);
    while let Some(matches) = level {
        if matches.try_contains_id(name).unwrap_or(false)
            && matches.value_source(name) == Some(ValueSource::CommandLine)
        {
            return true;
        }
        level = matches.subcommand().map(|(_, below)| below);
    }
    false
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::commands::Arguments;

    fn parse(line: &str) -> Result<ArgMatches, clap::Error> {
        hide(Arguments::command()).try_get_matches_from(line.split_whitespace())
    }

    #[test]
    fn the_flags_are_sound() {
        hide(Arguments::command()).debug_assert();
    }

    #[test]
    fn flags_of_clients_are_refused_by_verbs_of_the_machine_wherever_they_stand() {
        for line in [
            "updraft serve --auth token --token abc",
            "updraft --token abc serve",
            "updraft serve --token-file f",
            "updraft quickstart -q",
            "updraft quickstart --endpoint http://localhost",
            "updraft install --systemd --format json",
            "updraft config show --token abc",
        ] {
            assert!(check(&parse(line).expect(line)).is_err(), "{line}");
        }
        for line in [
            "updraft serve --auth token --project p-12345 --region r",
            "updraft --region r quickstart",
            "updraft doctor --format json",
            "updraft config show --format json",
            "updraft --token abc --format json -q services list",
            "updraft services list --token-file f --endpoint http://localhost",
        ] {
            assert!(check(&parse(line).expect(line)).is_ok(), "{line}");
        }
    }

    #[test]
    fn they_are_not_offered_there_and_are_elsewhere() {
        let help = |line: &str| parse(line).expect_err("help").to_string();
        let serve = help("updraft serve --help");
        assert!(!serve.contains("--token") && !serve.contains("--endpoint") && serve.contains("--region"), "{serve}");
        assert!(!help("updraft quickstart --help").contains("--quiet"));
        assert!(!help("updraft config show --help").contains("--endpoint"));
        assert!(help("updraft services list --help").contains("--token-file"));
    }
}
