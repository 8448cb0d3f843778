//! `ENV` and `LABEL`: `name=value...`, and the old form `name value` with everything behind the name as its value.

use super::Parts;
use crate::ast::{KeyValue, Text};
use crate::error::{Error, Problem};
use crate::split::{SEPARATORS, quoted_words};

pub(super) fn parse(parts: &Parts<'_>) -> Result<Vec<KeyValue>, Error> {
    parts.no_flags()?;
    let words = quoted_words(&parts.line.text, parts.arguments.clone(), parts.escape);
    let Some(first) = words.first() else {
        return Err(parts.wrong_arguments("at least one name=value"));
    };
    if !first.text.contains('=') {
        return legacy(parts).map(|pair| vec![pair]);
    }
    let mut pairs = Vec::with_capacity(words.len());
    for word in &words {
        let Some((key, value)) = word.text.split_once('=') else {
            return Err(Error::new(
                Problem::MissingEquals { word: word.text.clone() },
                parts.word(word).span,
            ));
        };
        if key.is_empty() {
            return Err(Error::new(Problem::BlankName { instruction: parts.name }, parts.word(word).span));
        }
        let start = word.range.start;
        let value_start = (start + key.len() + 1).min(word.range.end);
        pairs.push(KeyValue {
            key: Text::new(key.to_owned(), parts.line.source_span(start, start + key.len())),
            value: Text::new(value.to_owned(), parts.line.source_span(value_start, word.range.end)),
            legacy: false,
        });
    }
    Ok(pairs)
}

fn legacy(parts: &Parts<'_>) -> Result<KeyValue, Error> {
    let range = &parts.arguments;
    let text = parts.text().value;
    let Some((key, rest)) = text.split_once(SEPARATORS) else {
        return Err(parts.wrong_arguments("a value: write name=value"));
    };
    let value = rest.trim_start_matches(SEPARATORS);
    Ok(KeyValue {
        key: parts.line.spanned(range.start, range.start + key.len()),
        value: parts.line.spanned(range.end - value.len(), range.end),
        legacy: true,
    })
}
