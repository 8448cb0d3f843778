//! Every target over its seeds, over mutations of them, and over bytes from nowhere, in an ordinary build.

use std::{fs, path::PathBuf};

use proptest::{prelude::*, sample::Index};
use slipway_fuzz::{TARGETS, Target};

/// The seeds of a target, with their files, in the order of their names.
fn seeds(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = target.seeds();
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds: Vec<_> = files
        .map(|file| {
            let path = file.expect("a readable folder").path();
            let bytes = fs::read(&path).expect("a readable seed");
            (path, bytes)
        })
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn seeds_pass() {
    for target in TARGETS {
        let seeds = seeds(target);
        assert!(seeds.len() >= 3, "{} has {} seeds", target.name, seeds.len());
        for (path, input) in seeds {
            println!("{}", path.display());
            (target.run)(&input);
        }
    }
}

#[test]
fn no_folder_of_seeds_is_without_a_target() {
    let folder = TARGETS[0].seeds().parent().unwrap().to_owned();
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(Target::named(&name).is_some(), "there is no target {name}");
    }
}

/// One change to an input.
#[derive(Debug, Clone)]
enum Change {
    Put(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    /// A piece of the same target's other seed.
    Splice(Index, Index, Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Put(at, byte)),
        (at(), prop::sample::select(b"/.:%*,-=\n\0\"{}[]".to_vec()))
            .prop_map(|(at, byte)| Change::Put(at, byte)),
        (at(), prop::collection::vec(any::<u8>(), 1..6)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (at(), 1_usize..9).prop_map(|(at, count)| Change::Remove(at, count)),
        (at(), at(), at(), 1_usize..40)
            .prop_map(|(at, seed, from, count)| Change::Splice(at, seed, from, count)),
    ]
}

fn changed(mut input: Vec<u8>, change: &Change, seeds: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    let place = |index: &Index, length: usize| index.index(length + 1);
    match change {
        Change::Put(at, byte) => {
            let at = place(at, input.len());
            if let Some(own) = input.get_mut(at) {
                *own = *byte;
            }
        }
        Change::Insert(at, bytes) => {
            let at = place(at, input.len());
            input.splice(at..at, bytes.iter().copied());
        }
        Change::Remove(at, count) => {
            let at = place(at, input.len());
            input.drain(at..input.len().min(at + count));
        }
        Change::Splice(at, seed, from, count) => {
            let other = &seeds[seed.index(seeds.len())].1;
            let from = place(from, other.len());
            let piece = &other[from..other.len().min(from + count)];
            let at = place(at, input.len());
            input.splice(at..at, piece.iter().copied());
        }
    }
    input
}

proptest! {
    #[test]
    fn changed_seeds_pass(
        target in prop::sample::select(TARGETS),
        seed in any::<Index>(),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let seeds = seeds(&target);
        let input = seeds[seed.index(seeds.len())].1.clone();
        let input = changes.iter().fold(input, |input, change| changed(input, change, &seeds));
        (target.run)(&input);
    }

    #[test]
    fn bytes_from_nowhere_pass(target in prop::sample::select(TARGETS), input in prop::collection::vec(any::<u8>(), 0..200)) {
        (target.run)(&input);
    }
}
