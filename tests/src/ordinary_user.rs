//! A user of the machine without any right, with subordinate ids, made for one test and removed after it.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{binary, is_root, program, run, skip};

/// First of the subordinate ids: above those that Debian gives to people.
const FIRST_SUBORDINATE_ID: u32 = 900_000_000;
/// As many as images need: ids up to 65535.
const SUBORDINATE_IDS: u32 = 65_536;

/// Accounts made by this process: tests run at the same time, and each has its own.
static ACCOUNTS: AtomicU32 = AtomicU32::new(0);

/// The account, its home, and our binary where it may execute it.
#[derive(Debug)]
pub struct OrdinaryUser {
    name: String,
    user: u32,
    group: u32,
    home: TempDir,
}

impl OrdinaryUser {
    /// `None`, with the reason told, where accounts cannot be made.
    pub fn new() -> Result<Option<Self>> {
        if !is_root() || program("/usr/sbin/useradd").is_none() || program("/usr/bin/newuidmap").is_none() {
            skip("an account with subordinate ids needs root, useradd and uidmap");
            return Ok(None);
        }
        let home = tempfile::Builder::new().prefix("slipway-home-").tempdir()?;
        let number = ACCOUNTS.fetch_add(1, Ordering::Relaxed);
        let name = format!("slipway-{}-{number}", std::process::id());
        // Without `--system` useradd would give a range that other accounts' ranges decide about.
        let mut add = Command::new("/usr/sbin/useradd");
        add.args(["--system", "--no-create-home", "--user-group", "--shell", "/bin/sh", "--home-dir"]);
        run(add.arg(home.path()).arg(&name), b"")?.ok()?;
        let mut account = Self { name, user: 0, group: 0, home };
        let ids = format!("{FIRST_SUBORDINATE_ID}-{}", FIRST_SUBORDINATE_ID + SUBORDINATE_IDS - 1);
        let mut range = Command::new("/usr/sbin/usermod");
        range.args(["--add-subuids", &ids, "--add-subgids", &ids, &account.name]);
        run(&mut range, b"")?.ok()?;
        account.user = account.id("-u")?;
        account.group = account.id("-g")?;
        chown(account.home(), Some(account.user), Some(account.group))?;
        fs::copy(binary(), account.program()).context("cannot copy the binary")?;
        Ok(Some(account))
    }

    fn id(&self, which: &str) -> Result<u32> {
        Ok(run(Command::new("id").args([which, &self.name]), b"")?.ok()?.trim().parse()?)
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The numbers of user and group.
    pub fn ids(&self) -> (u32, u32) {
        (self.user, self.group)
    }

    /// Our binary where this user may execute it.
    pub fn program(&self) -> PathBuf {
        self.home().join("slipway")
    }

    /// Our binary, run by this user at home and with nothing of the caller's environment but `PATH`.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.program());
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.home())
            .env("USER", &self.name)
            .current_dir(self.home())
            .uid(self.user)
            .gid(self.group);
        command
    }
}

impl Drop for OrdinaryUser {
    fn drop(&mut self) {
        let _ = run(Command::new("/usr/sbin/userdel").arg(&self.name), b"");
    }
}
