//! Who a container runs as: the image's `USER` against its own `/etc/passwd` and `/etc/group`.

/// A user, as numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// User.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// The home directory; `/` when nobody says.
    pub(crate) home: String,
}

/// A line of `/etc/passwd`.
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// `(uid_t) -1`, which setresuid(2) and setresgid(2) take for "leave as it is".
const UNCHANGED: u32 = u32::MAX;

/// Resolves `user`, which is `""`, `name`, `uid`, `name:group`, `uid:gid` and their mixtures.
///
/// A user name that is not there becomes root, as Cloud Run documents; a number need not be there.
/// Supplementary groups are those that list the user, unless a group was named (as Docker does).
///
/// # Errors
/// A sentence, when the user or a group of it has the number that means "leave as it is" to the kernel
/// ([`UNCHANGED`]): the container would keep the launcher's, which is root.
pub(crate) fn resolve(user: &str, passwd: &str, group: &str) -> Result<Identity, String> {
    let (who, with) = match user.split_once(':') {
        Some((who, with)) => (who, Some(with).filter(|with| !with.is_empty())),
        None => (user, None),
    };
    let who = if who.is_empty() { "0" } else { who };
    let number = who.parse::<u32>().ok();
    let account = accounts(passwd)
        .find(|account| account.name == who)
        .or_else(|| accounts(passwd).find(|account| account.uid == number.unwrap_or(0)));
    let (uid, own_gid, home) = match &account {
        Some(account) => (account.uid, account.gid, account.home),
        None => (number.unwrap_or(0), 0, ""),
    };
    let (gid, groups) = match with {
        Some(with) => (with.parse().ok().or_else(|| gid_of(group, with)).unwrap_or(0), Vec::new()),
        None => (own_gid, account.map(|account| memberships(group, account.name)).unwrap_or_default()),
    };
    if [uid, gid].iter().chain(&groups).any(|&number| number == UNCHANGED) {
        return Err(format!("the user '{user}': {UNCHANGED} is not a number that a user or a group can have"));
    }
    Ok(Identity { uid, gid, groups, home: if home.is_empty() { "/".to_owned() } else { home.to_owned() } })
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let &[name, _, uid, gid, _, home, ..] = &fields[..] else { return None };
        Some(Account { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    })
}

/// Name, number and members of each group.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let &[name, _, gid, members, ..] = &fields[..] else { return None };
        Some((name, gid.parse().ok()?, members))
    })
}

fn gid_of(group: &str, wanted: &str) -> Option<u32> {
    groups(group).find(|(name, ..)| *name == wanted).map(|(_, gid, _)| gid)
}

fn memberships(group: &str, user: &str) -> Vec<u32> {
    groups(group).filter(|(.., members)| members.split(',').any(|one| one == user)).map(|(_, gid, _)| gid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:\n# broken\nodd:x:no:1::/:\n";
    const GROUP: &str = "root:x:0:\napp:x:1001:\nvideo:x:44:app,other\naudio:x:29:other\n";

    #[test]
    fn users_resolve_as_docker_does_and_unknown_names_are_root() {
        for (user, want) in [
            ("", "0:0 [] /root"),
            ("app", "1000:1001 [44] /home/app"),
            ("1000", "1000:1001 [44] /home/app"),
            ("app:audio", "1000:29 [] /home/app"),
            ("app:7", "1000:7 [] /home/app"),
            ("app:", "1000:1001 [44] /home/app"),
            ("4711", "4711:0 [] /"),
            ("4711:4712", "4711:4712 [] /"),
            ("nobody-here", "0:0 [] /root"),
            ("app:nobody-here", "1000:0 [] /home/app"),
            ("odd", "0:0 [] /root"),
            ("-1", "0:0 [] /root"),
        ] {
            let got = resolve(user, PASSWD, GROUP).expect("a user");
            assert_eq!(format!("{}:{} {:?} {}", got.uid, got.gid, got.groups, got.home), want, "{user}");
        }
    }

    #[test]
    fn an_image_without_any_account_runs_as_root() {
        let root = Identity { uid: 0, gid: 0, groups: Vec::new(), home: "/".to_owned() };
        assert_eq!(resolve("", "", ""), Ok(root));
    }

    #[test]
    fn the_number_that_would_leave_the_user_as_it_is_is_refused_wherever_it_comes_from() {
        let passwd = "u:x:4294967295:1::/:\ng:x:1:4294967295::/:\nok:x:1:1::/:\n";
        let group = "huge:x:4294967295:ok\n";
        for user in ["4294967295", "1:4294967295", "u", "g", "1000:huge", "ok"] {
            let refused = resolve(user, passwd, group);
            assert!(refused.as_ref().is_err_and(|cause| cause.contains("4294967295")), "{user}: {refused:?}");
        }
    }
}
