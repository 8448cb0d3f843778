//! Builds that fail say where and why, and leave the store as it was.

use builder_engine::{BuildRequest, EngineError};

use crate::kit::Kit;
use crate::tests;

tests!(
    a_failing_command_gives_line_code_and_last_lines,
    a_command_that_is_not_there,
    a_failure_ends_the_other_stages,
    malformed_files_show_the_place,
    unknown_users_are_named,
    another_platform_is_refused,
    a_failed_step_leaves_nothing_behind,
);

fn a_failing_command_gives_line_code_and_last_lines() {
    let error = Kit::new().fail("FROM base\nRUN true\n\nRUN seq 1 30 && \\\n  exit 42\n");
    assert_eq!((error.line(), error.exit_code()), (Some(4), Some(42)));
    let lines: Vec<String> = (11..=30).map(|number| number.to_string()).collect();
    assert_eq!(error.last_lines(), lines);
    let text = error.to_string();
    assert!(text.starts_with("Dockerfile:4: RUN seq 1 30") && text.contains("exit code 42"), "{text}");
}

fn a_command_that_is_not_there() {
    let error = Kit::new().fail("FROM base\nRUN [\"/no/such/program\"]\n");
    assert_eq!((error.line(), error.exit_code()), (Some(2), Some(127)));
    let error = Kit::new().fail("FROM scratch\nRUN true\n");
    assert_eq!(error.exit_code(), Some(127));
}

fn a_failure_ends_the_other_stages() {
    let begun = std::time::Instant::now();
    let error = Kit::new().fail(
        "FROM base AS slow\nRUN sleep 600\nFROM base AS broken\nRUN sleep 1; exit 3\n\
         FROM base\nCOPY --from=slow / /a\nCOPY --from=broken / /b\n",
    );
    assert_eq!((error.line(), error.exit_code()), (Some(4), Some(3)));
    assert!(begun.elapsed().as_secs() < 60);
}

fn malformed_files_show_the_place() {
    for (dockerfile, parts) in [
        ("FROM base\nRUM true\n", &["Dockerfile", "2", "RUM", "RUN"][..]),
        ("FROM base\nRUN --mount=type=cache,target=/c true\n", &["--mount", "line 2"]),
        ("FROM base AS first\nCOPY --from=later x /\nFROM first AS later\n", &["later"]),
        ("", &["Dockerfile"]),
    ] {
        let error = Kit::new().fail(dockerfile);
        assert!(matches!(error, EngineError::Dockerfile(_)), "{error:?}");
        for part in parts {
            assert!(error.to_string().contains(part), "{part:?} is not in {error}");
        }
    }
}

fn unknown_users_are_named() {
    let kit = Kit::new();
    kit.file("a", "a");
    for (dockerfile, name) in [
        ("FROM base\nCOPY --chown=nobody a /\n", "nobody"),
        ("FROM base\nUSER ghost\nRUN true\n", "ghost"),
        ("FROM base\nUSER ghost\nWORKDIR /x\n", "ghost"),
        ("FROM scratch\nCOPY --chown=app a /\n", "app"),
    ] {
        let error = kit.fail(dockerfile);
        assert!(error.to_string().contains(name) && error.line().is_some(), "{error}");
    }
}

fn another_platform_is_refused() {
    let kit = Kit::new();
    let other = if cfg!(target_arch = "s390x") { "linux/amd64" } else { "linux/s390x" };
    let request = BuildRequest { platform: Some(other.parse().unwrap()), ..kit.request("FROM base\n") };
    let error = kit.try_build(request).err().unwrap();
    assert!(error.to_string().contains(other), "{error}");
}

fn a_failed_step_leaves_nothing_behind() {
    let kit = Kit::new();
    kit.fail("FROM base\nRUN echo 1 > /one\nRUN echo 2 > /two; exit 1\n");
    let pending = kit.store.root().join("snapshots/pending");
    assert_eq!(std::fs::read_dir(pending).unwrap().count(), 0);
    let built = kit.build("FROM base\nRUN echo 1 > /one\n");
    assert_eq!(built.executed(), 0, "what succeeded before the failure is kept");
    assert_eq!(built.layer(1).paths(), ["one"]);
}
