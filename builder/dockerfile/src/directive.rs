//! Parser directives: `# name=value` comments at the very top of the file.
//!
//! They end at the first line that is no known directive; after it, such a comment is just a comment.

use crate::error::{Error, Problem};
use crate::source::{Span, Spanned};

/// The directives of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives {
    /// The frontend image; kept for messages, the grammar here is fixed.
    pub syntax: Option<Spanned<String>>,
    pub escape: Option<Spanned<char>>,
    /// Options of the checks.
    pub check: Option<Spanned<String>>,
}

impl Directives {
    pub(crate) fn escape_character(&self) -> char {
        self.escape.as_ref().map_or('\\', |escape| escape.value)
    }

    /// Reads a line that starts at `offset`. `Ok(false)` means that it is no directive and none can follow.
    pub(crate) fn read(&mut self, line: &str, offset: usize) -> Result<bool, Error> {
        let Some((name, value, start)) = split(line) else {
            return Ok(false);
        };
        let span = Span::new(offset + start, offset + start + value.len());
        let taken = match name.as_str() {
            "syntax" => self.syntax.is_some(),
            "escape" => self.escape.is_some(),
            "check" => self.check.is_some(),
            _ => return Ok(false),
        };
        if taken {
            return Err(Error::new(Problem::DirectiveTwice { name }, Span::new(offset, offset + line.len())));
        }
        match name.as_str() {
            "syntax" => self.syntax = Some(Spanned::new(value.to_owned(), span)),
            "check" => self.check = Some(Spanned::new(value.to_owned(), span)),
            _ => {
                let escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => return Err(Error::new(Problem::EscapeDirective { value: value.to_owned() }, span)),
                };
                self.escape = Some(Spanned::new(escape, span));
            }
        }
        Ok(true)
    }
}

/// Name in lower case, value, and where the value starts in the line.
fn split(line: &str) -> Option<(String, &str, usize)> {
    let (name, value) = line.strip_prefix('#')?.split_once('=')?;
    let name = name.trim();
    let start = line.len() - value.trim_start().len();
    let value = value.trim();
    let mut characters = name.chars();
    let named = characters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && characters.all(|character| character.is_ascii_alphanumeric());
    (named && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_read_and_others_end_the_head() {
        let mut directives = Directives::default();
        assert!(directives.read("#  Syntax = docker/dockerfile:1 ", 0).expect("a directive"));
        assert_eq!(
            directives.syntax,
            Some(Spanned::new("docker/dockerfile:1".to_owned(), Span::new(12, 31)))
        );
        assert!(directives.read("# escape=`", 40).expect("a directive"));
        assert_eq!(directives.escape_character(), '`');
        for line in ["# other=1", "# a comment", "#", "FROM a=b", "# =x", "# syntax="] {
            assert!(!directives.read(line, 0).expect("no directive"), "{line}");
        }
    }

    #[test]
    fn repeated_and_bad_directives_are_errors() {
        let mut directives = Directives::default();
        let error = directives.read("# escape=x", 0).expect_err("x cannot escape");
        assert_eq!(error, Error::new(Problem::EscapeDirective { value: "x".to_owned() }, Span::new(9, 10)));
        directives.read("# check=skip=all", 0).expect("a directive");
        let error = directives.read("# CHECK=error=true", 0).expect_err("given twice");
        assert_eq!(error.problem, Problem::DirectiveTwice { name: "check".to_owned() });
    }
}
