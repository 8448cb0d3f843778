//! Reading back after a crash, and judging what was read.

use std::thread;

use anyhow::{Context, Result, bail};
use registry_types::Digest;

use super::model::{Group, Key, Model, Value};
use crate::http::Server;

/// Readers at once.
const READERS: usize = 4;

/// Reads `keys` back, judges them, and takes over what is there. Gives what is wrong.
pub(super) fn settle(model: &mut Model, server: Server, keys: &[Key]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen: Vec<(Key, Value)> = Vec::new();
    for (key, read) in read_all(server, keys) {
        match read {
            Err(error) => faults.push(format!("{key}: {error:#}")),
            Ok(value) => {
                if !model.allows(&key, value) {
                    faults.push(judgement(&key, value, &model.expected(&key)));
                }
                seen.push((key, value));
            }
        }
    }
    let value = |wanted: &Key| seen.iter().find(|(key, _)| key == wanted).map(|(_, value)| *value);
    for group in &model.in_flight {
        faults.extend(half_done(group, value));
    }
    model.settle(seen);
    for repository in model.repositories() {
        if let Err(error) = same_tags(model, server, &repository) {
            faults.push(format!("{error:#}"));
        }
    }
    faults
}

fn judgement(key: &Key, seen: Value, expected: &[Value]) -> String {
    let shown = |value: &Value| value.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string());
    let expected: Vec<String> = expected.iter().map(shown).collect();
    let word = if seen.is_none() { "lost" } else { "wrong" };
    format!("{word}: {key} is {}, but should be {}", shown(&seen), expected.join(" or "))
}

/// A request of several changes must have made all of them or none.
fn half_done(group: &Group, value: impl Fn(&Key) -> Option<Value>) -> Option<String> {
    let mut done = None;
    for step in group.0.iter().filter(|step| step.before != step.after) {
        let this = value(&step.key)? == step.after;
        if *done.get_or_insert(this) != this {
            let keys: Vec<String> = group.0.iter().map(|step| step.key.to_string()).collect();
            return Some(format!("half done: {}", keys.join(", ")));
        }
    }
    None
}

fn read_all(server: Server, keys: &[Key]) -> Vec<(Key, Result<Value>)> {
    let share = keys.len().div_ceil(READERS).max(1);
    thread::scope(|scope| {
        let readers: Vec<_> = keys
            .chunks(share)
            .map(|keys| {
                scope.spawn(move || {
                    keys.iter().map(|key| (key.clone(), read(server, key))).collect::<Vec<_>>()
                })
            })
            .collect();
        readers.into_iter().flat_map(|reader| reader.join().expect("a reader does not panic")).collect()
    })
}

/// What stands under a key: read whole, and its bytes hashed.
fn read(server: Server, key: &Key) -> Result<Value> {
    let (path, expected) = match key {
        Key::Blob(repository, digest) => (format!("/v2/{repository}/blobs/{digest}"), Some(digest)),
        Key::Manifest(repository, digest) => (format!("/v2/{repository}/manifests/{digest}"), Some(digest)),
        Key::Tag(repository, tag) => (format!("/v2/{repository}/manifests/{tag}"), None),
    };
    let answer = server.get(&path)?;
    match answer.status {
        404 => return Ok(None),
        200 => {}
        _ => bail!("unreadable: {answer:?}"),
    }
    let length: usize = answer.header("content-length").context("no Content-Length")?.parse()?;
    if length != answer.body.len() {
        bail!("damaged: {} of {length} bytes came", answer.body.len());
    }
    let told: Digest = answer.header("docker-content-digest").context("no Docker-Content-Digest")?.parse()?;
    let actual = Digest::sha256(&answer.body);
    if actual != told || expected.is_some_and(|expected| *expected != actual) {
        bail!("damaged: its bytes have the digest {actual}, not {told}");
    }
    Ok(Some(actual))
}

/// The tag list is exactly the tags that are there.
fn same_tags(model: &Model, server: Server, repository: &str) -> Result<()> {
    let expected: Vec<String> = model.tags(repository).into_keys().collect();
    let answer = server.get(&format!("/v2/{repository}/tags/list"))?;
    // A repository that nothing was ever stored in.
    let listed: Vec<String> = match answer.status {
        404 => Vec::new(),
        _ => serde_json::from_value(answer.expect(200)?.json()?["tags"].clone())?,
    };
    if listed != expected {
        bail!("the tag list of {repository} is {listed:?}, but its tags are {expected:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::model::Step;

    #[test]
    fn requests_are_done_whole_or_not_at_all() {
        let digest = Some(Digest::sha256(b"m"));
        let key = |tag: &str| Key::Tag("a".to_owned(), tag.to_owned());
        let step = |tag: &str, before| Step { key: key(tag), before, after: digest };
        let group = Group(vec![step("1", None), step("2", None), step("3", digest)]);
        let with = |first: Value, second: Value| {
            half_done(&group, |wanted| {
                Some(if *wanted == key("1") {
                    first
                } else if *wanted == key("2") {
                    second
                } else {
                    digest
                })
            })
        };
        assert!(with(digest, digest).is_none() && with(None, None).is_none());
        assert!(with(digest, None).is_some() && with(None, digest).is_some());
    }
}
