//! Completion scripts.

use std::io::Write;

pub use clap_complete::Shell;

/// Writes the script that makes `shell` complete `command`, the whole of it, to `out`.
pub fn completion(command: &mut clap::Command, shell: Shell, out: &mut dyn Write) {
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, command, name, &mut &mut *out);
}

#[cfg(test)]
mod tests {
    use clap::Subcommand;

    use super::*;

    #[test]
    fn every_shell_learns_every_verb() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut command = crate::Command::augment_subcommands(clap::Command::new("updraft"));
            let mut script = Vec::new();
            completion(&mut command, shell, &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in
                ["deploy", "update-traffic", "revisions", "images", "allow-unauthenticated", "worker-pools", "rerun"]
            {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
