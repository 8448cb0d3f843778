//! Patterns of tags: `*` stands for any text, `?` for one letter, everything else for itself.

use std::str::FromStr;

#[derive(Debug, Clone)]
pub(crate) struct Glob(String);

impl FromStr for Glob {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-*?".contains(&byte);
        if text.is_empty() || !text.bytes().all(known) {
            return Err("a pattern of tags holds A-Z a-z 0-9 _ . - * ? only".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl Glob {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes `*` as short as it can and goes back to the last one only, so the time is at most pattern times text.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut at, mut read) = (0, 0);
        let mut last: Option<(usize, usize)> = None;
        while let Some(letter) = text.get(read) {
            match pattern.get(at) {
                Some(b'*') => {
                    last = Some((at, read));
                    at += 1;
                }
                Some(wanted) if *wanted == b'?' || wanted == letter => {
                    at += 1;
                    read += 1;
                }
                _ => match last {
                    Some((star, from)) => {
                        last = Some((star, from + 1));
                        (at, read) = (star + 1, from + 1);
                    }
                    None => return false,
                },
            }
        }
        pattern.get(at..).unwrap_or_default().iter().all(|rest| *rest == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_text() {
        for (pattern, text, expected) in [
            ("*", "v1", true),
            ("v*", "v1.2", true),
            ("v*", "1.v", false),
            ("v?", "v1", true),
            ("v?", "v", false),
            ("*-rc*", "v1-rc2", true),
            ("*a*b", "aab", true),
            ("*a*b", "aba", false),
            ("v1.0", "v1x0", false),
            ("v1**", "v1", true),
            ("", "", false),
        ] {
            let matches = pattern.parse::<Glob>().is_ok_and(|glob| glob.matches(text));
            assert_eq!(matches, expected, "{pattern} {text}");
        }
        assert!("v[12]".parse::<Glob>().is_err() && "a/b".parse::<Glob>().is_err());
    }
}
