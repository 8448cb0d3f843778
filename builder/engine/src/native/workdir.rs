//! WORKDIR: the directory and those above it are made where they are missing, owned by the user in force.

use std::sync::Arc;

use builder_plan::WorkdirStep;
use builder_runtime::resolve_owner;
use builder_store::store::Upper;
use builder_store::tree::NewDirectory;

use super::session::Session;
use crate::error::{Result, StepProblem};

/// Mode of a directory that is made.
const DIRECTORY_MODE: u32 = 0o755;

pub(super) fn make_blocking(
    session: &Arc<Session>,
    upper: &Upper,
    workdir: &WorkdirStep,
) -> Result<(), StepProblem> {
    let (uid, gid) = match workdir.user.as_str() {
        "" => (0, 0),
        user => {
            let owner = resolve_owner(upper.lowers(), user)?;
            (owner.uid, owner.gid)
        }
    };
    let mut tree = upper.tree()?;
    let place = tree.tree().resolve(workdir.path.as_bytes(), true)?;
    if place.node.is_some_and(|node| node.metadata.is_directory()) {
        return Ok(());
    }
    tree.directory(&place.path, &NewDirectory { mode: DIRECTORY_MODE, uid, gid, modified: session.now() })?;
    Ok(tree.finish()?)
}
