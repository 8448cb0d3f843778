//! What the official suite does not ask. Each check stands alone: it makes repositories of its own, and a
//! failing one changes nothing for the others.

mod blobs;
mod context;
mod errors;
mod listing;
mod manifests;
mod ranges;
mod referrers;
mod removal;
mod uploads;

use std::{pin::Pin, time::Instant};

pub(crate) use context::{Context, Finding, Verdict};
pub(crate) use manifests::takes_sparse;

use crate::report::{Case, Outcome, Suite};

type Answering<'c> = Pin<Box<dyn Future<Output = Verdict> + Send + 'c>>;

/// One check.
pub(crate) struct Check {
    name: &'static str,
    /// Where what it asks is written.
    section: &'static str,
    run: for<'c> fn(&'c Context) -> Answering<'c>,
}

/// A check from its name, its section and the function that runs it.
macro_rules! check {
    ($name:literal, $section:expr, $function:path) => {
        $crate::checks::Check { name: $name, section: $section, run: |context| Box::pin($function(context)) }
    };
}
pub(crate) use check;

/// Fails the check unless the condition holds.
macro_rules! hold {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::checks::Finding::Failed(format!($($message)+)));
        }
    };
}
pub(crate) use hold;

/// All checks in the order of the specification.
fn all() -> impl Iterator<Item = &'static Check> {
    let groups: [&'static [Check]; 8] = [
        blobs::CHECKS,
        ranges::CHECKS,
        uploads::CHECKS,
        manifests::CHECKS,
        removal::CHECKS,
        listing::CHECKS,
        referrers::CHECKS,
        errors::CHECKS,
    ];
    groups.into_iter().flatten()
}

/// Runs every check.
pub(crate) async fn run_all(context: &Context) -> Suite {
    let mut cases = Vec::new();
    for check in all() {
        let started = Instant::now();
        let outcome = match (check.run)(context).await {
            Ok(()) => Outcome::Passed,
            Err(Finding::Failed(reason)) => Outcome::Failed(reason),
            Err(Finding::Skipped(reason)) => Outcome::Skipped(reason.to_owned()),
        };
        let seconds = started.elapsed().as_secs_f64();
        let (name, section) = (check.name.to_owned(), check.section.to_owned());
        cases.push(Case { name, section, outcome, seconds });
    }
    Suite { name: "Slipway's own checks".to_owned(), cases }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn checks_have_names_of_their_own() {
        let names: Vec<&str> = all().map(|check| check.name).collect();
        let different: HashSet<&str> = names.iter().copied().collect();
        assert_eq!(names.len(), different.len());
        for check in all() {
            let plain =
                |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
            assert!(check.name.chars().all(plain), "{} is part of a repository's name", check.name);
            assert!(!check.section.is_empty());
        }
    }
}
