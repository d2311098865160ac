//! The unit file.

use std::path::Path;

use sha2::{Digest as _, Sha256};

/// What the first line of a unit of ours begins with; a digest of the lines below follows.
const MARK: &str = "# Written by `updraft install --systemd`. Changes belong into `systemctl edit updraft`. ";

/// What a unit file is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorship {
    /// We wrote it, and nobody has changed it.
    Ours,
    /// We wrote it, and somebody has changed it.
    Edited,
    /// Somebody else wrote it.
    Foreign,
}

/// The unit that runs `program` with the configuration in `config`.
pub fn unit(program: &Path, config: &Path) -> String {
    let (program, config) = (quoted(program), quoted(config));
    let body = format!(
        "\
[Unit]
Description=Updraft, a serverless container platform
Wants=network-online.target
# What loads rules at boot must have done so: it may remove those of others.
After=network-online.target nftables.service firewalld.service

[Service]
Type=notify
ExecStart={program} serve --config {config}
Restart=on-failure
RestartSec=1
# A configuration that cannot be used does not become better.
RestartPreventExitStatus=2
WatchdogSec=60
# The server drains and removes everything: requests have 10 s, then containers 10 s. systemd ends the server and nothing
# else: when it crashes its launcher keeps the containers, and the next start goes on with them. (`mixed` would kill both
# with it.) A server that does not end in time is killed; `updraft serve --fresh` ends what that leaves.
KillMode=process
TimeoutStopSec=60
# It makes control groups of its own.
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576
# A core would hold values of secrets, and keys. One byte is the only limit that programs in core_pattern do not get past.
LimitCORE=1
OOMScoreAdjust=-500
StateDirectory=updraft
StateDirectoryMode=0700
UMask=0077
# Containers are children of the server and cannot have what it has not. So it keeps what they may need, and gives up
# what neither has any use for; sandboxing of systemd's that works by system call filters would reach into them.
NoNewPrivileges=yes
CapabilityBoundingSet=~CAP_SYS_MODULE CAP_SYS_BOOT CAP_SYS_TIME CAP_SYS_RAWIO CAP_SYS_PACCT CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_AUDIT_CONTROL CAP_AUDIT_READ CAP_LINUX_IMMUTABLE CAP_LEASE
KeyringMode=private

[Install]
WantedBy=multi-user.target
"
    );
    format!("{MARK}{}\n{body}", digest(&body))
}

/// A path as one word of a command line of systemd's, in which `%`, `$`, quotes and backslashes mean something.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(is_plain) {
        return text;
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

/// Who wrote `text`?
pub fn authorship(text: &str) -> Authorship {
    let Some((mark, body)) = text.strip_prefix(MARK).and_then(|rest| rest.split_once('\n')) else {
        return Authorship::Foreign;
    };
    if mark == digest(body) { Authorship::Ours } else { Authorship::Edited }
}

fn digest(body: &str) -> String {
    let mut hex = hex::encode(Sha256::digest(body));
    hex.truncate(16);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_knows_whether_it_was_changed() {
        let ours = unit(Path::new("/usr/local/bin/updraft"), Path::new("/etc/updraft/updraft.toml"));
        assert_eq!(authorship(&ours), Authorship::Ours);
        assert_eq!(authorship(&ours.replace("WatchdogSec=60", "WatchdogSec=5")), Authorship::Edited);
        assert_eq!(authorship(&format!("{ours}Nice=5\n")), Authorship::Edited);
        assert_eq!(authorship("[Service]\nExecStart=/bin/true\n"), Authorship::Foreign);
        assert_eq!(authorship(""), Authorship::Foreign);
    }

    #[test]
    fn a_path_is_one_word_whatever_is_in_it() {
        assert_eq!(quoted(Path::new("/usr/bin/updraft")), "/usr/bin/updraft");
        assert_eq!(quoted(Path::new("/opt/my app/50%/$x")), "\"/opt/my app/50%%/$$x\"");
        assert_eq!(quoted(Path::new("/a\"b\\c")), "\"/a\\\"b\\\\c\"");
    }
}
