//! The walk over a text that expands it.

use std::collections::BTreeSet;

use super::pattern::{Length, Pattern};
use super::{ExpandProblem, Expander, Quotes, Variables};

/// Deepest nesting of `${a:-${b:-...}}`: far beyond what anyone writes, well within a thread's stack.
const MAX_NESTING: usize = 64;

/// Longest result in bytes. Doubling a variable forty times would else fill the memory; a kernel takes no variable
/// above 128 KiB, and the body of a here-document is nowhere near this.
const MAX_LENGTH: usize = 16 << 20;

/// How a part of the text is to be read; it differs within `${...}`.
#[derive(Debug, Clone, Copy)]
struct Mode {
    keep_escapes: bool,
    /// The part is a pattern that is read once more: literal escape characters within quotes are doubled.
    pattern: bool,
    depth: usize,
}

/// Collects words; what quotes and escapes give never ends one.
#[derive(Debug, Default)]
struct Words {
    current: String,
    done: Vec<String>,
}

impl Words {
    fn push(&mut self, character: char) {
        if character.is_whitespace() {
            self.end();
        } else {
            self.current.push(character);
        }
    }

    fn end(&mut self) {
        if !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
        }
    }
}

fn check_length(result: &str, added: &str) -> Result<(), ExpandProblem> {
    if result.len() + added.len() > MAX_LENGTH {
        return Err(ExpandProblem::TooLong { limit: MAX_LENGTH });
    }
    Ok(())
}

pub(super) struct Walker<'a> {
    expander: Expander,
    text: &'a str,
    characters: Vec<char>,
    at: usize,
    variables: &'a dyn Variables,
    pub(super) used: BTreeSet<String>,
    pub(super) unset: BTreeSet<String>,
}

impl<'a> Walker<'a> {
    pub(super) fn new(expander: Expander, text: &'a str, variables: &'a dyn Variables) -> Self {
        let characters = text.chars().collect();
        Self { expander, text, characters, at: 0, variables, used: BTreeSet::new(), unset: BTreeSet::new() }
    }

    /// Expands the whole text, as one text and as words.
    pub(super) fn run(&mut self) -> Result<(String, Vec<String>), ExpandProblem> {
        let mode = Mode { keep_escapes: self.expander.keep_escapes, pattern: false, depth: 0 };
        self.until(None, mode)
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek();
        self.at += usize::from(character.is_some());
        character
    }

    fn text(&self) -> String {
        self.text.to_owned()
    }

    /// Reads up to and including `stop`, or to the end.
    fn until(&mut self, stop: Option<char>, mode: Mode) -> Result<(String, Vec<String>), ExpandProblem> {
        let mut result = String::new();
        let mut words = Words::default();
        loop {
            let Some(character) = self.peek() else {
                if stop.is_some() {
                    return Err(ExpandProblem::OpenBrace { text: self.text() });
                }
                break;
            };
            if Some(character) == stop {
                self.next();
                break;
            }
            let quotes = self.expander.quotes != Quotes::Ordinary;
            match character {
                '$' => {
                    let value = self.dollar(mode)?;
                    check_length(&result, &value)?;
                    value.chars().for_each(|character| words.push(character));
                    result.push_str(&value);
                }
                '<' => {
                    let value = self.heredoc_opening();
                    words.current.push_str(&value);
                    result.push_str(&value);
                }
                '\'' | '"' if quotes => {
                    let value =
                        if character == '"' { self.double_quote(mode)? } else { self.single_quote(mode)? };
                    words.current.push_str(&value);
                    result.push_str(&value);
                }
                _ if character == self.expander.escape => {
                    self.next();
                    let kept = mode.keep_escapes.then_some(character);
                    let escaped = self.next();
                    for character in kept.into_iter().chain(escaped) {
                        words.current.push(character);
                        result.push(character);
                    }
                }
                _ => {
                    self.next();
                    words.push(character);
                    result.push(character);
                }
            }
        }
        words.end();
        Ok((result, words.done))
    }

    /// `<`, or `<<` with the white space behind it, so that `<< EOF` is one word.
    fn heredoc_opening(&mut self) -> String {
        let mut opening = String::from('<');
        self.next();
        if self.peek() == Some('<') {
            opening.extend(self.next());
            while matches!(self.peek(), Some('\t' | '\r' | ' ')) {
                opening.extend(self.next());
            }
        }
        opening
    }

    fn kept_quote(&self, quote: char) -> Option<char> {
        (self.expander.quotes == Quotes::Keep).then_some(quote)
    }

    fn single_quote(&mut self, mode: Mode) -> Result<String, ExpandProblem> {
        let mut result = String::from_iter(self.kept_quote('\''));
        self.next();
        loop {
            match self.next() {
                None => return Err(ExpandProblem::OpenQuote { quote: "single", text: self.text() }),
                Some('\'') => break,
                Some(character) => {
                    if mode.pattern && character == self.expander.escape {
                        result.push(character);
                    }
                    result.push(character);
                }
            }
        }
        result.extend(self.kept_quote('\''));
        Ok(result)
    }

    fn double_quote(&mut self, mode: Mode) -> Result<String, ExpandProblem> {
        let escape = self.expander.escape;
        let mut result = String::from_iter(self.kept_quote('"'));
        self.next();
        loop {
            match self.peek() {
                None => return Err(ExpandProblem::OpenQuote { quote: "double", text: self.text() }),
                Some('"') => break,
                Some('$') => {
                    let value = self.dollar(mode)?;
                    check_length(&result, &value)?;
                    result.push_str(&value);
                }
                Some(character) if character == escape => {
                    self.next();
                    match self.peek() {
                        None => {}
                        // Only these can be escaped here; before others the escape character is an ordinary one.
                        Some(escaped) if escaped == '"' || escaped == '$' || escaped == escape => {
                            result.extend(mode.keep_escapes.then_some(escape));
                            result.extend(self.next());
                        }
                        Some(_) => {
                            let doubled =
                                mode.keep_escapes && (self.expander.quotes != Quotes::Keep || mode.pattern);
                            result.extend(doubled.then_some(escape));
                            result.push(escape);
                        }
                    }
                }
                Some(character) => {
                    self.next();
                    result.push(character);
                }
            }
        }
        self.next();
        result.extend(self.kept_quote('"'));
        Ok(result)
    }

    fn lookup(&mut self, name: &str) -> Option<String> {
        let value = self.variables.value(name).map(str::to_owned);
        let names = if value.is_some() { &mut self.used } else { &mut self.unset };
        names.insert(name.to_owned());
        value
    }

    /// A name, a number or one of the shell's special parameters; empty when there is none.
    fn name(&mut self) -> String {
        match self.peek() {
            Some(first) if first.is_numeric() => self.take_while(char::is_numeric),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => String::from_iter(self.next()),
            _ => self.take_while(|character| character.is_alphanumeric() || character == '_'),
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while self.peek().is_some_and(&wanted) {
            taken.extend(self.next());
        }
        taken
    }

    /// `$name` or `${...}`.
    fn dollar(&mut self, mode: Mode) -> Result<String, ExpandProblem> {
        if mode.depth >= MAX_NESTING {
            return Err(ExpandProblem::TooDeep { limit: MAX_NESTING });
        }
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.lookup(&name) {
                None if self.expander.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        self.next();
        match self.peek() {
            None => return Err(ExpandProblem::OpenBrace { text: self.text() }),
            Some('{' | '}' | ':') => return Err(ExpandProblem::NoName { text: self.text() }),
            Some(_) => {}
        }
        let name = self.name();
        match self.next() {
            None => Err(ExpandProblem::OpenBrace { text: self.text() }),
            Some('}') => Ok(match self.lookup(&name) {
                None if self.expander.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            Some(':') => match self.next() {
                None => Err(ExpandProblem::OpenBrace { text: self.text() }),
                Some(operator @ ('-' | '+' | '?')) => self.alternative(&name, operator, true, mode),
                Some(other) => Err(ExpandProblem::Modifier { name, modifier: format!(":{other}") }),
            },
            Some(operator @ ('-' | '+' | '?')) => self.alternative(&name, operator, false, mode),
            Some(operator @ ('#' | '%')) => self.trimmed(&name, operator, mode),
            Some('/') => self.replaced(name, mode),
            Some(other) => Err(ExpandProblem::Modifier { name, modifier: other.to_string() }),
        }
    }

    /// `${name-word}`, `${name+word}`, `${name?word}`, and the same with a colon, for which empty is unset.
    fn alternative(
        &mut self,
        name: &str,
        operator: char,
        colon: bool,
        mode: Mode,
    ) -> Result<String, ExpandProblem> {
        let inner = Mode { keep_escapes: false, pattern: false, depth: mode.depth + 1 };
        let (word, _) = self.until(Some('}'), inner)?;
        let value = self.lookup(name);
        if value.is_none() && self.expander.keep_unset {
            let colon = if colon { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        let unset = value.is_none();
        let present = value.filter(|value| !(colon && value.is_empty()));
        match (operator, present) {
            ('+', Some(_)) | ('-', None) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            (_, None) => {
                let message = match (word.is_empty(), unset) {
                    (false, _) => word,
                    (true, true) => "is not allowed to be unset".to_owned(),
                    (true, false) => "is not allowed to be empty".to_owned(),
                };
                Err(ExpandProblem::Required { name: name.to_owned(), message })
            }
        }
    }

    /// `${name#pattern}`, `##`, `%`, `%%`.
    fn trimmed(&mut self, name: &str, operator: char, mode: Mode) -> Result<String, ExpandProblem> {
        let inner = Mode { keep_escapes: true, pattern: true, depth: mode.depth + 1 };
        let (word, _) = self.until(Some('}'), inner)?;
        let value = match self.lookup(name) {
            None if self.expander.keep_unset => return Ok(format!("${{{name}{operator}{word}}}")),
            value => value.unwrap_or_default(),
        };
        let (pattern, length) = match word.strip_prefix(operator) {
            Some(pattern) => (pattern, Length::Longest),
            None => (word.as_str(), Length::Shortest),
        };
        let pattern = Pattern::compile(pattern)?;
        Ok(if operator == '#' {
            pattern.strip_prefix(&value, length)
        } else {
            pattern.strip_suffix(&value, length)
        })
    }

    /// `${name/pattern/replacement}` and `//`.
    fn replaced(&mut self, name: String, mode: Mode) -> Result<String, ExpandProblem> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let inner = Mode { keep_escapes: true, pattern: true, depth: mode.depth + 1 };
        let (pattern, _) = self.until(Some('/'), inner).map_err(|problem| match problem {
            ExpandProblem::OpenBrace { .. } if self.peek().is_none() => {
                ExpandProblem::OpenPattern { name: name.clone() }
            }
            other => other,
        })?;
        let (replacement, _) = self.until(Some('}'), Mode { pattern: false, ..inner })?;
        let value = match self.lookup(&name) {
            None if self.expander.keep_unset => {
                let slashes = if all { "//" } else { "/" };
                return Ok(format!("${{{name}{slashes}{pattern}/{replacement}}}"));
            }
            value => value.unwrap_or_default(),
        };
        let pattern = Pattern::compile(&pattern)?;
        let replaced = pattern.replace(&value, &replacement, all, MAX_LENGTH);
        replaced.ok_or(ExpandProblem::TooLong { limit: MAX_LENGTH })
    }
}
