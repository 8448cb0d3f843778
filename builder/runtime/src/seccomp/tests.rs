use std::collections::BTreeSet;

use seccompiler::sock_filter;

use super::*;

/// `BPF_MAXINSNS`.
const MAX_INSTRUCTIONS: usize = 4096;

/// `AUDIT_ARCH_X86_64` or `AUDIT_ARCH_AARCH64`.
const NATIVE: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

fn errno(errno: Errno) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno.raw_os_error().unsigned_abs()
}

/// What the kernel would answer: of two programs the stricter, and of equals the one installed last.
fn answer(tier: Tier, call: i64, first_argument: u64) -> u32 {
    answer_on(NATIVE, tier, call, first_argument)
}

fn answer_on(architecture: u32, tier: Tier, call: i64, first_argument: u64) -> u32 {
    let answers = filters(tier).unwrap().map(|program| execute(&program, architecture, call, first_argument));
    if answers.contains(&libc::SECCOMP_RET_KILL_PROCESS) {
        return libc::SECCOMP_RET_KILL_PROCESS;
    }
    let refusals: Vec<u32> = answers.into_iter().filter(|answer| *answer != ALLOW).collect();
    refusals.last().copied().unwrap_or(ALLOW)
}

/// The few instructions of classic BPF that seccompiler writes, on a `struct seccomp_data`.
fn execute(program: &[sock_filter], architecture: u32, call: i64, first_argument: u64) -> u32 {
    let mut data = [0; 64];
    data[0..4].copy_from_slice(&(call as u32).to_ne_bytes());
    data[4..8].copy_from_slice(&architecture.to_ne_bytes());
    data[16..24].copy_from_slice(&first_argument.to_ne_bytes());
    let (mut at, mut accumulator) = (0, 0_u32);
    loop {
        let instruction = &program[at];
        at += 1;
        let operand = instruction.k;
        let mut jump =
            |condition: bool| at += usize::from(if condition { instruction.jt } else { instruction.jf });
        match u32::from(instruction.code) {
            0x20 => {
                let at = operand as usize;
                accumulator = u32::from_ne_bytes(data[at..at + 4].try_into().unwrap());
            }
            0x05 => at += operand as usize,
            0x15 => jump(accumulator == operand),
            0x25 => jump(accumulator > operand),
            0x35 => jump(accumulator >= operand),
            0x45 => jump(accumulator & operand != 0),
            0x54 => accumulator &= operand,
            0x06 => return operand,
            other => panic!("instruction {other:#x} is not known to this test"),
        }
    }
}

#[test]
fn the_programs_fit_the_kernel() {
    for program in filters(Tier::OuterProc).unwrap() {
        assert!(program.len() < MAX_INSTRUCTIONS, "{} instructions", program.len());
    }
}

#[test]
fn no_call_is_both_allowed_and_refused() {
    let allowed: BTreeSet<i64> = calls::allowed().collect();
    for call in calls::refused() {
        assert!(!allowed.contains(&call), "call {call} is on both lists");
    }
}

#[test]
fn plain_calls_are_allowed_and_dangerous_ones_not_permitted() {
    for call in
        [libc::SYS_read, libc::SYS_execve, libc::SYS_setresuid, libc::SYS_ptrace, libc::SYS_chroot, 452]
    {
        assert_eq!(answer(Tier::FreshProc, call, 0), ALLOW, "call {call}");
    }
    for call in [
        libc::SYS_mount,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_bpf,
        libc::SYS_clock_settime,
        libc::SYS_init_module,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_io_uring_setup,
        libc::SYS_open_by_handle_at,
    ] {
        assert_eq!(answer(Tier::FreshProc, call, 0), errno(Errno::PERM), "call {call}");
    }
}

#[test]
fn unknown_calls_and_clone3_are_not_implemented_so_that_libraries_fall_back() {
    for call in [libc::SYS_clone3, 999, 0x4000_0000] {
        assert_eq!(answer(Tier::FreshProc, call, 0), errno(Errno::NOSYS), "call {call}");
    }
}

#[test]
fn clone_makes_processes_and_threads_but_no_namespaces() {
    let thread = (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_SETTLS) as u64;
    let clone = |flags: u64| answer(Tier::FreshProc, libc::SYS_clone, flags);
    assert_eq!(clone(libc::SIGCHLD as u64), ALLOW);
    assert_eq!(clone(thread), ALLOW);
    for flag in NAMESPACE_FLAGS.into_iter().filter(|flag| *flag > 0xff) {
        assert_eq!(clone(flag as u64 | libc::SIGCHLD as u64), errno(Errno::PERM), "flag {flag:#x}");
    }
}

#[test]
fn arguments_decide_on_personality_and_virtual_sockets() {
    let personality = |value: u64| answer(Tier::FreshProc, libc::SYS_personality, value);
    assert_eq!(personality(0x8), ALLOW);
    assert_eq!(personality(0xffff_ffff), ALLOW);
    // ADDR_NO_RANDOMIZE
    assert_eq!(personality(0x004_0000), errno(Errno::PERM));
    let socket = |family: i32| answer(Tier::FreshProc, libc::SYS_socket, family as u64);
    assert_eq!(socket(libc::AF_INET), ALLOW);
    assert_eq!(socket(libc::AF_UNIX), ALLOW);
    assert_eq!(socket(libc::AF_VSOCK), errno(Errno::PERM));
}

#[test]
fn a_signal_to_everybody_is_refused_where_everybody_is_the_machine() {
    let every_process = (-1_i32) as u32;
    for argument in [u64::from(every_process), u64::MAX] {
        assert_eq!(answer(Tier::OuterProc, libc::SYS_kill, argument), errno(Errno::PERM));
        assert_eq!(answer(Tier::FreshProc, libc::SYS_kill, argument), ALLOW);
    }
    assert_eq!(answer(Tier::OuterProc, libc::SYS_kill, 77), ALLOW);
}

#[test]
fn a_32_bit_program_has_the_same_rules_under_its_own_numbers() {
    let answer = |tier: Tier, call: i64, argument: u64| answer_on(narrow::SISTER, tier, call, argument);
    // read, write, execve, and clone for a process: the same numbers on i386 and ARM; so are mount and umount2.
    for (call, argument) in [(3, 0), (4, 0), (11, 0), (120, libc::SIGCHLD as u64), (0xf_0005, 0)] {
        assert_eq!(answer(Tier::OuterProc, call, argument), ALLOW, "call {call}");
    }
    for (call, argument) in
        [(21, 0), (52, 0), (120, libc::CLONE_NEWUSER as u64), (425, 0), (442, 0), (404, 0)]
    {
        assert_eq!(answer(Tier::FreshProc, call, argument), errno(Errno::PERM), "call {call}");
    }
    for call in [435, 470, 9999] {
        assert_eq!(answer(Tier::FreshProc, call, 0), errno(Errno::NOSYS), "call {call}");
    }
    assert_eq!(answer(Tier::OuterProc, 37, u64::from(u32::MAX)), errno(Errno::PERM));
    assert_eq!(answer(Tier::OuterProc, 37, 77), ALLOW);
    assert_eq!(answer(Tier::FreshProc, 37, u64::from(u32::MAX)), ALLOW);
}

#[test]
fn a_program_of_a_foreign_architecture_is_ended() {
    /// `AUDIT_ARCH_S390X`.
    const FOREIGN: u32 = 0x8000_0016;
    assert_eq!(answer_on(FOREIGN, Tier::FreshProc, 3, 0), libc::SECCOMP_RET_KILL_PROCESS);
}
