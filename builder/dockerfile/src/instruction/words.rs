//! Instructions that take one text or a list of words: `EXPOSE`, `MAINTAINER`, `SHELL`, `STOPSIGNAL`, `USER`,
//! `VOLUME`, `WORKDIR`.

use super::Parts;
use crate::ast::Text;
use crate::error::{Error, Problem};

/// All arguments as one text, spaces included.
pub(super) fn parse_single(parts: &Parts<'_>) -> Result<Text, Error> {
    parts.no_flags()?;
    let text = parts.text();
    if text.value.is_empty() {
        return Err(parts.wrong_arguments("exactly one argument"));
    }
    Ok(text)
}

pub(super) fn parse_expose(parts: &Parts<'_>) -> Result<Vec<Text>, Error> {
    parts.no_flags()?;
    let ports = parts.words();
    if ports.is_empty() {
        return Err(parts.wrong_arguments("at least one port"));
    }
    Ok(ports)
}

pub(super) fn parse_volume(parts: &Parts<'_>) -> Result<Vec<Text>, Error> {
    parts.no_flags()?;
    let mut volumes = parts.list()?;
    for volume in &mut volumes {
        volume.value = volume.value.trim().to_owned();
        if volume.value.is_empty() {
            return Err(parts.wrong_arguments("paths that are not empty"));
        }
    }
    if volumes.is_empty() {
        return Err(parts.wrong_arguments("at least one path"));
    }
    Ok(volumes)
}

pub(super) fn parse_shell(parts: &Parts<'_>) -> Result<Vec<String>, Error> {
    parts.no_flags()?;
    match parts.json()? {
        Some(words) if !words.is_empty() => Ok(words),
        None if !parts.arguments.is_empty() => Err(parts.error(Problem::ShellNotJson)),
        _ => Err(parts.wrong_arguments("at least one argument")),
    }
}
