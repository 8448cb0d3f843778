//! `WWW-Authenticate` (RFC 9110 section 11.6.1): a list of challenges, each a scheme with parameters whose
//! commas are also the list's. Reading is total: nonsense gives fewer challenges, never an error or a panic.

/// One challenge that a client of registries can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password (RFC 7617).
    Basic,
    /// A token of the token server at `realm` (RFC 6750; Docker Registry token specification). Parameters are as
    /// written, without quotes; empty ones are none.
    Bearer { realm: String, service: Option<String>, scope: Option<String>, error: Option<String> },
}

/// Reads one header value, which may hold several challenges. Unknown schemes are left out.
pub fn parse_challenges(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut scanner = Scanner { rest: header };
    // Parameters belong to the scheme before them; `None` while the scheme is unknown.
    let mut scheme: Option<String> = None;
    let mut parameters: Vec<(String, String)> = Vec::new();
    loop {
        scanner.skip(|letter| letter == ',' || letter.is_whitespace());
        let Some(word) = scanner.token() else {
            if scanner.rest.is_empty() {
                break;
            }
            // A stray character: step over it and go on.
            scanner.step();
            continue;
        };
        scanner.skip(|letter| letter == ' ' || letter == '\t');
        if scanner.take('=') {
            scanner.skip(|letter| letter == ' ' || letter == '\t');
            let value = scanner.value();
            parameters.push((word.to_ascii_lowercase(), value));
        } else {
            challenges.extend(finish(scheme.take(), &mut parameters));
            scheme = Some(word.to_ascii_lowercase());
        }
    }
    challenges.extend(finish(scheme, &mut parameters));
    challenges
}

fn finish(scheme: Option<String>, parameters: &mut Vec<(String, String)>) -> Option<Challenge> {
    let parameters = std::mem::take(parameters);
    let get = |name: &str| {
        parameters
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty())
    };
    match scheme?.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: get("realm")?,
            service: get("service"),
            scope: get("scope"),
            error: get("error"),
        }),
        _ => None,
    }
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn skip(&mut self, unwanted: impl Fn(char) -> bool) {
        self.rest = self.rest.trim_start_matches(unwanted);
    }

    fn step(&mut self) {
        let mut letters = self.rest.chars();
        letters.next();
        self.rest = letters.as_str();
    }

    fn take(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A token of RFC 9110 section 5.6.2.
    fn token(&mut self) -> Option<&'a str> {
        let end = self
            .rest
            .find(|letter: char| !(letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter)))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    /// A quoted string with its escapes undone, or bare text up to a comma (servers forget the quotes).
    fn value(&mut self) -> String {
        if !self.take('"') {
            let end = self.rest.find([',', ' ', '\t']).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            return word.to_owned();
        }
        let mut value = String::new();
        let mut letters = self.rest.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '"' => break,
                '\\' => value.extend(letters.next()),
                other => value.push(other),
            }
        }
        self.rest = letters.as_str();
        value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
            error: None,
        }
    }

    #[test]
    fn real_challenges_are_read() {
        assert_eq!(
            parse_challenges(
                r#"Bearer realm="https://gitlab.iceymoss/jwt/auth",service="container_registry",scope="repository:a/b:pull,push repository:c:pull""#
            ),
            [bearer(
                "https://gitlab.iceymoss/jwt/auth",
                Some("container_registry"),
                Some("repository:a/b:pull,push repository:c:pull")
            )]
        );
        assert_eq!(parse_challenges(r#"Basic realm="Registry""#), [Challenge::Basic]);
        assert_eq!(parse_challenges("Basic"), [Challenge::Basic]);
    }

    #[test]
    fn several_challenges_share_the_comma_with_their_parameters() {
        assert_eq!(
            parse_challenges(r#"Negotiate, bearer REALM="r\"1" , Service = s, Basic realm="x""#),
            [bearer("r\"1", Some("s"), None), Challenge::Basic]
        );
    }

    #[test]
    fn a_bearer_challenge_without_realm_is_no_challenge() {
        assert_eq!(parse_challenges(r#"Bearer service="s""#), []);
        assert_eq!(parse_challenges(r#"Bearer realm="""#), []);
        assert_eq!(parse_challenges(""), []);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*") {
            let _ = parse_challenges(&text);
        }

        #[test]
        fn quoted_values_round_trip(realm in "[ -~]{1,40}", service in "[ -~]{1,20}") {
            let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("Bearer realm=\"{}\", service=\"{}\"", quote(&realm), quote(&service));
            prop_assert_eq!(parse_challenges(&header), [bearer(&realm, Some(&service), None)]);
        }
    }
}
