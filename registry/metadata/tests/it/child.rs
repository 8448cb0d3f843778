//! A second process: this test binary again, running one test that is otherwise ignored.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

/// Names the database for the child.
const DATABASE: &str = "METADATA_TEST_DATABASE";

/// Starts `test` (its whole path) on `database`, with further variables. It reports on its standard error.
pub(crate) fn start(test: &str, database: &Path, variables: &[(&str, String)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DATABASE, database)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The database given by the parent.
pub(crate) fn database() -> std::path::PathBuf {
    std::env::var_os(DATABASE).expect("only the parent test starts this one").into()
}

pub(crate) fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}
