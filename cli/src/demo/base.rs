//! The build context of a small base image from this machine's own files: busybox if it is there, else a shell with
//! the libraries it needs and the few programs the sample uses.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::failed;
use crate::failure::Failure;

/// Where a static busybox usually is.
const BUSYBOX: [&str; 3] = ["/bin/busybox", "/usr/bin/busybox", "/sbin/busybox"];
/// Programs of busybox that get links, so that scripts find them.
const APPLETS: [&str; 6] = ["sh", "cat", "echo", "ls", "mkdir", "chmod"];
/// Shells and programs to take instead, each from the first place where it is.
const PROGRAMS: [&str; 5] = ["sh", "cat", "ls", "mkdir", "chmod"];
const PLACES: [&str; 2] = ["/bin", "/usr/bin"];

/// Writes the context and gives the shell it is made from.
pub(super) fn write_context(context: &Path) -> Result<PathBuf, Failure> {
    let root = context.join("root");
    for folder in ["bin", "etc", "tmp", "usr/local/bin"] {
        fs::create_dir_all(root.join(folder)).map_err(failed)?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
        .map_err(failed)?;
    fs::write(root.join("etc/group"), "root:x:0:\nnobody:x:65534:\n").map_err(failed)?;
    let busybox = BUSYBOX.iter().map(Path::new).find(|path| path.exists() && libraries(path).is_empty());
    let shell = match busybox {
        Some(busybox) => {
            fs::copy(busybox, root.join("bin/busybox")).map_err(failed)?;
            for applet in APPLETS {
                std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).map_err(failed)?;
            }
            busybox.to_owned()
        }
        None => copy_programs(&root)?,
    };
    fs::write(
        context.join("Dockerfile"),
        "FROM scratch\nCOPY root/ /\nENV PATH=/usr/local/bin:/bin\nCMD [\"/bin/sh\"]\n",
    )
    .map_err(failed)?;
    Ok(shell)
}

/// Copies the programs and every library that they name, under the paths where their loader looks for them.
fn copy_programs(root: &Path) -> Result<PathBuf, Failure> {
    let mut needed = BTreeSet::new();
    let mut shell = None;
    for program in PROGRAMS {
        let source = PLACES.iter().map(|place| Path::new(place).join(program)).find(|path| path.exists());
        let source = source
            .ok_or_else(|| Failure::Failed(format!("this machine has no {program} to put into an image")))?;
        fs::copy(&source, root.join("bin").join(program)).map_err(failed)?;
        needed.extend(libraries(&source));
        shell.get_or_insert(source);
    }
    for library in needed {
        let target = root.join(library.strip_prefix("/").unwrap_or(&library));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        fs::copy(&library, &target).map_err(failed)?;
    }
    shell.ok_or_else(|| Failure::Failed("this machine has no shell to put into an image".to_owned()))
}

/// The libraries and the loader of a program, as the loader itself lists them; none for a static program.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let Ok(output) = Command::new("ldd").arg(program).output() else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .flat_map(|line| line.split_whitespace())
        .filter(|word| word.starts_with('/'))
        .map(|word| PathBuf::from(word.trim_end_matches(':')))
        .filter(|path| path != program && path.exists())
        .collect()
}
