//! The system calls that have no safe interface, each behind a function that is safe to call or states what its
//! caller must hold. All unsafe code of the crate is here.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uint};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd as _, OwnedFd};
use std::ptr;

use rustix::mount::MountAttrFlags;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;
use seccompiler::sock_filter;

/// How many threads the process has, counted by the kernel.
pub(crate) fn thread_count() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// Forks; the child gets the namespaces in `namespaces` for itself. Returns `None` in the child.
///
/// Fails with `EDEADLK` when the process has other threads: their locks would stay taken for ever in the child.
pub(crate) fn fork_into(namespaces: UnshareFlags) -> io::Result<Option<Pid>> {
    if thread_count()? != 1 {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    let flags = c_long::from(namespaces.bits() as c_uint) | c_long::from(libc::SIGCHLD);
    // The raw call, not the C library's `clone`: without CLONE_VM and with no stack given it acts like `fork`.
    // Argument orders of x86_64 and aarch64 differ only in parameters that are zero here.
    #[expect(unsafe_code, reason = "no safe interface forks")]
    // SAFETY: the process has one thread (checked above), so the child's copy of memory is consistent and no lock is
    // held by a thread that does not exist there. No pointer is passed.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
    match result {
        ..0 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid as c_int)),
    }
}

/// Moves this process into new namespaces in place.
///
/// Fails with `EDEADLK` when the process has other threads: they would stay behind.
pub(crate) fn unshare(namespaces: UnshareFlags) -> io::Result<()> {
    if thread_count()? != 1 {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    #[expect(unsafe_code, reason = "rustix marks unshare unsafe because of UnshareFlags::FILES")]
    // SAFETY: there is one thread, so none can observe descriptors of another table.
    let result = unsafe { rustix::thread::unshare_unsafe(namespaces) };
    Ok(result?)
}

/// Layout of `struct mount_attr` (linux/mount.h, size 32 since Linux 5.12).
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// `mount_setattr(2)` on the mount `mount`, and everything below it if `recursive`.
pub(crate) fn set_mount_attributes(mount: impl AsFd, recursive: bool, set: MountAttrFlags) -> io::Result<()> {
    let attributes =
        MountAttributes { set: u64::from(set.bits()), clear: 0, propagation: 0, user_namespace: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    #[expect(unsafe_code, reason = "rustix does not offer mount_setattr")]
    // SAFETY: the path is a C string, the structure is initialised, has the kernel's layout, and outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Marks every descriptor from `first` on close-on-exec, so that no file of the parent reaches a step.
pub(crate) fn close_on_exec_from(first: c_uint) -> io::Result<()> {
    /// `CLOSE_RANGE_CLOEXEC` (linux/close_range.h, since Linux 5.11).
    const CLOSE_RANGE_CLOEXEC: c_uint = 1 << 2;
    #[expect(unsafe_code, reason = "rustix does not offer close_range")]
    // SAFETY: no descriptor is closed, only a flag is set; no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Installs a system call filter on this thread without setting `no_new_privs`, which needs `CAP_SYS_ADMIN`.
pub(crate) fn install_filter(program: &[sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    #[expect(
        unsafe_code,
        reason = "seccompiler installs filters only with no_new_privs, which breaks setuid"
    )]
    // SAFETY: seccompiler's `sock_filter` has the kernel's layout, `len` is its count, and the kernel copies the program
    // during the call without writing to it.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Confines this process and its descendants (landlock(7)): they can signal only one another and connect only to abstract
/// sockets of one another. Without effect, and `false`, before Linux 6.12 or where Landlock is not enabled.
pub(crate) fn confine_signals_and_abstract_sockets() -> io::Result<bool> {
    /// `struct landlock_ruleset_attr` (linux/landlock.h) with the scopes of ABI 6.
    #[repr(C)]
    struct RulesetAttributes {
        handled_file_access: u64,
        handled_network_access: u64,
        scoped: u64,
    }
    /// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `LANDLOCK_SCOPE_SIGNAL`.
    const SCOPES: u64 = 0b11;
    if !can_confine_signals() {
        return Ok(false);
    }
    let attributes = RulesetAttributes { handled_file_access: 0, handled_network_access: 0, scoped: SCOPES };
    #[expect(unsafe_code, reason = "Landlock has no safe interface in our dependencies")]
    // SAFETY: the structure is initialised, has the kernel's layout and outlives the call; the descriptor returned is
    // new and owned by nothing else, so taking it over is sound.
    let ruleset = unsafe {
        let descriptor = libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attributes,
            size_of::<RulesetAttributes>(),
            0,
        );
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(descriptor as c_int)
    };
    #[expect(unsafe_code, reason = "Landlock has no safe interface in our dependencies")]
    // SAFETY: only a descriptor is passed; the effect is on what this process may do.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(true) }
}

/// Whether [`confine_signals_and_abstract_sockets`] has an effect here.
pub(crate) fn can_confine_signals() -> bool {
    /// `LANDLOCK_CREATE_RULESET_VERSION` asks for the ABI; scopes came with the sixth.
    const ASK_VERSION: c_int = 1;
    const ABI_WITH_SCOPES: c_long = 6;
    #[expect(unsafe_code, reason = "Landlock has no safe interface in our dependencies")]
    // SAFETY: with this flag the kernel wants a null pointer and size 0, and only returns a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<u8>(), 0_usize, ASK_VERSION) };
    version >= ABI_WITH_SCOPES
}

/// Sets every signal to its default action and unblocks all, undoing what the Rust runtime and our callers set.
pub(crate) fn reset_signals() {
    /// Signals are numbered 1 to 64 on Linux; the C library refuses its own two and the kernel KILL and STOP.
    const LAST_SIGNAL: c_int = 64;
    for signal in 1..=LAST_SIGNAL {
        #[expect(unsafe_code, reason = "signal dispositions have no safe interface")]
        // SAFETY: installs the default action, no handler; a refusal changes nothing.
        let _ = unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    #[expect(unsafe_code, reason = "signal masks have no safe interface")]
    // SAFETY: `sigemptyset` initialises the set before it is read; null is a valid third argument.
    unsafe {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut());
    }
}

/// Replaces the process; returns only on failure.
pub(crate) fn execve(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    #[expect(
        unsafe_code,
        reason = "std's exec sorts the environment and runs scripts without an interpreter line"
    )]
    // SAFETY: both arrays end in a null pointer and their strings outlive the call.
    unsafe {
        libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
    }
    io::Error::last_os_error()
}
