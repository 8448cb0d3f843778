//! Whether something may go, and why: the decision, which is the same whatever engine looked.

use registry_types::{Digest, RepositoryName};
use time::OffsetDateTime;

use crate::{CollectPolicy, KeepReason, RemovalReason, Verdict, later};

/// A repository's manifest as it stands.
pub(crate) struct ManifestState {
    pub(crate) repository: RepositoryName,
    pub(crate) digest: Digest,
    pub(crate) leased_until: OffsetDateTime,
    pub(crate) untagged_since: Option<OffsetDateTime>,
    pub(crate) orphaned_at: Option<OffsetDateTime>,
    pub(crate) subject: Option<Digest>,
}

/// Of a link, whose blob is named by a manifest of the repository or by none.
pub(crate) fn of_link(by: Option<Digest>, leased_until: OffsetDateTime, now: OffsetDateTime) -> Verdict {
    match by {
        Some(by) => Verdict::Keep(KeepReason::Named { by }),
        None => leased_or(leased_until, now, RemovalReason::Unreferenced),
    }
}

/// Of a blob, which some repository links or none.
pub(crate) fn of_blob(
    by: Option<RepositoryName>,
    leased_until: OffsetDateTime,
    now: OffsetDateTime,
) -> Verdict {
    match by {
        Some(by) => Verdict::Keep(KeepReason::Linked { by }),
        None => leased_or(leased_until, now, RemovalReason::Unlinked),
    }
}

fn leased_or(leased_until: OffsetDateTime, now: OffsetDateTime, reason: RemovalReason) -> Verdict {
    if leased_until > now {
        Verdict::Keep(KeepReason::Leased { until: leased_until })
    } else {
        Verdict::Remove(reason)
    }
}

impl ManifestState {
    /// `held`: what in its repository holds the manifest, for as long as that stays.
    pub(crate) fn verdict(
        &self,
        held: Option<KeepReason>,
        policy: &CollectPolicy,
        now: OffsetDateTime,
    ) -> Verdict {
        if let Some(reason) = held {
            return Verdict::Keep(reason);
        }
        if self.leased_until > now {
            return Verdict::Keep(KeepReason::Leased { until: self.leased_until });
        }
        if let (Some(at), true) = (self.orphaned_at, policy.referrers_with_subject) {
            return Verdict::Remove(RemovalReason::SubjectDeleted { at });
        }
        let Some(after) = policy.untagged_after else { return Verdict::Keep(KeepReason::UntaggedKept) };
        // Without a time it is new to this question: no tag since its lease ended.
        let since = self.untagged_since.unwrap_or(self.leased_until);
        let until = later(since, after);
        if until > now {
            Verdict::Keep(KeepReason::UntaggedUntil { until })
        } else {
            Verdict::Remove(RemovalReason::Untagged { since })
        }
    }
}
