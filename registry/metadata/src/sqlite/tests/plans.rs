//! How SQLite finds the rows of a statement: a scan would grow with the registry.

use rusqlite::Connection;

use crate::{
    TABLES,
    sqlite::{
        collection, events, explanation, manifest_rows, policies, queue, quotas, referrers, removals,
        repositories, rows, schema, verdicts,
    },
};

/// Every listing, every look of a request and every statement of a batch.
const STATEMENTS: &[&str] = &[
    repositories::TAG_PAGE,
    repositories::REPOSITORY_PAGE,
    repositories::TAG_RECORD_PAGE,
    referrers::PAGE,
    referrers::TYPE_PAGE,
    "SELECT id FROM uploads WHERE touched_at < 1 ORDER BY touched_at, id LIMIT 1",
    "SELECT name FROM tags WHERE repository_id = 1 AND manifest_id = 1",
    "SELECT repository_id FROM repository_blobs WHERE blob_id = 1",
    "SELECT 1 FROM repository_manifests WHERE manifest_id = 1 LIMIT 1",
    manifest_rows::FORGET_REFERENCES,
    manifest_rows::QUEUE_LINKS,
    manifest_rows::QUEUE_CHILDREN,
    queue::DUE,
    queue::UNPARK,
    verdicts::NAMING,
    verdicts::PARENT,
    verdicts::HAS_MANIFEST,
    collection::REFERRERS_TO_ORPHAN,
    removals::TAKE,
    explanation::REPOSITORIES_OF_MANIFEST,
    explanation::REPOSITORIES_OF_BLOB,
    explanation::MANIFESTS_NAMING,
    quotas::COVERING,
    events::AFTER,
    quotas::REPOSITORIES_BELOW,
    policies::RECORD_PULL,
];

/// Steps that find rows through an index or hand over what another step found.
const CHEAP: [&str; 3] = ["SEARCH", "LIST SUBQUERY", "SCALAR SUBQUERY"];

#[test]
fn pages_of_rows_are_found_by_their_key() {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate_blocking(&mut connection).unwrap();
    for table in TABLES {
        let page = rows::page_statement(table, false);
        assert!(is_cheap(&connection, &page));
    }
}

#[test]
fn nothing_is_scanned_or_sorted() {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate_blocking(&mut connection).unwrap();
    for statement in STATEMENTS {
        assert!(is_cheap(&connection, statement));
    }
}

fn is_cheap(connection: &Connection, statement: &str) -> bool {
    let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
    let plan: Vec<String> = explained.raw_query().mapped(|row| row.get(3)).collect::<Result<_, _>>().unwrap();
    let cheap = |step: &String| CHEAP.iter().any(|cheap| step.starts_with(cheap));
    let is_cheap = !plan.is_empty() && plan.iter().all(cheap);
    if !is_cheap {
        eprintln!("{statement}: {plan:?}");
    }
    is_cheap
}
