//! Programs of the 32-bit sister architecture (i386 on x86_64, ARM on aarch64), which these kernels run too and whose
//! system calls have numbers of their own.
//!
//! seccompiler ends a process of another architecture at once. Here its programs are told to let the sister pass, and one
//! program of ours speaks for it: it refuses the same calls, and calls newer than it knows are not implemented.

use rustix::io::Errno;
use seccompiler::{BpfProgram, sock_filter};

use super::EVERY_PROCESS;
use crate::tier::Tier;

/// `AUDIT_ARCH_I386` and the numbers of refused calls (arch/x86/entry/syscalls/syscall_32.tbl).
#[cfg(target_arch = "x86_64")]
pub(super) const SISTER: u32 = 0x4000_0003;
#[cfg(target_arch = "x86_64")]
const REFUSED: &[u32] = &[
    21, 22, 25, 51, 52, 62, 74, 79, 86, 87, 88, 101, 103, 110, 111, 113, 115, 121, 128, 129, 131, 135, 149,
    166, 169, 217, 253, 264, 274, 275, 276, 283, 286, 287, 288, 294, 310, 317, 336, 338, 342, 346, 349, 350,
    357, 374, 404, 425, 426, 427, 428, 429, 430, 431, 432, 433, 442, 443, 450, 467,
];

/// `AUDIT_ARCH_ARM` and the numbers of refused calls (arch/arm/tools/syscall.tbl).
#[cfg(target_arch = "aarch64")]
pub(super) const SISTER: u32 = 0x4000_0028;
#[cfg(target_arch = "aarch64")]
const REFUSED: &[u32] = &[
    21, 51, 52, 62, 74, 79, 86, 87, 88, 103, 111, 115, 121, 128, 129, 131, 135, 149, 169, 218, 249, 262, 309,
    310, 311, 319, 320, 321, 337, 344, 347, 364, 367, 371, 375, 378, 379, 386, 388, 401, 404, 425, 426, 427,
    428, 429, 430, 431, 432, 433, 442, 443, 450, 467,
];

/// The same on both.
const KILL: u32 = 37;
const CLONE: u32 = 120;
const CLONE3: u32 = 435;

/// `file_setattr`, the newest call of our lists.
const NEWEST: u32 = 469;

/// ARM has calls of its own from here on (`__ARM_NR_BASE`), such as the one that sets the thread's pointer.
const ARCHITECTURE_CALLS: u32 = 0xf_0000;

/// Namespaces `clone` could make: CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID and NET.
const NAMESPACE_FLAGS: u32 = 0x7e02_0000;

/// Offsets in `struct seccomp_data`; both architectures are little-endian.
const CALL: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// Instructions of classic BPF (linux/filter.h).
const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JUMP_IF_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Puts "the sister architecture is none of my business" before a program.
pub(super) fn let_sister_pass(program: BpfProgram) -> BpfProgram {
    let mut all = vec![
        plain(LOAD, ARCHITECTURE),
        jump(JUMP_IF_EQUAL, SISTER, 0, 1),
        plain(RETURN, libc::SECCOMP_RET_ALLOW),
    ];
    all.extend(program);
    all
}

/// The sister's own program; it lets every other architecture pass.
pub(super) fn filter(tier: Tier) -> BpfProgram {
    let refused = libc::SECCOMP_RET_ERRNO | Errno::PERM.raw_os_error().unsigned_abs();
    let unknown = libc::SECCOMP_RET_ERRNO | Errno::NOSYS.raw_os_error().unsigned_abs();
    let mut program = vec![
        plain(LOAD, ARCHITECTURE),
        jump(JUMP_IF_EQUAL, SISTER, 1, 0),
        plain(RETURN, libc::SECCOMP_RET_ALLOW),
        plain(LOAD, CALL),
        jump(JUMP_IF_AT_LEAST, ARCHITECTURE_CALLS, 2, 0),
        jump(JUMP_IF_AT_LEAST, NEWEST + 1, 0, 1),
        plain(RETURN, unknown),
    ];
    let mut answer = |call: u32, answer: u32| {
        program.extend([jump(JUMP_IF_EQUAL, call, 0, 1), plain(RETURN, answer)]);
    };
    answer(CLONE3, unknown);
    for call in REFUSED {
        answer(*call, refused);
    }
    let allow_unless = |call: u32, test: sock_filter| {
        [
            jump(JUMP_IF_EQUAL, call, 0, 4),
            plain(LOAD, FIRST_ARGUMENT),
            test,
            plain(RETURN, refused),
            plain(RETURN, libc::SECCOMP_RET_ALLOW),
        ]
    };
    program.extend(allow_unless(CLONE, jump(JUMP_IF_ANY_BIT, NAMESPACE_FLAGS, 0, 1)));
    if tier == Tier::OuterProc {
        program.extend(allow_unless(KILL, jump(JUMP_IF_EQUAL, EVERY_PROCESS as u32, 0, 1)));
    }
    program.push(plain(RETURN, libc::SECCOMP_RET_ALLOW));
    program
}

fn plain(code: u16, k: u32) -> sock_filter {
    jump(code, k, 0, 0)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}
