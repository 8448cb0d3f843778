//! What holds a digest, step by step, for people who wonder why it is not gone, or not here. To be asked within a
//! transaction that sees one moment.

use registry_types::Digest;
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::{
    columns::{DigestColumn, LocationColumn, SizeColumn, limit},
    connection::Connection,
    error::Failure,
    verdicts,
};
use crate::{Chain, CollectPolicy, Explanation, KeepReason, Verdict};

/// Most steps of a chain: an index in an index is rare, and more than this is nobody's to read.
const LONGEST_CHAIN: usize = 32;

struct Search<'a> {
    connection: &'a Connection,
    policy: &'a CollectPolicy,
    now: OffsetDateTime,
    limit: usize,
    found: Explanation,
}

pub(super) async fn explain(
    connection: &Connection,
    digest: &Digest,
    policy: &CollectPolicy,
    now: OffsetDateTime,
    limit: usize,
) -> Result<Explanation, Failure> {
    let mut search = Search { connection, policy, now, limit, found: Explanation::default() };
    search.as_manifest(digest).await?;
    search.as_blob(digest).await?;
    Ok(search.found)
}

impl Search<'_> {
    async fn as_manifest(&mut self, digest: &Digest) -> Result<(), Failure> {
        let rows = self
            .connection
            .rows(
                "SELECT repository_manifests.repository_id, repository_manifests.manifest_id FROM manifests
                 JOIN repository_manifests ON repository_manifests.manifest_id = manifests.id
                 WHERE manifests.digest = $1 LIMIT $2",
                &[&DigestColumn(*digest), &self.one_more()],
            )
            .await?;
        for row in rows {
            self.chain((row.try_get(0)?, row.try_get(1)?), Vec::new()).await?;
        }
        Ok(())
    }

    async fn as_blob(&mut self, digest: &Digest) -> Result<(), Failure> {
        let blob = self
            .connection
            .row("SELECT id, size, location FROM blobs WHERE digest = $1", &[&DigestColumn(*digest)])
            .await?;
        let Some(blob) = blob else { return Ok(()) };
        let id: i64 = blob.try_get(0)?;
        let (SizeColumn(size), LocationColumn(location)) = (blob.try_get(1)?, blob.try_get(2)?);
        self.found.blob = Some((size, location));
        let repositories = self
            .connection
            .rows(
                "SELECT repository_id FROM repository_blobs WHERE blob_id = $1 LIMIT $2",
                &[&id, &self.one_more()],
            )
            .await?;
        for row in repositories {
            self.link((row.try_get(0)?, id), digest).await?;
        }
        Ok(())
    }

    /// Every manifest that names the blob, else the lease.
    async fn link(&mut self, entry: (i64, i64), digest: &Digest) -> Result<(), Failure> {
        let Some(link) = verdicts::link(self.connection, entry).await? else { return Ok(()) };
        let rows = self
            .connection
            .rows(
                "SELECT manifest_id FROM repository_references
                 WHERE repository_id = $1 AND digest = $2 AND kind IN (1, 2) LIMIT $3",
                &[&entry.0, &DigestColumn(*digest), &self.one_more()],
            )
            .await?;
        let id = |row: &Row| Ok::<i64, Failure>(row.try_get(0)?);
        let manifests = rows.iter().map(id).collect::<Result<Vec<_>, _>>()?;
        for manifest in &manifests {
            let entry = (entry.0, *manifest);
            let Some(by) = verdicts::manifest(self.connection, entry).await? else { continue };
            self.chain(entry, vec![KeepReason::Named { by: by.digest }]).await?;
        }
        if manifests.is_empty() {
            let verdict = verdicts::judge_link(self.connection, entry.0, &link, self.now).await?;
            let (steps, ends) = match verdict {
                Verdict::Keep(reason) => (vec![reason], false),
                Verdict::Remove(_) => (Vec::new(), true),
            };
            self.add(Chain { repository: link.repository, steps, ends });
        }
        Ok(())
    }

    /// Follows what holds a manifest up to what stands by itself.
    async fn chain(
        &mut self,
        (repository, mut manifest): (i64, i64),
        mut steps: Vec<KeepReason>,
    ) -> Result<(), Failure> {
        loop {
            let entry = (repository, manifest);
            let Some(state) = verdicts::manifest(self.connection, entry).await? else { return Ok(()) };
            let verdict =
                verdicts::judge_manifest(self.connection, entry, &state, self.policy, self.now).await?;
            let (next, ends) = match verdict {
                Verdict::Keep(reason) => {
                    let next = match &reason {
                        KeepReason::Child { of: digest } | KeepReason::Refers { to: digest } => {
                            verdicts::manifest_id(self.connection, repository, digest).await?
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

    fn add(&mut self, chain: Chain) {
        if self.found.chains.len() < self.limit {
            self.found.chains.push(chain);
        } else {
            self.found.more = true;
        }
    }

    /// Enough to know whether there is more than may be told.
    fn one_more(&self) -> i64 {
        limit(self.limit).saturating_add(1)
    }
}
