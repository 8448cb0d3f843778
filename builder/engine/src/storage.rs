//! Where the builder keeps its store unless told otherwise.

use std::env;
use std::path::PathBuf;

use builder_runtime::Privilege;

/// The directory for whoever started the builder: `/var/lib/slipway/builder` for root, else below `XDG_DATA_HOME` (XDG
/// Base Directory Specification) or `~/.local/share`. `None` if an ordinary user has no home.
pub fn default_storage(privilege: Privilege) -> Option<PathBuf> {
    const BELOW: &str = "slipway/builder";
    match privilege {
        Privilege::Root | Privilege::ContainerRoot => Some(PathBuf::from("/var/lib").join(BELOW)),
        _ => {
            let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
            let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
            Some(data?.join(BELOW))
        }
    }
}
