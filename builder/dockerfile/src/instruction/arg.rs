//! `ARG NAME[=DEFAULT]...`

use super::Parts;
use crate::ast::{Arg, ArgDefinition, Text};
use crate::error::{Error, Problem};
use crate::split::quoted_words;

pub(super) fn parse(parts: &Parts<'_>) -> Result<Arg, Error> {
    parts.no_flags()?;
    let mut definitions = Vec::new();
    for word in quoted_words(&parts.line.text, parts.arguments.clone(), parts.escape) {
        let start = word.range.start;
        let definition = match word.text.split_once('=') {
            Some((name, default)) => ArgDefinition {
                name: Text::new(name.to_owned(), parts.line.source_span(start, start + name.len())),
                default: Some(Text::new(
                    default.to_owned(),
                    parts.line.source_span((start + name.len() + 1).min(word.range.end), word.range.end),
                )),
            },
            None => ArgDefinition { name: parts.word(&word), default: None },
        };
        if definition.name.value.is_empty() {
            return Err(Error::new(Problem::BlankName { instruction: parts.name }, parts.word(&word).span));
        }
        definitions.push(definition);
    }
    if definitions.is_empty() {
        return Err(parts.wrong_arguments("at least one name"));
    }
    Ok(Arg { definitions })
}
