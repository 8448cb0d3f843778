//! Ending every process of a step that has no process namespace.
//!
//! The supervisor is a subreaper: whatever the step starts, however it detaches, stays its descendant. Processes are
//! killed until none is left to wait for, so a process that forks while being killed only makes the loop go round.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};

/// Time for killed processes to end before looking again; SIGKILL takes effect within a scheduler tick or two.
const PAUSE: Duration = Duration::from_millis(2);

/// Collects processes that have ended, without waiting.
pub(super) fn reap_ended() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

/// Kills every descendant that exists now.
pub(super) fn kill_descendants() {
    for pid in descendants(getpid()) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Kills and waits until no child, and so no descendant, is left.
pub(super) fn end_descendants() {
    loop {
        kill_descendants();
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        sleep(PAUSE);
    }
}

fn descendants(of: Pid) -> HashSet<Pid> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in entries {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(parent) = parent_in_stat(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = HashSet::new();
    let mut queue = vec![of];
    while let Some(pid) = queue.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            found.insert(child);
            queue.push(child);
        }
    }
    found
}

/// The fourth field of proc_pid_stat(5); the second is the program's name in parentheses and may hold anything.
fn parent_in_stat(stat: &str) -> Option<Pid> {
    let (_, after_name) = stat.rsplit_once(')')?;
    Pid::from_raw(after_name.split_ascii_whitespace().nth(1)?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_program_name() {
        assert_eq!(parent_in_stat("12 (a) b) 3 (c) S 7 12 12"), Pid::from_raw(7));
        assert_eq!(parent_in_stat("12 (sh) R 1 1"), Pid::from_raw(1));
        assert_eq!(parent_in_stat(""), None);
    }

    #[test]
    fn children_and_grandchildren_are_found() {
        let mut child = std::process::Command::new("/bin/busybox")
            .args(["sh", "-c", "/bin/busybox sleep 60 & wait"])
            .process_group_of_its_own()
            .spawn()
            .unwrap();
        let found =
            || descendants(getpid()).into_iter().map(|pid| pid.as_raw_nonzero().get()).collect::<Vec<_>>();
        let child_pid = child.id() as i32;
        let mut grandchild = None;
        for _ in 0..500 {
            grandchild = found().into_iter().find(|pid| {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                parent_in_stat(&stat) == Pid::from_raw(child_pid)
            });
            if grandchild.is_some() {
                break;
            }
            sleep(PAUSE);
        }
        assert!(found().contains(&child_pid));
        let grandchild = grandchild.expect("the grandchild is a descendant");
        let _ = kill_process(Pid::from_raw(grandchild).unwrap(), Signal::KILL);
        let _ = child.kill();
        let _ = child.wait();
    }

    trait OwnGroup {
        fn process_group_of_its_own(&mut self) -> &mut Self;
    }

    impl OwnGroup for std::process::Command {
        fn process_group_of_its_own(&mut self) -> &mut Self {
            std::os::unix::process::CommandExt::process_group(self, 0)
        }
    }
}
