//! From text to syntax tree.
//!
//! Total: any text gives a tree or one [`Error`], and every span lies within the text.

use crate::ast::{Dockerfile, Instruction, InstructionKind, Stage};
use crate::error::{Error, Problem};
use crate::instruction;
use crate::lines::LineReader;
use crate::source::{Source, Span};

/// Parses a Dockerfile.
pub fn parse(source: &Source) -> Result<Dockerfile, Error> {
    let mut reader = LineReader::new(source.text());
    let mut global_args = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    while let Some(mut instruction) = next_instruction(&mut reader)? {
        if let InstructionKind::From(from) = instruction.kind {
            stages.push(Stage { from, instructions: Vec::new(), span: instruction.span });
            continue;
        }
        match (stages.last_mut(), &mut instruction.kind) {
            (Some(stage), _) => stage.instructions.push(instruction),
            (None, InstructionKind::Arg(_)) => global_args.push(instruction),
            (None, _) => {
                let name: String = instruction.text.chars().take_while(|c| !c.is_whitespace()).collect();
                return Err(Error::new(Problem::BeforeFrom { instruction: name }, instruction.span));
            }
        }
    }
    let nothing = Span::new(0, 0);
    if stages.is_empty() {
        let problem = if global_args.is_empty() { Problem::NoInstructions } else { Problem::NoStage };
        return Err(Error::new(problem, global_args.last().map_or(nothing, |arg: &Instruction| arg.span)));
    }
    Ok(Dockerfile { directives: reader.directives, global_args, stages, warnings: reader.warnings })
}

/// Parses the text of an `ONBUILD` trigger, which must be one instruction that may be a trigger.
pub fn parse_trigger(source: &Source) -> Result<Instruction, Error> {
    let mut reader = LineReader::new(source.text());
    let whole = Span::new(0, source.text().len());
    let single = || Error::new(Problem::TriggerNotSingle, whole);
    let instruction = next_instruction(&mut reader)?.ok_or_else(single)?;
    if next_instruction(&mut reader)?.is_some() {
        return Err(single());
    }
    instruction::on_build::refuse_as_trigger(&instruction)?;
    Ok(instruction)
}

fn next_instruction(reader: &mut LineReader<'_>) -> Result<Option<Instruction>, Error> {
    match reader.next_logical()? {
        Some(line) => instruction::parse(line, reader).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
