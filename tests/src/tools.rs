//! Where programs are, and what happens when one is missing.

use std::{
    env, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Our binary: `SLIPWAY_BINARY`, else the one cargo built beside this test.
pub fn binary() -> PathBuf {
    if let Some(path) = env::var_os("SLIPWAY_BINARY") {
        return path.into();
    }
    let mut folder = env::current_exe().expect("a test knows its own path");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join("slipway");
    assert!(path.exists(), "{} is not built: run cargo build first, or set SLIPWAY_BINARY", path.display());
    path
}

/// A program that `cargo xtask fixtures` installs, by its name.
pub fn tool(name: &str) -> Option<PathBuf> {
    let folder = match env::var_os("SLIPWAY_TOOLS") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env::var_os("HOME")?).join(".cache/slipway/tools"),
    };
    Some(folder.join(name)).filter(|path| path.exists())
}

/// A program of the system.
pub fn program(path: &str) -> Option<&Path> {
    Some(Path::new(path)).filter(|path| path.exists())
}

/// Whether this process may change the machine.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Says why a test does nothing. In CI, where everything is installed, that is a failure.
///
/// # Panics
/// When `CI` is `true` or `1`.
pub fn skip(reason: &str) {
    let in_ci = env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    assert!(!in_ci, "skipped in CI: {reason}");
    eprintln!("skipped: {reason}");
}
