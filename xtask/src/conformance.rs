//! `cargo xtask conformance`: the official suite and our own checks on our registry, in the three ways in which it
//! is run. Which tests may be skipped is written here, for each way; any other skip fails.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{fixtures, shell};

/// How long a first start may take: it makes a 3072-bit key, which a slow machine searches for seconds.
const START_TIME: Duration = Duration::from_secs(120);

/// A way to run the registry, and the tests that do not apply to it.
struct Setting {
    name: &'static str,
    arguments: &'static [&'static str],
    tokens: bool,
    sparse: bool,
    skipped: &'static [&'static str],
}

const SETTINGS: &[Setting] = &[
    Setting {
        name: "tokens",
        arguments: &["--sparse-manifests"],
        tokens: true,
        sparse: true,
        skipped: &[
            // A digest alone gives nobody content of repositories that the token does not name.
            "sha256 blobs/mount anonymous/blob-mount-anonymous",
            "sha512 blobs/mount anonymous/blob-mount-anonymous",
            "manifest-missing-parts-named",
        ],
    },
    Setting {
        name: "open",
        arguments: &["--auth", "none", "--sparse-manifests"],
        tokens: false,
        sparse: true,
        skipped: &["manifest-missing-parts-named", "challenge-form", "challenge-wrong-credentials"],
    },
    Setting {
        name: "default",
        arguments: &[],
        tokens: true,
        sparse: false,
        skipped: &[
            "sha256 blobs/mount anonymous/blob-mount-anonymous",
            "sha512 blobs/mount anonymous/blob-mount-anonymous",
        ],
    },
];

/// What was asked for.
struct Choice {
    release: bool,
    /// So many replicas on PostgreSQL and S3; without it one registry on SQLite and files.
    replicas: Option<usize>,
}

impl Choice {
    fn parse(arguments: &[String]) -> Result<Self> {
        const USAGE: &str =
            "usage: cargo xtask conformance [--release] [--engine sqlite-files|postgres-s3] [--replicas N]";
        let (mut release, mut engine, mut replicas) = (false, "sqlite-files", None);
        let mut arguments = arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            match argument {
                "--release" => release = true,
                "--engine" => engine = arguments.next().context(USAGE)?,
                "--replicas" => replicas = Some(arguments.next().context(USAGE)?.parse().context(USAGE)?),
                _ => bail!(USAGE),
            }
        }
        match (engine, replicas) {
            ("sqlite-files", None) => Ok(Self { release, replicas: None }),
            ("sqlite-files", Some(_)) => bail!("replicas need --engine postgres-s3"),
            ("postgres-s3", count) => Ok(Self { release, replicas: Some(count.unwrap_or(1)) }),
            _ => bail!(USAGE),
        }
    }
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let Choice { release, replicas } = Choice::parse(arguments)?;
    let binary = shell::build_product(release)?;
    if replicas.is_some() {
        shell::run(&mut shell::cargo(&["build", "--package", "slipway-tests", "--bin", "slipway-replicas"]))?;
    }
    let tools = fixtures::tools()?;
    ensure!(
        tools.join("oci-conformance").exists(),
        "the official suite is not in {}: run cargo xtask fixtures",
        tools.display()
    );
    let results = shell::target_directory(release)?.join("conformance");
    let mut wrong = Vec::new();
    for setting in SETTINGS {
        println!("\n==> the registry with {} ({})", setting.name, setting.arguments.join(" "));
        let registry = match replicas {
            Some(count) => Registry::start_replicas(&binary, &tools, count, setting)?,
            None => Registry::start(&binary, setting)?,
        };
        wrong.extend(hold(setting, &registry, &binary, &tools, &results.join(setting.name))?);
    }
    if wrong.is_empty() {
        println!("\nconformance: 0 failed, 0 unexplained skips; results are in {}", results.display());
        return Ok(());
    }
    bail!("conformance:\n  {}", wrong.join("\n  "))
}

/// Runs everything on one setting and gives what is wrong.
fn hold(
    setting: &Setting,
    registry: &Registry,
    binary: &Path,
    tools: &Path,
    results: &Path,
) -> Result<Vec<String>> {
    let mut command = Command::new(binary);
    command.args(["conformance", "--output", "json", "--version", "all", "--registry", &registry.url]);
    command.arg("--results").arg(results).env("SLIPWAY_TOOLS", tools);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    if setting.tokens {
        command.args(["--username", "admin", "--password-stdin"]);
        command.stdin(fs::File::open(registry.password_file())?);
    }
    let output = command.spawn()?.wait_with_output()?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("slipway conformance gave no report ({})", output.status))?;
    let mut wrong = judge(setting, &report);
    if !output.status.success() && wrong.is_empty() {
        wrong.push(format!("{}: slipway conformance ended with {}", setting.name, output.status));
    }
    Ok(wrong)
}

/// What in a report is not as it has to be.
fn judge(setting: &Setting, report: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for (fact, expected) in [("sparse_manifests", setting.sparse), ("tokens", setting.tokens)] {
        if report[fact] != expected {
            wrong.push(format!("{}: {fact} is {}, not {expected}", setting.name, report[fact]));
        }
    }
    let suites = report["suites"].as_array().map_or(&[][..], Vec::as_slice);
    if suites.len() != 3 {
        wrong.push(format!("{}: {} suites ran, not 3", setting.name, suites.len()));
    }
    for suite in suites {
        let name = suite["name"].as_str().unwrap_or_default();
        println!("{name}: {}", suite["counts"]);
        for case in suite["cases"].as_array().into_iter().flatten() {
            let (test, status) =
                (case["name"].as_str().unwrap_or_default(), case["status"].as_str().unwrap_or_default());
            let expected = status == "passed" || (status == "skipped" && setting.skipped.contains(&test));
            if !expected {
                wrong.push(format!("{}: {name}: {test} {status}: {}", setting.name, case["reason"]));
            }
        }
    }
    wrong
}

/// A registry with a folder of its own, both gone when dropped.
struct Registry {
    child: Child,
    folder: PathBuf,
    url: String,
}

impl Registry {
    fn start(binary: &Path, setting: &Setting) -> Result<Self> {
        let folder =
            std::env::temp_dir().join(format!("slipway-conformance-{}-{}", std::process::id(), setting.name));
        fs::create_dir_all(&folder)?;
        let log = folder.join("log");
        let mut command = Command::new(binary);
        command.args(["registry", "serve", "--listen", "127.0.0.1:0"]).arg("--data").arg(folder.join("data"));
        command.args(setting.arguments).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(&log)?);
        let child = command.spawn().with_context(|| format!("cannot start {}", binary.display()))?;
        let mut registry = Self { child, folder, url: String::new() };
        let until = Instant::now() + START_TIME;
        loop {
            if let Some(status) = registry.child.try_wait()? {
                bail!("the registry ended with {status}:\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            if let Some(address) = announced(&log) {
                registry.url = format!("http://{address}");
            }
            let password = !setting.tokens || registry.data().join("admin-password").exists();
            if !registry.url.is_empty() && password && lives(&registry.url) {
                return Ok(registry);
            }
            ensure!(Instant::now() < until, "the registry does not start: see {}", log.display());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Replicas on PostgreSQL and an S3 server behind a balancer. They end when their input does.
    fn start_replicas(binary: &Path, tools: &Path, count: usize, setting: &Setting) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!(
            "slipway-conformance-{}-{}-replicas",
            std::process::id(),
            setting.name
        ));
        fs::create_dir_all(folder.join("data"))?;
        let program = shell::target_directory(false)?.join("slipway-replicas");
        let mut command = Command::new(program);
        command.arg(count.to_string()).args(setting.arguments);
        command.env("SLIPWAY_BINARY", binary).env("SLIPWAY_TOOLS", tools);
        // A file: what it says at its end must find room.
        let said = folder.join("said");
        command.stdin(Stdio::piped()).stdout(fs::File::create(&said)?);
        let mut registry = Self { child: command.spawn()?, folder, url: String::new() };
        let until = Instant::now() + START_TIME;
        let password = loop {
            ensure!(registry.child.try_wait()?.is_none(), "the replicas do not start");
            let text = fs::read_to_string(&said)?;
            if let [url, password, ..] = text.split('\n').collect::<Vec<_>>()[..]
                && text.matches('\n').count() >= 2
            {
                url.clone_into(&mut registry.url);
                break password.to_owned();
            }
            ensure!(Instant::now() < until, "the replicas do not start");
            std::thread::sleep(Duration::from_millis(50));
        };
        fs::write(registry.password_file(), password)?;
        Ok(registry)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn password_file(&self) -> PathBuf {
        self.data().join("admin-password")
    }
}

/// The address that the registry says it listens on: with port 0 nobody else knows it.
fn announced(log: &Path) -> Option<String> {
    let lines = BufReader::new(fs::File::open(log).ok()?).lines();
    lines.map_while(Result::ok).find_map(|line| {
        let (before, _) = line.split_once("; its data is in")?;
        Some(before.rsplit(' ').next()?.to_owned())
    })
}

/// Whether `/livez` answers with 200.
fn lives(url: &str) -> bool {
    use std::io::{Read, Write};
    let Some(address) = url.strip_prefix("http://") else { return false };
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return false };
    let asked = write!(stream, "GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}

impl Drop for Registry {
    fn drop(&mut self) {
        // What reads its input ends with it and takes along what it started.
        if self.child.stdin.take().is_none() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(tokens: bool, cases: Value) -> Value {
        let suite = |cases: Value| json!({ "name": "a suite", "counts": {}, "cases": cases });
        let suites = [suite(json!([])), suite(json!([])), suite(cases)];
        json!({ "sparse_manifests": true, "tokens": tokens, "suites": suites })
    }

    #[test]
    fn only_the_skips_that_a_setting_names_are_let_through() {
        let tokens = &SETTINGS[0];
        let case = |name: &str, status: &str| json!({ "name": name, "status": status });
        let named = tokens.skipped[0];
        assert!(
            judge(tokens, &report(true, json!([case("x", "passed"), case(named, "skipped")]))).is_empty()
        );
        for (name, status) in [("x", "skipped"), (named, "failed"), (named, "unexplained"), ("x", "")] {
            assert_eq!(judge(tokens, &report(true, json!([case(name, status)]))).len(), 1, "{name} {status}");
        }
    }

    #[test]
    fn another_registry_than_the_one_asked_for_is_no_proof() {
        assert_eq!(judge(&SETTINGS[0], &report(false, json!([]))).len(), 1);
        assert!(!judge(&SETTINGS[0], &json!({})).is_empty());
    }
}
