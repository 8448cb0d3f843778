//! Subordinate ids: the ranges of `/etc/subuid` and `/etc/subgid` (subuid(5)) an ordinary user may map.

use std::fs;
use std::path::Path;

use super::id_map::IdRange;

/// The maps an ordinary user gets: 0 is the user, 1 and up are the subordinate ids in the file's order.
///
/// Empty if the file has no range for the user. Lines that make no sense are passed over, as `newuidmap` does.
pub(super) fn ranges_with_own_id(file: &Path, name: Option<&str>, uid: u32, own_id: u32) -> Vec<IdRange> {
    let text = fs::read_to_string(file).unwrap_or_default();
    ranges_from_text(&text, name, uid, own_id)
}

fn ranges_from_text(text: &str, name: Option<&str>, uid: u32, own_id: u32) -> Vec<IdRange> {
    let uid_text = uid.to_string();
    let mut ranges = vec![IdRange { inside: 0, outside: own_id, length: 1 }];
    let mut inside = 1_u32;
    for line in text.lines() {
        let mut fields = line.split(':');
        let (Some(owner), Some(start), Some(length), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if Some(owner) != name && owner != uid_text {
            continue;
        }
        let (Ok(outside), Ok(length)) = (start.trim().parse::<u32>(), length.trim().parse::<u32>()) else {
            continue;
        };
        let Some(next) = inside.checked_add(length) else { continue };
        if length == 0 || outside.checked_add(length).is_none() {
            continue;
        }
        ranges.push(IdRange { inside, outside, length });
        inside = next;
    }
    if ranges.len() == 1 { Vec::new() } else { ranges }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_id_and_put_in_a_row() {
        let text = "# comment\nother:1:5\nana:100000:65536\n1000:300000:10\nana:x:y\nana:5\nana:7:0\n";
        let ranges = ranges_from_text(text, Some("ana"), 1000, 1000);
        let expected = [(0, 1000, 1), (1, 100_000, 65536), (65537, 300_000, 10)];
        let expected: Vec<IdRange> =
            expected.map(|(inside, outside, length)| IdRange { inside, outside, length }).into();
        assert_eq!(ranges, expected);
    }

    #[test]
    fn no_range_gives_no_map() {
        assert!(ranges_from_text("other:1:5\n", Some("ana"), 1000, 1000).is_empty());
        assert!(ranges_from_text("", None, 1000, 1000).is_empty());
    }
}
