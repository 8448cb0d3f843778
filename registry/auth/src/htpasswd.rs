//! Reads htpasswd files, as distribution's `htpasswd` mode and Apache have them. All bad lines are told at
//! once, by number and without the hash; a file with one is not taken in half.

use std::collections::HashSet;

use registry_types::AccountName;

use crate::{AuthError, PasswordHash};

/// A line that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct HtpasswdError {
    /// Counted from 1.
    pub line: usize,
    pub reason: String,
}

/// The accounts of an htpasswd file: `name:hash` lines, empty lines and `#` comments.
pub fn parse_htpasswd(text: &str) -> Result<Vec<(AccountName, PasswordHash)>, Vec<HtpasswdError>> {
    let (mut accounts, mut errors, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        match read(content) {
            Ok((name, _)) if !seen.insert(name.clone()) => {
                errors.push(HtpasswdError { line, reason: format!("the account {name} was there already") });
            }
            Ok(account) => accounts.push(account),
            Err(reason) => errors.push(HtpasswdError { line, reason }),
        }
    }
    if errors.is_empty() { Ok(accounts) } else { Err(errors) }
}

fn read(line: &str) -> Result<(AccountName, PasswordHash), String> {
    let (name, hash) =
        line.split_once(':').ok_or("there is no colon between a name and a bcrypt hash".to_owned())?;
    let name: AccountName = name.parse().map_err(|error: registry_types::ParseError| error.to_string())?;
    match hash.parse() {
        Ok(hash) => Ok((name, hash)),
        Err(AuthError::PasswordHash { reason }) => {
            Err(format!("the hash of {name} cannot be used: {reason}"))
        }
        Err(other) => Err(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$10$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u";

    #[test]
    fn names_and_hashes_are_read_and_the_rest_is_skipped() {
        let text = format!("# made by htpasswd -B\r\n\nroot:{HASH}\r\n  ci.robot:{HASH}  \n");
        let accounts = parse_htpasswd(&text).unwrap();
        let names: Vec<&str> = accounts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["root", "ci.robot"]);
        assert!(accounts.iter().all(|(_, hash)| hash.as_str() == HASH));
        assert_eq!(parse_htpasswd("").unwrap(), []);
    }

    #[test]
    fn every_bad_line_is_told_with_its_number_and_its_mend() {
        let md5 = "eve:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/";
        let text = format!("root:{HASH}\nnothing\n{md5}\nroot:{HASH}\n-x:{HASH}\nplain:secret\n");
        let errors = parse_htpasswd(&text).unwrap_err();
        assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
        let told: Vec<String> = errors.iter().map(HtpasswdError::to_string).collect();
        for (error, part) in told.iter().zip(["no colon", "htpasswd -B", "already", "account name", "bcrypt"])
        {
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("HqJZimcKQFAMYayBlzkrA") && !error.contains("secret"), "{error}");
        }
    }
}
