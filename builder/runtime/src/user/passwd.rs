//! Reading passwd(5) and group(5) files of an image, which may hold anything.
//!
//! Lines that make no sense are passed over, as the C library does; a file is read up to a bound and must be a regular
//! file, so that a fifo or a device in an image cannot stop a build.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::FileType;

/// The largest database read. A passwd file of 100,000 users has about 6 MiB.
const MAX_DATABASE: u64 = 16 << 20;

/// One line of passwd(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PasswdEntry {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
}

/// One line of group(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupEntry {
    pub(crate) name: String,
    pub(crate) gid: u32,
    pub(crate) members: Vec<String>,
}

/// Both databases of a root file system; a missing file is an empty one.
#[derive(Debug, Default)]
pub(crate) struct Databases {
    pub(crate) passwd: Vec<PasswdEntry>,
    pub(crate) group: Vec<GroupEntry>,
}

/// Reads a database from an open file.
pub(crate) fn read_database(file: OwnedFd) -> io::Result<String> {
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    let mut bytes = Vec::new();
    File::from(file).take(MAX_DATABASE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_DATABASE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 16 MiB"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(crate) fn parse_passwd(text: &str) -> Vec<PasswdEntry> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let _password = fields.next()?;
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let _comment = fields.next();
        let home = fields.next().unwrap_or_default();
        Some(PasswdEntry { name: name.to_owned(), uid, gid, home: home.to_owned() })
    };
    text.lines().filter_map(parse).collect()
}

pub(crate) fn parse_group(text: &str) -> Vec<GroupEntry> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let _password = fields.next()?;
        let gid = fields.next()?.parse().ok()?;
        let members = fields.next().unwrap_or_default();
        let members = members.split(',').map(str::trim).filter(|member| !member.is_empty());
        Some(GroupEntry { name: name.to_owned(), gid, members: members.map(str::to_owned).collect() })
    };
    text.lines().filter_map(parse).collect()
}

/// The name of a user of this machine, as far as `/etc/passwd` knows it.
pub(crate) fn name_of_host_user(uid: u32) -> Option<String> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    parse_passwd(&text).into_iter().find(|entry| entry.uid == uid).map(|entry| entry.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_nonsense_is_passed_over() {
        let text = "root:x:0:0:root:/root:/bin/sh\n\nbroken\napp:x:abc:1::/\nana:x:1000:1000::/home/ana:\nshort:x:5:6\n";
        let entries = parse_passwd(text);
        let names: Vec<_> =
            entries.iter().map(|entry| (entry.name.as_str(), entry.uid, entry.home.as_str())).collect();
        assert_eq!(names, [("root", 0, "/root"), ("ana", 1000, "/home/ana"), ("short", 5, "")]);
        let groups = parse_group("wheel:x:10:root, ana,\nempty:x:11:\nbad:x\n");
        assert_eq!(groups[0].members, ["root", "ana"]);
        assert_eq!(groups.len(), 2);
        assert!(groups[1].members.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text in ".*(\n.*){0,5}") {
            for entry in parse_passwd(&text) {
                proptest::prop_assert!(!entry.name.is_empty() && !entry.name.contains(':'));
            }
            parse_group(&text);
        }
    }
}
