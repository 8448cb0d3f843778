//! helm: charts.

use std::fs;

use anyhow::{Context, Result, ensure};
use slipway_tests::{Finished, NAME, Scheme, Site, run, skip};

fn whole_life(scheme: Scheme) -> Result<()> {
    let Some(site) = Site::start(scheme)? else { return Ok(()) };
    if site.client("helm")?.is_none() {
        skip("helm is not installed");
        return Ok(());
    }
    let helm_with = |arguments: &[&str], input: &[u8]| -> Result<Finished> {
        let mut command = site.client("helm")?.context("helm is gone")?;
        command.args(arguments);
        let reaches = matches!(arguments, ["registry", "login", ..] | ["push" | "pull" | "show", ..]);
        match scheme {
            Scheme::Http if reaches => command.arg("--plain-http"),
            Scheme::Tls if reaches => command.arg("--ca-file").arg(site.registry.authority()),
            _ => &mut command,
        };
        run(&mut command, input)
    };
    let helm = |arguments: &[&str]| helm_with(arguments, b"");
    let login = ["registry", "login", NAME, "--username", "admin", "--password-stdin"];
    helm_with(&login, b"wrong")?.failed()?;
    helm_with(&login, site.registry.password()?.as_bytes())?.ok()?;

    let chart = site.home().join("chart");
    fs::create_dir_all(chart.join("templates"))?;
    fs::write(
        chart.join("Chart.yaml"),
        "apiVersion: v2\nname: hichat\nversion: 1.2.3\ndescription: a chart\n",
    )?;
    fs::write(
        chart.join("templates/map.yaml"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: greeting\n",
    )?;
    helm(&["package", "chart"])?.ok()?;
    let remote = format!("oci://{}", site.image("charts"));
    helm(&["push", "hichat-1.2.3.tgz", &remote])?.ok()?;

    let pushed = fs::read(site.home().join("hichat-1.2.3.tgz"))?;
    fs::remove_file(site.home().join("hichat-1.2.3.tgz"))?;
    let named = format!("{remote}/hichat");
    helm(&["pull", &named, "--version", "1.2.3"])?.ok()?;
    ensure!(fs::read(site.home().join("hichat-1.2.3.tgz"))? == pushed);
    // Without an exact version helm lists the tags.
    let shown = helm(&["show", "chart", &named, "--version", "^1.0"])?.ok()?;
    ensure!(shown.contains("version: 1.2.3"), "{shown}");

    helm(&["registry", "logout", NAME])?.ok()?;
    helm(&["pull", &named, "--version", "1.2.3"])?.failed()?;
    Ok(())
}

#[test]
fn helm_works_over_http() -> Result<()> {
    whole_life(Scheme::Http)
}

#[test]
fn helm_works_over_tls() -> Result<()> {
    whole_life(Scheme::Tls)
}
