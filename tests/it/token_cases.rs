//! A table of tokens and requests made to deceive, each with the status that it must get, against whole servers:
//! one that issues its tokens itself and one that trusts a GitLab. Rows differ from an honest request in what
//! their names say; honest ones stand among them, so that a server which refuses everything fails too.

mod access;
mod algorithms;
mod carriers;
mod claims;
mod keys;
mod paths;
mod rights;
mod world;

use std::fs;

use anyhow::{Result, ensure};
use slipway_tests::{Options, Registry, signer::Signer};

use world::{Row, Rows, World};

/// Fewer rows than this would not be this table.
const FEWEST_ROWS: usize = 300;

fn table() -> Vec<Row> {
    let mut rows = Rows::default();
    algorithms::add(&mut rows);
    keys::add(&mut rows);
    claims::add(&mut rows);
    access::add(&mut rows);
    carriers::add(&mut rows);
    paths::add(&mut rows);
    rights::add(&mut rows);
    rows.into_vec()
}

#[test]
fn every_row_holds_where_the_registry_issues_its_tokens() -> Result<()> {
    let registry = Registry::start(Options::default())?;
    let key = Signer::read(&registry.data().join("keys/signing.pem"))?;
    run(&registry, key, "slipway")
}

#[test]
fn every_row_holds_where_a_gitlab_issues_them() -> Result<()> {
    let key = Signer::generate()?;
    let files = tempfile::tempdir()?;
    let bundle = files.path().join("gitlab-registry.crt");
    fs::write(&bundle, key.certificate()?.1)?;
    let bundle = bundle.display().to_string();
    let realm = "https://gitlab.example/jwt/auth";
    let arguments = ["--auth", "gitlab", "--gitlab-realm", realm, "--gitlab-certificates", &bundle];
    let registry = Registry::start(Options::with(&arguments))?;
    run(&registry, key, "omnibus-gitlab-issuer")
}

/// Runs the table and tells every row that does not hold.
fn run(registry: &Registry, key: Signer, issuer: &'static str) -> Result<()> {
    let world = World::new(registry.http(), key, issuer)?;
    let rows = table();
    ensure!(rows.len() >= FEWEST_ROWS, "the table has {} rows", rows.len());
    let mut failures = Vec::new();
    for row in &rows {
        if let Err(error) = world.check(row) {
            failures.push(format!("  {}: {error:#}", row.name));
        }
    }
    println!("{} rows, {} failed", rows.len(), failures.len());
    ensure!(failures.is_empty(), "{} of {} rows:\n{}", failures.len(), rows.len(), failures.join("\n"));
    Ok(())
}
