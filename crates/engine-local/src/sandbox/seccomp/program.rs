//! From rules to a classic BPF program: the architecture is checked, then the number is found by
//! binary search, so that every call costs about eight instructions.

use super::{Rule, Verdict};

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// What to do.
    pub(crate) code: u16,
    /// Instructions to skip if the condition holds.
    pub(crate) yes: u8,
    /// Instructions to skip if not.
    pub(crate) no: u8,
    /// The operand.
    pub(crate) value: u32,
}

// The operations used, of <linux/bpf_common.h>.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

// Offsets in the kernel's `struct seccomp_data`; arguments are 64 bits wide, little endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const THIRD_ARGUMENT: u32 = 32;

// The answers, of <linux/seccomp.h>.
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const KILL: u32 = 0x8000_0000;

const X86_64: u32 = 0xc000_003e;
const EPERM: u16 = 1;
const EAFNOSUPPORT: u16 = 97;
const AF_NETLINK: u32 = 16;
const NETLINK_AUDIT: u32 = 9;

/// The program for `rules`, which are in order and begin at 0. A call of another architecture (the
/// 32-bit entry) kills the process: its numbers mean something else.
pub(crate) fn assemble(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![load(ARCHITECTURE), branch(IF_EQUAL, X86_64, (1, 0)), answer(KILL), load(NUMBER)];
    program.extend(search(rules));
    program
}

fn search(rules: &[Rule]) -> Vec<Instruction> {
    if let [only] = rules {
        return decide(only.verdict);
    }
    let (below, from) = rules.split_at(rules.len() / 2);
    let Some(pivot) = from.first().map(|rule| rule.first) else { return vec![answer(KILL)] };
    let (below, from) = (search(below), search(from));
    let mut code = Vec::with_capacity(below.len() + from.len() + 2);
    match u8::try_from(below.len()) {
        Ok(distance) => code.push(branch(IF_AT_LEAST, pivot, (distance, 0))),
        // Conditional jumps reach 255 instructions; the unconditional one reaches everywhere.
        Err(_) => {
            code.push(branch(IF_AT_LEAST, pivot, (0, 1)));
            let distance = u32::try_from(below.len()).unwrap_or(u32::MAX);
            code.push(Instruction { code: JUMP, yes: 0, no: 0, value: distance });
        }
    }
    code.extend(below);
    code.extend(from);
    code
}

fn decide(verdict: Verdict) -> Vec<Instruction> {
    match verdict {
        Verdict::Allow => vec![answer(ALLOW)],
        Verdict::Refuse(errno) => vec![refuse(errno)],
        Verdict::UnlessBits(bits) => {
            vec![load(FIRST_ARGUMENT), branch(IF_ANY_BIT, bits, (0, 1)), refuse(EPERM), answer(ALLOW)]
        }
        Verdict::OnlyValues(values) => one_of(values, EPERM),
        Verdict::Families(families) => {
            // netlink and audit, or a family of the list.
            let mut code = vec![
                load(FIRST_ARGUMENT),
                branch(IF_EQUAL, AF_NETLINK, (0, 3)),
                load(THIRD_ARGUMENT),
                branch(IF_EQUAL, NETLINK_AUDIT, (0, 1)),
                refuse(EPERM),
            ];
            code.extend(one_of(families, EAFNOSUPPORT));
            code
        }
    }
}

/// Allows if the first argument is one of `values`.
fn one_of(values: &[u32], errno: u16) -> Vec<Instruction> {
    let mut code = vec![load(FIRST_ARGUMENT)];
    for (n, &value) in values.iter().enumerate() {
        let left = u8::try_from(values.len() - n).unwrap_or(u8::MAX);
        code.push(branch(IF_EQUAL, value, (left, 0)));
    }
    code.extend([refuse(errno), answer(ALLOW)]);
    code
}

fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, yes: 0, no: 0, value: offset }
}

fn branch(code: u16, value: u32, (yes, no): (u8, u8)) -> Instruction {
    Instruction { code, yes, no, value }
}

fn answer(value: u32) -> Instruction {
    Instruction { code: RETURN, yes: 0, no: 0, value }
}

fn refuse(errno: u16) -> Instruction {
    answer(ERRNO | u32::from(errno))
}

#[cfg(test)]
mod tests {
    use super::{super::rules, *};
    use crate::sandbox::isolation::Isolation;

    /// Runs the program on a call as the kernel would.
    fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 3]) -> u32 {
        let word = |offset: u32| match offset {
            NUMBER => number,
            ARCHITECTURE => architecture,
            _ => arguments[(offset as usize - 16) / 8] as u32,
        };
        let (mut at, mut accumulator) = (0usize, 0u32);
        loop {
            let one = program[at];
            let skip = |holds: bool| usize::from(if holds { one.yes } else { one.no });
            at += 1 + match one.code {
                LOAD => {
                    accumulator = word(one.value);
                    0
                }
                JUMP => one.value as usize,
                IF_EQUAL => skip(accumulator == one.value),
                IF_AT_LEAST => skip(accumulator >= one.value),
                IF_ANY_BIT => skip(accumulator & one.value != 0),
                RETURN => return one.value,
                other => panic!("unknown instruction {other:#x}"),
            };
        }
    }

    fn answer_to(number: i64, arguments: [u64; 3]) -> u32 {
        run(&assemble(&rules(Isolation::Namespaces)), X86_64, u32::try_from(number).expect("small"), arguments)
    }

    #[test]
    fn the_program_agrees_with_the_rules_for_every_number() {
        let (rules, program) = (rules(Isolation::Namespaces), assemble(&rules(Isolation::Namespaces)));
        assert!(program.len() < 1000, "{}", program.len());
        for number in (0..1000).chain([0x4000_0000, 0x4000_0038, u32::MAX]) {
            let at = rules.partition_point(|rule| rule.first <= number) - 1;
            let want = match rules[at].verdict {
                Verdict::Allow => ALLOW,
                Verdict::Refuse(errno) => ERRNO | u32::from(errno),
                _ => continue,
            };
            assert_eq!(run(&program, X86_64, number, [0; 3]), want, "{number}");
        }
    }

    #[test]
    fn another_architecture_kills() {
        assert_eq!(run(&assemble(&rules(Isolation::Namespaces)), 0x4000_0003, 3, [0; 3]), KILL);
    }

    #[test]
    fn threads_and_processes_can_be_made_and_namespaces_cannot() {
        let pthread = 0x003d_0f00;
        assert_eq!(answer_to(libc::SYS_clone, [pthread, 0, 0]), ALLOW);
        for flag in [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
            assert_eq!(answer_to(libc::SYS_clone, [pthread | flag, 0, 0]), ERRNO | 1, "{flag:#x}");
        }
        assert_eq!(answer_to(libc::SYS_clone3, [0; 3]), ERRNO | 38);
    }

    #[test]
    fn only_sockets_of_known_families_can_be_made() {
        for family in [1, 2, 10, 16] {
            assert_eq!(answer_to(libc::SYS_socket, [family, 1, 0]), ALLOW, "{family}");
        }
        for family in [17, 38, 40, 0, 44] {
            assert_eq!(answer_to(libc::SYS_socket, [family, 1, 0]), ERRNO | 97, "{family}");
        }
        assert_eq!(answer_to(libc::SYS_socketpair, [1, 1, 0]), ALLOW);
        assert_eq!(answer_to(libc::SYS_socketpair, [30, 5, 0]), ERRNO | 97);
        assert_eq!(answer_to(libc::SYS_socket, [16, 3, 9]), ERRNO | 1);
        assert_eq!(answer_to(libc::SYS_socket, [2, 3, 9]), ALLOW);
    }

    #[test]
    fn personalities_that_weaken_the_address_space_are_refused() {
        assert_eq!(answer_to(libc::SYS_personality, [0xffff_ffff, 0, 0]), ALLOW);
        assert_eq!(answer_to(libc::SYS_personality, [0x004_0000, 0, 0]), ERRNO | 1);
    }
}
