//! Text from standard input, whole or refused: half of a password or of a Dockerfile would be taken for the whole.

use std::io::{IsTerminal, Read};

use registry_client::Secret;

use crate::failure::Failure;

/// Longest password, in bytes: more is a mistake, such as a file piped in.
const LONGEST_PASSWORD: u64 = 1024;

/// Reads `what`, at most `limit` bytes.
pub(crate) fn read(what: &str, limit: u64) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::Failed(format!("cannot read {what} from standard input: {error}")))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::Usage(format!("{what} on standard input is longer than {limit} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| Failure::Usage(format!("{what} on standard input is not UTF-8")))
}

/// Reads a password, without the end of its line.
pub(crate) fn password() -> Result<Secret, Failure> {
    if std::io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "--password-stdin reads from a pipe or a file, not from a terminal".to_owned(),
        ));
    }
    let text = read("the password", LONGEST_PASSWORD)?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::Usage("the password on standard input is empty".to_owned()));
    }
    Ok(Secret::new(password))
}
