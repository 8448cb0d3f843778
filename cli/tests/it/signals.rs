//! SIGINT and SIGTERM during a build.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::kit::{Kit, ended, wait_until};

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Processes whose command line is these words.
fn running(words: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(words)
    })
}

/// Whether any process sees a mount below the kit's store.
fn mounted(kit: &Kit) -> bool {
    let store = kit.context().parent().unwrap().join("store").display().to_string();
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read_to_string(entry.path().join("mountinfo")).is_ok_and(|table| table.contains(&store))
    })
}

/// A build whose step sleeps for `seconds`, which name it, with the signals of `signals` sent to it.
fn end_step(signals: &[Signal], seconds: u32) -> Option<i32> {
    let Some(kit) = Kit::for_steps() else { return Some(128 + signals[0].as_raw()) };
    let step = format!(
        "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sleep\", \"{seconds}\"]\n"
    );
    let child = kit.build(&step, &[]).spawn().unwrap();
    let words = format!("busybox sleep {seconds}");
    wait_until("the step runs", || running(&words));
    for signal in signals {
        send(&child, *signal);
    }
    let (code, said) = ended(child);
    assert!(!said.contains("panicked"), "{said}");
    wait_until("the step has ended", || !running(&words));
    wait_until("no mount is left", || !mounted(&kit));
    code
}

#[test]
fn a_signal_ends_a_build_and_its_exit_code_tells_which() {
    assert_eq!(end_step(&[Signal::INT], 73_201), Some(130));
    assert_eq!(end_step(&[Signal::TERM], 73_202), Some(143));
}

#[test]
fn two_signals_in_a_row_leave_nothing_either() {
    assert_eq!(end_step(&[Signal::TERM, Signal::TERM], 73_203), Some(143));
}

#[test]
fn a_second_signal_ends_a_build_that_hangs() {
    let kit = Kit::new();
    // More than a pipe holds, and no compression makes it less.
    let mut noise = vec![0; 1 << 20];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
    kit.file("noise", noise);
    let arguments = ["-o", "type=oci,dest=-"];
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut child = kit.build("FROM scratch\nCOPY noise /\n", &arguments).spawn().unwrap();
        // The first bytes are there, so the rest is being written to a pipe that nobody empties.
        let mut written = BufReader::new(child.stdout.take().unwrap());
        assert!(!written.fill_buf().unwrap().is_empty());
        send(&child, Signal::TERM);
        std::thread::sleep(Duration::from_millis(500));
        assert!(child.try_wait().unwrap().is_none(), "nothing hung");
        send(&child, signal);
        assert_eq!(ended(child).0, Some(code));
    }
}
