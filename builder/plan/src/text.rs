//! Texts of history entries, in the wording of BuildKit, so that images built by either compare equal.

use builder_dockerfile::format_duration;

use crate::config::Healthcheck;

/// A list of quoted words as Go's `%q` prints it: `["a" "b"]`.
pub(crate) fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", words.join(" "))
}

/// A list of words as Go's `%v` prints it: `[a b]`.
pub(crate) fn listed(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// A health check as Go's `%+v` prints it.
pub(crate) fn healthcheck(check: &Healthcheck) -> String {
    format!(
        "{{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        listed(&check.test),
        format_duration(check.interval),
        format_duration(check.timeout),
        format_duration(check.start_period),
        format_duration(check.start_interval),
        check.retries
    )
}

/// A Go string literal: printable characters as they are, others escaped.
fn quote(word: &str) -> String {
    let mut out = String::from('"');
    for character in word.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            _ if is_printable(character) => out.push(character),
            '\0'..='\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(character))),
            '\0'..='\u{ffff}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => out.push_str(&format!("\\U{:08x}", u32::from(character))),
        }
    }
    out.push('"');
    out
}

/// Letters, marks, numbers, punctuation, symbols and the space, as Go's `strconv.IsPrint` has it. The standard
/// library knows the same set but shows it only by what it leaves unescaped; a letter in front keeps it from escaping
/// a combining mark.
fn is_printable(character: char) -> bool {
    matches!(character, '\'') || ['a', character].iter().collect::<String>().escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_as_go_does() {
        for (word, expected) in [
            ("x", "\"x\""),
            ("a \"b\" \\", "\"a \\\"b\\\" \\\\\""),
            ("it's", "\"it's\""),
            ("\n\t\u{1}\u{7f}", "\"\\n\\t\\x01\\x7f\""),
            ("é☺", "\"é☺\""),
            ("e\u{301}", "\"e\u{301}\""),
            ("\u{a0}\u{200b}", "\"\\u00a0\\u200b\""),
            ("\u{e0001}", "\"\\U000e0001\""),
        ] {
            assert_eq!(quote(word), expected);
        }
        assert_eq!(quoted(&["a".to_owned(), "b c".to_owned()]), "[\"a\" \"b c\"]");
        assert_eq!(quoted(&[]), "[]");
    }
}
