//! The capabilities of a step: Docker's default fourteen for root, none for anybody else.

use rustix::io::{self, Errno};
use rustix::thread::{CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities};

/// What Docker and BuildKit grant (moby/oci/caps/defaults.go).
pub(super) const STEP: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Bit positions of capabilities; the kernel refuses those it does not know.
const LAST_CAPABILITY: u32 = 63;

/// Takes every capability beyond the fourteen out of reach, also of set-user-id programs.
pub(super) fn limit_bounding_set() -> io::Result<()> {
    for bit in 0..=LAST_CAPABILITY {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if STEP.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            // The first unknown one ends the kernel's list.
            Err(Errno::INVAL) => break,
            other => other?,
        }
    }
    Ok(())
}

/// What the command starts with; nothing is inheritable, so a program run by another user gains nothing.
pub(super) fn grant(root: bool) -> io::Result<()> {
    let granted = if root { STEP } else { CapabilitySet::empty() };
    set(granted)
}

/// Keeps nothing.
pub(super) fn drop_all() -> io::Result<()> {
    set(CapabilitySet::empty())
}

fn set(granted: CapabilitySet) -> io::Result<()> {
    let sets = CapabilitySets { effective: granted, permitted: granted, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)
}
