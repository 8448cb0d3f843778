//! Cancelled builds: nothing runs on, nothing stays mounted, nothing half-made is taken for whole.

use std::fs;
use std::time::{Duration, Instant};

use builder_engine::{Cancel, EngineError, Event, Events};

use crate::kit::Kit;
use crate::tests;

tests!(
    cancelling_ends_everything_at_once,
    cancelling_at_any_moment_leaves_a_store_that_builds_on,
    a_build_cancelled_before_it_begins_does_nothing,
);

const DOCKERFILE: &str = "FROM base AS one\nRUN echo 1 > /one\nRUN echo started; sleep 73001; echo 2 > /two\n\
    FROM base AS two\nRUN sleep 73002\n\
    FROM base\nCOPY --from=one / /1\nCOPY --from=two / /2\n";

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

fn runs(words: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").trim() == words
    })
}

fn nothing_is_pending(kit: &Kit) {
    for directory in ["snapshots/pending", "ingest"] {
        let left: Vec<_> = fs::read_dir(kit.store.root().join(directory)).unwrap().collect();
        assert!(left.is_empty(), "{directory} holds {left:?}");
    }
}

fn cancelling_ends_everything_at_once() {
    let kit = Kit::new();
    let before = mounts();
    let cancel = Cancel::new().unwrap();
    let events = {
        let cancel = cancel.clone();
        Events::new(move |event| {
            if matches!(event, Event::Log { .. }) {
                cancel.cancel();
            }
        })
    };
    let begun = Instant::now();
    let error = kit.run(kit.request(DOCKERFILE), Vec::new(), &events, &cancel).err().unwrap();
    assert!(matches!(error, EngineError::Cancelled), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(mounts(), before);
    assert!(!runs("sleep 73001") && !runs("sleep 73002"), "nothing runs when the build has returned");
    nothing_is_pending(&kit);
    let built = kit.build("FROM base\nRUN echo 1 > /one\n");
    assert_eq!(built.executed(), 0, "the step that was done stays done");
}

fn cancelling_at_any_moment_leaves_a_store_that_builds_on() {
    let kit = Kit::new();
    kit.file("large", vec![7; 8 << 20]);
    let before = mounts();
    let dockerfile = |round: u32| {
        format!(
            "FROM base AS one\nRUN seq {round} 200000 > /numbers\nCOPY large /large\nFROM one\nRUN cat /large /numbers > /both\n"
        )
    };
    for round in 0..12 {
        let cancel = Cancel::new().unwrap();
        let waiting = {
            let cancel = cancel.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(u64::from(round) * 25));
                cancel.cancel();
            })
        };
        let result = kit.run(kit.request(&dockerfile(round)), Vec::new(), &Events::none(), &cancel);
        waiting.join().unwrap();
        if let Err(error) = result {
            assert!(matches!(error, EngineError::Cancelled), "{error}");
        }
        assert_eq!(mounts(), before);
        nothing_is_pending(&kit);
        let files = kit.build(&dockerfile(round)).files();
        assert_eq!(
            files.get("both").content.len(),
            files.get("large").content.len() + files.get("numbers").content.len()
        );
    }
}

fn a_build_cancelled_before_it_begins_does_nothing() {
    let kit = Kit::new();
    let cancel = Cancel::new().unwrap();
    cancel.cancel();
    let error = kit.run(kit.request("FROM base\nRUN true\n"), Vec::new(), &Events::none(), &cancel);
    assert!(matches!(error.err().unwrap(), EngineError::Cancelled));
    assert!(kit.store.snapshots.list().unwrap().is_empty());
}
