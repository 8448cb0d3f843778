//! What the command line says and how it ends.

use std::{fs, process::Command};

use anyhow::{Result, ensure};
use slipway_tests::{Finished, Registry, binary, run};

fn slipway(arguments: &[&str]) -> Result<Finished> {
    let mut command = Command::new(binary());
    run(command.args(arguments), b"")
}

fn serve(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Finished> {
    let mut command = Command::new(binary());
    command.args(["registry", "serve", "--print-config"]).args(arguments);
    run(command.envs(variables.iter().copied()), b"")
}

#[test]
fn the_configuration_that_is_in_force_is_printed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("registry.toml");
    fs::write(
        &file,
        "listen = \"127.0.0.1:1111\"\n[auth]\nservice = \"from the file\"\ntoken_seconds = 111\n",
    )?;
    let file = file.display().to_string();
    // Flags over variables over the file over the defaults.
    let printed = serve(
        &["--config", &file, "--listen", "127.0.0.1:3333"],
        &[("SLIPWAY_REGISTRY_LISTEN", "127.0.0.1:2222"), ("SLIPWAY_REGISTRY_AUTH_TOKEN_SECONDS", "222")],
    )?
    .ok()?;
    for line in [
        "listen = \"127.0.0.1:3333\"",
        "token_seconds = 222",
        "service = \"from the file\"",
        "mode = \"token\"",
    ] {
        ensure!(printed.contains(line), "no {line} in\n{printed}");
    }
    // What is printed is a configuration.
    let again = folder.path().join("printed.toml");
    fs::write(&again, &printed)?;
    ensure!(serve(&["--config", &again.display().to_string()], &[])?.ok()? == printed);
    ensure!(!fs::exists("slipway-data")?, "printing made a data folder");
    Ok(())
}

#[test]
fn unknown_words_end_with_2_and_name_the_nearest() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("registry.toml");
    fs::write(&file, "[limits]\nmanifest_bites = 5000000\n")?;
    let wrong = [
        (slipway(&["registry", "serve", "--lisen", "127.0.0.1:0"])?, "--listen"),
        (slipway(&["registri"])?, "registry"),
        (serve(&["--config", &file.display().to_string()], &[])?, "limits.manifest_bytes"),
        (serve(&[], &[("SLIPWAY_REGISTRY_AUTH_MOD", "token")])?, "AUTH_MODE"),
        (serve(&["--listen", "nowhere"], &[])?, "listen"),
        (serve(&["--auth", "gitlab"], &[])?, "auth.gitlab.realm"),
        (serve(&["--auth", "none"], &[])?, "127.0.0.1"),
        (serve(&["--tls-cert", "a.pem"], &[])?, "--tls-key"),
        (serve(&["--tls-required"], &[])?, "certificate"),
        (slipway(&["registry", "rule", "add", "team/**", "--to", "ci", "--actions", "pull,shout"])?, "shout"),
    ];
    for (finished, mend) in wrong {
        ensure!(finished.code == Some(2), "{finished:?}");
        ensure!(finished.stderr.contains(mend), "no {mend} in {finished:?}");
        ensure!(!finished.stderr.contains("panicked"), "{finished:?}");
    }
    Ok(())
}

#[test]
fn help_is_no_failure_and_has_examples() -> Result<()> {
    for arguments in
        [&["--help"][..], &["registry", "serve", "--help"], &["registry", "user", "add", "--help"]]
    {
        slipway(arguments)?.ok()?;
    }
    ensure!(slipway(&["registry", "serve", "--help"])?.ok()?.contains("Example"));
    Ok(())
}

#[test]
fn a_data_folder_has_one_server() -> Result<()> {
    let mut registry = Registry::open_to_all()?;
    let data = registry.data().display().to_string();
    let start = ["registry", "serve", "--auth", "none", "--listen", "127.0.0.1:0", "--data", &data];
    let second = slipway(&start)?;
    let said = second.stderr.clone();
    ensure!(second.code == Some(1) && said.contains(&data) && said.contains("in use"), "{said}");
    ensure!(registry.http().get("/v2/")?.status == 200);
    // A crash leaves no lock behind.
    registry.kill()?;
    registry.start_again()?;
    ensure!(registry.http().get("/v2/")?.status == 200);
    Ok(())
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let folder = tempfile::tempdir()?;
    let data = folder.path().display().to_string();
    let taken =
        slipway(&["registry", "serve", "--auth", "none", "--data", &data, "--listen", &registry.name()])?;
    ensure!(taken.code == Some(1) && taken.stderr.contains(&registry.name()), "{taken:?}");
    ensure!(taken.stderr.contains("--listen"), "{taken:?}");
    Ok(())
}

#[test]
fn accounts_of_a_registry_that_is_not_there_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("none").display().to_string();
    let refused = slipway(&["registry", "user", "list", "--data", &data])?;
    ensure!(refused.code == Some(2) && refused.stderr.contains(&data), "{refused:?}");
    ensure!(!fs::exists(&data)?, "asking made a data folder");
    Ok(())
}
