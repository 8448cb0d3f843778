//! The parser on arbitrary and on damaged text.

use super::*;
use crate::ast::{Instruction, InstructionKind};

/// Valid pieces that are put together and damaged.
const PIECES: [&str; 16] = [
    "FROM --platform=$P a:$T AS b\n",
    "# syntax=x\n# escape=`\n",
    "RUN --mount=type=cache,target=/x,sharing=shared <<EOF cat \\\n# c\n\n && x\nbody\nEOF\n",
    "RUN [\"a\", \"b\"]\n",
    "COPY --from=0 --chown=1:2 --exclude=*.o [\"a\", \"b\"]\n",
    "ADD <<-'X' plain /d/\n\tbody\n\tX\n",
    "ENV a=\"b c\" d=${e:-f}\n",
    "ENV name the value\n",
    "ARG a b=c\n",
    "LABEL k=\"v\"\r\n",
    "HEALTHCHECK --interval=5s CMD x\n",
    "ONBUILD COPY <<E /x\nq\nE\n",
    "EXPOSE 80 $P\nVOLUME [\"/v\"]\n",
    "SHELL [\"/bin/sh\", \"-c\"]\nCMD x \\\n  y\n",
    "USER é:ü\nWORKDIR /a b\n",
    "MAINTAINER x\nSTOPSIGNAL SIGTERM\nENTRYPOINT [\"x\"]\n",
];

fn check(text: &str) -> Result<(), TestCaseError> {
    let source = Source::new("Dockerfile", text);
    let within = |span: Span| {
        prop_assert!(span.start <= span.end && span.end <= text.len(), "{span:?} of {}", text.len());
        prop_assert!(text.get(span.start..span.end).is_some(), "{span:?} cuts a character");
        Ok(())
    };
    match parse(&source) {
        Err(error) => {
            within(error.span)?;
            prop_assert!(error.render(&source).lines().count() >= 4);
        }
        Ok(file) => {
            prop_assert!(!file.stages.is_empty());
            for stage in &file.stages {
                within(stage.span)?;
                within(stage.from.image.span)?;
                for instruction in file.global_args.iter().chain(&stage.instructions) {
                    within(instruction.span)?;
                    for text in texts(instruction) {
                        within(text.span)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn command(command: &CommandLine) -> Vec<&Text> {
    match command {
        CommandLine::Shell(text) => vec![text],
        CommandLine::Exec(_) => vec![],
    }
}

fn texts(instruction: &Instruction) -> Vec<&Text> {
    match &instruction.kind {
        InstructionKind::Arg(arg) => {
            arg.definitions.iter().flat_map(|one| std::iter::once(&one.name).chain(&one.default)).collect()
        }
        InstructionKind::Cmd(line) | InstructionKind::Entrypoint(line) => command(line),
        InstructionKind::Run(run) => command(&run.command),
        InstructionKind::Copy(copy) => {
            std::iter::once(&copy.destination).chain(&copy.from).chain(&copy.exclude).collect()
        }
        InstructionKind::Add(add) => std::iter::once(&add.destination).chain(&add.chown).collect(),
        InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => {
            pairs.iter().flat_map(|pair| [&pair.key, &pair.value]).collect()
        }
        InstructionKind::Expose(list) | InstructionKind::Volume(list) => list.iter().collect(),
        InstructionKind::Maintainer(text)
        | InstructionKind::StopSignal(text)
        | InstructionKind::User(text)
        | InstructionKind::Workdir(text) => vec![text],
        _ => vec![],
    }
}

proptest! {
    #[test]
    fn arbitrary_text(text in ".{0,200}") {
        check(&text)?;
    }

    #[test]
    fn text_that_looks_like_a_dockerfile(text in "(FROM|RUN|COPY|ENV|ONBUILD|[-a-z<\\[\\]\"'$\\\\`#=\n\t \r\u{feff}é]){0,60}") {
        check(&text)?;
    }

    #[test]
    fn damaged_dockerfiles(
        pieces in prop::collection::vec(prop::sample::select(PIECES.as_slice()), 1..8),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize, "[\\\\`\n\"'<\\[ $#é]{0,3}"), 0..6),
    ) {
        let mut characters: Vec<char> = "FROM a\n".chars().chain(pieces.concat().chars()).collect();
        for (at, removed, added) in cuts {
            let at = at.index(characters.len());
            let end = (at + removed).min(characters.len());
            characters.splice(at..end, added.chars());
            if characters.is_empty() {
                characters.push('\n');
            }
        }
        check(&characters.into_iter().collect::<String>())?;
    }

    #[test]
    fn triggers_are_total(text in "(RUN|COPY|[a-z<\"\\[\\\\\n ]){0,30}") {
        let _ = parse_trigger(&Source::new("trigger", text));
    }
}

#[test]
fn every_piece_is_valid() {
    for piece in PIECES {
        let text =
            if piece.starts_with('#') { format!("{piece}FROM a\n") } else { format!("FROM a\n{piece}") };
        parsed(&text);
    }
}
