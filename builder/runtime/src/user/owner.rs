//! The owner `COPY --chown` and `ADD --chown` name, resolved against layers that need not be mounted.

use std::path::{Path, PathBuf};

use super::layered::LayeredRoot;
use super::passwd::{self, Databases};
use super::resolve::{self, UserError};
use super::walk::{Entry, follow};
use crate::error::RuntimeError;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// User and group id of a file, as seen inside the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Resolves `name`, `uid`, `name:group` or `uid:gid` against `layers` (uppermost first).
///
/// As BuildKit does: without a group a name brings its own group and a number is also the group's number. The databases
/// are only read when a name has to be looked up.
///
/// # Errors
/// [`RuntimeError::UnknownUser`] for a name the image lacks, [`RuntimeError::InvalidUser`] for senseless text,
/// [`RuntimeError::File`] when a layer cannot be read.
pub fn resolve_owner(layers: &[PathBuf], text: &str) -> Result<Owner, RuntimeError> {
    let (user, group) = resolve::split(text)?;
    if user.is_empty() {
        return Err(RuntimeError::InvalidUser { text: text.to_owned() });
    }
    let user_id = resolve::numeric_id(user)?;
    let group_id = group.map(resolve::numeric_id).transpose()?.flatten();
    let wants_groups = group.is_some() && group_id.is_none();
    let databases = read_databases(layers, user_id.is_none(), wants_groups)?;
    let (uid, own_group) = match user_id {
        Some(uid) => (uid, uid),
        None => {
            let identity = resolve::identity(user, &databases)?;
            (identity.uid, identity.gid)
        }
    };
    let gid = match (group, group_id) {
        (None, _) => own_group,
        (Some(_), Some(gid)) => gid,
        (Some(name), None) => resolve::group_id(name, &databases)?,
    };
    Ok(Owner { uid, gid })
}

fn read_databases(layers: &[PathBuf], passwd: bool, group: bool) -> Result<Databases, RuntimeError> {
    if !passwd && !group {
        return Ok(Databases::default());
    }
    let root = LayeredRoot::open(layers)
        .map_err(|(path, error)| RuntimeError::file("opening layer", path, error))?;
    let mut databases = Databases::default();
    if passwd {
        databases.passwd = passwd::parse_passwd(&read_file(&root, PASSWD)?);
    }
    if group {
        databases.group = passwd::parse_group(&read_file(&root, GROUP)?);
    }
    Ok(databases)
}

fn read_file(root: &LayeredRoot, path: &str) -> Result<String, RuntimeError> {
    let read = || {
        let found = follow(root, Path::new(path))?;
        match found.entry {
            Entry::Missing => Ok(String::new()),
            _ => passwd::read_database(root.open_file(&found.path)?),
        }
    };
    read().map_err(|error| RuntimeError::file("reading in the image", path, error))
}

impl From<UserError> for RuntimeError {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Unknown { group, name } => Self::UnknownUser {
                kind: if group { "group" } else { "user" },
                name,
                database: if group { GROUP } else { PASSWD },
            },
            UserError::Invalid { text } => Self::InvalidUser { text },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn owners_follow_buildkit() {
        let layer = tempfile::tempdir().unwrap();
        fs::create_dir(layer.path().join("etc")).unwrap();
        fs::write(layer.path().join("etc/passwd"), "ana:x:1000:1001::/:\n").unwrap();
        fs::write(layer.path().join("etc/group"), "wheel:x:10:\n").unwrap();
        let layers = [layer.path().to_owned()];
        let owner = |text: &str| resolve_owner(&layers, text).map(|owner| (owner.uid, owner.gid));
        assert_eq!(owner("ana").unwrap(), (1000, 1001));
        assert_eq!(owner("ana:wheel").unwrap(), (1000, 10));
        assert_eq!(owner("55").unwrap(), (55, 55));
        assert_eq!(owner("55:66").unwrap(), (55, 66));
        assert_eq!(owner("55:wheel").unwrap(), (55, 10));
        let text = owner("bob").unwrap_err().to_string();
        assert!(text.contains("\"bob\"") && text.contains("/etc/passwd"), "{text}");
        let text = owner("ana:none").unwrap_err().to_string();
        assert!(text.contains("\"none\"") && text.contains("/etc/group"), "{text}");
        assert!(matches!(owner(":5"), Err(RuntimeError::InvalidUser { .. })));
    }

    #[test]
    fn numbers_need_no_layer() {
        assert_eq!(resolve_owner(&["/does/not/exist".into()], "1:2").unwrap(), Owner { uid: 1, gid: 2 });
    }

    #[test]
    fn a_fifo_in_the_image_cannot_stop_the_build() {
        let layer = tempfile::tempdir().unwrap();
        fs::create_dir(layer.path().join("etc")).unwrap();
        let path = layer.path().join("etc/passwd");
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let text = resolve_owner(&[layer.path().to_owned()], "ana").unwrap_err().to_string();
        assert!(text.contains("not a regular file"), "{text}");
    }
}
