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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_s_store_is_the_machine_s_and_a_user_s_is_its_own() {
        let machine = Some(PathBuf::from("/var/lib/slipway/builder"));
        assert_eq!(default_storage(Privilege::Root), machine);
        assert_eq!(default_storage(Privilege::ContainerRoot), machine);
        let own = default_storage(Privilege::User);
        assert!(own.is_none_or(|path| path.is_absolute() && path.ends_with("slipway/builder")));
    }
}
