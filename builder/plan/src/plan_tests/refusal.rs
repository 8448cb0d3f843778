use super::*;

/// What is refused in line 2, and where.
fn refused(instruction: &str) -> (String, String) {
    let (problem, at) = Build::new(&format!("FROM scratch\n{instruction}\n")).failure();
    match problem {
        Problem::NotSupported { what, line: 2, instead } => {
            assert!(!instead.is_empty());
            (what, at)
        }
        other => panic!("{instruction}: {other:?}"),
    }
}

#[test]
fn what_is_not_executed_is_refused_by_name_and_line() {
    for (instruction, what, at) in [
        ("RUN --mount=type=cache,target=/c x", "RUN --mount=type=cache", "--mount=type=cache,target=/c"),
        ("RUN --mount=target=/c x", "RUN --mount=type=bind", "--mount=target=/c"),
        ("RUN --network=none x", "RUN --network=none", "--network=none"),
        ("RUN --network=host x", "RUN --network=host", "--network=host"),
        ("RUN --security=insecure x", "RUN --security=insecure", "--security=insecure"),
        ("RUN --device=v.com/d=1 x", "RUN --device", "--device=v.com/d=1"),
        ("COPY --link a b", "COPY --link", "--link"),
        ("COPY --parents a b", "COPY --parents", "--parents"),
        ("COPY --exclude=x a b", "COPY --exclude", "--exclude=x"),
        ("ADD --link a b", "ADD --link", "--link"),
        ("ADD --exclude=x a b", "ADD --exclude", "--exclude=x"),
        ("ADD --checksum=sha256:0 a b", "ADD --checksum", "--checksum=sha256:0"),
        ("ADD --keep-git-dir a b", "ADD --keep-git-dir", "--keep-git-dir"),
        ("ADD https://h/f.tar.gz b", "ADD of a URL", "https://h/f.tar.gz"),
        ("ADD x git@h:a/b.git b", "ADD of a Git repository", "git@h:a/b.git"),
        ("ADD https://h/r.git#main b", "ADD of a Git repository", "https://h/r.git#main"),
    ] {
        assert_eq!(refused(instruction), (what.to_owned(), at.to_owned()), "{instruction}");
    }
}

#[test]
fn a_variable_cannot_hide_a_url() {
    let (problem, _) = Build::new("FROM scratch\nENV u=https://h\nADD $u/f /f\n").failure();
    assert!(matches!(problem, Problem::NotSupported { line: 3, .. }));
}

#[test]
fn flags_that_change_nothing_are_taken() {
    let text = "FROM scratch\nRUN --network=default --security=sandbox x\nCOPY --link=false --parents=false a b\n\
                ADD --link=false --unpack=true a.tar /\nADD --unpack=false a.tar /\nADD a.tar /\n";
    let unpack: Vec<bool> = copies(text).iter().map(|copy| copy.unpack).collect();
    assert_eq!(unpack, [false, true, false, true]);
}

#[test]
fn the_message_names_the_line_and_the_way_out() {
    let build = Build::new("FROM scratch\nRUN --mount=type=secret,id=x \\\n  y\n");
    let error = build.outcome().expect_err("refused");
    assert_eq!(
        error.render(&build.source),
        "Dockerfile:2:5: RUN --mount=type=secret in line 2 is not supported by the native engine\n   |\n\
         \x202 | RUN --mount=type=secret,id=x \\\n   |     ^^^^^^^^^^^^^^^^^^^^^^^^\n   \
         = build this file with BuildKit; a secret given by ARG or COPY would stay in the image"
    );
}

#[test]
fn bad_values_are_located() {
    let failure = |text: &str| Build::new(&format!("FROM scratch\n{text}\n")).failure();
    assert_eq!(
        failure("COPY --chmod=999 a b"),
        (Problem::Chmod { text: "999".to_owned() }, "--chmod=999".to_owned())
    );
    assert_eq!(failure("STOPSIGNAL NOPE"), (Problem::Signal { text: "NOPE".to_owned() }, "NOPE".to_owned()));
    assert!(matches!(failure("EXPOSE 80 x").0, Problem::Port { text, .. } if text == "x"));
    assert_eq!(failure("VOLUME $none"), (Problem::EmptyVolume, "$none".to_owned()));
    assert!(matches!(failure("COPY https://h/f b").0, Problem::CopyRemote { .. }));
    assert!(matches!(failure("COPY git@h:a/b b").0, Problem::CopyRemote { .. }));
    let (problem, at) = failure("USER ${u:?who}");
    assert!(matches!(problem, Problem::Dockerfile(builder_dockerfile::Problem::Expand(_))));
    assert_eq!(at, "${u:?who}");
}
