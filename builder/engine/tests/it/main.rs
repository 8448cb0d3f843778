//! Builds for real, in this process, from an image made of the machine's busybox, without any network.
//!
//! Steps re-execute the program they are started from, so this test has a `main` of its own that begins as every
//! builder's does. It takes no arguments but a filter, and prints what the standard test harness prints.
//! Where files of several owners cannot be made it says so and skips; in CI that is a failure.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking, like the test itself")]

mod base;
mod cache;
mod cancel;
mod copying;
mod errors;
mod files;
mod kit;
mod language;
mod registry;
mod stages;

use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;

use builder_runtime::{Privilege, enter_builder_namespace, maybe_run_init};

type Test = (&'static str, fn());

fn main() -> ExitCode {
    maybe_run_init();
    let missing = match enter_builder_namespace() {
        Err(error) => Some(error.to_string()),
        Ok(namespace) if namespace.privilege == Privilege::SingleId => Some(namespace.notes.join("; ")),
        Ok(_) if !Path::new(kit::BUSYBOX).exists() => {
            Some(format!("{} is not there: install the package busybox-static", kit::BUSYBOX))
        }
        Ok(_) => None,
    };
    if let Some(reason) = missing {
        eprintln!("skipped: {reason}");
        let in_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
        return if in_ci { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let filter = std::env::args().nth(1).filter(|argument| !argument.starts_with('-')).unwrap_or_default();
    let suites: [&[Test]; 7] = [
        &stages::TESTS,
        &cache::TESTS,
        &copying::TESTS,
        &language::TESTS,
        &base::TESTS,
        &errors::TESTS,
        &cancel::TESTS,
    ];
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in suites.into_iter().flatten().filter(|(name, _)| name.contains(&filter)) {
        let ok = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        if ok { passed += 1 } else { failed += 1 }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The functions by name.
#[macro_export]
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        pub(crate) const TESTS: [$crate::Test; [$(stringify!($name)),+].len()] = [$((stringify!($name), $name)),+];
    };
}
