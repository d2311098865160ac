//! The same rules in the words of an OCI runtime, which knows system calls by name.
//!
//! What is not named gets the default, `EPERM`. Calls that are newer than every name of a profile do not exist
//! for a container (`ENOSYS`) with runtimes that do as runc does.

use serde_json::{Value, json};

use super::{Rule, Verdict, names};

const EPERM: u16 = 1;
const EAFNOSUPPORT: u16 = 97;
const AF_NETLINK: u32 = 16;
const NETLINK_AUDIT: u32 = 9;
/// One more than the last family of sockets that has a number.
const FAMILIES: u32 = 46;

/// The `linux.seccomp` of a bundle.
pub(crate) fn profile(rules: &[Rule]) -> Value {
    let mut entries = vec![entry(&named(rules, Verdict::Allow), "SCMP_ACT_ALLOW", json!([]))];
    for (name, verdict) in verdicts(rules) {
        match verdict {
            // The default, and what was named already.
            Verdict::Allow | Verdict::Refuse(EPERM) => {}
            Verdict::Refuse(errno) => entries.push(refuse(name, errno, json!([]))),
            Verdict::UnlessBits(bits) => entries.push(allow(name, json!([masked(bits)]))),
            Verdict::OnlyValues(values) => {
                entries.extend(values.iter().map(|&value| allow(name, json!([is(0, value)]))));
            }
            Verdict::Families(families) => entries.extend(sockets(name, families)),
        }
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": entries,
    })
}

/// Each name that has a number among the rules, and what becomes of it.
fn verdicts(rules: &[Rule]) -> impl Iterator<Item = (&'static str, Verdict)> {
    names::all().filter_map(|(number, name)| {
        let at = rules.partition_point(|rule| rule.first <= number);
        Some((name, rules.get(at.checked_sub(1)?)?.verdict))
    })
}

fn named(rules: &[Rule], wanted: Verdict) -> Vec<&'static str> {
    verdicts(rules).filter(|&(_, verdict)| verdict == wanted).map(|(name, _)| name).collect()
}

/// Families one by one: no two entries speak of the same call, so that it does not matter which is asked first.
fn sockets(name: &str, families: &[u32]) -> Vec<Value> {
    let mut entries = Vec::new();
    for family in 0..FAMILIES {
        match family {
            AF_NETLINK if families.contains(&AF_NETLINK) => {
                entries.push(allow(name, json!([is(0, AF_NETLINK), argument(2, NETLINK_AUDIT, "SCMP_CMP_NE")])));
            }
            _ if families.contains(&family) => entries.push(allow(name, json!([is(0, family)]))),
            _ => entries.push(refuse(name, EAFNOSUPPORT, json!([is(0, family)]))),
        }
    }
    entries
}

fn allow(name: &str, arguments: Value) -> Value {
    entry(&[name], "SCMP_ACT_ALLOW", arguments)
}

fn refuse(name: &str, errno: u16, arguments: Value) -> Value {
    let mut entry = entry(&[name], "SCMP_ACT_ERRNO", arguments);
    entry["errnoRet"] = json!(errno);
    entry
}

fn entry(names: &[&str], action: &str, arguments: Value) -> Value {
    json!({"names": names, "action": action, "args": arguments})
}

fn is(index: u32, value: u32) -> Value {
    argument(index, value, "SCMP_CMP_EQ")
}

fn argument(index: u32, value: u32, operator: &str) -> Value {
    json!({"index": index, "value": value, "op": operator})
}

/// None of these bits of the first argument.
fn masked(bits: u32) -> Value {
    json!({"index": 0, "value": bits, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"})
}

#[cfg(test)]
mod tests {
    use super::{super::rules, *};
    use crate::sandbox::isolation::Isolation;

    fn entries(name: &str) -> Vec<Value> {
        let profile = profile(&rules(Isolation::Namespaces));
        let all = profile["syscalls"].as_array().expect("a list").clone();
        all.into_iter().filter(|one| one["names"].as_array().expect("names").contains(&json!(name))).collect()
    }

    #[test]
    fn what_the_filter_lets_through_is_named_once_and_what_it_refuses_is_not() {
        for name in ["read", "openat", "chroot", "futex_waitv", "mseal"] {
            let found = entries(name);
            assert_eq!(found.len(), 1, "{name}");
            assert_eq!((&found[0]["action"], &found[0]["args"]), (&json!("SCMP_ACT_ALLOW"), &json!([])), "{name}");
        }
        for name in ["mount", "unshare", "bpf", "keyctl", "io_uring_setup", "lsm_list_modules"] {
            assert_eq!(entries(name), Vec::<Value>::new(), "{name}");
        }
    }

    #[test]
    fn conditions_on_arguments_are_the_filters() {
        assert_eq!(entries("clone"), [allow("clone", json!([masked(0x7e02_0000)]))]);
        assert_eq!(entries("clone3"), [refuse("clone3", 38, json!([]))]);
        assert_eq!(entries("personality").len(), 5);
        let sockets = entries("socket");
        assert_eq!(sockets[1], allow("socket", json!([is(0, 1)])));
        assert_eq!(sockets[17], refuse("socket", 97, json!([is(0, 17)])));
        assert!(sockets[16].to_string().contains("SCMP_CMP_NE"), "{}", sockets[16]);
    }
}
