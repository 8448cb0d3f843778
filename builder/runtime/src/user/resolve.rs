//! From the text of USER (`name`, `uid`, `name:group`, `uid:gid`) to the ids a step runs with, by Docker's rules.

use super::passwd::Databases;

/// The largest id that names a user; the next one means "no change" to the kernel.
const MAX_ID: u32 = u32::MAX - 1;

/// Who a step runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, the own one first.
    pub(crate) groups: Vec<u32>,
    /// As the database has it, also if that is nothing; `/` for a user that it does not know.
    pub(crate) home: String,
}

/// Why a text names nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UserError {
    Unknown { group: bool, name: String },
    Invalid { text: String },
}

/// `user` and optionally `group` of a text.
pub(crate) fn split(text: &str) -> Result<(&str, Option<&str>), UserError> {
    let invalid = || UserError::Invalid { text: text.to_owned() };
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((_, group)) if group.is_empty() || group.contains(':') => Err(invalid()),
        Some((user, group)) => Ok((user, Some(group))),
    }
}

/// A number, or `None` if the text is a name; a number out of range is an error.
pub(crate) fn numeric_id(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= MAX_ID => Ok(Some(id)),
        _ => Err(UserError::Invalid { text: text.to_owned() }),
    }
}

/// The group's id by name or number.
pub(crate) fn group_id(text: &str, databases: &Databases) -> Result<u32, UserError> {
    if let Some(entry) = databases.group.iter().find(|entry| entry.name == text) {
        return Ok(entry.gid);
    }
    numeric_id(text)?.ok_or_else(|| UserError::Unknown { group: true, name: text.to_owned() })
}

/// Who the text names. Empty means root.
///
/// A name must be known; a number need not be. Without a group the user's own one counts (0 if unknown), and then also
/// every group that lists the user is joined.
pub(crate) fn identity(text: &str, databases: &Databases) -> Result<Identity, UserError> {
    let (user, group) = split(text)?;
    let user = if user.is_empty() { "0" } else { user };
    let by_name = databases.passwd.iter().find(|entry| entry.name == user);
    let (entry, uid) = match (by_name, numeric_id(user)?) {
        (Some(entry), _) => (Some(entry), entry.uid),
        (None, Some(uid)) => (databases.passwd.iter().find(|entry| entry.uid == uid), uid),
        (None, None) => return Err(UserError::Unknown { group: false, name: user.to_owned() }),
    };
    let gid = match group {
        Some(group) => group_id(group, databases)?,
        None => entry.map_or(0, |entry| entry.gid),
    };
    // With the own group among them, so that a set-group-id program cannot be used to shed it (CVE-2023-25173).
    let mut groups = vec![gid];
    if let (None, Some(entry)) = (group, entry) {
        let listing_the_user = databases.group.iter().filter(|group| group.members.contains(&entry.name));
        groups.extend(listing_the_user.map(|group| group.gid).filter(|other| *other != gid));
    }
    let home = entry.map_or_else(|| "/".to_owned(), |entry| entry.home.clone());
    Ok(Identity { uid, gid, groups, home })
}

#[cfg(test)]
mod tests {
    use super::super::passwd::{parse_group, parse_passwd};
    use super::*;

    fn databases() -> Databases {
        Databases {
            passwd: parse_passwd(
                "root:x:0:0::/root:\nana:x:1000:1000::/home/ana:\n77:x:5:6::/odd:\nodd:x:9:9:::\n",
            ),
            group: parse_group("root:x:0:\nana:x:1000:\nwheel:x:10:root,ana\ndocker:x:20:ana\n"),
        }
    }

    fn ids(text: &str) -> (u32, u32, Vec<u32>, String) {
        let identity = identity(text, &databases()).unwrap();
        (identity.uid, identity.gid, identity.groups, identity.home)
    }

    #[test]
    fn names_numbers_and_groups_follow_docker() {
        assert_eq!(ids(""), (0, 0, vec![0, 10], "/root".into()));
        assert_eq!(ids("ana"), (1000, 1000, vec![1000, 10, 20], "/home/ana".into()));
        assert_eq!(ids("1000"), (1000, 1000, vec![1000, 10, 20], "/home/ana".into()));
        assert_eq!(ids("ana:wheel"), (1000, 10, vec![10], "/home/ana".into()));
        assert_eq!(ids("4242"), (4242, 0, vec![0], "/".into()));
        assert_eq!(ids("4242:4343"), (4242, 4343, vec![4343], "/".into()));
        assert_eq!(ids("odd"), (9, 9, vec![9], String::new()), "an empty home is no missing one");
        assert_eq!(ids("77"), (5, 6, vec![6], "/odd".into()), "a name made of digits is a name first");
    }

    #[test]
    fn unknown_and_senseless_texts_are_refused() {
        let error = |text: &str| identity(text, &databases()).unwrap_err();
        assert_eq!(error("bob"), UserError::Unknown { group: false, name: "bob".into() });
        assert_eq!(error("ana:nogroup"), UserError::Unknown { group: true, name: "nogroup".into() });
        assert!(matches!(error("4294967295"), UserError::Invalid { .. }));
        assert!(matches!(error("1:2:3"), UserError::Invalid { .. }));
        assert!(matches!(error("ana:"), UserError::Invalid { .. }));
    }

    proptest::proptest! {
        #[test]
        fn any_text_gives_ids_of_the_databases_or_of_the_text(text in "[a-z0-9:]{0,12}") {
            match identity(&text, &databases()) {
                Ok(identity) => {
                    proptest::prop_assert!(identity.uid <= MAX_ID && identity.gid <= MAX_ID);
                    proptest::prop_assert_eq!(identity.groups.first(), Some(&identity.gid));
                }
                Err(UserError::Unknown { name, .. }) => proptest::prop_assert!(text.contains(&name)),
                Err(UserError::Invalid { .. }) => {}
            }
        }
    }
}
