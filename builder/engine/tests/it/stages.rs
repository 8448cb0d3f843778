//! Stages: what runs, what does not, what runs at once, and what comes of it.

use std::time::Duration;

use builder_engine::{BuildRequest, Destination, Event, Events, Reproducibility};

use crate::kit::Kit;
use crate::tests;

tests!(
    a_multi_stage_build_takes_files_from_its_stages,
    an_unneeded_stage_never_starts,
    independent_stages_run_at_once,
    stages_take_turns_when_only_one_may_run,
    only_the_image_s_own_steps_become_layers,
    a_target_ends_the_build_there,
    the_same_build_gives_the_same_digest_with_any_threads,
    layers_are_handed_on_and_archives_written,
    a_scratch_image_of_metadata_has_no_layers,
);

fn a_multi_stage_build_takes_files_from_its_stages() {
    let kit = Kit::new();
    kit.file("main.txt", "source");
    let built = kit.build(
        "FROM base AS compile\n\
         WORKDIR /src\n\
         COPY main.txt .\n\
         RUN cat main.txt > /out && echo compiled >> /out\n\
         FROM scratch\n\
         COPY --from=compile /out /app\n\
         ENV A=1\n\
         ENTRYPOINT [\"/app\"]\n",
    );
    let files = built.files();
    assert_eq!(files.paths(), ["app"]);
    assert_eq!(files.content("app"), "sourcecompiled\n");
    let config = built.config();
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/app"]));
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 1);
    let history = config["history"].as_array().unwrap();
    let created_by: Vec<_> = history.iter().map(|entry| entry["created_by"].as_str().unwrap()).collect();
    assert_eq!(created_by, ["COPY /out /app # buildkit", "ENV A=1", "ENTRYPOINT [\"/app\"]"]);
    assert_eq!(history[1]["empty_layer"], true);
    assert!(history.iter().all(|entry| entry["created"] == config["created"]));
}

fn an_unneeded_stage_never_starts() {
    let kit = Kit::new();
    let built = kit.build(
        "FROM base AS broken\nRUN false\nFROM no-such-registry.invalid/x AS lost\nFROM base\nRUN true\n",
    );
    let started: Vec<usize> = built
        .events
        .iter()
        .filter_map(|event| match event {
            Event::StageStarted { stage, .. } => Some(*stage),
            _ => None,
        })
        .collect();
    assert_eq!(started, [2]);
}

const TWO_STAGES: &str = "FROM base AS one\nRUN sleep 1; echo 1 > /one\n\
    FROM base AS two\nRUN sleep 1; echo 2 > /two\n\
    FROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\n";

/// Whether the first two steps were under way at the same time.
fn overlap(events: &[Event]) -> bool {
    let started = |stage| {
        events
            .iter()
            .position(|event| matches!(event, Event::StepStarted { step, .. } if step.stage == stage))
    };
    let ended = |stage| {
        events.iter().position(|event| matches!(event, Event::StepEnded { step, .. } if step.stage == stage))
    };
    started(0).max(started(1)) < ended(0).min(ended(1))
}

fn independent_stages_run_at_once() {
    let built = Kit::new().build(TWO_STAGES);
    assert!(overlap(&built.events));
    assert_eq!(built.files().content("two"), "2\n");
}

fn stages_take_turns_when_only_one_may_run() {
    let kit = Kit::new();
    let request = BuildRequest { stages_at_once: 1, ..kit.request(TWO_STAGES) };
    let built = kit.build_request(request);
    assert!(!overlap(&built.events));
    assert_eq!(built.files().paths(), ["one", "two"]);
}

fn only_the_image_s_own_steps_become_layers() {
    let built = Kit::new().build(
        "FROM base AS tool\nRUN echo tool > /tool\n\
         FROM base AS middle\nRUN echo middle > /middle\n\
         FROM middle\nCOPY --from=tool /tool /\n",
    );
    let mut layers: Vec<usize> = built
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Layer { step, .. } => Some(step.stage),
            _ => None,
        })
        .collect();
    layers.sort_unstable();
    assert_eq!(layers, [1, 2]);
    assert_eq!(built.image.layers.len(), 3);
    assert_eq!(built.layer(1).paths(), ["middle"]);
    assert_eq!(built.layer(2).paths(), ["tool"]);
}

fn a_target_ends_the_build_there() {
    let kit = Kit::new();
    let request = BuildRequest {
        target: Some("First".to_owned()),
        ..kit.request("FROM base AS first\nRUN echo 1 > /one\nFROM first\nRUN false\n")
    };
    assert_eq!(kit.build_request(request).files().content("one"), "1\n");
}

fn the_same_build_gives_the_same_digest_with_any_threads() {
    const EPOCH: i64 = 1_600_000_000;
    let digests = [1, 2].map(|threads| {
        let kit = Kit::new();
        kit.file("dir/a", "a".repeat(3 << 20));
        kit.file("dir/b", "b");
        let dockerfile = "FROM base\nCOPY dir /dir\nWORKDIR /work\nRUN seq 1 500000 > numbers && ln /dir/b c\n\
            COPY <<EOF /etc/motd\nhello\nEOF\nLABEL a=b\n";
        let request = BuildRequest {
            threads,
            reproducibility: Reproducibility::Epoch(EPOCH),
            ..kit.request(dockerfile)
        };
        let built = kit.build_request(request);
        let latest = built.files().values().map(|file| file.modified).max().unwrap();
        assert_eq!(latest as i64, EPOCH, "everything made now carries the epoch");
        assert_eq!(built.config()["created"], "2020-09-13T12:26:40Z");
        // The next build happens at another time.
        std::thread::sleep(Duration::from_millis(1100));
        *built.image.digest()
    });
    assert_eq!(digests[0], digests[1]);
}

fn layers_are_handed_on_and_archives_written() {
    let kit = Kit::new();
    let path = kit.context().join("image.tar");
    let text = format!("type=docker,dest={}", path.display());
    let destinations = Destination::parse(&text, &["app:1".parse().unwrap()]).unwrap();
    let cancel = builder_engine::Cancel::new().unwrap();
    let request = kit.request("FROM base\nRUN echo x > /x\n");
    let finished = kit.run(request, destinations, &Events::none(), &cancel).unwrap();
    assert_eq!(finished.results.len(), 1);
    let mut archive = tar::Archive::new(std::fs::File::open(&path).unwrap());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().to_str().unwrap().to_owned())
        .collect();
    for layer in &finished.image.layers {
        let name = format!("blobs/sha256/{}", layer.descriptor.digest.hex());
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
}

fn a_scratch_image_of_metadata_has_no_layers() {
    let built = Kit::new().build("FROM scratch\nENV A=1\n");
    assert!(built.image.layers.is_empty());
    assert_eq!(built.config()["rootfs"]["diff_ids"], serde_json::json!([]));
}
