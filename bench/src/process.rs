//! A server process: started, measured from `/proc`, stopped.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Ticks of `/proc/PID/stat` per second; Linux fixes USER_HZ at 100.
const TICKS_PER_SECOND: f64 = 100.0;
/// How long a server may take to listen.
const START_TIME: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

/// What a server used since it was looked at before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
}

impl Server {
    /// Starts `command` and waits until `port` takes connections. Its output goes to `log`.
    pub(crate) fn start(mut command: Command, port: u16, log: &Path) -> Result<Self> {
        let output = fs::File::create(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child =
            command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let mut server = Self { child, port };
        let until = Instant::now() + START_TIME;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                let said = fs::read_to_string(log).unwrap_or_default();
                bail!("{} ended with {status}:\n{said}", command.get_program().display());
            }
            if Instant::now() > until {
                bail!("{} does not listen on port {port}", command.get_program().display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// The process and its descendants (nginx works in children).
    fn family(&self) -> Vec<u32> {
        let mut family = vec![self.child.id()];
        let mut next = 0;
        while let Some(pid) = family.get(next).copied() {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            next += 1;
        }
        family
    }

    /// CPU seconds used so far, in user and kernel mode.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let ticks: u64 = self.family().into_iter().filter_map(cpu_ticks).sum();
        ticks as f64 / TICKS_PER_SECOND
    }

    /// Usage since `before`, a value of [`Self::cpu_seconds`].
    pub(crate) fn usage_since(&self, before: f64) -> Usage {
        Usage { cpu_seconds: self.cpu_seconds() - before }
    }

    /// Memory that is the process's own (anonymous pages), in MiB. Page cache of mapped files is left out: it
    /// is shared and the kernel takes it back.
    pub(crate) fn memory_mib(&self) -> f64 {
        let kib: u64 = self.family().into_iter().filter_map(|pid| status_value(pid, "RssAnon:")).sum();
        kib as f64 / 1024.0
    }
}

fn cpu_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; fields are counted from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

fn status_value(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM first: nginx must stop its workers itself. A rival's shell does not stop what it started.
        let family = self.family();
        let stopped = Command::new("kill").args(family.iter().map(ToString::to_string)).status();
        let until = Instant::now() + Duration::from_secs(5);
        while stopped.is_ok() && Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
