//! What a query costs, in pages of the database looked at: the same with ten rows and with tens of thousands.

use super::{
    blobs, cluster::TestDatabase, connection::PLANNING, events, manifests, queue, referrers, removals,
    repositories, uploads, verdicts,
};
use crate::{PostgresMetadata, PostgresOptions, TestCluster};

/// Rows in each table of the larger database.
const MANY: u32 = 30_000;

/// Pages more that the larger one may cost: indexes are a level or two deeper, and more of what was read was
/// changed since.
const ALLOWANCE: u32 = 40;

/// As many of everything: repositories, and in the first of them tags, manifests, referrers of one subject, parents
/// of one child, links, entries of the queue, sessions, events and removals.
fn fill_blocking(database: &TestDatabase<'_>, count: u32) {
    let number = |column: &str| format!("'\\x01'::BYTEA || decode(lpad(to_hex({column}), 64, '0'), 'hex')");
    let digest = number("i");
    let first = number("1");
    let series = format!("generate_series(1, {count}) i");
    let named = |letter: char| format!("'{letter}' || lpad(i::TEXT, 6, '0')");
    let (repository, tag) = (named('r'), named('t'));
    for fill in [
        format!("INSERT INTO repositories (name, created_at) SELECT {repository}, 0 FROM {series}"),
        format!(
            "INSERT INTO blobs (digest, size, location, created_at, leased_until)
             SELECT {digest}, 1, '', 0, 0 FROM {series}"
        ),
        format!("INSERT INTO repository_blobs SELECT 1, i, 0, 0 FROM {series}"),
        format!(
            "INSERT INTO manifests (digest, media_type, artifact_type, image_size, bytes)
             SELECT {digest}, 'a/b', 'c/d', 1, 'bytes' FROM {series}"
        ),
        format!(
            "INSERT INTO repository_manifests
                 (repository_id, manifest_id, subject, artifact_type, pushed_at, leased_until)
             SELECT 1, i, {first}, 'c/d', 0, 0 FROM {series}"
        ),
        format!("INSERT INTO repository_references SELECT 1, {first}, 2 + i % 2, i FROM {series}"),
        format!("INSERT INTO tags SELECT 1, {tag}, i, 0 FROM {series}"),
        format!("INSERT INTO collection_queue SELECT 1 + i % 2, 1, i, i FROM {series}"),
        format!("INSERT INTO uploads SELECT {tag}, 'r', 0, i, 'sha256', 0, '', '', 0 FROM {series}"),
        format!("INSERT INTO events (repository, payload, created_at) SELECT 'r', '', i FROM {series}"),
        "INSERT INTO event_cursors VALUES ('hook', 0, 0, 0, 0, 0)".to_owned(),
        format!(
            "INSERT INTO blob_removals (digest, location, size, next_attempt_at)
             SELECT {digest}, '', 1, i FROM {series}"
        ),
        // As the server does by itself after a while.
        "VACUUM ANALYZE".to_owned(),
    ] {
        database.sql_blocking(&fill);
    }
}

/// Pages that a query with values looks at.
fn pages_blocking(database: &TestDatabase<'_>, query: &str, values: &str, plan: &str) -> u32 {
    let explained = database.sql_blocking(&format!(
        "{PLANNING}; SET plan_cache_mode = {plan}; PREPARE asked AS {query}; BEGIN;
         EXPLAIN (ANALYZE, BUFFERS) EXECUTE asked ({values}); ROLLBACK"
    ));
    let buffers = explained.lines().find(|line| line.contains("Buffers: shared"));
    let buffers = buffers.unwrap_or_else(|| panic!("no pages are told: {explained}"));
    let pages = |kind: &str| {
        let (_, rest) = buffers.split_once(kind)?;
        rest.split(' ').next()?.parse::<u32>().ok()
    };
    pages("hit=").unwrap_or_default() + pages("read=").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_costs_the_same_however_much_there_is() {
    let Some(cluster) = TestCluster::shared_blocking() else { return };
    let mut databases = Vec::new();
    for count in [10, MANY] {
        let database = cluster.database_blocking();
        let options = PostgresOptions::from_url_blocking(&database.url()).unwrap();
        PostgresMetadata::connect(options).await.unwrap().close().await;
        tokio::task::block_in_place(|| fill_blocking(&database, count));
        databases.push(database);
    }
    let first = "'\\x01'::BYTEA || decode(lpad('1', 64, '0'), 'hex')";
    let digest = |rest: &str| format!("{first}{rest}");
    for (query, values) in [
        (repositories::REPOSITORY_PAGE, "'r000003', 3".to_owned()),
        (repositories::TAG_PAGE, "'r000001', 't000003', 3".to_owned()),
        (repositories::TAG_RECORD_PAGE, "'r000001', 't000003', 3".to_owned()),
        (referrers::PAGE, format!("'r000001', {first}, 3, 3, 1000000, 256")),
        (referrers::TYPE_PAGE, format!("'r000001', {first}, 3, 3, 1000000, 256, 'c/d'")),
        (blobs::FIND, format!("'r000001', {first}")),
        (blobs::FIND_ANYWHERE, digest("")),
        (manifests::BY_TAG, "'r000001', 't000003'".to_owned()),
        (manifests::BY_DIGEST, format!("'r000001', {first}")),
        (verdicts::NAMING, format!("1, {first}")),
        (verdicts::PARENT, format!("1, {first}")),
        (queue::DUE, "1::SMALLINT, 1000000, 3".to_owned()),
        (uploads::STALE, "1000000, 3".to_owned()),
        (events::AFTER, "3, 3".to_owned()),
        (events::TRIM, "1000000, 3".to_owned()),
        (removals::TAKE, "1000000, 2000000, 3".to_owned()),
    ] {
        for plan in ["force_custom_plan", "force_generic_plan"] {
            let [few, many] = [&databases[0], &databases[1]].map(|database| {
                tokio::task::block_in_place(|| pages_blocking(database, query, &values, plan))
            });
            assert!(many <= few + ALLOWANCE, "{few} pages became {many} with a {plan}: {query}");
        }
    }
}
