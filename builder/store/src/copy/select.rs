//! Which files of a tree a source names: wildcards, and the ignore file's word on each file.

use super::Select;
use crate::error::Result;
use crate::tree::{Node, Tree, TreePath, parts};

/// What happens to a file of the source tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    Include,
    /// It, and for a directory all in it, is left out.
    Exclude,
    /// A directory that is left out unless something in it is included.
    ExcludeButLookInside,
}

/// Takes every file.
pub fn select_all(_: &TreePath, _: bool) -> Selection {
    Selection::Include
}

/// Paths that a pattern names, in the walk's order. Parts without wildcards are followed through links up to the first
/// wildcard; wildcards match within one part and never through links, as Docker has it. A pattern without wildcards
/// is its own only match, whether it exists or not.
pub fn expand_wildcards(tree: &Tree, pattern: &[u8], select: Select<'_>) -> Result<Vec<Vec<u8>>> {
    let all: Vec<&[u8]> = parts(pattern).collect();
    let Some(first) = all.iter().position(|part| has_wildcard(part)) else {
        return Ok(vec![unescape(pattern)]);
    };
    let prefix: Vec<Vec<u8>> = all[..first].iter().map(|part| unescape(part)).collect();
    let start = tree.resolve(&prefix.join(&b'/'), true)?;
    let mut found: Vec<Node> = start.node.into_iter().collect();
    for (index, part) in all.iter().enumerate().skip(first) {
        let is_last = index + 1 == all.len();
        let mut next = Vec::new();
        for directory in found.iter().filter(|node| node.metadata.is_directory()) {
            for child in tree.children(directory)? {
                let name = child.path.name().unwrap_or_default();
                let is_directory = child.metadata.is_directory();
                let selection = select(&child.path, is_directory);
                let wanted = match selection {
                    Selection::Include => true,
                    Selection::Exclude => false,
                    Selection::ExcludeButLookInside => is_directory || !is_last,
                };
                if wanted && matches_part(part, name) {
                    next.push(child);
                }
            }
        }
        found = next;
    }
    Ok(found.iter().map(|node| node.path.as_bytes().to_vec()).collect())
}

/// Whether a whole path matches a pattern, part by part.
pub fn matches_pattern(pattern: &[u8], path: &[u8]) -> bool {
    let (mut wanted, mut given) = (parts(pattern), parts(path));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if matches_part(pattern, name) => {}
            _ => return false,
        }
    }
}

fn has_wildcard(part: &[u8]) -> bool {
    let mut bytes = part.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// A pattern without wildcards as the name it stands for.
fn unescape(part: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(part.len());
    let mut bytes = part.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => name.extend(bytes.next()),
            _ => name.push(*byte),
        }
    }
    name
}

/// `*` is any run, `?` any character, `[a-c]` and `[^a-c]` a class, `\` takes the next byte as it is. A malformed
/// pattern matches nothing. Time is bounded by the product of both lengths.
fn matches_part(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    // Where to go on if the present attempt fails: behind the last star, one byte further in the name.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            retry = Some((at, position));
            continue;
        }
        if at == pattern.len() && position == name.len() {
            return true;
        }
        match match_one(&pattern[at..], &name[position..]) {
            Some((used, length)) => {
                at += used;
                position += length;
            }
            None => match retry {
                Some((star, from)) if from < name.len() => {
                    position = from + 1;
                    at = star;
                    retry = Some((star, position));
                }
                _ => return false,
            },
        }
    }
}

/// Matches one element of a pattern; gives the pattern's bytes that were used and the name's that were matched.
fn match_one(pattern: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    let length = character_length(name)?;
    match pattern.first()? {
        b'?' => Some((1, length)),
        b'[' => match_class(pattern, name).filter(|(_, matched)| *matched).map(|(used, _)| (used, length)),
        b'\\' => (pattern.get(1)? == name.first()?).then_some((2, 1)),
        byte => (byte == name.first()?).then_some((1, 1)),
    }
}

fn match_class(pattern: &[u8], name: &[u8]) -> Option<(usize, bool)> {
    let wanted = character(name)?;
    let mut at = 1;
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let start = at;
    let mut matched = false;
    loop {
        if pattern.get(at)? == &b']' && at > start {
            return Some((at + 1, matched != negated));
        }
        let low = class_character(pattern, &mut at)?;
        let high = if pattern.get(at) == Some(&b'-') {
            at += 1;
            class_character(pattern, &mut at)?
        } else {
            low
        };
        matched |= (low..=high).contains(&wanted);
    }
}

fn class_character(pattern: &[u8], at: &mut usize) -> Option<u32> {
    if matches!(pattern.get(*at)?, b'-' | b']') {
        return None;
    }
    if pattern.get(*at) == Some(&b'\\') {
        *at += 1;
    }
    let rest = pattern.get(*at..)?;
    *at += character_length(rest)?;
    character(rest)
}

/// The first character, or the first byte where the bytes are no UTF-8.
fn character(text: &[u8]) -> Option<u32> {
    let length = character_length(text)?;
    let decoded = std::str::from_utf8(&text[..length]).ok().and_then(|text| text.chars().next());
    decoded.map(u32::from).or_else(|| text.first().copied().map(u32::from))
}

fn character_length(text: &[u8]) -> Option<usize> {
    let expected = match text.first()? {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    Some(if text.get(..expected).is_some_and(|text| std::str::from_utf8(text).is_ok()) {
        expected
    } else {
        1
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_within_one_part() {
        for (pattern, path, expected) in [
            ("*.rs", "main.rs", true),
            ("*.rs", "src/main.rs", false),
            ("src/*.rs", "src/main.rs", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbY", false),
            ("?", "\u{e9}", true),
            ("??", "\u{e9}", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[\\]]", "]", true),
            ("[a", "a", false),
            ("[]a]", "]", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("", "", true),
            ("*", "", false),
            ("a/*/c", "a/b/c", true),
        ] {
            let matched = matches_pattern(pattern.as_bytes(), path.as_bytes());
            assert_eq!(matched, expected, "{pattern:?} on {path:?}");
        }
    }

    proptest! {
        #[test]
        fn any_pattern_ends(
            pattern in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'*'), Just(b'['), Just(b'\\')], 0..12),
            name in proptest::collection::vec(any::<u8>(), 0..24),
        ) {
            let _ = matches_part(&pattern, &name);
        }

        #[test]
        fn a_name_matches_itself_escaped(name in "[a-z*?\\[\\]\\\\-]{1,12}") {
            let escaped: String = name.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert!(matches_part(escaped.as_bytes(), name.as_bytes()));
            prop_assert_eq!(unescape(escaped.as_bytes()), name.as_bytes());
        }
    }
}
