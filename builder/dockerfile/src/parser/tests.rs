use proptest::prelude::*;

use super::*;
use crate::ast::{
    CommandLine, CopySource, Healthcheck, InstructionKind, MountKind, Network, Security, Text, WarningKind,
};
use crate::error::Mend as _;
use crate::instruction::mount::{Mount, MountProblem};

mod fuzz;

fn parsed(text: &str) -> Dockerfile {
    let source = Source::new("Dockerfile", text);
    match parse(&source) {
        Ok(file) => file,
        Err(error) => panic!("{}", error.render(&source)),
    }
}

/// The only instruction after `FROM a`.
fn single(text: &str) -> InstructionKind {
    let mut file = parsed(&format!("FROM a\n{text}\n"));
    let mut stage = file.stages.pop().expect("a stage");
    assert_eq!(stage.instructions.len(), 1, "{text}");
    stage.instructions.pop().expect("an instruction").kind
}

fn failure(text: &str) -> Error {
    parse(&Source::new("Dockerfile", text)).expect_err(text)
}

/// The problem of a bad instruction after `FROM a`, and the text it points at.
fn bad(text: &str) -> (Problem, String) {
    let text = format!("FROM a\n{text}\n");
    let error = failure(&text);
    (error.problem, text[error.span.start..error.span.end].to_owned())
}

fn values(texts: &[Text]) -> Vec<&str> {
    texts.iter().map(|text| text.value.as_str()).collect()
}

#[test]
fn stages_and_global_arguments() {
    let file = parsed(
        "ARG V=1\nfrom --platform=$BUILDPLATFORM go:$V as Build\nRUN x\n\nFROM scratch\nCOPY --from=build /x /\n",
    );
    assert_eq!(file.global_args.len(), 1);
    let [build, last] = file.stages.as_slice() else { panic!("two stages") };
    assert_eq!(build.from.image.value, "go:$V");
    assert_eq!(build.from.platform.as_ref().map(|text| text.value.as_str()), Some("$BUILDPLATFORM"));
    assert_eq!(build.from.name.as_ref().map(|text| text.value.as_str()), Some("build"));
    assert_eq!(last.from.name, None);
    assert_eq!(last.instructions.len(), 1);
}

#[test]
fn run_forms() {
    let InstructionKind::Run(run) = single("RUN echo \"a  b\" && \\\n  # note\n  c") else { panic!("RUN") };
    let CommandLine::Shell(text) = run.command else { panic!("shell form") };
    assert_eq!(text.value, "echo \"a  b\" &&   c");
    let exec = |text: &str| match single(text) {
        InstructionKind::Run(run) => run.command,
        _ => panic!("RUN"),
    };
    assert_eq!(
        exec(r#"RUN [ "a" , "b\n\u00e9" ]"#),
        CommandLine::Exec(vec!["a".to_owned(), "b\né".to_owned()])
    );
    assert_eq!(exec("RUN []"), CommandLine::Exec(vec![]));
    // Anything that is no JSON goes to the shell.
    for text in ["RUN ['a']", "RUN [ -f x ] && y", "RUN [\"a\"] b", "RUN [\"a\",]", "RUN [\"a\\x\"]"] {
        assert!(
            matches!(exec(text), CommandLine::Shell(shell) if shell.value == text["RUN ".len()..]),
            "{text}"
        );
    }
    assert_eq!(bad("RUN [\"a\", 1]"), (Problem::JsonNotStrings, "[\"a\", 1]".to_owned()));
}

#[test]
fn run_flags() {
    let text = "RUN --mount=type=cache,target=/c,sharing=locked,uid=1,mode=0700 --mount=from=b,dst=/d,rw \
                --network=none --security=insecure --device=vendor.com/gpu=all,required x";
    let InstructionKind::Run(run) = single(text) else { panic!("RUN") };
    assert_eq!(run.flags.network.map(|network| network.value), Some(Network::None));
    assert_eq!(run.flags.security.map(|security| security.value), Some(Security::Insecure));
    let device = &run.flags.devices[0].value;
    assert_eq!((device.name.as_str(), device.required), ("vendor.com/gpu=all", true));
    let resolve = |index: usize| {
        Mount::resolve(&run.flags.mounts[index], |value| Ok(value.to_owned())).expect("a mount")
    };
    let cache = resolve(0);
    assert_eq!(
        (cache.kind, cache.read_only, cache.uid, cache.mode),
        (MountKind::Cache, false, Some(1), Some(0o700))
    );
    let bind = resolve(1);
    assert_eq!(
        (bind.kind, bind.from.as_str(), bind.target.as_str(), bind.read_only),
        (MountKind::Bind, "b", "/d", false)
    );
}

#[test]
fn mounts_with_variables_are_read_when_executed() {
    let InstructionKind::Run(run) = single("RUN --mount=type=$T,size=$S,target=/t x") else { panic!("RUN") };
    let expand = |value: &str| Ok(value.replace("$T", "tmpfs").replace("$S", "64m"));
    let mount = Mount::resolve(&run.flags.mounts[0], expand).expect("a mount");
    assert_eq!((mount.kind, mount.size), (MountKind::Tmpfs, 64 << 20));
}

#[test]
fn bad_mounts_are_named() {
    for (option, expected) in [
        ("type=bnid", Some("did you mean bind?")),
        ("type=cache,sharing=lock", Some("did you mean locked?")),
        ("tragets=/x", None),
        ("taget=/x", Some("did you mean target?")),
        ("type=bind,mode=0700", None),
        ("size=1,type=tmpfs", None),
        ("type=tmpfs,size=x", None),
        ("type=secret", None),
        ("type=secret,id=a,source=b", None),
        ("from=$X", Some("give the image a stage with FROM, where variables can be used")),
        ("type=cache,target", Some("write target=VALUE")),
        ("type=cache,mode=9", None),
        ("type=bind,required", None),
        ("'\"a'", None),
    ] {
        let (problem, at) = bad(&format!("RUN --mount={option} x"));
        assert!(matches!(problem, Problem::Mount(_)), "{option}");
        assert_eq!(at, format!("--mount={option}"), "{option}");
        if let Some(expected) = expected {
            assert_eq!(problem.mend().as_deref(), Some(expected), "{option}");
        }
    }
    let (problem, _) = bad("RUN --mount=type=bind,uid=0 x");
    assert_eq!(problem, Problem::Mount(MountProblem::NotForKind { kind: "bind", option: "uid" }));
}

#[test]
fn here_documents() {
    let text = "FROM a\nRUN <<A cat 3<<-\"B\" - \\\n  && x\n$one\n A\nA\n\ttwo\n\tB\nUSER u\n";
    let file = parsed(text);
    let [run, user] = file.stages[0].instructions.as_slice() else { panic!("two instructions") };
    let InstructionKind::Run(command) = &run.kind else { panic!("RUN") };
    let [first, second] = command.heredocs.as_slice() else { panic!("two here-documents") };
    assert_eq!((first.name.as_str(), first.content.as_str(), first.expand), ("A", "$one\n A\n", true));
    assert_eq!(
        (second.descriptor, second.content.as_str(), second.expand, second.strip_tabs),
        (3, "\ttwo\n", false, true)
    );
    assert_eq!(second.file_content(), "two\n");
    assert_eq!(&text[first.span.start..first.span.end], first.content);
    assert_eq!(&text[second.span.start..second.span.end], second.content);
    assert!(text[run.span.start..run.span.end].ends_with("\tB"));
    assert_eq!(user.text, "USER u");
}

#[test]
fn here_documents_as_files() {
    let InstructionKind::Copy(copy) = single("COPY --chmod=755 <<a plain <<'b' /d/\nA\na\nB\nb") else {
        panic!("COPY")
    };
    let [CopySource::Heredoc(a), CopySource::Path(plain), CopySource::Heredoc(b)] = copy.sources.as_slice()
    else {
        panic!("three sources")
    };
    assert_eq!((a.name.as_str(), a.content.as_str(), a.expand), ("a", "A\n", true));
    assert_eq!(plain.value, "plain");
    assert_eq!((b.name.as_str(), b.content.as_str(), b.expand), ("b", "B\n", false));
    assert_eq!(copy.destination.value, "/d/");
    let InstructionKind::Add(add) = single("ADD <<f /f\nf") else { panic!("ADD") };
    assert!(matches!(add.sources.as_slice(), [CopySource::Heredoc(empty)] if empty.content.is_empty()));
}

#[test]
fn bad_here_documents() {
    assert_eq!(bad("RUN cat <<E\nx").0, Problem::HeredocUnterminated { name: "E".to_owned() });
    assert_eq!(bad("COPY a <<E\nE"), (Problem::HeredocDestination, "<<E".to_owned()));
    assert_eq!(bad("COPY << E /x\nE").0, Problem::HeredocDetached { name: "E".to_owned() });
}

#[test]
fn json_form_holds_no_here_document() {
    let InstructionKind::Run(run) = single("RUN [\"cat\", \"<<EOF\"]") else { panic!("RUN") };
    assert!(run.heredocs.is_empty());
}

#[test]
fn copy_and_add_flags() {
    let InstructionKind::Copy(copy) = single(
        "COPY --from=b --chown=u:g --chmod=u=rwX --link --parents=false --exclude=*.o --exclude=b x y z",
    ) else {
        panic!("COPY")
    };
    assert_eq!(copy.from.map(|text| text.value).as_deref(), Some("b"));
    assert_eq!(copy.chown.map(|text| text.value).as_deref(), Some("u:g"));
    assert_eq!(copy.chmod.map(|text| text.value).as_deref(), Some("u=rwX"));
    assert_eq!((copy.link.map(|on| on.value), copy.parents.map(|on| on.value)), (Some(true), Some(false)));
    assert_eq!(values(&copy.exclude), ["*.o", "b"]);
    assert_eq!(copy.sources.len(), 2);
    let InstructionKind::Add(add) =
        single("ADD --keep-git-dir=true --checksum=sha256:0 --unpack [\"a b\", \"c\"]")
    else {
        // Without `=`, the JSON list stands behind the flags.
        panic!("ADD")
    };
    assert_eq!(
        (add.keep_git_dir.map(|on| on.value), add.unpack.map(|on| on.value)),
        (Some(true), Some(true))
    );
    assert!(matches!(add.sources.as_slice(), [CopySource::Path(path)] if path.value == "a b"));
}

#[test]
fn pairs() {
    let pairs = |text: &str| -> Vec<(String, String)> {
        match single(text) {
            InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => {
                pairs.into_iter().map(|pair| (pair.key.value, pair.value.value)).collect()
            }
            _ => panic!("pairs"),
        }
    };
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(pairs("ENV a=1 b=\"x y\" c=d\\ e"), owned(&[("a", "1"), ("b", "\"x y\""), ("c", "d\\ e")]));
    assert_eq!(pairs("ENV name  the value = x"), owned(&[("name", "the value = x")]));
    assert_eq!(pairs("LABEL \"a b\"=c a=b=c"), owned(&[("\"a b\"", "c"), ("a", "b=c")]));
    assert_eq!(bad("ENV a=1 b"), (Problem::MissingEquals { word: "b".to_owned() }, "b".to_owned()));
    assert_eq!(bad("ENV =1").0, Problem::BlankName { instruction: "ENV" });
    assert!(matches!(bad("ENV a").0, Problem::Arguments { instruction: "ENV", .. }));
}

#[test]
fn arguments_with_and_without_defaults() {
    let InstructionKind::Arg(arg) = single("ARG a b= c=\"x y\"") else { panic!("ARG") };
    let found: Vec<(&str, Option<&str>)> = arg
        .definitions
        .iter()
        .map(|one| (one.name.value.as_str(), one.default.as_ref().map(|text| text.value.as_str())))
        .collect();
    assert_eq!(found, [("a", None), ("b", Some("")), ("c", Some("\"x y\""))]);
}

#[test]
fn health_checks() {
    assert_eq!(single("HEALTHCHECK none"), InstructionKind::Healthcheck(Healthcheck::None));
    let text = "HEALTHCHECK --interval=1m30s --timeout=2s --start-period=0s --start-interval=500ms --retries=3 CMD [\"x\"]";
    let InstructionKind::Healthcheck(Healthcheck::Probe(probe)) = single(text) else { panic!("a probe") };
    assert_eq!(probe.command, CommandLine::Exec(vec!["x".to_owned()]));
    assert_eq!((probe.interval, probe.timeout), (90_000_000_000, 2_000_000_000));
    assert_eq!((probe.start_period, probe.start_interval, probe.retries), (0, 500_000_000, 3));
    for (text, at) in [
        ("--interval=5", "--interval=5"),
        ("--timeout=1us", "--timeout=1us"),
        ("--retries=-1", "--retries=-1"),
    ] {
        assert_eq!(bad(&format!("HEALTHCHECK {text} CMD x")).1, at);
    }
    assert_eq!(bad("HEALTHCHECK --retries=1 NONE").0, Problem::HealthcheckNone);
    assert_eq!(
        bad("HEALTHCHECK CURL x"),
        (Problem::HealthcheckKind { found: "CURL".to_owned() }, "CURL".to_owned())
    );
    assert!(matches!(bad("HEALTHCHECK CMD").0, Problem::Arguments { .. }));
}

#[test]
fn lists_and_single_texts() {
    assert!(
        matches!(single("VOLUME [\"/a b\", \"/c\"]"), InstructionKind::Volume(list) if values(&list) == ["/a b", "/c"])
    );
    assert!(
        matches!(single("VOLUME /a\t/b"), InstructionKind::Volume(list) if values(&list) == ["/a", "/b"])
    );
    assert!(
        matches!(single("EXPOSE 80 443/tcp"), InstructionKind::Expose(list) if values(&list) == ["80", "443/tcp"])
    );
    assert!(matches!(single("WORKDIR  /a b "), InstructionKind::Workdir(text) if text.value == "/a b"));
    assert!(
        matches!(single("MAINTAINER A B <c>"), InstructionKind::Maintainer(text) if text.value == "A B <c>")
    );
    assert!(matches!(single("SHELL [\"a\", \"-c\"]"), InstructionKind::Shell(words) if words == ["a", "-c"]));
    assert_eq!(bad("SHELL a -c").0, Problem::ShellNotJson);
    assert!(matches!(bad("SHELL []").0, Problem::Arguments { .. }));
    assert!(matches!(bad("WORKDIR").0, Problem::Arguments { instruction: "WORKDIR", .. }));
    assert!(matches!(bad("VOLUME [\" \"]").0, Problem::Arguments { .. }));
}

#[test]
fn triggers() {
    let InstructionKind::OnBuild(trigger) = single("ONBUILD  RUN cat <<E \\\n x\nbody\nE") else {
        panic!("ONBUILD")
    };
    assert_eq!(trigger.trigger, "RUN cat <<E  x\nbody\nE");
    let InstructionKind::OnBuild(spaced) = single("onbuild  VOLUME /v  ") else { panic!("ONBUILD") };
    assert_eq!(spaced.trigger, "VOLUME /v  ");
    let again = parse_trigger(&Source::new("trigger", trigger.trigger)).expect("a trigger");
    assert!(matches!(again.kind, InstructionKind::Run(run) if run.heredocs[0].content == "body\n"));
    assert_eq!(
        bad("ONBUILD ONBUILD RUN x"),
        (Problem::Trigger { trigger: "ONBUILD".to_owned() }, "ONBUILD".to_owned())
    );
    assert!(matches!(bad("ONBUILD from x").0, Problem::Trigger { .. }));
    assert_eq!(bad("ONBUILD COPY --form=x a b").1, "--form=x");
    assert!(matches!(bad("ONBUILD").0, Problem::Arguments { .. }));
    for text in ["RUN a\nRUN b", "", "# nothing"] {
        let error = parse_trigger(&Source::new("trigger", text)).expect_err(text);
        assert_eq!(error.problem, Problem::TriggerNotSingle, "{text}");
    }
    let error = parse_trigger(&Source::new("trigger", "FROM x")).expect_err("FROM");
    assert!(matches!(error.problem, Problem::Trigger { .. }));
}

#[test]
fn directives_and_escape() {
    let file =
        parsed("# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN dir C:\\ `\n && x\nCOPY a` b c\n");
    assert_eq!(file.escape(), '`');
    let instructions = &file.stages[0].instructions;
    assert_eq!(instructions[0].text, "RUN dir C:\\  && x");
    assert!(failure("# escape=x\nFROM a").problem.mend().is_some());
}

#[test]
fn suggestions() {
    for (text, at, mend) in [
        ("COPPY a b", "COPPY", "did you mean COPY?"),
        ("copi a b", "copi", "did you mean COPY?"),
        ("COPY --form=x a b", "--form=x", "did you mean --from?"),
        ("RUN --moutn=type=tmpfs x", "--moutn=type=tmpfs", "did you mean --mount?"),
        ("ENV --x a=b", "--x", "it takes no flags; write -- before an argument that starts so"),
        (
            "ADD --frobnicate a b",
            "--frobnicate",
            "its flags are --chown, --chmod, --link, --keep-git-dir, --checksum, --unpack, --exclude",
        ),
        ("COPY --from x y", "--from", "write --from=VALUE, without a space"),
        ("COPY --link=maybe x y", "--link=maybe", "use true or false"),
        ("COPY --chown=a --chown=b x y", "--chown=b", "keep one of the two"),
        ("STOPSIGNAL --x", "--x", "it takes no flags; write -- before an argument that starts so"),
    ] {
        let (problem, found) = bad(text);
        assert_eq!((found.as_str(), problem.mend().as_deref()), (at, Some(mend)), "{text}");
    }
}

#[test]
fn structure_errors() {
    assert_eq!(failure("").problem, Problem::NoInstructions);
    assert_eq!(failure("# only a comment\n\n").problem, Problem::NoInstructions);
    assert_eq!(failure("ARG a").problem, Problem::NoStage);
    assert_eq!(failure("RUN x\nFROM a").problem, Problem::BeforeFrom { instruction: "RUN".to_owned() });
    assert_eq!(bad("FROM a AS 1st").0, Problem::StageName { name: "1st".to_owned() });
    for text in ["FROM", "FROM a b", "FROM a IS b", "FROM a AS b c"] {
        assert!(matches!(failure(text).problem, Problem::Arguments { instruction: "FROM", .. }), "{text}");
    }
    assert!(matches!(bad("COPY a").0, Problem::Arguments { instruction: "COPY", .. }));
}

#[test]
fn rendered_error_of_a_continued_line() {
    let source = Source::new("Dockerfile", "FROM a\nCOPY \\\n  --chwon=x \\\n  a b\n");
    let error = parse(&source).expect_err("a misspelt flag");
    assert_eq!(
        error.render(&source),
        "Dockerfile:3:3: COPY has no flag --chwon\n   |\n 3 |   --chwon=x \\\n   |   ^^^^^^^^^\n   = did you mean --chown?"
    );
}

#[test]
fn warnings_name_blank_continuation_lines() {
    let text = "FROM a\nRUN x \\\n\n  y\n";
    let file = parsed(text);
    assert_eq!(file.warnings.len(), 1);
    assert_eq!(file.warnings[0].kind, WarningKind::EmptyContinuation);
    assert_eq!(Source::new("Dockerfile", text).position(file.warnings[0].span.start).line, 3);
}
