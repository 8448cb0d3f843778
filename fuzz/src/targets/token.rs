//! Texts as tokens: without the key nobody makes one that is taken.

use super::claims::signer;

pub(crate) fn run(input: &[u8]) {
    let text = super::text(input);
    let signer = signer();
    // The name of the trusted key is no secret: seeds hold a word for it.
    let token = match text.split_once('.') {
        Some((header, rest)) => format!("{}.{rest}", signer.named(header)),
        None => text.into_owned(),
    };
    assert!(signer.verify(&token).is_err(), "forged: {token:?}");
}
