//! `--chown=user[:group]`

/// A user or a group, by number or by a name that the root file system's `/etc/passwd` or `/etc/group` knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    Id(u32),
    Name(String),
}

/// Owner of copied files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ownership {
    pub user: Principal,
    /// If not given: of a user by name its primary group, of a user by number the group of the same number.
    pub group: Option<Principal>,
}

impl Ownership {
    /// Without a user it is root.
    pub(crate) fn parse(text: &str) -> Self {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let user = if user.is_empty() { Principal::Id(0) } else { principal(user) };
        Self { user, group: (!group.is_empty()).then(|| principal(group)) }
    }
}

fn principal(text: &str) -> Principal {
    match text.parse() {
        Ok(id) if text.bytes().all(|byte| byte.is_ascii_digit()) => Principal::Id(id),
        _ => Principal::Name(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let name = |text: &str| Principal::Name(text.to_owned());
        for (text, user, group) in [
            ("1000", Principal::Id(1000), None),
            ("app:5", name("app"), Some(Principal::Id(5))),
            ("a:", name("a"), None),
            ("99999999999:+1", name("99999999999"), Some(name("+1"))),
            (":5", Principal::Id(0), Some(Principal::Id(5))),
        ] {
            assert_eq!(Ownership::parse(text), Ownership { user, group }, "{text}");
        }
    }
}
