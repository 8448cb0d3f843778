//! What must hold before tests are worth running.

use anyhow::Result;

use crate::{arrows, shell};

pub(crate) fn run() -> Result<()> {
    arrows::check()?;
    shell::run(&mut shell::cargo(&["fmt", "--all", "--check"]))?;
    shell::run(&mut shell::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    let mut documentation = shell::cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
    shell::run(documentation.env("RUSTDOCFLAGS", "-D warnings"))
}
