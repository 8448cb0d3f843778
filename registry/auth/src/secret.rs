//! Text that must not be seen: it is never printed and its memory is overwritten when it goes.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use crate::AuthError;

/// Random bytes in a generated password: 160 bits, 32 characters without padding.
const GENERATED_BYTES: usize = 20;

/// A password, or another secret text. It can be read only by [`expose`](Self::expose), which is easy to find.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// A random password of 32 lower-case letters and digits, none of which look alike (no 0, 1, 8, 9).
    pub fn generate() -> Result<Self, AuthError> {
        let mut random = Zeroizing::new([0_u8; GENERATED_BYTES]);
        aws_lc_rs::rand::fill(random.as_mut())
            .map_err(|_| AuthError::Cryptography { doing: "no random bytes could be had" })?;
        let mut text = BASE32_NOPAD.encode(random.as_ref());
        text.make_ascii_lowercase();
        Ok(Self::new(text))
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new("hunter2");
        assert_eq!((format!("{secret:?}").as_str(), secret.expose()), ("Secret(..)", "hunter2"));
    }

    #[test]
    fn generated_passwords_differ_and_can_be_typed() {
        let (one, two) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert!(one != two);
        assert_eq!(one.expose().len(), 32);
        assert!(one.expose().bytes().all(|byte| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte)));
    }
}
