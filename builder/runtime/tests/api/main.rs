//! The library called in process, from a program with threads and an async runtime, as the builder calls it.
//!
//! Steps re-execute the program they are started from, so this test has a `main` of its own that begins as every
//! builder's does. It takes no arguments but a filter, and prints what the standard test harness prints.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking, like the test itself")]

use std::fs;
use std::os::unix::fs::symlink;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use builder_runtime::{
    CancelToken, IdMap, MergedView, OutputLine, OutputStream, RootFs, RuntimeError, StepSpec, StepStatus,
    Tier, enter_builder_namespace, maybe_run_init, probe_blocking, run, run_blocking,
};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(30);

const TESTS: [(&str, fn()); 9] = [
    ("entering_twice_gives_the_same_namespace", entering_twice_gives_the_same_namespace),
    ("the_probe_finds_a_tier_from_many_threads", the_probe_finds_a_tier_from_many_threads),
    ("a_nonsense_spec_is_refused_before_anything_starts", a_nonsense_spec_is_refused_before_anything_starts),
    ("cancelling_ends_the_step", cancelling_ends_the_step),
    ("a_token_cancelled_before_starts_nothing", a_token_cancelled_before_starts_nothing),
    ("steps_run_at_once_from_async_code", steps_run_at_once_from_async_code),
    ("a_dropped_future_ends_its_step", a_dropped_future_ends_its_step),
    ("a_slow_reader_slows_the_step_and_loses_nothing", a_slow_reader_slows_the_step_and_loses_nothing),
    ("merged_views_are_independent", merged_views_are_independent),
];

fn main() -> ExitCode {
    maybe_run_init();
    if let Err(error) = enter_builder_namespace() {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    let filter = std::env::args().nth(1).filter(|argument| !argument.starts_with('-')).unwrap_or_default();
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS.into_iter().filter(|(name, _)| name.contains(&filter)) {
        let ok = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        if ok { passed += 1 } else { failed += 1 }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Directories of one step.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for name in ["lower", "lower/bin", "upper", "work"] {
            fs::create_dir(place.path(name)).unwrap();
        }
        fs::copy("/bin/busybox", place.path("lower/bin/busybox")).unwrap();
        for applet in ["sh", "sleep", "echo", "seq", "ps", "touch"] {
            symlink("busybox", place.path("lower/bin").join(applet)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn step(&self, script: &str) -> StepSpec {
        let root =
            RootFs { lower: vec![self.path("lower")], upper: self.path("upper"), work: self.path("work") };
        StepSpec::new(root, ["sh", "-c", script].map(str::to_owned).into())
    }

    fn changes(&self) -> usize {
        fs::read_dir(self.path("upper")).unwrap().count()
    }
}

fn tier() -> Tier {
    let directory = tempfile::tempdir().unwrap();
    probe_blocking(directory.path()).unwrap().tier
}

fn is_running(words: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").trim() == words
    })
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn entering_twice_gives_the_same_namespace() {
    let first = enter_builder_namespace().unwrap();
    assert!(std::ptr::eq(first, enter_builder_namespace().unwrap()));
    assert_eq!(first.id_map, IdMap::current().unwrap());
    assert!(first.id_map.maps_user(0) && first.id_map.maps_group(0));
}

fn the_probe_finds_a_tier_from_many_threads() {
    let tiers: Vec<Tier> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(tier)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(tiers.iter().all(|tier| *tier == tiers[0]), "{tiers:?}");
}

fn a_nonsense_spec_is_refused_before_anything_starts() {
    let place = Place::new();
    let mut spec = place.step("true");
    spec.cwd = "relative".into();
    let error = run_blocking(spec, Tier::FreshProc, None, &mut |_| {}).unwrap_err();
    assert!(matches!(error, RuntimeError::InvalidSpec { .. }), "{error}");
}

fn cancelling_ends_the_step() {
    let place = Place::new();
    let spec = place.step("echo started; sleep 71001 & sleep 71001");
    let cancel = CancelToken::new().unwrap();
    let mut cancel_when_started = |line: OutputLine| {
        assert_eq!((line.stream, line.bytes.as_slice()), (OutputStream::Stdout, &b"started"[..]));
        cancel.cancel();
    };
    let error = run_blocking(spec, tier(), Some(&cancel), &mut cancel_when_started).unwrap_err();
    assert!(matches!(error, RuntimeError::Cancelled), "{error}");
    assert!(!is_running("sleep 71001"), "nothing may run when the call has returned");
    assert_eq!(place.changes(), 0);
}

fn a_token_cancelled_before_starts_nothing() {
    let place = Place::new();
    let cancel = CancelToken::new().unwrap();
    cancel.cancel();
    let result = run_blocking(place.step("touch /made"), tier(), Some(&cancel), &mut |_| {});
    assert!(matches!(result, Err(RuntimeError::Cancelled)));
    assert_eq!(place.changes(), 0);
}

fn steps_run_at_once_from_async_code() {
    let tier = tier();
    runtime().block_on(async {
        let mut steps = Vec::new();
        for number in 0..6 {
            let place = Place::new();
            let (sender, mut receiver) = mpsc::channel(4);
            let cancel = CancelToken::new().unwrap();
            let step = place.step(&format!("seq 1 1000; exit {number}"));
            let reader = tokio::spawn(async move {
                let mut lines = 0;
                while receiver.recv().await.is_some() {
                    lines += 1;
                }
                lines
            });
            steps.push((place, tokio::spawn(run(step, tier, cancel, sender)), reader));
        }
        for (number, (_place, step, reader)) in steps.into_iter().enumerate() {
            assert_eq!(step.await.unwrap().unwrap(), StepStatus::Exited(number as i32));
            assert_eq!(reader.await.unwrap(), 1000);
        }
    });
}

fn a_dropped_future_ends_its_step() {
    let tier = tier();
    let place = Place::new();
    runtime().block_on(async {
        let (sender, mut receiver) = mpsc::channel(4);
        let step = run(place.step("echo started; sleep 71002"), tier, CancelToken::new().unwrap(), sender);
        tokio::select! {
            result = step => panic!("the step ended by itself: {result:?}"),
            line = receiver.recv() => assert_eq!(line.unwrap().bytes, b"started"),
        }
        wait_until("the step has ended", || !is_running("sleep 71002"));
    });
}

fn a_slow_reader_slows_the_step_and_loses_nothing() {
    let place = Place::new();
    let mut lines = 0_u32;
    let mut slow = |line: OutputLine| {
        lines += 1;
        assert_eq!(line.bytes, lines.to_string().as_bytes());
        if lines.is_multiple_of(5000) {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let status = run_blocking(place.step("seq 1 60000"), tier(), None, &mut slow).unwrap();
    assert!(status.is_success());
    assert_eq!(lines, 60_000);
}

fn merged_views_are_independent() {
    let place = Place::new();
    fs::create_dir(place.path("top")).unwrap();
    fs::write(place.path("top/file"), "top").unwrap();
    let layers = [place.path("top"), place.path("lower")];
    let views = [0, 1].map(|_| MergedView::mount(&layers, place.0.path()).unwrap());
    let [first, second] = views;
    assert_ne!(first.path(), second.path());
    drop(first);
    assert_eq!(fs::read_to_string(second.path().join("file")).unwrap(), "top");
    assert!(second.path().join("bin/busybox").is_file());
    let path = second.path().to_owned();
    drop(second);
    assert!(!path.exists());
    let single = MergedView::mount(&layers[..1], Path::new("/does/not/exist")).unwrap();
    assert!(!single.is_mounted());
}
