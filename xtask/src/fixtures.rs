//! Programs that the tests use and the product does not: Debian packages, and Go programs at pinned versions in
//! a cache outside the tree. What cannot be had is reported, so that a test can say why it is skipped.

mod buildkit;
pub(crate) mod containerd;

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::shell;

/// Debian packages, and a program of each that tells whether it is there.
const PACKAGES: &[(&str, &str)] = &[
    ("docker.io", "/usr/sbin/dockerd"),
    ("skopeo", "/usr/bin/skopeo"),
    ("buildah", "/usr/bin/buildah"),
    ("containerd", "/usr/bin/containerd"),
    ("runc", "/usr/sbin/runc"),
    ("nginx-light", "/usr/sbin/nginx"),
    ("postgresql", "/usr/bin/pg_ctlcluster"),
    ("busybox-static", "/bin/busybox"),
    ("xz-utils", "/usr/bin/xz"),
    ("bzip2", "/usr/bin/bzip2"),
    ("zstd", "/usr/bin/zstd"),
    ("libcap2-bin", "/usr/sbin/setcap"),
    ("curl", "/usr/bin/curl"),
    ("iproute2", "/usr/sbin/ip"),
    ("uidmap", "/usr/bin/newuidmap"),
    ("wrk", "/usr/bin/wrk"),
];

/// A program built by `go install`.
struct GoProgram {
    /// Name of the program in the cache.
    name: &'static str,
    package: &'static str,
    version: &'static str,
    /// Name that `go install` gives it.
    binary: &'static str,
}

const GO_PROGRAMS: &[GoProgram] = &[
    GoProgram {
        name: "oci-conformance",
        package: "github.com/opencontainers/distribution-spec/conformance",
        version: "v0.0.0-20260831232431-97274622c111",
        binary: "conformance",
    },
    GoProgram {
        name: "crane",
        package: "github.com/google/go-containerregistry/cmd/crane",
        version: "v0.22.1",
        binary: "crane",
    },
    GoProgram {
        name: "regctl",
        package: "github.com/regclient/regclient/cmd/regctl",
        version: "v0.11.7",
        binary: "regctl",
    },
    GoProgram { name: "oras", package: "oras.land/oras/cmd/oras", version: "v1.3.6", binary: "oras" },
    GoProgram { name: "helm", package: "helm.sh/helm/v3/cmd/helm", version: "v3.22.0", binary: "helm" },
    GoProgram {
        name: "distribution",
        package: "github.com/distribution/distribution/v3/cmd/registry",
        version: "v3.1.1",
        binary: "registry",
    },
    GoProgram {
        name: "versitygw",
        package: "github.com/versity/versitygw/cmd/versitygw",
        version: "v1.8.0",
        binary: "versitygw",
    },
];

/// The folder with the installed Go programs; tests find it by `SLIPWAY_TOOLS`.
pub(crate) fn tools() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("SLIPWAY_TOOLS") {
        return Ok(folder.into());
    }
    let cache = match env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    Ok(cache.join("slipway").join("tools"))
}

/// Installs everything. Gives the names of what could not be had, each with the reason.
pub(crate) fn install_all() -> Result<Vec<String>> {
    let mut missing = install_packages();
    missing.extend(install_go_programs()?);
    for reason in &missing {
        println!("not installed: {reason}");
    }
    Ok(missing)
}

fn install_packages() -> Vec<String> {
    let absent = || PACKAGES.iter().filter(|(_, program)| !std::path::Path::new(program).exists());
    let wanted: Vec<&str> = absent().map(|(package, _)| *package).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if is_root {
        println!("installing Debian packages: {}", wanted.join(" "));
        shell::succeeds(Command::new("apt-get").args(["update", "-qq"]));
        let mut install = Command::new("apt-get");
        install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&wanted);
        shell::succeeds(install.env("DEBIAN_FRONTEND", "noninteractive"));
    }
    let reason = if is_root { "apt-get could not install it" } else { "installing it needs root" };
    absent().map(|(package, _)| format!("{package}: {reason}")).collect()
}

fn install_go_programs() -> Result<Vec<String>> {
    let tools = tools()?;
    std::fs::create_dir_all(&tools).with_context(|| format!("cannot create {}", tools.display()))?;
    let mut missing = Vec::new();
    for program in GO_PROGRAMS {
        let folder = tools.join(format!("{}-{}", program.name, program.version));
        let installed = folder.join(program.binary);
        if !installed.exists() {
            println!("installing {} {}", program.name, program.version);
            let mut install = Command::new("go");
            install.arg("install").arg(format!("{}@{}", program.package, program.version));
            install.env("GOBIN", &folder).env("GOFLAGS", "-buildvcs=false");
            if !shell::succeeds(&mut install) {
                missing.push(format!(
                    "{}: go install {}@{} failed",
                    program.name, program.package, program.version
                ));
                continue;
            }
        }
        link(&tools, program.name, &installed)?;
    }
    missing.extend(buildkit::install(&tools)?);
    missing.extend(containerd::install(&tools)?);
    Ok(missing)
}

/// A link without version: tests name programs, only this module names versions.
fn link(tools: &Path, name: &str, installed: &Path) -> Result<()> {
    let link = tools.join(name);
    if std::fs::read_link(&link).ok().as_deref() != Some(installed) {
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(installed, &link)
            .with_context(|| format!("cannot link {}", link.display()))?;
    }
    Ok(())
}
