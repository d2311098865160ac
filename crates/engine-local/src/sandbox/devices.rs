//! Which devices an instance may open or make, and the same as an eBPF program: version 2 of control groups has no list
//! of devices, it asks a program.

use super::mounts::DEVICES;

/// One instruction, laid out as the kernel's `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// What to do.
    pub(crate) code: u8,
    /// Registers: in the lower half the one that is written or compared, in the upper half the one that is read.
    pub(crate) registers: u8,
    /// Where to read, in bytes, or how many instructions to skip.
    pub(crate) offset: i16,
    /// The operand.
    pub(crate) value: u32,
}

// The operations used, of <linux/bpf.h>.
const LOAD: u8 = 0x61;
const AND: u8 = 0x57;
const SKIP_IF: u8 = 0x15;
const SKIP_UNLESS: u8 = 0x55;
const SET: u8 = 0xb7;
const EXIT: u8 = 0x95;

// The registers: what is answered, what is given (`struct bpf_cgroup_dev_ctx`), and what is read from that.
const ANSWER: u8 = 0;
const GIVEN: u8 = 1;
const KIND: u8 = 2;
const MAJOR: u8 = 3;
const MINOR: u8 = 4;

/// The kind of a device is in the lower half of its field; in the upper half is what is to be done with it.
const KIND_BITS: u32 = 0xffff;
const CHARACTER: u32 = 2;

/// The character devices there are for an instance, its terminals among them: major, and minor if not all.
pub(crate) fn allowed() -> impl Iterator<Item = (u32, Option<u32>)> {
    DEVICES.into_iter().map(|(_, major, minor)| (major, Some(minor))).chain([(5, Some(2)), (136, None)])
}

/// A program of the type `BPF_PROG_TYPE_CGROUP_DEVICE`: these character devices, whatever is done with them, and no
/// other device.
pub(crate) fn program(allowed: impl Iterator<Item = (u32, Option<u32>)>) -> Vec<Instruction> {
    let mut code = vec![load(KIND, 0), load(MAJOR, 4), load(MINOR, 8), step(AND, KIND, 0, KIND_BITS)];
    code.push(step(SKIP_IF, KIND, 2, CHARACTER));
    code.extend(answer(0));
    for (major, minor) in allowed {
        match minor {
            Some(minor) => code.extend([step(SKIP_UNLESS, MAJOR, 3, major), step(SKIP_UNLESS, MINOR, 2, minor)]),
            None => code.push(step(SKIP_UNLESS, MAJOR, 2, major)),
        }
        code.extend(answer(1));
    }
    code.extend(answer(0));
    code
}

fn load(register: u8, offset: i16) -> Instruction {
    Instruction { code: LOAD, registers: GIVEN << 4 | register, offset, value: 0 }
}

fn answer(value: u32) -> [Instruction; 2] {
    [step(SET, ANSWER, 0, value), step(EXIT, 0, 0, 0)]
}

fn step(code: u8, register: u8, offset: i16, value: u32) -> Instruction {
    Instruction { code, registers: register, offset, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do with it.
    fn run(program: &[Instruction], given: [u32; 3]) -> u32 {
        let (mut registers, mut at) = ([0u32; 5], 0);
        loop {
            let Instruction { code, registers: names, offset, value } = program[at];
            let register = &mut registers[usize::from(names & 0xf)];
            match code {
                LOAD => *register = given[usize::try_from(offset).expect("forward") / 4],
                AND => *register &= value,
                SET => *register = value,
                SKIP_IF if *register == value => at += usize::try_from(offset).expect("forward"),
                SKIP_UNLESS if *register != value => at += usize::try_from(offset).expect("forward"),
                SKIP_IF | SKIP_UNLESS => {}
                _ => return registers[0],
            }
            at += 1;
        }
    }

    #[test]
    fn the_bytes_of_a_program() {
        let bytes = |one: &Instruction| {
            let (offset, value) = (one.offset.to_le_bytes(), one.value.to_le_bytes());
            let bytes = [&[one.code, one.registers][..], &offset, &value].concat();
            hex::encode(bytes)
        };
        let program: Vec<String> = program([(1, Some(3)), (136, None)].into_iter()).iter().map(bytes).collect();
        assert_eq!(
            program,
            [
                "6112000000000000", // r2 = kind and access
                "6113040000000000", // r3 = major
                "6114080000000000", // r4 = minor
                "57020000ffff0000", // r2 &= 0xffff
                "1502020002000000", // a character device? else
                "b700000000000000", // no
                "9500000000000000",
                "5503030001000000", // major 1
                "5504020003000000", // minor 3
                "b700000001000000", // yes
                "9500000000000000",
                "5503020088000000", // major 136
                "b700000001000000", // yes
                "9500000000000000",
                "b700000000000000", // no
                "9500000000000000",
            ]
        );
    }

    #[test]
    fn what_an_instance_has_may_be_used_and_nothing_else() {
        let program = program(allowed());
        for kind in 0..4 {
            for access in [1, 2, 4, 6, 7] {
                for (major, minor) in (0..300).flat_map(|major| (0..20).chain([255]).map(move |minor| (major, minor))) {
                    let named = allowed().any(|(one, which)| one == major && which.is_none_or(|which| which == minor));
                    let want = u32::from(kind == CHARACTER && named);
                    assert_eq!(run(&program, [access << 16 | kind, major, minor]), want, "{kind} {major}:{minor}");
                }
            }
        }
    }
}
