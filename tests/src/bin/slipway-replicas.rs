//! `slipway-replicas COUNT [ARGUMENT...]`: what `cargo xtask conformance --engine postgres-s3` runs. It prints the URL of
//! replicas of the registry behind their balancer and the password of `admin`, each on a line, and serves until its
//! input ends.

use std::io::{Read, Write};

use anyhow::{Context, Result};
use slipway_tests::Replicas;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (count, arguments) =
        arguments.split_first().context("usage: slipway-replicas COUNT [ARGUMENT...]")?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let replicas = Replicas::start(count.parse()?, &arguments)?.context("something is not installed")?;
    println!("http://{}\n{}", replicas.name(), replicas.password().unwrap_or_default());
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
