//! What holds a digest, step by step, for people who wonder why it is not gone, or not here.

use registry_types::Digest;
use rusqlite::{Connection, OptionalExtension, params};
use time::OffsetDateTime;

use super::{
    columns::{DigestColumn, LocationColumn, SizeColumn},
    verdicts,
};
use crate::{Chain, CollectPolicy, Explanation, KeepReason, MetadataError, Verdict};

/// Most steps of a chain: an index in an index is rare, and more than this is nobody's to read.
const LONGEST_CHAIN: usize = 32;

struct Search<'a> {
    connection: &'a Connection,
    policy: &'a CollectPolicy,
    now: OffsetDateTime,
    limit: usize,
    found: Explanation,
}

pub(super) fn explain(
    connection: &Connection,
    digest: &Digest,
    policy: &CollectPolicy,
    now: OffsetDateTime,
    limit: usize,
) -> Result<Explanation, MetadataError> {
    // One transaction: every step is of the same moment.
    let transaction = connection.unchecked_transaction()?;
    let mut search = Search { connection: &transaction, policy, now, limit, found: Explanation::default() };
    search.as_manifest(digest)?;
    search.as_blob(digest)?;
    Ok(search.found)
}

pub(super) const REPOSITORIES_OF_MANIFEST: &str =
    "SELECT repository_manifests.repository_id, repository_manifests.manifest_id FROM manifests
     JOIN repository_manifests ON repository_manifests.manifest_id = manifests.id
     WHERE manifests.digest = ?1 LIMIT ?2";

pub(super) const REPOSITORIES_OF_BLOB: &str =
    "SELECT repository_id FROM repository_blobs WHERE blob_id = ?1 LIMIT ?2";

pub(super) const MANIFESTS_NAMING: &str = "SELECT manifest_id FROM repository_references
     WHERE repository_id = ?1 AND digest = ?2 AND kind IN (1, 2) LIMIT ?3";

impl Search<'_> {
    fn as_manifest(&mut self, digest: &Digest) -> Result<(), MetadataError> {
        let mut statement = self.connection.prepare_cached(REPOSITORIES_OF_MANIFEST)?;
        let rows = statement.query_map(params![DigestColumn(*digest), self.one_more()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let entries: Vec<(i64, i64)> = rows.collect::<Result<_, _>>()?;
        for entry in entries {
            self.chain(entry, Vec::new())?;
        }
        Ok(())
    }

    fn as_blob(&mut self, digest: &Digest) -> Result<(), MetadataError> {
        let blob = self
            .connection
            .prepare_cached("SELECT id, size, location FROM blobs WHERE digest = ?1")?
            .query_row([DigestColumn(*digest)], |row| {
                Ok((row.get(0)?, row.get::<_, SizeColumn>(1)?.0, row.get::<_, LocationColumn>(2)?.0))
            })
            .optional()?;
        let Some((id, size, location)) = blob else { return Ok(()) };
        self.found.blob = Some((size, location));
        let mut statement = self.connection.prepare_cached(REPOSITORIES_OF_BLOB)?;
        let rows = statement.query_map(params![id, self.one_more()], |row| row.get(0))?;
        let repositories: Vec<i64> = rows.collect::<Result<_, _>>()?;
        for repository in repositories {
            self.link((repository, id), digest)?;
        }
        Ok(())
    }

    /// Every manifest that names the blob, else the lease.
    fn link(&mut self, entry: (i64, i64), digest: &Digest) -> Result<(), MetadataError> {
        let Some(link) = verdicts::link(self.connection, entry)? else { return Ok(()) };
        let mut statement = self.connection.prepare_cached(MANIFESTS_NAMING)?;
        let values = params![entry.0, DigestColumn(*digest), self.one_more()];
        let manifests: Vec<i64> = statement.query_map(values, |row| row.get(0))?.collect::<Result<_, _>>()?;
        for manifest in &manifests {
            let entry = (entry.0, *manifest);
            let Some(by) = verdicts::manifest(self.connection, entry)? else { continue };
            self.chain(entry, vec![KeepReason::Named { by: by.digest }])?;
        }
        if manifests.is_empty() {
            let verdict = verdicts::judge_link(self.connection, entry.0, &link, self.now)?;
            let (steps, ends) = match verdict {
                Verdict::Keep(reason) => (vec![reason], false),
                Verdict::Remove(_) => (Vec::new(), true),
            };
            self.add(Chain { repository: link.repository, steps, ends });
        }
        Ok(())
    }

    /// Follows what holds a manifest up to what stands by itself.
    fn chain(
        &mut self,
        (repository, mut manifest): (i64, i64),
        mut steps: Vec<KeepReason>,
    ) -> Result<(), MetadataError> {
        loop {
            let entry = (repository, manifest);
            let Some(state) = verdicts::manifest(self.connection, entry)? else { return Ok(()) };
            let verdict = verdicts::judge_manifest(self.connection, entry, &state, self.policy, self.now)?;
            let (next, ends) = match verdict {
                Verdict::Keep(reason) => {
                    let next = match &reason {
                        KeepReason::Child { of: digest } | KeepReason::Refers { to: digest } => {
                            self.manifest_id(repository, digest)?
                        }
                        _ => None,
                    };
                    steps.push(reason);
                    (next, false)
                }
                Verdict::Remove(_) => (None, true),
            };
            match next.filter(|_| steps.len() < LONGEST_CHAIN) {
                Some(next) => manifest = next,
                None => {
                    self.add(Chain { repository: state.repository, steps, ends });
                    return Ok(());
                }
            }
        }
    }

    fn manifest_id(&self, repository: i64, digest: &Digest) -> Result<Option<i64>, MetadataError> {
        Ok(self
            .connection
            .prepare_cached(
                "SELECT manifests.id FROM manifests
                 JOIN repository_manifests ON repository_manifests.manifest_id = manifests.id
                      AND repository_manifests.repository_id = ?1
                 WHERE manifests.digest = ?2",
            )?
            .query_row(params![repository, DigestColumn(*digest)], |row| row.get(0))
            .optional()?)
    }

    fn add(&mut self, chain: Chain) {
        if self.found.chains.len() < self.limit {
            self.found.chains.push(chain);
        } else {
            self.found.more = true;
        }
    }

    /// Enough to know whether there is more than may be told.
    fn one_more(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX).saturating_add(1)
    }
}
