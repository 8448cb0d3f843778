//! Flags of instructions: `--name`, `--name=value`.
//!
//! A flag that the instruction does not have is an error, never ignored.

use super::Parts;
use crate::ast::Text;
use crate::error::{Error, Problem};
use crate::source::Spanned;
use crate::split::Word;

/// The flags of an instruction, each taken out by the parser that knows it.
#[derive(Debug)]
pub(super) struct Flags {
    given: Vec<(&'static str, Spanned<Option<String>>)>,
}

impl Flags {
    /// Checks the flags against the names the instruction has.
    pub(super) fn read(parts: &Parts<'_>, known: &'static [&'static str]) -> Result<Self, Error> {
        let mut given = Vec::new();
        for Word { text, range } in &parts.flags {
            let span = parts.line.source_span(range.start, range.end);
            let flag = text.strip_prefix("--").unwrap_or(text);
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let Some(name) = known.iter().find(|known| **known == name) else {
                let flag = name.to_owned();
                return Err(Error::new(Problem::UnknownFlag { instruction: parts.name, flag, known }, span));
            };
            given.push((*name, Spanned::new(value, span)));
        }
        Ok(Self { given })
    }

    /// Every value of a flag that may be repeated.
    pub(super) fn values(&mut self, flag: &'static str) -> Result<Vec<Text>, Error> {
        let (taken, rest) = std::mem::take(&mut self.given).into_iter().partition(|(name, _)| *name == flag);
        self.given = rest;
        let taken: Vec<(&str, Spanned<Option<String>>)> = taken;
        taken
            .into_iter()
            .map(|(_, given)| match given.value {
                Some(value) => Ok(Text::new(value, given.span)),
                None => Err(Error::new(Problem::FlagWithoutValue { flag }, given.span)),
            })
            .collect()
    }

    pub(super) fn value(&mut self, flag: &'static str) -> Result<Option<Text>, Error> {
        let mut values = self.values(flag)?;
        match values.get(1) {
            Some(second) => Err(Error::new(Problem::FlagTwice { flag }, second.span)),
            None => Ok(values.pop()),
        }
    }

    /// A flag that is either on or off; without a value it is on.
    pub(super) fn switch(&mut self, flag: &'static str) -> Result<Option<Spanned<bool>>, Error> {
        for (name, given) in &mut self.given {
            if *name == flag && given.value.is_none() {
                given.value = Some("true".to_owned());
            }
        }
        let Some(given) = self.value(flag)? else {
            return Ok(None);
        };
        let on = match given.value.to_ascii_lowercase().as_str() {
            "true" => true,
            "false" => false,
            _ => return Err(bad_value(flag, given, "true or false")),
        };
        Ok(Some(Spanned::new(on, given.span)))
    }
}

impl Parts<'_> {
    /// For instructions that have no flags.
    pub(super) fn no_flags(&self) -> Result<(), Error> {
        Flags::read(self, &[]).map(|_| ())
    }
}

pub(super) fn bad_value(flag: &'static str, given: Text, expected: &'static str) -> Error {
    Error::new(Problem::FlagValue { flag, value: given.value, expected }, given.span)
}
