//! The crate arrows of ARCHITECTURE.md: which of our crates each of our crates may use. A back edge fails.

use anyhow::{Context, Result, bail};

use crate::shell;

/// Crate, and what it may use in its product code. Tests may use more.
const ALLOWED: &[(&str, &[&str])] = &[
    ("registry-types", &[]),
    ("registry-io", &["registry-types"]),
    ("registry-blobs", &["registry-types", "registry-io"]),
    ("registry-metadata", &["registry-types"]),
    ("registry-auth", &["registry-types"]),
    ("registry-core", &["registry-types", "registry-blobs", "registry-metadata", "registry-auth"]),
    (
        "registry-http",
        &[
            "registry-types",
            "registry-io",
            "registry-blobs",
            "registry-metadata",
            "registry-auth",
            "registry-core",
        ],
    ),
    (
        "registry-server",
        &[
            "registry-types",
            "registry-io",
            "registry-blobs",
            "registry-metadata",
            "registry-auth",
            "registry-core",
            "registry-http",
        ],
    ),
    ("registry-client", &["registry-types"]),
    ("builder-dockerfile", &["registry-types"]),
    ("builder-plan", &["registry-types", "builder-dockerfile"]),
    ("builder-store", &["registry-types"]),
    ("builder-runtime", &["registry-types"]),
    (
        "builder-engine",
        &[
            "registry-types",
            "registry-client",
            "builder-dockerfile",
            "builder-plan",
            "builder-store",
            "builder-runtime",
            "builder-output",
        ],
    ),
    ("builder-output", &["registry-types", "registry-client", "builder-plan", "builder-store"]),
    ("importer", &["registry-types", "registry-client"]),
    ("conformance", &["registry-types", "registry-client"]),
    (
        "slipway",
        &[
            "registry-types",
            "registry-client",
            "registry-server",
            "builder-dockerfile",
            "builder-plan",
            "builder-store",
            "builder-runtime",
            "builder-engine",
            "builder-output",
            "importer",
            "conformance",
        ],
    ),
    ("slipway-tests", &["registry-types", "registry-client"]),
    ("slipway-bench", &["registry-types", "registry-client"]),
    ("xtask", &[]),
];

/// Compares cargo's own view of the workspace with the table.
pub(crate) fn check() -> Result<()> {
    let output = shell::cargo(&["metadata", "--format-version", "1", "--no-deps"]).output()?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ALLOWED.iter().find(|(own, _)| *own == name) else {
            wrong.push(format!("{name} is not in the table of xtask/src/arrows.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = dependency["name"].as_str().unwrap_or_default();
            let for_product = dependency["kind"].is_null();
            if for_product && names.contains(&used) && !allowed.contains(&used) {
                wrong.push(format!("{name} may not use {used}"));
            }
        }
    }
    if wrong.is_empty() {
        println!("crate arrows: as ARCHITECTURE.md draws them");
        return Ok(());
    }
    bail!("crate arrows are broken:\n  {}", wrong.join("\n  "))
}
