//! `COPY` and `ADD`: flags, sources, destination.

use super::Parts;
use super::flags::Flags;
use crate::ast::{Add, Copy, CopySource, Text};
use crate::error::{Error, Problem};
use crate::heredoc::Opening;

pub(super) fn parse_copy(parts: Parts<'_>) -> Result<Copy, Error> {
    let known = &["from", "chown", "chmod", "link", "parents", "exclude"];
    let mut flags = Flags::read(&parts, known)?;
    Ok(Copy {
        from: flags.value("from")?,
        chown: flags.value("chown")?,
        chmod: flags.value("chmod")?,
        link: flags.switch("link")?,
        parents: flags.switch("parents")?,
        exclude: flags.values("exclude")?,
        destination: destination(&parts)?,
        sources: sources(parts)?,
    })
}

pub(super) fn parse_add(parts: Parts<'_>) -> Result<Add, Error> {
    let known = &["chown", "chmod", "link", "keep-git-dir", "checksum", "unpack", "exclude"];
    let mut flags = Flags::read(&parts, known)?;
    Ok(Add {
        chown: flags.value("chown")?,
        chmod: flags.value("chmod")?,
        link: flags.switch("link")?,
        keep_git_dir: flags.switch("keep-git-dir")?,
        checksum: flags.value("checksum")?,
        unpack: flags.switch("unpack")?,
        exclude: flags.values("exclude")?,
        destination: destination(&parts)?,
        sources: sources(parts)?,
    })
}

fn destination(parts: &Parts<'_>) -> Result<Text, Error> {
    let mut words = parts.list()?;
    match words.pop() {
        Some(destination) if !words.is_empty() => {
            if Opening::parse(&destination.value).is_some() {
                return Err(Error::new(Problem::HeredocDestination, destination.span));
            }
            Ok(destination)
        }
        _ => Err(parts.wrong_arguments("at least one source and a destination")),
    }
}

fn sources(parts: Parts<'_>) -> Result<Vec<CopySource>, Error> {
    let mut words = parts.list()?;
    words.pop();
    let span = parts.span();
    let mut bodies = parts.heredocs;
    let mut sources = Vec::with_capacity(words.len());
    for word in words {
        let opening = Opening::parse(&word.value);
        // Several sources of one name share the body that comes last, as in the shell.
        let body = opening.and_then(|opening| bodies.iter().rposition(|body| body.name == opening.name));
        match body.and_then(|index| bodies.get(index)) {
            Some(body) => sources.push(CopySource::Heredoc(body.clone())),
            None => sources.push(CopySource::Path(word)),
        }
    }
    bodies.retain(|body| {
        !sources.iter().any(|source| matches!(source, CopySource::Heredoc(used) if used.name == body.name))
    });
    match bodies.pop() {
        Some(body) => Err(Error::new(Problem::HeredocDetached { name: body.name }, span)),
        None => Ok(sources),
    }
}
