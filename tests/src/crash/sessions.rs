//! Uploads in chunks: how far each one is, as far as the server has said.

use anyhow::{Context, Result, ensure};
use registry_types::Digest;

use super::content::Content;
use crate::http::{Answer, Server};

/// What was under way when the connection was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flight {
    Nothing,
    Append,
    Complete,
    Cancel,
}

/// An upload that has not ended.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) repository: String,
    pub(super) path: String,
    pub(super) content: Content,
    pub(super) digest: Digest,
    /// Bytes that the server said it has.
    pub(super) acknowledged: usize,
    /// Bytes that it may have by now: a chunk whose connection was cut may still be read after its client is back.
    pub(super) may_reach: usize,
    pub(super) flight: Flight,
}

/// What is left of an upload after a crash.
#[derive(Debug)]
pub(super) enum After {
    /// It goes on.
    Open(Session),
    /// It has ended as a blob.
    Complete,
    Cancelled,
}

impl Session {
    pub(super) fn left(&self) -> usize {
        self.content.length - self.acknowledged
    }

    pub(super) fn chunk(&self, length: usize) -> Vec<u8> {
        self.content.bytes()[self.acknowledged..self.acknowledged + length].to_vec()
    }

    /// The `Content-Range` of a chunk.
    pub(super) fn range(&self, length: usize) -> String {
        format!("{}-{}", self.acknowledged, (self.acknowledged + length).saturating_sub(1))
    }

    /// Asks how far the upload is, and compares that with what was acknowledged and what was under way. `blob` tells
    /// whether its blob is there.
    pub(super) fn after_crash(mut self, server: Server, blob: bool) -> Result<After> {
        let answer = server.get(&self.path)?;
        if answer.status == 404 {
            match self.flight {
                Flight::Complete if blob => return Ok(After::Complete),
                Flight::Cancel => return Ok(After::Cancelled),
                _ => anyhow::bail!(
                    "lost: {self} is gone (its blob is {})",
                    if blob { "there" } else { "not there" }
                ),
            }
        }
        let answer = answer.expect(204)?;
        ensure!(!blob, "half done: {self} goes on, and its blob is there already");
        let offset = offset(&answer)?;
        ensure!(
            (self.acknowledged..=self.may_reach).contains(&offset),
            "lost: {self} has {offset} bytes, but {} were acknowledged and at most {} sent",
            self.acknowledged,
            self.may_reach
        );
        self.acknowledged = offset;
        self.may_reach = offset;
        self.flight = Flight::Nothing;
        Ok(After::Open(self))
    }

    /// Goes on from where the server is, to the end, and reads the blob back.
    pub(super) fn resume(mut self, server: Server) -> Result<()> {
        let what = self.to_string();
        while self.left() > 0 {
            let length = self.left().min(self.content.length.div_ceil(2));
            let (range, chunk) = (self.range(length), self.chunk(length));
            let headers = [("Content-Type", "application/octet-stream"), ("Content-Range", range.as_str())];
            let answer = server.request("PATCH", &self.path, &headers, &chunk)?;
            let answer = answer.expect(202).with_context(|| format!("lost: {what} does not go on"))?;
            self.acknowledged = offset(&answer)?;
        }
        let answer = server.request("PUT", &format!("{}?digest={}", self.path, self.digest), &[], b"")?;
        answer.expect(201).with_context(|| format!("lost: {what} does not complete"))?;
        let blob = server.get(&format!("/v2/{}/blobs/{}", self.repository, self.digest))?.expect(200)?;
        ensure!(blob.body == self.content.bytes(), "damaged: the blob of {what} is not what was sent");
        Ok(())
    }
}

/// Bytes that the server says it has.
pub(super) fn offset(answer: &Answer) -> Result<usize> {
    if let Some(offset) = answer.header("upload-offset") {
        return Ok(offset.parse()?);
    }
    let range = answer.header("range").context("an upload tells its Range")?;
    let last: usize = range.strip_prefix("0-").context("a Range begins at 0")?.parse()?;
    Ok(if last == 0 { 0 } else { last + 1 })
}

impl std::fmt::Display for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the upload {} of {} bytes, {} acknowledged, {:?} in flight",
            self.path, self.content.length, self.acknowledged, self.flight
        )
    }
}
