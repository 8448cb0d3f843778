//! Physical lines joined into logical ones.
//!
//! A logical line knows which byte of the source each of its bytes came from, so a span in the joined text becomes a
//! span in the source.

use crate::ast::{Warning, WarningKind};
use crate::directive::Directives;
use crate::error::{Error, Problem};
use crate::source::{Span, Spanned};

const BYTE_ORDER_MARK: char = '\u{feff}';

/// A run of joined text that is contiguous in the source.
#[derive(Debug, Clone, Copy)]
struct Segment {
    joined: usize,
    source: usize,
}

/// An instruction with its continuation lines joined.
#[derive(Debug, Clone)]
pub(crate) struct LogicalLine {
    pub(crate) text: String,
    segments: Vec<Segment>,
    /// From the first character of the instruction to the end of its last line.
    pub(crate) span: Span,
}

impl LogicalLine {
    /// The source span of a range of the joined text.
    pub(crate) fn source_span(&self, start: usize, end: usize) -> Span {
        let first = self.source_offset(start);
        let last = match end.checked_sub(1) {
            Some(last) if end > start => self.source_offset(last) + 1,
            _ => first,
        };
        let limit = self.span.end;
        Span::new(first.min(limit), last.clamp(first.min(limit), limit))
    }

    /// The text of a range with its place.
    pub(crate) fn spanned(&self, start: usize, end: usize) -> Spanned<String> {
        Spanned::new(self.text.get(start..end).unwrap_or_default().to_owned(), self.source_span(start, end))
    }

    fn source_offset(&self, joined: usize) -> usize {
        let after = self.segments.partition_point(|segment| segment.joined <= joined);
        match after.checked_sub(1).and_then(|index| self.segments.get(index)) {
            Some(segment) => segment.source + (joined - segment.joined),
            None => self.span.start,
        }
    }
}

/// Reads lines in order: the directives first, then logical lines, and here-document bodies between them.
#[derive(Debug)]
pub(crate) struct LineReader<'a> {
    text: &'a str,
    offset: usize,
    /// Whether only directives were seen so far.
    at_head: bool,
    pub(crate) directives: Directives,
    pub(crate) warnings: Vec<Warning>,
}

impl<'a> LineReader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let offset = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
        Self { text, offset, at_head: true, directives: Directives::default(), warnings: Vec::new() }
    }

    /// The next line as written, with its end, and where it starts.
    pub(crate) fn next_physical(&mut self) -> Option<(&'a str, usize)> {
        let rest = self.text.get(self.offset..)?;
        if rest.is_empty() {
            return None;
        }
        let line = rest.split_inclusive('\n').next()?;
        let start = self.offset;
        self.offset += line.len();
        Some((line, start))
    }

    /// The next instruction, without comments and blank lines.
    pub(crate) fn next_logical(&mut self) -> Result<Option<LogicalLine>, Error> {
        loop {
            let Some((raw, offset)) = self.next_physical() else {
                return Ok(None);
            };
            let line = trim_end_of_line(raw);
            let trimmed = line.trim_start();
            let start = offset + (line.len() - trimmed.len());
            self.at_head = self.at_head && self.directives.read(trimmed, start)?;
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            return self.join(trimmed, start).map(Some);
        }
    }

    fn join(&mut self, first: &str, start: usize) -> Result<LogicalLine, Error> {
        let escape = self.directives.escape_character();
        let mut logical =
            LogicalLine { text: String::new(), segments: Vec::new(), span: Span::new(start, start) };
        let (mut line, mut offset) = (first, start);
        loop {
            let (kept, continues) = strip_continuation(line, escape);
            logical.segments.push(Segment { joined: logical.text.len(), source: offset });
            logical.text.push_str(kept);
            logical.span.end = offset + line.len();
            if !continues {
                break;
            }
            let Some((next, at)) = self.next_continuation() else {
                break;
            };
            (line, offset) = (next, at);
        }
        if logical.text.trim().is_empty() {
            return Err(Error::new(Problem::EmptyInstruction, logical.span));
        }
        Ok(logical)
    }

    /// The next line that is neither blank nor a comment.
    fn next_continuation(&mut self) -> Option<(&'a str, usize)> {
        while let Some((raw, offset)) = self.next_physical() {
            let line = trim_end_of_line(raw);
            let content = line.trim_start();
            if content.starts_with('#') {
                continue;
            }
            if content.is_empty() {
                let span = Span::new(offset, offset + line.len());
                self.warnings.push(Warning { kind: WarningKind::EmptyContinuation, span });
                continue;
            }
            return Some((line, offset));
        }
        None
    }
}

pub(crate) fn trim_end_of_line(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// The line without a trailing escape character, and whether there was one. An escaped escape character continues
/// nothing.
fn strip_continuation(line: &str, escape: char) -> (&str, bool) {
    let content = line.trim_end_matches([' ', '\t']);
    match content.strip_suffix(escape) {
        Some(kept) if !kept.ends_with(escape) => (kept, true),
        _ => (line, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logical(text: &str) -> Vec<LogicalLine> {
        let mut reader = LineReader::new(text);
        std::iter::from_fn(|| reader.next_logical().expect("lines")).collect()
    }

    #[test]
    fn continuations_skip_comments_and_blank_lines() {
        let text = "RUN a \\\n  # note\n\n   b \\ \n c\nENV x\\\\\nUSER u";
        let lines = logical(text);
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["RUN a    b  c", "ENV x\\\\", "USER u"]);
    }

    #[test]
    fn spans_of_joined_text_point_into_the_source() {
        let text = "# c\n  RUN a \\\n# note\n bcd";
        let lines = logical(text);
        let line = lines.first().expect("a line");
        let at = line.text.find("bcd").expect("joined");
        let span = line.source_span(at, at + 3);
        assert_eq!(&text[span.start..span.end], "bcd");
        let span = line.source_span(0, 3);
        assert_eq!(&text[span.start..span.end], "RUN");
        assert_eq!(line.span, Span::new(6, text.len()));
    }

    #[test]
    fn byte_order_mark_and_carriage_returns_are_dropped() {
        let lines = logical("\u{feff}# escape=`\r\nRUN a `\r\n b\r\n");
        assert_eq!(lines.first().expect("a line").text, "RUN a  b");
    }

    #[test]
    fn directives_end_at_the_first_other_line() {
        let mut reader = LineReader::new("\n# escape=`\nRUN a\n");
        reader.next_logical().expect("a line");
        assert_eq!(reader.directives, Directives::default());
    }

    #[test]
    fn escape_without_an_instruction_is_an_error() {
        let error = LineReader::new("\\\n  \n").next_logical().expect_err("nothing follows");
        assert_eq!(error, Error::new(Problem::EmptyInstruction, Span::new(0, 1)));
    }
}
