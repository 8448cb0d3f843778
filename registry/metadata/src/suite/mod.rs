//! The suite that every engine passes: each case is a generic function over an empty store, and
//! [`metadata_suite!`](crate::metadata_suite) makes one test of each.
//!
//! ```no_run
//! use registry_metadata::SqliteMetadata;
//!
//! registry_metadata::metadata_suite!(async || {
//!     let folder = tempfile::tempdir().expect("a folder");
//!     (SqliteMetadata::open(&folder.path().join("metadata.db")).expect("a database"), folder)
//! });
//! ```
//! The closure opens an empty store; what it gives beside the store lives until the test is over. It may give
//! `None` for a store that this machine cannot have, and then says why itself.

#![expect(clippy::unwrap_used, reason = "a case that meets an error fails")]

pub mod accounts;
pub mod blobs;
pub mod collection;
pub mod collection_model;
pub mod concurrency;
pub mod events;
pub mod listings;
pub mod manifests;
pub mod model;
pub mod operation;
mod operations;
pub mod policies;
pub mod quota_model;
pub mod referrers;
pub mod samples;
pub mod uploads;

use std::future::Future;

use crate::Metadata;

/// Threads that a case's tasks run on: enough for tasks to overlap on any machine.
const THREADS: usize = 4;

/// What a suite's closure opens: a store with what must outlive it, or perhaps such a pair.
pub trait Opened {
    type Store: Metadata;
    type Kept;

    fn opened(self) -> Option<(Self::Store, Self::Kept)>;
}

impl<M: Metadata, G> Opened for (M, G) {
    type Store = M;
    type Kept = G;

    fn opened(self) -> Option<(M, G)> {
        Some(self)
    }
}

impl<M: Metadata, G> Opened for Option<(M, G)> {
    type Store = M;
    type Kept = G;

    fn opened(self) -> Self {
        self
    }
}

/// Runs one case on a store of its own, if there is one.
pub fn run_case<O, Opening, Running>(open: impl FnOnce() -> Opening, case: impl FnOnce(O::Store) -> Running)
where
    O: Opened,
    Opening: Future<Output = O>,
    Running: Future<Output = ()>,
{
    runtime().block_on(async {
        if let Some((store, _kept)) = open().await.opened() {
            case(store).await;
        }
    });
}

/// Runs a case on two stores, of one engine or of two, if there are both.
pub fn run_pair<A, B, OpeningA, OpeningB, Running>(
    first: impl FnOnce() -> OpeningA,
    second: impl FnOnce() -> OpeningB,
    case: impl FnOnce(A::Store, B::Store) -> Running,
) where
    A: Opened,
    B: Opened,
    OpeningA: Future<Output = A>,
    OpeningB: Future<Output = B>,
    Running: Future<Output = ()>,
{
    runtime().block_on(async {
        let (first, second) = (first().await.opened(), second().await.opened());
        if let (Some((first, _kept)), Some((second, _also_kept))) = (first, second) {
            case(first, second).await;
        }
    });
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .expect("a runtime can be started")
}

/// Makes one test of each case. `$open`: an async closure that gives an empty store and what must outlive it.
#[macro_export]
macro_rules! metadata_suite {
    ($open:expr) => {
        $crate::metadata_suite!(@cases $open;
            accounts: accounts_are_stored_replaced_and_removed, rules_keep_their_order_and_go_with_their_account,
                a_secret_is_replaced_by_who_knows_it;
            blobs: a_blob_is_seen_only_where_it_is_linked, linking_ends_its_upload,
                the_bytes_of_a_second_upload_are_removed,
                a_blob_is_mounted_only_from_where_it_is, an_unlinked_blob_is_gone_and_its_manifests_stay,
                a_blob_of_another_size_is_refused;
            collection: a_blob_goes_when_nothing_names_it_and_its_lease_is_over,
                bytes_are_removed_once_and_only_if_nobody_came_back, untagged_manifests_stay_or_go_by_policy,
                an_index_keeps_its_children_and_a_subject_its_referrers,
                a_batch_is_bounded_and_the_next_goes_on, a_dry_run_says_why_and_changes_nothing,
                an_explanation_names_the_chain_that_holds;
            concurrency: one_of_many_tag_writers_wins_whole, acknowledged_writes_are_seen_by_later_reads,
                a_failing_write_leaves_the_others_alone, deletes_and_pushes_at_once_leave_no_mixture;
            events: events_come_with_the_change_they_tell_of,
                an_event_is_delivered_until_it_is_acknowledged, a_stuck_endpoint_delays_only_itself,
                events_are_trimmed_behind_the_slowest, events_are_replayed_from_where_one_says;
            listings: tags_are_paged_in_byte_order, repositories_are_paged_in_byte_order,
                tag_records_tell_size_and_time;
            manifests: bytes_are_kept_as_sent, a_manifest_without_its_blobs_is_refused_whole,
                parts_that_need_not_be_here_may_be_missing, sparse_manifests_are_taken_when_allowed,
                a_tag_moves_and_the_old_manifest_stays, deleting_a_tag_leaves_the_manifest,
                a_tag_goes_only_as_it_was_listed,
                deleting_a_manifest_takes_its_tags_along, the_last_push_says_what_bytes_are,
                pushing_again_changes_nothing_but_the_tags;
            operation: totals_follow_every_change, a_summary_tells_any_difference;
            policies: tag_rules_are_kept_in_their_order, an_immutable_tag_stays_on_its_manifest,
                one_replica_begins_a_retention_run, pulls_are_dated,
                a_quota_counts_each_blob_once_and_refuses_the_next;
            referrers: referrers_come_in_the_order_of_their_push, referrers_are_filtered_by_effective_type,
                types_keep_their_spelling_and_compare_without_case,
                referrers_belong_to_one_repository, referrers_carry_what_the_specification_asks,
                referrers_are_paged_by_number_and_by_length;
            uploads: a_session_lives_until_it_ends, progress_is_kept_exactly, the_last_claim_alone_may_write,
                stale_sessions_come_oldest_first,
                the_store_answers_a_ping;
        );

        #[test]
        fn any_sequence_of_operations_agrees_with_the_model() {
            $crate::suite::model::run($open);
        }

        #[test]
        fn collection_takes_what_it_may_and_nothing_else() {
            $crate::suite::collection_model::run($open);
        }

        #[test]
        fn rows_move_to_another_store() {
            $crate::suite::run_pair($open, $open, $crate::suite::operation::rows_move);
        }

        #[test]
        fn quotas_agree_with_a_recount() {
            $crate::suite::quota_model::run($open);
        }
    };
    (@cases $open:expr; $($module:ident: $($case:ident),+;)+) => {
        $($(
            #[test]
            fn $case() {
                $crate::suite::run_case($open, $crate::suite::$module::$case);
            }
        )+)+
    };
}
