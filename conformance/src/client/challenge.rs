//! `WWW-Authenticate` (RFC 9110 section 11.6.1), read strictly: this is also what a check looks at.

/// A challenge: its scheme in lower case and its parameters as written, names in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The challenges of one header value. Text that is not well-formed gives none from there on.
pub(crate) fn challenges(header: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|letter: char| !is_token(letter)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            return found;
        }
        rest = after;
        let Some(value) = rest.strip_prefix('=') else {
            found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
            continue;
        };
        let Some((text, after)) = parameter_value(value) else { return found };
        rest = after;
        if let Some(challenge) = found.last_mut() {
            challenge.parameters.push((word.to_ascii_lowercase(), text));
        }
    }
}

fn is_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter)
}

/// A quoted string without its escapes, or a token; and what follows it.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|letter: char| !is_token(letter)).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut escaped = false;
    for (place, letter) in quoted.char_indices() {
        match letter {
            _ if escaped => {
                value.push(letter);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((value, &quoted[place + 1..])),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_with_commas_inside_and_between() {
        let header = r#"Bearer realm="https://a/b?c=1,2",service="x",scope="repository:a/b:pull,push registry:catalog:*", Basic realm="y \"z\"""#;
        let read = challenges(header);
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].scheme, "bearer");
        assert_eq!(read[0].parameter("realm"), Some("https://a/b?c=1,2"));
        assert_eq!(read[0].parameter("scope"), Some("repository:a/b:pull,push registry:catalog:*"));
        assert_eq!(read[1].scheme, "basic");
        assert_eq!(read[1].parameter("realm"), Some("y \"z\""));
    }

    #[test]
    fn broken_challenges_give_what_stands_before() {
        assert!(challenges("").is_empty());
        assert_eq!(challenges("Basic").len(), 1);
        assert_eq!(challenges(r#"Bearer realm="open"#)[0].parameter("realm"), None);
        assert!(challenges("=x").is_empty());
    }
}
