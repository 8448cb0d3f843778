//! What is taken over from earlier builds, and what is not.

use std::fs;
use std::time::{Duration, SystemTime};

use builder_engine::{BuildRequest, Event, Reproducibility, StepOutcome};
use builder_store::compression::Compression;

use crate::kit::Kit;
use crate::tests;

tests!(
    a_second_build_executes_nothing_and_gives_the_same_image,
    a_changed_step_is_executed_with_all_behind_it,
    times_of_files_do_not_count_but_their_content_does,
    labels_execute_nothing,
    no_cache_executes_everything_and_is_what_later_builds_take,
    other_times_or_compression_write_layers_and_execute_nothing,
    a_step_over_another_result_is_not_taken_over,
    a_lost_layer_is_written_again,
    a_damaged_record_costs_a_step_and_no_build,
    a_build_argument_counts_where_it_is_declared,
    a_good_build_outlasts_a_power_cut,
);

const DOCKERFILE: &str = "FROM base AS tool\nRUN echo tool > /tool\n\
    FROM base\nCOPY file /file\nRUN cat file > /copy\nCOPY --from=tool /tool /\nWORKDIR /work\n";

fn a_second_build_executes_nothing_and_gives_the_same_image() {
    let kit = Kit::new();
    kit.file("file", "content");
    let first = kit.build(DOCKERFILE);
    assert_eq!(first.executed(), 5);
    std::thread::sleep(Duration::from_millis(1100));
    let second = kit.build(DOCKERFILE);
    assert_eq!(second.outcomes(), [StepOutcome::Cached; 5]);
    assert_eq!(first.image.digest(), second.image.digest());
    assert!(!second.events.iter().any(|event| matches!(event, Event::Isolation { .. })), "nothing is probed");
}

fn a_good_build_outlasts_a_power_cut() {
    let kit = Kit::new();
    kit.fail("FROM base\nRUN echo 1 > /one\nRUN false\n");
    assert!(!kit.store.snapshots.unsynced().unwrap().is_empty(), "nobody waits for the disk in vain");
    kit.build("FROM base\nRUN echo 1 > /one\nRUN echo 2 > /two\n");
    assert_eq!(kit.store.snapshots.unsynced().unwrap(), []);
    assert!(kit.store.snapshots.list().unwrap().len() >= 3);
}

fn a_changed_step_is_executed_with_all_behind_it() {
    let kit = Kit::new();
    kit.build("FROM base\nRUN echo 1 > /one\nRUN echo 2 > /two\nRUN echo 3 > /three\n");
    let built = kit.build("FROM base\nRUN echo 1 > /one\nRUN echo II > /two\nRUN echo 3 > /three\n");
    assert_eq!(built.outcomes(), [StepOutcome::Cached, StepOutcome::Done, StepOutcome::Done]);
    assert_eq!(built.files().content("two"), "II\n");
}

fn times_of_files_do_not_count_but_their_content_does() {
    let kit = Kit::new();
    let path = kit.file("file", "content");
    kit.file("other", "not copied");
    kit.build(DOCKERFILE);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    kit.file("other", "still not copied");
    assert_eq!(kit.build(DOCKERFILE).executed(), 0);
    kit.file("file", "CONTENT");
    let built = kit.build(DOCKERFILE);
    assert_eq!(built.executed(), 4, "all but the other stage's");
    assert_eq!(built.files().content("copy"), "CONTENT");
}

fn labels_execute_nothing() {
    let kit = Kit::new();
    kit.build("FROM base\nLABEL a=1\nRUN echo x > /x\n");
    let mut request = kit.request("FROM base\nLABEL a=2\nRUN echo x > /x\n");
    request.labels.insert("revision".to_owned(), "123".to_owned());
    let built = kit.build_request(request);
    assert_eq!(built.executed(), 0);
    assert_eq!(built.config()["config"]["Labels"], serde_json::json!({"a": "2", "revision": "123"}));
}

fn no_cache_executes_everything_and_is_what_later_builds_take() {
    let kit = Kit::new();
    let dockerfile = "FROM base\nRUN cat /proc/sys/kernel/random/uuid > /first\nRUN cat /first > /second\n";
    let first = kit.build(dockerfile);
    let second = kit.build_request(BuildRequest { no_cache: true, ..kit.request(dockerfile) });
    assert_eq!(second.executed(), 2);
    assert_ne!(first.files().content("first"), second.files().content("first"));
    let third = kit.build(dockerfile);
    assert_eq!(third.executed(), 0);
    assert_eq!(third.image.digest(), second.image.digest());
    assert_eq!(third.files().content("first"), third.files().content("second"));
}

fn other_times_or_compression_write_layers_and_execute_nothing() {
    let kit = Kit::new();
    let dockerfile = "FROM base\nRUN echo x > /x\n";
    let plain = kit.build(dockerfile);
    let changed = |change: fn(&mut BuildRequest)| {
        let mut request = kit.request(dockerfile);
        change(&mut request);
        let built = kit.build_request(request);
        assert_eq!(built.executed(), 0);
        assert_ne!(built.image.digest(), plain.image.digest());
        built
    };
    let clamped = changed(|request| request.reproducibility = Reproducibility::Epoch(1_500_000_000));
    assert_eq!(clamped.layer(1).get("x").modified, 1_500_000_000);
    let zstd = changed(|request| request.compression = Compression::zstd(3).unwrap());
    assert!(zstd.image.layers[1].descriptor.media_type.as_str().ends_with("+zstd"));
    assert_eq!(zstd.layer(1).content("x"), "x\n");
    assert_eq!(kit.build(dockerfile).image.digest(), plain.image.digest());
}

/// Two builds of the same steps, the second of which ends early without the cache: its first step has a new result.
fn a_step_over_another_result_is_not_taken_over() {
    let kit = Kit::new();
    let whole = "FROM base\nRUN cat /proc/sys/kernel/random/uuid > /first\nRUN cat /first > /second\n";
    kit.build(whole);
    let first_only = "FROM base\nRUN cat /proc/sys/kernel/random/uuid > /first\n";
    kit.build_request(BuildRequest { no_cache: true, ..kit.request(first_only) });
    let built = kit.build(whole);
    assert_eq!(built.outcomes(), [StepOutcome::Cached, StepOutcome::Done]);
    assert_eq!(built.files().content("first"), built.files().content("second"));
}

fn a_lost_layer_is_written_again() {
    let kit = Kit::new();
    let dockerfile = "FROM base\nRUN echo x > /x\n";
    let first = kit.build(dockerfile);
    kit.store.content.remove(&first.image.layers[1].descriptor.digest).unwrap();
    let second = kit.build(dockerfile);
    assert_eq!(second.executed(), 0);
    assert_eq!(second.layer(1).content("x"), "x\n");
}

fn a_damaged_record_costs_a_step_and_no_build() {
    let kit = Kit::new();
    let dockerfile = "FROM base\nRUN echo x > /x\n";
    kit.build(dockerfile);
    for entry in fs::read_dir(kit.store.root().join("steps")).unwrap() {
        fs::write(entry.unwrap().path(), "damaged").unwrap();
    }
    let built = kit.build(dockerfile);
    assert_eq!(built.files().content("x"), "x\n");
    assert!(built.warnings().iter().any(|text| text.contains("damaged")), "{:?}", built.warnings());
}

fn a_build_argument_counts_where_it_is_declared() {
    let kit = Kit::new();
    let dockerfile = "FROM base\nRUN echo before > /before\nARG VERSION\nRUN echo $VERSION > /version\n";
    let with = |version: &str| {
        let mut request = kit.request(dockerfile);
        request.build_args.insert("VERSION".to_owned(), version.to_owned());
        request.build_args.insert("UNUSED".to_owned(), "x".to_owned());
        kit.build_request(request)
    };
    with("1");
    let mut strict = BuildRequest { strict: true, ..kit.request(dockerfile) };
    strict.build_args.insert("VERSIN".to_owned(), "x".to_owned());
    let error = kit.try_build(strict).err().unwrap().to_string();
    assert!(error.contains("VERSIN") && error.contains("did you mean VERSION?"), "{error}");
    let built = with("2");
    assert_eq!(built.outcomes(), [StepOutcome::Cached, StepOutcome::Done]);
    assert_eq!(built.files().content("version"), "2\n");
    assert!(built.warnings().iter().any(|text| text.contains("UNUSED")), "{:?}", built.warnings());
}
