use proptest::prelude::*;

use super::*;

type Cache = ExactCache<u8, u32>;

fn cache() -> Cache {
    ExactCache::new(1 << 20, |_| 4)
}

fn load(cache: &Cache, key: u8) -> Load<'_, u8, u32> {
    match cache.look_up(key) {
        Lookup::Miss(load) => load,
        Lookup::Hit(value) => panic!("{key} was cached as {value}"),
    }
}

#[test]
fn a_value_is_found_again_until_it_changes() {
    let cache = cache();
    load(&cache, 1).finish(10);
    load(&cache, 2).finish(20);
    assert!(matches!(cache.look_up(1), Lookup::Hit(10)));
    cache.begin(&[1]);
    cache.end(&[1]);
    assert_eq!(cache.peek(&1), None);
    assert_eq!(cache.peek(&2), Some(20), "a key that did not change was dropped");
}

#[test]
fn what_was_read_before_a_commit_is_not_stored_after_it() {
    let cache = cache();
    let early = load(&cache, 1);
    cache.begin(&[1]);
    let during = load(&cache, 1);
    cache.end(&[1]);
    early.finish(10);
    during.finish(11);
    assert_eq!(cache.peek(&1), None);
    load(&cache, 1).finish(12);
    assert_eq!(cache.peek(&1), Some(12));
}

#[test]
fn a_cancelled_read_leaves_no_registration() {
    let cache = cache();
    drop(load(&cache, 1));
    drop(load(&cache, 2));
    assert!(cache.shards.iter().all(|shard| shard.lock().unwrap().loads.is_empty()));
}

#[test]
fn bytes_are_bounded_and_the_least_used_go_first() {
    let budget = SHARDS * 4 * (ENTRY_OVERHEAD + 100);
    let cache: ExactCache<u32, Vec<u8>> = ExactCache::new(budget, Vec::len);
    for key in 0..1_000 {
        // Key 0 is asked for all the time and stays.
        if let Lookup::Miss(load) = cache.look_up(0) {
            assert!(key == 0, "the most used entry was dropped");
            load.finish(vec![0; 100]);
        }
        if let Lookup::Miss(load) = cache.look_up(key) {
            load.finish(vec![0; 100]);
        }
        assert!(cache.bytes() <= budget);
    }
    if let Lookup::Miss(load) = cache.look_up(5_000) {
        load.finish(vec![0; budget]);
    }
    assert_eq!(cache.peek(&5_000), None, "one value larger than its share was kept");
}

#[test]
fn with_no_bytes_nothing_is_kept() {
    let cache: Cache = ExactCache::new(0, |_| 4);
    load(&cache, 1).finish(10);
    assert_eq!(cache.peek(&1), None);
}

/// One step of a reader or of the writer.
#[derive(Debug, Clone)]
enum Step {
    StartLoad {
        reader: usize,
        key: u8,
    },
    ReadRow {
        reader: usize,
    },
    FinishLoad {
        reader: usize,
    },
    CancelLoad {
        reader: usize,
    },
    /// The writer's next step: begin on these keys, commit, or end.
    Write {
        keys: Vec<u8>,
        fails: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let reader = 0_usize..4;
    let key = 0_u8..3;
    prop_oneof![
        3 => (reader.clone(), key.clone()).prop_map(|(reader, key)| Step::StartLoad { reader, key }),
        3 => reader.clone().prop_map(|reader| Step::ReadRow { reader }),
        3 => reader.clone().prop_map(|reader| Step::FinishLoad { reader }),
        1 => reader.prop_map(|reader| Step::CancelLoad { reader }),
        4 => (proptest::collection::vec(key, 1..3), any::<bool>())
            .prop_map(|(keys, fails)| Step::Write { keys, fails }),
    ]
}

/// A load, its key, and the row once it was read.
type Reading<'cache> = (Load<'cache, u8, u32>, u8, Option<u32>);

enum Writing {
    Idle,
    Begun { keys: Vec<u8>, fails: bool },
    Committed { keys: Vec<u8> },
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// In every interleaving of four readers and the writer, an entry equals the committed row at every moment.
    #[test]
    fn no_interleaving_makes_an_entry_stale(steps in proptest::collection::vec(step(), 1..60)) {
        let cache = cache();
        let mut rows = [0_u32; 3];
        let mut next = 1;
        let mut readers: Vec<Option<Reading<'_>>> = (0..4).map(|_| None).collect();
        let mut writing = Writing::Idle;
        for step in steps {
            match step {
                Step::StartLoad { reader, key } => {
                    readers[reader] = match cache.look_up(key) {
                        Lookup::Hit(value) => {
                            prop_assert_eq!(value, rows[key as usize]);
                            None
                        }
                        Lookup::Miss(load) => Some((load, key, None)),
                    };
                }
                Step::ReadRow { reader } => {
                    if let Some((_, key, row)) = &mut readers[reader] {
                        *row = Some(rows[*key as usize]);
                    }
                }
                Step::FinishLoad { reader } => match readers[reader].take() {
                    Some((load, _, Some(row))) => load.finish(row),
                    other => readers[reader] = other,
                },
                Step::CancelLoad { reader } => readers[reader] = None,
                Step::Write { keys, fails } => {
                    writing = match writing {
                        Writing::Idle => {
                            cache.begin(&keys);
                            Writing::Begun { keys, fails }
                        }
                        Writing::Begun { keys, fails } => {
                            for key in keys.iter().filter(|_| !fails) {
                                rows[*key as usize] = next;
                                next += 1;
                            }
                            Writing::Committed { keys }
                        }
                        Writing::Committed { keys } => {
                            cache.end(&keys);
                            Writing::Idle
                        }
                    };
                }
            }
            for (key, row) in rows.iter().enumerate() {
                if let Some(cached) = cache.peek(&(key as u8)) {
                    prop_assert_eq!(cached, *row);
                }
            }
        }
    }
}
