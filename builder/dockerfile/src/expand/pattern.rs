//! The patterns of `${name#pattern}`, `${name%pattern}` and `${name/pattern/replacement}`: `*` and `?`, no brackets.

use super::ExpandProblem;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`: any character but a line end.
    Any,
    /// `*`: any text within a line.
    Star,
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
}

/// Which text `*` takes when several fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Shortest,
    Longest,
}

impl Pattern {
    pub(super) fn compile(pattern: &str) -> Result<Self, ExpandProblem> {
        let mut tokens = Vec::new();
        let mut characters = pattern.chars();
        while let Some(character) = characters.next() {
            let token = match character {
                '*' => Token::Star,
                '?' => Token::Any,
                '\\' => match characters.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => Token::Literal(escaped),
                    _ => return Err(ExpandProblem::Pattern { pattern: pattern.to_owned() }),
                },
                other => Token::Literal(other),
            };
            // Two stars match what one does.
            if token != Token::Star || tokens.last() != Some(&Token::Star) {
                tokens.push(token);
            }
        }
        Ok(Self { tokens })
    }

    /// Where a match that starts at `start` ends.
    fn match_at(&self, text: &[char], start: usize, length: Length) -> Option<usize> {
        // Where the rest of the pattern can start, for the start of the pattern and for after each star; from the
        // last to the first. One row per star keeps this linear in memory for usual patterns.
        let pieces: Vec<&[Token]> = self.tokens.split(|token| *token == Token::Star).collect();
        let (last, leading) = pieces.split_last()?;
        let mut rows: Vec<Vec<bool>> = Vec::with_capacity(pieces.len());
        rows.push((0..=text.len()).map(|at| piece_end(last, text, at).is_some()).collect());
        for piece in leading.iter().rev() {
            let after = rows.last()?;
            // Whether a star that starts at a place can reach one where the next piece fits.
            let mut reach = vec![false; text.len() + 1];
            for at in (0..=text.len()).rev() {
                let further = text.get(at).is_some_and(|c| *c != '\n') && reach.get(at + 1) == Some(&true);
                if let Some(cell) = reach.get_mut(at) {
                    *cell = further || after.get(at) == Some(&true);
                }
            }
            let row = (0..=text.len())
                .map(|at| piece_end(piece, text, at).is_some_and(|end| reach.get(end) == Some(&true)))
                .collect();
            rows.push(row);
        }
        if rows.last()?.get(start) != Some(&true) {
            return None;
        }
        let mut at = piece_end(pieces.first()?, text, start)?;
        for (piece, row) in pieces.iter().skip(1).zip(rows.iter().rev().skip(1)) {
            let line_end =
                text.get(at..)?.iter().position(|c| *c == '\n').map_or(text.len(), |found| at + found);
            let mut fitting = (at..=line_end).filter(|place| row.get(*place) == Some(&true));
            let place = match length {
                Length::Shortest => fitting.next(),
                Length::Longest => fitting.next_back(),
            }?;
            at = piece_end(piece, text, place)?;
        }
        Some(at)
    }

    /// Drops a match at the start of `value`.
    pub(super) fn strip_prefix(&self, value: &str, length: Length) -> String {
        let text: Vec<char> = value.chars().collect();
        let end = self.match_at(&text, 0, length).unwrap_or_default();
        text.iter().skip(end).collect()
    }

    /// Drops a match at the end of `value`.
    pub(super) fn strip_suffix(&self, value: &str, length: Length) -> String {
        let backwards = Self { tokens: self.tokens.iter().rev().copied().collect() };
        let text: Vec<char> = value.chars().rev().collect();
        let end = backwards.match_at(&text, 0, length).unwrap_or_default();
        text.iter().skip(end).rev().collect()
    }

    /// Puts `replacement` in place of the first match or of all; `None` when the result exceeds `limit` bytes.
    pub(super) fn replace(&self, value: &str, replacement: &str, all: bool, limit: usize) -> Option<String> {
        let text: Vec<char> = value.chars().collect();
        let mut out = String::with_capacity(value.len());
        let mut at = 0;
        // An empty match right behind a match is none.
        let mut previous_end = None;
        let mut replacing = true;
        while at <= text.len() {
            let found = if replacing { self.match_at(&text, at, Length::Longest) } else { None };
            if let Some(end) = found.filter(|end| *end > at || previous_end != Some(at)) {
                if out.len() + replacement.len() > limit {
                    return None;
                }
                out.push_str(replacement);
                replacing = all;
                previous_end = Some(end);
                if end > at {
                    at = end;
                    continue;
                }
            }
            out.extend(text.get(at));
            at += 1;
        }
        Some(out)
    }
}

/// The end of a piece without stars that starts at `at`.
fn piece_end(piece: &[Token], text: &[char], at: usize) -> Option<usize> {
    let place = text.get(at..at + piece.len())?;
    let fits = piece.iter().zip(place).all(|(token, character)| match token {
        Token::Literal(wanted) => wanted == character,
        Token::Any => *character != '\n',
        Token::Star => false,
    });
    fits.then_some(at + piece.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::compile(text).expect("a pattern")
    }

    #[test]
    fn prefixes() {
        for (value, text, shortest, longest) in [
            ("foo/bar/baz", "*/", "bar/baz", "baz"),
            ("aab", "a", "ab", "ab"),
            ("abc", "x*", "abc", "abc"),
            ("abc", "*", "abc", ""),
            ("a*b", "a\\*", "b", "b"),
            ("xyz", "??", "z", "z"),
            ("a\nb", "*b", "a\nb", "a\nb"),
            ("abcabc", "*b*c", "abc", ""),
        ] {
            assert_eq!(pattern(text).strip_prefix(value, Length::Shortest), shortest, "{value} # {text}");
            assert_eq!(pattern(text).strip_prefix(value, Length::Longest), longest, "{value} ## {text}");
        }
    }

    #[test]
    fn suffixes() {
        for (value, text, shortest, longest) in [
            ("a.tar.gz", ".*", "a.tar", "a"),
            ("abc", "c", "ab", "ab"),
            ("abab", "a*", "ab", ""),
            ("", "*", "", ""),
        ] {
            assert_eq!(pattern(text).strip_suffix(value, Length::Shortest), shortest, "{value} % {text}");
            assert_eq!(pattern(text).strip_suffix(value, Length::Longest), longest, "{value} %% {text}");
        }
    }

    #[test]
    fn replacements() {
        for (value, text, replacement, first, all) in [
            ("a.b.c", ".", "-", "a-b.c", "a-b-c"),
            ("abc", "*", "x", "x", "x"),
            ("abc", "", "-", "-abc", "-a-b-c-"),
            ("aaa", "a", "", "aa", ""),
            ("xaxb", "x?", "$1", "$1xb", "$1$1"),
        ] {
            assert_eq!(
                pattern(text).replace(value, replacement, false, 99).as_deref(),
                Some(first),
                "{value}/{text}"
            );
            assert_eq!(
                pattern(text).replace(value, replacement, true, 99).as_deref(),
                Some(all),
                "{value}//{text}"
            );
        }
    }

    #[test]
    fn replacing_is_bounded() {
        assert_eq!(pattern("?").replace("aaaa", "xx", true, 7), None);
        assert_eq!(pattern("?").replace("aaaa", "xx", true, 8).as_deref(), Some("xxxxxxxx"));
    }

    #[test]
    fn bad_escapes_are_errors() {
        assert!(Pattern::compile("\\a").is_err());
        assert!(Pattern::compile("a\\").is_err());
    }
}
