//! `FROM [--platform=P] IMAGE [AS NAME]`

use super::Parts;
use super::flags::Flags;
use crate::ast::From;
use crate::error::{Error, Problem};

pub(super) fn parse(parts: &Parts<'_>) -> Result<From, Error> {
    let mut flags = Flags::read(parts, &["platform"])?;
    let platform = flags.value("platform")?;
    let mut words = parts.words().into_iter();
    let wrong = || parts.wrong_arguments("an image, or an image, AS and a name");
    let image = words.next().ok_or_else(wrong)?;
    let name = match (words.next(), words.next(), words.next()) {
        (None, _, _) => None,
        (Some(as_word), Some(mut name), None) if as_word.value.eq_ignore_ascii_case("as") => {
            if !is_stage_name(&name.value) {
                return Err(Error::new(Problem::StageName { name: name.value }, name.span));
            }
            name.value = name.value.to_ascii_lowercase();
            Some(name)
        }
        _ => return Err(wrong()),
    };
    Ok(From { platform, image, name })
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}
