//! Source text and places in it.
//!
//! A [`Span`] always lies within its [`Source`] and on character boundaries, so that rendering a message can never
//! fail.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use crate::error::{Error, Problem};

/// A range of bytes in the source text, `start` included, `end` excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

/// A value and the place it was written at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

impl<T> Spanned<T> {
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// A line and a column, both counted from one; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// The text of a Dockerfile with its name and line starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    line_starts: Vec<usize>,
}

impl Source {
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name: name.into(), text, line_starts }
    }

    /// Takes the bytes of a file. They must be UTF-8; the error says in which line they are not.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, Error> {
        String::from_utf8(bytes).map(|text| Self::new(name, text)).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
            Error { problem: Problem::NotUtf8 { line }, span: Span::default() }
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text a span covers; empty for a span of another source.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    pub fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or_default();
        let column = self.text.get(start..offset).map_or(0, |text| text.chars().count()) + 1;
        Position { line, column }
    }

    /// The lines a span touches, counted from one.
    pub fn lines(&self, span: Span) -> RangeInclusive<usize> {
        let last = span.end.saturating_sub(1).max(span.start);
        self.position(span.start).line..=self.position(last).line
    }

    /// A line without its end, counted from one; empty when there is no such line.
    pub fn line_text(&self, line: usize) -> &str {
        let Some(start) = line.checked_sub(1).and_then(|index| self.line_starts.get(index)) else {
            return "";
        };
        let rest = self.text.get(*start..).unwrap_or_default();
        rest.split('\n').next().unwrap_or_default().trim_end_matches('\r')
    }

    /// A message with the file, the line, the source line, a caret under the span and the way to mend it.
    pub fn render(&self, span: Span, message: &str, mend: Option<&str>) -> String {
        let at = self.position(span.start);
        let line = self.line_text(at.line);
        let before = line.chars().take(at.column - 1);
        // Tabs are kept so that the caret stands under its character whatever the width of a tab is.
        let indent: String = before.map(|character| if character == '\t' { '\t' } else { ' ' }).collect();
        let covered = self.slice(span).split('\n').next().unwrap_or_default().chars().count();
        let room = line.chars().count().saturating_sub(at.column - 1);
        let carets = "^".repeat(covered.min(room).max(1));
        let number = at.line.to_string();
        let gutter = " ".repeat(number.len());
        let mut out = String::new();
        let _ = writeln!(out, "{}:{}:{}: {message}", self.name, at.line, at.column);
        let _ = writeln!(out, " {gutter} |");
        let _ = writeln!(out, " {number} | {line}");
        let _ = write!(out, " {gutter} | {indent}{carets}");
        if let Some(mend) = mend {
            let _ = write!(out, "\n {gutter} = {mend}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source::new("Dockerfile", "FROM a\nRUN é x\n");
        assert_eq!(source.position(0), Position { line: 1, column: 1 });
        assert_eq!(source.position(7), Position { line: 2, column: 1 });
        assert_eq!(source.position(14), Position { line: 2, column: 7 });
        assert_eq!(source.position(999), Position { line: 3, column: 1 });
        assert_eq!(source.lines(Span::new(0, 7)), 1..=1);
        assert_eq!(source.lines(Span::new(0, 8)), 1..=2);
    }

    #[test]
    fn message_shows_place_and_mend() {
        let source = Source::new("Dockerfile", "FROM a\r\n\tCOPPY x y\r\n");
        let text = source.render(Span::new(9, 14), "unknown instruction COPPY", Some("did you mean COPY?"));
        assert_eq!(
            text,
            "Dockerfile:2:2: unknown instruction COPPY\n   |\n 2 | \tCOPPY x y\n   | \t^^^^^\n   = did you mean COPY?"
        );
    }

    #[test]
    fn bytes_that_are_not_text_name_their_line() {
        let error = Source::from_bytes("Dockerfile", b"FROM a\nRUN \xff".to_vec()).expect_err("not UTF-8");
        assert_eq!(error.problem, Problem::NotUtf8 { line: 2 });
    }
}
