//! Wildcards in the sources of `COPY` and `ADD`, with the meaning of Go's `filepath.Match`.

use crate::glob::{Glob, Token, class};

/// A pattern of which `[` or `\` is misused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no pattern: close every [ with ] and let a character follow every \\")]
pub struct WildcardProblem {
    pub pattern: String,
}

/// A pattern: `*` and `?` within a name, `[a-z]`, `[^a-z]`, and `\` before a character taken as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wildcard {
    glob: Glob,
}

impl Wildcard {
    pub fn new(pattern: &str) -> Result<Self, WildcardProblem> {
        tokens(pattern)
            .map(|tokens| Self { glob: Glob::new(tokens) })
            .ok_or_else(|| WildcardProblem { pattern: pattern.to_owned() })
    }

    /// Whether the whole of `name` matches.
    pub fn is_match(&self, name: &str) -> bool {
        self.glob.is_match(name)
    }
}

fn tokens(pattern: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        tokens.push(match character {
            '*' => Token::StarInName,
            '?' => Token::AnyInName,
            '[' => class(&mut characters)?,
            '\\' => Token::Literal(characters.next()?),
            other => Token::Literal(other),
        });
    }
    Some(tokens)
}

/// Whether a source is a pattern. One that is not must exist.
pub fn has_wildcards(source: &str) -> bool {
    let mut characters = source.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' | '?' | '[' => return true,
            '\\' => {
                characters.next();
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_go_does() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a/b", false),
            ("a*/b", "abc/b", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a?b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("[x\\-]", "z", false),
            ("*x", "xxx", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(Wildcard::new(pattern).expect(pattern).is_match(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn malformed_patterns_are_errors() {
        for pattern in ["[", "[]a]", "[-]", "[x-]", "[-x]", "[^", "[^bc", "a[", "a\\", "[a-b-c]"] {
            assert!(Wildcard::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn wildcards_are_seen_unless_escaped() {
        assert!(has_wildcards("a*"));
        assert!(has_wildcards("[a]"));
        assert!(!has_wildcards("a\\*b"));
        assert!(!has_wildcards("plain/path"));
    }
}
