//! Query parameters and form bodies (`application/x-www-form-urlencoded`), decoded once.

use percent_encoding::percent_decode_str;

/// Most parameters of one request; more are ignored. A token request has a scope for each repository, a push by
/// digest a tag for each name.
const MOST_PARAMETERS: usize = 256;

/// The decoded parameters in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let parameters = text
            .split('&')
            .filter(|part| !part.is_empty())
            .take(MOST_PARAMETERS)
            .map(|part| {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                (decode(name), decode(value))
            })
            .collect();
        Self(parameters)
    }

    /// The first value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Every value of `name`.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repeated_and_encoded_parameters_are_read() {
        let query = Query::parse("scope=a%3Ab+c&scope=d&empty&service=x%26y");
        assert_eq!(query.all("scope").collect::<Vec<_>>(), ["a:b c", "d"]);
        assert_eq!(query.get("empty"), Some(""));
        assert_eq!(query.get("service"), Some("x&y"));
        assert_eq!(query.get("none"), None);
    }

    proptest! {
        #[test]
        fn parsing_is_total_and_bounded(text in ".*", many in 0_usize..2000) {
            let _ = Query::parse(&text);
            prop_assert!(Query::parse(&"a=b&".repeat(many)).0.len() <= MOST_PARAMETERS);
        }
    }
}
