//! `ONBUILD TRIGGER`

use super::{Parts, kind};
use crate::ast::{Instruction, OnBuild};
use crate::error::{Error, Problem};
use crate::split::split;

/// Instructions that cannot be triggers.
const NO_TRIGGERS: [&str; 3] = ["FROM", "MAINTAINER", "ONBUILD"];

pub(super) fn parse(parts: Parts<'_>) -> Result<OnBuild, Error> {
    parts.no_flags()?;
    if parts.arguments.is_empty() {
        return Err(parts.wrong_arguments("an instruction"));
    }
    let keyword = split(&parts.line.text, parts.arguments.clone(), parts.escape).keyword;
    let keyword = parts.line.spanned(keyword.start, keyword.end);
    refuse(&keyword.value).map_err(|problem| Error::new(problem, keyword.span))?;
    // To its very end, spaces included, as other builders keep it in the image.
    let mut trigger = parts.line.text.get(parts.arguments.start..).unwrap_or_default().to_owned();
    for heredoc in &parts.heredocs {
        trigger.push('\n');
        trigger.push_str(&heredoc.content);
        trigger.push_str(&heredoc.name);
    }
    // What a child image would stumble over is an error here already.
    kind(parts.line, parts.arguments, parts.escape, parts.heredocs)?;
    Ok(OnBuild { trigger })
}

fn refuse(keyword: &str) -> Result<(), Problem> {
    let trigger = keyword.to_ascii_uppercase();
    if NO_TRIGGERS.contains(&trigger.as_str()) { Err(Problem::Trigger { trigger }) } else { Ok(()) }
}

/// For triggers that come from an image config, where anything may stand.
pub(crate) fn refuse_as_trigger(instruction: &Instruction) -> Result<(), Error> {
    let keyword: String = instruction.text.chars().take_while(|c| !c.is_whitespace()).collect();
    refuse(&keyword).map_err(|problem| Error::new(problem, instruction.span))
}
