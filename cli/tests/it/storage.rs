//! `slipway builder prune` and `slipway builder usage`.

use crate::kit::{Kit, run};

fn json(kit: &Kit, verb: &str, arguments: &[&str]) -> serde_json::Value {
    let (code, told, said) = run(kit.builder(verb, &[arguments, &["--output", "json"]].concat()));
    assert_eq!(code, Some(0), "{said}");
    serde_json::from_str(&told).unwrap()
}

#[test]
fn what_builds_left_is_told_and_removed() {
    let kit = Kit::new();
    kit.file("one", vec![1; 300_000]);
    let (code, _, said) = run(kit.build("FROM scratch\nCOPY one /\n", &["-t", "localhost/kept:1"]));
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) = run(kit.build("FROM scratch\nCOPY one /other\n", &[]));
    assert_eq!(code, Some(0), "{said}");
    let before = json(&kit, "usage", &[]);
    assert_eq!(before["images"][0]["name"], "localhost/kept:1");
    assert_eq!(before["snapshots"]["count"], 2);
    let foreseen = json(&kit, "prune", &["--keep-storage", "0", "--dry-run"]);
    assert_eq!(foreseen["freed_bytes"], before["reclaimable_bytes"]);
    assert_eq!(json(&kit, "df", &[]), before, "a dry run removes nothing");
    let pruned = json(&kit, "prune", &["--keep-storage", "0"]);
    assert_eq!((&pruned["removed"], &pruned["dry_run"]), (&foreseen["removed"], &false.into()));
    let after = json(&kit, "usage", &[]);
    assert_eq!(
        (after["reclaimable_bytes"].as_u64(), after["snapshots"]["count"].as_u64()),
        (Some(0), Some(0))
    );
    assert_eq!(after["bytes"], pruned["left_bytes"]);
    assert_eq!(after["images"], before["images"], "a name keeps its image");
    let (_, told, _) = run(kit.builder("prune", &["--older-than", "7d"]));
    assert!(told.starts_with("removed nothing: 0 B freed"), "{told}");
    let (_, told, _) = run(kit.builder("usage", &[]));
    assert!(told.contains("KIND") && told.contains("localhost/kept:1"), "{told}");
    let (_, told, _) = run(kit.builder("prune", &["--all"]));
    assert!(told.contains("1 name,") && told.trim_end().ends_with("0 B left"), "{told}");
    assert_eq!(json(&kit, "usage", &[])["bytes"], 0);
}

#[test]
fn prune_wants_to_be_told_how_far() {
    let kit = Kit::new();
    for arguments in [&[][..], &["--dry-run"], &["--keep-storage", "lots"], &["--all", "--older-than", "1d"]]
    {
        let (code, _, said) = run(kit.builder("prune", arguments));
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
    }
}
