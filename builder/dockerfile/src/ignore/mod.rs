//! `.dockerignore`: which paths of the build context are left out.
//!
//! The rules are those of Docker, not of Git: patterns are anchored at the context, the last match wins, `!` takes a
//! path back in, and what decides about a directory decides about everything in it.
//!
//! A rule that could not change the verdict on a directory does not decide about it, nor about its content by its
//! name: `dir/**` and then `!dir` leave the content out, for `dir` itself was never left out. BuildKit reads the files
//! so, and images must not depend on who builds them.

#[cfg(test)]
mod tests;

use crate::glob::{Glob, Token, class};

/// A line that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {pattern:?} is no pattern: {reason}")]
pub struct IgnoreProblem {
    /// Counted from one.
    pub line: usize,
    pub pattern: String,
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    glob: Glob,
    /// Written with `!`: takes paths back in.
    exception: bool,
}

/// A parsed ignore file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IgnoreFile {
    rules: Vec<Rule>,
}

impl IgnoreFile {
    pub fn parse(text: &str) -> Result<Self, IgnoreProblem> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rules = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let pattern = line.trim();
            if pattern.is_empty() {
                continue;
            }
            let problem = |reason| IgnoreProblem { line: index + 1, pattern: pattern.to_owned(), reason };
            let (exception, written) = match pattern.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, pattern),
            };
            if written.is_empty() {
                return Err(problem("a pattern must follow !"));
            }
            let cleaned = clean_path(written);
            let relative = cleaned.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&cleaned);
            // White space that a slash hid is at an end now.
            let relative = clean_path(relative.trim());
            let rule = Rule::new(&relative, exception).ok_or_else(|| problem("a [ or a \\ is misused"))?;
            rules.push(rule);
        }
        Ok(Self { rules })
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a path of the context, such as `src/main.rs`, is left out.
    pub fn is_ignored(&self, path: &str) -> bool {
        let path = path.trim_matches('/');
        let mut ignored = false;
        // From the outermost directory inwards: which rules decided about the directory around.
        let mut decided = vec![false; self.rules.len()];
        let parents = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        for path in parents.chain([path]) {
            ignored = false;
            for (rule, decided) in self.rules.iter().zip(&mut decided) {
                *decided = *decided || (rule.exception == ignored && rule.glob.is_match(path));
                if *decided {
                    ignored = !rule.exception;
                }
            }
        }
        ignored
    }

    /// Whether nothing below a directory can be part of the context, so that it need not be read.
    pub fn may_skip_directory(&self, path: &str) -> bool {
        let path = path.trim_matches('/');
        self.is_ignored(path) && !self.rules.iter().any(|rule| rule.exception && rule.may_match_below(path))
    }
}

impl Rule {
    fn new(pattern: &str, exception: bool) -> Option<Self> {
        tokens(pattern).map(|tokens| Self { glob: Glob::new(tokens), exception })
    }

    /// Whether some path below a directory matches that the directory itself does not decide.
    fn may_match_below(&self, directory: &str) -> bool {
        self.glob.may_match_longer(&format!("{directory}/"))
    }
}

fn tokens(pattern: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut characters = pattern.chars().peekable();
    // Without another wildcard, `**name` means any path that ends in `name`, even in the middle of a name.
    let suffix = pattern
        .strip_prefix("**")
        .filter(|rest| !rest.starts_with('/') && !rest.contains(['*', '?', '[', '\\']));
    if let Some(suffix) = suffix {
        tokens.push(Token::Anything);
        tokens.extend(suffix.chars().map(Token::Literal));
        return Some(tokens);
    }
    while let Some(character) = characters.next() {
        match character {
            '*' if characters.next_if_eq(&'*').is_some() => {
                characters.next_if_eq(&'/');
                if characters.peek().is_none() {
                    tokens.push(Token::Anything);
                } else {
                    tokens.extend([Token::Directories, Token::WithinDirectories]);
                }
            }
            '*' => tokens.push(Token::StarInName),
            '?' => tokens.push(Token::AnyInName),
            '[' => tokens.push(class(&mut characters)?),
            '\\' => tokens.push(Token::Literal(characters.next()?)),
            other => tokens.push(Token::Literal(other)),
        }
    }
    Some(tokens)
}

/// The shortest form of a slash-separated path: no empty names, no `.`, and `..` resolved where possible; `.` for an
/// empty path. The same as Go's `path.Clean`.
pub fn clean_path(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|last| *last != "..") => {
                names.pop();
            }
            ".." if rooted => {}
            _ => names.push(name),
        }
    }
    match (rooted, names.is_empty()) {
        (true, _) => format!("/{}", names.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => names.join("/"),
    }
}

/// The names an ignore file may have, the first that exists counts: one of the Dockerfile's own, beside it, then the
/// context's.
pub fn ignore_file_names(dockerfile: &str) -> [String; 2] {
    [format!("{dockerfile}.dockerignore"), ".dockerignore".to_owned()]
}
