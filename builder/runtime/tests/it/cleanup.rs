//! When the step is over, however it ended, nothing of it runs and nothing is mounted.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::kit::{Sandbox, everywhere, processes_with};

/// How long the end of processes may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A number of seconds to sleep that names one test of one run.
fn marker(test: u32) -> String {
    format!("{}", 100_000 + u64::from(std::process::id()) * 10 + u64::from(test))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what} did not come true");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn background_processes_end_with_the_command() {
    for sandbox in everywhere() {
        let time = marker(1);
        let script = format!(
            "sleep {time} & setsid sleep {time} & (setsid sh -c 'trap \"\" TERM HUP; sleep {time}; sleep {time}' &) ; sleep 0.3; echo $(ps | grep -c '[s]leep {time}')"
        );
        let started = Instant::now();
        let outcome = sandbox.run(&sandbox.step(&script));
        assert_eq!(outcome.code, 0, "{:?}: {outcome:?}", sandbox.who);
        let running: u32 = outcome.out.trim().parse().unwrap();
        assert!(running >= 3, "{:?}: they must have been running: {outcome:?}", sandbox.who);
        assert!(started.elapsed() < PATIENCE, "{:?}", sandbox.who);
        assert_eq!(processes_with(&time), Vec::<String>::new(), "{:?}", sandbox.who);
        assert!(!is_mounted_anywhere(&sandbox), "{:?}", sandbox.who);
    }
}

/// Starts a step that runs for ever, ends its builder by `signal`, and expects that nothing is left.
fn end_builder(sandbox: &Sandbox, signal: Signal, time: &str) {
    let spec = sandbox.step(&format!("touch /made; setsid sleep {time} & echo started; sleep {time}; true"));
    let mut child = sandbox.start(&["run"], &serde_json::to_string(&spec).unwrap());
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "started\n", "{:?}", sandbox.who);
    // Both sleeps and the shell, whose script holds the same words.
    wait_until("both processes run", || processes_with(&format!("sleep {time}")).len() >= 3);
    kill_process(Pid::from_child(&child), signal).unwrap();
    child.wait().unwrap();
    wait_until("every process has ended", || processes_with(time).is_empty());
    wait_until("no mount is left", || !is_mounted_anywhere(sandbox));
    // The supervisor cleans up even then.
    wait_until("no stub is left", || sandbox.changes() == ["made"]);
}

/// Whether any process has a mount below the sandbox's directory: where a mount that got out of a step's namespace, or of
/// the builder's, would be. Others may mount what they like meanwhile.
fn is_mounted_anywhere(sandbox: &Sandbox) -> bool {
    let path = sandbox.path("").display().to_string();
    let below = |line: &str| line.split(' ').nth(4).is_some_and(|point| point.starts_with(&path));
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read_to_string(entry.path().join("mountinfo")).is_ok_and(|table| table.lines().any(below))
    })
}

#[test]
fn a_killed_builder_leaves_nothing() {
    for sandbox in everywhere() {
        end_builder(&sandbox, Signal::KILL, &marker(2));
    }
}

#[test]
fn a_terminated_or_interrupted_builder_leaves_nothing() {
    for sandbox in everywhere() {
        end_builder(&sandbox, Signal::TERM, &marker(3));
    }
    for sandbox in everywhere() {
        end_builder(&sandbox, Signal::INT, &marker(4));
    }
}
