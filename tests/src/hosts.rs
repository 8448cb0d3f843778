//! A name for this machine in `/etc/hosts`, taken out again at the end.
//!
//! The name means an address that is not loopback, added to the loopback interface: Docker's daemon trusts
//! every name that resolves to 127.0.0.0/8 without TLS, and would prove nothing by it.

use std::{
    env,
    fs::{self, File},
    net::Ipv4Addr,
    process::Command,
};

use anyhow::{Context, Result};

use crate::run;

const FILE: &str = "/etc/hosts";
/// Marks our line, so that one left by a killed test is found and removed by the next.
const MARK: &str = "# slipway-tests";
/// Of the range for documentation (RFC 5737): no network that this machine talks to has it.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);

/// A name means [`HostsEntry::address`] until this is dropped. One at a time on the whole machine.
#[derive(Debug)]
pub struct HostsEntry {
    /// Closing the file gives the lock back.
    _turn: File,
}

impl HostsEntry {
    /// Waits for its turn.
    pub fn add(name: &str) -> Result<Self> {
        let lock = env::temp_dir().join("slipway-tests.lock");
        let turn = File::create(&lock).with_context(|| format!("cannot create {}", lock.display()))?;
        turn.lock()?;
        let entry = Self { _turn: turn };
        // `replace` is content with an address that a killed test left.
        interface("replace").context("adding an address needs root and iproute2")?;
        let mut text = without_mark(&fs::read_to_string(FILE)?);
        text.push_str(&format!("{ADDRESS} {name} {MARK}\n"));
        // Written in place: in a container the file is a mount and cannot be renamed over.
        fs::write(FILE, text).context("adding a name to /etc/hosts needs root")?;
        Ok(entry)
    }

    pub fn address(&self) -> Ipv4Addr {
        ADDRESS
    }
}

fn interface(verb: &str) -> Result<String> {
    run(Command::new("ip").args(["address", verb, &format!("{ADDRESS}/32"), "dev", "lo"]), b"")?.ok()
}

fn without_mark(text: &str) -> String {
    let mut kept = String::new();
    for line in text.lines().filter(|line| !line.ends_with(MARK)) {
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

impl Drop for HostsEntry {
    fn drop(&mut self) {
        if let Ok(text) = fs::read_to_string(FILE) {
            let _ = fs::write(FILE, without_mark(&text));
        }
        let _ = interface("delete");
    }
}
