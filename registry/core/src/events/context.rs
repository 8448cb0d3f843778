//! Who asked for what events tell of.

use registry_auth::Identity;

/// A request, as events describe it.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// What answer and log call the request.
    pub id: String,
    /// The client's address, with its port where that is known.
    pub address: String,
    /// Host and port that the client asked for.
    pub host: String,
    /// Whether it came by TLS.
    pub secure: bool,
    pub method: String,
    pub user_agent: String,
    pub identity: Identity,
}

/// Longest text that is taken from a client into an event, in bytes: a browser's user agent has some 200, a host name
/// 253. More would let one client fill the outbox.
const LONGEST_TEXT: usize = 512;

impl RequestContext {
    /// Nobody asked: the registry itself removes what nothing refers to, or what a policy says.
    pub(super) fn registry() -> Self {
        Self {
            id: String::new(),
            address: String::new(),
            host: String::new(),
            secure: false,
            method: String::new(),
            user_agent: "slipway".to_owned(),
            identity: Identity::anonymous(),
        }
    }

    /// The scheme and host under which the client reached the registry.
    pub(super) fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", shortened(&self.host))
    }
}

/// The beginning of a text, within [`LONGEST_TEXT`].
pub(super) fn shortened(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST_TEXT)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shortened("agent/1"), "agent/1");
        let long = "é".repeat(LONGEST_TEXT);
        assert_eq!(shortened(&long).len(), LONGEST_TEXT);
        let odd = format!("x{long}");
        assert_eq!(shortened(&odd).len(), LONGEST_TEXT - 1);
    }
}
