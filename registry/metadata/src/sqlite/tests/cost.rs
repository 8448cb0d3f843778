//! What a query costs, in steps of SQLite's machine: the same with ten rows and with 100,000.

use rusqlite::{Connection, StatementStatus, params};

use crate::{
    PageRequest, ReferrerMarker, ReferrersRequest,
    sqlite::{columns::DigestColumn, referrers, repositories, schema},
    suite::samples::{blob, parse, repository},
};

/// A database with as many repositories, and as many tags in the first of them.
fn filled(count: u32) -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.set_prepared_statement_cache_capacity(16);
    schema::migrate_blocking(&mut connection).unwrap();
    let fill = [
        "INSERT INTO manifests VALUES (1, x'01', 'a/b', NULL, NULL, 1, x'')",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO repositories SELECT i, printf('r%06d', i), 0 FROM n",
        "INSERT INTO repository_manifests (id, repository_id, manifest_id, pushed_at) VALUES (1, 1, 1, 0)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO tags SELECT 1, printf('t%06d', i), 1, 0 FROM n",
    ];
    for statement in fill {
        let mut statement = connection.prepare(statement).unwrap();
        let count = [count];
        let parameters = if statement.parameter_count() == 0 { &[] } else { &count[..] };
        statement.execute(rusqlite::params_from_iter(parameters)).unwrap();
    }
    connection
        .execute("UPDATE manifests SET digest = ?1", params![[&[1_u8][..], &[7; 32]].concat()])
        .unwrap();
    connection
}

/// Steps of the last run of a statement.
fn steps(connection: &Connection, statement: &str, run: impl FnOnce()) -> i32 {
    connection.prepare_cached(statement).unwrap().reset_status(StatementStatus::VmStep);
    run();
    connection.prepare_cached(statement).unwrap().reset_status(StatementStatus::VmStep)
}

#[test]
fn a_page_costs_the_same_however_long_the_list() {
    let page = PageRequest { after: None, limit: 5 };
    let first = repository("r000001");
    let costs = [10, 100_000].map(|count| {
        let connection = filled(count);
        let middle = PageRequest { after: Some(format!("t{:06}", count / 2)), limit: 3 };
        let run = |statement, page: &PageRequest| {
            steps(&connection, statement, || match statement {
                repositories::REPOSITORY_PAGE => {
                    assert!(repositories::list(&connection, page).unwrap().more);
                }
                repositories::TAG_PAGE => {
                    assert!(repositories::tags(&connection, &first, page).unwrap().unwrap().more);
                }
                _ => assert!(repositories::tag_records(&connection, &first, page).unwrap().unwrap().more),
            })
        };
        [
            run(repositories::REPOSITORY_PAGE, &page),
            run(repositories::TAG_PAGE, &page),
            run(repositories::TAG_PAGE, &middle),
            run(repositories::TAG_RECORD_PAGE, &page),
            run(repositories::TAG_RECORD_PAGE, &middle),
        ]
    });
    assert_eq!(costs[0], costs[1]);
    assert!(costs[0].iter().all(|steps| (1..200).contains(steps)), "{costs:?}");
}

#[test]
fn a_page_of_referrers_costs_the_same_however_many_there_are() {
    let subject = blob("a subject").digest;
    let costs = [10, 100_000].map(|count| {
        let connection = filled(count);
        let fill = [
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
             INSERT INTO manifests
             SELECT i, (SELECT digest FROM manifests WHERE id = 1), 'a/b' || i, ?1, '{}', 1, x'' FROM n",
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
             INSERT INTO repository_manifests (id, repository_id, manifest_id, subject, artifact_type, pushed_at)
             SELECT i, 1, i, ?1, 'a/' || (i % 2), 0 FROM n",
        ];
        connection.execute(fill[0], params!["a/b", count]).unwrap();
        connection.execute(fill[1], params![DigestColumn(subject), count]).unwrap();
        // The type that is asked for stands at the end of the list only.
        let rare = parse("Example/Rare");
        connection
            .execute("UPDATE repository_manifests SET artifact_type = 'example/RARE' WHERE id > ?1 - 5", [count])
            .unwrap();
        let cases = [(0, None), (i64::from(count) / 2, None), (0, Some(&rare))];
        cases.map(|(after, artifact_type)| {
            let page = ReferrersRequest { after: Some(ReferrerMarker(after)), entries: 3, bytes: usize::MAX };
            let statement = artifact_type.map_or(referrers::PAGE, |_| referrers::TYPE_PAGE);
            steps(&connection, statement, || {
                let here = repository("r000001");
                let page = referrers::list(&connection, &here, &subject, artifact_type, page).unwrap();
                assert!(page.more && page.entries.len() == 3);
            })
        })
    });
    assert_eq!(costs[0], costs[1]);
    assert!(costs[0].iter().all(|steps| (1..200).contains(steps)), "{costs:?}");
}
