//! Splitting a logical line: keyword, flags, arguments, words.
//!
//! All positions are byte offsets in the joined text.

use std::ops::Range;

/// The white space that separates arguments; others, such as a no-break space, are part of a word.
pub(crate) const SEPARATORS: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

/// A word and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) range: Range<usize>,
}

/// A logical line in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) keyword: Range<usize>,
    pub(crate) flags: Vec<Word>,
    /// The rest, trimmed.
    pub(crate) arguments: Range<usize>,
}

/// Splits `text[within]`.
pub(crate) fn split(text: &str, within: Range<usize>, escape: char) -> Split {
    let line = trimmed(text, within);
    let keyword_end = find(text, &line, |c| SEPARATORS.contains(&c)).unwrap_or(line.end);
    let (flags, rest) = flags(text, keyword_end..line.end, escape);
    Split { keyword: line.start..keyword_end, flags, arguments: trimmed(text, rest..line.end) }
}

/// The range without white space at its ends.
pub(crate) fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = text.get(range.clone()).unwrap_or_default();
    let start = range.start + (part.len() - part.trim_start().len());
    start..start + part.trim().len()
}

fn find(text: &str, within: &Range<usize>, wanted: impl Fn(char) -> bool) -> Option<usize> {
    text.get(within.clone()).unwrap_or_default().find(wanted).map(|at| within.start + at)
}

/// The flags at the start of a range, unquoted and unescaped, and where they end. A word `--` ends them.
fn flags(text: &str, within: Range<usize>, escape: char) -> (Vec<Word>, usize) {
    let mut flags = Vec::new();
    let mut at = within.start;
    loop {
        let rest = text.get(at..within.end).unwrap_or_default();
        let word = rest.trim_start();
        at += rest.len() - word.len();
        if !word.starts_with("--") {
            return (flags, at);
        }
        let (unquoted, length) = flag_word(word, escape);
        let range = at..at + length;
        at = range.end;
        if unquoted == "--" {
            return (flags, at);
        }
        flags.push(Word { text: unquoted, range });
    }
}

/// The flag at the start of a text, and its length as written.
fn flag_word(text: &str, escape: char) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match quote {
            None if character.is_whitespace() => return (word, at),
            None if character == '\'' || character == '"' => quote = Some(character),
            Some(open) if character == open => quote = None,
            _ if character == escape => word.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => word.push(character),
        }
    }
    (word, text.len())
}

/// Words separated by white space, without regard to quotes.
pub(crate) fn plain_words(text: &str, within: Range<usize>) -> Vec<Word> {
    let mut words = Vec::new();
    let mut at = within.start;
    while at < within.end {
        let end = find(text, &(at..within.end), |c| SEPARATORS.contains(&c)).unwrap_or(within.end);
        if end > at {
            words.push(Word { text: text.get(at..end).unwrap_or_default().to_owned(), range: at..end });
        }
        let skipped = text.get(end..within.end).unwrap_or_default();
        at = end + (skipped.len() - skipped.trim_start_matches(SEPARATORS).len()).max(1);
    }
    words
}

/// Words separated by white space outside quotes; quotes and escapes are kept for the expansion.
pub(crate) fn quoted_words(text: &str, within: Range<usize>, escape: char) -> Vec<Word> {
    let part = text.get(within.clone()).unwrap_or_default();
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote = None;
    let mut characters = part.char_indices().map(|(at, character)| (within.start + at, character));
    while let Some((at, character)) = characters.next() {
        if quote.is_none() && character.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let current = word.get_or_insert_with(|| Word { text: String::new(), range: at..at });
        current.range.end = at + character.len_utf8();
        match quote {
            None if character == '\'' || character == '"' => quote = Some(character),
            Some(open) if character == open => quote = None,
            _ => {}
        }
        // Nothing can be escaped within single quotes, and an escape character at the end means nothing.
        if character == escape && quote != Some('\'') {
            let Some((at, escaped)) = characters.next() else {
                continue;
            };
            current.text.push(character);
            current.text.push(escaped);
            current.range.end = at + escaped.len_utf8();
        } else {
            current.text.push(character);
        }
    }
    words.extend(word.filter(|word| !word.text.is_empty()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &[Word]) -> Vec<&str> {
        words.iter().map(|word| word.text.as_str()).collect()
    }

    #[test]
    fn flags_are_unquoted_and_end_at_the_first_other_word() {
        let text = "  COPY --from='a b' --chown=\\ x  --link src --not-a-flag ";
        let split = split(text, 0..text.len(), '\\');
        assert_eq!(&text[split.keyword], "COPY");
        assert_eq!(texts(&split.flags), ["--from=a b", "--chown= x", "--link"]);
        assert_eq!(&text[split.arguments], "src --not-a-flag");
        assert_eq!(&text[split.flags[0].range.clone()], "--from='a b'");
    }

    #[test]
    fn two_dashes_end_the_flags() {
        let text = "RUN --network=none -- --help";
        let split = split(text, 0..text.len(), '\\');
        assert_eq!(texts(&split.flags), ["--network=none"]);
        assert_eq!(&text[split.arguments], "--help");
    }

    #[test]
    fn plain_words_ignore_quotes() {
        assert_eq!(texts(&plain_words("\"a b\"  c\u{a0}d", 0..11)), ["\"a", "b\"", "c\u{a0}d"]);
        assert!(plain_words("", 0..0).is_empty());
    }

    #[test]
    fn quoted_words_keep_quotes_and_escapes() {
        let text = r#"a="b c" d='e\' f\ g "" h\"#;
        let words = quoted_words(text, 0..text.len(), '\\');
        assert_eq!(texts(&words), ["a=\"b c\"", "d='e\\'", "f\\ g", "\"\"", "h"]);
        assert_eq!(&text[words[2].range.clone()], "f\\ g");
    }

    #[test]
    fn an_escaped_quote_opens_nothing() {
        let text = r#"a=\"b c"#;
        assert_eq!(texts(&quoted_words(text, 0..text.len(), '\\')), [r#"a=\"b"#, "c"]);
    }
}
