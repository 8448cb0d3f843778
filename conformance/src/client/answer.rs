//! An answer, and what can be asked of it.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// Longest piece of a body that a message repeats, in characters.
const SHOWN: usize = 400;

/// An answer read to its end. Printed for debugging it shows no header's value and no body: either may hold a token.
#[derive(Clone)]
pub(crate) struct Answer {
    /// Method and path of the request, for messages.
    pub(crate) asked: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The header's value; none when it is absent or no text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The header's value.
    pub(crate) fn required(&self, name: &str) -> Result<&str, String> {
        self.header(name).ok_or_else(|| format!("{self}: the header {name} is missing"))
    }

    pub(crate) fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body).map_err(|error| format!("{self}: the body is no JSON: {error}"))
    }

    /// The codes of the error envelope.
    pub(crate) fn error_codes(&self) -> Result<Vec<String>, String> {
        let body = self.json()?;
        let errors = body.get("errors").and_then(Value::as_array);
        let errors = errors.ok_or_else(|| format!("{self}: the body is no list of errors"))?;
        let code = |error: &Value| error.get("code").and_then(Value::as_str).map(str::to_owned);
        errors.iter().map(code).collect::<Option<_>>().ok_or_else(|| format!("{self}: an error has no code"))
    }

    /// Itself, if the status is one of `allowed`.
    pub(crate) fn expect(self, allowed: &[u16]) -> Result<Self, String> {
        if allowed.contains(&self.status.as_u16()) {
            return Ok(self);
        }
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        Err(format!("{self}: expected {}", allowed.join(" or ")))
    }

    /// Itself, if it is a refusal with `status` and one of `codes`.
    pub(crate) fn refused(self, status: &[u16], codes: &[&str]) -> Result<Self, String> {
        let answer = self.expect(status)?;
        let given = answer.error_codes()?;
        if given.iter().any(|code| codes.contains(&code.as_str())) {
            return Ok(answer);
        }
        Err(format!("{answer}: expected the code {}", codes.join(" or ")))
    }

    /// Itself, if the body is exactly `bytes`.
    pub(crate) fn holds(self, bytes: &[u8]) -> Result<Self, String> {
        if self.body == bytes {
            return Ok(self);
        }
        Err(format!(
            "{}: the body ({} bytes) is not what was stored ({})",
            self.asked,
            self.body.len(),
            bytes.len()
        ))
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("asked", &self.asked)
            .field("status", &self.status)
            .field("length", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} answered {}", self.asked, self.status.as_u16())?;
        let text = String::from_utf8_lossy(&self.body);
        if !text.is_empty() && text.chars().take(SHOWN).all(|letter| !letter.is_control() || letter == '\n') {
            write!(f, " ({})", text.chars().take(SHOWN).collect::<String>().trim())?;
        }
        Ok(())
    }
}
