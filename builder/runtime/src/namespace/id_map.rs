//! Maps of user and group ids, in the kernel's own form (user_namespaces(7)).

use std::fmt::{self, Write as _};
use std::fs;
use std::io;

use rustix::process::Pid;

use crate::error::RuntimeError;

/// `(uid_t) -1` names no user.
const INVALID_ID: u32 = u32::MAX;

/// A run of ids: `inside..inside + length` in the namespace are `outside..` in its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First id inside the namespace.
    pub inside: u32,
    /// First id it stands for outside.
    pub outside: u32,
    /// How many ids.
    pub length: u32,
}

/// Which ids exist in a user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap {
    /// User ids.
    pub users: Vec<IdRange>,
    /// Group ids.
    pub groups: Vec<IdRange>,
}

impl IdMap {
    /// The map of this process's own user namespace.
    ///
    /// # Errors
    /// [`RuntimeError::File`] if `/proc` is not there.
    pub fn current() -> Result<Self, RuntimeError> {
        let read = |path: &str| {
            fs::read_to_string(path)
                .and_then(|text| parse_ranges(&text))
                .map_err(|error| RuntimeError::file("reading id map", path, error))
        };
        Ok(Self { users: read("/proc/self/uid_map")?, groups: read("/proc/self/gid_map")? })
    }

    /// Only this user and group, as root inside: all that is possible without subordinate ids.
    pub fn single(uid: u32, gid: u32) -> Self {
        Self {
            users: vec![IdRange { inside: 0, outside: uid, length: 1 }],
            groups: vec![IdRange { inside: 0, outside: gid, length: 1 }],
        }
    }

    /// Whether files can be given to this user inside.
    pub fn maps_user(&self, uid: u32) -> bool {
        contains(&self.users, uid)
    }

    /// Whether files can be given to this group inside.
    pub fn maps_group(&self, gid: u32) -> bool {
        contains(&self.groups, gid)
    }

    /// The map of a nested namespace that sees exactly the ids of this one under the same numbers.
    pub(crate) fn nested_identity(&self) -> Self {
        let identity = |ranges: &[IdRange]| {
            ranges.iter().map(|range| IdRange { outside: range.inside, ..*range }).collect()
        };
        Self { users: identity(&self.users), groups: identity(&self.groups) }
    }

    /// Writes the map for a process that has just entered its own user namespace.
    ///
    /// Needs `CAP_SETUID` and `CAP_SETGID` in this process's namespace, or a map of one id and denied setgroups.
    pub(crate) fn write(&self, process: Pid) -> io::Result<()> {
        let process = process.as_raw_nonzero();
        fs::write(format!("/proc/{process}/uid_map"), format_ranges(&self.users))?;
        fs::write(format!("/proc/{process}/gid_map"), format_ranges(&self.groups))
    }
}

impl fmt::Display for IdMap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |ranges: &[IdRange]| ranges.iter().map(|range| u64::from(range.length)).sum::<u64>();
        write!(formatter, "{} user ids and {} group ids", count(&self.users), count(&self.groups))
    }
}

fn contains(ranges: &[IdRange], id: u32) -> bool {
    id != INVALID_ID && ranges.iter().any(|range| id >= range.inside && id - range.inside < range.length)
}

/// Three numbers a line.
fn parse_ranges(text: &str) -> io::Result<Vec<IdRange>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, format!("not an id map: {text:?}"));
    text.lines()
        .map(|line| {
            let mut numbers =
                line.split_ascii_whitespace().map(|word| word.parse::<u32>().map_err(|_| invalid()));
            let mut next = || numbers.next().unwrap_or_else(|| Err(invalid()));
            Ok(IdRange { inside: next()?, outside: next()?, length: next()? })
        })
        .collect()
}

pub(super) fn format_ranges(ranges: &[IdRange]) -> String {
    let mut text = String::new();
    for range in ranges {
        let _ = writeln!(text, "{} {} {}", range.inside, range.outside, range.length);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_form_is_parsed_and_written_back() {
        let text = "         0       1000          1\n         1     100000      65536\n";
        let ranges = parse_ranges(text).unwrap();
        assert_eq!(ranges[1], IdRange { inside: 1, outside: 100_000, length: 65536 });
        assert_eq!(format_ranges(&ranges), "0 1000 1\n1 100000 65536\n");
        assert!(parse_ranges("0 1000").is_err());
        assert!(parse_ranges("0 x 1").is_err());
    }

    #[test]
    fn membership_ends_where_the_ranges_end() {
        let map = IdMap {
            users: parse_ranges("0 1000 1\n1 100000 10").unwrap(),
            groups: parse_ranges("0 0 4294967295").unwrap(),
        };
        assert!(map.maps_user(0) && map.maps_user(10));
        assert!(!map.maps_user(11) && !map.maps_user(1000));
        assert!(map.maps_group(4_294_967_294));
        assert!(!map.maps_group(u32::MAX));
    }

    #[test]
    fn a_nested_namespace_sees_the_same_numbers() {
        let map = IdMap { users: parse_ranges("0 1000 1\n1 100000 10").unwrap(), groups: Vec::new() };
        assert_eq!(format_ranges(&map.nested_identity().users), "0 0 1\n1 1 10\n");
    }
}
