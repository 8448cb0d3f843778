//! The matcher under both ignore files and the wildcards of `COPY`.
//!
//! A pattern is a list of states that a text is led through, so matching is linear in the text for any pattern.

/// What one step of a pattern takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Literal(char),
    /// `?`: one character of a name.
    AnyInName,
    /// `*`: any part of a name.
    StarInName,
    /// Any text, `/` included.
    Anything,
    /// The entry of `**/`, which may be skipped; [`Token::WithinDirectories`] must follow.
    Directories,
    /// Any text that ends in `/`.
    WithinDirectories,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Token {
    /// Whether the state may be left without taking anything.
    fn skipped(&self) -> Option<usize> {
        match self {
            Self::StarInName | Self::Anything => Some(1),
            Self::Directories => Some(2),
            _ => None,
        }
    }

    /// Whether the state stays when it takes `character`, and whether it can be left with it.
    fn take(&self, character: char) -> (bool, bool) {
        match self {
            Self::Literal(wanted) => (false, *wanted == character),
            Self::AnyInName => (false, character != '/'),
            Self::StarInName => (character != '/', false),
            Self::Anything => (true, false),
            Self::Directories => (false, false),
            Self::WithinDirectories => (true, character == '/'),
            Self::Class { negated, ranges } => {
                (false, ranges.iter().any(|(low, high)| (low..=high).contains(&&character)) != *negated)
            }
        }
    }
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
}

impl Glob {
    pub(crate) fn new(tokens: Vec<Token>) -> Self {
        Self { tokens }
    }

    /// Whether the whole of `text` matches.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.states_after(text).last() == Some(&true)
    }

    /// Whether some text that starts with `prefix` matches.
    pub(crate) fn may_match_longer(&self, prefix: &str) -> bool {
        self.states_after(prefix).contains(&true)
    }

    /// Which states the pattern can be in when it has taken `text`; the last one is the end of the pattern.
    fn states_after(&self, text: &str) -> Vec<bool> {
        let mut states = vec![false; self.tokens.len() + 1];
        set(&mut states, 0);
        self.close(&mut states);
        for character in text.chars() {
            let mut next = vec![false; states.len()];
            for (at, token) in self.tokens.iter().enumerate() {
                if states.get(at) == Some(&true) {
                    let (stays, leaves) = token.take(character);
                    if stays {
                        set(&mut next, at);
                    }
                    if leaves {
                        set(&mut next, at + 1);
                    }
                }
            }
            self.close(&mut next);
            states = next;
        }
        states
    }

    fn close(&self, states: &mut [bool]) {
        for (at, token) in self.tokens.iter().enumerate() {
            if states.get(at) != Some(&true) {
                continue;
            }
            if let Some(skip) = token.skipped() {
                set(states, at + skip);
            }
            if *token == Token::Directories {
                set(states, at + 1);
            }
        }
    }
}

fn set(states: &mut [bool], at: usize) {
    if let Some(state) = states.get_mut(at) {
        *state = true;
    }
}

/// Reads what follows a `[`, up to and including `]`; `None` when it is malformed.
pub(crate) fn class(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = characters.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    while ranges.is_empty() || characters.next_if_eq(&']').is_none() {
        let low = class_character(characters)?;
        let high = if characters.next_if_eq(&'-').is_some() { class_character(characters)? } else { low };
        ranges.push((low, high));
    }
    Some(Token::Class { negated, ranges })
}

fn class_character(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match characters.next()? {
        '-' | ']' => None,
        '\\' => characters.next(),
        other => Some(other),
    }
}
