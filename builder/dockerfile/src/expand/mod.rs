//! Variable expansion and quote removal, as the Dockerfile's own shell-like lexer does them.
//!
//! Total: any text gives a result or a [`ExpandProblem`], and nesting is bounded.

mod pattern;
mod walker;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::suggest::nearest;

/// Where variables are looked up.
pub trait Variables {
    fn value(&self, name: &str) -> Option<&str>;
}

impl Variables for [(String, String)] {
    fn value(&self, name: &str) -> Option<&str> {
        self.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl<const N: usize> Variables for [(String, String); N] {
    fn value(&self, name: &str) -> Option<&str> {
        self.as_slice().value(name)
    }
}

/// Why a text cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandProblem {
    #[error("a {quote} quote is not closed in {text:?}")]
    OpenQuote { quote: &'static str, text: String },
    #[error("a ${{ is not closed in {text:?}")]
    OpenBrace { text: String },
    #[error("a / is missing in ${{{name}/pattern/replacement}}")]
    OpenPattern { name: String },
    #[error("${{ is not followed by a name in {text:?}")]
    NoName { text: String },
    #[error("${{{name}{modifier}...}} is no form of substitution")]
    Modifier { name: String, modifier: String },
    #[error("{pattern:?} is no pattern: \\ may stand before * ? \\ / and }} only")]
    Pattern { pattern: String },
    #[error("{name}: {message}")]
    Required { name: String, message: String },
    #[error("variables are nested more than {limit} deep")]
    TooDeep { limit: usize },
    #[error("the text grows beyond {limit} bytes when its variables are expanded")]
    TooLong { limit: usize },
}

impl ExpandProblem {
    pub(crate) fn mend(&self) -> Option<String> {
        match self {
            Self::OpenQuote { .. } => Some("close it, or put the escape character before it".to_owned()),
            Self::OpenBrace { .. } => Some("close it with }".to_owned()),
            Self::Modifier { modifier, .. } => {
                match nearest(modifier, [":-", ":+", ":?", "##", "%%", "//"]) {
                    Some(form) => Some(format!("did you mean {form}?")),
                    None => Some("use :- - :+ + :? ? # ## % %% / or //".to_owned()),
                }
            }
            Self::Required { name, .. } => {
                Some(format!("give it a value, for example --build-arg {name}=VALUE"))
            }
            Self::OpenPattern { .. }
            | Self::NoName { .. }
            | Self::Pattern { .. }
            | Self::TooDeep { .. }
            | Self::TooLong { .. } => None,
        }
    }
}

/// What becomes of quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// They group, and are removed.
    Remove,
    /// They group, and are kept.
    Keep,
    /// They are characters like any other.
    Ordinary,
}

/// An expanded text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expansion {
    pub text: String,
    /// Names that were looked up and found.
    pub used: BTreeSet<String>,
    /// Names that were looked up in vain.
    pub unset: BTreeSet<String>,
}

/// How to expand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expander {
    escape: char,
    quotes: Quotes,
    keep_escapes: bool,
    keep_unset: bool,
}

impl Expander {
    /// For the arguments of instructions, with the escape character of the file.
    pub fn new(escape: char) -> Self {
        Self { escape, quotes: Quotes::Remove, keep_escapes: false, keep_unset: false }
    }

    /// For the bodies of here-documents: quotes are ordinary, and the escape character is always `\`.
    pub fn for_heredoc() -> Self {
        Self::new('\\').quotes(Quotes::Ordinary)
    }

    pub(crate) fn quotes(mut self, quotes: Quotes) -> Self {
        self.quotes = quotes;
        self
    }

    /// Leaves escape characters where they are.
    pub(crate) fn keep_escapes(mut self) -> Self {
        self.keep_escapes = true;
        self
    }

    /// Leaves variables that are not set as they are written.
    pub(crate) fn keep_unset(mut self) -> Self {
        self.keep_unset = true;
        self
    }

    /// Expands a text to one text; white space stays.
    pub fn word(
        &self,
        text: &str,
        variables: &(impl Variables + ?Sized),
    ) -> Result<Expansion, ExpandProblem> {
        let mut walker = walker::Walker::new(*self, text, &variables);
        let (text, _) = walker.run()?;
        Ok(Expansion { text, used: walker.used, unset: walker.unset })
    }

    /// Expands a text and splits it at white space outside quotes; values split too.
    pub fn words(
        &self,
        text: &str,
        variables: &(impl Variables + ?Sized),
    ) -> Result<Vec<String>, ExpandProblem> {
        walker::Walker::new(*self, text, &variables).run().map(|(_, words)| words)
    }
}

impl<V: Variables + ?Sized> Variables for &V {
    fn value(&self, name: &str) -> Option<&str> {
        (**self).value(name)
    }
}
