//! Here-documents: finding their opening words and reading their bodies.

use crate::ast::Heredoc;
use crate::error::{Error, Problem};
use crate::expand::{Expander, Quotes};
use crate::lines::{LineReader, LogicalLine, trim_end_of_line};
use crate::source::Span;

/// An opening word, `[n]<<[-]NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) name: String,
    pub(crate) descriptor: u32,
    pub(crate) expand: bool,
    pub(crate) strip_tabs: bool,
}

impl Opening {
    /// Reads a word; `None` when it opens no here-document.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        let digits = word.bytes().take_while(u8::is_ascii_digit).count();
        let (descriptor, rest) = word.split_at(digits);
        let rest = rest.strip_prefix("<<")?;
        let (strip_tabs, rest) = match rest.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let written = rest.trim_start();
        if written.is_empty() || written.contains('<') {
            return None;
        }
        let name = single_word(written, Quotes::Remove)?;
        let quoted = single_word(written, Quotes::Keep)?;
        let quotes = |text: &str| text.matches(['\'', '"']).count();
        let expand = quotes(&name) == quotes(&quoted);
        Some(Self { descriptor: descriptor.parse().unwrap_or_default(), name, expand, strip_tabs })
    }

    /// The opening words of a line in the order their bodies follow. A line the shell could not read opens none: it
    /// is left to the shell to say what is wrong.
    pub(crate) fn find(line: &str) -> Vec<Self> {
        if !line.contains("<<") {
            return Vec::new();
        }
        let expander = Expander::new('\\').quotes(Quotes::Keep).keep_escapes().keep_unset();
        let words = expander.words(line, &[]).unwrap_or_default();
        words.iter().filter_map(|word| Self::parse(word)).collect()
    }
}

fn single_word(text: &str, quotes: Quotes) -> Option<String> {
    let mut words = Expander::new('\\').quotes(quotes).keep_unset().words(text, &[]).ok()?;
    let word = words.pop()?;
    words.is_empty().then_some(word)
}

/// Reads the bodies that follow `line`, and moves the end of its span behind them.
pub(crate) fn read_bodies(
    reader: &mut LineReader<'_>,
    line: &mut LogicalLine,
) -> Result<Vec<Heredoc>, Error> {
    let opening_span = line.span;
    let mut bodies = Vec::new();
    for opening in Opening::find(&line.text) {
        let mut content = String::new();
        let mut body: Option<Span> = None;
        loop {
            let Some((raw, offset)) = reader.next_physical() else {
                return Err(Error::new(Problem::HeredocUnterminated { name: opening.name }, opening_span));
            };
            let end = offset + trim_end_of_line(raw).len();
            let span = body.get_or_insert(Span::new(offset, offset));
            let mut closing = trim_end_of_line(raw);
            if opening.strip_tabs {
                closing = closing.trim_start_matches('\t');
            }
            if closing == opening.name {
                span.end = offset;
                line.span.end = end;
                break;
            }
            content.push_str(raw);
        }
        bodies.push(Heredoc {
            name: opening.name,
            descriptor: opening.descriptor,
            expand: opening.expand,
            strip_tabs: opening.strip_tabs,
            content,
            span: body.unwrap_or(opening_span),
        });
    }
    Ok(bodies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_words() {
        let opening = |name: &str, descriptor, expand, strip_tabs| {
            Some(Opening { name: name.to_owned(), descriptor, expand, strip_tabs })
        };
        assert_eq!(Opening::parse("<<EOF"), opening("EOF", 0, true, false));
        assert_eq!(Opening::parse("3<<-EOF"), opening("EOF", 3, true, true));
        assert_eq!(Opening::parse("<<'EOF'"), opening("EOF", 0, false, false));
        assert_eq!(Opening::parse("<<E\"O\"F"), opening("EOF", 0, false, false));
        assert_eq!(Opening::parse("<<\\'EOF\\'"), opening("'EOF'", 0, true, false));
        for other in ["<EOF", "<<", "<<<EOF", "a<<EOF", "<<a<b", "<<-", "<<'a"] {
            assert_eq!(Opening::parse(other), None, "{other}");
        }
    }

    #[test]
    fn opening_words_of_a_line() {
        let names = |line: &str| -> Vec<String> { Opening::find(line).into_iter().map(|o| o.name).collect() };
        assert_eq!(names("RUN cat <<A 3<<-B && x"), ["A", "B"]);
        assert_eq!(names("RUN cat << EOF"), ["EOF"]);
        assert_eq!(names("RUN cat \"<<EOF\""), Vec::<String>::new());
        assert_eq!(names("RUN cat '<<EOF"), Vec::<String>::new());
        assert_eq!(names("RUN cat <<$X"), ["$X"]);
    }
}
