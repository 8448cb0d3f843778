//! The keys steps are cached under.
//!
//! A key is a hash over parts that each carry their length, so that no two different lists of parts give the same
//! bytes. What does not change a step's files is not in its key: labels and other metadata, and proxies.

use registry_types::{Algorithm, Digest, DigestHasher, Platform};

use crate::step::{CopyPath, CopyStep, Ownership, Principal, RunStep, WorkdirStep};

/// Changes when the meaning of keys does, so that records of older programs are not taken for today's.
const VERSION: &str = "slipway step key 3";

/// A key, and the parent of the next step's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey(Digest);

impl StepKey {
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl std::fmt::Display for StepKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Hashes parts with their lengths.
struct Framed {
    hasher: DigestHasher,
}

impl Framed {
    fn new(kind: &str) -> Self {
        let mut framed = Self { hasher: DigestHasher::new(Algorithm::Sha256) };
        framed.text(VERSION);
        framed.text(kind);
        framed
    }

    fn count(&mut self, count: usize) {
        self.hasher.update(&(count as u64).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.hasher.update(text.as_bytes());
    }

    fn texts<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str>) {
        self.count(texts.len());
        texts.for_each(|text| self.text(text));
    }

    fn key(&mut self, key: &StepKey) {
        self.text(&key.0.to_string());
    }

    /// Absent is not the same as empty.
    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.count(usize::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn platform(&mut self, platform: &Platform) {
        self.text(&platform.os);
        self.text(&platform.architecture);
        self.optional(platform.variant.as_deref(), Self::text);
        self.optional(platform.os_version.as_deref(), Self::text);
        self.texts(platform.os_features.iter().map(String::as_str));
    }

    fn ownership(&mut self, ownership: &Ownership) {
        self.principal(&ownership.user);
        self.optional(ownership.group.as_ref(), Self::principal);
    }

    fn principal(&mut self, principal: &Principal) {
        match principal {
            Principal::Id(id) => self.texts(["id", &id.to_string()].into_iter()),
            Principal::Name(name) => self.texts(["name", name].into_iter()),
        }
    }

    fn finish(self) -> StepKey {
        StepKey(self.hasher.finish())
    }
}

/// The key a stage starts with: the digest of the base image's manifest or config, or `None` for `scratch`.
pub fn base_key(image: Option<&Digest>, platform: &Platform) -> StepKey {
    let mut framed = Framed::new("base");
    framed.optional(image, |framed, digest| framed.text(&digest.to_string()));
    framed.platform(platform);
    framed.finish()
}

/// The key of a `RUN`. Variables count whatever order they were set in.
pub fn run_key(parent: &StepKey, step: &RunStep, platform: &Platform) -> StepKey {
    let mut framed = Framed::new("run");
    framed.key(parent);
    framed.texts(step.arguments.iter().map(String::as_str));
    let mut environment: Vec<&(String, String)> = step.environment.iter().collect();
    environment.sort();
    framed.count(environment.len());
    for (name, value) in environment {
        framed.text(name);
        framed.text(value);
    }
    framed.text(&step.working_directory);
    framed.text(&step.user);
    framed.optional(step.file.as_ref(), |framed, file| {
        framed.text(&file.path);
        framed.text(&file.content);
    });
    framed.platform(platform);
    framed.finish()
}

/// The key of a `COPY` or `ADD`. `content` is the checksum of everything the sources select, names and modes
/// included, times excluded.
pub fn copy_key(parent: &StepKey, step: &CopyStep, content: &Digest) -> StepKey {
    let mut framed = Framed::new("copy");
    framed.key(parent);
    let patterns: Vec<&str> = step.paths.iter().map(|CopyPath { pattern, .. }| pattern.as_str()).collect();
    framed.texts(patterns.into_iter());
    framed.text(&content.to_string());
    framed.count(step.files.len());
    for file in &step.files {
        framed.text(&file.name);
        framed.text(&file.content);
    }
    framed.text(&step.destination);
    framed.count(usize::from(step.into_directory));
    framed.optional(step.ownership.as_ref(), Framed::ownership);
    framed.optional(step.chmod.as_ref(), |framed, chmod| framed.text(chmod.written()));
    framed.count(usize::from(step.unpack));
    framed.finish()
}

/// The key of a `WORKDIR` that may create a directory.
pub fn workdir_key(parent: &StepKey, step: &WorkdirStep) -> StepKey {
    let mut framed = Framed::new("workdir");
    framed.key(parent);
    framed.text(&step.path);
    framed.text(&step.user);
    framed.finish()
}

#[cfg(test)]
mod tests;
